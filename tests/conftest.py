"""
House-keeping around every test: what it opened or started is gone when it ends.

What warnings can tell (unclosed files and sockets, exceptions in threads and finalizers) is made
an error by the filter in pyproject.toml. This file looks for what makes no warning.
"""

import contextlib
import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from opencrypto import DriverUnavailable
from opencrypto.selftest import failures
from tests.support import QUICK, examples

# A busy neighbour makes a test late, which is no fault of ours; what hangs meets the timeout.
settings.register_profile("opencrypto", deadline=None, max_examples=examples(100))
settings.load_profile("opencrypto")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what collecting makes, here and in every later round of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


# What a driver's contract finds out by doing the same thing thousands of times. The everyday loop
# does so for one driver and one algorithm; all else of a contract takes a tenth of these three.
THOUSANDFOLD = ("test_D15_nothing_grows", "test_D18_nothing_grows", "test_D24_")
EXAMPLE = "test_contract_null.py::TestContract"


@pytest.hookimpl(tryfirst=True)  # before pytest looks at marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow, in the everyday loop, what takes as long as a hundred other tests."""
    if not QUICK:
        return
    for item in items:
        the_example = EXAMPLE in item.nodeid and "NULL_HMAC" not in item.name
        if item.name.startswith(THOUSANDFOLD) and not the_example:
            item.add_marker(pytest.mark.slow)


# The interpreter opens these once, when they are first needed, and keeps them.
LAZY_FDS = ("/dev/null", "/dev/random", "/dev/urandom")
GRACE_S = 2.0


def our_threads() -> set[threading.Thread]:
    """Return the live threads that the framework or a driver has started."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("opencrypto")}


def open_fds() -> set[int]:
    """Return the numbers of the open descriptors; what they lead to is asked of few."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - quicker, and this runs twice a test
        try:
            os.get_inheritable(int(entry))  # the quickest that asks whether it is open
        except OSError:
            continue  # the descriptor by which the directory itself was read
        found.add(int(entry))
    return found


def target_of(fd: int) -> str:
    """Return what a descriptor leads to; nothing, if it has been closed meanwhile."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - a name, not a path
    except OSError:
        return ""


class Housekeeper:
    """What was there before, to be compared with what is there after."""

    def __init__(self) -> None:
        self.threads = our_threads()
        self.fds = open_fds()

    def leaked_threads(self) -> list[str]:
        """Name the threads that are new and do not end in a moment."""
        # close() joins, but a thread that a test has told to end may need one more time slice.
        deadline = time.monotonic() + GRACE_S
        while (new := our_threads() - self.threads) and time.monotonic() < deadline:
            time.sleep(0.005)
        return sorted(thread.name for thread in new)

    def leaked_fds(self) -> list[str]:
        """Name the descriptors that are new, even after the garbage is collected."""
        if not self._new_fds():
            return []
        gc.collect()  # only now: collecting after every test costs more than most tests
        return [f"{fd} -> {target}" for fd, target in self._new_fds().items()]

    def _new_fds(self) -> dict[int, str]:
        new = {fd: target_of(fd) for fd in sorted(open_fds() - self.fds)}
        return {fd: to for fd, to in new.items() if to and not to.startswith(LAZY_FDS)}

    def check(self, where: str) -> None:
        """Fail, naming what `where` has left behind."""
        threads = self.leaked_threads()
        fds = self.leaked_fds() if sys.platform == "linux" else []
        left = [f"thread {name!r}" for name in threads] + [f"descriptor {fd}" for fd in fds]
        if left:
            pytest.fail(f"{where} left behind: {', '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True, scope="module")
def _tidy_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the fixtures of the module too: what a shared framework has left."""
    keeper = Housekeeper()
    yield
    keeper.check(f"the module {request.node.name}")


@pytest.fixture(autouse=True)
def _tidy_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, unless its module says that something in it is shared."""
    if request.node.get_closest_marker("shared_framework"):
        yield
        return
    keeper = Housekeeper()
    yield
    keeper.check("this test")


@pytest.fixture(autouse=True, scope="session")
def _no_options_of_the_user() -> Iterator[None]:
    """Whoever runs the tests may have set options of drivers, which are none of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENCRYPTO_CONFIG", "")
        yield


@pytest.fixture(autouse=True, scope="session")
def _known_answers_once() -> Iterator[None]:
    """
    Run the known answers of the tree's drivers once in the everyday loop, for all its frameworks.

    Those of a thousand frameworks, one for each test or so, took a third of the loop's time.
    """
    if not QUICK:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for package in ("opencrypto_null", "opencrypto_openssl", "opencrypto_swcrypto"):
            with contextlib.suppress(DriverUnavailable):
                for driver in importlib.import_module(package).opencrypto_drivers():
                    assert not failures(driver)
                    patch.setattr(type(driver), "selftest", False)
        yield


def source_roots_imported() -> list[str]:
    """Name the modules that were imported by way of a source root's name."""
    return sorted(
        name for name in sys.modules if name.partition(".")[0] in {"drivers", "consumers"}
    )


@pytest.fixture(autouse=True, scope="session")
def _source_roots_are_not_packages() -> Iterator[None]:
    """
    Fail the session if somebody imported ``drivers.opencrypto_...``.

    From the root of the checkout that works, as a namespace package, and gives a second copy of
    every class, for which isinstance() is false.
    """
    yield
    assert source_roots_imported() == [], (
        "import opencrypto_<token>, not drivers.opencrypto_<token>"
    )
