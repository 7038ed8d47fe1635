"""What the tests of key operations share."""

import threading
from collections.abc import Iterable

from opencrypto import Cryptkop, Framework

PATIENCE = 30.0
"""Seconds after which a completion counts as lost."""


class Completion:
    """A callback that counts its calls and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[Cryptkop] = []
        self._event = threading.Event()

    def __call__(self, krp: Cryptkop) -> None:
        self.calls.append(krp)
        self._event.set()

    def wait(self) -> Cryptkop:
        """Return the request, which has been completed once."""
        assert self._event.wait(PATIENCE), "the request was never completed"
        return self.calls[0]


def run(
    framework: Framework,
    op: int = 0,
    inputs: Iterable[int | bytes] = (),
    outputs: Iterable[int] = (),
    *,
    krp: Cryptkop | None = None,
    status: int = 0,
    flags: int = 0,
) -> Cryptkop:
    """Dispatch a key request, wait for its end, and check its status."""
    if krp is None:
        krp = Cryptkop.of(op, inputs, outputs, flags=flags)
    done = Completion()
    krp.callback = done
    framework.kdispatch(krp)
    done.wait()
    assert krp.status == status, (krp.status, krp.error)
    assert len(done.calls) == 1
    return krp
