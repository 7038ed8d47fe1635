"""What is counted is exact, between threads and for each driver."""

from __future__ import annotations

import errno
import threading

from opencrypto._measure.counters import SIZE_BITS, Counts, LocalCounts, LockedCount
from tests.toy import Log, Toy, newsession, request, stepped


def test_no_count_is_lost_between_threads() -> None:
    """Each thread counts for itself; the sum is exact, also after many threads have ended."""
    counts, count = Counts(), LockedCount()
    local = LocalCounts(counts)

    def work() -> None:
        for _ in range(200):
            local.counts.failed(1 << SIZE_BITS, errno.EIO, "")
            count.add()

    for _ in range(20):
        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts.total().errs == count.value == 20 * 10 * 200
    assert len(counts._counts) <= 80


def test_requests_and_bytes_are_counted_per_driver() -> None:
    """A driver's ops, bytes and errors, and the totals, also once it has left."""
    with stepped(Toy("one")) as fw:
        sid, log = newsession(fw), Log()
        for length in (0, 1, 1000):
            crp = request(sid, log, buf=bytearray(length))
            crp.ilen = length
            fw.dispatch(crp)
        fw.dispatch(request(0, log))
        one = fw.stats.drivers["one"]
        assert (one.ops, one.bytes, one.errs) == (3, 1001, 0)
        fw.freesession(sid)
        fw.detach("one")
        assert (fw.stats.ops, fw.stats.errs, dict(fw.stats.drivers)) == (4, 1, {})
