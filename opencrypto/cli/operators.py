"""
The commands for operators: they ask a live process, over its control socket.
"""

from __future__ import annotations

import typer

from opencrypto.cli import ps, stat, sysctl, top, trace


def register(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command("ps")(ps.ps)
    app.command("sysctl")(sysctl.sysctl)
    app.command("stat")(stat.stat)
    app.command("top")(top.top)
    app.add_typer(trace.app, name="trace")
