"""
What faulty drivers have in common. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from opencrypto import Cryptkop, Cryptoini, Cryptop
from opencrypto.driver import Driver, Process


class Fault(Driver):
    """
    One way to break the contract. `of` makes a driver that has it.

    Attributes:
        clause: The clause that is broken, and must be named.
    """

    clause: ClassVar[str] = ""
    _port: Callable[[Cryptop], None]
    _kport: Callable[[Cryptkop], None]

    @classmethod
    def of(cls, base: type[Driver]) -> type[Driver]:
        """Return a class of drivers that are like `base` but for this fault."""
        return type(f"{cls.__name__}{base.__name__}", (cls, base), {"__module__": base.__module__})

    def __setattr__(self, name: str, value: Any) -> None:
        """Stand between the driver and the framework's ``done`` and ``kdone``."""
        if name == "done":
            super().__setattr__("_port", value)
            value = self.finish
        elif name == "kdone":
            super().__setattr__("_kport", value)
            value = self.kfinish
        super().__setattr__(name, value)

    def finish(self, crp: Cryptop) -> None:
        """Complete a request, as the driver has asked."""
        self._port(crp)

    def kfinish(self, krp: Cryptkop) -> None:
        """Complete a key request, likewise."""
        self._kport(krp)

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Carry a request out by the driver's own process."""
        return process(crp, hint)

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open a session, its process behind `serve`."""
        answer = super().newsession(ini)
        if isinstance(answer, int):
            return answer
        lid, process = answer

        def served(crp: Cryptop, hint: int) -> int:
            return self.serve(process, crp, hint)

        return lid, served

    def process(self, crp: Cryptop, hint: int) -> int:
        """Carry out a request for a session without a process of its own."""
        return self.serve(super().process, crp, hint)
