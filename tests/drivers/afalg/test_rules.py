"""What the driver offers on kernels that are not here, by those kernels' rules."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import opencrypto_afalg
import opencrypto_swcrypto
from opencrypto import Alg, Cryptoini, Driver, DriverUnavailable, Framework, NoDriverError
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT
from opencrypto.driver import HARDWARE, SOFTWARE, driver_class
from opencrypto_afalg import AfalgDriver
from opencrypto_afalg.kernel import Implementation, parse
from tests.drivers.afalg.fake import (
    ADMIN_7_3,
    AESNI,
    GENERIC,
    UNPRIVILEGED_7_3,
    VIRTIO,
    FakeKernel,
    linux_7_2,
    linux_7_3,
)
from tests.drivers.afalg.support import open_on, pair, run
from tests.drivers.rig import crd

KEY = bytes(range(16))
FLAGS = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
AES = Cryptoini(Alg.AES_CBC, KEY)


@contextmanager
def on(kernel: FakeKernel, *, fallback: bool = False) -> Iterator[Framework]:
    with Framework(plugins=False) as framework:
        offered: list[Driver] = opencrypto_afalg.drivers(kernel)
        if fallback:
            offered += opencrypto_swcrypto.opencrypto_drivers()
        for driver in offered:
            framework.attach(driver)
        yield framework


def encrypt(framework: Framework, sid: int) -> tuple[int, bytes, int]:
    buf = bytearray(48)
    crp = run(framework, sid, buf, crd(Alg.AES_CBC, 0, 48, 0, FLAGS, bytes(16)))
    return crp.etype, bytes(buf), crp.sid


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EAFNOSUPPORT, "this kernel has no AF_ALG"),
        (errno.EPERM, "forbidden to this process .seccomp"),
        (errno.EACCES, "forbidden to this process"),
        (errno.EMFILE, "no file descriptors are left"),
        (errno.ENOMEM, "AF_ALG: Cannot allocate memory"),
    ],
)
def test_no_sockets(code: int, reason: str) -> None:
    """No family, seccomp, a profile, no descriptors: the driver is absent and says why."""
    with pytest.raises(DriverUnavailable, match=reason):
        opencrypto_afalg.drivers(FakeKernel(no_sockets=code))


def test_absence_is_a_line_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework with every plugin lists the reason and works with the others."""
    kernel = FakeKernel(no_sockets=errno.EPERM)
    monkeypatch.setattr(opencrypto_afalg, "Kernel", lambda: kernel)
    with Framework(plugins=[opencrypto_afalg, opencrypto_swcrypto], strict=True) as framework:
        absent = [each for each in framework.drivers if each.hid is None]
        assert len(absent) == 1
        assert "forbidden to this process" in absent[0].reason
        framework.newsession(AES)


def test_software_is_never_hardware() -> None:
    """That it works is no proof of a device: not with AES-NI, though that says async."""
    with on(FakeKernel(listed=[GENERIC, AESNI])) as framework:
        assert [(each.name, each.tier) for each in framework.drivers] == [("afalg", "software")]
        with pytest.raises(NoDriverError):
            framework.newsession(AES, 1)
        framework.newsession(AES, -1)
        framework.newsession(AES)


def test_a_device_is_an_entry_of_its_own() -> None:
    """Hardware serves hard > 0, software hard < 0, each by the implementation of its class."""
    kernel = FakeKernel(listed=[GENERIC, VIRTIO])
    hardware, software = sorted(
        opencrypto_afalg.drivers(kernel), key=lambda d: driver_class(d.flags)
    )
    assert (hardware.name, driver_class(hardware.flags)) == ("afalg.hw", HARDWARE)
    assert (software.name, driver_class(software.flags)) == ("afalg", SOFTWARE)
    assert set(hardware.capabilities) == {Alg.AES_CBC}
    with Framework(plugins=False) as framework:
        framework.attach(hardware)
        framework.attach(software)
        by_device, by_software = framework.newsession(AES, 1), framework.newsession(AES, -1)
        assert by_device >> 32 != by_software >> 32
        assert framework.newsession(AES) >> 32 == by_device >> 32
        named = {each.name: dict(each.implementations) for each in framework.drivers}
        assert named["afalg.hw"] == {"AES_CBC": "virtio_crypto_aes_cbc (150)"}
        assert named["afalg"]["AES_CBC"] == "cbc(aes-generic) (100)"
        assert encrypt(framework, by_device)[:2] == encrypt(framework, by_software)[:2]
        assert hardware.capabilities[Alg.AES_CBC].implementation == "virtio_crypto_aes_cbc (150)"
        assert software.capabilities[Alg.AES_CBC].implementation == "cbc(aes-generic) (100)"
    assert kernel.bound[0] == "cbc(aes)"
    assert "cbc(aes-generic)" in kernel.bound, "the device has the higher priority"


def test_a_device_below_software_is_bound_by_its_name() -> None:
    """Where software has the higher priority, hardware is what was asked for, by its own name."""
    kernel = FakeKernel(listed=[GENERIC, AESNI, VIRTIO])
    with on(kernel) as framework:
        sid = framework.newsession(AES, 1)
        assert encrypt(framework, sid)[0] == 0
    assert "virtio_crypto_aes_cbc" in kernel.bound


def test_composed_names_of_the_kernel_are_not_bound() -> None:
    """A driver's name with parentheses would make a new instance for the whole system."""
    odd = Implementation("cbc(aes)", "cryptd(cbc(aes-x))", 300, 1, False, True, 0x485)
    kernel = FakeKernel(listed=[VIRTIO, odd])
    with on(kernel) as framework:
        framework.newsession(AES, -1)
    assert not [name for name in kernel.bound if "cryptd" in name]


def test_an_unplugged_device_moves_its_sessions() -> None:
    """ENODEV in the middle of life: the request is handed back, its session becomes software."""
    kernel = FakeKernel(listed=[GENERIC, VIRTIO])
    with on(kernel, fallback=True) as framework:
        sid = framework.newsession(AES)
        right = encrypt(framework, sid)
        kernel.gone.add("virtio_crypto_aes_cbc")
        etype, buf, moved = encrypt(framework, sid)
        assert (etype, buf) == (errno.EAGAIN, bytes(48))
        assert encrypt(framework, moved)[:2] == right[:2]


def test_a_device_that_left_is_not_replaced_in_silence() -> None:
    """When its module is gone the general name binds software: a session on hardware must not."""
    kernel = FakeKernel(listed=[GENERIC, VIRTIO])
    with on(kernel, fallback=True) as framework:
        sid = framework.newsession(AES)
        kernel.listed.remove(VIRTIO)
        kernel.allows = lambda kind, name: "virtio" not in name
        etype, buf, moved = encrypt(framework, sid)
        assert (etype, buf) == (errno.EAGAIN, bytes(48))
        assert encrypt(framework, moved)[0] == 0


def test_a_module_unloaded_in_the_middle_of_life(caplog: pytest.LogCaptureFixture) -> None:
    """A session that cannot open its sockets again migrates; the reason is said once."""
    kernel = FakeKernel(listed=[GENERIC])
    with on(kernel, fallback=True) as framework, caplog.at_level(logging.WARNING, "opencrypto"):
        sids = [open_on(framework, AES) for _ in range(5)]
        kernel.modules = False
        for sid in sids:
            etype, _, moved = encrypt(framework, sid)
            assert etype == errno.EAGAIN
            assert encrypt(framework, moved)[0] == 0
        count = len(kernel.bound)
        assert count < 10, "asked again for each session"
        framework.newsession(AES)
        assert len(kernel.bound) == count, "what has gone is not offered"
    said = [record for record in caplog.records if "hands sessions back" in record.getMessage()]
    assert len(said) == 1


def test_linux_7_2_has_no_hardware() -> None:
    """The device is listed, and even a bind that asks for it would succeed with software."""
    with on(linux_7_2(GENERIC, VIRTIO)) as framework:
        assert [each.name for each in framework.drivers] == ["afalg"]
        with pytest.raises(NoDriverError):
            framework.newsession(AES, 1)
        assert encrypt(framework, framework.newsession(AES))[0] == 0


@pytest.mark.parametrize("admin", [False, True])
def test_linux_7_3_allows_a_list(admin: bool) -> None:
    """What the list lets through is offered, the rest goes elsewhere with the reason."""
    kernel = linux_7_3(admin=admin)
    driver = AfalgDriver(kernel)
    allowed = ADMIN_7_3 if admin else UNPRIVILEGED_7_3
    absent = driver.probe()
    assert Alg.AES_GCM_16 in absent
    assert "or does not allow it" in absent[Alg.AES_GCM_16]
    assert (Alg.AES_CBC in absent) is not admin
    assert Alg.SHA1 not in absent
    assert Alg.AES_XTS not in absent
    assert {n for n in kernel.bound if kernel.allows("", n)} <= allowed
    with on(kernel, fallback=True) as framework:
        sid = framework.newsession(pair(Alg.AES_GCM_16, KEY))
        software = next(each for each in framework.drivers if each.name == "swcrypto")
        assert (sid >> 32) - 1 == software.hid
        assert framework.newsession(Cryptoini(Alg.SHA1), driver="afalg")


def test_linux_7_3_shut() -> None:
    """At level 2 there is no such family."""
    with pytest.raises(DriverUnavailable, match="no AF_ALG"):
        opencrypto_afalg.drivers(linux_7_3(restrict=2))


def test_negatives_are_remembered() -> None:
    """The second session asks the kernel nothing."""
    kernel = linux_7_3()
    with on(kernel, fallback=True) as framework:
        framework.newsession(AES, -1)
        count = len(kernel.bound)
        for _ in range(100):
            framework.newsession(AES, -1)
        assert len(kernel.bound) == count


def test_a_wrong_known_answer_is_not_used() -> None:
    """Each algorithm is tried before its first session; one that is wrong is refused."""
    kernel = FakeKernel(listed=[GENERIC], wrong=True)
    with on(kernel, fallback=True) as framework:
        with pytest.raises(NoDriverError, match="known answer is wrong"):
            framework.newsession(AES, driver="afalg")
        framework.newsession(AES)


def test_a_short_send_is_not_waited_for() -> None:
    """A request that does not fit is handed back; a blocking send of it would never end."""
    kernel = FakeKernel(listed=[GENERIC])
    with on(kernel, fallback=True) as framework:
        sid = open_on(framework, AES)
        kernel.short_send = True
        assert encrypt(framework, sid)[:2] == (errno.EAGAIN, bytes(48))


@pytest.mark.parametrize("size", [48, 200_000])
def test_a_short_answer_is_an_error(size: int) -> None:
    """Less than was asked for, over a buffer that is changed by then: nobody else may go on."""
    kernel = FakeKernel(listed=[GENERIC])
    with on(kernel, fallback=True) as framework:
        sid = open_on(framework, AES)
        hashed = open_on(framework, Cryptoini(Alg.SHA1))
        kernel.short_answer = True
        crp = run(framework, sid, bytearray(size), crd(Alg.AES_CBC, 0, size, 0, FLAGS, bytes(16)))
        assert (crp.etype, crp.sid) == (errno.EIO, sid)
        assert crp.error == "the kernel answered with less than the request"
        # A digest has not been written anywhere yet, so another driver may make it.
        buf = bytearray(40)
        assert run(framework, hashed, buf, crd(Alg.SHA1, 0, 20, 20)).etype == errno.EAGAIN
        assert buf == bytes(40)


def test_no_key_in_any_text() -> None:
    """Neither repr nor refusal nor log line holds a key."""
    key = b"\xfe\xdc\xba\x98" * 4
    kernel = FakeKernel(listed=[GENERIC])
    driver = AfalgDriver(kernel)
    with Framework(plugins=False) as framework:
        framework.attach(driver)
        sid = framework.newsession(Cryptoini(Alg.AES_CBC, key))
        encrypt(framework, sid)
        kernel.modules = False
        kernel.gone.add("cbc(aes-generic)")
        crp = run(framework, sid, bytearray(16), crd(Alg.AES_CBC, 0, 16, 0, FLAGS, bytes(16)))
        texts = [repr(driver), crp.error, repr(crp), repr(driver._sessions)]
    for text in texts:
        assert key.hex() not in text
        assert repr(key) not in text


def test_proc_crypto_is_read_as_it_is() -> None:
    """The form of the file, with entries that lack some lines."""
    text = """name         : cbc(aes)
driver       : cbc-aes-aesni
module       : aesni_intel
priority     : 400
refcnt       : 3
selftest     : passed
internal     : no
type         : skcipher
async        : yes

name         : sha256
driver       : sha256-generic
priority     : 100
refcnt       : 1
internal     : no
type         : shash

name         : __ecb(aes)
driver       : __ecb-aes-aesni
internal     : yes

"""
    found = list(parse(text, {"cbc-aes-aesni": 0xC85}))
    assert [each.driver for each in found] == ["cbc-aes-aesni", "sha256-generic", "__ecb-aes-aesni"]
    assert found[0] == Implementation("cbc(aes)", "cbc-aes-aesni", 400, 3, False, True, 0xC85)
    assert not found[0].device
    assert found[2].internal


@pytest.mark.parametrize(
    ("driver", "asynchronous", "flags", "device"),
    [
        ("virtio_crypto_aes_cbc", True, 0x10485, True),
        ("cbc-aes-caam", True, 0x1485, True),
        ("cbc-aes-aesni", True, 0x483, False),
        ("cbc(aes-generic)", False, 0xC05, False),
        ("authenc(hmac(sha1-generic),virtio_crypto_aes_cbc)", True, 0x10C83, True),
        ("cbc-aes-aesni", True, None, False),
        ("cryptd(__cbc-aes-aesni)", True, None, False),
        ("mv-cbc-aes", True, None, True),
        ("mv-cbc-aes", False, None, False),
    ],
)
def test_what_a_device_is(driver: str, asynchronous: bool, flags: int | None, device: bool) -> None:
    """By the kernel's flags where it tells them; else by being asynchronous and by name."""
    found = Implementation("cbc(aes)", driver, 1, 1, False, asynchronous, flags)
    assert found.device is device


@pytest.mark.parametrize(
    ("place", "value"), [("skip", None), ("len", "16"), ("inject", b""), ("flags", None)]
)
def test_a_field_of_a_wrong_type_is_the_consumers_fault(place: str, value: object) -> None:
    """It is EINVAL and no bug of the driver, and reaches no kernel."""
    with on(FakeKernel(listed=[GENERIC])) as framework:
        sid = framework.newsession(AES)
        assert encrypt(framework, sid)[0] == 0
        wrong = crd(Alg.AES_CBC, 0, 48, 0, CRD_F_ENCRYPT | CRD_F_IV_PRESENT)
        setattr(wrong, place, value)
        buf = bytearray(48)
        crp = run(framework, sid, buf, wrong)
        assert crp.etype == errno.EINVAL
        assert buf == bytes(48)
        assert not framework.stats.driver_bugs
