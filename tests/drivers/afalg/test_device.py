"""A device behind the kernel's names: virtio-crypto, which serves cbc(aes) off the CPU."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

import opencrypto_afalg
from opencrypto import Alg, Cryptoini, Framework, NoDriverError
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT
from opencrypto.driver import HARDWARE, SOFTWARE, driver_class
from opencrypto.testing import vectors
from opencrypto_afalg import AfalgDriver, Kernel
from tests.drivers.afalg import modules
from tests.drivers.afalg.support import attached, follow, run
from tests.drivers.afalg.test_load import flood
from tests.drivers.rig import crd

pytestmark = [pytest.mark.kernel("qemu"), pytest.mark.shared_framework]

DEVICE = "virtio_crypto_aes_cbc"
KEY = bytes(range(16))
AES = Cryptoini(Alg.AES_CBC, KEY)
FLAGS = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached(fallback=True) as framework:
        yield framework


def references() -> int:
    return next(each.refcnt for each in Kernel().implementations() if each.driver == DEVICE)


def test_two_entries_of_honest_classes() -> None:
    """The device makes an entry of hardware beside that of software, for what it does itself."""
    by_name = {driver.name: driver for driver in opencrypto_afalg.drivers()}
    assert driver_class(by_name["afalg.hw"].flags) == HARDWARE
    assert driver_class(by_name["afalg"].flags) == SOFTWARE
    assert set(by_name["afalg.hw"].capabilities) == {Alg.AES_CBC}


def test_hard_means_the_device(framework: Framework) -> None:
    """``hard=1`` is served by the device itself: its references rise while a session is used."""
    before = references()
    sid = framework.newsession(AES, 1)
    tiers = {each.hid: each.tier for each in framework.drivers}
    assert tiers[(sid >> 32) - 1] == "hardware"
    buf = bytearray(4096)
    assert (
        run(framework, sid, buf, crd(Alg.AES_CBC, 0, 4096, 0, FLAGS | CRD_F_ENCRYPT, KEY)).etype
        == 0
    )
    assert references() > before
    software = framework.newsession(AES, -1)
    assert tiers[(software >> 32) - 1] == "software"
    other = bytearray(4096)
    count = references()
    desc = crd(Alg.AES_CBC, 0, 4096, 0, FLAGS | CRD_F_ENCRYPT, KEY)
    assert run(framework, software, other, desc).etype == 0
    assert references() == count, "software is not the device in disguise"
    assert buf == other
    framework.freesession(sid)
    framework.freesession(software)
    with pytest.raises(NoDriverError):
        framework.newsession(Cryptoini(Alg.SHA1), 1)


def test_what_serves_is_named(framework: Framework) -> None:
    """The implementation with its priority, for each class."""
    drivers = {driver.name: driver for driver in opencrypto_afalg.drivers()}
    for driver in drivers.values():
        assert isinstance(driver, AfalgDriver)
        driver.capabilities[Alg.AES_CBC].served()
    assert drivers["afalg.hw"].capabilities[Alg.AES_CBC].implementation == f"{DEVICE} (150)"
    assert drivers["afalg"].capabilities[Alg.AES_CBC].implementation == "cbc(aes-generic) (100)"


@pytest.mark.parametrize("hard", [1, -1])
def test_published_answers(framework: Framework, hard: int) -> None:
    """Every vector of AES-CBC, by the device and by the kernel's software."""
    for v in vectors.load("aes_cbc"):
        sid = framework.newsession(Cryptoini(Alg.AES_CBC, v.key), hard, driver=None)
        buf = bytearray(v.input)
        for flags, wanted in ((CRD_F_ENCRYPT, v.output), (0, v.input)):
            desc = crd(Alg.AES_CBC, 0, len(buf), 0, FLAGS | flags, v.iv)
            crp = run(framework, sid, buf, desc)
            assert (crp.etype, bytes(buf)) == (0, wanted), (v.id, crp.error)
        framework.freesession(sid)


@pytest.mark.parametrize("size", [16, 4096, 65536, 131072, 400_000])
def test_sizes_and_segments(framework: Framework, size: int) -> None:
    """Inline, by threads, in pieces; and in segments that break inside of blocks."""
    answers = []
    for driver in ("afalg.hw", "swcrypto"):
        sid = framework.newsession(AES, driver=driver)
        parts = [bytearray(7), bytearray(size - 7)]
        crp = follow(
            framework, sid, parts, crd(Alg.AES_CBC, 0, size, 0, FLAGS | CRD_F_ENCRYPT, KEY)
        )
        assert (crp.etype, crp.sid) == (0, sid), crp.error
        answers.append(b"".join(parts))
        framework.freesession(sid)
    assert answers[0] == answers[1]


def test_detached_under_load() -> None:
    """The hardware entry is detached with ten thousand requests in flight."""
    driver = AfalgDriver(device=True, algs=[Alg.AES_CBC], inline_ns=1)
    assert flood(driver, lambda framework: framework.detach(driver), 256).migrated > 0


def test_the_devices_module_is_removed_under_load() -> None:
    """virtio_crypto is unloaded in the middle: ENOENT at the next open, and all migrate."""
    kernel = modules.GatedKernel()
    driver = AfalgDriver(kernel, device=True, algs=[Alg.AES_CBC], inline_ns=1)
    with modules.no_loading():
        try:
            done = flood(driver, lambda _: modules.remove("virtio_crypto", driver), 256)
        finally:
            modules.load("virtio_crypto")
    assert done.migrated > 0


def test_after_that_there_is_no_hardware_to_offer() -> None:
    """Without the module the driver is software only, and hard > 0 is refused."""
    driver = AfalgDriver(modules.GatedKernel(), device=True, algs=[Alg.AES_CBC])
    with modules.no_loading():
        try:
            modules.remove("virtio_crypto", driver)
            with attached() as framework:
                assert [each.name for each in framework.drivers] == ["afalg"]
                with pytest.raises(NoDriverError) as refusal:
                    framework.newsession(AES, 1)
                assert refusal.value.errno == errno.EINVAL
        finally:
            modules.load("virtio_crypto")
