"""
Errands: what was broken off, or could not wait, and is finished by the request interrupt.

A signal handler may raise in the midst of anything that the main thread does here, and a finalizer
or a signal handler may call anything on top of it. What then is half done, or would have to wait
for what lies beneath, is put here: by one step of the interpreter, so that nothing comes between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from opencrypto._log import log, where

Errand = tuple[Callable[..., object], tuple[Any, ...]]
"""
What to call, and with what. It may find that there is nothing left to do.

One that a signal handler breaks off, where there is no thread of our own, is begun again. What must
not be done twice comes with a list that it empties before that, with nothing called in between.
"""


class Errands:
    """
    All that is left to be done. No lock is held at any time.

    Attributes:
        add: Leaves an errand. ``hurry`` comes after it.
    """

    def __init__(self, kick: Callable[[], None]) -> None:
        self._left: deque[Errand] = deque()
        self.add: Final = self._left.append  # one step: an exception comes before it, or after
        self._kick = kick

    def hurry(self) -> None:
        """Have the request interrupt come, even if another exception tries to prevent it."""
        try:
            self._kick()
        except BaseException:
            self._kick()
            raise

    def pending(self) -> bool:
        """Tell whether something is left."""
        return bool(self._left)

    def run(self) -> None:
        """Do what is left."""
        left = self._left
        while left:
            do, values = left[0]  # it stays there until it is done
            try:
                do(*values)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                del left[0]
                log.error("errand_failed", error=type(error).__name__, where=where(error))
            else:
                del left[0]

    def after_fork(self) -> None:
        """Forget, in a forked child, what is the parent's to do."""
        self._left.clear()
