"""
Every algorithm by somebody else's code: other libraries, commands, or plain Python here.

An implementation takes a key as a session takes it, the IV of a request, additional data, and the
data; it gives (output, whole MAC), as `opencrypto.testing.vectors` has them.
"""

from __future__ import annotations

import gzip
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from Crypto.Cipher import AES, ARC4, CAST, DES, DES3, Blowfish
from Crypto.Cipher import ChaCha20_Poly1305 as PyChaCha
from Crypto.Hash import (
    CMAC,
    HMAC,
    MD5,
    RIPEMD160,
    SHA1,
    SHA3_256,
    SHA3_512,
    SHA224,
    SHA256,
    SHA384,
    SHA512,
    BLAKE2b,
    BLAKE2s,
)
from cryptography.hazmat.decrepit.ciphers import algorithms as old
from cryptography.hazmat.primitives import cmac as other_cmac
from cryptography.hazmat.primitives import poly1305 as other_poly1305
from cryptography.hazmat.primitives.ciphers import Cipher, aead, modes
from cryptography.hazmat.primitives.ciphers import algorithms as new

from opencrypto import Alg
from opencrypto.xform import FACTS
from tests.references import skipjack_block
from tests.support import require_tool

Answer: TypeAlias = tuple[bytes, bytes]
Run: TypeAlias = Callable[[bytes, bytes, bytes, bytes], Answer]

PYCRYPTODOME, OPENSSL, ZLIB = "pycryptodome", "OpenSSL", "zlib"
GZIP, PYTHON, DEFINITION = "gzip(1)", "plain Python", "the definition"


@dataclass(frozen=True)
class Implementation:
    """
    Somebody else's code.

    Attributes:
        code: Whose code does the mathematics.
        how: Where it is called.
        run: What calls it; for compression, how it packs.
        takes: Whether it takes a key of so many bytes.
        unpack: For compression, how it unpacks.
    """

    code: str
    how: str
    run: Run
    takes: Callable[[int], bool] = lambda size: True
    unpack: Callable[[bytes], bytes] | None = None


# Ciphers.


def _pycryptodome_cbc(module: Any) -> Implementation:
    def run(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
        return module.new(key, module.MODE_CBC, iv=iv).encrypt(data), b""

    return Implementation(PYCRYPTODOME, "Crypto.Cipher", run)


def _cryptography(algorithm: Callable[[bytes], Any], mode: Any) -> Implementation:
    def run(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
        # XTS has no empty message.
        if not data:
            return b"", b""
        context = Cipher(algorithm(key), mode and mode(iv)).encryptor()
        return context.update(data) + context.finalize(), b""

    def takes(size: int) -> bool:
        try:
            algorithm(bytes(size))
        except ValueError:
            return False
        return True

    return Implementation(OPENSSL, "cryptography", run, takes)


def _openssl(*arguments: str, data: bytes) -> bytes:
    tool = require_tool("openssl", "openssl")
    providers = ["-provider", "legacy", "-provider", "default"]
    command = [tool, arguments[0], *providers, *arguments[1:]]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def _openssl_enc(names: Mapping[int, str]) -> Implementation:
    """Call ``openssl enc`` with the cipher's name for a key of so many bytes."""

    def run(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
        told = ["-iv", iv.hex()] if iv else []
        if not data:
            return b"", b""
        name = f"-{names[len(key)]}"
        return _openssl("enc", name, "-K", key.hex(), *told, "-nopad", data=data), b""

    return Implementation(OPENSSL, "openssl enc", run, names.__contains__)


def _counter(key: bytes, iv: bytes) -> tuple[bytes, bytes]:
    """Return the key and the first counter block of RFC 3686."""
    return key[:-4], key[-4:] + iv + b"\0\0\0\1"


def _ctr(make: Implementation) -> Implementation:
    def run(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
        bare, block = _counter(key, iv)
        return make.run(bare, block, aad, data)

    return Implementation(make.code, make.how, run, lambda size: make.takes(size - 4))


def _pycryptodome_ctr(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    bare, block = _counter(key, iv)
    return AES.new(bare, AES.MODE_CTR, nonce=block[:12], initial_value=1).encrypt(data), b""


def _pycryptodome_icm(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    return AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=iv).encrypt(data), b""


def _pycryptodome_ecb(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    return AES.new(key, AES.MODE_ECB).encrypt(data), b""


def _xts(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    """IEEE 1619 for whole blocks, on pycryptodome's AES."""
    half = len(key) // 2
    first, second = (AES.new(part, AES.MODE_ECB) for part in (key[:half], key[half:]))
    tweak = int.from_bytes(second.encrypt(iv), "little")
    out = b""
    for at in range(0, len(data), 16):
        mask = tweak.to_bytes(16, "little")
        block = first.encrypt(_xor(data[at : at + 16], mask))
        out += _xor(block, mask)
        tweak = tweak << 1 ^ (0x87 if tweak >> 127 else 0)
        tweak &= (1 << 128) - 1
    return out, b""


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _skipjack(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    out, previous = b"", iv
    for at in range(0, len(data), 8):
        previous = skipjack_block(key, _xor(data[at : at + 8], previous))
        out += previous
    return out, b""


# Authenticators.


def _mac(
    code: str, how: str, make: Callable[[bytes, bytes], bytes], **options: Any
) -> Implementation:  # fmt: skip
    def run(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
        return data, make(key, data)

    return Implementation(code, how, run, **options)


def _pycryptodome_hash(module: Any) -> Implementation:
    return _mac(PYCRYPTODOME, "Crypto.Hash", lambda key, data: module.new(data).digest())


def _pycryptodome_hmac(module: Any) -> Implementation:
    def make(key: bytes, data: bytes) -> bytes:
        return bytes(HMAC.new(key, data, digestmod=module).digest())

    return _mac(PYCRYPTODOME, "Crypto.Hash.HMAC", make)


def _pycryptodome_blake2(module: Any, bits: int) -> Implementation:
    def make(key: bytes, data: bytes) -> bytes:
        return bytes(module.new(data=data, key=key, digest_bits=bits).digest())

    return _mac(PYCRYPTODOME, "Crypto.Hash", make)


def _openssl_dgst(name: str) -> Implementation:
    return _mac(
        OPENSSL, "openssl dgst",
        lambda key, data: _openssl("dgst", f"-{name}", "-binary", data=data),
        takes=lambda size: not size,
    )  # fmt: skip


def _openssl_mac(name: str, *options: str) -> Implementation:
    def make(key: bytes, data: bytes) -> bytes:
        given = ["-macopt", f"hexkey:{key.hex()}", *options, "-in", "-", "-binary", name]
        return _openssl("mac", *given, data=data)

    return _mac(OPENSSL, "openssl mac", make, takes=lambda size: size > 0)


def _openssl_cmac(key: bytes, data: bytes) -> bytes:
    options = ["-cipher", f"AES-{8 * len(key)}-CBC", "-macopt", f"hexkey:{key.hex()}"]
    return _openssl("mac", *options, "-in", "-", "-binary", "CMAC", data=data)


def _pycryptodome_cmac(key: bytes, data: bytes) -> bytes:
    return bytes(CMAC.new(key, data, AES).digest())


def _cryptography_cmac(key: bytes, data: bytes) -> bytes:
    state = other_cmac.CMAC(new.AES(key))
    state.update(data)
    return state.finalize()


def _poly1305(key: bytes, data: bytes) -> bytes:
    """RFC 8439, 2.5.1."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(data), 16):
        total = (total + int.from_bytes(data[at : at + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def _kpdk(module: Any, byteorder: Any) -> Implementation:
    """RFC 1828 and RFC 1852: H(key, keyfill, data, key), on pycryptodome's hash."""

    def make(key: bytes, data: bytes) -> bytes:
        fill = b"\x80" + bytes(-(len(key) + 9) % 64) + (8 * len(key)).to_bytes(8, byteorder)
        return bytes(module.new(key + fill + data + key).digest())

    return _mac(PYCRYPTODOME, "RFC 1828 and 1852 on Crypto.Hash", make)


def _xcbc(key: bytes, data: bytes) -> bytes:
    """RFC 3566, on cryptography's AES."""

    def encrypt(key: bytes, data: bytes) -> bytes:
        context = Cipher(new.AES(key), modes.ECB()).encryptor()
        return context.update(data) + context.finalize()

    k1, k2, k3 = (encrypt(key, bytes([n]) * 16) for n in (1, 2, 3))
    last_key = k2
    if not data or len(data) % 16:
        data, last_key = data + b"\x80" + bytes(-(len(data) + 1) % 16), k3
    state = bytes(16)
    for at in range(0, len(data) - 16, 16):
        state = encrypt(k1, _xor(state, data[at : at + 16]))
    return encrypt(k1, _xor(_xor(state, data[-16:]), last_key))


# Authenticated ciphers.


def _whole(alg: int, key: bytes, iv: bytes) -> tuple[bytes, bytes]:
    """Return the bare key and the whole nonce."""
    facts = FACTS[alg]
    if len(key) not in facts.salted:
        return key, iv
    return key[: -facts.salt], key[-facts.salt :] + iv


def _cryptography_aead(alg: int, algorithm: Callable[[bytes], Any]) -> Implementation:
    def run(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
        bare, nonce = _whole(alg, key, iv)
        sealed = algorithm(bare).encrypt(nonce, data, aad)
        return sealed[:-16], sealed[-16:]

    return Implementation(OPENSSL, "cryptography", run)


def _pycryptodome_aead(alg: int, make: Callable[[bytes, bytes], Any]) -> Implementation:
    def run(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
        cipher = make(*_whole(alg, key, iv))
        cipher.update(aad)
        output, tag = cipher.encrypt_and_digest(data)
        return bytes(output), bytes(tag)

    return Implementation(PYCRYPTODOME, "Crypto.Cipher", run)


def _openssl_gmac(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    bare, nonce = _whole(Alg.AES_GMAC, key, iv)
    options = ["-cipher", f"AES-{8 * len(bare)}-GCM"]
    for option in (f"hexkey:{bare.hex()}", f"hexiv:{nonce.hex()}"):
        options += ["-macopt", option]
    return data, _openssl("mac", *options, "-in", "-", "-binary", "GMAC", data=aad)


def _cryptography_siv(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    if not data:  # of which cryptography 44 takes none
        return _rfc5297(key, iv, aad, data)
    sealed = aead.AESSIV(key).encrypt(data, [aad])
    return sealed[16:], sealed[:16]


def _siv(key: bytes, nonce: bytes) -> Any:
    return AES.new(key, AES.MODE_SIV)


def _rfc5297(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    """RFC 5297, 2.4 and 2.6, on cryptography's CMAC and CTR: with one component."""
    half = len(key) // 2

    def cmac(text: bytes) -> int:
        return int.from_bytes(_cryptography_cmac(key[:half], text))

    def double(number: int) -> int:
        return (number << 1 ^ (0x87 if number >> 127 else 0)) & (1 << 128) - 1

    state = double(cmac(bytes(16))) ^ cmac(aad)
    if len(data) >= 16:
        end = int.from_bytes(data[-16:]) ^ state
        tag = cmac(data[:-16] + end.to_bytes(16))
    else:
        padded = data + b"\x80" + bytes(15 - len(data))
        tag = cmac((double(state) ^ int.from_bytes(padded)).to_bytes(16))
    counter = tag & ~(1 << 63 | 1 << 31)
    stream = Cipher(new.AES(key[half:]), modes.CTR(counter.to_bytes(16))).encryptor()
    return stream.update(data), tag.to_bytes(16)


def _gcm(key: bytes, nonce: bytes) -> Any:
    return AES.new(key, AES.MODE_GCM, nonce=nonce)


def _ccm(key: bytes, nonce: bytes) -> Any:
    return AES.new(key, AES.MODE_CCM, nonce=nonce, mac_len=16)


def _chacha(key: bytes, nonce: bytes) -> Any:
    return PyChaCha.new(key=key, nonce=nonce)


# Compression.

_HEADER = b"\x1f\x8b\x08\x00\0\0\0\0\x00\x03"
"""Of a gzip file: deflate, no flags, no time, Unix."""


def _gzip_command(*options: str, data: bytes) -> bytes:
    tool = require_tool("gzip", "gzip")
    return subprocess.run(
        [tool, *options, "-c"], input=data, capture_output=True, check=True
    ).stdout


def _gzip_pack(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    return _gzip_command("-n", data=data), b""


def _gzip_unpack(packed: bytes) -> bytes:
    return _gzip_command("-d", data=packed)


def _deflate_pack(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    return _gzip_command("-n", data=data)[len(_HEADER) : -8], b""


def _deflate_unpack(packed: bytes) -> bytes:
    # The command checks sum and length, which only the data has.
    data = zlib.decompress(packed, wbits=-15)
    trailer = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return _gzip_unpack(_HEADER + packed + trailer)


_DEFLATE = Implementation(GZIP, "gzip, less its header", _deflate_pack, unpack=_deflate_unpack)


def _gzip_of_python(key: bytes, iv: bytes, aad: bytes, data: bytes) -> Answer:
    return gzip.compress(data), b""


# The table.


def _sizes(stem: str, mode: str) -> dict[int, str]:
    return {bits // 8: f"{stem}-{bits}-{mode}" for bits in (128, 192, 256)}


def _hmac(module: Any, name: str) -> list[Implementation]:
    return [_pycryptodome_hmac(module), _openssl_mac("HMAC", "-digest", name)]


def _hash(module: Any, name: str) -> list[Implementation]:
    return [_pycryptodome_hash(module), _openssl_dgst(name)]


# cryptography before 47 has it among those that are not old.
CAMELLIA: Any = getattr(old, "Camellia", None) or new.Camellia

IMPLEMENTATIONS: Mapping[Alg, Sequence[Implementation]] = {
    Alg.DES_CBC: [
        _pycryptodome_cbc(DES),
        _cryptography(lambda key: old.TripleDES(key * 3), modes.CBC),
        _openssl_enc({8: "des-cbc"}),
    ],
    Alg["3DES_CBC"]: [
        _pycryptodome_cbc(DES3), _cryptography(old.TripleDES, modes.CBC),
        _openssl_enc({24: "des-ede3-cbc"}),
    ],
    Alg.BLF_CBC: [
        _pycryptodome_cbc(Blowfish), _cryptography(old.Blowfish, modes.CBC),
        _openssl_enc({16: "bf-cbc"}),
    ],
    Alg.CAST_CBC: [
        _pycryptodome_cbc(CAST), _cryptography(old.CAST5, modes.CBC),
        _openssl_enc({16: "cast5-cbc"}),
    ],
    Alg.SKIPJACK_CBC: [Implementation(PYTHON, "a second implementation", _skipjack)],
    Alg.CAMELLIA_CBC: [
        _cryptography(CAMELLIA, modes.CBC), _openssl_enc(_sizes("camellia", "cbc")),
    ],
    Alg.AES_CBC: [
        _pycryptodome_cbc(AES), _cryptography(new.AES, modes.CBC),
        _openssl_enc(_sizes("aes", "cbc")),
    ],
    Alg.AES_CTR: [
        Implementation(PYCRYPTODOME, "Crypto.Cipher", _pycryptodome_ctr),
        _ctr(_cryptography(new.AES, modes.CTR)), _ctr(_openssl_enc(_sizes("aes", "ctr"))),
    ],
    Alg.AES_ICM: [
        Implementation(PYCRYPTODOME, "Crypto.Cipher", _pycryptodome_icm),
        _cryptography(new.AES, modes.CTR), _openssl_enc(_sizes("aes", "ctr")),
    ],
    Alg.AES_ECB: [
        Implementation(PYCRYPTODOME, "Crypto.Cipher", _pycryptodome_ecb),
        _cryptography(new.AES, lambda iv: modes.ECB()), _openssl_enc(_sizes("aes", "ecb")),
    ],
    Alg.AES_XTS: [
        _cryptography(new.AES, modes.XTS),
        Implementation(PYTHON, "IEEE 1619 on Crypto.Cipher.AES", _xts),
    ],
    Alg.ARC4: [
        Implementation(
            PYCRYPTODOME, "Crypto.Cipher",
            lambda key, iv, aad, data: (ARC4.new(key).encrypt(data), b""),
        ),
        _cryptography(old.ARC4, None), _openssl_enc({16: "rc4", 5: "rc4-40"}),
    ],
    Alg.NULL_CBC: [
        Implementation(DEFINITION, "RFC 2410", lambda key, iv, aad, data: (data, b"")),
    ],
    Alg.NULL_HMAC: [_mac(DEFINITION, "NetBSD xform.c", lambda key, data: bytes(12))],
    Alg.MD5_HMAC: _hmac(MD5, "MD5"),
    Alg.MD5_HMAC_96: _hmac(MD5, "MD5"),
    Alg.SHA1_HMAC: _hmac(SHA1, "SHA1"),
    Alg.SHA1_HMAC_96: _hmac(SHA1, "SHA1"),
    Alg.RIPEMD160_HMAC: _hmac(RIPEMD160, "RIPEMD160"),
    Alg.RIPEMD160_HMAC_96: _hmac(RIPEMD160, "RIPEMD160"),
    Alg.MD5_KPDK: [_kpdk(MD5, "little")],
    Alg.SHA1_KPDK: [_kpdk(SHA1, "big")],
    Alg.SHA2_224_HMAC: _hmac(SHA224, "SHA224"),
    Alg.SHA2_256_HMAC: _hmac(SHA256, "SHA256"),
    Alg.SHA2_384_HMAC: _hmac(SHA384, "SHA384"),
    Alg.SHA2_512_HMAC: _hmac(SHA512, "SHA512"),
    Alg.AES_XCBC_MAC_96: [_mac(OPENSSL, "RFC 3566 on cryptography", _xcbc)],
    Alg.AES_CMAC: [
        _mac(PYCRYPTODOME, "Crypto.Hash", _pycryptodome_cmac),
        _mac(OPENSSL, "cryptography", _cryptography_cmac),
        _mac(OPENSSL, "openssl mac", _openssl_cmac),
    ],
    Alg.POLY1305: [
        _mac(PYTHON, "RFC 8439, 2.5.1", _poly1305),
        _mac(OPENSSL, "cryptography", other_poly1305.Poly1305.generate_tag),
        _openssl_mac("POLY1305"),
    ],
    Alg.BLAKE2B: [
        _pycryptodome_blake2(BLAKE2b, 512), _openssl_mac("BLAKE2BMAC"), _openssl_dgst("blake2b512"),
    ],
    Alg.BLAKE2S: [
        _pycryptodome_blake2(BLAKE2s, 256), _openssl_mac("BLAKE2SMAC"), _openssl_dgst("blake2s256"),
    ],
    Alg.MD5: _hash(MD5, "md5"),
    Alg.SHA1: _hash(SHA1, "sha1"),
    Alg.SHA2_224: _hash(SHA224, "sha224"),
    Alg.SHA2_256: _hash(SHA256, "sha256"),
    Alg.SHA2_384: _hash(SHA384, "sha384"),
    Alg.SHA2_512: _hash(SHA512, "sha512"),
    Alg.SHA3_256: _hash(SHA3_256, "sha3-256"),
    Alg.SHA3_512: _hash(SHA3_512, "sha3-512"),
    Alg.AES_GCM_16: [
        _cryptography_aead(Alg.AES_GCM_16, aead.AESGCM), _pycryptodome_aead(Alg.AES_GCM_16, _gcm),
    ],
    Alg.AES_GMAC: [
        _cryptography_aead(Alg.AES_GMAC, aead.AESGCM), _pycryptodome_aead(Alg.AES_GMAC, _gcm),
        Implementation(OPENSSL, "openssl mac", _openssl_gmac),
    ],
    Alg.AES_CCM_16: [
        _cryptography_aead(Alg.AES_CCM_16, aead.AESCCM), _pycryptodome_aead(Alg.AES_CCM_16, _ccm),
    ],
    Alg.CHACHA20_POLY1305: [
        _cryptography_aead(Alg.CHACHA20_POLY1305, aead.ChaCha20Poly1305),
        _pycryptodome_aead(Alg.CHACHA20_POLY1305, _chacha),
    ],
    Alg.AES_SIV: [
        Implementation(OPENSSL, "cryptography", _cryptography_siv),
        _pycryptodome_aead(Alg.AES_SIV, _siv),
        Implementation(OPENSSL, "RFC 5297 on cryptography", _rfc5297),
    ],
    Alg.DEFLATE_COMP: [_DEFLATE],
    Alg.DEFLATE_COMP_NOGROW: [_DEFLATE],
    Alg.GZIP_COMP: [
        Implementation(GZIP, "gzip", _gzip_pack, unpack=_gzip_unpack),
        Implementation(ZLIB, "Python's gzip", _gzip_of_python, unpack=gzip.decompress),
    ],
}  # fmt: skip
"""By algorithm. The authenticating half of a cipher is with its cipher."""

ALONE = frozenset({Alg.SKIPJACK_CBC, Alg.AES_XCBC_MAC_96, Alg.MD5_KPDK, Alg.SHA1_KPDK})
"""What no library has: what doubles these here is a construction or a second implementation."""
