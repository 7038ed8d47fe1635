"""
How fast drivers are: one session on one driver, messages of one size, as often as it can.

What is measured is a consumer that keeps its requests and dispatches them anew: framework, driver
and whatever the driver calls, from ``dispatch`` to the callback. The IV of a cipher is given and
always the same, as ``openssl speed`` has it; a message that its operation has changed, so that it
could not be done again, is put back outside of the measured time.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, Protocol

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_GMAC,
    CRYPTO_F_CBIMM,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    UsageError,
)
from opencrypto.xform import FACTS, Kind, Named, algorithms

PATIENCE: Final = 60.0
"""Seconds without an answer after which a driver has failed."""

TURN: Final = 0.005
"""Seconds between two looks at the clock, so that looking costs nothing that shows."""

RESTORED: Final = 4 << 20
"""Bytes of messages that are put back at a time, where that is needed, and measured in between."""

MOST_RESTORED: Final = 64

MEMORY: Final = 1 << 30
"""Bytes of messages that one point may take."""

_GIVEN: Final = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT

_clock = time.perf_counter


def size_name(size: int) -> str:
    """Return what the head of a column calls a size."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


class Way(NamedTuple):
    """
    How a rate is measured.

    Attributes:
        seconds: For how long, each point.
        threads: How many consumers there are at a time, each with a session of its own.
        depth: How many requests each of them has in flight: 1 waits for each answer.
        decrypt: Decrypt (verify, decompress) what was protected, rather than protect.
    """

    seconds: float = 1.0
    threads: int = 1
    depth: int = 1
    decrypt: bool = False


class Rate(NamedTuple):
    """
    What came of it.

    Attributes:
        operations: How many were done, by all threads.
        seconds: How long they took; of several threads, in the mean.
    """

    operations: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Operations in a second."""
        return self.operations / self.seconds


class Consumer(Protocol):
    """One who keeps requests and has them done over and over."""

    def turn(self, times: int) -> int:
        """Have all of the requests done so many times; return how many that were."""

    def restore(self) -> bool:
        """Put back what a turn has changed; tell whether there is anything to put back."""


class Slot:
    """A request that is kept, and where it comes back when it is answered."""

    __slots__ = ("answer", "request")

    def __init__(self, request: Any) -> None:
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.request = request
        self.request.callback = answers.put
        self.answer = answers.get  # raises queue.Empty when nothing came in time


def waiting(dispatch: Callable[[Any], None], slots: Sequence[Slot], times: int) -> int:
    """Dispatch each request when the one before it has been answered."""
    pairs = [(slot.request, slot.answer) for slot in slots]
    for _ in range(times):
        for request, answer in pairs:
            dispatch(request)
            answer(True, PATIENCE)
    return times * len(slots)


def together(dispatch: Callable[[Any], None], slots: Sequence[Slot], times: int) -> int:
    """Dispatch each request as soon as its own last answer is there, whatever the others do."""
    pairs = [(slot.request, slot.answer) for slot in slots]
    for request, _ in pairs:
        dispatch(request)
    for _ in range(times - 1):
        for request, answer in pairs:
            answer(True, PATIENCE)
            dispatch(request)
    for _, answer in pairs:
        answer(True, PATIENCE)
    return times * len(slots)


def answered(turn: Callable[[], int]) -> int:
    """
    Return what a turn returns.

    Raises:
        CryptoError: an answer did not come (EIO).
    """
    try:
        return turn()
    except queue.Empty:
        raise CryptoError("the driver has stopped answering", errno=errno.EIO) from None


class Messages:
    """A consumer with a session, and messages of one size."""

    def __init__(
        self, framework: Framework, sid: int, chain: Sequence[Cryptoini], size: int, way: Way
    ) -> None:
        self._framework = framework
        self._shape = _Shape(sid, chain, size)
        made = self._protected() if way.decrypt else self._shape.message()
        self._restored = self._shape.changes(decrypt=way.decrypt)
        self._turn = waiting if way.depth == 1 else together
        many = way.depth
        if self._restored and many == 1:
            many = max(1, min(MOST_RESTORED, RESTORED // len(made)))
        self._made = made
        self._slots = [
            Slot(self._shape.request(bytearray(made), decrypt=way.decrypt)) for _ in range(many)
        ]

    def _protected(self) -> bytes:
        """Return a message as it is to be decrypted."""
        crp = self._shape.request(bytearray(self._shape.message()), decrypt=False)
        slots = [Slot(crp)]
        answered(lambda: waiting(self._framework.dispatch, slots, 1))
        crp.check()
        self._shape.has_become(crp.olen)
        return bytes(crp.buf)

    def turn(self, times: int) -> int:
        """Have all requests done so many times."""
        done = answered(lambda: self._turn(self._framework.dispatch, self._slots, times))
        for slot in self._slots:
            slot.request.check()
        return done

    def restore(self) -> bool:
        """Put the messages back, if an operation leaves something else."""
        if self._restored:
            for slot in self._slots:
                slot.request.buf[:] = self._made
        return self._restored


class _Shape:
    """Where in a buffer the parts of a message are: ``iv | payload | room | mac``."""

    def __init__(self, sid: int, chain: Sequence[Cryptoini], size: int) -> None:
        self._sid = sid
        self._size = size
        self._facts = [FACTS[cri.alg] for cri in chain]
        ivs = [f.ivlen(cri.klen // 8) for f, cri in zip(self._facts, chain, strict=True)]
        self._start = sum(ivs)  # of one cipher; the others have none
        self._ivs = [os.urandom(n) for n in ivs]
        self._macs = [cri.mlen or f.mac for f, cri in zip(self._facts, chain, strict=True)]
        self._packs = any(f.kind is Kind.COMP for f in self._facts)
        self._payload = size
        self._bare = any(f.alg == CRYPTO_AES_GMAC for f in self._facts)  # ciphers nothing

    def message(self) -> bytes:
        """Return a message that nobody has protected yet."""
        room = bytes(sum(self._macs))
        return bytes(self._start) + self._text() + room

    def _text(self) -> bytes:
        """Return a payload: random bytes, or for compression one that shrinks to a half."""
        if self._packs:
            return os.urandom((self._size + 1) // 2).hex().encode()[: self._size]
        return os.urandom(self._size)

    def has_become(self, length: int) -> None:
        """Note how long the payload is once it is compressed."""
        if self._packs:
            self._payload = length

    def changes(self, *, decrypt: bool) -> bool:
        """Tell whether a message must be put back before it can be worked on again."""
        ciphers = any(f.kind in {Kind.CIPHER, Kind.AEAD} for f in self._facts)
        return self._packs or (decrypt and ciphers and any(self._macs) and not self._bare)

    def request(self, buf: bytearray, *, decrypt: bool) -> Cryptop:
        """Make the request that protects a message, or takes its protection off."""
        descriptors = []
        place = self._start + self._size
        for facts, iv, mac in zip(self._facts, self._ivs, self._macs, strict=True):
            crd = Cryptodesc(self._start, self._payload, alg=facts.alg)
            if facts.authenticates:
                crd.inject = place
                crd.flags = CRD_F_VERIFY if decrypt else 0
                if facts.kind is Kind.AEAD_AUTH and not self._bare:
                    crd.skip = crd.len = 0
                place += mac
            elif facts.kind is Kind.COMP:
                crd.flags = 0 if decrypt else CRD_F_COMP
            else:
                crd.flags = _GIVEN if iv else 0
                crd.flags |= 0 if decrypt else CRD_F_ENCRYPT
                crd.iv = iv or None
                crd.len = 0 if self._bare else self._payload
            descriptors.append(crd)
        if decrypt:
            descriptors.reverse()
        crp = Cryptop(self._sid, buf, descriptors, flags=CRYPTO_F_CBIMM)
        crp.ilen = self._size
        return crp


class Chain(NamedTuple):
    """
    Algorithms to be measured together.

    Attributes:
        name: What they are called.
        inis: Their parameters, with keys made up.
    """

    name: str
    inis: list[Cryptoini]


def chain_of(name: str) -> Chain:
    """
    Return the algorithms of a name, as `opencrypto.xform` knows it, with keys made up.

    Raises:
        UsageError: there is none of the name, or it compresses and does something else, too.
    """
    inis = [cri for part in algorithms(name) for cri in _parameters(part)]
    if len(inis) > 1 and any(FACTS[cri.alg].kind is Kind.COMP for cri in inis):
        raise UsageError(f"{name} compresses beside something else; measure each by itself")
    return Chain(name, inis)


USUAL_KEY: Final = 16
"""How many **bytes** a key has where the name leaves it open."""


def _parameters(part: Named) -> list[Cryptoini]:
    """Make the parameters of an algorithm, or of both halves of an authenticated cipher."""
    legal = part.keys
    length = USUAL_KEY if legal is None or USUAL_KEY in legal else min(legal)
    key = os.urandom(length) if length else None
    if not part.joined:
        return [Cryptoini(part.alg, key, mlen=part.mlen)]
    return [Cryptoini(part.alg, key), Cryptoini(part.half(length), key, mlen=part.mlen)]


@contextmanager
def consumers(
    framework: Framework, chain: Sequence[Cryptoini], driver: str, size: int, way: Way
) -> Iterator[list[Consumer]]:
    """
    Open a session for each thread on one driver, with messages of `size` **bytes**.

    Raises:
        UsageError: the algorithms do not take messages of this size, or they are too much memory.
        NoDriverError: the driver does not take the chain.
    """
    if size * way.depth * way.threads > MEMORY:
        raise UsageError(
            f"{way.threads} x {way.depth} messages of {size} bytes are more than "
            f"{MEMORY >> 20} MiB; ask for fewer in flight"
        )
    sids: list[int] = []
    try:
        for _ in range(way.threads):
            sid = framework.newsession(chain, driver=driver)
            sids.append(sid)  # one by one, so that those are freed that were opened
        yield [Messages(framework, sid, chain, size, way) for sid in sids]
    finally:
        for sid in sids:
            with suppress(CryptoError):  # it is closed, or the driver has left with it
                framework.freesession(sid)


def measure(them: Sequence[Consumer], seconds: float) -> Rate:
    """
    Have consumers work for some time, each in a thread of its own, and tell what they did.

    One alone works in the caller's thread. An interrupt stops all of them, and goes on upwards.

    Raises:
        CryptoError: what the first request that failed ended with.
    """
    for each in them:
        each.turn(1)
        each.restore()
    if len(them) == 1:
        return _run(them[0], seconds, lambda: False)
    return _side_by_side(them, seconds)


def _run(consumer: Consumer, seconds: float, stopped: Callable[[], bool]) -> Rate:
    """Have one work until its time is over."""
    operations, spent, times = 0, 0.0, 1
    end = _clock() + 4 * seconds  # putting back costs, too
    while spent < seconds and not stopped():
        begun = _clock()
        operations += consumer.turn(times)
        now = _clock()
        spent += now - begun
        if consumer.restore():
            if _clock() > end:
                break
        elif now - begun < TURN:
            times *= 2
    return Rate(operations, spent)


def _side_by_side(them: Iterable[Consumer], seconds: float) -> Rate:
    stop: list[bool] = []
    rates: list[Rate] = []
    failed: list[BaseException] = []

    def work(consumer: Consumer) -> None:
        try:
            rates.append(_run(consumer, seconds, lambda: bool(stop)))
        except BaseException as error:
            failed.append(error)
            stop.append(True)

    threads = [
        threading.Thread(target=work, args=(each,), name="opencrypto-speed") for each in them
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.append(True)
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join()
    for error in failed:
        raise error
    return Rate(sum(rate.operations for rate in rates), sum(r.seconds for r in rates) / len(rates))
