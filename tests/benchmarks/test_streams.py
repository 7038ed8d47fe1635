"""Messages in pieces against one large request and hashlib; a large file in little memory."""

from __future__ import annotations

import gc
import hashlib
import hmac
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import opencrypto_openssl
from opencrypto import Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.client import Session
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA2_256,
    CRYPTO_SHA2_256_HMAC,
)
from tests.benchmarks.measure import table

pytestmark = pytest.mark.bench

LARGE = 128 << 20
PIECES = (1 << 16, 1 << 18, 1 << 20, 1 << 24)
ROUNDS = 7
FILE_MIB = int(os.environ.get("OPENCRYPTO_STREAM_MIB", "256"))
"""How large the file is; 10240 for the ten gigabytes that are asked for."""

EXTERNAL = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
KEY, CTR_KEY, MAC_KEY = os.urandom(16), os.urandom(20), os.urandom(32)
CHAINS = {
    "AES-128-CTR": [Cryptoini(CRYPTO_AES_CTR, CTR_KEY)],
    "AES-128-CBC + HMAC-SHA-256": [
        Cryptoini(CRYPTO_AES_CBC, KEY),
        Cryptoini(CRYPTO_SHA2_256_HMAC, MAC_KEY),
    ],
    "SHA-256": [Cryptoini(CRYPTO_SHA2_256)],
}


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of this thread's own that something takes, whoever else runs meanwhile."""
    gc.collect()
    start = time.thread_time()
    work()
    return time.thread_time() - start


def one_request(framework: Framework, sid: int, name: str, buf: bytearray) -> Callable[[], None]:
    """Return what carries the whole buffer out by one request."""

    def work() -> None:
        flags = CRD_F_ENCRYPT | EXTERNAL
        desc = []
        mac = None
        if "CTR" in name:
            desc = [Cryptodesc(0, LARGE, 0, flags, alg=CRYPTO_AES_CTR, iv=bytes(8))]
        elif "CBC" in name:
            desc = [
                Cryptodesc(0, LARGE, 0, flags, alg=CRYPTO_AES_CBC, iv=bytes(16)),
                Cryptodesc(0, LARGE, 0, alg=CRYPTO_SHA2_256_HMAC),
            ]
            mac = bytearray(16)
        else:
            desc = [Cryptodesc(0, LARGE, 0, alg=CRYPTO_SHA2_256)]
            mac = bytearray(32)
        crp = Cryptop(sid, buf, desc, lambda crp: None, CRYPTO_F_CBIMM, mac=mac)
        framework.dispatch(crp)
        crp.check()

    return work


def in_pieces(session: Session, name: str, buf: bytearray, piece: int) -> Callable[[], None]:
    """Return what carries the buffer out in pieces, in place."""
    view = memoryview(buf)

    def work() -> None:
        if name == "SHA-256":
            with session.hasher() as hasher:
                for at in range(0, LARGE, piece):
                    hasher.update(view[at : at + piece])
                hasher.digest()
            return
        with session.encryptor() as encryptor:
            for at in range(0, LARGE, piece):
                part = view[at : at + piece]
                encryptor.update_into(part, part)
            encryptor.finalize()

    return work


def test_pieces_against_one_request() -> None:
    """In turns; the rate is that of the quickest rounds, since each takes long."""
    rows = []
    buf = bytearray(os.urandom(1 << 20)) * (LARGE >> 20)
    with Framework(plugins=[opencrypto_openssl]) as framework:
        for name, chain in CHAINS.items():
            sid = framework.newsession(chain)
            with framework.session(chain) as session:
                cases = {0: one_request(framework, sid, name, buf)}
                cases |= {piece: in_pieces(session, name, buf, piece) for piece in PIECES}
                times: dict[int, list[float]] = {piece: [] for piece in cases}
                for _ in range(ROUNDS):
                    for piece, case in cases.items():
                        times[piece].append(timed(case))
            row = [name, f"{LARGE / min(times[0]) / 1e6:.0f}"]
            row += [f"{min(times[0]) / min(times[piece]):.2f}" for piece in PIECES]
            rows.append(row)
    heads = ["128 MiB, openssl driver", "one request, MB/s"]
    heads += [f"pieces of {piece >> 10} KiB, rate" for piece in PIECES]
    table("Messages in pieces, by one request's rate", heads, rows)


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(FILE_MIB):
            file.write(block)
    return path


def test_a_file_against_hashlib(large_file: Path) -> None:
    """The page cache has it; each reads it anew."""
    with Framework(plugins=[opencrypto_openssl]) as framework:
        mac = framework.session("hmac-sha2-256", MAC_KEY)
        digest = framework.session("sha2-256")

        def by(make: Callable[[], object]) -> Callable[[], str]:
            def work() -> str:
                with large_file.open("rb", buffering=0) as file:
                    made = hashlib.file_digest(file, make)  # type: ignore[arg-type]
                    return made.hexdigest()

            return work

        cases = {
            "hashlib sha256": by(hashlib.sha256),
            "hmac sha256": by(lambda: hmac.new(MAC_KEY, digestmod="sha256")),
            "SHA-256": by(digest.hasher),
            "HMAC-SHA-256": by(mac.hasher),
        }
        assert cases["SHA-256"]() == cases["hashlib sha256"]()
        assert cases["HMAC-SHA-256"]() == cases["hmac sha256"]()
        times: dict[str, list[float]] = {name: [] for name in cases}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(ROUNDS):
            for name, case in cases.items():
                times[name].append(timed(case))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        mac.close()
        digest.close()
    base = times["hashlib sha256"]
    rows = [
        [
            name,
            f"{min(took) * 1e3:.0f}",
            f"{min(took) / min(base):.2f}",
        ]
        for name, took in times.items()
    ]
    heads = [f"a file of {FILE_MIB} MiB", "ms", "times hashlib.file_digest"]
    table(f"By hashlib.file_digest; the process grew by {grown} KiB", heads, rows)
    assert grown < 8 << 10, "its memory is bounded, whatever the file's length"


@pytest.mark.parametrize("name", list(CHAINS))
def test_a_large_file_in_little_memory(large_file: Path, name: str) -> None:
    """``OPENCRYPTO_STREAM_MIB=10240`` makes it ten gigabytes."""
    buffer = bytearray(1 << 22)
    view = memoryview(buffer)
    with (
        Framework(plugins=[opencrypto_openssl]) as framework,
        framework.session(CHAINS[name]) as session,
        large_file.open("rb", 0) as file,
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        if name == "SHA-256":
            with session.hasher() as hasher:
                while size := file.readinto(buffer):
                    hasher.update(view[:size])
                hasher.digest()
        else:
            with session.encryptor() as encryptor:
                while size := file.readinto(buffer):
                    encryptor.update_into(view[:size], view[:size])
                encryptor.finalize()
        took = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    row = [name, f"{FILE_MIB}", f"{FILE_MIB * 1.048576 / took:.0f}", f"{grown}"]
    table("A file, in pieces of 4 MiB", ["chain", "MiB", "MB/s", "KiB more"], [row])
    assert grown < 8 << 10, "its memory is bounded, whatever the file's length"
