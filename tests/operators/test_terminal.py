"""``opencrypto top`` at a terminal of pexpect's: sizes, poor terminals, keys, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pexpect
import pytest

from tests.operators.live_process import ROOT, watched
from tests.operators.test_commands import COMMAND

pytestmark = [pytest.mark.slow, pytest.mark.shared_framework]

ESCAPE: Final = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9])")
LONG: Final = "card-in-the-second-slot"
DRIVERS: Final = ("hw", "sw", "a", LONG)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process under load, with four drivers."""
    path = tmp_path_factory.mktemp("live") / "it.sock"
    with watched(path, more=f"a {LONG}"):
        yield path


class Top:
    """Top in a terminal of some size."""

    def __init__(
        self, socket: Path, size: tuple[int, int], variables: Mapping[str, str], *more: str
    ) -> None:
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/drivers:{ROOT}/consumers"}
        env |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "", "LC_CTYPE": ""}
        env |= {"COLUMNS": "", "LINES": ""}  # of whoever runs the tests
        env |= variables
        width, height = size
        self.child: pexpect.spawn[str] = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "top", "-w", "0.3", "--socket", str(socket), *more],
            env={name: value for name, value in env.items() if value},
            encoding="utf-8",
            dimensions=(height, width),
            timeout=30,
        )
        self.before = termios.tcgetattr(self.child.child_fd)
        self.drawn = ""

    def wait_for(self, sign: str) -> None:
        """Wait until this is drawn."""
        self.child.expect_exact(sign)
        assert isinstance(self.child.before, str)
        self.drawn += self.child.before + sign

    def ends(self, *, printed: str = "", status: int | None = 0, by: int | None = None) -> str:
        """See that it ends so, with the terminal as it was; return all that it wrote."""
        self.child.expect(pexpect.EOF)
        assert isinstance(self.child.before, str)
        self.drawn += self.child.before
        assert termios.tcgetattr(self.child.child_fd) == self.before
        self.child.close()
        assert (self.child.exitstatus, self.child.signalstatus) == (status, by)
        assert "Traceback" not in self.drawn
        if "\x1b[?1049h" in self.drawn:  # the other screen, and the cursor
            left = self.drawn.rindex("\x1b[?1049l")
            assert self.drawn.rindex("\x1b[?25h") > self.drawn.rindex("\x1b[?25l")
            assert printed in self.drawn[left:]
        assert printed in self.drawn
        return self.drawn

    def screen(self) -> list[str]:
        """Return the lines of the last whole look."""
        whole = self.drawn.rpartition("opencrypto top")[0]
        last = "opencrypto top" + whole.rpartition("opencrypto top")[2]
        return [line.rstrip() for line in ESCAPE.sub("", last).split("\r\n")]


Start = Callable[..., Top]


@pytest.fixture
def start(socket: Path) -> Iterator[Start]:
    """Start top; it has ended when the test has."""
    made: list[Top] = []

    def make(
        *more: str, size: tuple[int, int] = (80, 24), at: Path = socket, **variables: str
    ) -> Top:
        made.append(Top(at, size, variables, *more))
        return made[-1]

    yield make
    for top in made:
        top.child.close(force=True)


@pytest.mark.parametrize(
    ("size", "variables"),
    [
        ((60, 15), {"LANG": "C"}),
        ((80, 24), {}),
        ((80, 24), {"NO_COLOR": "1"}),
        ((120, 40), {"LANG": "C"}),
        ((200, 50), {}),
    ],
    ids=str,
)
def test_it_fits(start: Start, size: tuple[int, int], variables: dict[str, str]) -> None:
    """Every name is there, whole; no line is longer than the terminal is wide; none is over."""
    top = start(size=size, **variables)
    for _ in range(3):
        top.wait_for("q quit")
    lines = top.screen()
    (head,) = (n for n, line in enumerate(lines) if re.match(r" +driver .*rate/s", line))
    names = [line.lstrip("> ").split()[0] for line in lines[head + 1 : head + 1 + len(DRIVERS)]]
    assert sorted(names) == sorted(DRIVERS)
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    assert ("hardware" in "".join(lines)) == (size[0] >= 100)
    if variables:
        assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", top.drawn)
    if "LANG" in variables:
        assert [line for line in top.drawn.splitlines() if not line.isascii()] == []
    top.child.send("q")
    top.ends()


def test_a_terminal_that_cannot_be_drawn_on_gets_a_listing(start: Start) -> None:
    """TERM=dumb: a look after the other, until Ctrl-C, which is no failure to speak of."""
    top = start(TERM="dumb")
    for _ in range(2):
        top.wait_for(LONG)
    top.child.sendintr()
    drawn = top.ends(status=130)
    assert "\x1b" not in drawn
    assert "interrupted" not in drawn
    assert "driver  " in drawn


def test_an_encoding_without_our_characters(start: Start) -> None:
    """Latin-1, ASCII: what cannot be written is replaced. It was an internal error."""
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    top = start(size=(40, 15), **poor)
    for _ in range(2):
        top.wait_for("q quit")
    assert top.drawn.isascii()
    top.child.send("q")
    top.ends()


def test_it_follows_the_size(start: Start) -> None:
    """Smaller and larger, again and again, with a key now and then."""
    top = start(size=(120, 40))
    top.wait_for("hardware")
    for width, height, sign in ((60, 9, " more"), (200, 50, "hardware"), (80, 24, "oldest")):
        top.child.setwinsize(height, width)
        top.drawn = ""
        for _ in range(4):
            top.wait_for("q quit")
        assert sign in "".join(top.screen())
        assert max(map(len, top.screen())) <= width
        top.child.send("s")
    top.child.send("q")
    top.ends()


def test_help_and_unknown_keys(start: Start) -> None:
    """? explains the words; a key that is none shows those that are."""
    top = start(size=(120, 24))
    top.wait_for("q quit")
    top.child.send("?")
    top.wait_for("BLOCKED: takes none.")
    top.child.send("z")
    top.wait_for("d detach  a attach  t timing")
    top.child.send("\x1b[Z\x1bOP\t")  # keys that it has never heard of
    for _ in range(2):
        top.wait_for("q quit")
    top.child.send("q")
    top.ends()


def test_what_it_says_is_whole_on_a_narrow_terminal(start: Start) -> None:
    """A question that is longer than the terminal is wide has its end, and so has the help."""
    top = start(size=(60, 15))
    top.wait_for("q quit")
    top.child.send("?")
    for word in ("takes none.", "q quit", "t timing"):
        top.wait_for(word)
    top.child.send("d")
    top.wait_for("(y/n)")
    top.child.send("n")
    top.wait_for("Nothing was done.")
    drawn = ESCAPE.sub("", top.drawn.replace("\x1b[H", "\r\n"))  # a look begins at the top
    assert max(map(len, drawn.split("\r\n"))) <= 60
    top.child.send("q")
    top.ends()


def test_a_wrong_name_is_a_sentence_on_the_last_line(start: Start) -> None:
    """What cannot be attached, and what was never typed to the end."""
    top = start(size=(120, 24))
    top.wait_for("q quit")
    for name in ("nosuch", "../../etc/passwd", "n" * 50, "\N{GREEK SMALL LETTER ALPHA}"):
        top.child.send("a")
        top.wait_for("Attach which driver?")
        top.child.send(f"{name}\r")
        top.wait_for("? (y/n)")
        top.child.send("y")
        top.wait_for("no plugin ")
    top.child.send("a")
    top.wait_for("Attach which driver?")
    top.child.send("half\x1b")
    top.wait_for("q quit")
    top.child.send("q")
    top.ends()


def test_ctrl_c_gives_the_terminal_back(start: Start) -> None:
    top = start()
    top.wait_for("q quit")
    top.child.sendintr()
    assert "interrupted" not in top.ends(status=130)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(start: Start, number: signal.Signals) -> None:
    top = start()
    top.wait_for("q quit")
    top.child.kill(number)
    top.ends(status=None, by=number)


def test_a_process_that_ends_is_a_sentence(start: Start, tmp_path: Path) -> None:
    """On the usual screen, where it stays."""
    path = tmp_path / "it.sock"
    with watched(path):
        top = start(at=path)
        top.wait_for("q quit")
    top.ends(printed="has hung up", status=1)


@pytest.mark.parametrize("more", [("--pid", "x"), ("-w", "0"), ("--sort", "what"), ("-c", "0")])
def test_a_wrong_call_draws_nothing(start: Start, more: tuple[str, str]) -> None:
    top = start(*more)
    drawn = top.ends(status=2)
    assert "\x1b[?1049h" not in drawn


def test_a_socket_that_is_none_is_a_sentence(start: Start, tmp_path: Path) -> None:
    drawn = start(at=tmp_path / "none.sock").ends(status=2)
    assert "OPENCRYPTO_CONTROL=1" in drawn
    assert drawn.count("\n") == 1


def test_what_it_takes_meanwhile(start: Start) -> None:
    """Keys in a rush are all taken, in order."""
    top = start()
    top.wait_for("sorted by sick")
    top.child.send("s" * 6)
    top.wait_for("sorted by name")
    time.sleep(0.3)
    top.child.send("sq")
    top.ends()
