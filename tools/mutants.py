#!/usr/bin/env python3
"""
Plant single faults in the rooms of the core, and print those that no fast test notices.

A mutant is the code with one thing changed: a comparison, an "and", a condition, a number, a sign,
a returned value, or a statement left out. A seeded sample of all that can be made is tried, each in
a copy of the tree, so that the checkout stays as it is. Not touched are what is logged, assertions,
types, sentences, and the limits at the head of a room, where another number is no fault.

Exits with 1 if less than `GOAL` of the sample is noticed.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
GOAL: Final = 0.9
CORE: Final = (
    "requests lane sessions opening moving selection queues returns"
    " lineage slots driver_table departed"
)
ROOMS: Final = ("opencrypto/_state.py", *(f"opencrypto/_core/{name}.py" for name in CORE.split()))
COPIED: Final = ("opencrypto", "drivers", "consumers", "tests", "tools", "pyproject.toml")
TESTS: Final = (  # those that are quick to notice come first
    "tests/core/test_queues.py",
    "tests/core/test_selection.py",
    "tests/test_state.py",
    "tests/core/test_accounting.py",
    "tests/core/test_requests.py",
    "tests/core/test_sessions.py",
    "tests/core",
)
IGNORED: Final = "tests/core/keys/test_machine.py"  # takes as long as all the others
FAST: Final = "not slow and not bench and not kernel"

COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change: in a room, the bytes from `start` to `end` become `new`."""

    room: str
    line: int
    start: int
    end: int
    new: str

    def text(self, source: bytes) -> bytes:
        """Return the source with the change made."""
        return source[: self.start] + self.new.encode() + source[self.end :]

    def sentence(self, source: bytes) -> str:
        """Say where it is and what was changed into what."""
        old = " ".join(source[self.start : self.end].decode().split())
        return f"{self.room}:{self.line}: {old}  =>  {self.new}"


def mutants(room: str, source: bytes) -> list[Mutant]:
    """Return every mutant that can be made of a room."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, new in _changes(ast.parse(source)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        found.append(Mutant(room, node.lineno, start, end, new))
    return found


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Yield each expression or statement under a node that can be changed, and into what."""
    for child in ast.iter_child_nodes(node):
        if _left_alone(child):
            continue
        if isinstance(child, ast.expr):
            yield from ((child, f"({new})") for new in _of_expression(child))
        elif isinstance(child, ast.stmt):
            yield from _of_statement(child)
        yield from _changes(child)


def _left_alone(node: ast.AST) -> bool:
    """Tell whether nothing in a node is changed: types, limits, assertions, what is logged."""
    if isinstance(node, ast.Expr):
        call = re.match(r"log\.|self\._blocked\.warning", ast.unparse(node.value))
        return bool(call) or isinstance(node.value, ast.Constant)
    limit = isinstance(node, ast.AnnAssign) and "Final" in ast.unparse(node.annotation)
    alias = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    typed = alias and isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
    return limit or typed or isinstance(node, ast.Assert | ast.arguments | ast.JoinedStr)


def _of_expression(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare(left, [op], [right]) if type(op) in COMPARISONS:
            yield ast.unparse(ast.Compare(left, [COMPARISONS[type(op)]()], [right]))
        case ast.BoolOp(op, values):
            yield ast.unparse(
                ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            )
        case ast.UnaryOp(ast.Not(), operand):
            yield ast.unparse(operand)
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            yield ast.unparse(ast.BinOp(left, OPERATORS[type(op)](), right))
        case ast.Constant(bool(value)):
            yield str(not value)
        case ast.Constant(int(value)):
            yield str(value + 1)
        case ast.IfExp(test, body, other):
            yield ast.unparse(ast.IfExp(test, other, body))


def _of_statement(node: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    match node:
        case ast.If(test) | ast.While(test) if not isinstance(test, ast.UnaryOp | ast.Constant):
            yield test, f"not ({ast.unparse(test)})"
        case ast.AugAssign(target, op, value) if type(op) in OPERATORS:
            other = OPERATORS[type(op)]()
            yield node, ast.unparse(ast.AugAssign(target, other, value))
            yield node, "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()]) | ast.Delete() | ast.Expr():
            yield node, "pass"
        case ast.Return(ast.Constant(None)):
            pass
        case ast.Return(ast.expr()):
            yield node, "return None"
        case ast.Raise():
            yield node, "pass"
        case ast.Continue():
            yield node, "break"


class Laboratory:
    """
    Copies of the tree, one for each job, in which mutants are tried.

    Args:
        folder: Where the copies are made.
        jobs: How many.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        self.patience = 600.0
        for job in range(jobs):
            copy = folder / str(job)
            copy.mkdir()
            for name in COPIED:
                _copy(ROOT / name, copy / name)
            self._free.put(copy)

    def unharmed(self) -> bool:
        """Tell whether the tests pass as the code is; what they take is the measure of a hang."""
        began = time.monotonic()
        copy = self._free.get()
        passed = _passes(copy, self.patience)
        self._free.put(copy)
        self.patience = 30 + 4 * (time.monotonic() - began)
        return passed

    def survives(self, mutant: Mutant) -> bool:
        """Tell whether no test notices a mutant."""
        copy = self._free.get()
        room = copy / mutant.room
        source = room.read_bytes()
        try:
            room.write_bytes(mutant.text(source))
            return _passes(copy, self.patience)
        finally:
            room.write_bytes(source)
            self._free.put(copy)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _passes(copy: Path, patience: float) -> bool:
    """Run the tests in a copy; one that hangs does not pass."""
    paths = os.pathsep.join(str(copy / part) for part in (".", "drivers", "consumers"))
    # Written within a second of another of the same size, a room could be taken for its old self.
    env = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    call = [
        *(sys.executable, "-m", "pytest", "-x", "-q", "-m", FAST, "-p", "no:cacheprovider"),
        *(
            "--ignore",
            IGNORED,
            "--hypothesis-seed=0",
            "-o",
            "timeout=60",
            "-o",
            "faulthandler_timeout=0",
        ),
        *(test for test in TESTS if (copy / test).exists()),
    ]
    process = subprocess.Popen(
        call, cwd=copy, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(patience) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what a run of the tests has left: it and the processes that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all have ended by themselves
    process.wait()


def options() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--sample", type=int, default=200, help="how many are tried; 200")
    parser.add_argument("--seed", type=int, default=1, help="which ones; 1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--only", default="", help="a pattern that what is printed of it matches")
    return parser.parse_args()


def main() -> int:
    """Try a sample, print what survives, and return the exit status."""
    asked = options()
    sources = {room: (ROOT / room).read_bytes() for room in ROOMS}
    everything = [mutant for room, source in sources.items() for mutant in mutants(room, source)]
    wanted = [m for m in everything if re.search(asked.only, m.sentence(sources[m.room]))]
    sample = random.Random(asked.seed).sample(wanted, min(asked.sample, len(wanted)))
    print(f"{len(sample)} of {len(wanted)} mutants of {len(sources)} rooms", flush=True)
    said, tried = threading.Lock(), itertools.count(1)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        laboratory = Laboratory(Path(folder), asked.jobs)
        if not laboratory.unharmed():
            print("the tests fail as the code is; mend that first")
            return 2

        def survives(mutant: Mutant) -> bool:
            survived = laboratory.survives(mutant)
            with said:
                number = next(tried)
                if survived:
                    print(f"{number}: {mutant.sentence(sources[mutant.room])}", flush=True)
            return survived

        with ThreadPoolExecutor(asked.jobs) as pool:
            survivors = sum(pool.map(survives, sample))
    noticed = 1 - survivors / max(1, len(sample))
    print(f"{noticed:.1%} noticed, {survivors} survive")
    return int(noticed < GOAL)


if __name__ == "__main__":
    sys.exit(main())
