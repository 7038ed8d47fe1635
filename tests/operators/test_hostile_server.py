"""A client believes no stranger, no type and no size, and waits no longer than it said."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from opencrypto import CryptoError, DriverGone, Framework, UsageError
from opencrypto.cli import sample, topview
from opencrypto.cli.sample import Change
from opencrypto.control import Client, client, look, places
from tests.cli.commands import run
from tests.operators.impostor import HELLO, answering, dripping, impostor, saying
from tests.other_users import NOBODY, SOMEBODY, common, give_away, only_root, run_as

__all__ = ["common"]

QUICKLY = 5.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a socket may be."""
    return tmp_path / "it.sock"


# What it says.


WRONG: dict[str, list[object]] = {
    "protocol": [None, "1", True, 1.5, 10**60],
    "version": [1, "x" * 1000],
    "pid": ["7", [7], False],
    "uid": [{}],
    "program": [None, ["it"], "x" * 1000],
    "started": ["1", True, 1e300, [1]],
    "drivers": ["abc", {"a": 1}, [1], [["a"]], ["x" * 1000], 7],
    "sessions": ["many", 1.5],
    "ops": ["many", None, [0]],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_hello_of_a_wrong_type_or_size_is_an_error(
    place: Path, field: str, value: object
) -> None:
    """`ps` died of it."""
    with (
        impostor(place, saying(HELLO | {field: value})),
        Client(place) as it,
        pytest.raises(CryptoError, match=f"does not speak our protocol: '{field}'"),
    ):
        it.hello()


def test_a_hello_is_taken_without_what_is_not_known(place: Path) -> None:
    with impostor(place, saying(HELLO | {"more": "x"})), Client(place) as it:
        assert it.hello() == HELLO


@pytest.mark.parametrize(
    "message",
    [
        "nonsense", "[]", "7", "[" * 100_000, '{"id":null,"error":7}', '{"id":null,"error":{}}',
        '{"id":null,"error":{"errno":"errorcode","message":[]}}',
        '{"id":null,"result":{"ops":NaN}}', '{"id":null,"result":1e999}', '{"id":null}',
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error(place: Path, message: str) -> None:
    with (
        impostor(place, answering(message)),
        Client(place) as it,
        pytest.raises(CryptoError, match="does not speak our protocol"),
    ):
        it.hello()


@pytest.mark.parametrize("code", ["errorcode", "__name__", "ENOSUCH", 7, None, ["EIO"]])
def test_an_error_without_an_errno_is_an_error(place: Path, code: object) -> None:
    said = {"id": None, "error": {"errno": code, "message": "m" * 9000}}
    with impostor(place, answering(said)), Client(place) as it:
        with pytest.raises(CryptoError) as caught:
            it.hello()
        assert len(caught.value.strerror or "") <= client.LONGEST_SENTENCE


@pytest.mark.parametrize("ident", [[], {}, [[1]]])
def test_an_id_that_none_could_have_given_is_passed_over(place: Path, ident: object) -> None:
    lines = json.dumps({"id": ident, "result": 1}) + "\n" + json.dumps({"id": 1, "result": HELLO})
    with impostor(place, answering(lines)), Client(place) as it:
        assert it.hello() == HELLO


@pytest.mark.parametrize(
    ("ask", "result"),
    [
        (lambda it: it.get(), [1]),
        (lambda it: it.get(), {"a": None}),
        (lambda it: it.get(), {"a": {"b": 1}}),
        (lambda it: it.get(), {"a": ["x"]}),
        (lambda it: it.get(), {"x" * 5000: 1}),
        (lambda it: it.nodes(), {}),
        (lambda it: it.nodes(), [{"name": "a"}]),
        (lambda it: it.set("a", 1), {"old": 1}),
        (lambda it: it.trace("start"), {"fields": 7}),
        (lambda it: it.trace("read"), {"entries": [7], "left": 0, "lost": 0}),
        (lambda it: it.trace("read"), {"entries": [], "left": "0", "lost": 0}),
        (lambda it: it.trace("stop"), None),
    ],
)
def test_results_of_wrong_types_are_errors(place: Path, ask: Any, result: object) -> None:
    with (
        impostor(place, saying(result)),
        Client(place) as it,
        pytest.raises(CryptoError, match="does not speak our protocol"),
    ):
        ask(it)


# How long it takes.


@pytest.mark.parametrize("what", [b" ", b'{"id":99}\n', b"x" * 1000])
def test_a_call_has_one_deadline_however_the_answer_drips(place: Path, what: bytes) -> None:
    """Each byte gave it another."""
    with impostor(place, dripping(what)), Client(place, timeout=0.5) as it:
        begun = time.monotonic()
        with pytest.raises(DriverGone, match="no answer in time"):
            it.hello()
        assert time.monotonic() - begun < QUICKLY


def test_who_lets_nobody_in_is_not_waited_for(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(place))
        full.listen(0)
        waiting: list[Client] = []
        begun = time.monotonic()
        with pytest.raises(DriverGone, match="no answer in time"):
            waiting += (Client(place, timeout=0.3) for _ in range(5))
        for each in waiting:
            each.close()
        assert time.monotonic() - begun < QUICKLY


# Who it is.


def test_another_users_process_is_not_believed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the kernel's word is changed; the next test has real users, where it may."""
    if os.geteuid() == 0:
        monkeypatch.setattr(client, "peer_uid", lambda _: NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with (
        impostor(place, saying(HELLO)),
        pytest.raises(UsageError, match="is not believed"),
    ):
        Client(place)


@only_root
def test_users_do_not_believe_each_other(common: Path) -> None:
    """Root believes the user whose the socket's file is, and nobody in his name."""
    path = common / "it.sock"
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(NOBODY)
            with impostor(path, saying(HELLO)):
                path.chmod(0o666)
                os.write(writing, b"!")
                time.sleep(60)
        finally:
            os._exit(0)
    try:
        assert os.read(reading, 1) == b"!"

        def ask() -> str:
            with Client(path) as it:
                return str(it.hello()["program"])

        assert f"user {NOBODY}, which is not believed" in run_as(SOMEBODY, ask)
        assert run_as(NOBODY, ask) == "it"
        assert ask() == "it"
        os.chown(path, SOMEBODY, SOMEBODY)
        with pytest.raises(UsageError, match="is not believed"):
            ask()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


# Where it is.


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the one folder where sockets are looked for."""
    folder = tmp_path / "opencrypto"
    folder.mkdir(mode=0o700)
    monkeypatch.delenv(places.VARIABLE, raising=False)
    monkeypatch.setattr(client, "folders", lambda: [folder])
    return folder


def test_a_usual_folder_that_is_another_users_is_not_looked_into(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with impostor(usual / "1.sock", saying(HELLO)) as path:
        assert look() == ([path], [])
        usual.chmod(0o770)
        assert look()[0] == []
        usual.chmod(0o700)
        give_away(usual, monkeypatch)
        paths, (sentence,) = look()
        assert paths == []
        assert "sockets in it are not believed" in sentence


@only_root
def test_a_folder_of_our_name_that_somebody_else_made_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In /tmp anybody can, and its sockets were taken for one's own."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv(places.VARIABLE, raising=False)
    folder = Path(f"/tmp/opencrypto-{SOMEBODY}")  # noqa: S108 - what is tried
    assert run_as(NOBODY, lambda: folder.mkdir(mode=0o755)) == "None"
    try:
        said = run_as(SOMEBODY, look)
        assert f"{folder} is not a folder that only user {SOMEBODY} can write" in said
        assert str(folder) in str(look()[1]), "root too goes by the name"
        os.chown(folder, SOMEBODY, SOMEBODY)
        assert run_as(SOMEBODY, look) == "([], [])"
    finally:
        folder.rmdir()


def test_a_link_to_a_socket_is_not_followed(tmp_path: Path, usual: Path) -> None:
    """It may lead to a daemon that takes what root asks for something else."""
    with impostor(tmp_path / "other.sock", saying(HELLO)) as path:
        (usual / "1.sock").symlink_to(path)
        assert look() == ([], [])


# What it costs.


@pytest.mark.slow
def test_one_bad_server_costs_one_line(tmp_path: Path) -> None:
    """Each of them, and the good one is listed; nothing of theirs reaches the terminal as it is."""
    folder = tmp_path / "opencrypto"
    folder.mkdir(mode=0o700)
    there = str(tmp_path)
    evil = HELLO | {"program": "\x1b]0;owned\x07\n1  root"}
    with (
        Framework(plugins=False, control=folder / "good.sock"),
        impostor(folder / "\x1b[2J.sock", saying(HELLO | {"ops": "many"})),
        impostor(folder / "slow1.sock", dripping(b" ")),
        impostor(folder / "slow2.sock", dripping(b" ")),
        impostor(folder / "evil.sock", saying(evil)),
    ):
        begun = time.monotonic()
        done = run("ps", XDG_RUNTIME_DIR=there, OPENCRYPTO_CONTROL="0")
        assert time.monotonic() - begun < 20
        lines, troubles = done.stdout.splitlines(), done.stderr.splitlines()
        assert len(lines) == 3, "a head, the good one, and the one with a strange name"
        assert any("good.sock" in line and str(os.getpid()) in line for line in lines)
        assert len(troubles) == 3, done.stderr
        assert sum("no answer in time" in line for line in troubles) == 2
        assert not {"\x1b", "\x07"} & set(done.stdout + done.stderr)
        listed = json.loads(
            run("ps", "--json", XDG_RUNTIME_DIR=there, OPENCRYPTO_CONTROL="0").stdout
        )
        assert len(listed["frameworks"]) == 2
        assert len(listed["refused"]) == 3
    assert stat.S_ISDIR(folder.lstat().st_mode)


@pytest.mark.parametrize("histogram", [[1] * 4000, [1], [], [-1] * 22, 7, "many"])
def test_a_screen_survives_whatever_the_values_are(place: Path, histogram: object) -> None:
    driver = "opencrypto.drivers.x"
    values: dict[str, object] = {
        f"{driver}.hid": "one",
        f"{driver}.class": [1],
        f"{driver}.ops": "\x1b[2J",
    }
    values[f"{driver}.latency.histogram"] = histogram
    with impostor(place, saying(values)), Client(place) as it:
        first = sample.read(it)
        (row,) = topview.rows(Change(first, sample.read(it)), "p99")
        assert (row.name, row.p99, row.rate) == ("x", None, 0)


def test_an_error_brings_no_escape_sequence(place: Path) -> None:
    """By way of the last handler too: what a server says, and what its socket is called."""
    strange = place.with_name("\x1b[2J\n.sock")
    said = {"id": None, "error": {"errno": "EINVAL", "message": "\x1b]0;owned\x07\nall is well"}}
    with impostor(strange, answering(said)):
        done = run("sysctl", "-a", "--socket", strange, status=2)
    gone = run("sysctl", "-a", "--socket", strange, status=2)
    for each in (done, gone):
        assert not {"\x1b", "\x07"} & set(each.stderr)
        assert each.stderr.count("\n") == 1
