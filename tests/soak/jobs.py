"""What is asked in the soak, and what must come of it: each answer by somebody else than us."""

from __future__ import annotations

import errno
import os
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_GZIP_COMP,
    Alg,
    Cryptodesc,
    Cryptoini,
    Cryptop,
)
from opencrypto.testing import vectors
from opencrypto.testing.vectors import Vector
from opencrypto.xform import FACTS, Kind
from tests.drivers.rig import KINDS, name_of, partner_of, shape
from tests.references import REFERENCES

OUTSIDE = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
BULKY = 4096
"""Longer vectors are left out: here it is the number of requests that counts."""


@dataclass(frozen=True)
class Ask:
    """One request to be made, and what its buffer must hold when it ends with `etype`."""

    desc: Sequence[Cryptodesc]
    before: bytes
    after: bytes | Callable[[bytes, int], bool]
    etype: int = 0
    kinds: Sequence[str] = KINDS

    def request(self, kind: str) -> tuple[Cryptop, Callable[[], str]]:
        """Make the request, and who says afterwards what is wrong, or nothing."""
        work = shape(kind, self.before)
        desc = [Cryptodesc(d.skip, d.len, d.inject, d.flags, d.ini) for d in self.desc]
        crp = Cryptop(0, work.buf, desc)

        def complaint() -> str:
            if crp.etype != self.etype:
                return f"ended with {crp.etype} {crp.error!r}, not {self.etype}"
            content = work.content()
            right = content == self.after if isinstance(self.after, bytes) else False
            if callable(self.after):
                right = self.after(content, crp.olen)
            return "" if right else "a wrong answer"

        return crp, complaint


@dataclass(frozen=True)
class Job:
    """A session's chain, and what is asked of it."""

    name: str
    inis: Sequence[Cryptoini]
    asks: Sequence[Ask]

    @property
    def algs(self) -> set[int]:
        """The algorithms of the chain."""
        return {int(ini.alg) for ini in self.inis}


def _both_ways(desc: Callable[[int], Cryptodesc], v: Vector) -> list[Ask]:
    return [Ask([desc(CRD_F_ENCRYPT)], v.input, v.output), Ask([desc(0)], v.output, v.input)]


def _cipher(alg: int, v: Vector) -> Job:
    def desc(flags: int) -> Cryptodesc:
        return Cryptodesc(0, len(v.input), 0, flags | OUTSIDE, Cryptoini(alg, iv=v.iv))

    return Job(v.id, [Cryptoini(alg, v.key)], _both_ways(desc, v))


def _authenticator(alg: int, v: Vector) -> Job:
    assert v.mac is not None
    size = len(v.output)
    check = [Cryptodesc(0, size, size, CRD_F_VERIFY, Cryptoini(alg))]
    whole = v.output + v.mac
    asks = [Ask(check, whole, whole, 0 if v.result == "valid" else errno.EBADMSG)]
    if v.result == "valid":
        make = [Cryptodesc(0, size, size, 0, Cryptoini(alg))]
        asks.append(Ask(make, v.output + bytes(len(v.mac)), whole))
    return Job(v.id, [Cryptoini(alg, v.key, mlen=len(v.mac))], asks)


def _aead(alg: int, v: Vector) -> Job:
    assert v.mac is not None
    half, aad = partner_of(alg, len(v.key)), v.aad or b""
    at, size = len(aad), len(v.output)

    def desc(flags: int, check: int) -> list[Cryptodesc]:
        return [
            Cryptodesc(at, size, 0, flags | OUTSIDE, Cryptoini(alg, iv=v.iv)),
            Cryptodesc(0, at, at + size, check, Cryptoini(half)),
        ]

    sealed, room = aad + v.output + v.mac, bytes(len(v.mac))
    inis = [Cryptoini(alg, v.key), Cryptoini(half, v.key, mlen=len(v.mac))]
    if v.result != "valid":
        return Job(v.id, inis, [Ask(desc(0, CRD_F_VERIFY), sealed, sealed, errno.EBADMSG)])
    seal = Ask(desc(CRD_F_ENCRYPT, 0), aad + v.input + room, sealed)
    return Job(v.id, inis, [seal, Ask(desc(0, CRD_F_VERIFY), sealed, aad + v.input + v.mac)])


def _unpack(alg: int, v: Vector) -> Job:
    desc = [Cryptodesc(0, len(v.output), 0, 0, Cryptoini(alg))]
    good = v.result == "valid"
    after = v.input if good else v.output
    ask = Ask(desc, v.output, after, 0 if good else errno.EBADMSG, ["mbuf"])
    return Job(v.id, [Cryptoini(alg)], [ask])


def known(alg: int) -> list[Job]:
    """Return the published answers of an algorithm."""
    make = {
        Kind.CIPHER: _cipher, Kind.MAC: _authenticator, Kind.HASH: _authenticator,
        Kind.AEAD: _aead, Kind.COMP: _unpack,
    }[FACTS[alg].kind]  # fmt: skip
    name = "deflate_comp" if alg == CRYPTO_DEFLATE_COMP_NOGROW else name_of(alg)
    found = [v for v in vectors.load(name) if len(v.input) + len(v.output) <= BULKY]
    return [make(alg, v) for v in found]


def packing() -> list[Job]:
    """Compress; a result that does not fit; what would not shrink."""
    text, noise = b"to be, or not to be, " * 40, os.urandom(200)
    packed = zlib.compress(text, wbits=-15)
    jobs = []
    for alg, wbits in ((CRYPTO_DEFLATE_COMP, -15), (CRYPTO_GZIP_COMP, 31)):
        for data in (text, noise, b""):

            def opens(content: bytes, olen: int, wbits: int = wbits, data: bytes = data) -> bool:
                return olen == len(content) and zlib.decompress(content, wbits=wbits) == data

            desc = [Cryptodesc(0, len(data), 0, CRD_F_COMP, Cryptoini(alg))]
            ask = Ask(desc, data, opens, kinds=["mbuf"])
            jobs.append(Job("compress", [Cryptoini(alg)], [ask]))
    desc = [Cryptodesc(0, len(packed), 0, 0, Cryptoini(CRYPTO_DEFLATE_COMP))]
    small = packed + bytes(len(text) - len(packed) - 1)
    asks = [
        Ask(desc, small, small, errno.ENOSPC, ["contiguous", "view", "iov"]),
        Ask(desc, small + b"\0", text, 0, ["contiguous", "view", "iov"]),
    ]
    jobs.append(Job("room", [Cryptoini(CRYPTO_DEFLATE_COMP)], asks))
    nogrow = Cryptoini(CRYPTO_DEFLATE_COMP_NOGROW)
    desc = [Cryptodesc(0, len(noise), 0, CRD_F_COMP, nogrow)]
    jobs.append(Job("nogrow", [nogrow], [Ask(desc, noise, noise)]))
    return jobs


def _mac_of(alg: int, key: bytes, data: bytes) -> bytes:
    """Let another implementation make a MAC."""
    v = Vector(name_of(alg), "", "", key, None, None, data, data, None, None, "valid", "none")
    full = REFERENCES[name_of(alg)](v)[1]
    assert full is not None
    return full[: FACTS[alg].mac]


def _key_for(alg: int, rng: random.Random) -> bytes:
    keys = FACTS[alg].keys
    return rng.randbytes(20 if keys is None else min(max(keys), 64))


def chain_of(cipher: int, macs: Iterable[int], v: Vector, rng: random.Random) -> Job:
    """Encrypt, then one MAC after the other, each over all that precedes it; and back."""
    inis = [Cryptoini(cipher, v.key)]
    forth = [Cryptodesc(0, len(v.input), 0, CRD_F_ENCRYPT | OUTSIDE, Cryptoini(cipher, iv=v.iv))]
    check: list[Cryptodesc] = []
    sealed = v.output
    for alg in macs:
        key = _key_for(alg, rng)
        inis.append(Cryptoini(alg, key))
        at = len(sealed)
        named = Cryptoini(alg, key) if FACTS[alg].kind is Kind.MAC else Cryptoini(alg)
        forth.append(Cryptodesc(0, at, at, 0, named))
        check.append(Cryptodesc(0, at, at, CRD_F_VERIFY, named))
        sealed += _mac_of(alg, key, sealed)
    tail = sealed[len(v.output) :]
    back = Cryptodesc(0, len(v.input), 0, OUTSIDE, Cryptoini(cipher, iv=v.iv))
    asks = [
        Ask(forth, v.input + bytes(len(tail)), sealed),
        Ask([*check, back], sealed, v.input + tail),
    ]
    if tail.strip(b"\0"):
        forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
        asks.append(Ask([*check, back], forged, forged, errno.EBADMSG))
    return Job("+".join(FACTS[ini.alg].name for ini in inis), inis, asks)


def chains() -> list[Job]:
    """
    Return a chain of each cipher with each MAC, and some with the same MAC twice.

    While `swcrypto` is away, no driver has most of them alone.
    """
    rng = random.Random(1)
    ciphers = [alg for alg, facts in FACTS.items() if facts.kind is Kind.CIPHER]
    macs = [alg for alg, facts in FACTS.items() if facts.kind is Kind.MAC]
    several: list[list[int]] = [[alg] for alg in macs]
    several += [[alg, alg] for alg in (Alg.SHA1_HMAC, Alg.MD5_KPDK, Alg.AES_XCBC_MAC_96)]
    several += [[Alg.SHA2_256, Alg.SHA1_HMAC]]
    jobs = []
    for cipher in ciphers:
        found = [v for v in vectors.load(name_of(cipher)) if 0 < len(v.input) <= 256]
        jobs += [chain_of(cipher, algs, rng.choice(found), rng) for algs in several]
    return jobs


def families() -> dict[str, list[Job]]:
    """Return all jobs, by what they are about: each is asked for as often as any other."""
    found = {FACTS[alg].name: known(alg) for alg in FACTS if FACTS[alg].kind is not Kind.AEAD_AUTH}
    several = chains()
    for n in range(12):  # chains are a fifth of all
        found[f"chains {n}"] = several[n::12]
    found["packing"] = packing()
    found["packing again"] = packing()
    return found
