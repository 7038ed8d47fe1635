"""Being somebody else: children of another uid, and files that are another's."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NOBODY = 65534
SOMEBODY = 65533

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def run_as(uid: int, work: Callable[[], object]) -> str:
    """Do `work` in a child of another user; return what it returned, or raised, as text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            if uid != os.geteuid():
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            try:
                said = str(work())
            except OSError as error:
                said = f"{type(error).__name__}: {error}"
            except BaseException:
                said = traceback.format_exc()
            os.write(writing, said.encode()[:60000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as heard:
        said = heard.read()
    os.waitpid(pid, 0)
    return said


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Make a file, or a link, another user's as we see it.

    Root gives it away; anybody else takes himself for another, to whom all his files are strange.
    """
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)


@pytest.fixture
def common() -> Iterator[Path]:
    """Give a folder that all may write, without the sticky bit, and reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)
