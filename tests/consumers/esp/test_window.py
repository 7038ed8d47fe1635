"""The window against a set, which is what it means; and the numbers nobody sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrypto_esp import Reason, ReplayWindow

SPAN = 1 << 32


class Model:
    """A window as RFC 4303 §3.4.3 describes it: everything received, and how far back one looks."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.received: set[int] = set()

    def receive(self, seq: int) -> Reason | None:
        top = max(self.received, default=0)
        if seq <= 0 or seq <= top - self.size:
            return Reason.TOO_OLD
        if seq in self.received:
            return Reason.REPLAYED
        self.received.add(seq)
        return None


@st.composite
def streams(draw: st.DrawFn) -> list[int]:
    """Draw numbers that mostly advance, with repeats, gaps and stragglers."""
    seq, seen = 0, []
    for step in draw(st.lists(st.integers(-80, 90), max_size=80)):
        seq = max(0, seq + step)
        seen.append(seq)
    return seen


@given(st.sampled_from([1, 2, 32, 64, 1024]), streams())
def test_it_is_the_set(size: int, seqs: list[int]) -> None:
    window, model = ReplayWindow(size), Model(size)
    for seq in seqs:
        before = window.check(seq)
        assert before == model.receive(seq)
        assert window.update(seq) == before, "update sees what check saw"


def test_checking_changes_nothing() -> None:
    window = ReplayWindow(64)
    assert window.check(5) is None
    assert window.check(5) is None
    assert window.top == 0


def test_the_edges() -> None:
    window = ReplayWindow(64)
    assert window.update(100) is None
    assert window.check(37) is None, "the last one inside"
    assert window.check(36) is Reason.TOO_OLD
    assert window.check(100) is Reason.REPLAYED
    assert window.update(0xFFFFFFFF) is None, "a jump of any length"
    assert window.check(100) is Reason.TOO_OLD


def test_size_0_checks_nothing() -> None:
    window = ReplayWindow(0)
    assert window.update(7) is None
    assert window.update(7) is None


@given(
    st.sampled_from([1, 32, 64, 4096]),
    st.integers(0, 3 * SPAN),
    st.integers(-4096, SPAN - 4097),
)
def test_long_numbers_are_inferred(size: int, top: int, ahead: int) -> None:
    """Whatever lies in the window or up to 2**32 - size above its top is found (Appendix A2)."""
    window = ReplayWindow(size, esn=True)
    window.update(top)
    seq = top + ahead
    if seq <= 0 or ahead <= -size or ahead > SPAN - size:
        return
    assert window.infer(seq & (SPAN - 1)) == seq


def test_a_long_number_before_the_first_is_none() -> None:
    window = ReplayWindow(64, esn=True)
    assert window.infer(SPAN - 1) == -1
    assert window.check(-1) is Reason.TOO_OLD


def test_a_long_number_after_the_last_is_none() -> None:
    window = ReplayWindow(64, esn=True)
    window.update((1 << 64) - 1)
    assert window.infer(5) == -1


@pytest.mark.parametrize("top", [SPAN - 1, SPAN, SPAN + 10, 2 * SPAN - 5])
def test_around_the_wrap(top: int) -> None:
    window = ReplayWindow(64, esn=True)
    window.update(top)
    for seq in range(top - 63, top + 64):
        assert window.infer(seq & (SPAN - 1)) == seq
