"""A framework with the driver alone, and a request for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opencrypto import Alg, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
)
from opencrypto_afalg import AfalgDriver
from tests.drivers.afalg.support import attached
from tests.drivers.rig import crd

EXPLICIT = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


KEY = bytes(range(16))


IV = bytes(range(16, 32))


def cbc(encrypt: bool, length: int, iv: bytes = IV, skip: int = 0):  # type: ignore[no-untyped-def]  # a pair of a chain and a request
    return crd(Alg.AES_CBC, skip, length, 0, EXPLICIT | (CRD_F_ENCRYPT if encrypt else 0), iv)


@pytest.fixture
def driver() -> AfalgDriver:
    return AfalgDriver()


@pytest.fixture
def framework(driver: AfalgDriver) -> Iterator[Framework]:
    with attached(driver) as framework:
        yield framework
