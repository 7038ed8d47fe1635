"""
What every driver keeps, the kernel's keeps too: bytes are bytes, wrong fields, limits.

The tests are those of the other drivers, called here with its name, inside of a kernel that has
AF_ALG. A test of theirs that is new is found by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from opencrypto import hookimpl
from opencrypto.xform import FACTS, Kind
from opencrypto_afalg import AfalgDriver
from tests.drivers import rig, test_limits, test_one_rule, test_wrong_fields
from tests.rules import test_bytes_are_bytes, test_unused_fields

pytestmark = pytest.mark.kernel

MODULES = (test_bytes_are_bytes, test_wrong_fields, test_limits, test_unused_fields)

LEFT_OUT = {
    ("test_limits", "test_xts_with_equal_halves_landed_on_a_slower_driver"):
        "what is allowed by a profile is the kernel's to say, and kernels differ",
    ("test_limits", "test_the_longest_message_is_served"): "a kernel call has an end",
}  # fmt: skip

CHAINS_HERE = {"cbc", "hmac", "cbc+hmac", "gcm", "cipher", "cipher, iv in the buffer",
               "decryption", "mac", "digest", "cipher+mac", "aead"}  # fmt: skip


class AtOnce:
    """In the place of workers, for tests that take every driver for a synchronous one."""

    def submit(self, work: Callable[[], None], *, more: bool = False) -> bool:
        """Do it here."""
        work()
        return True

    def close(self) -> None:
        """There is nothing to end."""


class Prompt(AfalgDriver):
    """The kernel's driver, all of whose answers come within `process`."""

    def __init__(self) -> None:
        super().__init__()
        self.pool.close()
        self.pool = AtOnce()  # type: ignore[assignment]  # a stand-in


class Plugin:
    """What offers it."""

    @hookimpl
    def opencrypto_drivers(self) -> list[AfalgDriver]:
        """Offer one."""
        return [Prompt()]


def grid(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of a parametrized test, with this driver for each driver."""
    axes: list[list[dict[str, Any]]] = []
    for mark in test.pytestmark:  # type: ignore[attr-defined]  # pytest's
        if mark.name != "parametrize":
            continue
        names = [mark.args[0]] if isinstance(mark.args[0], str) else list(mark.args[0])
        axis = []
        for each in mark.args[1]:
            values = each.values if hasattr(each, "values") and hasattr(each, "marks") else (
                (each,) if len(names) == 1 else each)  # fmt: skip
            axis.append(dict(zip(names, values, strict=True)))
        axes.append(axis)
    seen = set()
    for combination in itertools.product(*axes):
        given = {name: value for each in combination for name, value in each.items()}
        given |= dict.fromkeys({"name", "driver"} & given.keys(), "afalg")
        if given.get("chain", "cbc") in CHAINS_HERE and repr(given) not in seen:
            seen.add(repr(given))
            yield given


def about_one_driver(module: ModuleType) -> Iterator[tuple[str, Callable[..., None]]]:
    """Yield the tests of a module that are about one driver, which they are told."""
    for name, test in vars(module).items():
        code = getattr(test, "__code__", None)
        if name.startswith("test_") and code and {"name", "driver"} & {*code.co_varnames[:3]}:
            if (module.__name__.rpartition(".")[2], name) not in LEFT_OUT:
                yield name, test


EVERY = [(module, name) for module in MODULES for name, _ in about_one_driver(module)]


@pytest.mark.parametrize(
    ("module", "name"), EVERY, ids=[f"{m.__name__.rpartition('.')[2]}-{n}" for m, n in EVERY]
)
def test_the_kernels_driver_keeps_what_all_keep(
    module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the test of this name says, with each of its other arguments."""
    monkeypatch.setitem(rig.PLUGINS, "afalg", Plugin())
    test = dict(about_one_driver(module))[name]
    tried = 0
    for given in grid(test):
        tried += 1
        try:
            test(**given)
        except BaseException as error:
            error.add_note(f"with {given}")
            raise
    assert tried


def test_the_kernels_driver_answers_as_swcrypto_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each length around each border, for each algorithm that this kernel has."""
    monkeypatch.setitem(rig.PLUGINS, "afalg", Plugin())
    names = ("afalg", "swcrypto")
    offers = {name: rig.make_driver(name).capabilities for name in names}
    monkeypatch.setattr(test_one_rule, "OFFERS", offers)
    prober = Prompt()
    absent = prober.probe()
    prober.close()
    differ, tried = {}, 0
    with rig.attached("afalg") as kernel, rig.attached("swcrypto") as software:
        frameworks = dict(zip(names, (kernel, software), strict=True))
        for alg in sorted(offers["afalg"].keys() - absent.keys()):
            if FACTS[alg].kind is Kind.AEAD_AUTH:
                continue
            for test in (
                test_one_rule.test_keys_and_macs_of_every_length,
                test_one_rule.test_messages_and_ivs_of_every_length,
            ):
                try:
                    test(frameworks, alg)
                except AssertionError as error:
                    differ[FACTS[alg].name, test.__name__] = str(error)[:600]
            tried += 1
    assert not differ
    assert tried > 10
