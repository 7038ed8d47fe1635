"""Histograms of times: what is read off one is at most a few percent wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrypto._measure.histogram import (
    BOUNDS,
    BUCKETS,
    COARSE_BOUNDS,
    LEAST,
    STEPS,
    coarse,
    count_in,
    quantile,
)
from opencrypto._measure.timing import Phase

TIMES = st.integers(0, 1 << 40)
PARTS = (0.0, 0.5, 0.9, 0.99, 1.0)


def counted(samples: Sequence[int]) -> list[int]:
    """Return the histogram of some samples."""
    histogram = [0] * BUCKETS
    count_in(histogram, samples)
    return histogram


def at(samples: Sequence[int], part: float) -> int:
    """Return the least sample that a part of them does not exceed."""
    rank = max(1, -int(-part * len(samples) // 1))
    return sorted(samples)[min(rank, len(samples)) - 1]


def test_buckets_are_sixteen_an_octave() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))
    for low, high in zip(BOUNDS, BOUNDS[STEPS:], strict=False):
        assert high == 2 * low
    assert max((high - low) / low for low, high in pairwise(BOUNDS)) <= 1 / 16


@given(TIMES)
def test_a_time_is_in_the_bucket_whose_bounds_it_lies_between(time: int) -> None:
    (place,) = [place for place, count in enumerate(counted([time])) if count]
    assert place == 0 or BOUNDS[place - 1] <= time
    assert place == BUCKETS - 1 or time < BOUNDS[place]


@pytest.mark.parametrize("bound", [BOUNDS[0], BOUNDS[17], COARSE_BOUNDS[5], BOUNDS[-1]])
def test_a_bound_is_the_first_time_of_the_next_bucket(bound: int) -> None:
    place = BOUNDS.index(bound)
    assert counted([bound - 1])[place] == 1
    assert counted([bound])[place + 1] == 1


@given(st.lists(st.integers(LEAST, BOUNDS[-1] - 1), min_size=1), st.sampled_from(PARTS))
def test_a_quantile_is_at_most_a_few_percent_wrong(samples: list[int], part: float) -> None:
    true = at(samples, part)
    assert abs(quantile(counted(samples), part) - true) <= 0.032 * true


@pytest.mark.parametrize("part", PARTS)
def test_quantiles_of_a_run_lie_between_its_extremes(part: float) -> None:
    """Of 20 ms and a little, as a driver takes that sleeps; and of what lies in no bucket."""
    draw = random.Random(5)
    for samples in (
        [20_000_000 + draw.randrange(3_200_000) for _ in range(500)],
        [draw.randrange(LEAST) for _ in range(500)],
        [10**12 + draw.randrange(10**9) for _ in range(500)],
    ):
        phase = Phase()
        phase.count_in(samples)
        assert min(samples) <= phase.quantile(part) <= max(samples)
    assert quantile([0] * BUCKETS, part) == 0
    assert Phase().quantile(part) == 0


@given(st.lists(TIMES))
def test_few_buckets_count_what_many_do(samples: list[int]) -> None:
    few = coarse(counted(samples))
    assert len(few) == len(COARSE_BOUNDS) + 1
    below = 0
    for bound, count in zip(COARSE_BOUNDS, few, strict=False):
        below += count
        assert below == sum(sample < bound for sample in samples)
    assert sum(few) == len(samples)
