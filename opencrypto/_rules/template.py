"""
Functions compiled from text: so a rule that many functions need stands in one text, at no call's
cost.

It is what `dataclasses` does. Tracebacks and debuggers show the text, by way of `linecache`.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

_REFUSAL: Final = re.compile(r"^( *)refuse\(.*\)$", re.MULTILINE)


def compile_function(head: str, body: str, names: Mapping[str, object], title: str) -> Any:
    """
    Return the function of one text.

    Args:
        head: Its name and parameters, such as ``add(a, b)``.
        body: Its statements, not indented.
        names: Its globals.
        title: What tracebacks call the text; no two texts have the same.
    """
    source = f"def {head}:\n{indented(body.strip(), '    ')}\n"
    file = f"<opencrypto: {title}>"
    made: dict[str, Any] = dict(names)
    exec(compile(source, file, "exec"), made)  # noqa: S102 - the text is a constant of this package
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    return made[head.partition("(")[0]]


def indented(text: str, margin: str) -> str:
    """Put a margin before each line that is not empty."""
    return "\n".join(margin + line if line else line for line in text.split("\n"))


def fill(text: str, hole: str, filling: str) -> str:
    """Put lines in the place of the line ``# here: HOLE``, indented like it."""
    return re.sub(
        rf"^( *)# here: {hole}$",
        lambda found: indented(filling.strip(), found[1]),
        text,
        flags=re.MULTILINE,
    )


def choose(text: str, options: Collection[str]) -> str:
    """Leave out the lines marked ``# where OPTION`` whose option is not among `options`."""
    lines = (line.partition("  # where ") for line in text.splitlines())
    return "\n".join(line for line, mark, option in lines if not mark or option in options)


def mute(text: str, answer: str) -> str:
    """Put a statement such as ``return False`` in the place of each ``refuse(words)``."""
    return _REFUSAL.sub(rf"\1{answer}", text)
