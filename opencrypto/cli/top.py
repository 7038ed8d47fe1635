"""
``opencrypto top``: a live process on one screen, its drivers and what they are busy with.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from opencrypto._core import listing
from opencrypto.cli import live, sample, sessionview, show, sums, topview
from opencrypto.cli.sample import Change, Reading
from opencrypto.cli.sessionview import SessionsView
from opencrypto.cli.topview import SORTS, View
from opencrypto.control import Client
from opencrypto.exceptions import CryptoError

ARROWS: Final = {b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down"}


HELP: Final = (
    "sick: stuck first, then by rate. oldest: age of a request not answered. BLOCKED: takes none."
)


def top(
    wait: Annotated[float, typer.Option("-w", min=0.1, help="Seconds between two looks.")] = 1.0,
    count: Annotated[
        int | None, typer.Option("-c", min=1, help="How many looks, as a plain listing.")
    ] = None,
    as_json: live.Json = False,
    plain: show.Plain = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """
    Watch a live framework: drivers with rate, in flight, latency, errors; and its sessions.

    Keys: s changes the order, up and down (or k and j) choose a driver, d detaches it and a
    attaches one, each after a question; l shows sessions instead, and again drivers; t turns timing
    on and off, ? explains, q quits. With -c or --plain, into a pipe, and on a terminal that cannot
    be drawn on (TERM=dumb), each look is a listing below the one before. --json prints one look at
    -w seconds and ends.
    """
    with live.watching(), live.connect(pid, socket) as client:
        if as_json:
            first = sample.read(client)
            time.sleep(wait)
            change = Change(first, sample.read(client))
            drivers = [vars(row) for row in topview.rows(change, "name")]
            show.as_json({"drivers": drivers, "totals": sums.totals(change)})
            return
        if plain or count is not None or not _is_drawn_on():
            _list(client, wait, count, plain=plain)
        else:
            Screen(client, wait).run()


def _is_drawn_on() -> bool:
    """Tell whether somebody sits at a terminal on which the cursor can be moved."""
    drawn_on = os.environ.get("TERM", "dumb") != "dumb"
    return drawn_on and sys.stdin.isatty() and sys.stdout.isatty()


def _list(client: Client, wait: float, count: int | None, *, plain: bool) -> None:
    """Print a look after the other, as vmstat(1) does, until told to stop."""
    old = sample.read(client)
    for look in itertools.count(1):
        time.sleep(max(0.0, old.at + wait - _now()))
        new = sample.read(client)
        if look > 1:
            show.say()
        change = Change(old, new)
        for line in topview.sums(change):
            show.say(line)
        show.lines(topview.LISTED, topview.listing(change, SORTS[0]), plain=plain)
        sys.stdout.flush()
        if look == count:
            return
        old = new


@contextmanager
def keyboard() -> Iterator[int]:
    """Have keys come one by one, and give the terminal back as it was."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)
    try:
        yield handle
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def key_of(chunk: bytes) -> list[str]:
    """Split what the terminal sent into keys."""
    if chunk in ARROWS:
        return [ARROWS[chunk]]
    return list(chunk.decode(errors="replace"))


class Screen:
    """The screen's state, and what each key does to it."""

    def __init__(self, client: Client, wait: float) -> None:
        self._client = client
        self._wait = wait
        hello = client.hello()
        self._title = f"opencrypto top - {hello['program']} (pid {hello['pid']})"
        self._started = hello["started"]
        self._sort = SORTS[0]
        self._chosen = ""
        self._message = ""
        self._asked = ""  # "detach", "attach", or "name" while one is typed
        self._typed = ""
        self._sessions: SessionScreen | None = None  # while sessions are shown, and no drivers
        self._change = Change(None, sample.read(client), age=time.time() - self._started)

    def run(self) -> None:
        """Draw and listen until told to stop."""
        with (
            keyboard() as handle,
            Live(
                self.view(), console=Console(highlight=False), screen=True, auto_refresh=False
            ) as screen,
        ):
            due = time.monotonic() + min(self._wait, 0.5)
            old: Reading = self._change.new
            while True:
                screen.update(self.view(), refresh=True)
                # In short steps: a terminal that changes its size is drawn anew soon.
                ready, _, _ = select.select([handle], [], [], min(0.2, max(0, due - _now())))
                if ready:
                    chunk = os.read(handle, 64)
                    if not chunk or any(self.press(key) for key in key_of(chunk)):
                        return
                if _now() >= due and self._sessions is not None:
                    self._sessions.look()
                    due = _now() + self._wait
                elif _now() >= due:
                    new = sample.read(self._client)
                    self._change, old = Change(old, new), new
                    due = _now() + self._wait

    def view(self) -> View | SessionsView:
        """Return what to draw."""
        up = live.since(time.time() - self._started)
        if self._sessions is not None:
            return self._sessions.view(f"{self._title}, up {up}")
        names = topview.attached(self._change, self._sort)
        if self._chosen not in names:
            self._chosen = names[0] if names else ""
        return View(
            f"{self._title}, up {up}", self._change, self._sort, self._chosen, self._message
        )

    def press(self, key: str) -> bool:
        """Do what a key says; tell whether that is to end."""
        if self._asked == "name":
            self._type(key)
        elif self._asked:
            self._answer(key)
        elif key in {"q", "\x03"}:
            return True
        elif self._sessions is not None:
            if key == "l":
                self._sessions = None
            else:
                self._sessions.press(key)
        else:
            self._message = ""
            self._command(key)
        return False

    def _command(self, key: str) -> None:
        names = topview.attached(self._change, self._sort)
        place = names.index(self._chosen) if self._chosen in names else 0
        match key:
            case "s":
                self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
            case "up" | "k" if names:
                self._chosen = names[max(0, place - 1)]
            case "down" | "j" if names:
                self._chosen = names[min(len(names) - 1, place + 1)]
            case "t":
                on = int(self._change.new.number("opencrypto.timing"))
                self._do("set", name="opencrypto.timing", value=1 - on)
            case "d" if self._chosen:
                self._ask_to_detach()
            case "l":
                self._show_sessions()
            case "a":
                self._typed = ""
                self._ask("name", "Attach which driver? ")
            case "?":
                self._message = f"{HELP}\n{topview.KEYS}"
            case _:
                self._message = topview.KEYS

    def _show_sessions(self) -> None:
        try:
            self._sessions = SessionScreen(self._client)
        except CryptoError as error:  # of an older process, say
            self._message = error.strerror or "It failed."

    def _ask(self, what: str, question: str) -> None:
        self._asked, self._message = what, question

    def _ask_to_detach(self) -> None:
        """Ask, and say first whether there is a way back: who brought a driver may be gone."""
        try:
            known = {each["name"]: each["offered"] for each in self._client.drivers()}
        except CryptoError as error:
            self._message = error.strerror or "It failed."
            return
        if known.get(self._chosen):
            question = f"Attach can undo it. Detach {self._chosen}? Its sessions migrate. (y/n)"
        else:
            question = f"Attach cannot undo it: no plugin offers it. Detach {self._chosen}? (y/n)"
        self._ask("detach", question)

    def _type(self, key: str) -> None:
        if key in {"\n", "\r"} and self._typed:
            self._ask("attach", f"Attach {self._typed}? (y/n)")
        elif key in {"\x1b", "\n", "\r"}:
            self._asked = self._message = ""
        else:
            self._typed = self._typed[:-1] if key in {"\x7f", "\b"} else self._typed + key
            self._message = f"Attach which driver? {self._typed}"

    def _answer(self, key: str) -> None:
        what, self._asked = self._asked, ""
        if key.lower() != "y":
            self._message = "Nothing was done."
            return
        name = self._chosen if what == "detach" else self._typed
        self._do(what, driver=name)

    def _do(self, op: str, **parameters: object) -> None:
        try:
            self._client.call(op, **parameters)
            self._message = "" if op == "set" else f"{parameters['driver']}: {op}ed."
        except CryptoError as error:
            self._message = error.strerror or "It failed."


class SessionScreen:
    """The sessions as top shows them, and what each key does to them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sort = listing.SORTS[0]
        self._chosen = 0
        self._message = ""
        self.look()

    def look(self) -> None:
        """Ask for as many as there is room for."""
        most = min(listing.PAGE, shutil.get_terminal_size().lines)
        self._page = self._client.sessions(sort=self._sort, most=most)
        sids = self._sids()
        if self._chosen not in sids:
            self._chosen = sids[0] if sids else 0

    def _sids(self) -> list[int]:
        return [row["sid"] for row in self._page["sessions"]]

    def view(self, title: str) -> SessionsView:
        """Return what to draw."""
        return SessionsView(title, self._page, self._sort, self._chosen, self._message)

    def press(self, key: str) -> None:
        """Do what a key says."""
        self._message = ""
        sids = self._sids()
        place = sids.index(self._chosen) if self._chosen in sids else 0
        match key:
            case "s":
                self._order()
            case "up" | "k" if sids:
                self._chosen = sids[max(0, place - 1)]
            case "down" | "j" if sids:
                self._chosen = sids[min(len(sids) - 1, place + 1)]
            case "o" if sids:
                opened = self._page["sessions"][place]["opened"]
                self._message = " < ".join(opened) or NOT_TRACED
            case "w":
                self._watch()
            case _:
                self._message = sessionview.KEYS

    def _order(self) -> None:
        """Take the next order; only ages are known unless sessions are watched."""
        before = self._sort
        self._sort = SORTS_OF_SESSIONS[before]
        try:
            self.look()
        except CryptoError:
            self._sort, self._message = SORTS_OF_SESSIONS[""], NOT_WATCHED
            self.look()

    def _watch(self) -> None:
        """Turn on what is counted of each session, or off."""
        watched = self._client.get(WATCH)[WATCH]
        self._client.set(WATCH, 1 - watched)
        self._sort = SORTS_OF_SESSIONS[""]
        self.look()


WATCH: Final = "opencrypto.sessions.watch"
NOT_WATCHED: Final = "Sessions are not watched: w turns it on, and then idle times are known."
NOT_TRACED: Final = "Not known: the program says Framework(trace_sessions=True) to have it noted."
SORTS_OF_SESSIONS: Final = dict(
    zip(("", *listing.SORTS), (*listing.SORTS, listing.SORTS[0]), strict=True)
)
"""The order that follows each; the first one follows none."""


def _now() -> float:
    return time.monotonic()
