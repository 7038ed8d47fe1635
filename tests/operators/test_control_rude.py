"""Slow, rude and hostile clients of the control socket harm nobody else."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import (
    BusyError,
    DriverGone,
    Framework,
)
from opencrypto.control import Client
from opencrypto.control.protocol import MAX_LINE
from opencrypto.control.server import MAX_CLIENTS
from tests.operators.load import Load
from tests.operators.over_socket import client, framework, raw, read_all

__all__ = ["client", "framework"]


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
        assert b"E2BIG" in answer
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


@pytest.mark.slow
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
