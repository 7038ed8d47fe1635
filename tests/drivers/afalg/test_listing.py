"""What an operator is shown: which implementation serves, with its priority, and why one is not."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from opencrypto import Alg, Cryptoini, DriverInfo, Framework
from opencrypto_afalg import AfalgDriver, Kernel
from tests.cli.commands import run as call
from tests.drivers.afalg.fake import GENERIC, VIRTIO, FakeKernel, linux_7_2, linux_7_3
from tests.drivers.afalg.support import attached, open_on, run
from tests.drivers.afalg.test_rules import AES, FLAGS
from tests.drivers.rig import crd


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    """Run ``opencrypto drivers --json`` on this kernel; return its drivers by name."""
    told = json.loads(call("drivers", "--json", *arguments).stdout)
    return {each["name"]: each for each in told["drivers"]}


def info(framework: Framework) -> DriverInfo:
    return next(each for each in framework.drivers if each.name == "afalg")


@pytest.mark.kernel("uml", "qemu")
def test_the_command_names_what_serves(kernel: str) -> None:
    """``opencrypto drivers --probe``: each algorithm's implementation, or why there is none."""
    afalg = listed("--probe")["afalg"]
    served, absent = afalg["implementations"], afalg["absent"]
    assert set(served) | set(absent) == set(afalg["algorithms"])
    assert not set(served) & set(absent)
    assert served["AES_CBC"] == "cbc(aes-generic) (100)"
    assert served["SHA2_256"] == "sha256-generic (100)"
    assert all(text.endswith(")") and text[-2].isdigit() for text in served.values())
    if kernel == "uml":
        assert not absent


@pytest.mark.kernel("qemu")
def test_the_command_names_the_device(kernel: str) -> None:
    """Hardware has a line of its own, also when nothing has been asked for yet."""
    hardware = listed()["afalg.hw"]
    assert hardware["class"] == "hardware"
    assert hardware["implementations"] == {"AES_CBC": "virtio_crypto_aes_cbc (150)"}


@pytest.mark.kernel("uml")
def test_to_look_loads_nothing(kernel: str) -> None:
    """Without ``--probe`` the kernel has as many implementations afterwards as before."""
    before = {each.driver for each in Kernel().implementations()}
    assert listed()["afalg"]["implementations"]
    assert {each.driver for each in Kernel().implementations()} == before


def test_to_look_binds_nothing_and_reads_once() -> None:
    """Naming all algorithms is one look at the kernel's list, and no socket."""
    looks: list[int] = []

    class Watched(FakeKernel):
        def implementations(self) -> Any:
            looks.append(1)
            return super().implementations()

    kernel = Watched(listed=[GENERIC])
    with attached(AfalgDriver(kernel)) as framework:
        assert dict(info(framework).implementations) == {"AES_CBC": "cbc(aes-generic) (100)"}
        assert kernel.bound == []
        assert len(looks) == 1
        sid = framework.newsession(AES)
        count = len(looks)
        for _ in range(100):
            desc = crd(Alg.AES_CBC, 0, 16, 0, FLAGS, bytes(16))
            assert run(framework, sid, bytearray(16), desc).etype == 0
        assert len(looks) == count, "a request looks at nothing"


def test_what_is_not_there_has_its_reason() -> None:
    """An allow-list, once met, is in the list of drivers beside what is left."""
    with attached(AfalgDriver(linux_7_3(admin=True))) as framework:
        assert info(framework).absent == ()
        framework.probe()
        absent = dict(info(framework).absent)
        assert absent["AES_GCM_16"] == "this kernel has no rfc4106(gcm(aes)), or does not allow it"
        assert "SHA1" not in absent
        assert "AES_CBC" in dict(info(framework).implementations)


def test_a_wrong_answer_has_its_reason() -> None:
    """It is tried once; after that nobody gets it, and the list says why."""
    kernel = FakeKernel(listed=[GENERIC], wrong=True)
    with attached(AfalgDriver(kernel)) as framework:
        for _ in range(3):
            with pytest.raises(OSError, match="known answer is wrong"):
                framework.newsession(AES)
        assert dict(info(framework).absent) == {"AES_CBC": "cbc(aes): its known answer is wrong"}
        assert kernel.bound.count("cbc(aes)") == 2, "once to find it, once to try it"


def test_what_happens_later_is_remarked() -> None:
    """A device that leaves in the middle of life: why sessions come back, and what has gone."""
    kernel = FakeKernel(listed=[GENERIC])
    with attached(AfalgDriver(kernel), fallback=True) as framework:
        sid = open_on(framework, AES)
        assert info(framework).remarks == ()
        kernel.modules = False
        desc = crd(Alg.AES_CBC, 0, 16, 0, FLAGS, bytes(16))
        for _ in range(2):
            crp = run(framework, sid, bytearray(16), desc)
            sid = crp.sid
        why = "hands sessions back: cbc(aes): No such file or directory"
        assert info(framework).remarks == (why,)
        gone = "it has gone: this kernel has no cbc(aes), or does not allow it"
        assert dict(info(framework).absent) == {"AES_CBC": gone}


def test_a_limit_that_is_met_is_remarked() -> None:
    """No memory for sockets: a remark, though the algorithm is still offered."""
    kernel = FakeKernel(listed=[GENERIC])
    with attached(AfalgDriver(kernel), fallback=True) as framework:
        sid = open_on(framework, AES)
        kernel.no_sockets = errno.ENOMEM
        desc = crd(Alg.AES_CBC, 0, 16, 0, FLAGS, bytes(16))
        assert run(framework, sid, bytearray(16), desc).etype == errno.EAGAIN
        kernel.no_sockets = 0
        assert info(framework).remarks == ("hands sessions back: cbc(aes): Cannot allocate memory",)
        assert info(framework).absent == ()
        open_on(framework, Cryptoini(Alg.AES_CBC, bytes(24)))


def test_a_dropped_switch_is_remarked() -> None:
    """Zero copy asked for where there is none."""
    with attached(AfalgDriver(linux_7_2(GENERIC, VIRTIO), zerocopy=True)) as framework:
        (remark,) = info(framework).remarks
        assert remark.startswith("no zero copy: Linux 7.2 has dropped")
