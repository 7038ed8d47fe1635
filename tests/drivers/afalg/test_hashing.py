"""Hashes fed piece by piece, cloned half way, and without copying."""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
from pathlib import Path

import pytest

import opencrypto_afalg
from opencrypto import Alg, Cryptoini, DriverUnavailable, UsageError
from opencrypto.options import Settings
from opencrypto_afalg import AfalgDriver, KernelHash
from tests.drivers.afalg.fake import FakeKernel, linux_7_2
from tests.drivers.afalg.support import attached, run
from tests.drivers.rig import crd

pytestmark = pytest.mark.kernel


def test_pieces_of_any_size() -> None:
    """MSG_MORE is the update; the end begins anew with the same key."""
    rng = random.Random(1)
    with KernelHash(Alg.SHA2_256_HMAC, b"key") as mac:
        for _ in range(3):
            data = b""
            for size in (0, 1, 63, 64, 65, 5000, 200_000):
                piece = rng.randbytes(size)
                mac.update(piece)
                data += piece
            assert mac.digest() == hmac.digest(b"key", data, "sha256")
        assert mac.digest() == hmac.digest(b"key", b"", "sha256")


def test_a_copy_goes_its_own_way() -> None:
    """The kernel clones a state half way, as `hashlib` objects do."""
    with KernelHash(Alg.SHA1) as one:
        one.update(b"common ")
        with one.copy() as other:
            one.update(b"one")
            other.update(b"other")
            assert other.digest() == hashlib.sha1(b"common other").digest()
        assert one.digest() == hashlib.sha1(b"common one").digest()


@pytest.mark.parametrize("zerocopy", [False, True])
@pytest.mark.parametrize("size", [0, 1, 4096, 65536 + 17, 3_000_000])
def test_files(tmp_path: Path, zerocopy: bool, size: int) -> None:
    """A file read, and a file spliced, have the same digest."""
    path = tmp_path / "data"
    path.write_bytes(random.Random(size).randbytes(size))
    with KernelHash(Alg.SHA2_512, zerocopy=zerocopy) as running, path.open("rb") as file:
        running.update(b"before")
        running.update_file(file.fileno())
        running.update(b"after")
        wanted = hashlib.sha512(b"before" + path.read_bytes() + b"after")
        assert running.digest() == wanted.digest()


@pytest.mark.parametrize("size", [100, 8192, 65536, 65536 + 4000, 1_000_000])
@pytest.mark.parametrize("offset", [0, 1])
def test_sessions_without_copying(size: int, offset: int) -> None:
    """With the switch on the answers are the same, from aligned memory and from other."""
    driver = AfalgDriver(zerocopy=True)
    assert driver.zerocopy
    with attached(driver) as framework:
        sid = framework.newsession(Cryptoini(Alg.SHA2_256))
        whole = bytearray(random.Random(size).randbytes(size + 32 + offset))
        buf = memoryview(whole)[offset:]
        assert run(framework, sid, buf, crd(Alg.SHA2_256, 0, size, size)).etype == 0
        assert buf[size:] == hashlib.sha256(buf[:size]).digest()
        fixed = bytes(buf[:size])  # read-only memory is copied all the same
        digest = bytearray(32)
        assert run(framework, sid, fixed, crd(Alg.SHA2_256, 0, size), mac=digest).etype == 0
        assert digest == buf[size:]


def test_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero copy is only for who asks, by an argument or by the option of that name."""
    assert not AfalgDriver().zerocopy
    for word, wanted in (("1", True), ("no", False)):
        monkeypatch.setenv("OPENCRYPTO_AFALG_ZEROCOPY", word)
        options = Settings().of("afalg", opencrypto_afalg.opencrypto_options())
        offered = opencrypto_afalg.opencrypto_drivers(options)
        assert {getattr(driver, "zerocopy", None) for driver in offered} == {wanted}


def test_where_it_has_been_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """From Linux 7.2 on the switch says that there is none, and the driver works without."""
    with caplog.at_level(logging.WARNING, "opencrypto"):
        assert not AfalgDriver(linux_7_2(), zerocopy=True).zerocopy
    assert "dropped zero copy" in caplog.text
    with pytest.raises(UsageError, match="dropped zero copy"):
        KernelHash(Alg.SHA1, zerocopy=True, kernel=linux_7_2())


def test_what_is_no_hash() -> None:
    """Ciphers, and hashes that take their key with the data, are not fed piece by piece."""
    for alg in (Alg.AES_CBC, Alg.POLY1305, Alg.MD5_KPDK, Alg.DEFLATE_COMP):
        with pytest.raises(UsageError, match="is no hash"):
            KernelHash(alg)
    with pytest.raises(DriverUnavailable):
        KernelHash(Alg.SHA1, kernel=FakeKernel(no_sockets=1))
