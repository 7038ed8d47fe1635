"""
Ending by a signal as by Ctrl-C: what was begun is put away first.

SIGTERM, and SIGHUP when a terminal is closed, would else end the process where it stands, and
leave half a file behind.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal wants the process to end; who handles an interrupt handles this too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def end(self) -> NoReturn:
        """End by the signal, so that whoever waits for the process sees it."""
        signal.signal(self.number, signal.SIG_DFL)
        os.kill(os.getpid(), self.number)
        sys.exit(128 + self.number)  # the signal is blocked


def heed() -> None:
    """Have each of the signals raise `Ended`, once, unless it is ignored (nohup) or taken."""
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise)


def _raise(number: int, _: FrameType | None) -> NoReturn:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # it is being done; kill -9 is there for the impatient
    raise Ended(number)
