"""Drivers that answer later keep the contract: by workers, and by transforms that wait."""

import pytest

from opencrypto.driver import renew_after_fork
from opencrypto.testing import DriverContract
from tests.drivers.later_drivers import Sizing, Waiting, Working

pytestmark = pytest.mark.slow  # a thousand tests of some milliseconds each


class TestWorkers(DriverContract):
    """Every request goes to a worker."""

    driver_class = Working


class TestWorkersForLarge(DriverContract):
    """Large ones do."""

    driver_class = Sizing


class WaitingAnew(Waiting):
    """Has its device anew in a forked child."""

    def __init__(self) -> None:
        super().__init__()
        renew_after_fork(self)


class TestWaiting(DriverContract):
    """Each step waits for a device."""

    driver_class = WaitingAnew
