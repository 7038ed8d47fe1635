"""A long answer is made in slices: nobody else waits for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from opencrypto import CRYPTO_NULL_CBC, Cryptoini, Framework, UsageError
from opencrypto._core.census import STEP
from opencrypto.control import Client, operations, peer, work
from opencrypto.sysctl import Node
from tests.operators.over_socket import client, framework, raw

__all__ = ["client", "framework"]

LONG = 2.0
"""Seconds that reading the whole slow branch takes."""

MANY = 400


def slow_branch() -> Iterator[Node]:
    """Names of which each takes some milliseconds to read."""

    def get() -> int:
        time.sleep(LONG / MANY)
        return 7

    for number in range(MANY):
        yield Node(f"slow.n{number}", "one of many", get)


@pytest.mark.slow
def test_while_one_reads_a_big_tree_others_are_answered(
    framework: Framework, client: Client
) -> None:
    """One ``get`` held the thread for over a second."""
    framework.sysctl.graft(slow_branch, "slow.")
    with raw(framework) as greedy:
        greedy.sendall(b'{"v":1,"id":1,"op":"get","names":["slow"]}\n')
        longest, answered = 0.0, 0
        begun = time.monotonic()
        while time.monotonic() < begun + LONG / 2:
            asked = time.monotonic()
            client.hello()
            longest = max(longest, time.monotonic() - asked)
            answered += 1
        assert answered > 5
        assert longest < LONG / 4
        received = b""
        while not received.endswith(b"\n"):
            received += greedy.recv(65536)
    assert json.loads(received)["result"] == {f"slow.n{n}": 7 for n in range(MANY)}


def test_no_slice_is_longer_than_it_may_be(
    framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted on a clock that each piece puts forward by a millisecond."""
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    monkeypatch.setattr(work, "time", Clock)

    def pieces() -> Iterator[str]:
        nonlocal now
        for _ in range(50):
            now += 0.001
            yield "1"

    with raw(framework) as connection:
        making = work.Work(peer.Peer(connection, 0, 0.0), 5, pieces())
        spans = []
        answer = None
        while answer is None:
            begun = now
            answer = making.go_on(work.Slice(work.SLICE))
            spans.append(now - begun)
    assert answer == b'{"v":1,"id":5,"result":' + b"1" * 50 + b"}\n"
    assert len(spans) == 3
    assert max(spans) <= work.SLICE + 0.001
    assert work.SLICE <= 0.02


@pytest.mark.parametrize("names", [["many.a"] * 2, [f"many.n{n}" for n in range(1000)], ["many"]])
def test_a_branch_is_made_once_for_all_names_of_a_request(
    framework: Framework, client: Client, names: list[str]
) -> None:
    """A thousand names made it a thousand times: 83 s with 500 drivers."""
    made = 0
    all_names = ["a", *map("n{}".format, range(1000))]

    def branch() -> list[Node]:
        nonlocal made
        made += 1
        return [Node(f"many.{name}", "x", lambda: 1) for name in all_names]

    framework.sysctl.graft(branch, "many.")
    assert set(client.get(*names)) >= set(names) - {"many"}
    assert made == 1
    assert len(client.nodes(*names)) == len(client.get(*names))


def test_each_name_comes_once(client: Client) -> None:
    """Asked for by itself and by its branch."""
    listed = [node["name"] for node in client.nodes("kern", "kern.usercrypto", "kern")]
    assert len(listed) == len(set(listed)) == 3


def test_a_wrong_name_has_its_hint_and_no_answer_beside(client: Client) -> None:
    with pytest.raises(UsageError, match=r"did you mean kern\.usercrypto"):
        client.get("kern", "kern.usercrypt")
    assert client.get("kern.usercrypto") == {"kern.usercrypto": 1}


def test_what_a_name_raises_is_an_error_of_the_whole(framework: Framework, client: Client) -> None:
    def fail() -> int:
        raise ZeroDivisionError

    framework.sysctl.graft(lambda: [Node("bad.one", "x", fail)], "bad.")
    with pytest.raises(OSError, match="internal error: ZeroDivisionError"):
        client.get("bad")
    assert client.get("kern.usercrypto")


def test_who_hangs_up_meanwhile_is_forgotten(framework: Framework, client: Client) -> None:
    framework.sysctl.graft(slow_branch, "slow.")
    with raw(framework) as greedy:
        greedy.sendall(b'{"v":1,"id":1,"op":"get","names":["slow"]}\n')
        client.hello()
    assert client.hello()


def pieces(framework: Framework, op: str, **parameters: object) -> list[str]:
    """Make the answer to a request, piece by piece."""
    return list(operations.OPERATIONS[op](framework, {"op": op, **parameters}))


@pytest.mark.parametrize("name", ["opencrypto.sessions.oldest", "opencrypto.drivers.sw.inflight"])
def test_what_looks_at_every_session_gives_way_as_it_goes(framework: Framework, name: str) -> None:
    """One step over 100 000 sessions held the thread for up to 84 ms."""
    few = pieces(framework, "get", names=[name])
    sids = [framework.newsession(Cryptoini(CRYPTO_NULL_CBC), driver="sw") for _ in range(3 * STEP)]
    many = pieces(framework, "get", names=[name])
    assert many.count("") >= few.count("") + 3
    assert json.loads("".join(many)) == {name: pytest.approx(framework.sysctl[name], abs=60)}
    for sid in sids:
        framework.freesession(sid)


def test_a_hello_gives_way_between_what_it_says(framework: Framework) -> None:
    """It asked for all drivers and all counts in one step."""
    made = pieces(framework, "hello")
    assert len(made) > len(json.loads("".join(made)))


def test_a_wrong_name_to_write_is_looked_for_step_by_step(
    framework: Framework, client: Client
) -> None:
    """The names that are like it were sought in one step: 100 ms with 500 drivers."""
    making = operations.OPERATIONS["set"](framework, {"name": "kern.usercrypt", "value": 1})
    steps = 0
    with pytest.raises(UsageError, match=r"did you mean kern\.usercrypto"):
        for piece in making:
            assert not piece
            steps += 1
    assert steps > len(framework.sysctl)
    with pytest.raises(UsageError, match=r"did you mean kern\.usercrypto"):
        client.set("kern.usercrypt", 1)


def test_operations_and_jobs_are_no_others() -> None:
    assert not {*operations.OPERATIONS} & {*operations.JOBS}
