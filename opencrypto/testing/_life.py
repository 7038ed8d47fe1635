"""D15 to D20 and D22: sessions stand apart, and nothing is left behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
import unittest
import warnings
from collections.abc import Callable, Sequence
from functools import partial

from opencrypto import Cryptodesc, Cryptoini, Cryptop, Profile
from opencrypto.constants import CRYPTO_F_BATCH, CRYPTO_F_CBIMM
from opencrypto.exceptions import CryptoError
from opencrypto.testing._base import ContractBase, a_few, each_algorithm
from opencrypto.testing._chains import Combination, combinations
from opencrypto.testing._completion import Hints, answered_alone
from opencrypto.testing._exchange import (
    LONG_AFTER,
    WRITTEN_LATE,
    Made,
    TrackedBytes,
    TrackedRequest,
    describe,
)
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import Case, Layout, sample
from opencrypto.testing._secrets import canary, everything_logged, holds, reprs, shows
from opencrypto.testing.clauses import ContractBroken, Hung, clause, require

THREADS = 8
ROUNDS = 25

ALIKE = 8
"""Bytes that keys share which a driver may take for one, if it is careless."""

MANY = 300
"""Sessions open at once, more than a number of eight bits tells apart."""

FEWER = 40
"""The same if it must be quick."""

GRACE = 1.0
"""Seconds for a forked child beyond the patience with each thing it does."""

BATCH = CRYPTO_F_BATCH | CRYPTO_F_CBIMM


HALF_DONE = "a request was handed back half done"


class Life(ContractBase):
    """Memory, sessions, threads, leaving, secrets, fork."""

    # D15: nothing kept.

    @clause("D15", each_algorithm)
    def test_D15_nothing_of_a_request_is_kept(self, case: Case) -> None:
        """After done, the request, its buffer and its IV are nobody's but the consumer's."""
        with self.session(case) as (rig, sid, lay):

            def there() -> Made[Cryptop]:
                iv = TrackedBytes(sample(case.ivlen, "iv"))
                request, parts = tracked(sid, case.buffer(lay), case.forward(lay, iv))
                return request, [*parts, iv]

            def back() -> Made[Cryptop]:
                return tracked(sid, case.buffer(lay), case.backward(lay))

            def wrong() -> Made[Cryptop]:
                return tracked(sid, case.buffer(lay), [Cryptodesc()])

            rig.sym.kept(there, back, wrong)

    @clause("D15", each_algorithm)
    def test_D15_buffers_are_let_go(self, case: Case) -> None:
        """After done a bytearray can be resized: no view of it is left."""
        with self.session(case) as (rig, sid, lay):
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

    @clause("D15", each_algorithm)
    def test_D15_nothing_is_written_after_done(self, case: Case) -> None:
        """What is in the buffer when done is called is the answer, and stays it."""
        with self.session(case) as (rig, sid, lay):
            for desc in (case.forward(lay), case.backward(lay)):
                ticket = rig.submit(sid, case.buffer(lay), desc)
                buf = rig.sym.wait(ticket).buf
                time.sleep(LONG_AFTER)
                require(bytes(buf) == ticket.at_done, "D15", WRITTEN_LATE)

    # D16, D17: sessions beside each other.

    @clause("D16", each_algorithm)
    def test_D16_keys_that_begin_or_end_alike(self, case: Case) -> None:
        """Keys that share their first eight bytes, or their last, are different keys."""
        if case.keylen <= ALIKE or not case.keyed:
            raise unittest.SkipTest(f"no key of more than {ALIKE} bytes")
        self.needs_sessions(3)
        key = sample(case.keylen, "key")
        other = bytes(byte ^ 0x5A for byte in key)
        first, last = key[:ALIKE] + other[ALIKE:], other[:-ALIKE] + key[-ALIKE:]
        with self.rig() as rig:
            lay = self.layout(case)
            keys = {each: None for each in (key, first, last) if case.takes(each)}
            sids = [rig.open(case.inis_with(each)) for each in keys]
            together = [_sealed(rig, sid, case, lay) for sid in sids]
            alike = "keys that share eight bytes gave one result: compare whole keys, or none"
            require(len(set(together)) == len(keys), "D16", alike)
            for sid in sids:
                rig.free(sid)
            for each, expected in zip(keys, together, strict=True):
                sid = rig.open(case.inis_with(each))
                right = _sealed(rig, sid, case, lay) == expected
                require(right, "D16", "beside a key like it, a session gave something else")
                rig.free(sid)

    @clause("D16", a_few)
    def test_D16_many_sessions_at_once(self, case: Case) -> None:
        """Three hundred sessions, or as many as there is room for, each with a key of its own."""
        with self.rig() as rig:
            lay = self.layout(case)
            labels = [f"key {n}" for n in range(FEWER if self.quick else MANY)]
            sids = rig.open_some(case.inis(label) for label in labels)
            answers = [_sealed(rig, sid, case, lay) for sid in sids]
            if case.keyed:
                many = f"of {len(sids)} sessions with a key each, two gave one result"
                require(len(set(answers)) == len(sids), "D16", many)
            for sid, expected in reversed(list(zip(sids, answers, strict=True))):
                right = _sealed(rig, sid, case, lay) == expected
                require(right, "D16", f"one of {len(sids)} sessions gave something else later")
                rig.free(sid)

    @clause("D16", each_algorithm)
    def test_D16_two_keys_interleaved(self, case: Case) -> None:
        """Two sessions used in turns give what each gives alone; one freed, the other goes on."""
        self.needs_sessions(2)
        with self.rig() as rig:
            lay = self.layout(case)
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
        """Many threads use one session at once, with data and IVs of their own."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            self._race(rig, case, [sid] * THREADS)

    @clause("D17", each_algorithm)
    def test_D17_threads_on_many_sessions(self, case: Case) -> None:
        """Many threads each use a session of their own, as far as there is room for them."""
        with self.rig() as rig:
            sids = rig.open_some(case.inis(f"key {n}") for n in range(THREADS))
            self._race(rig, case, [sids[n % len(sids)] for n in range(THREADS)])

    def _race(self, rig: Rig, case: Case, sids: list[int]) -> None:
        lay = self.layout(case)
        expected = [
            [_sealed(rig, sid, case, lay, label) for label in _labels(n)]
            for n, sid in enumerate(sids)
        ]
        wrong: list[BaseException] = []
        answers = itertools.count()  # to take a number is one step

        def work(n: int) -> None:
            try:
                for turn in range(ROUNDS):
                    next(answers)
                    label = _labels(n)[turn % len(_labels(n))]
                    _ask(rig, sids[n], case, lay, label, expected[n][turn % len(_labels(n))])
            except BaseException as error:
                wrong.append(error)

        threads = [
            threading.Thread(target=work, args=(n,), name="contract-race", daemon=True)
            for n in range(len(sids))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            before = next(answers)
            while thread.is_alive():
                thread.join(rig.patience * 2)
                now = next(answers)
                if thread.is_alive() and now == before + 1:  # nobody gets on
                    raise Hung("D17", "with many threads, one hangs: no call may wait for another")
                before = now
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
            for lid in (sid & 0xFFFFFFFF, 0xFFFFFFF1):
                free = partial(rig.driver.freesession, lid)
                try:
                    rig.within("D18", "freesession", free)
                except ContractBroken:
                    raise
                except Exception as error:
                    raise ContractBroken(
                        "D18",
                        f"freesession raised {type(error).__name__} for a session that is not "
                        "open: an end that was broken off is begun again, so do nothing then",
                    ) from error

    @clause("D18", each_algorithm)
    def test_D18_no_key_is_left(self, case: Case) -> None:
        """After freesession the key's bytes can be reached nowhere from the driver."""
        if case.keylen < 8:
            raise unittest.SkipTest("a key this short may turn up by chance")
        with self.rig() as rig:
            sid = rig.open(case.inis(label := canary()))
            _sealed(rig, sid, case, self.layout(case))
            rig.free(sid)
            where = holds(rig.driver, sample(case.keylen, label))
            require(not where, "D18", f"the key is still in {where}")

    # D19: leaving.

    @clause("D19", a_few)
    def test_D19_leaving_with_everything_in_use(self, case: Case) -> None:
        """Sessions open, requests in flight: each ends, the sessions are freed, no thread stays."""
        with self.rig() as rig:
            sids = rig.open_some(case.inis(f"key {n}") for n in range(3))
            lay = self.layout(case)
            rig.sym.in_flight(
                rig.request(sid, case.buffer(lay), case.forward(lay), flags=BATCH)
                for _ in range(20)
                for sid in sids
            )

    @clause("D19")
    def test_D19_it_can_come_again(self) -> None:
        """A driver of the same class attaches after one has left, and serves."""
        for _ in range(2):
            with self.rig() as rig:
                for case in list(a_few(self))[:1]:
                    _sealed(rig, rig.open(case.inis()), case, self.layout(case))

    # D20: secrets.

    @clause("D20", each_algorithm)
    def test_D20_no_key_is_shown(self, case: Case) -> None:
        """Nothing that people or logs get to see has a piece of the key in it."""
        if case.keylen < 4:
            raise unittest.SkipTest("a key this short may turn up by chance")
        key = sample(case.keylen, label := canary())
        with everything_logged() as lines, self.rig() as rig:
            shown = lines  # what is logged from here on is in it too
            sid, lay = rig.open(case.inis(label)), self.layout(case)
            for desc in (case.forward(lay), case.backward(lay), case.backward(lay), []):
                crp = rig.run(sid, case.buffer(lay), desc)
                shown += [repr(crp), crp.error]
            shown += reprs(rig.driver)
            for wrong in (key + b"x", key[:-1]):
                shown += self._refusal(rig, case, wrong)
            rig.free(sid)
            shown += reprs(rig.driver)
        for text in shown:
            require(not shows(text, [key], 4), "D20", f"key material in: {text[:40]!r}...")

    @clause("D20", combinations)
    def test_D20_no_key_is_in_a_refusal(self, case: Combination) -> None:
        """What refusal() and newsession say of a chain, and what is logged, has no key in it."""
        label = canary()
        keys = [bytes(ini.key or b"") for ini in case.inis(label)]
        keys = [key for key in keys if len(key) >= 4]
        with everything_logged() as lines, self.rig() as rig:
            shown = lines
            for profile in (Profile("", False), Profile("encrypt", True)):
                ask = partial(rig.driver.refusal, case.inis(label), profile)
                shown.append(str(rig.within("D3", "refusal", ask)))
            shown += _said(rig, case.inis(label))
            try:
                rig.free(rig.newsession(case.inis(label)))
            except CryptoError as error:
                shown += [str(error), repr(error), repr(getattr(error, "reasons", ""))]
        for text in shown:
            require(not shows(text, keys, 4), "D20", f"key material in: {text[:40]!r}...")

    def _refusal(self, rig: Rig, case: Case, key: bytes) -> list[str]:
        """Return what the driver itself says to a key that it may not take."""
        if self.claimed().max_sessions == 1:
            return []  # it has one open already
        return _said(rig, Case(case.alg, len(key), case.partner).inis_with(key))

    # D22: fork.

    @clause("D22", a_few)
    def test_D22_fork(self, case: Case) -> None:
        """In a child: old and new sessions answer or refuse, in time; the parent goes on."""
        if not hasattr(os, "fork"):
            raise unittest.SkipTest("this system has no fork")
        hints = Hints()
        with self.rig(hints.stand_before) as rig:
            sid, lay = rig.open(case.inis()), self.layout(case)
            expected = _sealed(rig, sid, case, lay)
            hints.more = True
            desc = case.forward(lay, sample(case.ivlen, "data"))
            answered_alone(rig, hinted := rig.request(sid, case.buffer(lay), desc))
            hints.more = False
            require(hinted.buf == expected, "D23", "with CRYPTO_HINT_MORE other bytes come out")

            def child() -> str:
                sids = [sid]
                if self.claimed().max_sessions != 1:
                    with contextlib.suppress(CryptoError):  # a clean refusal
                        sids.append(rig.framework.newsession(case.inis(), driver=rig.hid))
                for hints.more in (False, True):
                    for each in sids:
                        if wrong := asked(each):
                            return wrong + " (CRYPTO_HINT_MORE)" * hints.more
                return ""

            def asked(each: int) -> str:
                desc = case.forward(lay, sample(case.ivlen, "data"))
                crp = rig.request(each, case.buffer(lay), desc)
                try:
                    rig.sym.run_here(crp)
                except ContractBroken as broken:
                    if broken.clause == "D12":
                        return f"{HALF_DONE} in the child"
                    return "a request in the child was not answered: start threads anew after fork"
                if not crp.etype and bytes(crp.buf) != expected:
                    return "a request in the child got a wrong answer"
                return ""

            wrong = in_a_child(child, rig.patience)
            hints.more = False
            require(not wrong, "D12" if wrong.startswith(HALF_DONE) else "D22", wrong)
            right = _sealed(rig, sid, case, lay) == expected
            require(right, "D22", "after a fork the parent gets a wrong answer")


def _labels(n: int) -> list[str]:
    """Name the data and IVs that a thread takes in turns."""
    return [f"data {n} {turn}" for turn in range(2)]


def _sealed(rig: Rig, sid: int, case: Case, lay: Layout, label: str = "data") -> bytes:
    """Return the answer to data and an IV drawn from a label."""
    buf = case.buffer(lay, label)
    rig.good("D4", "one way", sid, buf, case.forward(lay, sample(case.ivlen, label)))
    return bytes(buf)


def _ask(rig: Rig, sid: int, case: Case, lay: Layout, label: str, expected: bytes) -> None:
    """Do, from the calling thread, a request whose answer is known."""
    desc = case.forward(lay, sample(case.ivlen, label))
    crp = rig.sym.run_here(rig.request(sid, case.buffer(lay, label), desc))
    require(not crp.etype, "D17", f"with many threads: {describe(crp)}")
    shared = "with many threads an answer is wrong: is a buffer, an IV or a state shared by them?"
    require(crp.buf == expected, "D17", shared)


def _said(rig: Rig, inis: list[Cryptoini]) -> list[str]:
    """Return what the driver itself says to a chain that it may refuse."""
    try:
        answer = rig.within("D3", "newsession", lambda: rig.driver.newsession(inis))
    except ContractBroken:
        raise
    except Exception as error:
        return [str(error), repr(error)]
    lid = answer if isinstance(answer, int) else answer[0]
    rig.within("D18", "freesession", lambda: rig.driver.freesession(lid))
    return []


def tracked(sid: int, data: bytes | bytearray, desc: Sequence[Cryptodesc]) -> Made[Cryptop]:
    """Make a request that tells when it is gone, and name its buffer beside it."""
    buf = TrackedBytes(data)
    return TrackedRequest(sid, buf, desc, flags=CRYPTO_F_CBIMM), [buf]


def in_a_child(work: Callable[[], str], patience: float) -> str:
    """Run `work` in a child; return what it says is wrong, or what went wrong with it."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # That other threads run is the point: a driver must stand it.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        _child(work, write)
    os.close(write)
    try:
        return _parent(pid, read, patience)
    finally:
        os.close(read)


def _child(work: Callable[[], str], write: int) -> None:
    """Never returns: what the parent has set up to run at its end must not run here."""
    says = "the child died"
    try:
        says = work()
    except BaseException as error:
        says = f"the child raised {type(error).__name__}"
    finally:
        os.write(write, b"." + says.encode())
        os._exit(0)


def _parent(pid: int, read: int, patience: float) -> str:
    deadline = time.monotonic() + 3 * patience + GRACE
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "the child hangs"
        time.sleep(0.002)
    said = os.read(read, 4096)
    return said[1:].decode() if said else "the child died"
