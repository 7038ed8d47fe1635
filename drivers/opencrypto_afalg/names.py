"""
opencrypto's algorithms and the names that the kernel has for them: one fixed table.

No name from outside this table, and no driver's name that the kernel has not listed itself, is ever
bound: a bind loads modules, and up to Linux 7.1 a composed name such as ``cryptd(...)`` changes
which implementation the whole system gets from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from opencrypto import Alg


class Form(Enum):
    """How a name of the kernel wants key, IV and data, where it differs from opencrypto's way."""

    PLAIN = "plain"
    """As the session has them."""
    BLOCKS = "blocks"
    """A chained block mode: the last ciphertext block is the IV of what follows."""
    COUNTER = "counter"
    """``ctr``: a whole counter block, made of the key's nonce, the IV, and 1."""
    BLOCK_COUNTER = "block counter"
    """``ctr``: a whole counter block, which is the request's IV."""
    SINGLES = "single blocks"
    """``ecb``: neither IV nor chaining."""
    SALTED = "salted"
    """The nonce stays at the key's end and the IV has 8 bytes (RFC 3686, RFC 4106, RFC 4543)."""
    TWEAK = "tweak"
    """XTS: one request is one data unit and cannot be split."""
    STREAM = "stream"
    """ARC4: the state is the kernel's and runs on, so each request has a transform of its own."""
    NO_KEY = "no key"
    """The null cipher: neither key nor IV."""
    NONCE = "nonce"
    """An authenticated cipher with a 12-byte nonce."""
    CCM = "ccm"
    """An authenticated cipher whose IV is the first counter block of RFC 3610."""
    PREFIXED = "prefixed"
    """A hash that takes its key as the beginning of the data (Poly1305)."""
    AROUND = "around"
    """A hash with the key, filled to whole blocks, before the data, and the key after it."""


@dataclass(frozen=True, slots=True)
class Name:
    """
    One name to bind: ``salg_type`` and ``salg_name``, and the form that goes with them.

    `generic` is the plain C implementation's name, which the kernel would choose by itself on a
    machine without a device. It is bound by that name only where a device has taken the other.
    """

    type: str
    name: str
    form: Form = Form.PLAIN
    generic: str = ""


def _skcipher(name: str, form: Form, generic: str = "") -> tuple[Name, ...]:
    return (Name("skcipher", name, form, generic),)


def _cbc(cipher: str) -> tuple[Name, ...]:
    return _skcipher(f"cbc({cipher})", Form.BLOCKS, f"cbc({cipher}-generic)")


def _hash(name: str, form: Form = Form.PLAIN) -> tuple[Name, ...]:
    return (Name("hash", name, form),)


_GCM: Final = (
    Name("aead", "gcm(aes)", Form.NONCE),
    Name("aead", "rfc4106(gcm(aes))", Form.SALTED),
)

NAMES: Final[Mapping[Alg, tuple[Name, ...]]] = {
    Alg.DES_CBC: _cbc("des"),
    Alg["3DES_CBC"]: _cbc("des3_ede"),
    Alg.BLF_CBC: _cbc("blowfish"),
    Alg.CAST_CBC: _cbc("cast5"),
    Alg.CAMELLIA_CBC: _cbc("camellia"),
    Alg.AES_CBC: _cbc("aes"),
    Alg.AES_CTR: (
        Name("skcipher", "ctr(aes)", Form.COUNTER, "ctr(aes-generic)"),
        Name("skcipher", "rfc3686(ctr(aes))", Form.SALTED),
    ),
    Alg.AES_ICM: _skcipher("ctr(aes)", Form.BLOCK_COUNTER, "ctr(aes-generic)"),
    Alg.AES_ECB: _skcipher("ecb(aes)", Form.SINGLES, "ecb(aes-generic)"),
    Alg.AES_XTS: _skcipher("xts(aes)", Form.TWEAK),
    Alg.ARC4: _skcipher("ecb(arc4)", Form.STREAM),
    Alg.NULL_CBC: _skcipher("ecb(cipher_null)", Form.NO_KEY),
    Alg.MD5: _hash("md5"),
    Alg.SHA1: _hash("sha1"),
    Alg.SHA2_224: _hash("sha224"),
    Alg.SHA2_256: _hash("sha256"),
    Alg.SHA2_384: _hash("sha384"),
    Alg.SHA2_512: _hash("sha512"),
    Alg.SHA3_256: _hash("sha3-256"),
    Alg.SHA3_512: _hash("sha3-512"),
    Alg.BLAKE2B: _hash("blake2b-512"),
    Alg.POLY1305: _hash("poly1305", Form.PREFIXED),
    Alg.MD5_KPDK: _hash("md5", Form.AROUND),
    Alg.SHA1_KPDK: _hash("sha1", Form.AROUND),
    Alg.MD5_HMAC: _hash("hmac(md5)"),
    Alg.MD5_HMAC_96: _hash("hmac(md5)"),
    Alg.SHA1_HMAC: _hash("hmac(sha1)"),
    Alg.SHA1_HMAC_96: _hash("hmac(sha1)"),
    Alg.RIPEMD160_HMAC: _hash("hmac(rmd160)"),
    Alg.RIPEMD160_HMAC_96: _hash("hmac(rmd160)"),
    Alg.SHA2_224_HMAC: _hash("hmac(sha224)"),
    Alg.SHA2_256_HMAC: _hash("hmac(sha256)"),
    Alg.SHA2_384_HMAC: _hash("hmac(sha384)"),
    Alg.SHA2_512_HMAC: _hash("hmac(sha512)"),
    Alg.AES_XCBC_MAC_96: _hash("xcbc(aes)"),
    Alg.AES_CMAC: _hash("cmac(aes)"),
    Alg.AES_GCM_16: _GCM,
    Alg.AES_GMAC: (_GCM[0], Name("aead", "rfc4543(gcm(aes))", Form.SALTED)),
    Alg.AES_CCM_16: (Name("aead", "ccm(aes)", Form.CCM),),
    Alg.CHACHA20_POLY1305: (Name("aead", "rfc7539(chacha20,poly1305)", Form.NONCE),),
}
"""What serves each algorithm, the preferred name first."""

_AUTHENC_CIPHERS: Final = {
    Alg.AES_CBC: "cbc(aes)",
    Alg["3DES_CBC"]: "cbc(des3_ede)",
    Alg.DES_CBC: "cbc(des)",
    Alg.CAMELLIA_CBC: "cbc(camellia)",
    Alg.AES_CTR: "rfc3686(ctr(aes))",
}


def authenc_name(cipher: int, mac: int) -> Name | None:
    """Return the name under which the kernel does a cipher and a MAC in one call, if it may."""
    inner = _AUTHENC_CIPHERS.get(Alg(cipher))
    names = NAMES.get(Alg(mac), ())
    if inner is None or not names or not names[0].name.startswith(("hmac(", "xcbc(")):
        return None
    return Name("aead", f"authenc({names[0].name},{inner})")
