"""What is particular to AES with a whole counter block, AES block by block, and AES-SIV."""

from collections.abc import Iterator

import pytest
from Crypto.Cipher import AES as AES_OF_PYCRYPTODOME
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import AuthenticationError, Cryptoini, Framework, UsageError
from opencrypto.client import Session
from opencrypto_openssl import _siv
from tests.drivers.rig import attached

DRIVERS = ["openssl", "swcrypto"]
LENGTHS = (1, 16, 47, 511, 512, 513, 4095, 4096, 4097, 8193, 70001)
"""In bytes; around what the drivers take another way for."""

every_driver = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


@every_driver
@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize(
    "iv",
    [bytes(16), b"\xff" * 16, bytes(8) + b"\xff" * 8, bytes(12) + b"\xff" * 4],
    ids=["zeros", "wraps-128", "wraps-64", "wraps-32"],
)
def test_all_bits_of_the_counter_count(
    framework: Framework, driver: str, bits: int, iv: bytes
) -> None:
    """As OpenSSL's aes-*-ctr: the carry goes through the whole block, and round it."""
    key = bytes(range(bits // 8))
    with Session(Cryptoini(f"aes-{bits}-ctr", key), framework=framework, driver=driver) as session:
        for length in LENGTHS:
            wanted = Cipher(AES(key), modes.CTR(iv)).encryptor().update(bytes(length))
            sealed = session.encrypt(bytes(length), iv=iv)
            assert sealed.data == wanted
            assert session.decrypt(sealed) == bytes(length)


@every_driver
def test_ecb_is_block_by_block(framework: Framework, driver: str) -> None:
    key = bytes(range(24))
    with Session(Cryptoini("aes-192-ecb", key), framework=framework, driver=driver) as session:
        for length in (16, 4096, 4112, 70000):
            data = bytes(range(16)) * (length // 16)
            sealed = session.encrypt(data)
            assert sealed.iv == b""
            assert sealed.data == sealed.data[:16] * (length // 16)
            assert sealed.data == Cipher(AES(key), modes.ECB()).encryptor().update(data)
            assert session.decrypt(sealed) == data
        with pytest.raises(UsageError, match="AES_ECB"):
            session.encrypt(bytes(15))
        with pytest.raises(UsageError):
            session.encrypt(bytes(16), iv=bytes(16))


@every_driver
@pytest.mark.parametrize("bits", [128, 192, 256])
def test_siv_needs_no_nonce(framework: Framework, driver: str, bits: int) -> None:
    """Its one component of additional data is there if it is empty too, as Wycheproof has it."""
    key = bytes(range(bits // 4))
    with Session(Cryptoini(f"aes-{bits}-siv", key), framework=framework, driver=driver) as session:
        for length in (0, *LENGTHS):
            for aad in (b"", b"a", bytes(200)):
                data = bytes(length)
                sealed = session.encrypt(data, aad=aad)
                assert sealed.iv == b""
                other = AES_OF_PYCRYPTODOME.new(key, AES_OF_PYCRYPTODOME.MODE_SIV)
                other.update(aad)
                coded, tag = other.encrypt_and_digest(data)
                assert (sealed.mac, sealed.data) == (tag, coded)
                assert not data or tag + coded == AESSIV(key).encrypt(data, [aad])
                assert session.encrypt(data, aad=aad) == sealed
                assert session.decrypt(sealed, aad=aad) == data
                with pytest.raises(AuthenticationError):
                    session.decrypt(sealed, aad=aad + b"x")


@pytest.mark.parametrize("size", [32, 48, 64])
def test_an_empty_message_where_the_library_takes_none(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cryptography 44 does not: its tag is made of the library's CMAC."""
    monkeypatch.setattr(_siv, "TAKES_NOTHING", False)
    key = bytes(range(size))
    siv = _siv.Siv(key)
    for aad in (b"", b"a", bytes(100)):
        other = AES_OF_PYCRYPTODOME.new(key, AES_OF_PYCRYPTODOME.MODE_SIV)
        other.update(aad)
        _, wanted = other.encrypt_and_digest(b"")
        parts = [memoryview(aad)] if aad else []
        assert siv.seal(b"", parts, [], 16) == wanted
        assert siv.open(b"", parts, [memoryview(bytearray())], wanted)
        assert not siv.open(b"", parts, [], bytes(16))
    data = bytearray(b"text")
    tag = siv.seal(b"", [], [memoryview(data)], 16)
    assert tag + data == AESSIV(key).encrypt(b"text", [b""])


@every_driver
def test_siv_has_whole_tags_alone(framework: Framework, driver: str) -> None:
    with pytest.raises(UsageError, match="AES_SIV_MAC cannot give a MAC of 12 bytes"):
        framework.newsession(Cryptoini("aes-128-siv", bytes(32), mlen=12), driver=driver)
