"""The driver `openssl` keeps the contract of opencrypto.testing, without deviations."""

import pytest

from opencrypto.testing import DriverContract
from opencrypto_openssl._driver import OpensslDriver

pytestmark = pytest.mark.slow  # a thousand tests of some milliseconds each


class TestContract(DriverContract):
    """Every clause, on all that the driver claims."""

    driver_class = OpensslDriver
