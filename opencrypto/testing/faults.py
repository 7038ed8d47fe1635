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
    ShrugsItsShoulders,
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
from opencrypto.testing._faults_keys import (
    AnswersTheImpossible,
    BadSignatureIsAnError,
    ForgetsKdone,
    KdoneTwice,
    KeepsKeyRequests,
    LeavesTheRest,
    LogsExponents,
    NoVerdict,
    QuotesParameters,
    RaisesAtOnce,
    RefusesZero,
    SubtractsBackwards,
    WipesInputs,
    WritesBeforeItLooks,
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
    "AnswersTheImpossible",
    "BadSignatureIsAnError",
    "Blocks",
    "CiphersFirst",
    "DiesInAFork",
    "DoneTwice",
    "DropsTheTail",
    "FAULTS",
    "Fault",
    "ForgetsDone",
    "ForgetsKdone",
    "FreesOnlyOnce",
    "HoldsALockOverDone",
    "KdoneTwice",
    "KeepsKeyRequests",
    "KeepsTheRequest",
    "LastKeyForAll",
    "LeavesAThread",
    "LeavesTheRest",
    "LiesAboutKeys",
    "LiesAboutSync",
    "LogsExponents",
    "LogsKeys",
    "LosesSegments",
    "NameOfTwoWords",
    "NeverForgets",
    "NeverUnblocks",
    "NoVerdict",
    "OneIvForAll",
    "QuotesParameters",
    "Raises",
    "RaisesAtClose",
    "RaisesAtNewsession",
    "RaisesAtOnce",
    "RaisesForUnknownSessions",
    "RefusesNothing",
    "RefusesTooLate",
    "RefusesZero",
    "ReturnsNonsense",
    "SharesAScratch",
    "ShowsKeys",
    "ShrugsItsShoulders",
    "SubtractsBackwards",
    "TellsKeys",
    "TouchesForgeries",
    "WaitsForMore",
    "WipesInputs",
    "WritesBeforeItLooks",
    "WritesBehind",
]

FAULTS: Final[tuple[type[Fault], ...]] = tuple(Fault.__subclasses__())
"""Every fault of this module."""
