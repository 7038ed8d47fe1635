"""
``opencrypto ps``: the live frameworks of this host.
"""

from __future__ import annotations

import time
from typing import Final

from opencrypto.cli import live, show
from opencrypto.control import look

WIDEST: Final = 200
"""How many characters of a list of drivers a line has; --json has all."""


def ps(as_json: live.Json = False, plain: show.Plain = False) -> None:
    """List the live frameworks that have a control socket."""
    paths, refused = look()
    asked = live.living(paths)
    found = [{**each.hello, "socket": str(each.path)} for each in asked if not each.trouble]
    troubles = [*refused, *(each.trouble for each in asked if each.trouble)]
    if as_json:
        show.as_json({"frameworks": found, "refused": troubles})
        return
    for sentence in troubles:
        show.warn(sentence)
    if not found:
        show.warn(f"no live framework was found; {live.HINT}")
        return
    now = time.time()
    show.lines(
        ("pid", "program", "up", "sessions", "requests", "drivers", "socket"),
        [
            (
                str(hello["pid"]),
                hello["program"],
                live.since(now - hello["started"]),
                str(hello["sessions"]),
                live.short(hello["ops"]),
                _cut(" ".join(hello["drivers"])),
                hello["socket"],
            )
            for hello in found
        ],
        plain=plain,
    )


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
