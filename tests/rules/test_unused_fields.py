"""
Fields and flags that do nothing in a request: refused where somebody may count on them.

Each field of a descriptor is set in each kind of descriptor, over each driver and each way that a
request may go. What is not refused is in `UNUSED`, changes nothing, and stands in
docs/opencrypto.9.md.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from opencrypto import Cryptodesc, Cryptoini, Cryptop, Framework, Profile, UsageError
from opencrypto.client import Session
from opencrypto.constants import (
    CRD_F_COMP,
    CRD_F_DSA_SHA_NEEDED,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_XTS,
    CRYPTO_ARC4,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA1,
    CRYPTO_SHA1_HMAC,
)
from tests.drivers.rig import attached

EXPLICIT = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
KEY, SALTED, IV = bytes(range(16)), bytes(range(20)), bytes(range(16))
SIZE = 128
Chain = tuple[list[Cryptoini], Callable[[], list[Cryptodesc]]]


def crd(
    alg: int, skip: int, length: int, inject: int, flags: int = 0, iv: bytes | None = None
) -> Cryptodesc:
    return Cryptodesc(skip, length, inject, flags, alg=alg, iv=iv)


CHAINS: dict[str, Chain] = {
    "cipher": ([Cryptoini(CRYPTO_AES_CBC, KEY)],
        lambda: [crd(CRYPTO_AES_CBC, 16, 64, 0, EXPLICIT, IV)]),
    "cipher, iv in the buffer": ([Cryptoini(CRYPTO_AES_CBC, KEY)],
        lambda: [crd(CRYPTO_AES_CBC, 16, 64, 0, CRD_F_ENCRYPT | CRD_F_IV_PRESENT)]),
    "decryption": ([Cryptoini(CRYPTO_AES_CBC, KEY)], lambda: [crd(CRYPTO_AES_CBC, 16, 64, 0)]),
    "no iv": ([Cryptoini(CRYPTO_ARC4, KEY)],
        lambda: [crd(CRYPTO_ARC4, 16, 64, 0, CRD_F_ENCRYPT)]),
    "mac": ([Cryptoini(CRYPTO_SHA1_HMAC, KEY)], lambda: [crd(CRYPTO_SHA1_HMAC, 0, 80, 80)]),
    "digest": ([Cryptoini(CRYPTO_SHA1)], lambda: [crd(CRYPTO_SHA1, 0, 80, 80)]),
    "cipher+mac": ([Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC, KEY)],
        lambda: [crd(CRYPTO_AES_CBC, 16, 64, 0, EXPLICIT, IV), crd(CRYPTO_SHA1_HMAC, 0, 80, 80)]),
    "aead": ([Cryptoini(CRYPTO_AES_GCM_16, SALTED), Cryptoini(CRYPTO_AES_128_GMAC, SALTED)],
        lambda: [crd(CRYPTO_AES_GCM_16, 16, 64, 0, EXPLICIT, IV[:8]),
                 crd(CRYPTO_AES_128_GMAC, 0, 16, 80)]),
    "compression": ([Cryptoini(CRYPTO_DEFLATE_COMP)],
        lambda: [crd(CRYPTO_DEFLATE_COMP, 0, 100, 0, CRD_F_COMP)]),
    "nothing": ([Cryptoini(CRYPTO_NULL_CBC), Cryptoini(CRYPTO_NULL_HMAC, KEY)],
        lambda: [crd(CRYPTO_NULL_CBC, 16, 64, 0, CRD_F_ENCRYPT), crd(CRYPTO_NULL_HMAC, 0, 80, 80)]),
}  # fmt: skip

PLACES = [
    (driver, chain)
    for driver, without in {
        "swcrypto": (),
        "openssl": ("no iv", "compression", "nothing"),
        "null": tuple(chain for chain in CHAINS if chain != "nothing"),
    }.items()
    for chain in CHAINS
    if chain not in without
]
everywhere = pytest.mark.parametrize(("driver", "chain"), PLACES)

UNUSED: dict[str, Any] = {"key": b"another key, 16b", "klen": 128, "rnd": 12}
"""What opencrypto(9) leaves to the session: a request may have it, and it says nothing."""


@contextmanager
def opened(driver: str, chain: str) -> Iterator[tuple[Framework, int]]:
    with attached(driver) as fw:
        sid = fw.newsession(CHAINS[chain][0])
        yield fw, sid


def asked(fw: Framework, sid: int, desc: list[Cryptodesc], quick: bool, **fields: Any) -> Cryptop:
    """Dispatch a request in the quick way, or in the general one, and return it answered."""
    content = bytearray(range(SIZE))
    buf: Any = content if quick else [content[:50], content[50:]]
    crp = Cryptop(sid, buf, desc, lambda crp: None, CRYPTO_F_CBIMM)
    for name, value in fields.items():
        setattr(crp, name, value)
    fw.dispatch(crp)
    return crp


def content(crp: Cryptop) -> bytes:
    return bytes(crp.buf) if isinstance(crp.buf, bytearray) else b"".join(crp.buf)


def is_auth(alg: int) -> bool:
    return alg in (CRYPTO_SHA1_HMAC, CRYPTO_SHA1, CRYPTO_AES_128_GMAC, CRYPTO_NULL_HMAC)


def refused(driver: str, chain: str, change: Callable[[Cryptodesc], str]) -> None:
    """Change each descriptor in turn: where `change` says a sentence, that is the refusal."""
    tried = 0
    with opened(driver, chain) as (fw, sid):
        make = CHAINS[chain][1]
        for at in range(len(make())):
            for quick in (True, False):
                desc = make()
                sentence = change(desc[at])
                if not sentence:
                    continue
                tried += 1
                crp = asked(fw, sid, desc, quick)
                assert crp.etype == errno.EINVAL, (at, quick)
                assert sentence in crp.error
                assert content(crp) == bytes(range(SIZE))
        assert fw.driver_bugs.count == 0
    assert tried, "no descriptor was changed"


@everywhere
def test_an_iv_that_nobody_reads_is_refused(driver: str, chain: str) -> None:
    """Without CRD_F_IV_EXPLICIT, or where no IV is: its sender thinks that it is the one used."""

    def change(crd: Cryptodesc) -> str:
        takes_one = crd.alg in (CRYPTO_AES_CBC, CRYPTO_AES_GCM_16)
        if crd.iv is not None:
            crd.flags &= ~CRD_F_IV_EXPLICIT
        crd.iv = IV[:8] if crd.alg == CRYPTO_AES_GCM_16 else IV
        return "and not CRD_F_IV_EXPLICIT" if takes_one else "takes no iv"

    refused(driver, chain, change)


@everywhere
@pytest.mark.parametrize("flag", [CRD_F_COMP, CRD_F_DSA_SHA_NEEDED, 0x1000, 1 << 40, -(1 << 12)])
def test_a_flag_that_means_nothing_is_refused(driver: str, chain: str, flag: int) -> None:
    """One of another kind of descriptor, or of a future that is not yet."""

    def change(crd: Cryptodesc) -> str:
        crd.flags |= flag
        return "" if crd.alg == CRYPTO_DEFLATE_COMP and flag == CRD_F_COMP else "mean nothing in"

    if chain != "compression" or flag != CRD_F_COMP:
        refused(driver, chain, change)


@pytest.mark.parametrize(
    ("driver", "chain"), [place for place in PLACES if place[1] not in ("mac", "digest")]
)
def test_a_cipher_that_is_to_verify_left_the_mac_unverified(driver: str, chain: str) -> None:
    """CRD_F_VERIFY belongs to the authenticator: in the cipher's descriptor it had no effect."""

    def change(crd: Cryptodesc) -> str:
        crd.flags |= CRD_F_VERIFY
        return "" if is_auth(crd.alg) else "the flags 0x100 mean nothing in"

    refused(driver, chain, change)


@everywhere
def test_a_mac_length_in_a_request_was_ignored(driver: str, chain: str) -> None:
    """The session's whole MAC was written, over what follows the shorter one that was meant."""

    def change(crd: Cryptodesc) -> str:
        crd.ini.mlen = 7
        return "the length belongs to newsession()" if is_auth(crd.alg) else ""

    if any(is_auth(crd.alg) for crd in CHAINS[chain][1]()):
        refused(driver, chain, change)


def test_the_sessions_own_mac_length_may_be_said_again() -> None:
    """It is what happens."""
    for quick in (True, False):
        with opened("swcrypto", "mac") as (fw, sid):
            desc = CHAINS["mac"][1]()
            desc[0].ini.mlen = 20
            assert asked(fw, sid, desc, quick).etype == 0


@everywhere
def test_a_limit_in_a_request_was_ignored(driver: str, chain: str) -> None:
    """What decompresses has its limit from the session."""

    def change(crd: Cryptodesc) -> str:
        crd.ini.limit = 7
        return "limit belongs to newsession()" if crd.alg == CRYPTO_DEFLATE_COMP else ""

    if chain == "compression":
        refused(driver, chain, change)


@everywhere
@pytest.mark.parametrize("quick", [True, False])
def test_a_place_for_a_mac_that_none_is_made_for_is_refused(
    driver: str, chain: str, quick: bool
) -> None:
    """Its owner would take what is in there, zeros, for the MAC."""
    with opened(driver, chain) as (fw, sid):
        desc = CHAINS[chain][1]()
        crp = asked(fw, sid, desc, quick, mac=bytearray(32))
        assert crp.mac is not None
        if any(is_auth(crd.alg) for crd in desc):
            assert crp.etype == 0
            assert any(crp.mac) or chain == "nothing"
        else:
            assert crp.etype == errno.EINVAL
            assert "makes no MAC" in crp.error
            assert content(crp) == bytes(range(SIZE))


@everywhere
@pytest.mark.parametrize("quick", [True, False])
def test_what_is_the_sessions_changes_nothing(driver: str, chain: str, quick: bool) -> None:
    """Keys and their lengths in descriptors, as BSD's consumers leave them there."""
    with opened(driver, chain) as (fw, sid):
        make = CHAINS[chain][1]
        right = content(asked(fw, sid, make(), quick))
        for field, value in UNUSED.items():
            for at in range(len(make())):
                desc = make()
                setattr(desc[at], field, value)
                crp = asked(fw, sid, desc, quick)
                assert (crp.etype, content(crp)) == (0, right), field
        for at, each in enumerate(make()):
            desc = make()
            if is_auth(each.alg):
                desc[at].flags |= CRD_F_ENCRYPT
            else:
                desc[at].ini.mlen = 5
            if each.alg != CRYPTO_DEFLATE_COMP:
                desc[at].ini.limit = 5
            if each.iv is not None or each.alg in (CRYPTO_ARC4, CRYPTO_NULL_CBC):
                desc[at].inject = 3
            crp = asked(fw, sid, desc, quick)
            assert (crp.etype, content(crp)) == (0, right)


def test_the_page_lists_what_changes_nothing() -> None:
    """Each of them by its name of the page."""
    page = (Path(__file__).parents[2] / "docs/opencrypto.9.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("Of a descriptor the session")]
    for field in UNUSED:
        assert f"`crd_{field}`" in line


def test_a_session_has_the_profile_that_it_is_given() -> None:
    """`Session(profile=)` is as `newsession`'s; one that allows weak keys alone is not nothing."""
    equal = Cryptoini(CRYPTO_AES_XTS, bytes(32))
    weak = Profile(weak_keys=True)
    assert all([weak, Profile()]), "profile or Profile() is the profile"
    with attached("swcrypto") as fw:
        with pytest.raises(UsageError, match="halves of the key are equal"):
            Session(equal, framework=fw)
        with Session(equal, framework=fw, profile=weak) as session:
            assert session.encrypt(bytes(16), iv=bytes(16)).data != bytes(16)
        with (
            Session(
                Cryptoini(CRYPTO_AES_CBC, KEY), framework=fw, profile=Profile("decrypt")
            ) as session,
            pytest.raises(UsageError, match="promised to decrypt only"),
        ):
            session.encrypt(bytes(16))


@pytest.mark.parametrize("wrong", ["encrypt", True, {"direction": "encrypt"}])
def test_a_profile_is_a_profile(wrong: Any) -> None:
    """Else a sentence, at once."""
    with attached("swcrypto") as fw, pytest.raises(UsageError, match="a profile is a Profile"):
        fw.newsession(Cryptoini(CRYPTO_AES_CBC, KEY), profile=wrong)
    with pytest.raises(UsageError, match="weak_keys is True or False"):
        Profile(weak_keys=wrong if wrong is not True else "no")  # type: ignore[arg-type]  # wrong on purpose
