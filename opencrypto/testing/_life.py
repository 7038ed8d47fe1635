"""D15 to D20 and D22: sessions stand apart, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import unittest
import warnings
from collections.abc import Callable, Sequence

from opencrypto import Cryptodesc, Cryptop
from opencrypto.constants import CRYPTO_F_BATCH, CRYPTO_F_CBIMM
from opencrypto.exceptions import CryptoError
from opencrypto.testing._base import ContractBase, a_few, each_algorithm
from opencrypto.testing._exchange import Made, TrackedBytes, TrackedRequest, describe
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import Case, Layout, sample
from opencrypto.testing._secrets import canary, everything_logged, holds, population, reprs, shows
from opencrypto.testing.clauses import ContractBroken, clause, require

THREADS = 8
ROUNDS = 25
CYCLES = 48

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

    # D16, D17: sessions beside each other.

    @clause("D16", each_algorithm)
    def test_D16_two_keys_interleaved(self, case: Case) -> None:
        """Two sessions used in turns give what each gives alone; one freed, the other goes on."""
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
        lay = self.layout(case)
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
            sid = rig.open(case.inis(label := canary()))
            _sealed(rig, sid, case, self.layout(case))
            rig.free(sid)
            where = holds(rig.driver, sample(case.keylen, label))
            require(not where, "D18", f"the key is still in {where}")

    @clause("D18", a_few)
    def test_D18_no_memory_is_left(self, case: Case) -> None:
        """Many sessions opened, used and freed leave the driver's tables as they were."""
        with self.rig() as rig:
            lay = self.layout(case)

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
        with self.rig() as rig:
            sids = [rig.open(case.inis(f"key {n}")) for n in range(3)]
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
        with self.session(case) as (rig, sid, lay):
            expected = _sealed(rig, sid, case, lay)

            def child() -> str:
                sids = [sid]
                with contextlib.suppress(CryptoError):  # a clean refusal
                    sids.append(rig.framework.newsession(case.inis(), driver=rig.hid))
                for each in sids:
                    crp = rig.request(each, case.buffer(lay), case.forward(lay))
                    try:
                        rig.sym.run_here(crp)
                    except ContractBroken as broken:
                        if broken.clause == "D12":
                            return f"{HALF_DONE} in the child"
                        return "a request in the child was not answered"
                    if not crp.etype and bytes(crp.buf) != expected:
                        return "a request in the child got a wrong answer"
                return ""

            wrong = in_a_child(child, rig.patience)
            require(not wrong, "D12" if wrong.startswith(HALF_DONE) else "D22", wrong)
            right = _sealed(rig, sid, case, lay) == expected
            require(right, "D22", "after a fork the parent gets a wrong answer")


def _sealed(rig: Rig, sid: int, case: Case, lay: Layout, label: str = "data") -> bytes:
    buf = case.buffer(lay, label)
    rig.good("D4", "one way", sid, buf, case.forward(lay))
    return bytes(buf)


def _ask(rig: Rig, sid: int, case: Case, lay: Layout, label: str, expected: bytes) -> None:
    """Do, from the calling thread, a request whose answer is known."""
    crp = rig.sym.run_here(rig.request(sid, case.buffer(lay, label), case.forward(lay)))
    require(not crp.etype, "D17", f"with many threads: {describe(crp)}")
    require(crp.buf == expected, "D17", "with many threads an answer is wrong")


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
