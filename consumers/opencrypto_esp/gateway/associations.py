"""
The associations in use, and those that were a moment ago: rekeying without loss.

New ones take over sending at once. What was received on before goes on being received on for a
while, since packets are under way, and the other end may not have changed over yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from opencrypto import Framework, UsageError
from opencrypto_esp.esp import Esp
from opencrypto_esp.gateway.journal import Journal, check
from opencrypto_esp.results import Counters, Flow, Result
from opencrypto_esp.sa import Direction, SecurityAssociation
from opencrypto_esp.together import check_together

GRACE: Final = 30.0
"""Seconds that associations which were replaced are received on."""


class _Old(NamedTuple):
    """An `Esp` that was replaced, what only it receives on, and when that ends."""

    until: float
    esp: Esp
    left: tuple[SecurityAssociation, ...]
    spis: frozenset[int]


class Associations:
    """
    What is sent by and received on now.

    Args:
        framework: An open framework.
        sas: The first associations, each with a direction.
        journal: Keeps their numbers; it is not closed with this.
        clock: Tells the time in seconds.
        test_keys: Send by counter modes with keys out of a file too.
        grace: Seconds that associations which were replaced are received on.

    Attributes:
        sas: Those in use.
        renewed: How often they were replaced.

    Raises:
        UsageError: as `Esp`.
        NoDriverError: no driver serves an SA's algorithms.
    """

    def __init__(
        self,
        framework: Framework,
        sas: Sequence[SecurityAssociation],
        journal: Journal,
        clock: Callable[[], float],
        *,
        test_keys: bool = False,
        grace: float = GRACE,
    ) -> None:
        self._framework = framework
        self._journal = journal
        self._test_keys = test_keys
        self._grace = grace
        self._clock = clock
        self._old: list[_Old] = []
        self._gone = Counters(Flow(), Flow())
        self.renewed = 0
        check_together(sas)
        journal.join(sas)
        self._esp = self._make(sas)
        self.sas = self._esp.sas

    def _make(self, sas: Sequence[SecurityAssociation]) -> Esp:
        esp = Esp(self._framework, sas, state=self._journal, test_keys=self._test_keys)
        try:
            esp.open()
        except BaseException:
            esp.close()
            raise
        return esp

    def renew(self, sas: Sequence[SecurityAssociation]) -> None:
        """
        Replace the associations. Those that are in both go on with their numbers.

        If it raises, nothing has changed.

        Raises:
            UsageError: as `Esp`; or an SPI is in use already, with other keys.
            NoDriverError: no driver serves an SA's algorithms.
            OSError: the state cannot be written.
        """
        check_together(sas)
        check(sas)
        name = self._journal.name
        before = {name(sa): sa for sa in self._all()}
        self._check_spis(sas, before)
        new = [sa for sa in sas if name(sa) not in before]
        self._journal.join(new)
        try:
            esp = self._make(sas)
        except BaseException:
            self._journal.leave(new)
            raise
        staying = set(map(name, sas))
        left = [sa for sa in self.sas if name(sa) not in staying]
        received = tuple(sa for sa in left if sa.direction is Direction.IN)
        spis = frozenset(sa.spi for sa in received)
        self._old.insert(0, _Old(self._clock() + self._grace, self._esp, received, spis))
        self._esp, self.sas = esp, esp.sas
        self.renewed += 1
        self._journal.leave(sa for sa in left if sa.direction is Direction.OUT)

    def _all(self) -> list[SecurityAssociation]:
        return [*self.sas, *(sa for old in self._old for sa in old.left)]

    def _check_spis(
        self, sas: Iterable[SecurityAssociation], before: Mapping[str, SecurityAssociation]
    ) -> None:
        """Refuse new keys under an SPI that packets under way may still have."""
        known = {(sa.direction, sa.spi) for sa in before.values()}
        for sa in sas:
            if (sa.direction, sa.spi) in known and self._journal.name(sa) not in before:
                raise UsageError(
                    f"SA {sa.label} has an SPI in use ({sa.spi:#x}) and other keys; agree on a new "
                    "SPI with the new keys"
                )

    def expire(self) -> float | None:
        """End what is received on no longer; return when there is more to end, if there is."""
        now = self._clock()
        for old in [each for each in self._old if each.until <= now]:
            self._old.remove(old)
            self._end(old)
        return min((old.until for old in self._old), default=None)

    def _end(self, old: _Old) -> None:
        counted = old.esp.counters()
        self._gone.protected.add(counted.protected)
        self._gone.unprotected.add(counted.unprotected)
        old.esp.close()
        name = self._journal.name
        staying = {name(sa) for sa in self._all()}
        self._journal.leave(sa for sa in old.left if name(sa) not in staying)

    @property
    def passing(self) -> int:
        """How many associations are still received on that were replaced."""
        return sum(len(old.left) for old in self._old)

    # Packets.

    def protect(self, packets: Sequence[bytes]) -> Iterator[Result]:
        """Protect packets; results in order."""
        return self._esp.protect_many(packets)

    def unprotect(self, packets: Sequence[bytes]) -> Iterator[Result]:
        """Unprotect packets; results in order."""
        if not self._old:
            return self._esp.unprotect_many(packets)
        return (self._receiver(packet).unprotect(packet) for packet in packets)

    def _receiver(self, packet: bytes) -> Esp:
        at = (packet[0] & 15) << 2 if packet and packet[0] >> 4 == 4 else 40
        spi = int.from_bytes(packet[at : at + 4])
        return next((old.esp for old in self._old if spi in old.spis), self._esp)

    # What happened.

    def counters(self) -> Counters:
        """Return the counts of all, those that were replaced too."""
        made = Counters(Flow(), Flow())
        for each in (self._gone, self._esp.counters(), *(old.esp.counters() for old in self._old)):
            made.protected.add(each.protected)
            made.unprotected.add(each.unprotected)
        return made

    def counters_of(self, sa: SecurityAssociation) -> Counters:
        """Return the counts of one association in use, since it was last renewed."""
        return self._esp.counters(sa.spi)

    def sequence(self, sa: SecurityAssociation) -> int:
        """Return the highest sequence number that was sent by an SA in use, or received."""
        numbers = self._journal.numbers(sa)
        return numbers.top if sa.direction is Direction.OUT else numbers.window.top

    def close(self) -> None:
        """Free all sessions. Closing again does nothing."""
        for old in self._old:
            old.esp.close()
        self._old.clear()
        self._esp.close()
