"""D15 to D20 and D22: sessions stand apart, and nothing is left behind."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import threading
import time
import unittest
import weakref
from collections.abc import Iterator

from opencrypto._request.symmetric import Cryptodesc, Cryptop
from opencrypto.constants import CRYPTO_F_BATCH, CRYPTO_F_CBIMM
from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError
from opencrypto.testing import _fork
from opencrypto.testing._base import ContractBase, a_few, each_algorithm
from opencrypto.testing._reach import holds, population, reachable
from opencrypto.testing._rig import Rig, Ticket, describe
from opencrypto.testing._samples import Case, Layout, sample, some_length
from opencrypto.testing.clauses import ContractBroken, clause, require

THREADS = 8
ROUNDS = 25
CYCLES = 48


class Watched(Cryptop):
    """A request that tells when it is gone."""

    __slots__ = ("__weakref__",)


class WatchedBytes(bytearray):
    """A buffer that tells when it is gone."""


class Life(ContractBase):
    """Memory, sessions, threads, leaving, secrets, fork."""

    def _one(self, case: Case) -> Layout:
        return case.layout(some_length(case, self.maxlen(case)))

    # D15: nothing kept.

    @clause("D15", each_algorithm)
    def test_D15_nothing_of_a_request_is_kept(self, case: Case) -> None:
        """After done, the request, its buffer and its IV are nobody's but the consumer's."""
        with self.rig() as rig:
            sid, lay = rig.open(case.inis()), self._one(case)
            good, bad = case.forward(lay, WatchedBytes(sample(case.ivlen, "iv"))), [Cryptodesc()]
            refs: list[weakref.ref[object]] = []
            for desc in (good, case.backward(lay), bad):
                refs += _watched_run(rig, sid, case.buffer(lay), desc)
            del good, bad, desc
            deadline = time.monotonic() + rig.patience
            while (left := _alive(refs)) and time.monotonic() < deadline:
                time.sleep(0.002)
                gc.collect()
            require(not left, "D15", f"still referred to after done: {', '.join(left)}")

    @clause("D15", each_algorithm)
    def test_D15_buffers_are_let_go(self, case: Case) -> None:
        """After done a bytearray can be resized: no view of it is left."""
        with self.rig() as rig:
            sid, lay = rig.open(case.inis()), self._one(case)
            buf = case.buffer(lay)
            rig.run(sid, buf, case.forward(lay))
            deadline = time.monotonic() + rig.patience
            while True:
                try:
                    buf.append(0)
                    break
                except BufferError:
                    # A driver's thread may be on its way out of the function that called done.
                    late = time.monotonic() > deadline
                    require(not late, "D15", "a view of the buffer is still held after done")
                    time.sleep(0.002)

    # D16, D17: sessions beside each other.

    @clause("D16", each_algorithm)
    def test_D16_two_keys_interleaved(self, case: Case) -> None:
        """Two sessions used in turns give what each gives alone; one freed, the other goes on."""
        with self.rig() as rig:
            lay = self._one(case)
            alone = []
            for label in ("key", "other"):
                sid = rig.open(case.inis(label))
                alone.append(_sealed(rig, sid, case, lay))
                rig.free(sid)
            if case.keyed:
                require(alone[0] != alone[1], "D16", "two keys, one result")
            sids = [rig.open(case.inis(label)) for label in ("key", "other")]
            for _ in range(4):
                for sid, expected in zip(sids, alone, strict=True):
                    right = _sealed(rig, sid, case, lay) == expected
                    require(right, "D16", "beside another session, the answer differs")
            rig.free(sids[0])
            right = _sealed(rig, sids[1], case, lay) == alone[1]
            require(right, "D16", "after the other session was freed, the answer differs")

    @clause("D17", each_algorithm)
    def test_D17_threads_on_one_session(self, case: Case) -> None:
        """Many threads use one session at once."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            self._race(rig, case, [sid] * THREADS)

    @clause("D17", each_algorithm)
    def test_D17_threads_on_many_sessions(self, case: Case) -> None:
        """Many threads each use a session of their own."""
        with self.rig() as rig:
            sids = [rig.open(case.inis(f"key {n}")) for n in range(THREADS)]
            self._race(rig, case, sids)

    def _race(self, rig: Rig, case: Case, sids: list[int]) -> None:
        lay = self._one(case)
        labels = [f"data {n}" for n in range(len(sids))]
        expected = [
            _sealed(rig, sid, case, lay, label) for sid, label in zip(sids, labels, strict=True)
        ]
        wrong: list[BaseException] = []

        def work(n: int) -> None:
            try:
                for _ in range(ROUNDS):
                    _ask(rig, sids[n], case, lay, labels[n], expected[n])
            except BaseException as error:
                wrong.append(error)

        threads = [
            threading.Thread(target=work, args=(n,), name="contract-race", daemon=True)
            for n in range(len(sids))
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + rig.patience * 4
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            require(not thread.is_alive(), "D17", "with many threads, one hangs")
        rig.check_bugs()
        if wrong:
            raise wrong[0]

    # D18: freeing.

    @clause("D18", a_few)
    def test_D18_freesession_twice(self, case: Case) -> None:
        """A session number that is freed already, or never was, does no harm."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            rig.free(sid)
            try:
                rig.driver.freesession(sid & 0xFFFFFFFF)
                rig.driver.freesession(0xFFFFFFF1)
            except Exception as error:
                raise ContractBroken(
                    "D18", f"freesession raised {type(error).__name__} for a freed session"
                ) from error

    @clause("D18", each_algorithm)
    def test_D18_no_key_is_left(self, case: Case) -> None:
        """After freesession the key's bytes can be reached nowhere from the driver."""
        if case.keylen < 8:
            raise unittest.SkipTest("a key this short may turn up by chance")
        with self.rig() as rig:
            sid = rig.open(case.inis("canary"))
            _sealed(rig, sid, case, self._one(case))
            rig.free(sid)
            where = holds(rig.driver, sample(case.keylen, "canary"))
            require(not where, "D18", f"the key is still in {where}")

    @clause("D18", a_few)
    def test_D18_no_memory_is_left(self, case: Case) -> None:
        """Many sessions opened, used and freed leave the driver's tables as they were."""
        with self.rig() as rig:
            lay = self._one(case)

            def cycles() -> int:
                for _ in range(CYCLES):
                    sid = rig.open(case.inis())
                    _sealed(rig, sid, case, lay)
                    rig.free(sid)
                return population(rig.driver)

            first, second = cycles(), cycles()
            grown = second - first
            require(grown < CYCLES, "D18", f"{CYCLES} sessions left {grown} elements behind")

    # D19: leaving.

    @clause("D19", a_few)
    def test_D19_leaving_with_everything_in_use(self, case: Case) -> None:
        """Sessions open, requests in flight: each ends, the sessions are freed, no thread stays."""
        before = set(threading.enumerate())
        with self.rig() as rig:
            ours = set(threading.enumerate()) - before
            sids = [rig.open(case.inis(f"key {n}")) for n in range(3)]
            lay = self._one(case)
            flags = CRYPTO_F_BATCH | CRYPTO_F_CBIMM
            tickets = [
                Ticket(Cryptop(sid, case.buffer(lay), case.forward(lay), flags=flags))
                for _ in range(20)
                for sid in sids
            ]
            rig.dispatch(*tickets)
            rig.detach()
            rig.check_bugs()
            for ticket in tickets:
                crp = rig.wait(ticket)
                ended = crp.etype in (0, errno.EAGAIN, errno.ENODEV)
                require(ended, "D19", f"in flight when the driver left: {describe(crp)}")
            left = threads_left(before | ours, rig.patience)
            require(not left, "D19", f"threads left after close: {', '.join(left)}")

    @clause("D19")
    def test_D19_it_can_come_again(self) -> None:
        """A driver of the same class attaches after one has left, and serves."""
        for _ in range(2):
            with self.rig() as rig:
                for case in list(a_few(self))[:1]:
                    _sealed(rig, rig.open(case.inis()), case, self._one(case))

    # D20: secrets.

    @clause("D20", each_algorithm)
    def test_D20_no_key_is_shown(self, case: Case) -> None:
        """Nothing that people or logs get to see has a piece of the key in it."""
        if case.keylen < 4:
            raise unittest.SkipTest("a key this short may turn up by chance")
        key = sample(case.keylen, "canary")
        with everything_logged() as lines, self.rig() as rig:
            shown = lines
            sid, lay = rig.open(case.inis("canary")), self._one(case)
            for desc in (case.forward(lay), case.backward(lay), case.backward(lay), []):
                crp = rig.run(sid, case.buffer(lay), desc)
                shown += [repr(crp), crp.error]
            shown += reprs(rig.driver)
            for wrong in (key + b"x", key[:-1]):
                shown += self._refusal(rig, case, wrong)
            rig.free(sid)
            shown += reprs(rig.driver)
        for text in shown:
            require(not _shows(text, key), "D20", f"key material in: {text[:40]!r}...")

    def _refusal(self, rig: Rig, case: Case, key: bytes) -> list[str]:
        """Return what the driver itself says to a key that it may not take."""
        try:
            answer = rig.driver.newsession(Case(case.alg, len(key), case.partner).inis_with(key))
        except Exception as error:
            return [str(error), repr(error)]
        rig.driver.freesession(answer if isinstance(answer, int) else answer[0])
        return []

    # D22: fork.

    @clause("D22", a_few)
    def test_D22_fork(self, case: Case) -> None:
        """In a child: old and new sessions answer or refuse, in time; the parent goes on."""
        if not hasattr(os, "fork"):
            raise unittest.SkipTest("this system has no fork")
        with self.rig() as rig:
            sid, lay = rig.open(case.inis()), self._one(case)
            expected = _sealed(rig, sid, case, lay)

            def child() -> str:
                framework = rig.framework
                for number in (sid, 0):
                    try:
                        use = number or framework.newsession(case.inis(), driver=rig.hid)
                    except CryptoError:
                        continue
                    buf = case.buffer(lay)
                    ticket = Ticket(Cryptop(use, buf, case.forward(lay), flags=CRYPTO_F_CBIMM))
                    framework.dispatch(ticket.crp)
                    if not ticket.answered.wait(rig.patience):
                        return "a request in the child was not answered"
                    if not ticket.crp.etype and bytes(buf) != expected:
                        return "a request in the child got a wrong answer"
                return ""

            require(not (wrong := _fork.run(child, rig.patience)), "D22", wrong)
            right = _sealed(rig, sid, case, lay) == expected
            require(right, "D22", "after a fork the parent gets a wrong answer")


def _sealed(rig: Rig, sid: int, case: Case, lay: Layout, label: str = "data") -> bytes:
    buf = case.buffer(lay, label)
    rig.good("D4", "one way", sid, buf, case.forward(lay))
    return bytes(buf)


def _ask(rig: Rig, sid: int, case: Case, lay: Layout, label: str, expected: bytes) -> None:
    """Do, from the calling thread, a request whose answer is known."""
    buf = case.buffer(lay, label)
    ticket = Ticket(Cryptop(sid, buf, case.forward(lay), flags=CRYPTO_F_CBIMM))
    rig.framework.dispatch(ticket.crp)
    if not ticket.answered.wait(rig.patience):
        raise rig.unanswered()
    crp = ticket.crp
    require(not crp.etype, "D17", f"with many threads: {describe(crp)}")
    require(buf == expected, "D17", "with many threads an answer is wrong")


def _watched_run(
    rig: Rig, sid: int, data: bytearray, desc: list[Cryptodesc]
) -> list[weakref.ref[object]]:
    buf = WatchedBytes(data)
    crp = Watched(sid, buf, desc, flags=CRYPTO_F_CBIMM)
    rig.dispatch(ticket := Ticket(crp))
    rig.wait(ticket)
    ivs = [crd.iv for crd in desc if isinstance(crd.iv, WatchedBytes)]
    return [weakref.ref(each) for each in (crp, buf, *ivs)]


def threads_left(before: set[threading.Thread], patience: float) -> list[str]:
    """Name the threads that are new and do not end; the framework's own are left out."""
    deadline = time.monotonic() + patience
    while True:
        new = [thread.name for thread in set(threading.enumerate()) - before]
        left = sorted(set(new) - {"opencrypto-requests", "opencrypto-returns"})
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.002)


def _alive(refs: list[weakref.ref[object]]) -> list[str]:
    names = {Watched: "the request", WatchedBytes: "a buffer"}
    return [names[type(each)] for ref in refs if (each := ref()) is not None]


def reprs(driver: Driver) -> list[str]:
    """Return the reprs of a driver and of the objects of its own classes that it holds."""
    own = type(driver).__module__.partition(".")[0]
    held = (
        repr(each)
        for each in reachable(driver)
        if type(each).__module__.partition(".")[0] == own and not callable(each)
    )
    return [repr(driver), str(driver), *held]


def _shows(text: str, key: bytes) -> bool:
    """Tell whether four bytes of a key in a row are in a text, as hex, characters or numbers."""
    low = text.lower()
    for at in range(len(key) - 3):
        piece = key[at : at + 4]
        numbers = ", ".join(map(str, piece))
        if piece.hex() in low or repr(piece)[2:-1] in text or numbers in text:
            return True
    return False


@contextlib.contextmanager
def everything_logged() -> Iterator[list[str]]:
    """Collect every log line, of every level, that anybody writes meanwhile."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    collector = Collector()
    loggers = [logging.getLogger(), logging.getLogger("opencrypto")]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(collector)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        loggers[0].removeHandler(collector)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
