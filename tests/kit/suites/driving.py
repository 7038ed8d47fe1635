"""Drivers that are wrong in what only many vectors show, and folders of vectors to show it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from opencrypto import Cryptop, UsageError
from opencrypto.driver import Process
from opencrypto.testing.faults.fault import Fault
from opencrypto_swcrypto._driver import SwcryptoDriver


class FlipsABit(Fault):
    """Flips a bit in the five hundredth answer, which is right in all else."""

    served = 0

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Carry a request out; one of them not quite."""
        result = process(crp, hint)
        self.served += 1
        if self.served == 500 and crp.buf:
            crp.buf[-1] ^= 1
        return result

    def finish(self, crp: Cryptop) -> None:
        """Complete a request; the wrong one is completed wrongly."""
        if self.served == 499 and not crp.etype and crp.buf:
            crp.buf[0] ^= 1
        super().finish(crp)


FlipsOneAnswer = FlipsABit.of(SwcryptoDriver)


class AnswersNothing(SwcryptoDriver):
    """Claims everything, and opens no session and serves no key."""

    keyops = frozenset()

    def newsession(self, ini: object) -> int:
        """Refuse."""
        raise UsageError("not today")


def folder_with(folder: Path, files: Iterable[Path]) -> Path:
    """Make a folder of these files."""
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    return folder
