"""
The contract with each clause in a process of its own: for drivers that may end the interpreter.

A segmentation fault in a driver's C library, an abort, or a call that never lets go of the
interpreter costs one trial: the child is gone, the report says which trial it was in and what
ended it, and another child goes on behind it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import PurePath
from typing import IO, Any

from opencrypto.exceptions import DriverUnavailable, UsageError
from opencrypto.testing.check import (
    PATIENCE,
    Begun,
    contract_of,
    run,
)
from opencrypto.testing.clauses import CLAUSES, Fate
from opencrypto.testing.report import Report, Tally, Tried
from opencrypto.testing.target import targets

DEATHS = 3
"""Children that may end in one clause before the rest of it is left out."""

STILL = 25
"""Patiences without a word from a child, after which it is killed."""

OTHERS = (sysconfig.get_path("stdlib") + os.sep, str(PurePath(__file__).parent) + os.sep)
"""Whose frames are not where a driver has gone wrong: the standard library's, and the kit's."""

FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')
"""A frame as `faulthandler` writes it."""


def check_isolated(
    text: str,
    *,
    clauses: Collection[str] = (),
    algorithms: Collection[int] = (),
    patience: float = PATIENCE,
    quick: bool = False,
    soak: float = 0.0,
) -> list[Report]:
    """
    Run the contract on the drivers that a text names, each clause in a child.

    Args:
        text: ``package`` or ``package:what_makes_it``, as `opencrypto.testing.target` has it. The
            children import it: it must be found there.
        clauses: Run only the tests of these; all if empty.
        algorithms: Try only these of a driver's, and no key operation; everything if empty.
        patience: Seconds to wait for anything, before it counts as never.
        quick: Try each clause with few of its trials.
        soak: Seconds that each long run goes on for.

    Raises:
        UsageError: a clause named does not exist, or the driver cannot be imported.
        DriverUnavailable: there is none on this host, or looking for one ends the interpreter.
    """
    unknown = sorted(set(clauses) - set(CLAUSES))
    if unknown:
        raise UsageError(f"no clauses {', '.join(unknown)}; there are {', '.join(CLAUSES)}")
    order = {"text": text, "patience": patience, "quick": quick, "soak": soak}
    order["algorithms"] = [int(alg) for alg in algorithms]
    still = STILL * patience + soak
    reports = []
    for number, name in enumerate(_names(order, still)):
        tally = Tally(name)
        for ident in CLAUSES:
            if not clauses or ident in clauses:
                _one_clause({**order, "number": number, "clause": ident}, tally, still)
        reports.append(tally.report())
    return reports


def _names(order: dict[str, Any], still: float) -> list[str]:
    """Ask a child what drivers there are."""
    looking = Child({**order, "clause": ""}, still)
    for word in looking.words():
        if "unavailable" in word:
            raise DriverUnavailable(word["unavailable"])
        if "wrong" in word:
            raise UsageError(word["wrong"])
        names: list[str] = word["names"]
    if not looking.ended_well:
        raise DriverUnavailable(f"while it was looked for {looking.death()}")
    return names


def _one_clause(order: dict[str, Any], tally: Tally, still: float) -> None:
    """Try a clause in a child, and in another one behind each trial that ends it."""
    ident, after = order["clause"], ""
    for _ in range(DEATHS):
        child = Child({**order, "after": after}, still)
        for word in child.words():
            if "left_out" in word:
                tally.leave_out(ident, word["left_out"])
            else:
                tally.add(Tried(**word))
        if child.ended_well:
            return
        after = child.last
        tally.add(Tried(ident, after or "start", Fate.BROKEN.value, child.death(), ident))
        if not after:
            return
    tally.add(Tried(ident, "the rest", Fate.UNTRIED.value, f"after {DEATHS} dead interpreters"))


class Child:
    """
    A process that tries one clause, and says on a pipe what it begins and what became of it.

    Attributes:
        last: The trial that it has begun last.
        ended_well: Whether it came to its end.
    """

    def __init__(self, order: dict[str, Any], still: float) -> None:
        self.last = ""
        self.ended_well = False
        self._order = order
        self._still = still
        self._killed = False
        self._status = 0
        self._stderr = ""

    def words(self) -> Iterator[dict[str, Any]]:
        """Run it, and give what it says, but for what it begins."""
        read, write = os.pipe()
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter, and what we say to it
                [sys.executable, "-c", f"from {__name__} import child; child()", str(write)],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                pass_fds=(write,),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                text=True,
            )
            os.close(write)
            try:
                _tell(process.stdin, self._order)
                with os.fdopen(read) as pipe:
                    yield from self._heard(pipe, process)
            finally:
                if process.poll() is None:
                    _end(process)
                self._status = process.returncode
                errors.seek(0)
                self._stderr = errors.read()

    def _heard(self, pipe: IO[str], process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
        for line in _lines(pipe, self._still):
            if line is None:  # it is silent for too long
                self._killed = True
                process.kill()
                process.wait()
                return
            word = json.loads(line)
            if "begun" in word:
                self.last = word["begun"]
            elif "end" in word:
                self.ended_well = True
            else:
                yield word

    def death(self) -> str:
        """Say what has ended it, and where it stood."""
        if self._killed:
            how = f"it said nothing for {self._still:.0f} s and was killed: it does not let go of"
            return f"{how} the interpreter"
        if self._status < 0:
            how = f"it killed the interpreter: {signal.Signals(-self._status).name}"
        else:
            how = f"it ended the interpreter, with exit status {self._status}"
        frames = FRAME.finditer(self._stderr)
        own = [each for each in frames if not each["file"].startswith(OTHERS)]
        if own and self._status < 0:
            file, line, function = own[0].group("file", "line", "function")
            how += f", in {function} ({PurePath(file).name}:{line})"
        return how


def _tell(pipe: IO[str] | None, order: dict[str, Any]) -> None:
    assert pipe is not None
    with pipe:
        pipe.write(json.dumps(order))


def _lines(pipe: IO[str], still: float) -> Iterator[str | None]:
    """Give the lines of a pipe until its end; None if none comes for so many seconds."""
    pending = b""
    descriptor = pipe.fileno()
    while True:
        if not select.select([descriptor], [], [], still)[0]:
            yield None
            return
        piece = os.read(descriptor, 65536)
        if not piece:
            return
        *lines, pending = (pending + piece).split(b"\n")
        yield from (line.decode() for line in lines)


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for a child that has said all; one whose threads hang is ended."""
    try:
        process.wait(2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def child() -> None:
    """Be the child: read from standard input what to try, and say on the pipe what came of it."""
    faulthandler.enable()
    with os.fdopen(int(sys.argv[1]), "w", buffering=1) as pipe:
        order = json.loads(sys.stdin.read())
        _try_all(order, lambda word: print(json.dumps(word), file=pipe, flush=True))
    os._exit(0)  # whatever hangs, or has been left behind


def _try_all(order: dict[str, Any], say: Callable[[dict[str, Any]], object]) -> None:
    ident = order["clause"]
    say({"begun": ""})
    try:
        found = targets(order["text"])
    except (DriverUnavailable, UsageError) as error:
        _say_why_not(error, ident, say)
        say({"end": True})
        return
    if not ident:
        say({"names": [each.name for each in found]})
        say({"end": True})
        return
    target = found[order["number"]]
    contract = contract_of(
        target.driver_class,
        target.make,
        patience=order["patience"],
        quick=order["quick"],
        soak=order["soak"],
        algorithms=order["algorithms"],
    )

    def leave_out(clause: str, count: int) -> None:
        if not order["after"]:  # else the child before this one has said so
            say({"left_out": count})

    for one in run(contract, [ident], leave_out, order["after"]):
        say({"begun": one.where} if isinstance(one, Begun) else asdict(one))
    say({"end": True})


def _say_why_not(error: Exception, ident: str, say: Callable[[dict[str, Any]], object]) -> None:
    """Say why there is no driver: to who looks for one, or of a clause, where there was one."""
    reason = error.reason if isinstance(error, DriverUnavailable) else str(error)
    if ident:
        say(asdict(Tried(ident, "", Fate.ABSENT.value, f"not tried: {reason}")))
    else:
        say({"unavailable" if isinstance(error, DriverUnavailable) else "wrong": reason})
