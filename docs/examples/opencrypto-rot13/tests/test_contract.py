"""All the tests that this driver needs: the contract, on whatever its capabilities claim."""

from opencrypto_rot13 import Rot13Driver

from opencrypto.testing import DriverContract


class TestRot13(DriverContract):
    driver_class = Rot13Driver
