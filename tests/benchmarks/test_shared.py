"""
What `Profile(shared=True)` costs: raw requests carried out in a private copy, against in place.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

import opencrypto_openssl
from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA2_256_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Profile,
)
from tests.benchmarks.measure import Case, compare, size_name, table

pytestmark = pytest.mark.bench

SIZES = (64, 1504, 65536)
HEAD = 24
MAC = 16
EXTERNAL = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
KEY = os.urandom(16)


class Packet(NamedTuple):
    """A chain, and where a packet has what: bytes."""

    chain: tuple[Cryptoini, Cryptoini]
    iv: int
    aad: int | None  # None: all that is before the MAC is authenticated


PACKETS = {
    "AES-128-GCM": Packet(
        (
            Cryptoini(CRYPTO_AES_GCM_16, KEY + b"salt"),
            Cryptoini(CRYPTO_AES_128_GMAC, KEY + b"salt"),
        ),
        iv=8,
        aad=8,
    ),
    "AES-128-CBC, HMAC-SHA256": Packet(
        (Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA2_256_HMAC, os.urandom(32))),
        iv=16,
        aad=None,
    ),
}


@pytest.mark.parametrize("name", PACKETS)
def test_shared(name: str) -> None:
    packet = PACKETS[name]
    rows = []
    with Framework(plugins=[opencrypto_openssl]) as framework:
        for size in SIZES:
            cases: dict[str, Case] = {}
            for profile in (None, Profile(shared=True)):
                sid = framework.newsession(packet.chain, profile=profile)
                way = "shared" if profile else "in place"
                cases |= both_ways(framework, sid, packet, size, way)
            result = compare(cases)
            row = [size_name(size)]
            for direction in ("encrypt", "decrypt"):
                place, shared = f"{direction} in place", f"{direction} shared"
                row += [f"{result.us(place):.2f}", f"{result.us(shared):.2f}"]
                row += [f"+{result.excess(shared, place):.2f}, {result.ratio(shared, place):.2f}"]
            rows.append(row)
    heads = [f"{name}, µs", "encrypt", "shared", "more, rate", "decrypt", "shared", "more, rate"]
    table("Memory that others may write, openssl driver, inline", heads, rows)


def both_ways(
    framework: Framework, sid: int, packet: Packet, size: int, way: str
) -> dict[str, Case]:
    """Return the cases of encrypting in a session and of decrypting, each with one request."""
    end = HEAD + size
    buf = bytearray(os.urandom(end + MAC))
    iv = os.urandom(packet.iv)

    def request(verify: bool) -> Cryptop:
        cipher, mac = (Cryptodesc(alg=ini.alg) for ini in packet.chain)
        cipher.skip, cipher.len, cipher.inject, cipher.ini.iv = HEAD, size, HEAD - packet.iv, iv
        cipher.flags = EXTERNAL | (0 if verify else CRD_F_ENCRYPT)
        mac.skip, mac.len, mac.inject = 0, end if packet.aad is None else packet.aad, end
        mac.flags = CRD_F_VERIFY if verify else 0
        crp = Cryptop(sid, buf, [mac, cipher] if verify else [cipher, mac], callback=check)
        crp.ilen, crp.flags = len(buf), CRYPTO_F_CBIMM
        return crp

    there, back = request(verify=False), request(verify=True)
    framework.dispatch(there)
    sealed = bytes(buf)

    def decrypt() -> None:
        buf[:] = sealed
        framework.dispatch(back)

    return {f"encrypt {way}": lambda: framework.dispatch(there), f"decrypt {way}": decrypt}


def check(crp: Cryptop) -> None:
    """Stop at a request that was not done."""
    crp.check()
