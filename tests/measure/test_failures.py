"""Errors are counted by chain and errno, in rows that are bounded, with what was said last."""

from __future__ import annotations

import errno
import threading

import pytest

from opencrypto._measure.counters import MAX_CHAINS, SIZE_BITS, ChainNumbers, Counts, row_of
from opencrypto._measure.failures import OTHER, Failures, code_class, code_name, said


def test_each_errno_has_its_count_and_what_was_said_last() -> None:
    failures = Failures()
    for chain, code, text in (
        (1, errno.EBADMSG, "first"),
        (2, errno.EBADMSG, "second"),
        (1, errno.EINVAL, ""),
        (1, errno.EBADMSG, "third"),
    ):
        failures.count(chain, code, text)
    found = failures.by_code()
    assert [*found] == sorted([errno.EBADMSG, errno.EINVAL])
    assert found[errno.EBADMSG].counts == {1: 2, 2: 1}
    assert found[errno.EBADMSG].total == 3
    assert said(errno.EBADMSG, found[errno.EBADMSG]) == "third"
    assert "malformed" in said(errno.EINVAL, found[errno.EINVAL])
    assert failures.total == 4
    assert failures.kinds() == {1, 2}
    own = failures.of(2)
    assert (own.total, said(errno.EBADMSG, own.by_code()[errno.EBADMSG])) == (1, "second")


@pytest.mark.parametrize("code", [-5, 100_000, "EIO", True, None, 2.0])
def test_what_is_no_errno_has_a_row_of_its_own(code: object) -> None:
    """A driver may end a request with anything; there is one row for all of it."""
    failures = Failures()
    failures.count(1, code, "")
    assert [*failures.by_code()] == [OTHER]
    assert (code_name(OTHER), code_class(OTHER)) == ("other", "OperationError")
    assert said(OTHER, failures.by_code()[OTHER])


def test_a_sentence_without_end_is_cut() -> None:
    failures = Failures()
    failures.count(1, errno.EIO, "x" * 100_000)
    assert len(said(errno.EIO, failures.by_code()[errno.EIO])) == 300


def test_late_chains_share_a_row() -> None:
    """However many chains there are, so many have rows, and the same ones for ever."""
    numbers = ChainNumbers()
    kinds = [numbers.number([alg]) for alg in range(1, 1000)]
    rows = {row_of(kind) for kind in kinds}
    assert len(rows) == MAX_CHAINS
    assert OTHER in rows
    assert numbers.name(OTHER) == "other"
    assert numbers.name(0) == "none"


def test_no_failure_is_lost_between_threads() -> None:
    """The sum by chain and errno is exact, while it is read, and when the threads have ended."""
    counts = Counts()
    seen: list[int] = []

    def work() -> None:
        mine = counts.new()
        for number in range(2000):
            mine.failed((number % 3) << SIZE_BITS, (errno.EIO, errno.EINVAL)[number % 2], "it")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.append(sum(f.total for f in counts.total().failures.by_code().values()))
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)
    found = counts.total().failures.by_code()
    assert {code: failure.total for code, failure in found.items()} == {
        errno.EIO: 8000,
        errno.EINVAL: 8000,
    }
    assert counts.total().errs == 16000
