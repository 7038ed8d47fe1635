"""
Virtual sessions: a chain that no single driver has, served by several.

To the rest of the framework a virtual session is a session like any other, of a driver that is
in no table; to the drivers its parts are sessions like any other, opened by a consumer. So all
that holds for sessions holds for it: one completion per request, order, freeing with the last
request; and a part whose driver leaves moves to another one, of the class that the session is for,
as any session does. Once a driver has come that takes the whole chain, the next request has the
session move there.

A part has each algorithm once. So a descriptor handed to a part means the one place there is for
its algorithm, whatever key it carries: which place of the whole chain it means is decided once,
for the whole request.

A request is carried out by one request per stage of descriptors that belong to the same part, each
dispatched when the one before is complete. What can be refused is refused before the first; what
fails later ends the request, and what precedes it in the chain has been done, as within a driver;
where a step changes lengths the buffer is put back as it was, likewise. The parts then get regions
in numbers: what "the rest" is, is found out here.
The two halves of an authenticated cipher are never split.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol

from opencrypto._core import selection as _select
from opencrypto._core.lineage import Lineage
from opencrypto._core.moving import Moving
from opencrypto._core.opening import Opening
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session, Slot
from opencrypto._request.buffer import Saved, byteview, total
from opencrypto._request.sid import LID, lid_of, pack_sid
from opencrypto._request.symmetric import Cryptodesc, Cryptop
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import Plan, Step, check, settle
from opencrypto._rules.lending import Borrowed, lend
from opencrypto._rules.pieces import PieceStep
from opencrypto._state import SlotEvent
from opencrypto.constants import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_F_DONE,
    CRYPTO_F_ONRETQ,
)
from opencrypto.driver import SOFTWARE, DriverStream, Process
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto.xform import Kind

HID: Final = 0xFFFFFE
"""The driver id in the SIDs of virtual sessions: the last one, which no driver ever has."""

MAX_RETRIES: Final = 8
"""How often a part may move during one request; more, and the drivers pass it round in circles."""

OWN_FLAGS: Final = CRYPTO_F_BATCH | CRYPTO_F_CBIFSYNC | CRYPTO_F_DONE | CRYPTO_F_ONRETQ

Done = Callable[[Cryptop], None]


class Strayed(Protocol):
    """Counts an error that is no driver's: `Dispatcher.strayed`."""

    def __call__(self, crp: Cryptop, kind: int, *, known: bool) -> None:
        """Count it, and the request if it came to no driver."""


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


class Virtual:
    """All virtual sessions of a framework."""

    def __init__(
        self,
        sessions: Sessions,
        opening: Opening,
        moving: Moving,
        dispatch: Callable[[Cryptop], None],
        done: Callable[[Cryptop], None],
        strayed: Strayed,
    ) -> None:
        self._sessions = sessions
        self._opening = opening
        self._moving = moving
        self._dispatch = dispatch
        self._done = done
        self._strayed = strayed
        self.lids = itertools.count(1)  # taking the next one is atomic
        self._parts: dict[int, list[Part]] = {}
        self.slot = Slot(HID, sessions.lock)
        self.slot.name = "virtual"
        self.slot.tier = SOFTWARE
        self.slot.is_driver = False
        self.slot.sym.freesession = self._freesession
        self.slot.sym.newstream = self._newstream
        self.slot.sym.frees_again = True
        self.slot.move(SlotEvent.GET_DRIVERID)
        self.slot.move(SlotEvent.REGISTER)

    # Opening and freeing.

    def compose(self, lineage: Lineage[Session]) -> Session | None:
        """Open a session on as few drivers as can be; None if they do not have all of its chain."""
        changes = self._sessions.changes  # before the drivers are asked, so that none is missed
        units = _units(lineage.chain)
        opened: list[Part] = []
        parts: list[Part] | None = None
        session: Session | None = None

        def serve(start: int, end: int) -> Part | None:
            positions = sorted(itertools.chain.from_iterable(units[start:end]))
            return self._open(lineage, positions, opened)

        try:
            parts = _select.split(len(units), serve)
            if parts is None:
                self._free(opened)
                return None
            kind = self._sessions.chain_numbers.number(cri.alg for cri in lineage.chain.inis)
            process = self._process(lineage.chain, kind, parts, changes)
            session = Session(0, self.slot, lineage, process, kind)
            return self._enter(session, parts)
        except BaseException:  # of a signal handler: nobody will hear of it
            self._sessions.later(self._give_up, session, parts, opened)
            raise

    def _open(
        self, lineage: Lineage[Session], positions: Sequence[int], opened: list[Part]
    ) -> Part | None:
        """Open a part, and note it among those opened; None if no driver takes it."""
        algs = [lineage.chain.inis[position].alg for position in positions]
        if len(set(algs)) < len(algs):
            return None  # the places of one algorithm go to different parts: see the module
        own: Lineage[Session] = Lineage(lineage.chain.part(positions), lineage.hard, is_part=True)
        own.avoid = lineage.avoid
        session: Session | None = None
        try:
            session = self._opening.place_on_one(own)
            own.avoid = None
            part = Part(session, positions)
            opened.append(part)
        except CryptoError:
            own.chain.abandon()
            return None
        except BaseException:  # of a signal handler
            own.chain.abandon()
            if session is not None:
                self._sessions.later(self._sessions.discard, session)
            raise
        return part

    def _enter(self, session: Session, parts: list[Part]) -> Session:
        """
        Give a session the next number that leads to no other one, and enter it.

        After 2**32 sessions the numbers begin again, and some of them are still in use.
        """
        while True:
            lid = next(self.lids) & LID
            session.sid = pack_sid(HID, lid)
            if lid == 0 or self._parts.setdefault(lid, parts) is not parts:
                continue
            if self._opening.enter(session):
                return session
            del self._parts[lid]

    def _give_up(
        self, session: Session | None, parts: list[Part] | None, opened: Sequence[Part]
    ) -> None:
        """Free what was opened for a session whose opening was broken off."""
        if session is not None:
            self._sessions.discard(session)  # and its parts, if it had been entered
            if self._parts.get(session.lid) is parts:
                del self._parts[session.lid]
        self._free(opened)

    def _freesession(self, sid: int) -> None:
        lid = lid_of(sid)
        self._free(self._parts.get(lid, []))
        self._parts.pop(lid, None)  # late: until here it may be called again

    def _free(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self._sessions.discard(part.session)

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
        for session in list(self.slot.sym.sessions.values()):
            self._sessions.discard(session)

    def after_fork(self) -> None:
        """Go on in a forked child; the slot is in no table that would see to it."""
        self.slot.after_fork(self._sessions.lock)

    # Requests.

    def _process(self, chain: Chain, kind: int, parts: Sequence[Part], changes: int) -> Process:
        owners = {position: part for part in parts for position in part.positions}
        seen = changes  # of drivers that came, when it was last tried to do without parts

        def process(crp: Cryptop, hint: int) -> int:
            nonlocal seen
            try:
                plan = check(crp, chain)
                loan = lend(plan, chain)
            except CryptoError as error:
                crp.fail_for(error)
                self._turn_back(crp, kind)
                return 0
            united = False
            if seen != self._sessions.changes:
                seen = self._sessions.changes
                united = self._moving.unite(crp.holder)
            if united or not self.all_live(parts):
                # Nothing is done yet, so the whole session may move.
                crp.fail(errno.EAGAIN)
                self._turn_back(crp, kind)
                return 0
            if loan is not None:
                Borrowed(crp, loan)  # its drivers' own copies would be made at different times
            stages = _stages(plan, chain, owners)
            strayed = partial(self._strayed, kind=kind, known=True)
            Pipeline(crp, chain, plan, stages, self._dispatch, self._done, strayed).advance()
            return 0

        return process

    def _newstream(self, lid: int, done: Callable[[Cryptop], None]) -> DriverStream:
        """Begin a message in pieces, each of which goes to the parts as one of theirs."""
        return _PartsStream(self, self.slot.sym.sessions[lid], self._parts[lid], done)

    def send(
        self, crp: Cryptop, session: Session, plan: Plan, parts: Sequence[Part], done: Done
    ) -> None:
        """
        Send a piece of a message through its parts.

        Raises:
            UsageError: it would come to one of them more than once.
        """
        owners = {position: part for part in parts for position in part.positions}
        stages = _stages(plan, session.chain, owners)
        if len(stages) > len({id(stage.part) for stage in stages}):
            raise UsageError(
                "no single driver takes this chain in pieces, and its parts would take each piece "
                "in an order of their own"
            )
        strayed = partial(self._strayed, kind=session.kind, known=True)
        Pipeline(crp, session.chain, plan, stages, self._dispatch, done, strayed).advance()

    def _turn_back(self, crp: Cryptop, kind: int) -> None:
        """End a request before any part has got something of it."""
        self._strayed(crp, kind, known=False)
        self._done(crp)

    def all_live(self, parts: Sequence[Part]) -> bool:
        """Follow parts that have moved, moving those whose driver left; False if one cannot be."""
        for part in parts:
            session = self._moving.successor(part.session)
            if session is None:
                return False
            part.session = session
        return True


class _PartsStream:
    """
    A message in pieces of a virtual session: its parts have one each, and keep what is to be kept.
    """

    def __init__(
        self, virtual: Virtual, session: Session, parts: Sequence[Part], done: Done
    ) -> None:
        self._virtual = virtual
        self._session = session
        self._parts = parts
        self._done = done
        self._begun = False

    def piece(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        """Send the next piece through the parts."""
        if not self._begun and not self._virtual.all_live(self._parts):
            crp.fail(errno.EAGAIN)  # nothing is done yet, so the whole session may move
            self._done(crp)
            return
        self._begun = True
        for step in plan.steps:
            for half in (step, step.partner):
                if isinstance(half, PieceStep):
                    half.crd = half.given  # which says that more follows, or does not
                    half.mac_at = half.mac_at if last else -1
        try:
            self._virtual.send(crp, self._session, plan, self._parts, self._done)
        except CryptoError as error:
            crp.fail_for(error)
            self._done(crp)

    def wipe(self) -> None:
        """Have the parts forget what is open of the message."""
        for part in self._parts:
            stream = part.session.latest().stream
            if stream is not None:
                stream.abandon()


class Stage:
    """
    Consecutive descriptors of a request that one part carries out.

    A step that changes lengths is the last one of its stage, so that the next stage's are known.
    """

    __slots__ = ("chain", "mac_at", "mac_end", "part", "steps")

    def __init__(self, part: Part, chain: Chain) -> None:
        self.part = part
        self.chain = chain
        self.steps: list[Step] = []
        self.mac_at = -1  # where its first MAC goes in ``crp.mac``, if there is one
        self.mac_end = -1

    def takes(self, step: Step, part: Part) -> bool:
        """Tell whether a step may join: same part and lengths, its MAC follows those before it."""
        at = _authenticator(step).mac_at
        follows = at < 0 or self.mac_at < 0 or at == self.mac_end
        return part is self.part and follows and self.changing is None

    def add(self, step: Step) -> None:
        """Let a step join, both its halves if it is an authenticated cipher."""
        self.steps.append(step)
        authenticator = _authenticator(step)
        if authenticator.mac_at >= 0:
            if self.mac_at < 0:
                self.mac_at = authenticator.mac_at
            self.mac_end = authenticator.mac_at + self.chain.macs[authenticator.position]

    @property
    def changing(self) -> Step | None:
        """Its step that changes lengths, if it has one."""
        last = self.steps[-1]
        return last if self.chain.facts[last.position].kind is Kind.COMP else None

    def settle(self, crp: Cryptop, plan: Plan) -> None:
        """
        Find out what those of its steps are about that come behind one that changes lengths.

        Raises:
            CryptoError: they do not fit what that has left.
        """
        for step in self.steps:
            if step.late:
                settle(crp, self.chain, plan, step)

    def descriptors(self) -> list[Cryptodesc]:
        """Describe its steps to the part: by the consumer's own descriptors where those will do."""
        halves = ((step, step.partner) for step in self.steps)
        return [_described(half) for pair in halves for half in pair if half is not None]

    def mac_view(self, crp: Cryptop) -> memoryview | None:
        """View the rest of ``crp.mac`` from this stage's first MAC on, if that is where it goes."""
        return (
            None
            if self.mac_at < 0 or crp.mac is None
            else byteview(crp.mac, writable=False)[self.mac_at :]
        )


class Pipeline:
    """One request on its way through its parts."""

    __slots__ = (
        "_before", "_chain", "_crp", "_dispatch", "_done", "_ilen", "_next", "_olen", "_plan",
        "_retries", "_stages", "_strayed",
    )  # fmt: skip

    def __init__(
        self,
        crp: Cryptop,
        chain: Chain,
        plan: Plan,
        stages: Sequence[Stage],
        dispatch: Callable[[Cryptop], None],
        done: Callable[[Cryptop], None],
        strayed: Callable[[Cryptop], None],
    ) -> None:
        self._crp = crp
        self._chain = chain
        self._plan = plan
        self._stages = stages
        self._before = Saved(crp.buf, plan.parts) if plan.changing else None
        self._olen = crp.olen
        # For the counts of the parts' drivers; what the consumer says is only said.
        size = total(plan.parts)
        self._ilen = crp.ilen if type(crp.ilen) is int and 0 <= crp.ilen <= size else size
        self._dispatch = dispatch
        self._done = done
        self._strayed = strayed
        self._next = 0
        self._retries = MAX_RETRIES

    def advance(self) -> None:
        """Dispatch the next stage, or complete the request after the last."""
        crp = self._crp
        if self._next == len(self._stages):
            self._end()
            return
        stage = self._stages[self._next]
        self._next += 1
        try:
            stage.settle(crp, self._plan)
        except CryptoError as error:
            self._fail(error.errno or errno.EINVAL, error.strerror or "")
            self._strayed(crp)  # the request is known: a length changed in a stage before
            self._end()
            return
        sub = Cryptop(
            stage.part.session.sid,
            crp.buf,
            stage.descriptors(),
            self._completed,
            crp.flags & ~OWN_FLAGS | CRYPTO_F_CBIMM,
            mac=stage.mac_view(crp),
        )
        sub.ilen, sub.olen = self._ilen, crp.olen
        self._dispatch(sub)

    def _completed(self, sub: Cryptop) -> None:
        if sub.etype == errno.EAGAIN and self._retries:
            self.follow(sub)
            return
        if sub.etype:
            # Never EAGAIN from here: earlier stages have changed the buffer.
            if sub.etype == errno.EAGAIN:
                sub.fail(errno.ENODEV, "the drivers pass a part of the session round in circles")
            self._fail(sub.etype, sub.error)
            if sub.etype == errno.ENOSPC:
                self._crp.olen = sub.olen  # how much it takes
            self._end()
            return
        self._crp.olen, self._crp.buf = sub.olen, sub.buf
        changing = self._stages[self._next - 1].changing
        if changing is not None:
            self._plan.left(changing, self._chain, sub.olen)
        self.advance()

    def follow(self, sub: Cryptop) -> None:
        """Dispatch a stage again to where its part has moved: nothing was done."""
        self._retries -= 1
        self._dispatch(sub)  # its sid is the new one

    def _fail(self, etype: int, error: str) -> None:
        """Note what went wrong, and put the buffer back if lengths have changed."""
        self._crp.fail(etype, error)
        if self._before is not None:
            self._before.restore()
            self._crp.olen = self._olen

    def _end(self) -> None:
        if self._before is not None:
            self._before.forget()
        self._done(self._crp)


def _described(step: Step) -> Cryptodesc:
    """Return a step's descriptor, or one like it that says the bytes of its region in a number."""
    crd = step.crd
    if crd.len == step.length:
        return crd
    return Cryptodesc(crd.skip, step.length, crd.inject, crd.flags, crd.ini)


def _authenticator(step: Step) -> Step:
    return step if step.partner is None else step.partner


def _stages(plan: Plan, chain: Chain, owners: dict[int, Part]) -> list[Stage]:
    """Divide a request's steps into stages."""
    stages: list[Stage] = []
    for step in plan.steps:
        part = owners[step.position]
        if not stages or not stages[-1].takes(step, part):
            stages.append(Stage(part, chain))
        stages[-1].add(step)
    return stages


def _units(chain: Chain) -> list[list[int]]:
    """Return the places of a chain that may be split from each other, in order."""
    aead = [n for n, facts in enumerate(chain.facts) if facts.kind in (Kind.AEAD, Kind.AEAD_AUTH)]
    return [aead if n in aead[:1] else [n] for n in range(len(chain.facts)) if n not in aead[1:]]
