"""What was broken off, or could not wait, is finished by the request interrupt: once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opencrypto._core.errands import Errands
from opencrypto._threads import ThreadInterrupt


class Interrupted:
    """Something to do whose first tries are broken off by a signal handler."""

    def __init__(self, tries: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.left = tries
        self.error = error
        self.done = 0

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error
        self.done += 1


def test_an_errand_that_is_broken_off_is_begun_again() -> None:
    errands = Errands(lambda: None)
    first, second = Interrupted(2), Interrupted(0)
    errands.add((first, ()))
    errands.add((second, ()))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            errands.run()
        assert errands.pending()
    errands.run()
    assert (first.done, second.done) == (1, 1)
    assert not errands.pending()


def test_an_errand_that_fails_is_not_begun_again() -> None:
    errands = Errands(lambda: None)
    first, second = Interrupted(1, ValueError), Interrupted(0)
    errands.add((first, ()))
    errands.add((second, ()))
    errands.run()
    assert (first.done, second.done) == (0, 1)
    assert not errands.pending()


class Lock:
    """A re-entrant lock at whose ``acquire`` a signal handler raises, after it has been had."""

    def __init__(self, lock: object, errors: list[BaseException]) -> None:
        self._lock = lock
        self._errors = errors

    def __getattr__(self, name: str) -> object:
        return getattr(self._lock, name)

    def acquire(self, *args: object, **kwargs: object) -> bool:
        acquire: Callable[..., bool] = getattr(self._lock, "acquire")  # noqa: B009 - not this one
        had = acquire(*args, **kwargs)
        if self._errors:
            raise self._errors.pop()
        return had


def test_work_that_is_broken_off_at_its_lock_leaves_it_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the thread, which may be starting just then, would wait for it for ever."""
    work = [1]
    interrupt = ThreadInterrupt("opencrypto-test", work.clear, lambda: bool(work))
    lock = Lock(interrupt._at_work, [KeyboardInterrupt(), KeyboardInterrupt()])
    monkeypatch.setattr(interrupt, "_at_work", lock)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupt.stop()  # there is no thread, so the work is done here
    interrupt.stop()
    assert not work
    assert not interrupt._at_work._is_owned()  # type: ignore[attr-defined]
