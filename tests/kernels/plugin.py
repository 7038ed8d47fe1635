"""The hooks of pytest by which tests marked ``kernel`` run inside of kernels; see remote.py."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.kernels import remote


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> str:
    """The kernel that the test runs on."""
    return str(getattr(request, "param", remote.HERE))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("kernel")
    if marker is not None:
        metafunc.fixturenames.append("kernel")
        metafunc.parametrize("kernel", remote.kernels_of(marker), indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("kernel") is not None:
            item.add_marker(pytest.mark.slow)
            if remote.kernel_of(item) != remote.HERE:
                # The pytest inside keeps the time of each test, and the boot has its own.
                item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return remote.run_remotely(item, nextitem) or None


def pytest_sessionfinish(session: pytest.Session) -> None:
    remote.close_all(session)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    remote.send_report(item.config, report)
    return report
