"""
Drivers that are wrong on purpose, one rule each: a contract that nobody has seen fail is none.

``DoneTwice.of(MyDriver)`` is MyDriver, right in everything but that. Each names the clause which
must find it; the tests of this package try every one.
"""

from __future__ import annotations

from typing import Final

from opencrypto.testing._fault import Fault
from opencrypto.testing._faults_claims import (
    AcceptsForgeries,
    AnotherKey,
    CiphersFirst,
    LiesAboutKeys,
    LiesAboutSync,
    NameOfTwoWords,
    RaisesAtNewsession,
    RefusesTooLate,
    TouchesForgeries,
)
from opencrypto.testing._faults_completion import (
    Blocks,
    DoneTwice,
    ForgetsDone,
    HoldsALockOverDone,
    NeverUnblocks,
    Raises,
    ReturnsNonsense,
    WaitsForMore,
)
from opencrypto.testing._faults_life import (
    DiesInAFork,
    FreesOnlyOnce,
    KeepsTheRequest,
    LastKeyForAll,
    LeavesAThread,
    LogsKeys,
    NeverForgets,
    RaisesAtClose,
    SharesAScratch,
    ShowsKeys,
    TellsKeys,
)
from opencrypto.testing._faults_places import (
    DropsTheTail,
    LosesSegments,
    OneIvForAll,
    RaisesForUnknownSessions,
    RefusesNothing,
    WritesBehind,
)

__all__ = [
    "AcceptsForgeries",
    "AnotherKey",
    "Blocks",
    "CiphersFirst",
    "DiesInAFork",
    "DoneTwice",
    "DropsTheTail",
    "FAULTS",
    "Fault",
    "ForgetsDone",
    "FreesOnlyOnce",
    "HoldsALockOverDone",
    "KeepsTheRequest",
    "LastKeyForAll",
    "LeavesAThread",
    "LiesAboutKeys",
    "LiesAboutSync",
    "LogsKeys",
    "LosesSegments",
    "NameOfTwoWords",
    "NeverForgets",
    "NeverUnblocks",
    "OneIvForAll",
    "Raises",
    "RaisesAtClose",
    "RaisesAtNewsession",
    "RaisesForUnknownSessions",
    "RefusesNothing",
    "RefusesTooLate",
    "ReturnsNonsense",
    "SharesAScratch",
    "ShowsKeys",
    "TellsKeys",
    "TouchesForgeries",
    "WaitsForMore",
    "WritesBehind",
]

FAULTS: Final[tuple[type[Fault], ...]] = tuple(Fault.__subclasses__())
"""Every fault of this module."""
