"""The request queue of one driver, and the return queue."""

from opencrypto import Cryptop
from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import ReturnQueue
from opencrypto._state import RequestState
from opencrypto.constants import CRYPTO_HINT_MORE

MORE = CRYPTO_HINT_MORE


class Item(str):
    """Something that waits: it has the state of a request."""

    state = int(RequestState.QUEUED)


def queue_of(*items: str) -> RequestQueue[Item]:
    queue: RequestQueue[Item] = RequestQueue()
    for item in items:
        queue.items.append(Item(item))
    return queue


def rings(queue: RequestQueue[Item]) -> bool:
    """Tell whether the interrupt is told of a queue now."""
    told: list[str] = []
    rung = queue.schedule(told.append, "its driver")
    assert told == ["its driver"] * rung
    return rung


def test_more_is_hinted_exactly_when_another_follows_at_once() -> None:
    """Each request but the last has the hint, in the order of queueing."""
    queue = queue_of("a", "b", "c")
    assert [queue.take() for _ in range(4)] == [("a", MORE), ("b", MORE), ("c", 0), None]


def test_the_last_of_a_turn_has_no_hint() -> None:
    """If the caller goes to another driver next, nothing follows at once."""
    assert queue_of("a", "b").take(0) == ("a", 0)


def test_the_interrupt_is_told_once() -> None:
    """Only the request that finds the queue unscheduled rings; an empty look ends that."""
    queue = queue_of("a")
    assert rings(queue)
    queue.items.append(Item("b"))
    assert not rings(queue)
    assert queue.take() == ("a", MORE)
    queue.items.append(Item("c"))
    assert not rings(queue)
    while queue.take():
        assert not rings(queue)
    assert not rings(queue), "there is nothing to be told of"
    queue.items.append(Item("d"))
    assert rings(queue)


def test_what_waits_is_queued_and_what_is_taken_is_submitted() -> None:
    """In the same step, so that nobody sees one without the other."""
    queue = queue_of("a")
    item = queue.items[0]
    assert queue.take() == ("a", 0)
    assert item.state == RequestState.SUBMITTED
    queue.put_back(item)
    assert item.state == RequestState.QUEUED


def test_nothing_is_taken_for_a_blocked_driver() -> None:
    """Nor is the interrupt told of what comes, before the driver unblocks."""
    queue = queue_of("a", "b")
    assert rings(queue)
    queue.blocked = True
    assert queue.take() is None
    queue.items.append(Item("c"))
    assert not rings(queue)
    queue.unblock()
    assert rings(queue)
    assert [queue.take() for _ in range(3)] == [("a", MORE), ("b", MORE), ("c", 0)]


def test_what_did_not_reach_its_driver_is_the_next() -> None:
    queue = queue_of("a", "b")
    taken = queue.take()
    assert taken is not None
    queue.put_back(taken[0])
    assert [queue.take() for _ in range(2)] == [("a", MORE), ("b", 0)]


def test_unblocking_what_is_not_blocked_or_empty_does_nothing() -> None:
    """The interrupt is not told of a queue without requests, nor twice of the same."""
    empty = queue_of()
    empty.unblock()
    assert not rings(empty)
    queue = queue_of("a")
    assert rings(queue)
    queue.unblock()
    assert not rings(queue)
    assert queue.take() == ("a", 0)


def test_the_return_queue_is_first_in_first_out_and_kicks() -> None:
    """Completed requests are called back in the order of completion, each put rings."""
    kicks: list[None] = []
    queue: ReturnQueue[Cryptop] = ReturnQueue(lambda: kicks.append(None))
    for opaque in "abc":
        queue.put(Cryptop(opaque=opaque))
    back: list[Cryptop] = []
    assert queue.run(back.append) == 3
    assert [crp.opaque for crp in back] == ["a", "b", "c"]
    assert len(kicks) == 3
    assert queue.run(back.append) == 0


def test_what_a_callback_completes_waits_a_turn() -> None:
    """A callback that completes more does not keep one run going for ever."""
    queue: ReturnQueue[Cryptop] = ReturnQueue(lambda: None)
    queue.put(Cryptop())
    assert queue.run(lambda crp: queue.put(Cryptop())) == 1
    assert len(queue) == 1


def test_a_run_within_a_run_takes_the_rest_and_each_counts_its_own() -> None:
    """A callback may have the queue run; the outer run then finds nothing more, and says so."""
    queue: ReturnQueue[Cryptop] = ReturnQueue(lambda: None)
    for opaque in "abc":
        queue.put(Cryptop(opaque=opaque))
    back: list[Cryptop] = []
    inner: list[int] = []

    def callback(crp: Cryptop) -> None:
        back.append(crp)
        if not inner:
            inner.append(0)
            inner[0] = queue.run(callback)

    assert (queue.run(callback), inner) == (1, [2])
    assert [crp.opaque for crp in back] == ["a", "b", "c"]


def test_the_limit_is_exceeded_strictly_and_none_if_not_positive() -> None:
    """`over` is true above maxlen, not at it; 0 and less mean no limit."""
    queue: ReturnQueue[Cryptop] = ReturnQueue(lambda: None)
    for _ in range(3):
        queue.put(Cryptop())
    answers = []
    for queue.maxlen in (2, 3, 0, -1):
        answers.append(queue.over())
    assert answers == [True, False, False, False]
