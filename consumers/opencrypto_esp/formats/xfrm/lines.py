"""
The lines of iproute2's ``ip xfrm``: what it prints, and what it is called with in scripts.

Both have the same words, so that one reader takes both: a listing spreads an SA over several lines,
of which each later one is about the SA before it, and a command has all on one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final, NamedTuple

from opencrypto import UsageError
from opencrypto_esp.formats.words import Words

STATE: Final = "state"
POLICY: Final = "policy"

_COMMAND: Final = re.compile(r"(\S+\s+)*(xfrm|x)\s+(state|sa|s|policy|p)\b")
_LISTED: Final = re.compile(r"src\s+[0-9a-f:.]+(/\d+)?\s+dst\s+[0-9a-f:.]+(/\d+)?([\s\\]|$)")
_NOTES: Final = re.compile(r"\(\d+ bits\)|(?<=\s)\(0x[0-9a-f]+\)")
"""What ``ip -s`` adds to say the same again."""
_MAKING: Final = ("add", "a", "update", "upd")
_REMOVING: Final = ("flush", "f", "delete", "del", "d", "deleteall")
_HIDDEN: Final = "<<Keys"


class Line(NamedTuple):
    """
    A line.

    Attributes:
        begins: `STATE` or `POLICY` if one begins with it, empty if it goes on.
        whole: Whether nothing follows that belongs to it.
        words: Its words, from where what it says begins.
    """

    begins: str
    whole: bool
    words: Words


def recognised(text: str) -> bool:
    """Tell whether a text is ``ip xfrm``'s, by its first line that says something."""
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            return bool(_LISTED.match(line) or _COMMAND.match(line))
    return False


def lines(text: str, where: str) -> Iterator[Line]:
    """
    Yield the lines that say something.

    Raises:
        UsageError: one is not of ``ip xfrm``, or hides its keys.
    """
    for number, line in _whole_lines(text):
        place = f"{where}, line {number}"
        # `ip -o` has backslashes where lines would end.
        for piece in line.split("\\"):
            piece = piece.strip()
            if not piece or piece.startswith("#"):
                continue
            if _HIDDEN in piece:
                raise UsageError(f"{place}: the keys are hidden; list them as root: ip xfrm state")
            if _COMMAND.match(piece):
                yield from _command(piece, place)
            else:
                begins = ""
                if listed := _LISTED.match(piece):
                    begins = POLICY if listed[1] or listed[2] else STATE
                yield Line(begins, False, Words(place, _NOTES.sub("", piece).split()))


def _whole_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, and a command with all lines that a shell has of it."""
    command = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.endswith("\\") and (command or _COMMAND.match(line.strip())):
            command += line[:-1] + " "
        else:
            yield number, command + line
            command = ""
    if command:
        yield number, command


def _command(text: str, place: str) -> Iterator[Line]:
    """Yield what a command makes; what it takes away is not there."""
    try:
        words = Words(place, shlex.split(text, comments=True))
    except ValueError:
        raise UsageError(f"{place}: a quotation has no end") from None
    if any("$" in word for word in shlex.split(text, comments=True)):
        raise UsageError(f"{place}: it has a variable; write what it stands for")
    while words.take() not in ("xfrm", "x"):
        pass
    kind = POLICY if words.take().startswith("p") else STATE
    if words.next_is(*_REMOVING):
        return
    if not words.next_is(*_MAKING):
        raise UsageError(f"{place}: neither adds nor updates anything")
    words.take()
    yield Line(kind, True, words)
