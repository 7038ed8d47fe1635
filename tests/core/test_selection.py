"""The order in which drivers are asked."""

import random

import pytest

from opencrypto._core.selection import Candidate, order
from opencrypto.driver import ACCELERATED, HARDWARE, SOFTWARE

HW = Candidate(3, "hw", HARDWARE, 9)
ACC = Candidate(2, "acc", ACCELERATED, 5)
SW = Candidate(1, "sw", SOFTWARE, 0)


@pytest.mark.parametrize(
    ("hard", "names"), [(1, ["hw"]), (0, ["hw", "acc", "sw"]), (-1, ["acc", "sw"])]
)
def test_classes_go_in_order_and_hard_cuts_them(hard: int, names: list[str]) -> None:
    """Hardware, accelerated, software, whatever else; `hard` leaves out a class with a reason."""
    asked, reasons = order([SW, ACC, HW], hard)
    assert [each.name for each in asked] == names
    assert set(reasons) == {"hw", "acc", "sw"} - set(names)
    assert all("was asked for" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Candidate(9, "a", SOFTWARE, 1), Candidate(0, "b", SOFTWARE, 2)),
        (Candidate(1, "a", SOFTWARE, 2), Candidate(2, "b", SOFTWARE, 2)),
        (Candidate(9, "a", HARDWARE, 99), Candidate(0, "b", ACCELERATED, 0)),
    ],
    ids=["sessions", "id", "class before sessions"],
)
def test_within_a_class(better: Candidate, worse: Candidate) -> None:
    """The one with fewest sessions, then the lowest id is asked first."""
    for pair in ([better, worse], [worse, better]):
        assert order(pair, 0)[0] == [better, worse]


def test_who_cannot_is_not_asked_and_says_why() -> None:
    """A candidate with a refusal is left out with that reason, before its class is looked at."""
    asked, reasons = order([Candidate(0, "x", SOFTWARE, 0, refusal="has no DES_CBC"), SW], 0)
    assert asked == [SW]
    assert reasons == {"x": "has no DES_CBC"}


def test_the_order_is_total() -> None:
    """Whatever order the drivers come in, they are asked in the same one."""
    rng = random.Random(1)
    many = [Candidate(n, f"d{n}", rng.randrange(3), rng.randrange(3)) for n in range(30)]
    first = order(many, 0)[0]
    for _ in range(20):
        rng.shuffle(many)
        assert order(many, 0)[0] == first
