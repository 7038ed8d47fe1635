"""The commands that look into a live process, each run as a user runs it."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrypto import Framework, UsageError
from opencrypto._measure.trace import Entry
from opencrypto.cli.live import duration, short, since
from opencrypto.cli.sample import Change, Reading
from opencrypto.cli.show import clean
from opencrypto.cli.stat import Printer, numbers
from opencrypto.cli.trace import load
from opencrypto.control import Client
from tests.operators.live_process import watched

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.shared_framework]

COMMAND = [sys.executable, "-c", "from opencrypto.cli import main; main()"]


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process under load."""
    path = tmp_path_factory.mktemp("live") / "it.sock"
    with watched(path):
        yield path


def run(*words: str, socket: Path | None = None, status: int = 0) -> str:
    """Run the command and return what it prints; on a failure, what it says."""
    more = ["--socket", str(socket)] if socket is not None else []
    done = subprocess.run(
        [*COMMAND, *words, *more], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if status else done.stdout


def test_sysctl_reads_as_sysctl_does(socket: Path) -> None:
    """Name = value; -n the value alone; -d the description; a branch all below it."""
    assert run("sysctl", "kern.usercrypto", socket=socket) == "kern.usercrypto = 1\n"
    assert run("sysctl", "-n", "kern.usercrypto", socket=socket) == "1\n"
    assert run("sysctl", "-d", "kern.usercrypto", socket=socket).startswith("kern.usercrypto: wh")
    assert run("sysctl", "kern", socket=socket).count(" = ") == 3
    everything = run("sysctl", "-a", socket=socket).splitlines()
    assert "opencrypto.drivers.hw.class = hardware" in everything
    assert len(everything) > 80


def test_sysctl_writes_and_reports_the_change(socket: Path) -> None:
    """NAME=VALUE prints the old and the new value; numbers may be hexadecimal."""
    name = "opencrypto.crypto_ret_q.maxlen"
    assert run("sysctl", f"{name}=0x40", socket=socket) == f"{name}: 0 -> 64\n"
    assert run("sysctl", "-n", f"{name}=0", socket=socket) == "0\n"
    assert json.loads(run("sysctl", "--json", name, socket=socket)) == {name: 0}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["kern.usercrypt"], "did you mean kern.usercrypto"),
        (["kern.usercrypto=2"], "takes 0 to 1, not 2"),
        (["kern.usercrypto=one"], "takes an integer"),
        (["opencrypto.crypto_ret_q.maxlen=1_0"], "takes an integer, not '1_0'"),
        (["kern.usercrypto=\N{FULLWIDTH DIGIT ONE}"], "takes an integer"),
        (["kern.usercrypto=010"], "takes an integer"),
        (["kern.usercrypto=" + "7" * 5000], "... (5000 characters)"),
        (["kern.usercrypto=" + "7" * 39], "takes 0 to 1, not a number of 130 bits"),
        (["-w", "kern.usercrypto"], "each word is NAME=VALUE"),
        (["-n", "-N", "-a"], "say one"),
        (["opencrypto.stats.ops=1"], "read-only"),
        ([], "-a for everything"),
    ],
)
def test_sysctl_says_what_is_wrong(socket: Path, words: list[str], sentence: str) -> None:
    """Each mistake is one sentence and exit status 2."""
    said = run("sysctl", *words, socket=socket, status=2)
    assert sentence in said
    assert said.count("\n") == 1
    assert len(said) < 300


def test_sysctl_takes_the_options_of_sysctl(socket: Path) -> None:
    """-N names alone, -e to be read again, -w in front of what is set."""
    assert run("sysctl", "-N", "kern.usercrypto", socket=socket) == "kern.usercrypto\n"
    saved = run("sysctl", "-e", "kern", socket=socket)
    assert "kern.usercrypto=1\n" in saved
    assert run("sysctl", "-w", *saved.split(), socket=socket).count("->") == 3
    names = run("sysctl", "-aN", socket=socket).split()
    assert "opencrypto.stats.ops" in names
    assert len(names) > 80


def test_sysctl_plain_has_tabs(socket: Path) -> None:
    """As every command's tables have them: name and value, described or set, and nothing else."""
    assert run("sysctl", "--plain", "kern.usercrypto", socket=socket) == "kern.usercrypto\t1\n"
    assert run("sysctl", "--plain", "kern.usercrypto=1", socket=socket) == "kern.usercrypto\t1\n"
    said = run("sysctl", "--plain", "-d", "kern", socket=socket).splitlines()
    assert [line.count("\t") for line in said] == [1, 1, 1]
    assert run("sysctl", "--plain", "-n", "kern.usercrypto", socket=socket) == "1\n"


def test_sysctl_n_of_a_branch_prints_the_values(socket: Path) -> None:
    """One a line, in the order of the names; lists as words, as sysctl(8) has them."""
    values = run("sysctl", "-n", "kern", "opencrypto.sizes.bounds", socket=socket).splitlines()
    assert values[:3] == ["1", "1", "1"]
    assert len(values) == 4
    assert all(word.isdecimal() for word in values[3].split(" "))
    assert len(values[3].split(" ")) > 3


def test_stat_takes_numbers_as_vmstat_does(socket: Path) -> None:
    """`stat 0.1 3` is three lines; both ways at once are refused."""
    assert len(run("stat", "0.1", "3", socket=socket).splitlines()) == 4
    assert "not both" in run("stat", "1", "-w", "1", socket=socket, status=2)


def test_stat_prints_a_line_each_interval(socket: Path) -> None:
    """The first line is since the start, the next are of the interval; JSON has the same words."""
    lines = run("stat", "-w", "0.3", "-c", "3", socket=socket).splitlines()
    assert lines[0].split("\t")[:3] == ["sess", "infl", "queue"]
    assert len(lines) == 4
    printed = run("stat", "-w", "0.3", "-c", "2", "--json", socket=socket).splitlines()
    rows = [json.loads(line) for line in printed]
    assert all(row["ops/s"] > 0 and row["sess"] == 3 and row["kB/s"] > 0 for row in rows)
    assert not any("p50" in row for row in rows)
    assert len(run("stat", socket=socket).splitlines()) == 2


def test_stat_s_prints_totals_apart(socket: Path) -> None:
    """A line each, and once: -s takes no numbers."""
    lines = [line.split("\t") for line in run("stat", "-s", socket=socket).splitlines()]
    printed = {name: int(number) for number, name in lines}
    assert printed["requests"] > 0
    assert {"errors", "refused", "bugs", "moved"} <= set(printed)
    assert json.loads(run("stat", "-s", "--json", socket=socket))["requests"] > 0
    assert "leave the numbers out" in run("stat", "-s", "-w", "1", socket=socket, status=2)


def test_stat_shows_latency_while_timing_is_on(socket: Path) -> None:
    """More columns, in nanoseconds, under a header of their own when timing is switched."""
    run("sysctl", "opencrypto.timing=1", socket=socket)
    try:
        printed = run("stat", "-w", "0.3", "-c", "3", "--json", socket=socket).splitlines()
        lines = run("stat", "-w", "0.3", "-c", "2", socket=socket).splitlines()
    finally:
        run("sysctl", "opencrypto.timing=0", socket=socket)
    last = json.loads(printed[-1])
    assert 0 < last["p50"] <= last["p99"] < 10e9
    assert lines[0].split("\t")[-4:] == ["p50", "p99", "cb99", "fin99"]
    assert {len(line.split("\t")) for line in lines} == {18}


def reading(**values: object) -> Reading:
    """A reading of a tree with one driver."""
    tree = {"opencrypto.drivers.d.hid": 0} | {
        name.replace("__", "."): value for name, value in values.items()
    }
    return Reading(1.0, tree)


def test_stat_has_what_a_driver_has_apart_from_what_waits() -> None:
    """Of five not answered, three wait for the driver: it has two."""
    new = reading(opencrypto__drivers__d__inflight=5, opencrypto__drivers__d__queued=3)
    row = numbers(Change(None, new, age=1))
    assert (row["infl"], row["queue"]) == (2, 3)


def test_stat_on_a_screen_has_a_new_header_when_the_columns_change(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every twenty lines; latencies with their unit, a dash where there was no request."""
    monkeypatch.setattr("opencrypto.cli.show.is_plain", lambda asked: asked)
    say = Printer(plain=False)
    for _ in range(21):
        say({"ops/s": 1500.0})
    say({"ops/s": 1500.0, "p50": 2500.0, "p99": None})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["ops/s"], *[["1.5k"]] * 20, ["ops/s"], ["1.5k"],
        ["ops/s", "p50", "p99"], ["1.5k", "2.5us", "-"],
    ]  # fmt: skip


def test_ps_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes in the usual folder are found, by pid too; sockets of dead ones are passed over."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("OPENCRYPTO_CONTROL", raising=False)
    folder = tmp_path / "opencrypto"
    folder.mkdir(mode=0o700)
    with watched(folder / "77.sock") as process:
        found = json.loads(run("ps", "--json"))["frameworks"]
        assert [each["pid"] for each in found if each["pid"] == process.pid] == [process.pid]
        assert "hw sw" in run("ps")
        assert run("sysctl", "-n", "kern.usercrypto", "--pid", str(process.pid)) == "1\n"
    assert "no live framework of process 1" in run("sysctl", "-a", "--pid", "1", status=2)


def test_two_frameworks_of_one_process_are_told_apart_by_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--pid names both, so it is not what the message asks for; ps has a line for each."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("OPENCRYPTO_CONTROL", raising=False)
    with Framework(plugins=False, control=True), Framework(plugins=False, control=True):
        said = run("sysctl", "-a", "--pid", str(os.getpid()), status=2)
        assert "name one with --socket" in said
        assert "--pid" not in said
        lines = [line for line in run("ps").splitlines() if line.startswith(f"{os.getpid()}\t")]
        assert [line.endswith(".sock") for line in lines] == [True, True]


def test_nobody_there_is_a_sentence(tmp_path: Path) -> None:
    """A wrong path names the remedy."""
    assert "OPENCRYPTO_CONTROL=1" in run("stat", socket=tmp_path / "none.sock", status=2)


def test_maxlen_set_in_another_terminal_makes_getreq_refuse(tmp_path: Path) -> None:
    """The limit, set by the command, is felt in the live process, whose drops rise."""
    path = tmp_path / "it.sock"
    name = "opencrypto.crypto_ret_q"
    with watched(path, threads=0) as process, Client(path) as client:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(question: str) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(question + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert ask("getreq") == "True"
        run("sysctl", f"{name}.maxlen=5", socket=path)
        assert ask("getreq") == "True"
        assert client.get(f"{name}.drops") == {f"{name}.drops": 0}
        for value, driver in (("1", "hw"), ("-1", "sw"), ("0", "hw")):
            run("sysctl", f"kern.cryptodevallowsoft={value}", socket=path)
            assert ask("newsession") == driver


def test_a_trace_is_recorded_shown_and_played(socket: Path, tmp_path: Path) -> None:
    """A trace of the load has its sizes, and plays to a driver of this host."""
    file = tmp_path / "it.trace"
    made = json.loads(run("trace", "record", str(file), "-t", "0.3", "--json", socket=socket))
    assert made["requests"] > 0
    shown = json.loads(run("trace", "show", str(file), "-n", "2", "--json"))
    assert shown["count"] == made["requests"]
    assert set(shown["drivers"]) == {"hw"}
    assert "\nnull\t" in run("trace", "show", str(file))
    assert "exists" in run("trace", "record", str(file), socket=socket, status=1)
    for name, some in (("null", True), ("aes-128-gcm", False)):
        other = ("trace", "record", str(tmp_path / name), "-t", "0.3", "--alg", name, "--json")
        assert bool(json.loads(run(*other, socket=socket))["requests"]) is some
    words = ("trace", "replay", str(file), "-D", "null", "-D", "swcrypto")
    played = json.loads(run(*words, "--json"))["played"]
    assert [row["driver"] for row in played] == ["null", "swcrypto"]
    assert [row["requests"] for row in played] == [made["requests"]] * 2
    lines = [line.split("\t") for line in run(*words).splitlines()]
    assert [line[0] for line in lines] == ["", "recorded", "null", "swcrypto"]
    assert "no plugin 'nobody'" in run(*words, "-D", "nobody", status=2)
    timed = run("trace", "replay", str(file), "--driver", "null", "--speed", "2")
    assert "recorded" in timed


def test_a_refused_record_leaves_no_file(socket: Path, tmp_path: Path) -> None:
    """Another trace is on: the name that was asked for is not taken, nor is there a part of it."""
    with Client(socket) as other:
        other.trace("start")
        assert "trace" in run("trace", "record", str(tmp_path / "it"), socket=socket, status=1)
    assert not list(tmp_path.iterdir())


def test_a_trace_shows_reasons(tmp_path: Path) -> None:
    """Errors by their names, each with what it means; a number that is none of ours stays one."""
    fields = dict.fromkeys(Entry._fields, 0) | {"chain": [], "desc": [], "driver": "x"}
    results = (0, errno.EBADMSG, errno.EBADMSG, 4242)
    lines = [
        {"format": "opencrypto-trace", "version": 1, "fields": [*fields]},
        *([*(fields | {"etype": etype}).values()] for etype in results),
    ]
    file = tmp_path / "it.trace"
    file.write_text("\n".join(map(json.dumps, lines)))
    shown = run("trace", "show", str(file))
    assert "EBADMSG" in shown
    assert "the data did not verify; discard it" in shown
    assert "errno 4242" in shown
    told = json.loads(run("trace", "show", str(file), "--json"))
    assert told["results"] == {"EBADMSG": 2, "ok": 1, "errno 4242": 1}
    assert [each["result"] for each in told["requests"]][:2] == ["ok", "EBADMSG"]


@pytest.mark.parametrize(
    "words",
    [["sysctl"], ["stat"], ["top"], ["ps"], ["drivers"], ["check"], ["trace", "record"],
     ["trace", "replay"], ["esp", "protect"], []],
)  # fmt: skip
def test_help_names_values_by_words(words: list[str]) -> None:
    """No type of Python's stands there; a switch takes nothing."""
    said = run(*words, "--help")
    assert not re.search(r"<(bool|int|float|str|path|list)", said)
    assert words[-1:] in [[], ["check"], ["drivers"], ["ps"], ["protect"], ["replay"]] or (
        re.search(r"--pid +-p +PID", said)
    )


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", '{"format":"opencrypto-trace","version":9}']
)
def test_a_damaged_trace_is_refused(tmp_path: Path, text: str) -> None:
    """What is no trace is said to be none."""
    file = tmp_path / "bad.trace"
    file.write_text(text)
    assert "trace" in run("trace", "show", str(file), status=2)


@pytest.mark.parametrize("value", [1e999, 10**400, 1.5, True, None, "7", [7]])
def test_a_trace_with_a_number_that_is_none_is_refused(tmp_path: Path, value: object) -> None:
    """A file of somebody else's; infinity was an internal error."""
    fields = dict.fromkeys(Entry._fields, 0) | {"chain": [], "desc": [], "driver": "x"}
    for name in ("size", "at", "etype"):
        lines = [
            {"format": "opencrypto-trace", "version": 1, "fields": [*fields]},
            [*(fields | {name: value}).values()],
        ]
        file = tmp_path / "bad.trace"
        file.write_text("\n".join(map(json.dumps, lines)))
        with pytest.raises(UsageError, match="no trace, or a damaged one"):
            load(file)


def test_numbers_are_short() -> None:
    """Columns hold: five characters for numbers, six for times; escapes never reach a terminal."""
    assert [short(n) for n in (0, 7, 999, 1000, 99_949, 156_000, 2.5e9)] == [
        "0", "7", "999", "1.0k", "99.9k", "156k", "2.5G",
    ]  # fmt: skip
    assert all(len(short(10**n)) <= 5 for n in range(17))
    assert [duration(n) for n in (5, 1500, 250_000, 2.5e9)] == ["5ns", "1.5us", "250us", "2.5s"]
    assert since(90_061) == "1d01:01"
    assert clean("a\x1b[2Jb\r") == "a\ufffd[2Jb\ufffd"


def test_commands_cost_the_process_little(socket: Path) -> None:
    """Reading everything ten times a second is answered in milliseconds."""
    with Client(socket) as client:
        start = time.monotonic()
        for _ in range(10):
            client.call("nodes")
        assert time.monotonic() - start < 3
