"""What the storms of this folder stand on: see `tests.core.storms`."""

from __future__ import annotations

import faulthandler
import logging
import threading
from collections.abc import Iterator

import pytest

from tests.core.storms import HANGS, SECONDS


@pytest.fixture
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log nothing: interrupted before its ``try``, Python's own `Handler.handle` keeps its lock."""
    monkeypatch.setattr(logging.getLogger("opencrypto"), "disabled", True)


@pytest.fixture
def no_hanging() -> Iterator[None]:
    faulthandler.dump_traceback_later(SECONDS + HANGS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    # CPython lists for ever a thread whose start was interrupted before it ran.
    for thread in threading.enumerate():
        if not thread.is_alive():
            threading._limbo.pop(thread, None)  # type: ignore[attr-defined]
