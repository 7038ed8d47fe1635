"""Frameworks that their program has dropped without a close."""

from __future__ import annotations

import gc
import threading
import time
import warnings
import weakref
from pathlib import Path

from opencrypto import CRYPTO_F_BATCH, Framework
from tests.toy import Log, Toy, newsession, request

MANY = 200


def alive(refs: list[weakref.ref[Framework]]) -> int:
    """Count the frameworks that are still there."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        gc.collect()
        if not (left := sum(ref() is not None for ref in refs)):
            return 0
        time.sleep(0.01)
    return left


def drop(count: int, **options: object) -> list[weakref.ref[Framework]]:
    """Use frameworks, threads and all, and drop them."""
    refs = []
    for _ in range(count):
        fw = Framework(plugins=[Toy()], **options)  # type: ignore[arg-type]  # any of the options
        log = Log()
        fw.dispatch(request(newsession(fw), log, flags=CRYPTO_F_BATCH))
        assert log.event.wait(10)
        refs.append(weakref.ref(fw))
    return refs


def test_many_that_are_dropped_warn_and_end() -> None:
    """None is alive, no thread of theirs is, and each has said so."""
    before = threading.active_count()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        refs = drop(MANY)
        assert alive(refs) == 0
    assert sum(each.category is ResourceWarning for each in said) == MANY
    assert "close()" in str(said[0].message)
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_the_drivers_of_one_that_is_dropped_are_closed_and_its_keys_wiped() -> None:
    fw = Framework(plugins=False)
    toy = Toy()
    fw.attach(toy)
    sid = newsession(fw)
    chain = fw._sessions.table[sid].chain
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del fw
        end = time.monotonic() + 10
        while not toy.closed and time.monotonic() < end:
            gc.collect()
            time.sleep(0.01)
    assert [str(each.message)[:24] for each in said] == ["unclosed <Framework toy>"]
    assert toy.closed == 1
    end = time.monotonic() + 10
    while any(chain.inis[0].key or b"x") and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(chain.inis[0].key or b"x")
    assert not toy.keys


def test_the_control_socket_keeps_none_alive(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        refs = drop(1, control=tmp_path / "socket")
        assert alive(refs) == 0
    assert [each.category for each in said] == [ResourceWarning]
    end = time.monotonic() + 10
    while (tmp_path / "socket").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not (tmp_path / "socket").exists()


def test_one_that_is_closed_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fw = Framework(plugins=[Toy()])
        fw.close()
        ref = weakref.ref(fw)
        del fw
        assert alive([ref]) == 0
