"""
What a program waits for before its first line, and an operator before his first answer.

Processor time of fresh processes in alternation, the interpreter's own start included: whoever
starts a program pays it all. Bytecode is cached first, as an installer does.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.measure import table

pytestmark = pytest.mark.bench

ROUNDS = 15
COMMAND = "import sys; from opencrypto.cli import main; sys.argv[1:] = {words}; main()"
CASES = {
    "the interpreter": "pass",
    "import ... ciphers.aead": "import cryptography.hazmat.primitives.ciphers.aead",
    "import opencrypto": "import opencrypto",
    "import typer": "import typer",
    "opencrypto --help": COMMAND.format(words=["--help"]),
    "opencrypto drivers": COMMAND.format(words=["drivers"]),
}


def cost(code: str, cache: Path) -> float:
    """Return the milliseconds of processor time that a process of its own takes to run `code`."""
    env = {name: os.environ[name] for name in os.environ if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"PYTHONPYCACHEPREFIX": str(cache)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def test_start(tmp_path: Path) -> None:
    for code in CASES.values():
        cost(code, tmp_path)
    rounds = [{name: cost(code, tmp_path) for name, code in CASES.items()} for _ in range(ROUNDS)]

    def times(name: str, base: str) -> str:
        return f"{statistics.median(each[name] / each[base] for each in rounds):.1f}"

    table(
        "Start",
        ("processor time", "ms", "times aead", "times typer"),
        [
            (
                name,
                f"{statistics.median(each[name] for each in rounds):.0f}",
                times(name, "import ... ciphers.aead"),
                times(name, "import typer"),
            )
            for name in CASES
        ],
    )
