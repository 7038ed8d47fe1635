"""
The default framework: the one that the man page's functions speak of, made when it is wanted.
"""

from __future__ import annotations

import threading
from typing import Final

from opencrypto._core.framework import Framework
from opencrypto._threads import renew_after_fork


class Default:
    """
    What makes the default framework, and keeps it.

    Attributes:
        framework: It; None before it is made. After its close another one is made.
        lock: Held by whoever makes it. A signal handler may make one in the midst of that.
    """

    def __init__(self) -> None:
        self.framework: Framework | None = None
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Renew the lock in a forked child: a thread that did not come along may hold it."""
        self.lock = threading.RLock()

    def get(self) -> Framework:
        """Return it, made if there is none."""
        return self._present() or self._made()

    def _present(self) -> Framework | None:
        found = self.framework
        return None if found is None or found.closed else found

    def _made(self) -> Framework:
        with self.lock:
            if self._present() is None:
                made = Framework()
                if self._present() is None:
                    self.framework = made
                else:
                    made.close()  # a signal handler came between, and has made one
            assert self.framework is not None
            return self.framework


DEFAULT: Final = Default()


def default_framework() -> Framework:
    """Return the framework of `opencrypto.bsd`, made with every installed plugin on first use."""
    return DEFAULT.get()
