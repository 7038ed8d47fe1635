"""
For those who test: the contract every driver keeps, drivers that stand in for real ones, vectors.

Not imported by ``import opencrypto``. `DriverContract` runs under pytest (the extra ``testing``);
`check_driver` runs the same without it. Its names follow the version of the package: new clauses
come with a minor release and are announced in the change log.
"""

from opencrypto.testing.check import check_driver
from opencrypto.testing.clauses import CLAUSES, ContractBroken
from opencrypto.testing.contract import DriverContract
from opencrypto.testing.doubles import (
    BlockingDriver,
    LateDriver,
    ManualInterrupt,
    RecordingDriver,
    step,
)
from opencrypto.testing.faults import FAULTS, Fault
from opencrypto.testing.report import Report, Result

__all__ = [
    "BlockingDriver",
    "CLAUSES",
    "ContractBroken",
    "DriverContract",
    "FAULTS",
    "Fault",
    "LateDriver",
    "ManualInterrupt",
    "RecordingDriver",
    "Report",
    "Result",
    "check_driver",
    "step",
]
