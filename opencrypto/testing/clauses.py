"""
The clauses of the driver contract, by id, and how a test says which of them is broken.

The ids are stable: documents, test names, deviations and reports use them. New clauses get new ids.
Nothing here needs pytest, so that the contract also runs where there is none (`check_driver`).
"""

from __future__ import annotations

import functools
import os
import unittest
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Final, Protocol

from opencrypto.exceptions import DriverUnavailable

CLAUSES: Final[Mapping[str, str]] = {
    "D1": "the name is one token, capabilities name known algorithms, flags tell the truth",
    "D2": "each algorithm works with every key length claimed, and with no other",
    "D3": "newsession soon opens a session or refuses with a CryptoError; process refuses no chain",
    "D4": "known answers come out, both directions",
    "D5": "what does not verify ends with EBADMSG, its payload untouched",
    "D6": "a chain does what its parts do one after the other, in the order of the request",
    "D7": "done is called exactly once for each request taken",
    "D8": "done may lead back into the driver: no lock is held while it is called",
    "D9": "process soon returns 0 or ERESTART, and raises nothing",
    "D10": "after ERESTART comes unblock, without further calls",
    "D11": "CRYPTO_HINT_MORE is only a hint: a request is answered though none follows",
    "D12": "a malformed request ends with its errno, and no byte outside the regions changes",
    "D13": "IVs come from and go to where the flags say; fresh ones never repeat",
    "D14": "an iov or an mbuf, split anywhere, gives what a contiguous buffer gives",
    "D15": "nothing of a request is kept after done",
    "D16": "sessions do not leak into one another",
    "D17": "many threads may use one session, and many sessions",
    "D18": "freesession soon returns, may come twice, and leaves neither keys nor memory behind",
    "D19": "a driver leaves with sessions open and requests in flight: all end, no thread is left",
    "D20": "no key is in a repr, a log line, an exception or a request",
    "D21": "every length works: 0, 1, about a block, over 64 KiB; every byte counts",
    "D22": "after a fork, the child is served or gets a clean refusal; the parent goes on",
    "D23": "a batch, of whatever sizes and sessions, gives what its requests give one by one",
    "D24": "in the long run: the five-thousandth answer is as right as the first",
    "D25": "of a request only data, MAC and outcome change: opaque, desc, flags, olen stay",
    "D26": "a message in pieces, however cut, comes to what it is; or its first piece is refused",
    "K1": "a key operation takes its parameters in NetBSD's order, and its answer is right",
    "K2": "lengths are in bits: none beyond is read or written; too little room is ERANGE",
    "K3": "0, 1, m - 1, an even m have their answers; what has none ends with an errno",
    "K4": "a bad signature is a verdict and no error; other operations have no verdict",
    "K5": "kprocess soon returns 0 or ERESTART and raises nothing; kdone comes once for each",
    "K6": "inputs stay as they are, nothing is kept after kdone, no parameter is shown",
}
"""What each clause says, in one sentence."""


REQUIRE_VARIABLE = "OPENCRYPTO_REQUIRE"
"""Environment variable: drivers that must be available here, by commas; or ``all``."""


class ContractBroken(AssertionError):
    """
    A driver broke the contract: `clause` is the id of the rule, the message how.

    The clause named is the one that is broken, not the one whose test found out: a request that is
    never answered is D7 wherever it happens.
    """

    def __init__(self, clause: str, message: str) -> None:
        super().__init__(f"{clause}: {message}\n[{clause}] {CLAUSES[clause]}")
        self.clause = clause


class Waited(ContractBroken):
    """Something did not come, and was waited for as long as anything is."""


class Hung(Waited):
    """A call into the driver did not come back; the thread that made it is left behind."""


class NotTried(AssertionError):
    """A clause could not be tried, and nobody has said that this may be so."""


def require(condition: object, clause: str, message: str) -> None:
    """Raise `ContractBroken` unless the condition holds."""
    if not condition:
        raise ContractBroken(clause, message)


class Trial(Protocol):
    """One thing to try a clause with; `id` stands in the test's name."""

    @property
    def id(self) -> str:
        """A short name, unique among the trials of its test."""


@dataclass(frozen=True)
class Unclaimed:
    """A trial that this driver offers no ground for: shown as skipped, with the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class Absent:
    """A trial that stands for all of its test, since there is no driver to try it on."""

    id: str
    reason: str


class Contract(Protocol):
    """What is tried: the contract for one driver, which carries its deviations."""

    deviations: ClassVar[Mapping[str, str]]
    may_be_absent: str
    driver_class: Any

    @property
    def seen(self) -> bool:
        """Whether the driver has been there, in this run."""


Each = Callable[[Any], Iterable[Trial]]


class Fate(Enum):
    """What may become of a trial."""

    KEPT = "kept"
    BROKEN = "broken"
    EXCUSED = "excused"
    STALE = "kept, though excused"
    UNTRIED = "skipped"
    ABSENT = "not tried"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one trial of a clause.

    Attributes:
        fate: That, in a word.
        reason: Why it was not tried, or may be broken, or what is wrong.
        error: What was raised.
    """

    fate: Fate
    reason: str = ""
    error: Exception | None = None


def clause(ident: str, each: Each | None = None) -> Callable[[Callable[..., None]], Any]:
    """
    Mark a test as that of a clause; `each` gives the trials it is run with, one by one.

    Under pytest a deviation makes the test a strict xfail: it must fail, or the excuse is stale.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(self: Contract, **trial: Trial) -> None:
            outcome = tried(run, self, trial.get("case"))
            if outcome.fate is Fate.EXCUSED:
                import pytest

                pytest.xfail(outcome.reason)
            if outcome.error is not None:
                raise outcome.error

        run.clause = ident  # type: ignore[attr-defined]  # functions may have any
        run.each = each  # type: ignore[attr-defined]  # as above
        return run

    return decorate


def tried(test: Any, contract: Contract, case: Trial | None) -> Outcome:
    """Try a clause by one of its tests, with a trial or without any; say what became of it."""
    excuse = excuse_for(contract.deviations, test.clause, case)
    try:
        _attempt(test.__wrapped__, contract, case)
    except unittest.SkipTest as error:
        return Outcome(Fate.UNTRIED, str(error), error)
    except DriverUnavailable as error:
        return _absent(contract, error)
    except Exception as error:
        if excuse is not None:
            return Outcome(Fate.EXCUSED, excuse)
        broken = isinstance(error, ContractBroken)
        return Outcome(Fate.BROKEN, str(error) if broken else repr(error), error)
    if excuse is None:
        return Outcome(Fate.KEPT)
    stale = f"the driver keeps this clause now; take the deviation away ({excuse})"
    return Outcome(Fate.STALE, stale, ContractBroken(test.clause, stale))


def _attempt(test: Callable[..., None], contract: Contract, case: Trial | None) -> None:
    """Run a test; skip what is not claimed."""
    if isinstance(case, Unclaimed):
        raise unittest.SkipTest(case.reason)
    if isinstance(case, Absent):
        raise DriverUnavailable(case.reason)
    if case is None:
        test(contract)
    else:
        test(contract, case=case)


def _absent(contract: Contract, error: DriverUnavailable) -> Outcome:
    """Say what becomes of a trial whose driver is not there: a skip only if that was declared."""
    if contract.seen:
        reason = (
            f"not tried: the driver was here and is not any more: {error.reason}; if only one may "
            "be open at a time, say exclusive = True in the driver"
        )
        return Outcome(Fate.ABSENT, reason, NotTried(reason))
    reason = f"not tried: {error.reason}"
    if not contract.may_be_absent:
        reason += "; where that may be so, say why in may_be_absent of the contract"
    elif not required(contract.driver_class):
        reason += f" ({contract.may_be_absent})"
        return Outcome(Fate.ABSENT, reason, unittest.SkipTest(reason))
    return Outcome(Fate.ABSENT, reason, NotTried(reason))


def required(driver: object) -> bool:
    """Tell whether a driver that is not available is a failure here, rather than a skip."""
    names = os.environ.get(REQUIRE_VARIABLE, "").split(",")
    return "all" in names or getattr(driver, "name", "") in names


def excuse_for(deviations: Mapping[str, str], ident: str, case: Trial | None) -> str | None:
    """
    Find the reason for which a test may fail, if there is one.

    A deviation's key is a clause (``"D14"``), or a clause and a pattern of trials
    (``"D14:AES_CBC-*"``).
    """
    name = case.id if case is not None else ""
    for key, reason in deviations.items():
        of, _, pattern = key.partition(":")
        if of == ident and (not pattern or fnmatchcase(name, pattern)):
            return reason
    return None
