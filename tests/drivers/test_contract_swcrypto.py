"""The driver `swcrypto` keeps the contract of opencrypto.testing, without deviations."""

import pytest

from opencrypto.testing import DriverContract
from opencrypto_swcrypto._driver import SwcryptoDriver

pytestmark = pytest.mark.slow  # a thousand tests of some milliseconds each


class TestContract(DriverContract):
    """Every clause, on all that the driver claims."""

    driver_class = SwcryptoDriver
