"""``opencrypto top`` in a real terminal: tmux at 80 x 24 and 200 x 50, by its keys."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opencrypto.cli.topview import KEYS
from tests.operators.live_process import ROOT, watched
from tests.support import require_tool

pytestmark = [pytest.mark.slow, pytest.mark.alone]


class Terminal:
    """A terminal of tmux with one command in it."""

    def __init__(self, folder: Path, width: int, height: int, command: str) -> None:
        self._tmux = [require_tool("tmux", "tmux"), "-S", str(folder / "tmux"), "-f", "/dev/null"]
        size = ["-x", str(width), "-y", str(height)]
        self("new-session", "-d", *size, command + "; echo ended; sleep 60")

    def __call__(self, *words: str) -> str:
        """Run a command of tmux."""
        env = {k: v for k, v in os.environ.items() if k not in {"TMUX", "COLUMNS", "LINES"}}
        done = subprocess.run(
            [*self._tmux, *words], capture_output=True, text=True, check=True, env=env
        )
        return done.stdout

    def screen(self, *, colours: bool = False) -> str:
        """Return what is on it."""
        return self("capture-pane", "-p", *(["-e"] if colours else []))

    def keys(self, *keys: str) -> None:
        """Press keys."""
        self("send-keys", *keys)

    def wait(self, true: Callable[[str], bool], what: str) -> str:
        """Wait until the screen is as wanted."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            screen = self.screen()
            if true(screen):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"never {what}:\n{self.screen()}")

    def wait_for(self, text: str) -> str:
        """Wait for a text."""
        return self.wait(lambda screen: text in screen, f"showed {text!r}")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    """A process under load, with eight drivers."""
    path = tmp_path / "it.sock"
    with watched(path, more="a b c d e f"):
        yield path


@pytest.fixture
def start(tmp_path: Path, live: Path) -> Iterator[Callable[..., Terminal]]:
    """Start top in a terminal of some size."""
    made: list[Terminal] = []

    def make(width: int, height: int, variables: str = "") -> Terminal:
        path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "consumers"))
        python = f"{shlex.quote(sys.executable)} -c 'from opencrypto.cli import main; main()'"
        command = f"PYTHONPATH={path} {variables} {python} top -w 0.3 --socket {live}"
        made.append(Terminal(tmp_path, width, height, command))
        return made[-1]

    yield make
    for terminal in made:
        terminal("kill-server")


@pytest.mark.parametrize(("width", "height"), [(60, 15), (80, 24), (120, 40), (200, 50)])
def test_it_fits_the_terminal(start: Callable[..., Terminal], width: int, height: int) -> None:
    """Title, sums, a line for each driver, and the keys on the last line; nothing wraps."""
    terminal = start(width, height)
    terminal.wait_for("rate/s")
    screen = terminal.wait(lambda s: "hw" in s and KEYS[:40] in s, "was drawn whole")
    lines = screen.split("\n")[:height]
    assert "opencrypto top" in lines[0]
    assert lines[height - 1].startswith("q quit")
    head = next(number for number, line in enumerate(lines) if "rate/s" in line)
    assert any(line.startswith("way back:") for line in lines[:head]) == (height > 15)
    drivers = [line.lstrip("> ").split()[0] for line in lines[head + 1 : head + 9]]
    assert sorted(drivers) == sorted(["hw", "sw", *"abcdef"])
    assert all(len(line) <= width for line in lines)
    assert ("hardware" in screen) == (width >= 100)


def test_keys_sort_choose_time_and_quit(start: Callable[..., Terminal]) -> None:
    """s changes the order, the arrows choose, t turns timing on, q gives the terminal back."""
    terminal = start(80, 24)
    terminal.wait_for("sorted by sick")
    for _ in range(6):
        terminal.keys("s")
    terminal.wait_for("sorted by name")
    terminal.wait(lambda s: "\n> " in s, "showed a choice")
    terminal.keys("j")
    terminal.keys("Down")
    first = terminal.screen()
    terminal.keys("k")
    terminal.wait(lambda s: s != first, "moved the choice")
    terminal.wait_for("timing: off")
    terminal.keys("t")
    terminal.wait_for("timing: on")
    terminal.wait(lambda s: "us" in s or "ns" in s, "showed a latency")
    terminal.keys("q")
    terminal.wait_for("ended")


def test_detach_asks_first(start: Callable[..., Terminal]) -> None:
    """d asks; n does nothing; y detaches, and the load goes on elsewhere; a attaches again."""
    terminal = start(80, 24)
    terminal.wait_for(">  hw")  # the busiest
    terminal.keys("d")
    terminal.wait_for("Attach can undo it. Detach hw? Its sessions migrate. (y/n)")
    terminal.keys("n")
    terminal.wait_for("Nothing was done.")
    terminal.keys("d")
    terminal.wait_for("Detach hw?")
    terminal.keys("y")
    terminal.wait_for("hw: detached.")
    terminal.wait(lambda s: ">  hw" not in s, "chose another")
    terminal.keys("a")
    terminal.wait_for("Attach which driver?")
    terminal.keys("nosuch", "Enter")
    terminal.wait_for("Attach nosuch? (y/n)")
    terminal.keys("y")
    terminal.wait_for("no plugin 'nosuch'")
    terminal.keys("a")
    terminal.keys("hw", "Enter")
    terminal.wait_for("Attach hw? (y/n)")
    terminal.keys("y")
    terminal.wait_for("hw: attached.")


def test_l_shows_the_sessions(start: Callable[..., Terminal]) -> None:
    """l lists them, and drivers again; idle times once they are watched, which w turns on."""
    terminal = start(80, 24)
    terminal.wait_for("rate/s")
    terminal.keys("l")
    screen = terminal.wait_for("NULL_CBC")
    assert "reqs" not in screen
    assert screen.rstrip().split("\n")[-1].startswith("q quit  l drivers")
    terminal.keys("s")
    terminal.wait_for("w turns it on")
    terminal.keys("w")
    terminal.wait_for("reqs")
    terminal.keys("s")
    terminal.wait_for("sorted by idle")
    terminal.keys("o")
    terminal.wait_for("trace_sessions=True")
    terminal.keys("j")
    terminal.keys("l")
    terminal.wait_for("rate/s")
    terminal.keys("q")
    terminal.wait_for("ended")


def test_it_follows_a_change_of_size(start: Callable[..., Terminal]) -> None:
    """Made smaller it says how many drivers are hidden; made larger it shows them all again."""
    terminal = start(120, 30)
    terminal.wait_for("hardware")
    terminal("resize-window", "-x", "60", "-y", "12")
    screen = terminal.wait(lambda s: " more" in s, "got smaller")
    assert "hardware" not in screen
    terminal("resize-window", "-x", "150", "-y", "40")
    terminal.wait(lambda s: "hardware" in s and " more" not in s, "got larger")


@pytest.mark.parametrize("variables", ["NO_COLOR=1", "TERM=vt100"])
def test_it_needs_no_colour(start: Callable[..., Terminal], variables: str) -> None:
    """Without colour everything is there: the choice has a mark, not only a style."""
    terminal = start(80, 24, variables)
    terminal.wait(lambda s: "> " in s and "q quit" in s, "was drawn")
    assert "\x1b[3" not in terminal.screen(colours=True).replace("\x1b[39m", "")


def test_a_process_that_ends_is_a_sentence(tmp_path: Path) -> None:
    """When the watched process goes, top ends with one sentence, and the terminal is whole."""
    path = tmp_path / "it.sock"
    python = f"{shlex.quote(sys.executable)} -c 'from opencrypto.cli import main; main()'"
    with watched(path):
        terminal = Terminal(
            tmp_path,
            80,
            24,
            f"cd {ROOT}; PYTHONPATH=.:drivers:consumers {python} top -w 0.3 --socket {path}",
        )
        try:
            terminal.wait_for("rate/s")
        except BaseException:
            terminal("kill-server")
            raise
    try:
        terminal.wait_for("has hung up")
        terminal.wait_for("ended")
    finally:
        terminal("kill-server")
