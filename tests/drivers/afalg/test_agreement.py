"""The kernel's answers are swcrypto's: random chains, lengths, buffers, IV rules, MAC lengths."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator

import pytest

from opencrypto import Alg, Cryptodesc, Cryptoini, Framework
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT, CRD_F_VERIFY
from opencrypto.xform import FACTS, Kind
from opencrypto_afalg.names import NAMES
from tests.drivers.afalg.support import attached, follow, open_on, pair, run
from tests.drivers.rig import KINDS, SPLITS, crd, shape

pytestmark = [pytest.mark.kernel, pytest.mark.shared_framework]

# Plain Python in swcrypto, so only short ones.
SLOW = {Alg.CAMELLIA_CBC: 2048, Alg.AES_XCBC_MAC_96: 4096}
# One-time keys: the same key twice is no use of them.
ALGS = list(NAMES)
CIPHERS = [alg for alg in ALGS if FACTS[alg].kind is Kind.CIPHER]
MACS = [alg for alg in ALGS if FACTS[alg].kind in (Kind.MAC, Kind.HASH)]
AEADS = [alg for alg in ALGS if FACTS[alg].kind is Kind.AEAD]
CBCS = [Alg.AES_CBC, Alg["3DES_CBC"], Alg.AES_CTR]
HMACS = [alg for alg in MACS if "HMAC" in alg.name and alg.name != "MD5_HMAC"]
FLAGS = (0, CRD_F_IV_PRESENT, CRD_F_IV_EXPLICIT, CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT)


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached(fallback=True) as framework:
        yield framework


def make_ini(rng: random.Random, alg: Alg) -> Cryptoini:
    facts = FACTS[alg]
    length = rng.choice(sorted(facts.keys)) if facts.keys is not None else rng.randrange(200)
    mlen = rng.choice([0, *facts.macs]) if facts.authenticates else 0
    return Cryptoini(alg, rng.randbytes(length), mlen=mlen)


def make_chain(rng: random.Random) -> list[Cryptoini]:
    kind = rng.randrange(6)
    if kind == 0:
        return [make_ini(rng, rng.choice(CIPHERS))]
    if kind == 1:
        return [make_ini(rng, rng.choice(MACS))]
    if kind == 2:
        alg = rng.choice(AEADS)
        key = rng.randbytes(rng.choice(sorted(FACTS[alg].keys or ())))
        half = pair(alg, key)[1].alg
        inis = pair(alg, key, rng.choice([0, *FACTS[half].macs]))
        return inis[:: rng.choice([1, -1])]
    if kind == 3:
        return [make_ini(rng, rng.choice(CBCS)), make_ini(rng, rng.choice(HMACS))]
    if kind == 4:
        return [make_ini(rng, rng.choice(CIPHERS)), make_ini(rng, rng.choice(MACS))]
    return [make_ini(rng, rng.choice(CIPHERS + MACS)) for _ in range(rng.randrange(2, 4))]


LONG = (1 << 14) + 1
LONG_SPLITS = (4097, 0, 65_536, 7, 100_000, 16)


def length_for(rng: random.Random, chain: list[Cryptoini], most: int, exactly: bool) -> int:
    most = min([most, *(SLOW.get(Alg(ini.alg), most) for ini in chain)])
    least = 14 if most > LONG else 0
    length = most if exactly else int(2 ** rng.uniform(least, most.bit_length() - 1)) - 1
    granule = max(FACTS[ini.alg].granule for ini in chain)
    return length - length % granule


class Message:
    """A buffer ``head | iv | payload | macs`` and the descriptors of both ways over it."""

    def __init__(
        self, rng: random.Random, chain: list[Cryptoini], most: int, exactly: bool
    ) -> None:
        self.length = length_for(rng, chain, most, exactly)
        self.head = rng.randrange(40)
        sound = all(FACTS[ini.alg].kind is not Kind.AEAD_AUTH for ini in chain)
        self.start = self.head + 16
        at = self.start + self.length + rng.choice([0, 3])
        self.forward: list[Cryptodesc] = []
        self.backward: list[Cryptodesc] = []
        for ini in chain:
            facts = FACTS[ini.alg]
            if facts.kind is Kind.CIPHER or facts.kind is Kind.AEAD:
                ivlen = facts.ivlen(ini.klen // 8)
                length = 0 if ini.alg == Alg.AES_GMAC else self.length
                flags = rng.choice(FLAGS[1:]) if ivlen else 0
                iv = rng.randbytes(ivlen) if flags & CRD_F_IV_EXPLICIT else None
                back = flags & (CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT) if flags == FLAGS[3] else 0
                self.forward.append(
                    crd(ini.alg, self.start, length, self.head, flags | CRD_F_ENCRYPT, iv)
                )
                self.backward.append(
                    crd(ini.alg, self.start, length, self.head, back, iv if back else None)
                )
            else:
                begin = rng.choice([0, self.head, self.start]) if sound else 0
                end = self.start + self.length if sound else rng.choice([0, self.head])
                mac = ini.mlen or facts.mac
                self.forward.append(crd(ini.alg, begin, max(0, end - begin), at))
                self.backward.append(crd(ini.alg, begin, max(0, end - begin), at, CRD_F_VERIFY))
                at += mac
        self.data = rng.randbytes(at)
        self.backward.reverse()


def agree(
    framework: Framework,
    sids: tuple[int, int],
    data: bytes,
    kind: str,
    desc: list[Cryptodesc],
    *,
    may_migrate: bool = False,
) -> tuple[int, bytes]:
    """Carry a request out by both; return what came of it, the same by both."""
    outcomes = []
    for sid in sids:
        work = shape(kind, data, LONG_SPLITS if len(data) > LONG else SPLITS)
        crp = (follow if may_migrate else run)(framework, sid, work.buf, *desc)
        outcomes.append((crp.etype, work.content()))
    assert outcomes[0] == outcomes[1], desc
    return outcomes[0]


@pytest.mark.parametrize("seed", range(24))
def test_random_chains(framework: Framework, seed: int) -> None:
    """Forward, back, and back with one bit wrong, by the kernel and by swcrypto."""
    rng = random.Random(seed)
    for _ in range(25):
        both_ways(framework, rng, make_chain(rng), 1 << 14)


@pytest.mark.kernel("qemu")
@pytest.mark.parametrize("seed", range(3))
def test_random_chains_on_debians_own_kernel(framework: Framework, seed: int) -> None:
    """The same, fewer: an emulated CPU is slow. That kernel has no ARC4."""
    rng = random.Random(2000 + seed)
    chains = (make_chain(rng) for _ in range(12))
    for chain in chains:
        if all(ini.alg != Alg.ARC4 for ini in chain):
            both_ways(framework, rng, chain, 1 << 14)
    both_ways(framework, rng, [make_ini(rng, Alg.AES_CBC)], 1 << 20)


@pytest.mark.parametrize("seed", range(16))
def test_long_random_chains(framework: Framework, seed: int) -> None:
    """The same from 16 KiB to 4 MiB. What cannot be split may end where there is room for it."""
    rng = random.Random(1000 + seed)
    for most in (1 << 18, 1 << 20, 4 << 20):
        both_ways(framework, rng, make_chain(rng), most, exactly=seed % 4 == 0)


@pytest.mark.parametrize(
    "alg",
    [a for a in ALGS if a not in SLOW and FACTS[a].kind is not Kind.AEAD],
    ids=lambda a: a.name,
)
def test_large(framework: Framework, alg: Alg) -> None:
    """Requests around the sizes at which the driver changes its way, and one of 4 MiB."""
    rng = random.Random(alg)
    quick = alg in (Alg.AES_CBC, Alg.AES_CTR, Alg.AES_XTS, Alg.SHA2_256_HMAC, Alg.NULL_CBC)
    sizes = [131072 - 16, 131072, 131072 + 16, 212992, 212992 + 16]
    for size in [*sizes, 4 << 20] if quick else sizes[2:4]:
        ini = make_ini(rng, alg)
        sids = (
            open_on(framework, ini),
            framework.newsession(ini, driver="swcrypto"),
        )
        data = rng.randbytes(size + 80)
        cipher = FACTS[alg].kind is Kind.CIPHER
        iv = (rng.randbytes(FACTS[alg].ivlen(ini.klen // 8)) or None) if cipher else None
        flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT if iv else 0
        desc = crd(alg, 16, size, size + 16, flags, iv)
        kind = rng.choice(["contiguous", "view"])
        # What cannot be split goes to swcrypto when it is larger than the socket memory allows.
        whole = alg in (Alg.AES_XTS, Alg.ARC4)
        assert agree(framework, sids, data, kind, [desc], may_migrate=whole)[0] == 0
        for sid in sids:
            framework.freesession(sid)


def both_ways(
    framework: Framework,
    rng: random.Random,
    chain: list[Cryptoini],
    most: int,
    *,
    exactly: bool = False,
) -> None:
    sids = (
        open_on(framework, chain),
        framework.newsession(chain, driver="swcrypto"),
    )
    message = Message(rng, chain, most, exactly)
    kind, may = rng.choice(KINDS), most > LONG
    etype, sealed = agree(framework, sids, message.data, kind, message.forward, may_migrate=may)
    assert etype == 0
    kind = rng.choice(KINDS)
    agree(framework, sids, sealed, kind, message.backward, may_migrate=may)
    if message.length:
        wrong = bytearray(sealed)
        wrong[message.start + rng.randrange(message.length)] ^= 1 << rng.randrange(8)
        agree(framework, sids, bytes(wrong), kind, message.backward, may_migrate=may)
    for sid in sids:
        framework.freesession(sid)


def test_what_migrates_is_what_cannot_be_split(framework: Framework) -> None:
    """A cipher and a MAC of 1 MiB stay with the kernel: two calls, each of any length."""
    chain = [Cryptoini(Alg.AES_CBC, bytes(16)), Cryptoini(Alg.SHA1_HMAC_96, bytes(20))]
    sids = (
        open_on(framework, chain),
        framework.newsession(chain, driver="swcrypto"),
    )
    size = 1 << 20
    data = random.Random(2).randbytes(16 + size + 12)
    forward = [
        crd(Alg.AES_CBC, 16, size, 0, CRD_F_ENCRYPT | CRD_F_IV_PRESENT),
        crd(Alg.SHA1_HMAC_96, 0, 16 + size, 16 + size),
    ]
    assert agree(framework, sids, data, "iov", forward)[0] == 0
    for sid in sids:
        framework.freesession(sid)


@pytest.mark.parametrize("alg", AEADS, ids=lambda a: a.name)
def test_large_aead(framework: Framework, alg: Alg) -> None:
    """Authenticated ciphers cannot be split: a larger request enlarges the buffers or migrates."""
    rng = random.Random(alg)
    key = rng.randbytes(32)
    for size in (131072, 212992 - 36, 212992 + 16, 1 << 20):
        chain = pair(alg, key)
        sids = (
            open_on(framework, chain),
            framework.newsession(chain, driver="swcrypto"),
        )
        aad, length = (size, 0) if alg == Alg.AES_GMAC else (20, size)
        cipher = crd(alg, aad, length, 0, FLAGS[3] | CRD_F_ENCRYPT, rng.randbytes(12))
        tag = crd(chain[1].alg, 0, aad, aad + length)
        data = rng.randbytes(aad + length + 16)
        etype, sealed = agree(framework, sids, data, "view", [cipher, tag], may_migrate=True)
        assert etype == 0
        cipher.flags &= ~CRD_F_ENCRYPT
        etype, plain = agree(framework, sids, sealed, "view", [tag, cipher], may_migrate=True)
        assert (etype, plain[: aad + length]) == (0, data[: aad + length])
        for sid in sids:
            framework.freesession(sid)


def test_a_fresh_iv_is_written_and_never_the_same(framework: Framework) -> None:
    """With neither flag an encryption makes an IV, in front of the data, which then decrypts."""
    key = bytes(range(16))
    sid = framework.newsession(Cryptoini(Alg.AES_CBC, key), driver="afalg")
    seen = set()
    for _ in range(50):
        buf = bytearray(48)
        assert run(framework, sid, buf, crd(Alg.AES_CBC, 16, 32, 0, CRD_F_ENCRYPT)).etype == 0
        seen.add(bytes(buf[:16]))
        assert run(framework, sid, buf, crd(Alg.AES_CBC, 16, 32, 0)).etype == 0
        assert bytes(buf[16:]) == bytes(32)
    assert len(seen) == 50
    framework.freesession(sid)


def test_one_authenc_call_serves_esp(framework: Framework) -> None:
    """Encrypt-then-MAC over AAD, IV and ciphertext takes the one call, with equal answers."""
    chain = [Cryptoini(Alg.AES_CBC, bytes(16)), Cryptoini(Alg.SHA1_HMAC_96, bytes(20))]
    sids = (
        open_on(framework, chain),
        framework.newsession(chain, driver="swcrypto"),
    )
    data = random.Random(1).randbytes(8 + 16 + 64 + 12)
    forward = [
        crd(Alg.AES_CBC, 24, 64, 8, CRD_F_ENCRYPT | CRD_F_IV_PRESENT),
        crd(Alg.SHA1_HMAC_96, 0, 88, 88),
    ]
    etype, sealed = agree(framework, sids, data, "contiguous", forward)
    assert etype == 0
    backward = [crd(Alg.SHA1_HMAC_96, 0, 88, 88, CRD_F_VERIFY), crd(Alg.AES_CBC, 24, 64, 8)]
    etype, plain = agree(framework, sids, sealed, "iov", backward)
    assert (etype, plain[:88]) == (0, data[:88])
    for at in (0, 10, 30, 87, 88, 99):
        wrong = bytearray(sealed)
        wrong[at] ^= 1
        etype, after = agree(framework, sids, bytes(wrong), "contiguous", backward)
        assert (etype, after) == (errno.EBADMSG, bytes(wrong))
    for sid in sids:
        framework.freesession(sid)
