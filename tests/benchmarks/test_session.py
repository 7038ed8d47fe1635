"""`Session`'s calls against those of the library that a program would make in their place."""

from __future__ import annotations

import hmac
import os
from functools import partial

import pytest

import opencrypto_openssl
from opencrypto import Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.client import Session
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_XTS,
    CRYPTO_F_CBIMM,
)
from tests.benchmarks.measure import Result, compare, size_name, table

pytestmark = pytest.mark.bench

SIZES = (64, 1400, 16384, 1 << 20)
MANY = 50
SECTOR = 4096
ROUNDS = 101
SECONDS = 0.001


def test_session() -> None:
    aead = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead")
    key = os.urandom(16)
    bare = aead.AESGCM(key)
    with (
        Framework(plugins=[opencrypto_openssl]) as framework,
        framework.session("aes-128-gcm", key) as session,
    ):
        rows = [[size_name(size), *_sealing(bare, session, size)] for size in SIZES]
        heads = ["AES-128-GCM, µs", "AESGCM.encrypt", "seal", "times", "AESGCM.decrypt", "open"]
        heads += ["times", "decrypt of a slice", "times"]
        table("Session, openssl driver", heads, rows)
        _many(session)
        with framework.session("hmac-sha2-256", key) as macs:
            _macs(macs, key)


def _sealing(bare: object, session: Session, size: int) -> list[str]:
    """A random nonce is made for the library, too; its ciphertext is taken out of nothing."""
    encrypt, decrypt = bare.encrypt, bare.decrypt  # type: ignore[attr-defined]  # of cryptography
    data, urandom = os.urandom(size), os.urandom
    token = session.seal(data)
    nonce, sealed = token[:12], token[12:]
    row = []
    # By themselves, two at a time: large pieces come from the allocator as the last one left it.
    for base, theirs, ours, call in (
        ("encrypt", lambda: encrypt(urandom(12), data, None), "seal", lambda: session.seal(data)),
        ("decrypt", lambda: decrypt(nonce, sealed, None), "open", lambda: session.open(token)),
        (
            "slice",
            lambda: decrypt(token[:12], token[12:], None),
            "open",
            lambda: session.open(token),
        ),
    ):
        result = compare({base: theirs, ours: call}, ROUNDS, SECONDS)
        row += [f"{result.us(base):.2f}", f"{result.us(ours):.2f}", _times(result, ours, base)]
    del row[7]  # `open` once more
    return row


def _many(session: Session) -> None:
    data = os.urandom(64)
    messages = [data] * MANY
    cases = {
        "one": lambda: [session.seal(each) for each in messages],
        "many": lambda: list(session.seal_many(messages)),
        "submit": lambda: [session.submit_seal(each).result() for each in messages],
        "request": lambda: [session._encrypted(each, b"", None) for each in messages],
    }
    result = compare(cases, ROUNDS, SECONDS)
    names = {"one": "`seal`", "many": "`seal_many`", "submit": "`submit_seal`"}
    names["request"] = "`seal` by request"
    rows = [
        [names[case], f"{result.us(case) / MANY:.2f}", _times(result, case, "one")]
        for case in cases
    ]
    table("64 B a message", ["AES-128-GCM", "µs", "times `seal`"], rows)


def _macs(session: Session, key: bytes) -> None:
    rows = []
    for size in SIZES:
        data = os.urandom(size)
        result = compare(
            {
                "bare": partial(hmac.digest, key, data, "sha256"),
                "mac": partial(session.mac, data),
            },
            ROUNDS,
            SECONDS,
        )
        row = [size_name(size), f"{result.us('bare'):.2f}", f"{result.us('mac'):.2f}"]
        rows.append([*row, _times(result, "mac", "bare")])
    table("Session.mac", ["HMAC-SHA-256, µs", "hmac.digest", "mac", "times"], rows)


def test_xts() -> None:
    """A sector by request, with all objects kept that the library lets a program keep."""
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    key, tweak = os.urandom(32), os.urandom(16)
    algorithm = ciphers.algorithms.AES(key)
    sector = bytearray(os.urandom(SECTOR))
    view = memoryview(sector)

    def by_hand() -> None:
        context = ciphers.Cipher(algorithm, ciphers.modes.XTS(tweak)).encryptor()
        context.update_into(view, view)
        context.finalize()

    with Framework(plugins=[opencrypto_openssl]) as framework:
        sid = framework.newsession(Cryptoini("aes-128-xts", key))
        crp = Cryptop(sid, sector, [Cryptodesc(alg=CRYPTO_AES_XTS)], Cryptop.check, CRYPTO_F_CBIMM)
        crp.ilen = SECTOR

        def by_request() -> None:
            (crd,) = crp.desc
            crd.len = SECTOR
            crd.flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
            crd.ini.iv = tweak
            framework.dispatch(crp)

        result = compare({"by hand": by_hand, "request": by_request}, ROUNDS, SECONDS)
    row = [f"{result.us('by hand'):.2f}", f"{result.us('request'):.2f}"]
    heads = ["AES-XTS, µs", "by hand", "request", "times"]
    rows = [[size_name(SECTOR), *row, _times(result, "request", "by hand")]]
    table("AES-XTS by request, openssl driver", heads, rows)


def _times(result: Result, case: str, base: str) -> str:
    return f"{1 / result.ratio(case, base):.2f}"
