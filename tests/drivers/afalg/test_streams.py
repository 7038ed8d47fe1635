"""Messages in pieces on the kernel's driver; on a kernel that is not here, by its rules."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator

import pytest

from opencrypto import CRYPTO_AES_CBC, CRYPTO_SHA2_256, CRYPTO_SHA2_256_HMAC, Cryptoini, Framework
from opencrypto.client import Sealed
from opencrypto_afalg import AfalgDriver
from tests.drivers.afalg.fake import AESNI, linux_7_2

ALGS = (CRYPTO_AES_CBC, CRYPTO_SHA2_256, CRYPTO_SHA2_256_HMAC)


@pytest.fixture
def fw() -> Iterator[Framework]:
    driver = AfalgDriver(linux_7_2(AESNI), algs=ALGS)
    with Framework(plugins=False) as framework:
        framework.attach(driver)
        yield framework
        assert not driver._chains


def test_a_hash_is_fed_with_msg_more(fw: Framework) -> None:
    """And copied by the kernel; a long piece goes to a thread."""
    data = os.urandom(300_000)
    with fw.session([Cryptoini(CRYPTO_SHA2_256)]) as session, session.hasher() as hasher:
        for start, end in ((0, 0), (0, 5), (5, 70), (70, len(data))):
            hasher.update(data[start:end])
        twin = hasher.copy()
        hasher.update(b"one")
        assert hasher.digest() == hashlib.sha256(data + b"one").digest()
        hasher.update(b"more")
        assert hasher.digest() == hashlib.sha256(data + b"onemore").digest()
        with twin:
            twin.update(b"other")
            assert twin.digest() == hashlib.sha256(data + b"other").digest()
    keyed = fw.session([Cryptoini(CRYPTO_SHA2_256_HMAC, b"key", mlen=32)])
    with keyed, keyed.hasher() as hasher:
        hasher.update(data)
        hasher.update(data)
        assert hasher.digest() == hmac.digest(b"key", data + data, "sha256")


def test_a_block_mode_goes_on_with_its_last_block(fw: Framework) -> None:
    data = os.urandom(4096)
    with fw.session([Cryptoini(CRYPTO_AES_CBC, bytes(16))]) as session:
        with session.encryptor() as encryptor:
            text = encryptor.update(data[:100]) + encryptor.update(data[100:])
            encryptor.finalize()
        sealed = Sealed(encryptor.iv, text, b"")
        assert session.decrypt(sealed) == data
        with session.decryptor(sealed.iv) as decryptor:
            plain = decryptor.update(text[:48]) + decryptor.update(text[48:])
            decryptor.finalize()
        assert plain == data


def test_what_the_kernel_refuses_in_the_midst_ends_the_message(fw: Framework) -> None:
    driver = next(slot.driver for slot in fw._drivers)
    assert isinstance(driver, AfalgDriver)
    kernel = driver.kernel
    with fw.session([Cryptoini(CRYPTO_SHA2_256)]) as session, session.hasher() as hasher:
        hasher.update(b"x")
        kernel.short_send = True  # type: ignore[attr-defined]  # a stand-in
        with pytest.raises(OSError, match="only a part"):
            hasher.update(b"y")
        kernel.short_send = False  # type: ignore[attr-defined]  # a stand-in
