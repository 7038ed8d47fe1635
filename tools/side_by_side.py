#!/usr/bin/env python3
"""
Run tests in several processes, each of which takes the next module that nobody has taken.

    tools/side_by_side.py 2 -q -m 'not slow'    two processes; the rest is pytest's

pytest-xdist does more, and tells one process of each test's fate in another: that takes as much of
the processor as a small test. Here each process says itself what it has found: the first as it
goes, the others at their ends. The exit status is that of the first that has failed.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TAKEN = "OPENCRYPTO_TESTS_TAKEN"
"""Names the folder that has an empty file for each module that is taken."""


def _take(items: list[pytest.Item]) -> bool:
    """Take some tests; False if another process has. Who collects others takes others."""
    name = hashlib.sha256("\n".join(item.nodeid for item in items).encode()).hexdigest()
    try:
        (Path(os.environ[TAKEN]) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _taken(session: pytest.Session) -> Iterator[pytest.Item]:
    for _, of_module in itertools.groupby(session.items, lambda item: item.path):
        items = list(of_module)
        if _take(items):
            yield from items


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run what this process takes: pytest's own loop, over fewer tests."""
    if TAKEN not in os.environ or session.config.option.collectonly:
        return None
    if session.testsfailed:
        errors = session.testsfailed
        raise session.Interrupted(f"{errors} error{'s' * (errors != 1)} during collection")
    mine = _taken(session)
    item = next(mine, None)
    while item is not None:
        following = next(mine, None)  # until when its module's fixtures are kept
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def main(number: int, arguments: list[str]) -> int:
    """Run the processes, and return the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        taken = Path(scratch) / "taken"
        taken.mkdir()
        command = [sys.executable, "-m", "pytest", "-p", "tools.side_by_side", *arguments]
        options = ["-o", "console_output_style=classic"]  # how much is left nobody knows
        environment = os.environ | {TAKEN: str(taken)}
        outputs = [(Path(scratch) / str(n)).open("w+") for n in range(1, number)]
        processes = [
            subprocess.Popen([*command, *options], env=environment, stdout=output)
            for output in (None, *outputs)
        ]
        statuses = [process.wait() for process in processes]
        for output in outputs:
            output.seek(0)
            sys.stdout.write(output.read())
            output.close()
    return next(filter(None, statuses), 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
