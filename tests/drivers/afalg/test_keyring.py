"""Sessions keyed by the serial number of a key that never comes into this process."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import opencrypto_swcrypto
from opencrypto import Alg, Cryptoini, Framework, KeySerial, NoDriverError
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT
from opencrypto_afalg import AfalgDriver
from opencrypto_afalg.sockets import ALG_SET_KEY_BY_KEY_SERIAL, SOL_ALG
from tests.drivers.afalg.fake import GENERIC, FakeKernel, FakeSocket
from tests.drivers.afalg.support import run
from tests.drivers.rig import crd

KEY = bytes(range(16))
FLAGS = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


class KeyringKernel(FakeKernel):
    """Linux 6.2 and later: a kernel with a keyring, in which one key may be found."""

    refuses = 0

    def socket(self) -> Any:
        return KeyringSocket(self)


class KeyringSocket(FakeSocket):
    """One of its transform sockets."""

    def setsockopt(self, level: int, option: int, value: Any, length: int = 0) -> None:
        if (level, option) != (SOL_ALG, ALG_SET_KEY_BY_KEY_SERIAL):
            super().setsockopt(level, option, value, length)
            return
        assert isinstance(self.kernel, KeyringKernel)
        if self.kernel.refuses:
            raise OSError(self.kernel.refuses, "")
        if struct.unpack("=i", value) != (77,):
            raise OSError(errno.ENOKEY, "")
        self.key = KEY


@contextmanager
def on(kernel: FakeKernel | None) -> Iterator[Framework]:
    with Framework(plugins=False) as framework:
        framework.attach(AfalgDriver(kernel))
        for software in opencrypto_swcrypto.opencrypto_drivers():
            framework.attach(software)
        yield framework


def test_the_answer_is_that_of_the_key() -> None:
    """The session works as one with the key itself, and no other driver is asked."""
    with on(KeyringKernel(listed=[GENERIC])) as framework:
        answers = []
        for key in (KEY, KeySerial(77, 16)):
            sid = framework.newsession(Cryptoini(Alg.AES_CBC, key), driver="afalg")
            buf = bytearray(64)
            desc = crd(Alg.AES_CBC, 0, 64, 0, FLAGS, bytes(16))
            assert run(framework, sid, buf, desc).etype == 0
            answers.append(buf)
        assert answers[0] == answers[1]


def test_the_session_never_goes_where_the_key_is_not() -> None:
    """Detached, it ends with ENODEV: a driver without the kernel's keyring cannot take it over."""
    with on(KeyringKernel(listed=[GENERIC])) as framework:
        sid = framework.newsession(Cryptoini(Alg.AES_CBC, KeySerial(77, 16)))
        framework.detach("afalg")
        buf = bytearray(16)
        crp = run(framework, sid, buf, crd(Alg.AES_CBC, 0, 16, 0, FLAGS, bytes(16)))
        assert crp.etype == errno.ENODEV
        assert buf == bytes(16)
        with pytest.raises(NoDriverError, match="takes no key by its serial number"):
            framework.newsession(Cryptoini(Alg.AES_CBC, KeySerial(77, 16)))


@pytest.mark.parametrize(
    ("serial", "refuses", "reason"),
    [
        (78, 0, "there is no such key"),
        (77, errno.EACCES, "may not search for that key"),
        (77, errno.ENOPROTOOPT, "Linux 6[.]2 and later may"),
        (77, errno.EINVAL, "does not take that key"),
    ],
)
def test_refusals_are_plain(serial: int, refuses: int, reason: str) -> None:
    """No such key, no permission, no such option: said when the session is opened."""
    kernel = KeyringKernel(listed=[GENERIC])
    kernel.refuses = refuses
    with on(kernel) as framework, pytest.raises(NoDriverError, match=reason):
        framework.newsession(Cryptoini(Alg.AES_CBC, KeySerial(serial, 16)))


def test_a_key_whose_nonce_must_be_seen_is_refused() -> None:
    """A counter mode's nonce is the key's end, which a serial number does not show."""
    with on(KeyringKernel()) as framework, pytest.raises(NoDriverError):
        framework.newsession(Cryptoini(Alg.AES_CTR, KeySerial(77, 20)))


@pytest.mark.kernel("uml")
def test_linux_6_1_refuses(kernel: str) -> None:
    """A kernel before 6.2 has no such option, and that is what the error says."""
    with on(None) as framework, pytest.raises(NoDriverError, match="and later may"):
        framework.newsession(Cryptoini(Alg.AES_CBC, KeySerial(77, 16)))
