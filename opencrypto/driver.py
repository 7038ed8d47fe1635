"""
What a driver author imports: `Driver`, `Capability`, and the values they exchange.

A driver is a class with a name, a table of what it can do, and a few methods. The framework
calls them; the driver answers each request by ``self.done(crp)``, from any thread, exactly once.
`opencrypto.chain.ChainDriver` is a ready base for drivers made of primitives, and
`opencrypto.testing.DriverContract` tests any driver against the rules written here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
)

from opencrypto._log import log, where
from opencrypto._request.key import KOPS, Cryptkop, KopFacts, modulus_of
from opencrypto._request.sid import LID
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.messages import Bytes, Messages
from opencrypto._rules.profile import Profile
from opencrypto._threads import Forkable, WorkerPool, renew_after_fork
from opencrypto.constants import (
    CRYPTOCAP_F_ACCEL_SOFTWARE,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
)
from opencrypto.exceptions import UsageError
from opencrypto.rng import Generator, RngMaker

if TYPE_CHECKING:
    from opencrypto._rules.check import Plan

__all__ = [
    "ACCELERATED",
    "Bytes",
    "CLASS_NAMES",
    "HARDWARE",
    "SOFTWARE",
    "Capability",
    "Driver",
    "DriverStream",
    "Forkable",
    "Generator",
    "KOPS",
    "KeyCapability",
    "KeyProcess",
    "KopFacts",
    "Messages",
    "Pace",
    "Process",
    "Profile",
    "RngMaker",
    "Rule",
    "WorkerPool",
    "driver_class",
    "renew_after_fork",
]

Process: TypeAlias = Callable[[Cryptop, int], int]
"""``process(crp, hint) -> 0 | ERESTART``."""

KeyProcess: TypeAlias = Callable[[Cryptkop, int], int]
"""``kprocess(krp, hint) -> 0 | ERESTART``."""


class DriverStream(Protocol):
    """
    The state of one message in pieces, which a driver keeps: what `Driver.newstream` returns.

    The framework gives it one piece at a time, in order, and the next one when that is complete.
    One that can be copied has a method ``copy(lid, done)`` besides, which returns another that has
    come as far, in another session of the driver with the same keys; it raises UsageError if it
    cannot. No piece is under way then.
    """

    def piece(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        """
        Take the next piece, and complete it by the ``done`` that `Driver.newstream` was given.

        It has been checked, as for `Driver.process`: `plan` says what is to be done with it. A
        piece is always taken; never raise to report its outcome. After one that fails no other
        comes.

        Args:
            crp: The request.
            plan: Its steps and its buffer's segments, as `opencrypto.chain.check` resolves them.
                The IV is that of the first piece; nothing is said of MACs before the last.
            last: Whether the message ends with it.
        """

    def wipe(self) -> None:
        """Wipe what is kept of the message, which has ended or is given up. May be done again."""


HARDWARE: Final = 0
ACCELERATED: Final = 1
SOFTWARE: Final = 2
CLASS_NAMES: Final = ("hardware", "accelerated", "software")

_lids: Final = itertools.count(1)


class Rule(StrEnum):
    """
    The rules whose breach the framework itself sees, as its log and its errors put them.

    Attributes:
        clause: The clause of the driver contract that a driver breaks with it: see
            `opencrypto.testing.CLAUSES`.
    """

    clause: str

    def __new__(cls, sentence: str, clause: str) -> Self:
        """Make a member that is its sentence, and has its clause beside it."""
        rule = str.__new__(cls, sentence)
        rule._value_ = sentence
        rule.clause = clause
        return rule

    REFUSAL = "refusal returns a string, and raises nothing", "D3"
    NEWSESSION = (
        "newsession returns a number, or that and a process; it raises only CryptoError", "D3",
    )  # fmt: skip
    NEWSTREAM = "newstream returns a stream, and raises only CryptoError", "D3"
    SESSION_NUMBER = "a session number is an int of 32 bits, and no other session's", "D16"
    FREESESSION = "freesession must not raise", "D18"
    PROCESS_RAISED = "process must not raise", "D9"
    PROCESS_ANSWER = "process must return 0 or ERESTART", "D9"
    PROCESS_DONE = "process completed a request and did not return 0", "D9"
    DONE_ONCE = "done exactly once", "D7"
    ANSWER_ALL = "answer every request", "D7"
    CLOSE = "close must not raise", "D19"
    KPROCESS_RAISED = "kprocess must not raise", "K5"
    KPROCESS_ANSWER = "kprocess must return 0 or ERESTART", "K5"
    KPROCESS_DONE = "kprocess completed a request and did not return 0", "K5"
    KDONE_ONCE = "kdone exactly once", "K5"
    VERDICT = "verification ends with a verdict, or an error", "K4"


def driver_class(flags: int) -> int:
    """Return which of the three classes a driver's ``CRYPTOCAP_F_*`` flags put it in."""
    if not flags & CRYPTOCAP_F_SOFTWARE:
        return HARDWARE
    return ACCELERATED if flags & CRYPTOCAP_F_ACCEL_SOFTWARE else SOFTWARE


class Capability:
    """
    What a driver can do with one algorithm, beyond the facts in `opencrypto.xform`.

    Data that selection, the contract kit, the documents and the command all read.

    Attributes:
        keys: Key lengths in **bytes** that it takes; None for all that are legal.
        maxlen: The longest region in **bytes** that it takes; 0 for no limit.
        macs: MAC lengths in **bytes** that it gives; None for all that are legal.
        direction: The one way that it goes, ``"encrypt"`` or ``"decrypt"`` (MACs: to make, or to
            verify); empty for both. It then serves only sessions that promise that
            (`Profile.direction`).
        implementation: What serves it underneath, where that has a name of its own.
        absence: Why it is not to be had after all, where that is found out late.
    """

    def __init__(
        self,
        keys: Collection[int] | None = None,
        maxlen: int = 0,
        macs: Collection[int] | None = None,
        implementation: str = "",
        absence: str = "",
        direction: Literal["", "encrypt", "decrypt"] = "",
    ) -> None:
        self.keys = keys
        self.maxlen = maxlen
        self.macs = macs
        self.direction = direction
        self._implementation = implementation
        self._absence = absence

    @property
    def implementation(self) -> str:
        """What serves it underneath, where that has a name of its own."""
        return self._implementation

    @property
    def absence(self) -> str:
        """Why it is not to be had after all, where that is found out late."""
        return self._absence

    def refusal(self, cri: Cryptoini) -> str:
        """Say why these parameters cannot be served, or return an empty string."""
        if self.keys is not None and cri.klen // 8 not in self.keys:
            return f"takes no key of {cri.klen} bits"
        if self.macs is not None and cri.mlen and cri.mlen not in self.macs:
            return f"gives no MAC of {cri.mlen} bytes"
        return ""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(keys={self.keys!r}, maxlen={self.maxlen!r}, "
            f"macs={self.macs!r}, implementation={self.implementation!r}, "
            f"absence={self.absence!r}, direction={self.direction!r})"
        )


class KeyCapability:
    """
    What a driver can do with one key operation. Data, as `Capability`.

    Attributes:
        least: The fewest **bits** of a modulus that it takes; 0 for any.
        most: The most **bits** of any parameter that it takes, inputs and outputs; 0 for any.
        odd_modulus: Whether the modulus must be odd, as Montgomery's multiplication wants it.
    """

    def __init__(self, least: int = 0, most: int = 0, *, odd_modulus: bool = False) -> None:
        self.least = least
        self.most = most
        self.odd_modulus = odd_modulus

    def refusal(self, krp: Cryptkop) -> str:
        """Say why a request cannot be served, or return an empty string."""
        longest = max((parameter.nbits for parameter in krp.param), default=0)
        if self.most and longest > self.most:
            return f"takes parameters of {self.most} bits at most, not {longest}"
        if not self.least and not self.odd_modulus:
            return ""
        modulus = modulus_of(krp)
        if modulus is None:
            return ""
        value = modulus.to_int()
        if value.bit_length() < self.least:
            return f"takes a modulus of {self.least} bits at least, not {value.bit_length()}"
        return "takes an odd modulus" if self.odd_modulus and not value & 1 else ""

    def __str__(self) -> str:
        words = [f"from {self.least} bits"] if self.least else []
        words += [f"up to {self.most} bits"] if self.most else []
        words += ["odd modulus"] if self.odd_modulus else []
        return ", ".join(words)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(least={self.least!r}, most={self.most!r}, "
            f"odd_modulus={self.odd_modulus!r})"
        )


class Pace(NamedTuple):
    """
    How long `Driver.process` may keep its caller, in **seconds**: the contract kit measures it.

    Attributes:
        median: Of many requests of a few kilobytes, half take no longer.
        worst: None takes longer, unless the machine was busy with something else.
        reason: Why this driver takes more time than drivers usually may.
    """

    median: float = 0.020
    worst: float = 0.100
    reason: str = ""


class Driver:
    """
    The base of every driver. Subclass it, fill in the data, and write the methods.

    Attributes:
        name: One token, used everywhere: entry point, import suffix, output.
        flags: ``CRYPTOCAP_F_*``: SOFTWARE unless a device does the work; SYNC if ``done`` is
            called before `process` returns; ACCEL_SOFTWARE beside SOFTWARE for fast libraries.
        capabilities: Algorithm number to `Capability`.
        keyops: The key operations it has, ``CRK_*``; or of each its `KeyCapability`.
        max_sessions: How many sessions it has at a time; one that is full is passed over. 0 for any
            number.
        max_inflight: How many requests it has at a time, those of keys among them; the framework
            keeps what is beyond in its queue, in order. 0 for any number.
        alignment: The framework has the memory of each request lie in one piece that begins at a
            multiple of so many **bytes**, a power of two, as devices want it that read it
            themselves; what does not is copied, and put back with the answer. 1 for anywhere.
            Compression is not copied.
        exclusive: Whether its device has one owner: it is attached once in a process, and not to be
            used by a forked child, which has it listed as gone. That another process has the device
            is for the driver to find out (`DriverUnavailable`).
        only_if_named: Whether it is used by those alone who name it (``driver=``), and by nobody to
            whom it only happens to be there: no session is opened on it, composed with it or moved
            to it else, whatever its class.
        rngs: The random number generators it has: what makes one, by name (`Framework.rng`).
        withheld: Those it does not offer because it cannot do them safely on this host, and why.
        selftest: Whether known answers are run when it is attached. None: if it comes as a plugin,
            not if it is attached by hand. False is for drivers that find out late what they have,
            and try each algorithm themselves before its first session.
        key_serials: Whether it takes sessions whose key is a `KeySerial`.
        pace: How long `process` may keep its caller, where a device needs more than others.
        remarks: Sentences for an operator, such as why it hands sessions back. No content, no key.
    """

    name: str = ""
    key_serials: bool = False
    flags: int = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC
    capabilities: Mapping[int, Capability] = {}
    keyops: Collection[int] = ()
    rngs: Mapping[str, RngMaker] = {}
    withheld: Mapping[int, str] = {}
    selftest: bool | None = None
    remarks: Collection[str] = ()
    max_sessions: int = 0
    max_inflight: int = 0
    alignment: int = 1
    exclusive: bool = False
    only_if_named: bool = False
    pace: Pace = Pace()

    # Set by the framework when it attaches the driver, and only then.
    done: Callable[[Cryptop], None]
    """
    Complete a request: exactly once each, from any thread, even before `process` returns.

    A driver that answers late calls it as ``self.done`` and keeps no copy: once the framework has
    given up waiting for a driver that leaves, it puts another one here, which completes nothing.
    """
    kdone: Callable[[Cryptkop], None]
    """Complete a key request, likewise."""
    unblock: Callable[[int], None]
    """Take requests again after ERESTART: ``CRYPTO_SYMQ``, ``CRYPTO_ASYMQ``, or both."""

    ports: ClassVar[tuple[str, ...]] = ("done", "kdone", "unblock")

    def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
        """
        Say why this driver cannot serve a chain whose algorithms it all has, or return "".

        For what `Capability` cannot express: a combination, an order, a direction. It is asked
        before `newsession`, and must change nothing. Another driver is then asked, or several.

        Args:
            ini: The parameters, in chain order.
            profile: What the session promises of its requests; as a rule, nothing.
            named: Whether the consumer has named this driver, and will have no other.
        """
        return ""

    def probe(self) -> Mapping[int, str]:
        """
        Find out now what else would be found out by the first session of each algorithm.

        Returns:
            For each algorithm that turned out not to be there, the reason.
        """
        return {}

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """
        Open a session for a chain whose algorithms are all in `capabilities`.

        Args:
            ini: The parameters, in chain order. They stay as they are, keys included, until
                `freesession` of this session; afterwards the keys are wiped.

        Returns:
            The session's number, 0 to 2**32 - 1, unique among the driver's live sessions
            (`newlid` makes one). Beside it a driver may hand back a ``process`` of this session
            alone, which the framework then calls in place of `process`. Such a session checks
            its requests itself; see `opencrypto.chain.ChainDriver`.

        Raises:
            CryptoError: this chain cannot be served, in a sentence; the next driver is asked.
        """
        raise UsageError(f"driver {self.name} has no sessions")

    def newstream(self, lid: int, done: Callable[[Cryptop], None]) -> DriverStream:
        """
        Begin a message that comes in pieces (``CRD_F_MORE``), in a session that is open.

        Only one is begun in a session at a time. Without this method a driver takes whole messages
        only. It may be called from any thread, and to find out whether it would raise.

        Args:
            lid: The session's number.
            done: Completes a piece, as ``self.done`` completes a request: once each, from any
                thread, even before `DriverStream.piece` returns.

        Returns:
            What carries the pieces out.

        Raises:
            UsageError: the session's chain is not taken in pieces, in a sentence.
        """
        raise UsageError(f"driver {self.name} takes whole messages only")

    def freesession(self, lid: int) -> None:
        """
        Forget a session, and wipe what is left of its keys. When it returns the number is free.

        The framework calls it once for each session, when none of its requests is left, and again
        only where an interrupt broke the first call off. So a number that is not open, or not any
        more, is no error: nothing is done and nothing raised.
        """

    def process(self, crp: Cryptop, hint: int) -> int:
        """
        Take a request, and never block: work quickly or hand it to a thread or device.

        Called from any thread, by several at once, without any lock held. The request fits its
        session: the framework has checked regions, lengths, algorithms and IVs. The outcome goes
        into ``crp.etype`` (`Cryptop.fail`), then ``self.done(crp)``; never raise to report it.

        A driver that has compression and something else in one session meets lengths of ``~n``
        behind a compression (`CRD_LEN_REST`), and puts the buffer back when a later step fails:
        `opencrypto.chain.ChainDriver` does both. In parts of virtual sessions they are numbers.

        Args:
            crp: The request; ``crp.lid`` is the number that `newsession` returned; one that
                it does not know is answered with ENOENT.
            hint: ``CRYPTO_HINT_MORE`` if another request for this driver follows at once.

        Returns:
            0 if the request was taken, ``ERESTART`` if it cannot be now. Then it comes again
            after ``self.unblock(CRYPTO_SYMQ)``, and the driver gets no other until then.
        """
        raise NotImplementedError(f"{type(self).__name__}.process")

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """
        Take a key request, whose operation is in `keyops`; as `process`, never blocking.

        The framework has checked the number of parameters and that each holds the bits it claims;
        values and sizes are the driver's to check. The result goes into the outputs
        (`Crparam.store`), the outcome into ``krp.status`` (`Cryptkop.fail`), a verification's
        answer into ``krp.verdict``; then ``self.kdone(krp)``. With a status of EAGAIN the request
        goes to another driver. `WorkerPool` takes the arithmetic off the caller's thread.

        Returns:
            0 if the request was taken, ``ERESTART`` if it cannot be now; then it comes again
            after ``self.unblock(CRYPTO_ASYMQ)``.
        """
        raise NotImplementedError(f"{type(self).__name__}.kprocess")

    def close(self) -> None:
        """
        Leave: called once, after the last `freesession`.

        Requests still taken but not answered are answered now, or handed back with ``etype`` set
        to EAGAIN. When it returns, the driver touches no buffer and has no thread left.
        """

    def leave(self, reason: str) -> None:
        """
        Leave: the device is gone, or will serve nobody any more. Nobody need detach the driver.

        It gets no new request and no new session from now on, which is final until it is attached
        anew; each of its sessions moves to another driver with its next request, and it is listed
        as gone. The requests that it has it still answers, as best it can: what its device has not
        touched with EAGAIN, what may be half done with EIO. When that is done, or after 10 s, it is
        closed by a thread of the framework.

        May be called from any thread, with any lock held: it returns at once, having called nothing
        of the driver's. It does nothing if the driver is not attached, or is leaving already.

        To answer a request with ENODEV or ENXIO (``crp.fail``) does the same: nothing was done for
        this request, which is handed back, and the device is gone. So does a key request.

        Args:
            reason: Why, in a few words for an operator. No content, no key.
        """

    def raised(self, error: BaseException) -> None:
        """
        Report what escaped in a thread of the driver's own, where `process` cannot raise it.

        It is logged and counted as what it is: a bug of the driver. The request is still the
        driver's to answer, with EIO.

        Args:
            error: What escaped. Of it the type and the line are logged, never its text.
        """
        # Of a driver that is not attached; else the framework's report stands in its place.
        rule = str(Rule.PROCESS_RAISED)
        kind = type(error).__name__
        log.error("driver_bug", driver=self.name, rule=rule, error=kind, where=where(error))

    def newlid(self) -> int:
        """
        Return a session number that no driver of this process has had lately.

        After 2**32 the numbers begin again: ask for another one while it is one of your own.
        """
        return next(_lids) & LID

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({CLASS_NAMES[driver_class(self.flags)]})>"


def detached(*_: Any) -> None:
    """Stand in for the ports of a driver that is not attached."""
    raise UsageError("the driver is not attached; attach it with Framework.attach(driver)")


Driver.done = staticmethod(detached)
Driver.kdone = staticmethod(detached)
Driver.unblock = staticmethod(detached)
