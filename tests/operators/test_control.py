"""The control socket: what it answers, to whom, and that nobody can hold it up."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import (
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    BusyError,
    CryptoError,
    Cryptoini,
    Cryptop,
    DriverGone,
    Framework,
    UsageError,
)
from opencrypto.control import Client, find_sockets, places
from opencrypto.control.protocol import MAX_LINE
from opencrypto.control.server import MAX_CLIENTS
from tests.operators.load import Hardware, Instant, Load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def framework(tmp_path: Path) -> Iterator[Framework]:
    """A framework with two drivers and a control socket."""
    with Framework(plugins=[Hardware("hw"), Instant("sw")], control=tmp_path / "it.sock") as it:
        yield it


@pytest.fixture
def client(framework: Framework) -> Iterator[Client]:
    """A client of it."""
    assert framework.control_path is not None
    with Client(framework.control_path) as client:
        yield client


def raw(framework: Framework) -> socket.socket:
    """Connect without our client."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.connect(str(framework.control_path))
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the other end hangs up."""
    received = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not chunk:
            return received
        received += chunk


def test_hello_says_who_is_there(client: Client) -> None:
    """The first question: which process, since when, with which drivers."""
    hello = client.call("hello")
    assert hello["pid"] == os.getpid()
    assert hello["protocol"] == 1
    assert hello["drivers"] == ["hw", "sw"]


def test_values_and_descriptions(framework: Framework, client: Client) -> None:
    """Every name of the tree can be read, alone, by branch, and with its description."""
    assert set(client.get()) == set(framework.sysctl)
    assert client.get("kern.usercrypto") == {"kern.usercrypto": 1}
    assert set(client.get("opencrypto.stats")) == {
        name for name in framework.sysctl if name.startswith("opencrypto.stats.")
    }
    (node,) = client.call("nodes", names=["kern.cryptodevallowsoft"])
    assert (node["low"], node["high"], node["writable"], node["type"]) == (-1, 1, True, "integer")


def test_a_write_takes_effect_at_once(framework: Framework, client: Client) -> None:
    """kern.cryptodevallowsoft, set from outside, changes the driver of the next session."""
    ini = Cryptoini(CRYPTO_NULL_CBC)
    for value, name in ((1, "hw"), (-1, "sw"), (0, "hw")):
        assert client.set("kern.cryptodevallowsoft", value)["new"] == value
        hard = framework.sysctl.integer("kern.cryptodevallowsoft")
        sid = framework.newsession(ini, hard=hard)
        assert framework.drivers[(sid >> 32) - 1].name == name
        framework.freesession(sid)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("kern.usercrypto", 7, errno.EINVAL),
        ("kern.usercrypto", "1", errno.EINVAL),
        ("kern.usercrypto", True, errno.EINVAL),
        ("kern.usercrypto", None, errno.EINVAL),
        ("kern.usercrypto", 1.5, errno.EINVAL),
        ("kern.usercrypto", [1], errno.EINVAL),
        ("opencrypto.stats.ops", 0, errno.EPERM),
        ("opencrypto.nosuch", 0, errno.ENOENT),
        (7, 7, errno.EINVAL),
        ("x" * 1000, 7, errno.EINVAL),
    ],
)
def test_wrong_writes_are_refused(
    framework: Framework, client: Client, name: Any, value: Any, code: int
) -> None:
    """Each comes back as one sentence with its errno, and changes nothing."""
    before = framework.sysctl["kern.usercrypto"]
    with pytest.raises(CryptoError) as caught:
        client.set(name, value)
    assert caught.value.errno == code
    assert len(caught.value.strerror or "") > 10
    assert framework.sysctl["kern.usercrypto"] == before


def test_detach_and_attach_from_outside(framework: Framework, client: Client) -> None:
    """A driver is detached, its sessions migrate, and it can be attached again."""
    sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
    client.call("detach", driver="hw")
    assert [info.name for info in framework.drivers if info.hid is not None] == ["sw"]
    crp = Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None)
    framework.dispatch(crp)
    assert crp.etype == errno.EAGAIN
    with pytest.raises(UsageError, match="nosuch"):
        client.call("attach", driver="nosuch")
    name = client.call("attach", driver="hw")["driver"]
    assert name == "hw"  # the first is gone, though former SIDs still name its slot
    assert name in [info.name for info in framework.drivers if info.hid is not None]


def test_maxlen_set_from_outside_makes_getreq_refuse(framework: Framework, client: Client) -> None:
    """A low limit on the return queue is felt at once, and drops rise."""
    client.set("opencrypto.crypto_ret_q.maxlen", 1)
    hold = threading.Event()
    sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
    answered = []

    def callback(crp: Cryptop) -> None:
        hold.wait(20)
        answered.append(crp)

    for _ in range(4):
        framework.dispatch(Cryptop(sid, callback=callback))
    try:
        deadline = time.monotonic() + 10
        while client.get("opencrypto.crypto_ret_q.len")["opencrypto.crypto_ret_q.len"] < 2:
            assert time.monotonic() < deadline
        assert framework.getreq(1) is None
        assert client.get("opencrypto.crypto_ret_q.drops") == {"opencrypto.crypto_ret_q.drops": 1}
        client.set("opencrypto.crypto_ret_q.maxlen", 0)
        assert framework.getreq(1) is not None
    finally:
        hold.set()


# Who may, and where.


def test_the_socket_is_its_owners(framework: Framework) -> None:
    """Mode 0600 from its first moment, and gone after close."""
    path = framework.control_path
    assert path is not None
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    framework.close()
    assert not path.exists()
    with pytest.raises(UsageError, match="no socket there"):
        Client(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused(framework: Framework, tmp_path: Path) -> None:
    """Even where the file's mode would let him in, another user gets a sentence and no answer."""
    path = framework.control_path
    assert path is not None
    for folder in [path, *path.parents][:-2]:
        os.chmod(folder, 0o777 if folder == path else 0o755)  # noqa: PTH101
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])\n"
        'try: s.sendall(b\'{"v":1,"id":1,"op":"hello"}\\n\')\n'
        "except OSError: pass\n"
        "data = b''\n"
        "try:\n"
        "    while chunk := s.recv(4096): data += chunk\n"
        "except ConnectionResetError: pass\n"
        "print(data.decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["error"]["errno"] == "EPERM"
    assert "result" not in answer


def test_a_stale_socket_is_taken_over(tmp_path: Path) -> None:
    """What a killed process left behind is no obstacle; what a live one has is."""
    path = tmp_path / "it.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Framework(plugins=False, control=path):
        with Client(path) as client:
            assert client.call("hello")["pid"] == os.getpid()
        with pytest.raises(BusyError, match="answers there already"):
            Framework(plugins=False, control=path)
    assert not path.exists()


@pytest.mark.parametrize("what", ["link", "dangling", "file", "folder"])
def test_nothing_but_a_socket_is_taken_over(tmp_path: Path, what: str) -> None:
    """A symbolic link or a file in the socket's place is refused, and left as it is."""
    path, target = tmp_path / "it.sock", tmp_path / "target"
    if what == "folder":
        path.mkdir()
        os.chmod(path, 0o777)  # noqa: PTH101, S103 - writable by others, which is what is refused
    elif what == "file":
        path.write_text("precious")
    else:
        if what == "link":
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(target))
        path.symlink_to(target)
    with pytest.raises(UsageError):
        Framework(plugins=False, control=path)
    assert path.is_dir() if what == "folder" else path.lstat()
    if what == "file":
        assert path.read_text() == "precious"
    if what == "link":
        assert target.is_socket()


def test_a_folder_of_anybody_is_refused(tmp_path: Path) -> None:
    """Where others could replace the socket, none is opened."""
    folder = tmp_path / "open"
    folder.mkdir()
    os.chmod(folder, 0o777)  # noqa: PTH101, S103
    with pytest.raises(UsageError, match="can be changed by others"):
        Framework(plugins=False, control=folder / "it.sock")


def test_the_environment_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENCRYPTO_CONTROL=1 opens a socket in the user's runtime folder, and ps finds it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv(places.VARIABLE, "1")
    with Framework(plugins=False) as first, Framework(plugins=False) as second:
        assert first.control_path == tmp_path / "opencrypto" / f"{os.getpid()}.sock"
        assert second.control_path == tmp_path / "opencrypto" / f"{os.getpid()}-2.sock"
        assert {first.control_path, second.control_path} <= set(find_sockets())
        assert stat.S_IMODE((tmp_path / "opencrypto").stat().st_mode) == 0o700


def test_the_environments_wish_stops_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the variable names an impossible place, the framework runs without a socket."""
    monkeypatch.setenv(places.VARIABLE, str(tmp_path / "no" / "such" / "folder" / "x.sock"))
    with Framework(plugins=False) as framework:
        assert framework.control_path is None


def cannot(what: type[Exception], *args: object) -> Callable[..., Any]:
    """Return a function that fails so."""

    def fails(*_: object, **__: object) -> None:
        raise what(*args)

    return fails


def of_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runtime folder be somebody else's."""
    monkeypatch.setattr(Path, "mkdir", cannot(PermissionError, errno.EACCES, "Permission denied"))


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file system be read-only."""
    monkeypatch.setattr(Path, "mkdir", cannot(OSError, errno.EROFS, "Read-only file system"))


def a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a file where the folder should be."""
    (folder / "opencrypto").write_text("")


def no_descriptors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no descriptor left for the pair of sockets that wakes the thread."""
    monkeypatch.setattr(socket, "socketpair", cannot(OSError, errno.EMFILE, "Too many open files"))


def no_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no thread left for it."""
    start = threading.Thread.start

    def fails(self: threading.Thread) -> None:
        if self.name == "opencrypto-control":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", fails)


@pytest.mark.parametrize("hindered", [of_another, read_only, a_file, no_descriptors, no_threads])
def test_what_hinders_the_socket_ends_no_program(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hindered: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    """With OPENCRYPTO_CONTROL=1 it runs on, and logs why; nothing is left of the attempt."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv(places.VARIABLE, "1")
    with monkeypatch.context() as patch:
        hindered(tmp_path, patch)
        with Framework(plugins=False) as framework:
            assert framework.control_path is None
        with pytest.raises(CryptoError):
            Framework(plugins=False, control=True)
    assert "control_not_opened" in caplog.text
    assert not list(tmp_path.glob("opencrypto/*.sock"))


def test_a_framework_whose_socket_is_refused_leaves_no_thread(tmp_path: Path) -> None:
    """`control=` that cannot be met raises, and its framework has gone with it."""
    before = set(threading.enumerate())
    with pytest.raises(UsageError):
        Framework(plugins=False, control=tmp_path / "no" / "it.sock")
    assert set(threading.enumerate()) <= before


def test_a_flood_of_failing_accepts_is_logged_once_a_second(
    framework: Framework, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Out of descriptors it tries again 20 times a second, which the log need not hear."""
    server = framework._control
    assert server is not None
    tries = [0]

    class Failing:
        def accept(self) -> None:
            tries[0] += 1
            raise OSError(errno.EMFILE, "Too many open files")

    real = server._listener
    monkeypatch.setattr(server, "_listener", Failing())
    for _ in range(20):
        server._accept()
    monkeypatch.setattr(server, "_listener", real)
    assert tries == [20]
    assert 1 <= caplog.text.count("control_accept_failed") <= 2


def test_no_thread_and_no_socket_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework opens nothing by itself."""
    monkeypatch.delenv(places.VARIABLE, raising=False)
    with Framework(plugins=False) as framework:
        assert framework.control_path is None
        assert "opencrypto-control" not in {thread.name for thread in threading.enumerate()}


def test_a_forked_child_leaves_it_to_its_parent(framework: Framework, client: Client) -> None:
    """The child has no thread and no socket of it, and its end does not remove the parent's."""
    pid = os.fork()
    if pid == 0:
        framework.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert framework.control_path is not None
    assert framework.control_path.exists()
    assert client.call("hello")["pid"] == os.getpid()


# Slow, rude and hostile clients.


def test_a_line_without_end_is_cut_off(framework: Framework, client: Client) -> None:
    """Somebody sends a gigabyte without a newline: cut off with a sentence after 64 KiB."""
    with raw(framework) as rude:
        sent = 0
        chunk = b"x" * (1 << 20)
        try:
            while sent < 1 << 30:
                sent += rude.send(chunk)
        except OSError:
            pass
        assert sent < 64 << 20
        answer = read_all(rude)
        assert not answer or b"E2BIG" in answer
    assert client.call("hello")


def test_a_long_line_gets_its_sentence(framework: Framework) -> None:
    """One that is just too long is told so."""
    with raw(framework) as rude:
        rude.sendall(b"x" * (MAX_LINE + 1))
        assert json.loads(read_all(rude))["error"]["errno"] == "E2BIG"


def test_a_thousand_half_open_clients_lock_nobody_out(framework: Framework) -> None:
    """Connections that say nothing make room for one that does, and cost no descriptors."""
    silent = []
    for _ in range(1000):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(framework.control_path))
        silent.append(connection)
    try:
        assert framework.control_path is not None
        start = time.monotonic()
        with Client(framework.control_path) as client:
            assert client.call("hello")["pid"] == os.getpid()
        assert time.monotonic() - start < 2
        assert framework._control is not None
        assert len(framework._control._peers) <= MAX_CLIENTS
    finally:
        for connection in silent:
            connection.close()


def test_clients_that_speak_are_not_pushed_out(framework: Framework) -> None:
    """The limit on clients refuses the next one with a sentence."""
    assert framework.control_path is not None
    clients = []
    try:
        for _ in range(MAX_CLIENTS):
            clients.append(Client(framework.control_path))
            clients[-1].call("hello")
        with Client(framework.control_path) as late, pytest.raises(BusyError, match="too many"):
            late.call("hello")
        assert all(client.call("hello") for client in clients)
    finally:
        for client in clients:
            client.close()


def test_who_does_not_read_his_answers_waits_alone(framework: Framework, client: Client) -> None:
    """A client that asks without end and reads nothing holds up nobody else."""
    with raw(framework) as rude:
        rude.setblocking(False)
        line = b'{"v":1,"id":1,"op":"nodes"}\n' * 1000
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                rude.send(line)
            except BlockingIOError:
                pass
            start = time.monotonic()
            assert client.call("get", names=["kern"])
            assert time.monotonic() - start < 1.0


@pytest.mark.slow
def test_the_silent_are_cut_off(framework: Framework) -> None:
    """Half a line and then nothing: gone after five seconds, with a sentence."""
    with raw(framework) as rude:
        rude.sendall(b'{"v":1')
        assert b"nothing asked within 5 seconds" in read_all(rude)


def test_the_rate_is_limited(framework: Framework) -> None:
    """Beyond a burst, requests of one client wait for their turn; none is lost."""
    with raw(framework) as eager:
        start = time.monotonic()
        eager.sendall(b'{"v":1,"id":1,"op":"get","names":["kern"]}\n' * 250)
        received = b""
        while received.count(b"\n") < 250:
            received += eager.recv(65536)
        assert 0.3 < time.monotonic() - start < 5


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"v":2,"op":"hello"}',
        b'{"v":1}',
        b'{"v":1,"op":"__class__"}',
        b'{"v":1,"op":["hello"]}',
        b'{"v":1,"id":{},"op":"hello"}',
        b'{"v":1,"op":"get","names":"kern"}',
        b'{"v":1,"op":"get","names":[1]}',
        b'{"v":1,"op":"trace","action":"read"}',
        b'{"v":1,"op":"set","name":"kern.usercrypto","value":' + b"9" * 5000 + b"}",
        b'{"v":1,"op":"set","name":"kern.usercrypto","value":NaN}',
        b'{"v":1,"op":"set","name":"\\ud800","value":1}',
        b"[" * 60000,
        b"\xff\xfe\x00\x01",
    ],
)
def test_nonsense_gets_a_sentence(framework: Framework, line: bytes) -> None:
    """Whatever comes, one line of JSON goes back that says what was wrong, and service goes on."""
    with raw(framework) as rude:
        rude.sendall(line + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            received += rude.recv(65536)
        assert json.loads(received)["error"]["message"]
        rude.sendall(b'{"v":1,"id":"still","op":"hello"}\n')
        assert json.loads(rude.recv(65536))["id"] == "still"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(noise=st.binary(max_size=2000))
def test_noise_breaks_nothing(framework: Framework, noise: bytes) -> None:
    """Random bytes never stop the server, and the log of it never names the unforeseen."""
    with raw(framework) as rude:
        rude.sendall(noise)
    assert framework.control_path is not None
    with Client(framework.control_path) as client:
        assert client.call("hello")["pid"] == os.getpid()


def test_mutated_requests_break_nothing(framework: Framework) -> None:
    """Requests with a few bytes changed are answered or refused, one line each."""
    seeds = [
        b'{"v":1,"id":1,"op":"get","names":["kern"]}',
        b'{"v":1,"id":2,"op":"set","name":"kern.usercrypto","value":1}',
        b'{"v":1,"id":3,"op":"trace","action":"start"}',
        b'{"v":1,"id":4,"op":"detach","driver":"nobody"}',
    ]
    chance = random.Random(7)
    for _ in range(8):
        with raw(framework) as rude:
            for _ in range(25):
                line = bytearray(chance.choice(seeds))
                for _ in range(chance.randrange(4)):
                    line[chance.randrange(len(line))] = chance.randrange(256)
                rude.sendall(bytes(line).replace(b"\n", b" ") + b"\n")
                received = b""
                while not received.endswith(b"\n"):
                    received += rude.recv(65536)
                assert json.loads(received)["v"] == 1


def test_a_busy_framework_does_not_notice(framework: Framework) -> None:
    """Hostile traffic beside a load: every request is still counted and answered."""
    with Load(framework, threads=4, pause=0.001) as load:
        for _ in range(50):
            with raw(framework) as rude:
                rude.send(b"\x00" * 4096)
    assert framework.sysctl["opencrypto.stats.ops"] == load.ops


def test_a_vanished_process_is_named(tmp_path: Path) -> None:
    """A socket whose process is gone says so."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "it.sock"))
    with pytest.raises(DriverGone, match="process is gone"):
        Client(tmp_path / "it.sock")


# Traces, and what never leaves.


def test_a_trace_has_sizes_and_no_content(framework: Framework, client: Client) -> None:
    """What is recorded is who did what, how large, how long, with which result."""
    sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
    fields = client.call("trace", action="start")["fields"]
    other = Client(client.path)
    with other, pytest.raises(BusyError):
        other.call("trace", action="start")
    for size in (64, 1500):
        crp = framework.getreq(1)
        assert crp is not None
        crp.sid, crp.ilen, crp.flags, crp.callback = sid, size, CRYPTO_F_CBIMM, lambda crp: None
        crp.desc[0].alg, crp.desc[0].len = CRYPTO_NULL_CBC, size
        framework.dispatch(crp)
    client.call("trace", action="stop")
    answer = client.call("trace", action="read")
    entries = [dict(zip(fields, entry, strict=True)) for entry in answer["entries"]]
    assert [entry["size"] for entry in entries] == [64, 1500]
    assert entries[1]["desc"] == [[CRYPTO_NULL_CBC, 0, 1500, 0, 0]]
    assert {entry["driver"] for entry in entries} == {"hw"}
    assert answer["lost"] == answer["left"] == 0


def test_a_trace_ends_with_its_client(framework: Framework) -> None:
    """Whoever hangs up leaves no trace running."""
    assert framework.control_path is not None
    with Client(framework.control_path) as client:
        client.call("trace", action="start")
        assert framework._dispatcher.watcher.watch is not None
    deadline = time.monotonic() + 5
    while framework._dispatcher.watcher.watch is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert framework._dispatcher.watcher.watch is None


def test_no_key_and_no_content_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Canaries in key, IV and data are in no answer, no error and no line of the log."""
    import opencrypto_swcrypto
    from opencrypto import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRYPTO_AES_CBC

    canary = b"canarycanarycana"
    forms = [canary, canary.hex().encode(), str(list(canary)).encode()]
    path = tmp_path / "it.sock"
    caplog.set_level("DEBUG", logger="opencrypto")
    with (
        Framework(plugins=[opencrypto_swcrypto], control=path) as framework,
        Client(path) as client,
    ):
        client.call("trace", action="start")
        client.set("opencrypto.timing", 1)
        sid = framework.newsession(Cryptoini(CRYPTO_AES_CBC, key=canary))
        for buf in (bytearray(canary * 4), canary, bytearray(canary[:5])):
            crp = framework.getreq(1)
            assert crp is not None
            crp.sid, crp.ilen, crp.flags, crp.buf = sid, 64, CRYPTO_F_CBIMM, buf
            crp.callback = lambda crp: None
            crd = crp.desc[0]
            crd.alg, crd.len, crd.iv = CRYPTO_AES_CBC, len(buf), canary
            crd.flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT
            framework.dispatch(crp)
        heard = []
        for op, more in (
            ("hello", {}),
            ("get", {}),
            ("nodes", {}),
            ("drivers", {}),
            ("trace", {"action": "read"}),
            ("set", {"name": "kern.usercrypto", "value": 5}),
            ("detach", {"driver": "nobody"}),
        ):
            try:
                heard.append(json.dumps(client.call(op, **more)))
            except CryptoError as error:
                heard.append(str(error))
    text = ("\n".join(heard) + caplog.text).encode()
    assert not [form for form in forms if form in text]
