"""
One table of the names of algorithms: as the field writes them, and as OpenSSL, Linux and IKE do.

A name says more than a number: the length of the key, whether a salt is at the key's end, how
much of the MAC is kept, and of an authenticated cipher both halves. Case does not count. BSD's
constants are names too (``AES_CBC``, ``CRYPTO_AES_CBC``), and mean what their numbers mean.
Sources: openssl-enc(1) and EVP(7), Linux' /proc/crypto and ``ip xfrm``, IANA's IKEv2 transforms,
strongSwan's keywords of proposals, RFC 5116.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from opencrypto._facts import AEAD_PARTNERS, FACTS, Kind
from opencrypto.constants import Alg
from opencrypto.exceptions import UsageError

__all__ = ["Named", "algorithm", "algorithms", "name_of", "named", "unknown"]


class Named(NamedTuple):
    """
    What a name says: one algorithm or one authenticated cipher.

    Attributes:
        name: The first of its spellings, or the one that was asked for if that is a constant's or
            has a MAC's length at its end.
        alg: The algorithm; of an authenticated cipher the ciphering half.
        keys: The lengths of key in **bytes** that go with the name; None for any.
        mlen: The **bytes** of MAC, digest or tag; 0 for BSD's usual length, and for ciphers.
        aliases: The other spellings.
    """

    name: str
    alg: Alg
    keys: frozenset[int] | None
    mlen: int = 0
    aliases: tuple[str, ...] = ()

    @property
    def joined(self) -> bool:
        """Whether it is an authenticated cipher, of which a session has two halves."""
        return self.alg in AEAD_PARTNERS

    @property
    def takes_key(self) -> bool:
        """Whether it goes with a key at all."""
        return self.keys is None or any(self.keys)

    def half(self, keylen: int) -> Alg:
        """
        Return the authenticating half of an authenticated cipher under a key of `keylen` bytes.

        Raises:
            UsageError: the name does not go with such a key.
        """
        self.check_key(keylen)
        return next(alg for alg in sorted(AEAD_PARTNERS[self.alg]) if FACTS[alg].key_ok(keylen))

    def check_key(self, keylen: int) -> None:
        """
        Refuse a key of a length that the name does not say.

        Args:
            keylen: The key's length in **bytes**.

        Raises:
            UsageError: it does not fit, in a sentence that says which name would.
        """
        if self.keys is None or keylen in self.keys:
            return
        takes = f"takes a key of {_text(self.keys)} bytes" if self.takes_key else "takes no key"
        fits = [
            other.name
            for other in named()
            if other.alg == self.alg and other.keys is not None and keylen in other.keys
        ]
        hint = f"; {fits[0]} takes that" if fits else ""
        raise UsageError(f"{self.name} {takes}, not {keylen}{hint}")


def _text(keys: frozenset[int]) -> str:
    if len(keys) > 3:
        return f"{min(keys)} to {max(keys)}"
    return " or ".join(map(str, sorted(keys)))


def _bytes(*lengths: int) -> frozenset[int]:
    return frozenset(lengths)


_BITS: Final = (128, 192, 256)
_AES: Final = _bytes(16, 24, 32)


def _plain(alg: Alg, name: str, *aliases: str) -> Named:
    """One whose keys and whole MAC are the algorithm's own."""
    return Named(name, alg, _own_keys(alg), FACTS[alg].digest, aliases)


def _own_keys(alg: Alg) -> frozenset[int] | None:
    keys = FACTS[alg].keys
    return None if keys is None else frozenset(keys)


def _sized(alg: Alg, family: str, *aliases: str, times: int = 1, mlen: int = 0) -> Iterator[Named]:
    """One of each size of key, with ``{}`` for its bits."""
    for bits in _BITS:
        if FACTS[alg].key_ok(times * bits // 8):
            spelt = tuple(alias.format(bits, times * bits) for alias in aliases)
            yield Named(family.format(bits), alg, _bytes(times * bits // 8), mlen, spelt)


def _salted(alg: Alg, name: str, *aliases: str, mlen: int = 0) -> Named:
    return Named(name, alg, FACTS[alg].salted, mlen, aliases)


def _ike(alg: Alg, mode: str, macs: Iterable[int] = ()) -> Iterator[Named]:
    """strongSwan's keywords of a salted mode, whose tags are said in bytes or in bits."""
    for bits in _BITS:
        keys = _bytes(bits // 8 + FACTS[alg].salt)
        if not macs:
            yield Named(f"aes{bits}{mode}", alg, keys, 16 if alg in AEAD_PARTNERS else 0)
        for mlen in macs:
            spelt = f"aes{bits}{mode}{8 * mlen}"
            yield Named(f"aes{bits}{mode}{mlen}", alg, keys, mlen, (spelt,))


def _ciphers() -> Iterator[Named]:
    yield from _sized(Alg.AES_CBC, "aes-{}-cbc", "aes{}", "aes-{}", "aes{}-cbc")
    yield Named("aes-cbc", Alg.AES_CBC, _AES, 0, ("cbc(aes)", "ENCR_AES_CBC"))
    yield from _sized(Alg.AES_ICM, "aes-{}-ctr", "aes{}-ctr", "aes-{}-icm")
    yield Named("aes-ctr", Alg.AES_ICM, _AES, 0, ("ctr(aes)", "aes-icm"))
    yield _salted(Alg.AES_CTR, "rfc3686(ctr(aes))", "ENCR_AES_CTR")
    yield from _ike(Alg.AES_CTR, "ctr")
    yield from _sized(Alg.AES_ECB, "aes-{}-ecb", "aes{}-ecb")
    yield Named("aes-ecb", Alg.AES_ECB, _AES, 0, ("ecb(aes)",))
    yield from _sized(Alg.AES_XTS, "aes-{}-xts", "aes{}-xts", times=2)
    yield Named("aes-xts", Alg.AES_XTS, _bytes(32, 64), 0, ("xts(aes)",))
    yield from _sized(Alg.CAMELLIA_CBC, "camellia-{}-cbc", "camellia{}", "camellia-{}")
    yield _plain(Alg.CAMELLIA_CBC, "camellia-cbc", "cbc(camellia)", "ENCR_CAMELLIA_CBC")
    yield _plain(
        Alg["3DES_CBC"], "des-ede3-cbc", "3des", "3des-cbc", "des3", "cbc(des3_ede)", "ENCR_3DES"
    )
    yield _plain(Alg.DES_CBC, "des-cbc", "des", "cbc(des)", "ENCR_DES")
    yield _plain(
        Alg.BLF_CBC,
        "bf-cbc", "bf", "blowfish", "blowfish-cbc", "cbc(blowfish)", "ENCR_BLOWFISH",
    )  # fmt: skip
    yield from _sized(Alg.BLF_CBC, "blowfish{}")
    yield _plain(Alg.CAST_CBC, "cast5-cbc", "cast", "cast5", "cast-cbc", "cbc(cast5)", "ENCR_CAST")
    yield Named("cast128", Alg.CAST_CBC, _bytes(16))
    yield _plain(Alg.SKIPJACK_CBC, "skipjack-cbc", "skipjack")
    yield _plain(Alg.ARC4, "rc4", "arc4", "arcfour", "ecb(arc4)")
    no_key = _bytes(0)
    aliases = ("cipher_null", "ecb(cipher_null)", "ENCR_NULL")
    yield Named("null", Alg.NULL_CBC, no_key, 0, aliases)


def _authenticated() -> Iterator[Named]:
    gcm, gmac, ccm = Alg.AES_GCM_16, Alg.AES_GMAC, Alg.AES_CCM_16
    yield from _sized(gcm, "aes-{}-gcm", "id-aes{}-gcm", "aes{}-gcm", "AEAD_AES_{}_GCM", mlen=16)
    yield Named("aes-gcm", gcm, _AES, 16, ("gcm(aes)",))
    yield _salted(gcm, "rfc4106(gcm(aes))", "ENCR_AES_GCM_16", mlen=16)
    yield _salted(gcm, "rfc4106(gcm(aes))-96", "ENCR_AES_GCM_12", mlen=12)
    yield _salted(gcm, "rfc4106(gcm(aes))-64", "ENCR_AES_GCM_8", mlen=8)
    yield from _ike(gcm, "gcm", (16, 12, 8))
    yield from _sized(gmac, "aes-{}-gmac", "aes{}-gmac", mlen=16)
    yield Named("aes-gmac", gmac, _AES, 16)
    yield _salted(gmac, "rfc4543(gcm(aes))", "ENCR_NULL_AUTH_AES_GMAC", mlen=16)
    yield from _ike(gmac, "gmac")
    yield from _sized(ccm, "aes-{}-ccm", "id-aes{}-ccm", "aes{}-ccm", "AEAD_AES_{}_CCM", mlen=16)
    yield Named("aes-ccm", ccm, _AES, 16, ("ccm(aes)",))
    yield _salted(ccm, "rfc4309(ccm(aes))", "ENCR_AES_CCM_16", mlen=16)
    yield _salted(ccm, "rfc4309(ccm(aes))-96", "ENCR_AES_CCM_12", mlen=12)
    yield _salted(ccm, "rfc4309(ccm(aes))-64", "ENCR_AES_CCM_8", mlen=8)
    yield from _ike(ccm, "ccm", (16, 12, 8))
    chacha = Alg.CHACHA20_POLY1305
    aliases = ("rfc7539(chacha20,poly1305)", "AEAD_CHACHA20_POLY1305")
    yield Named("chacha20-poly1305", chacha, _bytes(32), 16, aliases)
    yield _salted(chacha, "rfc7539esp(chacha20,poly1305)", "ENCR_CHACHA20_POLY1305", mlen=16)
    # strongSwan's keyword, with salt, and what many libraries call the bare one: the key tells.
    yield Named("chacha20poly1305", chacha, _bytes(32, 36), 16)
    yield from _sized(
        Alg.AES_SIV, "aes-{}-siv", "aes{}-siv", "AEAD_AES_SIV_CMAC_{1}", times=2, mlen=16
    )
    yield Named("aes-siv", Alg.AES_SIV, _bytes(32, 48, 64), 16)


def _authenticators() -> Iterator[Named]:
    yield _plain(Alg.MD5_HMAC, "hmac-md5", "hmac(md5)")
    yield Named("hmac-md5-96", Alg.MD5_HMAC_96, None, 12, ("hmac(md5)-96", "AUTH_HMAC_MD5_96"))
    yield _plain(Alg.SHA1_HMAC, "hmac-sha1", "hmac-sha-1", "hmac(sha1)")
    yield Named("hmac-sha1-96", Alg.SHA1_HMAC_96, None, 12, ("hmac(sha1)-96", "AUTH_HMAC_SHA1_96"))
    yield _plain(Alg.RIPEMD160_HMAC, "hmac-ripemd160", "hmac-rmd160", "hmac(rmd160)")
    yield Named(
        "hmac-ripemd160-96", Alg.RIPEMD160_HMAC_96, None, 12,
        ("hmac-rmd160-96", "hmac(rmd160)-96"),
    )  # fmt: skip
    for bits, kept in ((224, 0), (256, 128), (384, 192), (512, 256)):
        alg = Alg[f"SHA2_{bits}_HMAC"]
        yield _plain(
            alg, f"hmac-sha2-{bits}", f"hmac-sha{bits}", f"hmac-sha-{bits}", f"hmac(sha{bits})"
        )
        if kept:
            ike = f"AUTH_HMAC_SHA2_{bits}_{kept}"
            yield Named(f"hmac-sha2-{bits}-{kept}", alg, None, kept // 8, (ike,))
    yield _plain(Alg.MD5_KPDK, "md5-kpdk", "AUTH_KPDK_MD5")
    yield _plain(Alg.SHA1_KPDK, "sha1-kpdk")
    xcbc = Alg.AES_XCBC_MAC_96
    aliases = ("aes-xcbc-96", "aesxcbc", "AUTH_AES_XCBC_96")
    yield Named("aes-xcbc-mac-96", xcbc, _bytes(16), 12, aliases)
    yield _plain(xcbc, "aes-xcbc-mac", "aes-xcbc", "xcbc(aes)")
    yield from _sized(Alg.AES_CMAC, "aes-{}-cmac", mlen=16)
    yield Named("aes-cmac", Alg.AES_CMAC, _AES, 16, ("cmac(aes)",))
    yield Named("aes-cmac-96", Alg.AES_CMAC, _AES, 12, ("cmac(aes)-96",))
    yield Named("aescmac", Alg.AES_CMAC, _bytes(16), 12, ("AUTH_AES_CMAC_96",))
    yield _plain(Alg.POLY1305, "poly1305")
    yield _plain(Alg.BLAKE2B, "blake2b-512", "blake2b512", "blake2b", "blake2bmac")
    yield _plain(Alg.BLAKE2S, "blake2s-256", "blake2s256", "blake2s", "blake2smac")
    yield _plain(Alg.NULL_HMAC, "null-hmac", "digest_null", "hmac(digest_null)")


def _digests() -> Iterator[Named]:
    yield _plain(Alg.MD5, "md5")
    yield _plain(Alg.SHA1, "sha1", "sha-1")
    for bits in (224, 256, 384, 512):
        yield _plain(Alg[f"SHA2_{bits}"], f"sha2-{bits}", f"sha{bits}", f"sha-{bits}")
    for bits in (256, 512):
        yield _plain(Alg[f"SHA3_{bits}"], f"sha3-{bits}")
    yield _plain(Alg.DEFLATE_COMP, "deflate", "IPCOMP_DEFLATE")
    yield _plain(Alg.DEFLATE_COMP_NOGROW, "deflate-nogrow")
    yield _plain(Alg.GZIP_COMP, "gzip")


def _constants() -> Iterator[Named]:
    for facts in FACTS.values():
        yield Named(facts.name, facts.alg, _own_keys(facts.alg), 0, (f"CRYPTO_{facts.name}",))


# Both are made at the first name that is asked for: importing the framework does not wait.


@functools.cache
def named() -> tuple[Named, ...]:
    """Return every name with its aliases; of several for one thing, the usual one first."""
    return (*_ciphers(), *_authenticated(), *_authenticators(), *_digests())


@functools.cache
def _spellings() -> dict[str, Named]:
    """Return what each spelling means, in small letters."""
    known: dict[str, Named] = {}
    for entry in (*_constants(), *named()):
        for spelling in (entry.name, *entry.aliases):
            known[spelling.lower()] = entry
    known["crypto_rijndael128_cbc"] = known["rijndael128_cbc"] = known["aes_cbc"]
    known["crypto_sha2_hmac"] = known["sha2_hmac"] = known["sha2_256_hmac"]
    return known


_LONGEST: Final = 80
"""How much of a name an error quotes."""

_MOST: Final = 1000
"""How many characters any name has; a longer one is not looked at."""

_SHORTENED: Final = re.compile(r"(.+)-([1-9][0-9]*)")
_COUNTED: Final = re.compile(r"(?:seqiv|echainiv)\((.+)\)")

_INTEGRITY: Final = {
    "md5": "hmac-md5-96",
    "sha1": "hmac-sha1-96",
    "sha": "hmac-sha1-96",
    "sha256": "hmac-sha2-256-128",
    "sha2_256": "hmac-sha2-256-128",
    "sha384": "hmac-sha2-384-192",
    "sha2_384": "hmac-sha2-384-192",
    "sha512": "hmac-sha2-512-256",
    "sha2_512": "hmac-sha2-512-256",
    "aesxcbc": "aes-xcbc-mac-96",
    "aescmac": "aes-cmac-96",
}
"""What strongSwan's keywords of integrity mean behind a cipher's: ``aes256-sha256``."""

_PROPOSAL: Final = re.compile(rf"([a-z0-9]+)-({'|'.join(_INTEGRITY)})")


def unknown(name: str) -> UsageError:
    """Make the error of a name that means nothing; it says what was meant, if that can be seen."""
    near = _near(name[:_LONGEST].lower())
    hint = f"did you mean {' or '.join(near)}?" if near else "opencrypto.xform.named() has them"
    return UsageError(f"no algorithm is called {name[:_LONGEST]!r}; {hint}")


def _near(name: str) -> list[str]:
    """Return up to three spellings like one, of different things, the likest first."""
    squeezed = _letters(name)
    same: dict[Named, str] = {}
    for spelling, entry in _spellings().items():
        if _letters(spelling) == squeezed:
            same.setdefault(entry, _shown(spelling))
    if same:
        ours = [shown for entry, shown in same.items() if entry in named()]
        return (ours or [*same.values()])[:3]
    import difflib  # for a mistake alone

    def unlike(spelling: str) -> tuple[float, int]:
        pairs = zip(name, spelling, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        return -difflib.SequenceMatcher(None, spelling, name).ratio(), -same

    found = difflib.get_close_matches(name, _spellings(), 20, 0.75)
    likest: dict[Named, str] = {}
    for spelling in sorted(found, key=unlike):
        likest.setdefault(_spellings()[spelling], _shown(spelling))
    return [*likest.values()][:3]


def _letters(spelling: str) -> str:
    """Leave out what stands between letters and digits, which people remember least."""
    return re.sub(r"[\W_]", "", spelling)


def _shown(spelling: str) -> str:
    """Write a spelling as the table has it."""
    entry = _spellings()[spelling]
    return next((n for n in (entry.name, *entry.aliases) if n.lower() == spelling), entry.name)


def algorithm(name: str) -> Named:
    """
    Look up the name of one algorithm, or of one authenticated cipher.

    Args:
        name: In any spelling. The MAC's length in **bits** may follow behind a hyphen:
            ``hmac-sha2-256-128``, ``aes-128-gcm-96``.

    Raises:
        UsageError: nothing is called so, or several algorithms are (a chain).
    """
    found = _one(name)
    if found is not None:
        return found
    several = _several(name.lower())
    if len(several) > 1:
        raise UsageError(
            f"{name[:_LONGEST]} is a chain of {len(several)} algorithms; "
            "opencrypto.xform.chain(name, keys) makes the parameters of each"
        )
    raise unknown(name)


def algorithms(name: str) -> tuple[Named, ...]:
    """
    Look up the names of a chain, in the order of the chain.

    Args:
        name: One name; names joined by ``+``; Linux' ``authenc(MAC,CIPHER)``, a chain of the cipher
            and then the MAC; or strongSwan's ``CIPHER-INTEGRITY``, likewise. The two halves of an
            authenticated cipher (``AES_GCM_16+AES_128_GMAC``) are one.

    Raises:
        UsageError: a part of it is unknown.
    """
    found = _one(name)
    if found is not None:
        return (found,)
    several = _several(name.lower())
    if not several:
        raise unknown(name)
    parts = []
    for spelling in several:
        part = _one(spelling)
        if part is None:
            raise unknown(spelling)
        parts.append(part)
    return tuple(_joined(parts))


def _one(name: str) -> Named | None:
    if not isinstance(name, str):
        raise UsageError(f"the name of an algorithm is a str, not {type(name).__name__}")
    if len(name) > _MOST:
        raise unknown(name)
    spelling = name.strip().lower()
    while counted := _COUNTED.fullmatch(spelling):
        spelling = counted[1]  # fresh IVs of counter modes are made so in any case
    known = _spellings()
    if spelling in known:
        return known[spelling]
    shortened = _SHORTENED.fullmatch(spelling)
    if not shortened or shortened[1] not in known:
        return None
    whole, bits = known[shortened[1]], int(shortened[2])
    if bits % 8 or not whole.mlen or bits // 8 not in _macs(whole):
        return None
    return whole._replace(name=f"{whole.name}-{bits}", mlen=bits // 8, aliases=())


def _macs(entry: Named) -> range | frozenset[int]:
    alg = min(AEAD_PARTNERS[entry.alg]) if entry.joined else entry.alg
    return FACTS[alg].macs


def _several(spelling: str) -> list[str]:
    """Take a chain's spelling apart; nothing comes of one that is no chain's."""
    while counted := _COUNTED.fullmatch(spelling.strip()):
        spelling = counted[1]
    if "+" in spelling:
        return [part.strip() for part in spelling.split("+")]
    if spelling.startswith("authenc(") and spelling.endswith(")"):
        return _authenc(spelling)
    if both := _PROPOSAL.fullmatch(spelling):
        return [both[1], _INTEGRITY[both[2]]] if both[1] in _spellings() else []
    return []


def _authenc(spelling: str) -> list[str]:
    """Split ``authenc(MAC,CIPHER)`` at the comma that stands in no inner parenthesis."""
    inside, depth = spelling[len("authenc(") : -1], 0
    for at, letter in enumerate(inside):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            return [inside[at + 1 :].strip(), inside[:at].strip()]
    return []


def _joined(parts: list[Named]) -> Iterator[Named]:
    """Make one of a ciphering half and the authenticating half beside it, in either order."""
    while parts:
        first = parts.pop(0)
        pair = {first.alg, parts[0].alg} if parts else set()
        cipher = next((alg for alg in pair if AEAD_PARTNERS.get(alg, frozenset()) & pair), None)
        if cipher is None:
            yield first
            continue
        second = parts.pop(0)
        whole, half = (first, second) if first.alg == cipher else (second, first)
        keys = frozenset(n for n in whole.keys or () if half.keys is None or n in half.keys)
        yield Named(whole.name, whole.alg, keys, half.mlen or whole.mlen)


def name_of(alg: int, keylen: int = 0, mlen: int = 0) -> str:
    """
    Name an algorithm, or an authenticated cipher by its ciphering half, as this table writes it.

    Args:
        alg: Its number.
        keylen: The key's length in **bytes**, which chooses among ``aes-128-cbc`` and its like; 0
            if it is not known.
        mlen: The **bytes** of MAC or tag; 0 for BSD's usual length.

    Returns:
        The name, which `algorithm` knows; that of an unknown number says so.
    """
    facts = FACTS.get(alg)
    if facts is None:
        return f"algorithm {alg!r}"
    if facts.kind is Kind.AEAD_AUTH:
        return facts.name
    length = mlen or (16 if facts.kind is Kind.AEAD else facts.mac)
    ours = [entry for entry in named() if entry.alg == alg and _goes_with(entry, keylen)]
    for entry in ours:
        if entry.mlen == length:
            return entry.name
    whole = [entry for entry in ours if entry.mlen > length]
    return f"{whole[0].name}-{8 * length}" if whole else facts.name


def _goes_with(entry: Named, keylen: int) -> bool:
    if entry.keys is None or entry.alg == Alg.NULL_CBC:
        return True
    if not keylen:
        return len(entry.keys) != 1 or _own_keys(entry.alg) == entry.keys
    return keylen in entry.keys
