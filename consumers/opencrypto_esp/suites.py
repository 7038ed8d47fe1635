"""
The algorithms of ESP and AH, as data: which framework algorithm serves each, its lengths, its RFC.

All sizes are in **bytes**. Key lengths include the salt or nonce that RFC 3686, 4106, 4309, 4543
and 7634 put at the end of the keying material, as the framework's sessions take it.

A suite has one name here, and is found by every spelling that people have: those of ``ip xfrm``,
of IKE daemons, of IANA's registry and of Wireshark (`encryption_named`, `integrity_named`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from opencrypto import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_192_GMAC,
    CRYPTO_AES_256_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CCM_16,
    CRYPTO_AES_CCM_MAC,
    CRYPTO_AES_CMAC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_GMAC,
    CRYPTO_AES_XCBC_MAC_96,
    CRYPTO_BLF_CBC,
    CRYPTO_CAMELLIA_CBC,
    CRYPTO_CAST_CBC,
    CRYPTO_CHACHA20_POLY1305,
    CRYPTO_CHACHA20_POLY1305_MAC,
    CRYPTO_DES_CBC,
    CRYPTO_MD5_HMAC_96,
    CRYPTO_RIPEMD160_HMAC_96,
    CRYPTO_SHA1_HMAC_96,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SHA2_384_HMAC,
    CRYPTO_SHA2_512_HMAC,
)


@dataclass(frozen=True, slots=True)
class Encryption:
    """
    An encryption transform.

    Attributes:
        alg: The framework's algorithm, or None for NULL (RFC 2410), which needs none.
        keys: The key lengths it takes, with the salt.
        salt: How much of the end of a key is salt.
        iv: What stands between the sequence number and the payload.
        align: What payload, padding and trailer are together a multiple of; ESP itself wants 4.
        tags: For combined modes, the authenticating algorithm by key length.
        icv: The ICV of a combined mode; 0 for the others, whose SA names an `Integrity`.
        hides: Whether the payload is encrypted (not with NULL and AES-GMAC).
        counter: Whether two packets with one IV under one key give each other away.
        old: Whether it is there to read old captures, and nothing is sent by it.
        source: Where it is specified.
        spellings: How others write it: see `_fold`; ``#`` stands for the key's bits, or nothing.
    """

    name: str
    source: str
    alg: int | None
    keys: frozenset[int]
    salt: int = 0
    iv: int = 0
    align: int = 4
    tags: Mapping[int, int] = field(default_factory=dict)
    icv: int = 0
    hides: bool = True
    counter: bool = False
    old: bool = False
    spellings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Integrity:
    """An integrity transform: the framework's algorithm, its one key length, its ICV's length."""

    name: str
    source: str
    alg: int
    key: int
    icv: int
    spellings: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[int]:
        """Return the key lengths it takes."""
        return frozenset({self.key})

    @property
    def salt(self) -> int:
        """Return how much of its key is salt: nothing."""
        return 0


_AES: Final = frozenset({16, 24, 32})
_SALTED_AES: Final = frozenset({20, 28, 36})
_CCM_AES: Final = frozenset({19, 27, 35})
_GCM_TAGS: Final = {20: CRYPTO_AES_128_GMAC, 28: CRYPTO_AES_192_GMAC, 36: CRYPTO_AES_256_GMAC}
_CCM_TAGS: Final = dict.fromkeys(_CCM_AES, CRYPTO_AES_CCM_MAC)

# The longest first: a name that leaves the ICV's length open means the whole one.
_ICVS: Final = (16, 12, 8)


def _combined_spellings(mode: str, icv: int) -> tuple[str, ...]:
    sized = (
        f"aes#{mode}{icv}", f"aes{mode}{icv}#", f"aes#{mode}{icv * 8}", f"{mode}aes{icv * 8}",
        f"aes{mode}with{icv}octeticv",
    )  # fmt: skip
    return (*sized, f"aes#{mode}", f"aes{mode}#") if icv == 16 else sized


def _gcm(icv: int) -> Encryption:
    linux = ("rfc4106gcmaes",) if icv == 16 else ()
    return Encryption(
        f"aes-gcm-{icv}", "RFC 4106", CRYPTO_AES_GCM_16, _SALTED_AES, salt=4,
        iv=8, tags=_GCM_TAGS, icv=icv, counter=True,
        spellings=(*_combined_spellings("gcm", icv), *linux),
    )  # fmt: skip


def _ccm(icv: int) -> Encryption:
    linux = ("rfc4309ccmaes",) if icv == 16 else ()
    return Encryption(
        f"aes-ccm-{icv}", "RFC 4309", CRYPTO_AES_CCM_16, _CCM_AES, salt=3,
        iv=8, tags=_CCM_TAGS, icv=icv, counter=True,
        spellings=(*_combined_spellings("ccm", icv), *linux),
    )  # fmt: skip


ENCRYPTIONS: Final[Mapping[str, Encryption]] = {
    suite.name: suite
    for suite in (
        Encryption(
            "null", "RFC 2410", None, frozenset({0}), hides=False,
            spellings=("ciphernull", "ecbciphernull"),
        ),
        Encryption(
            "3des-cbc", "RFC 2451", CRYPTO_3DES_CBC, frozenset({24}), iv=8, align=8,
            spellings=("3des#", "3descbc#", "3des#cbc", "des3ede", "cbcdes3ede", "tripledescbc"),
        ),
        Encryption(
            "aes-cbc", "RFC 3602", CRYPTO_AES_CBC, _AES, iv=16, align=16,
            spellings=("aes#cbc", "aescbc#", "aes#", "cbcaes", "rijndael#", "rijndaelcbc#"),
        ),
        Encryption(
            "aes-ctr", "RFC 3686", CRYPTO_AES_CTR, _SALTED_AES, salt=4, iv=8, counter=True,
            spellings=("aes#ctr", "aesctr#", "rfc3686ctraes"),
        ),
        *map(_gcm, _ICVS),
        *map(_ccm, _ICVS),
        Encryption(
            "chacha20-poly1305", "RFC 7634", CRYPTO_CHACHA20_POLY1305, frozenset({36}), salt=4,
            iv=8, tags={36: CRYPTO_CHACHA20_POLY1305_MAC}, icv=16, counter=True,
            spellings=(
                "chacha20poly1305#", "rfc7539espchacha20poly1305", "chacha20withpoly1305",
                "chachapoly",
            ),
        ),
        Encryption(
            "aes-gmac", "RFC 4543", CRYPTO_AES_GMAC, _SALTED_AES, salt=4,
            iv=8, tags=_GCM_TAGS, icv=16, hides=False, counter=True,
            spellings=("aes#gmac", "aesgmac#", "nullauthaesgmac#", "nullaesgmac#",
                       "aesnullgmac", "rfc4543gcmaes"),
        ),
        Encryption(
            "des-cbc", "RFC 2405", CRYPTO_DES_CBC, frozenset({8}), iv=8, align=8, old=True,
            spellings=("des", "cbcdes"),
        ),
        Encryption(
            "blowfish-cbc", "RFC 2451", CRYPTO_BLF_CBC, frozenset(range(5, 57)), iv=8, align=8,
            old=True, spellings=(
                "blowfish#", "blowfishcbc#", "blowfish#cbc", "cbcblowfish", "blf", "blfcbc",
            ),
        ),
        Encryption(
            "cast-cbc", "RFC 2451", CRYPTO_CAST_CBC, frozenset(range(5, 17)), iv=8, align=8,
            old=True, spellings=(
                "cast#", "castcbc#", "cast#cbc", "cast5", "cast5cbc", "cbccast5",
            ),
        ),
        Encryption(
            "camellia-cbc", "RFC 4312", CRYPTO_CAMELLIA_CBC, _AES, iv=16, align=16, old=True,
            spellings=("camellia#", "camelliacbc#", "camellia#cbc", "cbccamellia"),
        ),
    )
}  # fmt: skip
"""The encryption transforms by their names here."""

INTEGRITIES: Final[Mapping[str, Integrity]] = {
    suite.name: suite
    for suite in (
        Integrity(
            "hmac-md5-96", "RFC 2403", CRYPTO_MD5_HMAC_96, 16, 12, ("md5", "md596", "hmacmd5")
        ),
        Integrity(
            "hmac-sha1-96", "RFC 2404", CRYPTO_SHA1_HMAC_96, 20, 12,
            ("sha", "sha1", "sha196", "hmacsha", "hmacsha1"),
        ),
        Integrity(
            "hmac-ripemd160-96", "RFC 2857", CRYPTO_RIPEMD160_HMAC_96, 20, 12,
            ("ripemd160", "ripemd16096", "rmd160", "hmacrmd160", "hmacripemd160",
             "macripemd16096"),
        ),
        *(
            Integrity(
                f"hmac-sha2-{bits}-{bits // 2}", "RFC 4868", alg, bits // 8, bits // 16,
                (f"sha{bits}", f"sha2{bits}", f"sha{bits}{bits // 2}", f"sha2{bits}{bits // 2}",
                 f"hmacsha{bits}", f"hmacsha2{bits}", f"hmacsha{bits}{bits // 2}"),
            )
            for bits, alg in (
                (256, CRYPTO_SHA2_256_HMAC),
                (384, CRYPTO_SHA2_384_HMAC),
                (512, CRYPTO_SHA2_512_HMAC),
            )
        ),
        # What Linux made of hmac(sha256) before RFC 4868, and still makes of it unless it is told.
        Integrity(
            "hmac-sha2-256-96", "draft-ietf-ipsec-ciph-sha-256-00", CRYPTO_SHA2_256_HMAC, 32, 12,
            ("sha25696", "sha225696", "hmacsha25696"),
        ),
        Integrity(
            "aes-xcbc-96", "RFC 3566", CRYPTO_AES_XCBC_MAC_96, 16, 12,
            ("aesxcbc", "xcbcaes", "aesxcbcmac", "aesxcbcmac96"),
        ),
        Integrity(
            "aes-cmac-96", "RFC 4494", CRYPTO_AES_CMAC, 16, 12, ("aescmac", "cmacaes")
        ),
    )
}  # fmt: skip
"""The integrity transforms by their names here."""

# What encrypts, or authenticates.
_Suite = TypeVar("_Suite", Encryption, Integrity)


def encryption_named(spelling: str, icv_bits: int | None = None) -> Encryption | None:
    """
    Return the encryption that a spelling means, if it means one.

    Args:
        spelling: ``AES_GCM_16-256``, ``aes256gcm16``, ``rfc4106(gcm(aes))``, ``ENCR_AES_CBC``,
            ``AES-CBC [RFC3602]``, in capitals or not.
        icv_bits: The ICV's length in **bits**, where it is written apart, as ``ip xfrm`` does.
    """
    return _named(ENCRYPTIONS.values(), spelling, icv_bits)


def integrity_named(spelling: str, icv_bits: int | None = None) -> Integrity | None:
    """
    Return the integrity that a spelling means, if it means one.

    Args:
        spelling: ``HMAC_SHA2_256_128``, ``sha256``, ``hmac(sha256)``, ``AUTH_AES_XCBC_96``.
        icv_bits: The ICV's length in **bits**, where it is written apart: ``auth-trunc`` of
            ``ip xfrm``.
    """
    return _named(INTEGRITIES.values(), spelling, icv_bits)


def key_bits(spelling: str) -> int | None:
    """Return how many bits of key a spelling names, without salt, if it does: 256 in aes256."""
    found = _meaning(ENCRYPTIONS.values(), spelling)
    return found[1] if found else None


def _named(suites: Iterable[_Suite], spelling: str, icv_bits: int | None) -> _Suite | None:
    found = _meaning(suites, spelling)
    if found is None or icv_bits is None or icv_bits == found[0].icv * 8:
        return found[0] if found else None
    same = (suite for suite in suites if suite.alg == found[0].alg)
    return next((suite for suite in same if suite.icv * 8 == icv_bits), None)


def _meaning(suites: Iterable[_Suite], spelling: str) -> tuple[_Suite, int | None] | None:
    folded = _fold(spelling)
    for suite in suites:
        sizes = {(size - suite.salt) * 8 for size in suite.keys}
        for pattern in _patterns(suite.name, suite.spellings):
            match = pattern.fullmatch(folded)
            if match is None:
                continue
            bits = int(match["bits"]) if match.groupdict().get("bits") else None
            if bits is None or bits in sizes:
                return suite, bits
    return None


@functools.cache
def _patterns(name: str, spellings: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    texts = (_fold(name), *spellings)
    return tuple(re.compile(text.replace("#", "(?P<bits>[0-9]+)?")) for text in texts)


def _fold(spelling: str) -> str:
    """
    Return a spelling without what people vary: capitals, signs, the registry's prefix, the RFC.
    """
    bare = re.sub(r"\[[^]]*\]", "", spelling.lower())
    return re.sub("[^a-z0-9]", "", bare).removeprefix("encr").removeprefix("auth")
