"""
``opencrypto ps``: the live frameworks of this host.
"""

from __future__ import annotations

import time

from opencrypto.cli import live, show


def ps(as_json: live.Json = False) -> None:
    """List the live frameworks that have a control socket."""
    found = [hello | {"socket": str(client.path)} for client, hello in live.living()]
    if as_json:
        show.as_json({"frameworks": found})
        return
    if not found:
        show.warn(f"no live framework was found; {live.HINT}")
        return
    now = time.time()
    show.lines(
        ("pid", "program", "up", "sessions", "requests", "drivers", "socket"),
        [
            (
                str(h.get("pid")),
                str(h.get("program")),
                live.since(now - float(h.get("started", now))),
                str(h.get("sessions")),
                live.short(float(h.get("ops", 0))),
                " ".join(map(str, h.get("drivers", ()))),
                h["socket"],
            )
            for h in found
        ],
    )
