"""Errors, the tree of names, counters, the log, and the prefixed names."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
import threading
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_NULL_CBC,
    AuthenticationError,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    DriverGone,
    SessionMigrated,
    UsageError,
)
from opencrypto import exceptions as errors
from opencrypto._measure.counters import Counts, LocalCounts, LockedCount
from opencrypto.exceptions import ERRNO_CLASSES
from tests.toy import Log, Toy, newsession, request, stepped

CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, CryptoError)
]


def test_every_errno_has_a_class_a_sentence_and_the_way_back() -> None:
    """The table is total: each errno makes its class, with that errno and a sentence of its own."""
    sentences = {code: errors.sentence(code) for code in ERRNO_CLASSES}
    assert len(set(sentences.values())) == len(ERRNO_CLASSES)
    assert set(errors._SENTENCES) == set(ERRNO_CLASSES)
    for code, cls in ERRNO_CLASSES.items():
        error = errors.error_from_errno(code)
        assert type(error) is cls
        assert (error.errno, error.strerror) == (code, sentences[code])
        assert errno.errorcode[code] in str(error)


def test_a_class_with_an_errno_of_its_own_is_what_that_errno_makes() -> None:
    """A class's own errno leads back to it, or to the class that says more or is its base."""
    for cls in CLASSES:
        made = ERRNO_CLASSES[cls.code]
        same_errno = made.code == cls.code
        assert same_errno
        if cls in ERRNO_CLASSES.values():
            assert issubclass(made, cls) or issubclass(cls, made)


def test_an_unknown_errno_is_an_operation_error() -> None:
    """What no class stands for is an OperationError that keeps its errno."""
    error = errors.error_from_errno(errno.EPIPE)
    assert type(error) is errors.OperationError
    assert error.errno == errno.EPIPE


def test_errors_are_oserrors_and_survive_pickling() -> None:
    """`except OSError` takes them all; class, errno, sentence and extras come back."""
    for cls in CLASSES:
        error = cls("a sentence")
        assert isinstance(error, OSError)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(again), again.errno, again.strerror) == (cls, cls.code, "a sentence")
    moved = pickle.loads(pickle.dumps(SessionMigrated("moved", 7)))  # noqa: S301 - our own
    assert moved.new_sid == 7


def test_check_raises_what_etype_says() -> None:
    """etype 0 raises nothing; EAGAIN carries the new SID; the sentence is the request's."""
    crp = Cryptop(sid=9)
    crp.check()
    crp.fail(errno.EAGAIN)
    with pytest.raises(SessionMigrated) as moved:
        crp.check()
    assert moved.value.new_sid == 9
    crp.fail(errno.EBADMSG, "discard it")
    with pytest.raises(AuthenticationError, match="discard it"):
        crp.check()
    crp.fail(errno.ENODEV)
    with pytest.raises(DriverGone):
        crp.check()


def test_names_are_read_written_and_checked() -> None:
    """Written values are read back; a wrong type, range, name or direction is refused."""
    with stepped() as fw:
        tree = fw.sysctl
        name = "kern.cryptodevallowsoft"
        for value in (-1, 0, 1):
            tree[name] = value
            assert tree[name] == value
        refused: list[tuple[str, Any, int, str]] = [
            (name, 2, errno.EINVAL, "takes -1 to 1, not 2"),
            (name, "1", errno.EINVAL, "takes an integer, not str"),
            (name, True, errno.EINVAL, "takes an integer, not bool"),
            ("opencrypto.crypto_ret_q.len", 1, errno.EPERM, "is read-only"),
            ("kern.cryptodevalowsoft", 1, errno.ENOENT, f"did you mean {name}"),
        ]
        for wrong, bad, code, sentence in refused:
            with pytest.raises(UsageError, match=sentence) as refusal:
                tree[wrong] = bad
            assert refusal.value.errno == code
        assert tree[name] == 1
        with pytest.raises(KeyError):
            tree["no.such.name"]
        with pytest.raises(UsageError, match="cannot be deleted"):
            del tree[name]
        for each in ("kern.usercrypto", "kern.userasymcrypto", name):
            assert each in tree
        for queue in ("crypto_ret_q", "crypto_ret_kq"):
            for leaf in ("len", "maxlen", "drops"):
                assert f"opencrypto.{queue}.{leaf}" in tree


def test_no_count_is_lost_between_threads() -> None:
    """Each thread counts for itself; the sum is exact, also after many threads have ended."""
    counts, count = Counts(), LockedCount()
    local = LocalCounts(counts)

    def work() -> None:
        for _ in range(200):
            local.counts.errs += 1
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


SILENT = """
from opencrypto import *
from tests.toy import *
import errno
def fails(crp): raise RuntimeError
with threaded(Toy("one"), Toy("two")) as fw:
    sid = newsession(fw, driver="one")
    fw.dispatch(request(sid, fails))
    fw.detach("one")
    fw.dispatch(request(sid, Log()))
    try:
        fw.attach(Toy("two words"))
    except UsageError:
        pass
"""


def test_nothing_is_printed_unless_somebody_asks() -> None:
    """A program that configures no logging sees nothing of ours, errors included."""
    done = subprocess.run(
        [sys.executable, "-c", SILENT], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_prefixed_names_are_the_same_fields() -> None:
    """crp_, crd_ and cri_ names read and write what the plain names do, chains included."""
    crp, crds = Cryptop(), [Cryptodesc(), Cryptodesc()]
    pairs = {"sid": 1, "ilen": 2, "olen": 3, "etype": 4, "flags": 5, "buf": b"b", "opaque": "o"}
    for name, value in pairs.items():
        setattr(crp, f"crp_{name}", value)
        assert getattr(crp, name) == value
        assert getattr(crp, f"crp_{name}") == value
    for name in ("skip", "len", "inject", "flags", "alg", "klen", "rnd", "key", "iv"):
        setattr(crds[0], f"crd_{name}", 7)
        assert getattr(crds[0], name) == getattr(crds[0], f"crd_{name}") == 7
    crp.desc = crds
    assert crp.crp_desc is crds[0]
    assert crp.crp_desc.crd_next is crds[1]
    assert crds[1].crd_next is None
    first, second = Cryptoini(CRYPTO_NULL_CBC, b"k"), Cryptoini(CRYPTO_NULL_CBC, b"l")
    first.cri_next = second
    with stepped(Toy()) as fw:
        sid = fw.newsession(first)
        assert len(fw._sessions.table[sid].chain.inis) == 2
