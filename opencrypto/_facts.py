"""
One table of facts of each algorithm: what it is, its sizes, its keys. No implementation.

Everything that validates, selects or documents reads this table; drivers add only what they
themselves restrict. All sizes are in bytes. Sources: NetBSD xform.c, and the standard named in
`Facts.source`.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from opencrypto.constants import Alg


class Kind(Enum):
    """What an algorithm does to its region."""

    CIPHER = "cipher"
    MAC = "mac"
    HASH = "hash"
    AEAD = "aead"
    """The ciphering half of an authenticated cipher: its region is the payload."""
    AEAD_AUTH = "aead-auth"
    """The authenticating half: its region is the additional data, ``inject`` the tag's place."""
    COMP = "compression"


class Facts(NamedTuple):
    """
    What is true of an algorithm in every driver. Sizes in bytes.

    `block` is the nominal block (what ESP pads to); `granule` is what a region's length must be a
    multiple of. `keys` holds the legal key lengths, or is None where every length is legal.
    `salt` bytes at the end of a key of one of the `salted` lengths begin each nonce.
    Fresh IVs count where `counter_iv`; the last `counts` bytes of an IV are then the cipher's own
    counter of blocks, which begins at 0 there, so that no two messages of a session meet.
    `longest` is the longest region that the standard allows under one IV, 0 for any;
    `salted_longest` is that of a salted key. A key with equal halves is refused where
    `halves_differ`, unless the session's profile allows weak keys.
    `digest` is the whole result, `mac` what is injected unless the session asks otherwise.
    """

    alg: Alg
    kind: Kind
    source: str
    block: int = 1
    granule: int = 1
    iv: int = 0
    keys: range | frozenset[int] | None = frozenset({0})
    salt: int = 0
    salted: frozenset[int] = frozenset()
    salted_iv: int = 0
    digest: int = 0
    mac: int = 0
    macs: range | frozenset[int] = range(0)
    counter_iv: bool = False
    counts: int = 0
    decrepit: bool = False
    longest: int = 0
    salted_longest: int = 0
    halves_differ: bool = False

    @property
    def name(self) -> str:
        """The constant's name without its ``CRYPTO_`` prefix."""
        return self.alg.name

    @property
    def authenticates(self) -> bool:
        """Whether this algorithm injects or verifies a MAC, digest or tag."""
        return self.digest > 0

    def ivlen(self, keylen: int) -> int:
        """Return the bytes of IV that a request carries, for a key of this many bytes."""
        return self.salted_iv if keylen in self.salted else self.iv

    def longest_region(self, keylen: int) -> int:
        """Return the most bytes of a region, for a key of this many bytes; 0 for any number."""
        return self.salted_longest if keylen in self.salted else self.longest

    def key_ok(self, keylen: int) -> bool:
        """Tell whether a key of this many bytes is legal."""
        return self.keys is None or keylen in self.keys

    def keys_text(self) -> str:
        """Say which key lengths are legal, for messages and documents."""
        if self.keys is None:
            return "any number of"
        if isinstance(self.keys, range):
            return f"{self.keys.start} to {self.keys.stop - 1}"
        return " or ".join(map(str, sorted(self.keys)))


_AES: Final = frozenset({16, 24, 32})
_SIV: Final = frozenset({32, 48, 64})
"""Two keys in one: the first half authenticates, the second ciphers."""


def _cipher(
    alg: Alg, block: int, keys: range | frozenset[int], source: str, *, decrepit: bool = False
) -> Facts:
    return Facts(alg, Kind.CIPHER, source, block, block, iv=block, keys=keys, decrepit=decrepit)


def _mac(
    alg: Alg, block: int, digest: int, mac: int, source: str, *,
    keys: range | frozenset[int] | None = None, decrepit: bool = False,
) -> Facts:  # fmt: skip
    return Facts(
        alg, Kind.MAC, source, block,
        keys=keys, digest=digest, mac=mac, macs=range(1, digest + 1), decrepit=decrepit,
    )  # fmt: skip


def _hash(alg: Alg, block: int, digest: int, source: str, *, decrepit: bool = False) -> Facts:
    return Facts(
        alg, Kind.HASH, source, block,
        digest=digest, mac=digest, macs=range(1, digest + 1), decrepit=decrepit,
    )  # fmt: skip


def _salted(keys: frozenset[int], salt: int) -> frozenset[int]:
    return frozenset(n + salt for n in keys)


def _aead(
    alg: Alg, keys: frozenset[int], salt: int, source: str, longest: int, salted_longest: int = 0,
) -> Facts:  # fmt: skip
    return Facts(
        alg, Kind.AEAD, source, 4, counter_iv=True,
        longest=longest, salted_longest=salted_longest or longest,
        iv=12, keys=keys | _salted(keys, salt), salt=salt, salted=_salted(keys, salt), salted_iv=8,
    )  # fmt: skip


def _tag(alg: Alg, keys: frozenset[int], salt: int, source: str, macs: frozenset[int]) -> Facts:
    return Facts(
        alg, Kind.AEAD_AUTH, source, 16,
        keys=keys | _salted(keys, salt), salt=salt, salted=_salted(keys, salt),
        digest=16, mac=16, macs=macs,
    )  # fmt: skip


def _comp(alg: Alg, source: str) -> Facts:
    return Facts(alg, Kind.COMP, source)


_GCM_TAGS: Final = frozenset({4, 8, 12, 13, 14, 15, 16})
_CCM_TAGS: Final = frozenset({4, 6, 8, 10, 12, 14, 16})
_POLY_TAGS: Final = frozenset({16})

_XTS_LONGEST: Final = 16 << 20
"""2**20 blocks of a data unit: IEEE 1619-2018, 5.1; SP 800-38E, 4."""

_CTR_LONGEST: Final = (2**32 - 1) * 16
"""The counter of blocks has 32 bits and begins at 1: RFC 3686, 2.1."""

_GCM_LONGEST: Final = 2**36 - 32
"""2**39 - 256 bits: SP 800-38D, 5.2.1.1."""

_CCM_LONGEST: Final = 2**24 - 1
"""The length's field has what the nonce leaves of 15 bytes: 3 beside one of 12 (RFC 3610, 2)."""

_CCM_SALTED_LONGEST: Final = 2**32 - 1
"""4 bytes of length beside a nonce of 11: RFC 4309, 4."""

_CHACHA_LONGEST: Final = 2**38 - 64
"""2**32 - 1 blocks of 64 bytes: RFC 8439, 2.8."""

_TABLE: Final = (
    _cipher(Alg.DES_CBC, 8, frozenset({8}), "FIPS 46-3", decrepit=True),
    _cipher(Alg["3DES_CBC"], 8, frozenset({24}), "RFC 2451", decrepit=True),
    _cipher(Alg.BLF_CBC, 8, range(4, 57), "Schneier 1993; RFC 2451", decrepit=True),
    _cipher(Alg.CAST_CBC, 8, range(5, 17), "RFC 2144", decrepit=True),
    _cipher(Alg.SKIPJACK_CBC, 8, frozenset({10}), "NIST Skipjack 1998", decrepit=True),
    _cipher(Alg.CAMELLIA_CBC, 16, _AES, "RFC 3713"),
    _cipher(Alg.AES_CBC, 16, _AES, "RFC 3602"),
    Facts(
        Alg.AES_CTR, Kind.CIPHER, "RFC 3686", block=16, counter_iv=True,
        longest=_CTR_LONGEST, salted_longest=_CTR_LONGEST,
        iv=8, keys=_salted(_AES, 4), salt=4, salted=_salted(_AES, 4), salted_iv=8,
    ),
    Facts(
        Alg.AES_XTS, Kind.CIPHER, "IEEE 1619", 16, 16, iv=16, keys=frozenset({32, 64}),
        longest=_XTS_LONGEST, halves_differ=True,
    ),
    Facts(
        Alg.AES_ICM, Kind.CIPHER, "SP 800-38A, 6.5", block=16, counter_iv=True, counts=8,
        iv=16, keys=_AES,
    ),
    Facts(Alg.AES_ECB, Kind.CIPHER, "SP 800-38A, 6.1", 16, 16, keys=_AES),
    Facts(Alg.ARC4, Kind.CIPHER, "RFC 6229", keys=range(1, 257), decrepit=True),
    Facts(Alg.NULL_CBC, Kind.CIPHER, "RFC 2410", block=4, keys=range(257)),
    _mac(Alg.MD5_HMAC, 64, 16, 16, "RFC 2104", decrepit=True),
    _mac(Alg.MD5_HMAC_96, 64, 16, 12, "RFC 2403", decrepit=True),
    _mac(Alg.SHA1_HMAC, 64, 20, 20, "RFC 2104"),
    _mac(Alg.SHA1_HMAC_96, 64, 20, 12, "RFC 2404"),
    _mac(Alg.RIPEMD160_HMAC, 64, 20, 20, "RFC 2286"),
    _mac(Alg.RIPEMD160_HMAC_96, 64, 20, 12, "RFC 2857"),
    _mac(Alg.MD5_KPDK, 64, 16, 16, "RFC 1828", decrepit=True),
    _mac(Alg.SHA1_KPDK, 64, 20, 20, "RFC 1852", decrepit=True),
    _mac(Alg.SHA2_224_HMAC, 64, 28, 28, "RFC 4231"),
    _mac(Alg.SHA2_256_HMAC, 64, 32, 16, "RFC 4868"),
    _mac(Alg.SHA2_384_HMAC, 128, 48, 24, "RFC 4868"),
    _mac(Alg.SHA2_512_HMAC, 128, 64, 32, "RFC 4868"),
    _mac(Alg.AES_XCBC_MAC_96, 16, 16, 12, "RFC 3566", keys=frozenset({16})),
    _mac(Alg.AES_CMAC, 16, 16, 16, "RFC 4493", keys=_AES),
    _mac(Alg.POLY1305, 16, 16, 16, "RFC 8439", keys=frozenset({32})),
    _mac(Alg.BLAKE2B, 128, 64, 64, "RFC 7693", keys=range(65)),
    _mac(Alg.BLAKE2S, 64, 32, 32, "RFC 7693", keys=range(33)),
    Facts(
        Alg.NULL_HMAC, Kind.MAC, "NetBSD xform.c", block=64,
        keys=None, digest=12, mac=12, macs=range(1, 13),
    ),
    _hash(Alg.MD5, 64, 16, "RFC 1321", decrepit=True),
    _hash(Alg.SHA1, 64, 20, "FIPS 180-4", decrepit=True),
    _hash(Alg.SHA2_224, 64, 28, "FIPS 180-4"),
    _hash(Alg.SHA2_256, 64, 32, "FIPS 180-4"),
    _hash(Alg.SHA2_384, 128, 48, "FIPS 180-4"),
    _hash(Alg.SHA2_512, 128, 64, "FIPS 180-4"),
    _hash(Alg.SHA3_256, 136, 32, "FIPS 202"),
    _hash(Alg.SHA3_512, 72, 64, "FIPS 202"),
    _aead(Alg.AES_GCM_16, _AES, 4, "RFC 4106", _GCM_LONGEST),
    _aead(Alg.AES_GMAC, _AES, 4, "RFC 4543", 0),
    _aead(Alg.AES_CCM_16, _AES, 3, "RFC 4309", _CCM_LONGEST, _CCM_SALTED_LONGEST),
    _aead(Alg.CHACHA20_POLY1305, frozenset({32}), 4, "RFC 7634", _CHACHA_LONGEST),
    Facts(Alg.AES_SIV, Kind.AEAD, "RFC 5297", keys=_SIV),
    _tag(Alg.AES_128_GMAC, frozenset({16}), 4, "RFC 4543", _GCM_TAGS),
    _tag(Alg.AES_192_GMAC, frozenset({24}), 4, "RFC 4543", _GCM_TAGS),
    _tag(Alg.AES_256_GMAC, frozenset({32}), 4, "RFC 4543", _GCM_TAGS),
    _tag(Alg.AES_CCM_MAC, _AES, 3, "RFC 4309", _CCM_TAGS),
    _tag(Alg.CHACHA20_POLY1305_MAC, frozenset({32}), 4, "RFC 7634", _POLY_TAGS),
    Facts(
        Alg.AES_SIV_MAC, Kind.AEAD_AUTH, "RFC 5297", 16,
        keys=_SIV, digest=16, mac=16, macs=frozenset({16}),
    ),
    _comp(Alg.DEFLATE_COMP, "RFC 1951"),
    _comp(Alg.DEFLATE_COMP_NOGROW, "RFC 1951"),
    _comp(Alg.GZIP_COMP, "RFC 1952"),
)  # fmt: skip

FACTS: Final[Mapping[int, Facts]] = {int(facts.alg): facts for facts in _TABLE}
"""The facts by algorithm number."""

_GMACS: Final = frozenset({Alg.AES_128_GMAC, Alg.AES_192_GMAC, Alg.AES_256_GMAC})

AEAD_PARTNERS: Final[Mapping[int, frozenset[Alg]]] = {
    Alg.AES_GCM_16: _GMACS,
    Alg.AES_GMAC: _GMACS,
    Alg.AES_CCM_16: frozenset({Alg.AES_CCM_MAC}),
    Alg.CHACHA20_POLY1305: frozenset({Alg.CHACHA20_POLY1305_MAC}),
    Alg.AES_SIV: frozenset({Alg.AES_SIV_MAC}),
}
"""Which authenticating halves go with each authenticated cipher, in one chain, in either order."""

AEAD_CIPHERS: Final[Mapping[int, tuple[Alg, ...]]] = {
    half: tuple(Alg(cipher) for cipher, halves in AEAD_PARTNERS.items() if half in halves)
    for half in sorted(frozenset().union(*AEAD_PARTNERS.values()))
}
"""The inverse: which authenticated ciphers each authenticating half goes with."""
