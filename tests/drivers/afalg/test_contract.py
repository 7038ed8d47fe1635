"""The contract of every driver, kept on a real kernel."""

from __future__ import annotations

import pytest

from opencrypto import Alg, Driver
from opencrypto.testing import DriverContract
from opencrypto.xform import AEAD_CIPHERS
from opencrypto_afalg import AfalgDriver

pytestmark = pytest.mark.kernel("uml")

# One of each way in which the driver asks the kernel; the others are tried with published answers.
EACH_WAY = [
    Alg.AES_CBC, Alg["3DES_CBC"], Alg.AES_CTR, Alg.AES_XTS, Alg.ARC4, Alg.NULL_CBC, Alg.SHA2_256,
    Alg.BLAKE2B, Alg.POLY1305, Alg.MD5_KPDK, Alg.SHA2_512_HMAC, Alg.AES_CMAC, Alg.AES_GCM_16,
    Alg.AES_GMAC, Alg.AES_CCM_16, Alg.CHACHA20_POLY1305, *AEAD_CIPHERS,
]  # fmt: skip


class TestAfalg(DriverContract):
    """Every clause."""

    driver_class = AfalgDriver

    def make_driver(self) -> Driver:
        return AfalgDriver(algs=EACH_WAY)


class TestAfalgWithThreads(DriverContract):
    """The same with every request done by a thread."""

    driver_class = AfalgDriver

    def make_driver(self) -> Driver:
        return AfalgDriver(
            algs=[Alg.AES_CBC, Alg.SHA1_HMAC, Alg.AES_GCM_16, Alg.AES_128_GMAC], inline_ns=1
        )
