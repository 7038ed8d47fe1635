"""Plain implementations and other libraries, which know nothing of opencrypto, for each algorithm.

For what no library has (Skipjack, XCBC, KPDK) a plain implementation stands below.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from opencrypto.testing.vectors import Vector
from tests.support import require_module

# ---- values ---------------------------------------------------------------------------------
# A reference takes a vector's key, IV and AAD and gives (output, mac) for its input.

MAC_LENGTHS = {
    "aes_ccm_16": 16, "aes_cmac": 16, "aes_gcm_16": 16, "aes_gmac": 16, "aes_siv": 16,
    "aes_xcbc_mac_96": 12,
    "blake2b": 64, "blake2s": 32, "chacha20_poly1305": 16, "md5": 16, "md5_hmac": 16,
    "md5_hmac_96": 12, "md5_kpdk": 16, "null_hmac": 12, "poly1305": 16, "ripemd160_hmac": 20,
    "ripemd160_hmac_96": 12, "sha1": 20, "sha1_hmac": 20, "sha1_hmac_96": 12, "sha1_kpdk": 20,
    "sha2_224": 28, "sha2_224_hmac": 28, "sha2_256": 32, "sha2_256_hmac": 16, "sha2_384": 48,
    "sha2_384_hmac": 24, "sha2_512": 64, "sha2_512_hmac": 32, "sha3_256": 32, "sha3_512": 64,
}  # fmt: skip
"""By name of the vectors' file: the length of its MACs."""

Reference = Callable[[Vector], tuple[bytes, bytes | None]]


def by_pycryptodome_cbc(module: str) -> Reference:
    def answer(v: Vector) -> tuple[bytes, None]:
        cipher = require_module(f"Crypto.Cipher.{module}", "pycryptodome")
        return cipher.new(v.key, cipher.MODE_CBC, iv=v.iv).encrypt(v.input), None

    return answer


def by_cryptography(algorithm: str, mode: str) -> Reference:
    def answer(v: Vector) -> tuple[bytes, None]:
        ciphers = require_module("cryptography.hazmat.primitives.ciphers")
        modes = require_module("cryptography.hazmat.primitives.ciphers.modes")
        places = [
            require_module(f"cryptography.{where}.ciphers.algorithms")
            for where in ("hazmat.decrepit", "hazmat.primitives")
        ]
        make = next(getattr(p, algorithm) for p in places if hasattr(p, algorithm))
        encryptor = ciphers.Cipher(make(v.key), getattr(modes, mode)(v.iv)).encryptor()
        return encryptor.update(v.input) + encryptor.finalize(), None

    return answer


def rfc3686(v: Vector) -> tuple[bytes, None]:
    aes = require_module("Crypto.Cipher.AES", "pycryptodome")
    assert v.iv is not None
    cipher = aes.new(v.key[:-4], aes.MODE_CTR, nonce=v.key[-4:] + v.iv, initial_value=1)
    return cipher.encrypt(v.input), None


def ecb(v: Vector) -> tuple[bytes, None]:
    aes = require_module("Crypto.Cipher.AES", "pycryptodome")
    return aes.new(v.key, aes.MODE_ECB).encrypt(v.input), None


def siv(v: Vector) -> tuple[bytes, bytes]:
    aes = require_module("Crypto.Cipher.AES", "pycryptodome")
    cipher = aes.new(v.key, aes.MODE_SIV)
    cipher.update(v.aad)
    return cipher.encrypt_and_digest(v.input)  # type: ignore[no-any-return]  # of two bytes


def arc4(v: Vector) -> tuple[bytes, None]:
    return require_module("Crypto.Cipher.ARC4", "pycryptodome").new(v.key).encrypt(v.input), None


def key_and_nonce(v: Vector, salt: int) -> tuple[bytes, bytes]:
    assert v.iv is not None
    return (v.key[:-salt], v.key[-salt:] + v.iv) if v.iv_layout == "salted" else (v.key, v.iv)


def by_aead(name: str, salt: int) -> Reference:
    def answer(v: Vector) -> tuple[bytes, bytes]:
        aead = require_module("cryptography.hazmat.primitives.ciphers.aead")
        key, nonce = key_and_nonce(v, salt)
        sealed = getattr(aead, name)(key).encrypt(nonce, v.input, v.aad)
        return sealed[:-16], sealed[-16:]

    return answer


def by_hmac(digest: str) -> Reference:
    return lambda v: (v.input, hmac.new(v.key, v.input, digest).digest())


def by_hash(digest: str) -> Reference:
    return lambda v: (v.input, hashlib.new(digest, v.input).digest())


def ripemd160_hmac(v: Vector) -> tuple[bytes, bytes]:
    ripemd = require_module("Crypto.Hash.RIPEMD160", "pycryptodome")
    made = require_module("Crypto.Hash.HMAC", "pycryptodome").new(v.key, v.input, digestmod=ripemd)
    return v.input, made.digest()


def cmac(v: Vector) -> tuple[bytes, bytes]:
    aes = require_module("Crypto.Cipher.AES", "pycryptodome")
    made = require_module("Crypto.Hash.CMAC", "pycryptodome").new(v.key, ciphermod=aes, msg=v.input)
    return v.input, made.digest()


def poly1305(v: Vector) -> tuple[bytes, bytes]:
    module = require_module("cryptography.hazmat.primitives.poly1305")
    return v.input, module.Poly1305.generate_tag(v.key, v.input)


def by_kpdk(digest: str, byteorder: Any) -> Reference:
    """RFC 1828 and RFC 1852: H(key, keyfill, data, key), the fill being the hash's own padding."""

    def answer(v: Vector) -> tuple[bytes, bytes]:
        fill = b"\x80" + bytes(-(len(v.key) + 9) % 64) + (8 * len(v.key)).to_bytes(8, byteorder)
        return v.input, hashlib.new(digest, v.key + fill + v.input + v.key).digest()

    return answer


def xcbc(v: Vector) -> tuple[bytes, bytes]:
    """RFC 3566 on AES-ECB."""
    aes = require_module("Crypto.Cipher.AES", "pycryptodome")
    master = aes.new(v.key, aes.MODE_ECB)
    k1, k2, k3 = (master.encrypt(bytes([n]) * 16) for n in (1, 2, 3))
    data, last_key = v.input, k2
    if not data or len(data) % 16:
        data, last_key = data + b"\x80" + bytes(-(len(data) + 1) % 16), k3
    last = bytes(a ^ b for a, b in zip(data[-16:], last_key, strict=True))
    return v.input, aes.new(k1, aes.MODE_CBC, iv=bytes(16)).encrypt(data[:-16] + last)[-16:]


SKIPJACK_F = bytes.fromhex(
    """
    a3d70983f848f6f4b321157899b1aff9 e72d4d8ace4cca2e5295d91e4e384428
    0adf02a017f1606812b77ac3e9fa3d53 96846bbaf2639a197caee5f5f7166aa2
    39b67b0fc193811beeb41aead0912fb8 55b9da853f41bfe05a58805f660bd890
    35d5c0a733066569450094566d989b76 97fcb2c2b0fedb20e1ebd6e4dd474a1d
    42ed9e6e493ccd4327d207d4dec76718 89cb301f8dc68faac874dcc95d5c31a4
    7088612c9f0d2b8750825464267d0340 344b1c73d1c4fd3bccfb7fabe63e5ba5
    ad04239c145122f02979717eff8c0ee2 0cefbc72756f37a1ecd38e628b8610e8
    087711be924f24c532369dcff3a6bbac 5e6ca9135725b5e3bda83a0105592a46
    """
)


def skipjack_block(key: bytes, block: bytes) -> bytes:
    """The NIST specification of 29 May 1998, step by step."""
    w = [int.from_bytes(block[i : i + 2], "big") for i in (0, 2, 4, 6)]
    for k in range(32):
        high, low = w[0] >> 8, w[0] & 0xFF
        for n in range(4):
            high, low = low, high ^ SKIPJACK_F[low ^ key[(4 * k + n) % 10]]
        g = high << 8 | low
        if k // 8 % 2 == 0:
            w = [g ^ w[3] ^ (k + 1), g, w[1], w[2]]
        else:
            w = [w[3], g, w[0] ^ w[1] ^ (k + 1), w[2]]
    return b"".join(n.to_bytes(2, "big") for n in w)


def skipjack(v: Vector) -> tuple[bytes, None]:
    assert v.iv is not None
    out, previous = b"", v.iv
    for at in range(0, len(v.input), 8):
        mixed = bytes(a ^ b for a, b in zip(v.input[at : at + 8], previous, strict=True))
        previous = skipjack_block(v.key, mixed)
        out += previous
    return out, None


REFERENCES: dict[str, Reference] = {
    "3des_cbc": by_pycryptodome_cbc("DES3"),
    "aes_cbc": by_cryptography("AES", "CBC"),
    "aes_ccm_16": by_aead("AESCCM", 3),
    "aes_cmac": cmac,
    "aes_ctr": rfc3686,
    "aes_ecb": ecb,
    "aes_gcm_16": by_aead("AESGCM", 4),
    "aes_gmac": by_aead("AESGCM", 4),
    "aes_icm": by_cryptography("AES", "CTR"),
    "aes_siv": siv,
    "aes_xcbc_mac_96": xcbc,
    "aes_xts": by_cryptography("AES", "XTS"),
    "arc4": arc4,
    "blake2b": lambda v: (v.input, hashlib.blake2b(v.input, key=v.key).digest()),
    "blake2s": lambda v: (v.input, hashlib.blake2s(v.input, key=v.key).digest()),
    "blf_cbc": by_pycryptodome_cbc("Blowfish"),
    "camellia_cbc": by_cryptography("Camellia", "CBC"),
    "cast_cbc": by_pycryptodome_cbc("CAST"),
    "chacha20_poly1305": by_aead("ChaCha20Poly1305", 4),
    "des_cbc": by_pycryptodome_cbc("DES"),
    "md5": by_hash("md5"),
    "md5_hmac": by_hmac("md5"),
    "md5_hmac_96": by_hmac("md5"),
    "md5_kpdk": by_kpdk("md5", "little"),
    "null_cbc": lambda v: (v.input, None),
    "null_hmac": lambda v: (v.input, bytes(12)),
    "poly1305": poly1305,
    "ripemd160_hmac": ripemd160_hmac,
    "ripemd160_hmac_96": ripemd160_hmac,
    "sha1": by_hash("sha1"),
    "sha1_hmac": by_hmac("sha1"),
    "sha1_hmac_96": by_hmac("sha1"),
    "sha1_kpdk": by_kpdk("sha1", "big"),
    "sha2_224": by_hash("sha224"),
    "sha2_224_hmac": by_hmac("sha224"),
    "sha2_256": by_hash("sha256"),
    "sha2_256_hmac": by_hmac("sha256"),
    "sha2_384": by_hash("sha384"),
    "sha2_384_hmac": by_hmac("sha384"),
    "sha2_512": by_hash("sha512"),
    "sha2_512_hmac": by_hmac("sha512"),
    "sha3_256": by_hash("sha3_256"),
    "sha3_512": by_hash("sha3_512"),
    "skipjack_cbc": skipjack,
}
