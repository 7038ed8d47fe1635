"""
The contract without a test file, and without pytest: what ``opencrypto check`` prints.

`run` tries, `opencrypto.testing.report` makes a report of what came of it. They are two, since the
one may happen in another process: see `opencrypto.testing.isolated`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from opencrypto.driver import Driver
from opencrypto.exceptions import DriverUnavailable, UsageError
from opencrypto.testing.clauses import (
    CLAUSES,
    Absent,
    ContractBroken,
    Fate,
    Hung,
    Outcome,
    Trial,
    Waited,
    tried,
)
from opencrypto.testing.contract import DriverContract
from opencrypto.testing.report import Report, Tally, Tried

PATIENCE = 5.0
"""Seconds to wait for anything, before it counts as never."""

HUNG = 6
"""Calls that may hang, each of which leaves a thread behind, before the rest is left out."""

WAITED_IN_A_TEST = 2
"""Trials of one test that may wait in vain before the rest of that is left out."""

WAITED = 24
"""Trials that may wait in vain before the rest of the contract is left out."""

IN_VAIN = "since others have waited in vain"
"""Why a trial is left out."""

FEW = 4
"""Trials of each test, if it must be quick."""


class Options(TypedDict, total=False):
    """How the contract is run: the arguments that `check_driver` and `check_isolated` share."""

    clauses: Collection[str]
    algorithms: Collection[int]
    patience: float
    quick: bool
    soak: float


def check_driver(
    driver_class: type[Driver],
    *,
    make_driver: Callable[[], Driver] | None = None,
    deviations: Mapping[str, str] | None = None,
    clauses: Collection[str] = (),
    algorithms: Collection[int] = (),
    patience: float = PATIENCE,
    quick: bool = False,
    soak: float = 0.0,
) -> Report:
    """
    Run the contract on a driver and report clause by clause.

    A call into the driver that does not come back ends its trial; the thread that made it is left
    behind, and the report says so. A driver that may end the interpreter is for
    `opencrypto.testing.isolated.check_isolated`.

    Args:
        driver_class: The driver.
        make_driver: What makes one, if the class itself, called without arguments, does not.
        deviations: As those of `DriverContract`.
        clauses: Run only the tests of these; all if empty.
        algorithms: Try only these of the driver's, and no key operation; everything if empty.
        patience: Seconds to wait for anything, before it counts as never.
        quick: Try each clause with few of its trials, in seconds.
        soak: Seconds that each long run goes on for.

    Raises:
        UsageError: a clause named does not exist.
    """
    contract = contract_of(
        driver_class, make_driver, deviations, patience,
        quick=quick, soak=soak, algorithms=algorithms,
    )  # fmt: skip
    tally = Tally(driver_class.name)
    for one in run(contract, clauses, tally.leave_out):
        if isinstance(one, Tried):
            tally.add(one)
    return tally.report()


def contract_of(
    driver_class: type[Driver],
    make_driver: Callable[[], Driver] | None = None,
    deviations: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
    *,
    quick: bool = False,
    soak: float = 0.0,
    algorithms: Collection[int] = (),
) -> type[DriverContract]:
    """Make the contract of a driver, as a subclass in a test file would be."""
    make = make_driver or driver_class
    return type(
        f"{driver_class.__name__}Contract",
        (DriverContract,),
        {
            "driver_class": driver_class,
            "deviations": deviations or {},
            "patience": patience,
            "quick": quick,
            "soak": soak,
            "algorithms": frozenset(algorithms),
            "make_driver": lambda self: make(),
        },
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """A trial begins: what is known of it if it takes the interpreter with it."""

    clause: str
    where: str


def run(
    contract: type[DriverContract],
    clauses: Collection[str] = (),
    leave_out: Callable[[str, int], None] = lambda clause, count: None,
    after: str = "",
) -> Iterator[Begun | Tried]:
    """
    Try the clauses one by one, and give each trial as it begins, and what became of it.

    Args:
        contract: The contract of the driver.
        clauses: Try only these; all if empty.
        leave_out: Is told of how many trials are left out because it has to be quick.
        after: Begin after this trial.

    Raises:
        UsageError: a clause named does not exist.
    """
    unknown = sorted(set(clauses) - set(CLAUSES))
    if unknown:
        raise UsageError(f"no clauses {', '.join(unknown)}; there are {', '.join(CLAUSES)}")
    if (absence := _absence(contract)) is not None:
        for ident in CLAUSES:
            if not clauses or ident in clauses:
                yield Tried(ident, "", Fate.ABSENT.value, absence)
        return
    hung = waited = 0
    for name, test in _tests(contract):
        if clauses and test.clause not in clauses:
            continue
        waited_here = 0
        for trial in _trials(contract(), test, leave_out):
            where = name if trial is None else f"{name}[{trial.id}]"
            if after:
                after = "" if where == after else after
                continue
            if hung >= HUNG or waited >= WAITED or waited_here >= WAITED_IN_A_TEST:
                yield Tried(test.clause, where, Fate.UNTRIED.value, IN_VAIN)
                continue
            yield Begun(test.clause, where)
            outcome = tried(test, contract(), trial)
            late, stuck = (isinstance(outcome.error, each) for each in (Waited, Hung))
            waited_here, waited, hung = waited_here + late, waited + late, hung + stuck
            reason = (outcome.reason.splitlines() or [""])[0]
            yield Tried(
                test.clause, where, outcome.fate.value, reason, _blamed(test, outcome), stuck
            )


def _absence(contract: type[DriverContract]) -> str | None:
    """Say why there is nothing to try, or return None."""
    try:
        claimed = contract().claimed()
    except DriverUnavailable as error:
        return f"not tried: {error.reason}"
    except ContractBroken:
        return None  # its own clause says more of it
    if not (claimed.capabilities or claimed.one_way or claimed.keyops):
        if contract.algorithms:
            return "not tried: the driver has none of the algorithms asked for"
        return "not tried: the driver claims no algorithm and no key operation"
    return None


def _tests(contract: type[DriverContract]) -> Iterator[tuple[str, Any]]:
    """Give the tests of each clause, in the order of the clauses."""
    found = [(name, getattr(contract, name)) for name in sorted(dir(contract))]
    tests = [(name, test) for name, test in found if name.startswith("test_") and _marked(test)]
    order = list(CLAUSES)
    yield from sorted(tests, key=lambda each: order.index(each[1].clause))


def _marked(test: Any) -> bool:
    return hasattr(test, "clause")


def _trials(
    contract: DriverContract, test: Any, leave_out: Callable[[str, int], None]
) -> list[Trial | None]:
    if test.each is None:
        return [None]
    try:
        found = list(contract.trials(test))
    except ContractBroken as error:
        return [Absent("none", str(error).splitlines()[0])]
    if not contract.quick or len(found) <= FEW:
        return [*found]
    # The first and the last, and some from in between: of each kind of algorithm, mostly.
    chosen = sorted({n * (len(found) - 1) // (FEW - 1) for n in range(FEW)})
    leave_out(test.clause, len(found) - len(chosen))
    return [found[n] for n in chosen]


def _blamed(test: Any, outcome: Outcome) -> str:
    """Return the clause that is broken, which need not be the one that was tried; "" if none."""
    if outcome.fate is not Fate.BROKEN:
        return ""
    error = outcome.error
    return error.clause if isinstance(error, ContractBroken) else str(test.clause)
