"""Callbacks that dispatch again, within done within process: as often as they like."""

from __future__ import annotations

import threading

import pytest

from opencrypto import CRK_MOD, CRYPTO_F_CBIFSYNC, CRYPTO_F_CBIMM, Cryptkop, Cryptop, Framework
from opencrypto._core.lane import DEEPEST
from tests.toy import Toy, newsession, nothing_left, request, step, stepped, threaded

OFTEN = 5000
PATIENCE = 30.0


class Again:
    """A callback that dispatches its request again, and notes from which threads it was called."""

    def __init__(self, fw: Framework) -> None:
        self._fw = fw
        self.called = 0
        self.threads: set[int] = set()
        self.errors: list[int] = []
        self.over = threading.Event()

    def __call__(self, crp: Cryptop) -> None:
        self._note(crp.etype)
        if self.called < OFTEN:
            self._fw.dispatch(crp)

    def key(self, krp: Cryptkop) -> None:
        """Do likewise with a key request."""
        self._note(krp.status)
        if self.called < OFTEN:
            self._fw.kdispatch(krp)

    def _note(self, error: int) -> None:
        self.called += 1
        self.threads.add(threading.get_ident())
        if error:
            self.errors.append(error)
        if self.called == OFTEN:
            self.over.set()


@pytest.mark.parametrize("flags", [CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC])
def test_a_pipeline_of_callbacks_never_runs_out_of_stack(flags: int) -> None:
    """It goes on in the framework's thread, and each request has its answer."""
    with threaded(Toy()) as fw:
        again = Again(fw)
        fw.dispatch(request(newsession(fw), again, flags=flags))
        assert again.over.wait(PATIENCE)
        assert (again.called, again.errors, len(again.threads)) == (OFTEN, [], 2)
        assert fw.stats.ops == OFTEN
        assert not fw.stats.driver_bugs


def test_no_deeper_than_said() -> None:
    """So many are done within each other; the next one waits for the interrupt."""
    with stepped(Toy()) as fw:
        again = Again(fw)
        sid = newsession(fw)
        fw.dispatch(request(sid, again))
        assert again.called == DEEPEST
        step(fw)
        assert again.called == OFTEN
        fw.freesession(sid)
        assert nothing_left(fw)


def test_a_thread_that_came_up_again_goes_straight() -> None:
    """Depth is where a thread is, not how often it was there."""
    with stepped(Toy()) as fw:
        sid = newsession(fw)
        calls: list[Cryptop] = []
        for _ in range(3 * DEEPEST):
            fw.dispatch(request(sid, calls.append))
        assert len(calls) == 3 * DEEPEST


class Arithmetic(Toy):
    """Does key operations in the caller's thread."""

    keyops = (CRK_MOD,)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Answer at once."""
        krp.outputs[0].store(2)
        self.kdone(krp)
        return 0


def test_key_requests_likewise() -> None:
    """They have the same stack."""
    with threaded(Arithmetic()) as fw:
        again = Again(fw)
        fw.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], again.key, CRYPTO_F_CBIMM))
        assert again.over.wait(PATIENCE)
        assert (again.called, again.errors) == (OFTEN, [])
        assert not fw.stats.driver_bugs
