"""
Virtual sessions: a chain that no single driver has, served by several.

To the rest of the framework a virtual session is a session like any other, of a driver that is
in no table; to the drivers its parts are sessions like any other, opened by a consumer. So all
that holds for sessions holds for it: one completion per request, order, freeing with the last
request; and a part whose driver leaves moves to another one, as any session does.

A request is carried out by one request per stage of descriptors that belong to the same part, each
dispatched when the one before is complete. What can be refused is refused before the first; what
fails later ends the request, and what precedes it in the chain has been done, as within a driver.
The two halves of an authenticated cipher are never split.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from opencrypto._core import selection as _select
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session, Slot
from opencrypto._request.buffer import byteview
from opencrypto._request.sid import LID, lid_of, pack_sid
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import Step, check
from opencrypto._state import SlotEvent
from opencrypto.constants import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_F_DONE,
    CRYPTO_F_ONRETQ,
)
from opencrypto.driver import SOFTWARE, Process
from opencrypto.exceptions import CryptoError, UnknownSession
from opencrypto.xform import Kind

HID: Final = 0xFFFFFE
"""The driver id in the SIDs of virtual sessions: the last one, which no driver ever has."""

MAX_RETRIES: Final = 8
"""How often a part may move during one request; more, and the drivers pass it round in circles."""

OWN_FLAGS: Final = CRYPTO_F_BATCH | CRYPTO_F_CBIFSYNC | CRYPTO_F_DONE | CRYPTO_F_ONRETQ


class Part:
    """
    The places of a chain that one driver serves.

    Attributes:
        session: Its session on that driver.
        positions: Its places in the whole chain, in order.
    """

    __slots__ = ("positions", "session")

    def __init__(self, session: Session, positions: Sequence[int]) -> None:
        self.session = session
        self.positions = positions

    def has_twice(self, alg: int) -> bool:
        """Tell whether an algorithm stands more than once in this part."""
        return len(self.session.chain.positions[alg]) > 1


class Virtual:
    """All virtual sessions of a framework."""

    def __init__(
        self,
        sessions: Sessions,
        dispatch: Callable[[Cryptop], None],
        done: Callable[[Cryptop], None],
    ) -> None:
        self._sessions = sessions
        self._dispatch = dispatch
        self._done = done
        self._lids = itertools.count(1)  # taking the next one is atomic
        self._parts: dict[int, list[Part]] = {}
        self.slot = Slot(HID, sessions.lock)
        self.slot.name = "virtual"
        self.slot.tier = SOFTWARE
        self.slot.sym.freesession = self._freesession
        self.slot.move(SlotEvent.GET_DRIVERID)
        self.slot.move(SlotEvent.REGISTER)

    # Opening and freeing.

    def compose(self, chain: Chain, hard: int, avoid: int) -> Session | None:
        """Open a session on as few drivers as can be; None if they do not have all of its chain."""
        units = _units(chain)
        opened: list[Part] = []

        def serve(start: int, end: int) -> Part | None:
            positions = sorted(itertools.chain.from_iterable(units[start:end]))
            part = self._open(chain, positions, hard, avoid)
            if part is not None:
                opened.append(part)
            return part

        parts = _select.split(len(units), serve)
        if parts is None:
            self._free(opened)
            return None
        lid = next(self._lids) & LID
        self._parts[lid] = parts
        kind = self._sessions.chain_numbers.number(cri.alg for cri in chain.inis)
        session = Session(
            pack_sid(HID, lid), self.slot, chain, hard, self._process(chain, parts), kind
        )
        return self._sessions.enter(session)

    def _open(self, chain: Chain, positions: Sequence[int], hard: int, avoid: int) -> Part | None:
        own = chain.part(positions)
        try:
            session = self._sessions.place_on_one(own, hard, avoid=avoid)
        except CryptoError:
            own.abandon()
            return None
        self._sessions.created.add()
        return Part(session, positions)

    def _freesession(self, sid: int) -> None:
        self._free(self._parts.pop(lid_of(sid), []))

    def _free(self, parts: Sequence[Part]) -> None:
        for part in parts:
            try:
                self._sessions.free(part.session.latest().sid)
            except UnknownSession:
                continue  # gone with its driver

    def drivers(self, session: Session) -> Iterator[str]:
        """Yield the name of each driver that serves a session, virtual or not, in chain order."""
        session = session.latest()
        if session.slot is not self.slot:
            yield session.slot.name
            return
        for part in self._parts.get(session.lid, ()):
            yield from self.drivers(part.session)

    def close(self) -> None:
        """Free every virtual session, each with its last request."""
        with self.slot.lock:
            sessions = list(self.slot.sym.sessions.values())
        for session in sessions:
            try:
                self._sessions.free(session.sid)
            except UnknownSession:
                continue  # its consumer was quicker

    def after_fork(self) -> None:
        """Go on in a forked child; the slot is in no table that would see to it."""
        self.slot.after_fork(self._sessions.lock)

    # Requests.

    def _process(self, chain: Chain, parts: Sequence[Part]) -> Process:
        owners = {position: part for part in parts for position in part.positions}

        def process(crp: Cryptop, hint: int) -> int:
            try:
                plan = check(crp, chain)
            except CryptoError as error:
                crp.fail_for(error)
                self._done(crp)
                return 0
            if not self._all_live(parts):
                # Nothing is done yet, so the whole session may move.
                crp.fail(errno.EAGAIN)
                self._done(crp)
                return 0
            Pipeline(crp, _stages(plan.steps, chain, owners), self._dispatch, self._done).advance()
            return 0

        return process

    def _all_live(self, parts: Sequence[Part]) -> bool:
        """Follow parts that have moved, moving those whose driver left; False if one cannot be."""
        for part in parts:
            session = self._sessions.successor(part.session)
            if session is None:
                return False
            part.session = session
        return True


class Stage:
    """Consecutive descriptors of a request that one part carries out."""

    __slots__ = ("chain", "desc", "mac_at", "mac_end", "part")

    def __init__(self, part: Part, chain: Chain) -> None:
        self.part = part
        self.chain = chain
        self.desc: list[Cryptodesc] = []
        self.mac_at = -1  # where its first MAC goes in ``crp.mac``, if there is one
        self.mac_end = -1

    def takes(self, step: Step, part: Part) -> bool:
        """Tell whether a step may join: same part, and its MAC follows those before it."""
        at = _authenticator(step).mac_at
        return part is self.part and (at < 0 or self.mac_at < 0 or at == self.mac_end)

    def add(self, step: Step) -> None:
        """Let a step join, both its halves if it is an authenticated cipher."""
        self.desc.append(self._described(step))
        if step.partner is not None:
            self.desc.append(self._described(step.partner))
        authenticator = _authenticator(step)
        if authenticator.mac_at >= 0:
            if self.mac_at < 0:
                self.mac_at = authenticator.mac_at
            self.mac_end = authenticator.mac_at + self.chain.macs[authenticator.position]

    def mac_view(self, crp: Cryptop) -> memoryview | None:
        """View the rest of ``crp.mac`` from this stage's first MAC on, if that is where it goes."""
        return (
            None
            if self.mac_at < 0 or crp.mac is None
            else byteview(crp.mac, writable=False)[self.mac_at :]
        )

    def _described(self, step: Step) -> Cryptodesc:
        crd = step.crd
        if not self.part.has_twice(crd.ini.alg):
            return crd
        # The algorithm stands twice in the part; the key says which of the two places is meant.
        cri = self.chain.inis[step.position]
        return Cryptodesc(
            crd.skip, crd.len, crd.inject, crd.flags, Cryptoini(cri.alg, cri.key, iv=crd.ini.iv)
        )


class Pipeline:
    """One request on its way through its parts."""

    __slots__ = ("_crp", "_dispatch", "_done", "_next", "_retries", "_stages")

    def __init__(
        self,
        crp: Cryptop,
        stages: Sequence[Stage],
        dispatch: Callable[[Cryptop], None],
        done: Callable[[Cryptop], None],
    ) -> None:
        self._crp = crp
        self._stages = stages
        self._dispatch = dispatch
        self._done = done
        self._next = 0
        self._retries = MAX_RETRIES

    def advance(self) -> None:
        """Dispatch the next stage, or complete the request after the last."""
        crp = self._crp
        if self._next == len(self._stages):
            self._done(crp)
            return
        stage = self._stages[self._next]
        self._next += 1
        sub = Cryptop(
            stage.part.session.sid,
            crp.buf,
            stage.desc,
            self._completed,
            crp.flags & ~OWN_FLAGS | CRYPTO_F_CBIMM,
            mac=stage.mac_view(crp),
        )
        sub.ilen, sub.olen = crp.ilen, crp.olen
        self._dispatch(sub)

    def _completed(self, sub: Cryptop) -> None:
        if sub.etype == errno.EAGAIN and self._retries:
            self._retries -= 1
            self._dispatch(sub)  # its sid is the new one, and nothing was done
            return
        if sub.etype:
            # Never EAGAIN from here: earlier stages have changed the buffer.
            if sub.etype == errno.EAGAIN:
                sub.fail(errno.ENODEV, "the drivers pass a part of the session round in circles")
            self._crp.fail(sub.etype, sub.error)
            self._done(self._crp)
            return
        self._crp.olen, self._crp.buf = sub.olen, sub.buf
        self.advance()


def _authenticator(step: Step) -> Step:
    return step if step.partner is None else step.partner


def _stages(steps: Sequence[Step], chain: Chain, owners: dict[int, Part]) -> list[Stage]:
    """Divide a request's steps into stages."""
    stages: list[Stage] = []
    for step in steps:
        part = owners[step.position]
        if not stages or not stages[-1].takes(step, part):
            stages.append(Stage(part, chain))
        stages[-1].add(step)
    return stages


def _units(chain: Chain) -> list[list[int]]:
    """Return the places of a chain that may be split from each other, in order."""
    aead = [n for n, facts in enumerate(chain.facts) if facts.kind in (Kind.AEAD, Kind.AEAD_AUTH)]
    return [aead if n in aead[:1] else [n] for n in range(len(chain.facts)) if n not in aead[1:]]
