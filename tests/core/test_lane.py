"""A lane: whose turn it is, for either kind of request."""

from __future__ import annotations

import pytest

from opencrypto import CRYPTO_ASYMQ, CRYPTO_HINT_MORE, Cryptkop
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.lane import Lane
from opencrypto._core.plugins import Plugins
from opencrypto._core.slots import Slot

TURN = 3


class Bench:
    """A lane of key requests over two drivers, which notes what it hands over."""

    def __init__(self) -> None:
        self.kicks = 0
        self.given: list[tuple[int, int, int]] = []
        self.early: BaseException | None = None
        self.error: BaseException | None = None
        table = DriverTable()
        self.one, self.two = table.reserve(0), table.reserve(0)
        self.lane: Lane[Cryptkop] = Lane(
            CRYPTO_ASYMQ,
            TURN,
            lambda slot: slot.keys.queue,
            self.hand_over,
            self.kick,
            Plugins().observers(),
            lambda: None,
        )

    def kick(self) -> None:
        self.kicks += 1

    def hand_over(
        self, slot: Slot, krp: Cryptkop, hint: int, unblocks: int, due: list[Cryptkop]
    ) -> None:
        if self.early is not None:
            early, self.early = self.early, None
            raise early
        del due[:]
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.given.append((slot.hid, krp.op, hint))

    def queue(self, slot: Slot, *ops: int) -> None:
        """Have requests wait for a driver."""
        for op in ops:
            slot.keys.queue.items.append(Cryptkop(op))
            self.lane.see_to(slot)

    def refuse(self, slot: Slot, op: int, *, blocked: bool) -> None:
        """Have a driver not take a request; it has it again, and is blocked or is not."""
        slot.keys.queue.blocked = blocked
        slot.keys.queue.items.appendleft(Cryptkop(op))
        self.lane.refused(slot)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_drivers_take_turns(bench: Bench) -> None:
    """The second need not wait until the first has nothing left; in a driver order is kept."""
    bench.queue(bench.one, 0, 1, 2, 3)
    bench.queue(bench.two, 4)
    assert bench.kicks == 2
    while bench.lane.run_turn():
        pass
    assert [op for _, op, _ in bench.given] == [0, 1, 2, 4, 3]
    hints = [hint for _, _, hint in bench.given]
    assert hints == [CRYPTO_HINT_MORE, CRYPTO_HINT_MORE, 0, 0, 0], "none over the end of a turn"
    assert not bench.lane.pending()


def test_an_interruption_of_the_program_loses_no_turn(bench: Bench) -> None:
    """What comes out of a driver goes on upwards; the rest of its queue is still come to."""
    bench.queue(bench.one, 0, 1)
    bench.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.lane.run_turn()
    assert bench.lane.pending()
    assert bench.lane.run_turn()
    assert bench.given == [(bench.one.hid, 1, 0)]


def test_what_is_interrupted_between_the_queue_and_the_driver_is_queued_still(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been taken, and nobody had it."""

    class Interrupted:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            raise KeyboardInterrupt

    bench.queue(bench.one, 0, 1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(bench.one, "lock", Interrupted())
        bench.lane.run_turn()
    assert not bench.given
    assert bench.lane.run_turn()
    assert [op for _, op, _ in bench.given] == [0, 1]


def test_what_is_interrupted_before_the_driver_is_called_is_queued_still(bench: Bench) -> None:
    bench.queue(bench.one, 0, 1)
    bench.early = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.lane.run_turn()
    assert not bench.given
    assert bench.lane.run_turn()
    assert [op for _, op, _ in bench.given] == [0, 1]


def test_a_turn_whose_last_request_empties_the_queue_is_over(bench: Bench) -> None:
    """A driver may have what waits handed over from within: then nobody is left to come next."""
    bench.queue(bench.one, *range(TURN))

    def hand_over(slot: Slot, krp: Cryptkop, hint: int, unblocks: int, due: list[Cryptkop]) -> None:
        Bench.hand_over(bench, slot, krp, hint, unblocks, due)
        if len(bench.given) == TURN:
            assert bench.lane.run_turn()

    bench.lane._hand_over = hand_over
    assert bench.lane.run_turn()
    assert [op for _, op, _ in bench.given] == list(range(TURN))
    assert not bench.lane.pending()


def test_a_blocked_driver_is_come_to_when_it_unblocks(bench: Bench) -> None:
    bench.queue(bench.one, 0)
    assert bench.lane.run_turn()
    bench.refuse(bench.one, 0, blocked=True)
    assert not bench.lane.run_turn()
    bench.lane.unblock(bench.one)
    assert bench.kicks == 2
    assert bench.lane.run_turn()
    assert len(bench.given) == 2


def test_one_that_unblocked_while_it_refused_is_asked_again(bench: Bench) -> None:
    bench.lane.unblock(bench.one)
    bench.refuse(bench.one, 0, blocked=False)
    assert bench.kicks == 1
    assert bench.lane.run_turn()
    assert bench.given == [(bench.one.hid, 0, 0)]
