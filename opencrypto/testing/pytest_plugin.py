"""
The contract for a driver that pytest is told of: ``pytest --opencrypto-driver opencrypto_card``.

The clauses come behind the tests of the run's own files, as the class of each driver in a module
called ``opencrypto-contract``. ``-m opencrypto_contract`` leaves them alone in the run, and
``-p no:opencrypto`` leaves the plugin out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

MARK: Final = "opencrypto_contract"
"""The mark that each of the clauses' tests has."""

MODULE: Final = "opencrypto-contract"
"""What the module is called in which they stand."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options by which a driver is named."""
    group = parser.getgroup("opencrypto", "the contract of opencrypto's drivers")
    group.addoption(
        "--opencrypto-driver",
        action="append",
        default=[],
        metavar="PACKAGE[:NAME]",
        help="try the contract on the drivers of a package, or on what NAME in it makes; "
        "may be repeated",
    )
    group.addoption(
        "--opencrypto-deviation",
        action="append",
        default=[],
        metavar="CLAUSE=REASON",
        help="a clause (D14), or a clause and trials (D14:AES_CBC-*), that must fail, and why",
    )
    group.addoption(
        "--opencrypto-patience",
        type=float,
        default=None,
        metavar="SECONDS",
        help="seconds to wait for anything, before it counts as never",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark means."""
    config.addinivalue_line("markers", f"{MARK}: a clause of the contract of opencrypto's drivers")


@pytest.hookimpl(tryfirst=True)  # before those who choose among what there is
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the contract of each driver that was named."""
    named: list[str] = session.config.getoption("--opencrypto-driver")
    if named:
        items += _contracts(session, named)


def _contracts(session: pytest.Session, named: list[str]) -> Iterator[pytest.Item]:
    from opencrypto.exceptions import DriverUnavailable, UsageError
    from opencrypto.testing import contract
    from opencrypto.testing.target import targets

    try:
        found = [target for text in named for target in targets(text)]
    except DriverUnavailable as error:
        raise pytest.UsageError(f"--opencrypto-driver: not tried: {error.reason}") from None
    except UsageError as error:
        raise pytest.UsageError(f"--opencrypto-driver: {error.strerror}") from None
    module = ModuleType(MODULE)
    for target in found:
        name = _class_name(target.name)
        if hasattr(module, name):
            raise pytest.UsageError(f"--opencrypto-driver: {target.name} is named twice")
        setattr(module, name, _contract_class(session.config, name, target))
    place = Path(str(contract.__file__))
    node = pytest.Module.from_parent(session, path=place, nodeid=MODULE)
    node.obj = module
    node.add_marker(MARK)
    yield from session.genitems(node)


def _contract_class(config: pytest.Config, name: str, target: Any) -> type:
    from opencrypto.testing.contract import DriverContract

    body: dict[str, Any] = {
        "__module__": MODULE,
        "__doc__": f"The contract on driver {target.name}.",
        "driver_class": target.driver_class,
        "make_driver": lambda self: target.make(),
        "deviations": _deviations(config.getoption("--opencrypto-deviation")),
    }
    patience: float | None = config.getoption("--opencrypto-patience")
    if patience is not None:
        body["patience"] = patience
    return type(name, (DriverContract,), body)


def _deviations(said: list[str]) -> dict[str, str]:
    deviations = {}
    for each in said:
        clause, equals, reason = each.partition("=")
        if not equals or not reason:
            raise pytest.UsageError(f"--opencrypto-deviation {each}: give CLAUSE=REASON")
        deviations[clause] = reason
    return deviations


def _class_name(driver: str) -> str:
    return "Test" + "".join(part.capitalize() for part in driver.replace("-", ".").split("."))
