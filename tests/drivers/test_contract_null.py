"""The driver `null` keeps the contract of opencrypto.testing, without deviations."""

from opencrypto.testing import DriverContract
from opencrypto_null import NullDriver


class TestContract(DriverContract):
    """Every clause, on all that the driver claims."""

    driver_class = NullDriver
