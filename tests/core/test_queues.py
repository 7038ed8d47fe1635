"""The request queue of one driver, and the return queue."""

from opencrypto import Cryptop
from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import ReturnQueue
from opencrypto.constants import CRYPTO_HINT_MORE

MORE = CRYPTO_HINT_MORE


def queue_of(*items: str) -> RequestQueue[str]:
    queue: RequestQueue[str] = RequestQueue()
    for item in items:
        queue.append(item)
    return queue


def test_more_is_hinted_exactly_when_another_follows_at_once() -> None:
    """Each request but the last has the hint, in the order of queueing."""
    queue = queue_of("a", "b", "c")
    assert [queue.next_runnable() for _ in range(4)] == [("a", MORE), ("b", MORE), ("c", 0), None]


def test_the_last_of_a_turn_has_no_hint() -> None:
    """If the caller goes to another driver next, nothing follows at once."""
    assert queue_of("a", "b").next_runnable(last=True) == ("a", 0)


def test_the_interrupt_is_told_once() -> None:
    """Only the request that finds the queue unscheduled rings; an empty look ends that."""
    queue: RequestQueue[str] = RequestQueue()
    assert [queue.append("a"), queue.append("b")] == [True, False]
    assert queue.next_runnable() == ("a", MORE)
    assert not queue.append("c")
    while queue.next_runnable():
        pass
    assert queue.append("d")


def test_a_restarted_request_is_the_next() -> None:
    """What the driver refused is at the head again, and nothing runs until it unblocks."""
    queue = queue_of("a", "b")
    assert queue.next_runnable() == ("a", MORE)
    assert not queue.restart("a", queue.unblocks)
    assert queue.blocked
    assert queue.next_runnable() is None
    assert not queue.append("c")
    assert queue.unblock()
    assert [queue.next_runnable() for _ in range(3)] == [("a", MORE), ("b", MORE), ("c", 0)]


def test_an_unblock_during_the_refusal_is_not_lost() -> None:
    """If the driver unblocked after it was asked, it is asked again rather than left asleep."""
    queue: RequestQueue[str] = RequestQueue()
    asked = queue.unblocks
    assert not queue.unblock()
    assert queue.restart("a", asked)
    assert not queue.blocked
    assert queue.next_runnable() == ("a", 0)


def test_an_unblock_of_before_the_question_is_no_answer_to_it() -> None:
    """An unblock that came before the driver was asked does not keep it from being blocked."""
    queue: RequestQueue[str] = RequestQueue()
    queue.unblock()
    assert not queue.restart("a", queue.unblocks)
    assert queue.blocked


def test_unblocking_what_is_not_blocked_or_empty_does_nothing() -> None:
    """The interrupt is not told of a queue without requests, nor twice of the same."""
    assert not RequestQueue[str]().unblock()
    queue = queue_of("a")
    assert not queue.unblock()
    assert queue.next_runnable() == ("a", 0)


def test_draining_takes_all_in_order() -> None:
    """When the driver leaves, everything comes out in order, blocked or not."""
    queue = queue_of("a", "b")
    queue.restart("z", queue.unblocks)
    assert queue.drain() == ["z", "a", "b"]
    assert len(queue) == 0


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


def test_the_limit_is_exceeded_strictly_and_none_if_not_positive() -> None:
    """`over` is true above maxlen, not at it; 0 and less mean no limit."""
    queue: ReturnQueue[Cryptop] = ReturnQueue(lambda: None)
    for _ in range(3):
        queue.put(Cryptop())
    answers = []
    for queue.maxlen in (2, 3, 0, -1):
        answers.append(queue.over())
    assert answers == [True, False, False, False]
