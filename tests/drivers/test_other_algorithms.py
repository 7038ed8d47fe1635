"""The algorithms beyond today's IPsec, on random data, against libraries that did not make them."""

import hashlib
import hmac
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from Crypto.Cipher import ARC4, CAST, DES, Blowfish
from Crypto.Cipher import ChaCha20_Poly1305 as PyChaCha
from Crypto.Hash import CMAC as PYCMAC
from cryptography.hazmat.decrepit.ciphers import algorithms as old
from cryptography.hazmat.primitives.ciphers import Cipher, aead, modes
from cryptography.hazmat.primitives.ciphers import algorithms as new
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.poly1305 import Poly1305

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_F_CBIMM,
    Alg,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
)
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind

SIZES = (0, 16, 48, 512, 4096)
MAC_SIZES = (0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1000)


def _cbc(algorithm: Callable[[bytes], Any]) -> Callable[[bytes, bytes, bytes], bytes]:
    def encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
        context = Cipher(algorithm(key), modes.CBC(iv)).encryptor()
        return context.update(data) + context.finalize()

    return encrypt


def _pycbc(module: Any) -> Callable[[bytes, bytes, bytes], bytes]:
    def encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
        result: bytes = module.new(key, module.MODE_CBC, iv=iv).encrypt(data)
        return result

    return encrypt


def _xts(key: bytes, iv: bytes, data: bytes) -> bytes:
    if not data:
        return b""
    context = Cipher(new.AES(key), modes.XTS(iv)).encryptor()
    return context.update(data) + context.finalize()


def _arc4(key: bytes, iv: bytes, data: bytes) -> bytes:
    context = Cipher(old.ARC4(key), None).encryptor()
    return context.update(data)


# For each driver the other library's answer.
CIPHERS: list[tuple[str, str, int, Callable[[bytes, bytes, bytes], bytes]]] = [
    ("swcrypto", "CAMELLIA_CBC", 16, _cbc(old.Camellia)),
    ("swcrypto", "CAMELLIA_CBC", 24, _cbc(old.Camellia)),
    ("swcrypto", "CAMELLIA_CBC", 32, _cbc(old.Camellia)),
    ("swcrypto", "BLF_CBC", 16, _cbc(old.Blowfish)),
    ("swcrypto", "BLF_CBC", 56, _cbc(old.Blowfish)),
    ("swcrypto", "CAST_CBC", 16, _cbc(old.CAST5)),
    ("swcrypto", "DES_CBC", 8, _cbc(lambda key: old.TripleDES(key * 3))),
    ("swcrypto", "AES_XTS", 32, _xts),
    ("swcrypto", "AES_XTS", 64, _xts),
    ("swcrypto", "ARC4", 16, _arc4),
    ("openssl", "BLF_CBC", 16, _pycbc(Blowfish)),
    ("openssl", "CAST_CBC", 16, _pycbc(CAST)),
    ("openssl", "DES_CBC", 8, _pycbc(DES)),
    ("openssl", "ARC4", 16, lambda key, iv, data: ARC4.new(key).encrypt(data)),
]


def _cmac(key: bytes, data: bytes) -> bytes:
    state = CMAC(new.AES(key))
    state.update(data)
    return state.finalize()


def _hmac(name: str) -> Callable[[bytes, bytes], bytes]:
    return lambda key, data: hmac.digest(key, data, name)


MACS: list[tuple[str, str, int, Callable[[bytes, bytes], bytes]]] = [
    ("swcrypto", "AES_CMAC", 16, _cmac),
    ("swcrypto", "AES_CMAC", 32, _cmac),
    ("swcrypto", "POLY1305", 32, Poly1305.generate_tag),
    ("swcrypto", "BLAKE2B", 64, lambda key, data: hashlib.blake2b(data, key=key).digest()),
    ("swcrypto", "BLAKE2B", 0, lambda key, data: hashlib.blake2b(data).digest()),
    ("swcrypto", "BLAKE2S", 32, lambda key, data: hashlib.blake2s(data, key=key).digest()),
    ("openssl", "AES_CMAC", 24, lambda key, data: PYCMAC.new(key, data, new_aes()).digest()),
    *(
        (driver, name, size, _hmac(digest))
        for driver in ("swcrypto", "openssl")
        for name, digest in (("SHA2_224_HMAC", "sha224"), ("SHA2_512_HMAC", "sha512"))
        for size in (0, 1, 64, 65, 128, 129, 1000)
    ),
    *(
        (driver, name, 0, lambda key, data, digest=digest: hashlib.new(digest, data).digest())
        for driver in ("swcrypto", "openssl")
        for name, digest in (
            ("SHA2_224", "sha224"), ("SHA2_256", "sha256"), ("SHA2_384", "sha384"),
            ("SHA2_512", "sha512"), ("SHA3_256", "sha3_256"), ("SHA3_512", "sha3_512"),
        )
    ),
]  # fmt: skip


def new_aes() -> Any:
    """Return pycryptodome's AES module."""
    from Crypto.Cipher import AES

    return AES


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework() as fw:
        yield fw


def buffers(data: bytes) -> list[tuple[Any, Callable[[], bytes]]]:
    """Make each kind of buffer over the same bytes, with borders in awkward places."""
    flat, split, chain = bytearray(data), bytearray(data), bytearray(data)
    view, other = memoryview(split), memoryview(chain)
    mbuf = Mbuf([other[:5], other[5:6], other[6:]])
    return [
        (flat, lambda: bytes(flat)),
        ([view[:1], view[1:20], view[20:]], lambda: bytes(split)),
        (mbuf, lambda: bytes(chain)),
    ]


def run(fw: Framework, sid: int, buf: Any, *descriptors: Cryptodesc) -> int:
    """Carry a request out and return its etype."""
    crp = Cryptop(sid, buf, descriptors, lambda crp: None, CRYPTO_F_CBIMM)
    fw.dispatch(crp)
    return crp.etype


@pytest.mark.shared_framework
@pytest.mark.parametrize(("driver", "name", "size", "reference"), CIPHERS)
def test_ciphers(framework: Framework, driver: str, name: str, size: int, reference: Any) -> None:
    """Both directions, every buffer kind, at offset 1, equal the other library's."""
    rng = random.Random(f"{driver}{name}{size}")
    alg = Alg[name]
    facts = FACTS[alg]
    key = rng.randbytes(size)
    sid = framework.newsession(Cryptoini(alg, key), driver=driver)
    for length in SIZES:
        iv, plain = rng.randbytes(facts.iv), rng.randbytes(length)
        expected = b"<" + reference(key, iv, plain) + b">"
        outside = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT if facts.iv else 0
        for buf, content in buffers(b"<" + plain + b">" + bytes(20))[:3]:
            crd = Cryptodesc(1, length, 0, outside | CRD_F_ENCRYPT, alg=alg, iv=iv)
            assert run(framework, sid, buf, crd) == 0
            assert content()[: length + 2] == expected
            crd.flags = outside
            assert run(framework, sid, buf, crd) == 0
            assert content()[: length + 2] == b"<" + plain + b">"
    framework.freesession(sid)


@pytest.mark.shared_framework
@pytest.mark.parametrize(("driver", "name", "size", "reference"), MACS)
def test_macs(framework: Framework, driver: str, name: str, size: int, reference: Any) -> None:
    """Every length of message and every buffer kind equal the other library's, and verify."""
    rng = random.Random(f"{driver}{name}{size}")
    alg = Alg[name]
    key = rng.randbytes(size)
    maclen = FACTS[alg].mac
    sid = framework.newsession(Cryptoini(alg, key), driver=driver)
    for length in MAC_SIZES:
        data = rng.randbytes(length)
        expected = b"<" + data + reference(key, data)[:maclen]
        for buf, content in buffers(b"<" + data + bytes(maclen)):
            crd = Cryptodesc(1, length, 1 + length, alg=alg)
            assert run(framework, sid, buf, crd) == 0
            assert content() == expected
            crd.flags = CRD_F_VERIFY
            assert run(framework, sid, buf, crd) == 0
    framework.freesession(sid)


def _ccm(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    return aead.AESCCM(key).encrypt(nonce, data, aad)


def _chacha(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    return aead.ChaCha20Poly1305(key).encrypt(nonce, data, aad)


def _pychacha(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    cipher = PyChaCha.new(key=key, nonce=nonce)
    cipher.update(aad)
    sealed, tag = cipher.encrypt_and_digest(data)
    return sealed + tag


def _gcm(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    return aead.AESGCM(key).encrypt(nonce, data, aad)


def _pygcm(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    cipher = new_aes().new(key, new_aes().MODE_GCM, nonce=nonce)
    cipher.update(aad)
    sealed, tag = cipher.encrypt_and_digest(data)
    return bytes(sealed + tag)


AEADS: list[tuple[str, str, int, Callable[[bytes, bytes, bytes, bytes], bytes]]] = [
    (driver, name, size, reference)
    for driver, name, sizes, reference in (
        ("swcrypto", "AES_CCM_16", (16, 19, 24, 27, 32, 35), _ccm),
        ("swcrypto", "CHACHA20_POLY1305", (32, 36), _chacha),
        ("openssl", "CHACHA20_POLY1305", (32, 36), _pychacha),
        ("swcrypto", "AES_GCM_16", (16, 20, 24, 28, 32, 36), _gcm),
        ("openssl", "AES_GCM_16", (16, 20, 24, 28, 32, 36), _pygcm),
    )
    for size in sizes
]


@pytest.mark.shared_framework
@pytest.mark.parametrize(("driver", "name", "size", "reference"), AEADS)
def test_aead(framework: Framework, driver: str, name: str, size: int, reference: Any) -> None:
    """IVs given whole and salted, both directions, equal the other library's; forgery is found."""
    rng = random.Random(f"{driver}{name}{size}")
    alg = Alg[name]
    facts = FACTS[alg]
    half = next(p for p in sorted(AEAD_PARTNERS[alg]) if FACTS[p].key_ok(size))
    assert FACTS[half].kind is Kind.AEAD_AUTH
    key = rng.randbytes(size)
    salt = facts.salt if size in facts.salted else 0
    sid = framework.newsession([Cryptoini(alg, key), Cryptoini(half, key)], driver=driver)
    for length in (0, 1, 15, 16, 17, 300):
        iv, aad, plain = rng.randbytes(facts.ivlen(size)), rng.randbytes(13), rng.randbytes(length)
        nonce = key[size - salt :] + iv
        expected = aad + reference(key[: size - salt], nonce, plain, aad)
        for buf, content in buffers(aad + plain + bytes(16)):
            outside = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
            crd = Cryptodesc(13, length, 0, outside | CRD_F_ENCRYPT, alg=alg, iv=iv)
            tag = Cryptodesc(0, 13, 13 + length, alg=half)
            assert run(framework, sid, buf, crd, tag) == 0
            assert content() == expected
            crd.flags, tag.flags = outside, CRD_F_VERIFY
            assert run(framework, sid, buf, tag, crd) == 0
            assert content()[: 13 + length] == aad + plain
    framework.freesession(sid)
