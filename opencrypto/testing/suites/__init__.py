"""
Collections of vectors that others publish, and the drivers that are asked by them.

`wycheproof` and `acvp` read files, `subject` asks a driver, `results` counts what came of it, and
`answering` has a driver answer as the subject of a validation. ``opencrypto check`` runs them.
"""

from opencrypto.testing.suites.results import SuiteReport, SuiteRow, check_suites

__all__ = ["SuiteReport", "SuiteRow", "check_suites"]
