"""One framework for each module of ESP tests: what is tested here is the consumer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from opencrypto import Framework
from opencrypto_esp import SecurityAssociation
from tests.consumers.esp.ends import Ends

MakeEsp = Callable[..., Ends]


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    """Return a framework with every driver."""
    with Framework() as framework:
        yield framework


@pytest.fixture
def make_esp(framework: Framework) -> Iterator[MakeEsp]:
    """Return what makes an `Ends`; each is closed after the test."""
    made: list[Ends] = []

    def make(*sas: SecurityAssociation, batch: bool = False) -> Ends:
        esp = Ends(framework, sas, batch=batch)
        made.append(esp)
        return esp

    yield make
    for esp in made:
        esp.close()
