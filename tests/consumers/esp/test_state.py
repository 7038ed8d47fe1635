"""Numbers that are kept from run to run, whatever ended the run before."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opencrypto import BusyError, CryptoError, Framework, UsageError
from opencrypto_esp import Direction, Esp, Reason, ReplayWindow, SecurityAssociation
from opencrypto_esp.state import LEAST, MOST
from tests.consumers.esp.packets import ipv4, key, make_sa
from tests.other_users import give_away, run_as

pytestmark = pytest.mark.shared_framework

OUT = make_sa("aes-gcm-16", direction=Direction.OUT)
IN = replace(OUT, direction=Direction.IN)
PACKET = ipv4(b"payload")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "state.json"


def sequence(wire: bytes | None) -> int:
    """Return the number of a packet."""
    assert wire is not None
    return int.from_bytes(wire[24:28])


def send(framework: Framework, state: Path, count: int = 1) -> list[int]:
    """Send packets, in a run of its own; return their numbers."""
    with Esp(framework, [OUT], state=state) as esp:
        return [sequence(esp.protect(PACKET).packet) for _ in range(count)]


@pytest.fixture
def wires(framework: Framework) -> list[bytes]:
    """Packets from the other end."""
    with Esp(framework, [OUT]) as esp:
        return [esp.protect(PACKET).packet or b"" for _ in range(3 * LEAST)]


def taken(framework: Framework, state: Path, wires: list[bytes]) -> list[bool]:
    """Receive packets, in a run of its own; tell which were taken."""
    with Esp(framework, [IN], state=state) as esp:
        return [esp.unprotect(wire).packet is not None for wire in wires]


# Runs that end well.


def test_a_sender_goes_on_where_it_ended(framework: Framework, state: Path) -> None:
    assert send(framework, state, 3) == [1, 2, 3]
    assert send(framework, state, 2) == [4, 5], "and no number is lost"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_a_restarted_receiver_takes_no_old_packet(
    framework: Framework, state: Path, wires: list[bytes]
) -> None:
    """It accepted everything again."""
    assert taken(framework, state, wires[:5] + wires[6:8]) == [True] * 7
    assert taken(framework, state, wires[:9]) == [False] * 5 + [True] + [False] * 2 + [True]


@pytest.mark.parametrize("sa", [OUT, IN], ids=["out", "in"])
def test_a_run_without_a_packet_changes_nothing(
    framework: Framework, state: Path, sa: SecurityAssociation
) -> None:
    for _ in range(2):
        Esp(framework, [sa], state=state).close()
    (record,) = json.loads(state.read_text())["sas"]
    assert record["sequence" if sa is OUT else "top"] == 0


def test_no_key_is_in_it(framework: Framework, state: Path) -> None:
    send(framework, state)
    assert OUT.encryption_key.hex() not in state.read_text()


@pytest.mark.parametrize("size", [16, 64, 200])
def test_a_window_of_another_size_takes_nothing_twice(size: int) -> None:
    """What the old one could not tell counts as seen."""
    old, new = ReplayWindow(64), ReplayWindow(size)
    for seq in range(1, 300, 2):
        old.update(seq)
    new.resume(old.top, old.size, old.seen)
    fresh = {seq for seq in range(1, 300) if new.check(seq) is None}
    assert fresh == set(range(max(300 - min(size, 64), 0) & ~1, 299, 2))


# Runs that do not.


def killed(work: Callable[[Callable[[int], None]], None], count: int) -> list[int]:
    """Do `work` in a child, and kill it when it has told `count` numbers; return all it told."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            telling = os.fdopen(writing, "w")
            work(lambda number: print(number, file=telling, flush=True))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as heard:
        told = [int(heard.readline()) for _ in range(count)]
        os.kill(pid, signal.SIGKILL)
        told += [int(line) for line in heard if line.endswith("\n")]
    os.waitpid(pid, 0)
    return told


@pytest.mark.parametrize("count", [1, LEAST, 5 * LEAST])
def test_a_killed_sender_uses_no_number_twice(
    framework: Framework, state: Path, count: int
) -> None:
    def work(tell: Callable[[int], None]) -> None:
        with Framework(["swcrypto"]) as own, Esp(own, [OUT], state=state) as esp:
            while True:
                tell(sequence(esp.protect(PACKET).packet))

    used = killed(work, count)
    (after,) = send(framework, state)
    assert max(used) < after <= max(used) + MOST + 1


@pytest.mark.parametrize("count", [1, LEAST + 5])
def test_a_killed_receiver_takes_no_packet_twice(
    framework: Framework, state: Path, wires: list[bytes], count: int
) -> None:
    """It takes none of what it had reserved, and goes on behind."""

    def work(tell: Callable[[int], None]) -> None:
        with Framework(["swcrypto"]) as own, Esp(own, [IN], state=state) as esp:
            for wire in wires[:count]:
                assert esp.unprotect(wire).packet is not None
                tell(sequence(wire))
            signal.pause()

    assert len(killed(work, count)) == count
    (record,) = json.loads(state.read_text())["sas"]
    again = taken(framework, state, wires)
    assert not any(again[: record["top"]])
    assert record["top"] >= count
    assert again[record["top"] :] == [True] * (len(wires) - record["top"])


def test_a_forked_child_sends_nothing(framework: Framework, state: Path) -> None:
    """It would send its parent's numbers; and its end leaves the parent's state alone."""
    with Esp(framework, [OUT], state=state) as esp:
        assert sequence(esp.protect(PACKET).packet) == 1
        before = state.read_bytes()
        pid = os.fork()
        if pid == 0:
            try:
                refused = esp.protect(PACKET).reason is Reason.NOT_KEPT
                esp.close()
                os._exit(3 if refused else 4)
            finally:
                os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        assert state.read_bytes() == before
        assert sequence(esp.protect(PACKET).packet) == 2


@contextmanager
def full_disk() -> Iterator[None]:
    """Have no file grow beyond some bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_on_a_full_disk_nothing_is_sent_that_is_not_reserved(
    framework: Framework, state: Path
) -> None:
    esp = Esp(framework, [OUT], state=state)
    with full_disk():
        assert esp.protect(PACKET).reason is Reason.NOT_KEPT
    assert sequence(esp.protect(PACKET).packet) == 1
    with full_disk():
        while (sent := esp.protect(PACKET)).packet is not None:
            last = sequence(sent.packet)
        assert sent.reason is Reason.NOT_KEPT
        (record,) = json.loads(state.read_text())["sas"]
        assert last == record["sequence"]
        with pytest.raises(CryptoError, match="count as used"):
            esp.close()
    assert list(state.parent.iterdir()) == [state]
    assert send(framework, state) == [last + 1]
    assert esp.protect(PACKET).reason is Reason.NOT_KEPT, "it is closed"


def test_on_a_full_disk_nothing_is_received(
    framework: Framework, state: Path, wires: list[bytes]
) -> None:
    with Esp(framework, [IN], state=state) as esp:
        with full_disk():
            assert esp.unprotect(wires[0]).reason is Reason.NOT_KEPT
        assert esp.unprotect(wires[0]).packet == PACKET
        assert esp.unprotect(wires[0]).reason is Reason.REPLAYED


def test_on_a_full_disk_it_is_said_at_once(framework: Framework, state: Path) -> None:
    with full_disk(), pytest.raises(OSError, match=r"state\.json"):
        Esp(framework, [OUT], state=state)
    assert not state.exists()


# Files that are not taken.


def test_two_processes_do_not_share_it(framework: Framework, state: Path) -> None:
    with Esp(framework, [OUT], state=state) as esp:
        for _ in range(3):
            with pytest.raises(BusyError, match="in use by another process"):
                Esp(framework, [OUT], state=state)
            said = run_as(os.geteuid(), lambda: Esp(framework, [OUT], state=state))
            assert "in use by another process" in said
            assert sequence(esp.protect(PACKET).packet), "which replaces the file"
    assert send(framework, state) == [4]


def test_what_was_removed_in_use_is_noticed(framework: Framework, state: Path) -> None:
    """Another process could have begun anew with the same name."""
    esp = Esp(framework, [OUT], state=state)
    state.unlink()
    assert esp.protect(PACKET).reason is Reason.NOT_KEPT
    with pytest.raises(CryptoError, match="removed or exchanged"):
        esp.close()


def document(state: Path, **changes: Any) -> str:
    """Return what is in a state, with changes to its one record."""
    whole = json.loads(state.read_text())
    whole["sas"][0] |= changes
    return json.dumps(whole)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda state: state.read_text()[:-20],
        lambda _: "[" * 100_000,
        lambda _: "[]",
        lambda _: '{"format": "opencrypto-esp-state", "version": 1}',
        lambda state: document(state, top=-1),
        lambda state: document(state, top=True),
        lambda state: document(state, top="9"),
        lambda state: document(state, top=1 << 64),
        lambda state: document(state, seen="x"),
        lambda state: document(state, seen=None),
        lambda state: document(state, seen="f" * 17),
        lambda state: document(state, window=1 << 20),
        lambda state: document(state, direction="both"),
        lambda state: document(state, direction=[]),
        lambda state: document(state, mac=7),
        lambda state: json.dumps(json.loads(state.read_text()) | {"salt": 5}),
        lambda state: json.dumps(json.loads(state.read_text()) | {"sas": {}}),
    ],
)
def test_a_damaged_one_is_refused(
    framework: Framework, state: Path, damage: Callable[[Path], str]
) -> None:
    Esp(framework, [IN], state=state).close()
    text = damage(state)
    state.write_text(text)
    with pytest.raises(UsageError, match=r"damaged|other SAs"):
        Esp(framework, [IN], state=state)
    assert state.read_text() == text, "it is left as it is"


@pytest.mark.parametrize(
    "other",
    [
        [IN],
        [replace(OUT, spi=0x3003)],
        [replace(OUT, encryption_key=key(36, 5))],
        [replace(OUT, esn=True)],
        [OUT, replace(OUT, spi=0x3003)],
    ],
    ids=["direction", "spi", "key", "esn", "one more"],
)
def test_that_of_other_associations_is_refused(
    framework: Framework, state: Path, other: list[SecurityAssociation]
) -> None:
    send(framework, state)
    with pytest.raises(UsageError, match="other SAs or other keys"):
        Esp(framework, other, state=state)
    assert send(framework, state) == [2]


def test_that_of_another_version_is_refused(framework: Framework, state: Path) -> None:
    send(framework, state)
    state.write_text(json.dumps(json.loads(state.read_text()) | {"version": 2}))
    with pytest.raises(UsageError, match="no state of ESP that this version knows"):
        Esp(framework, [OUT], state=state)


def test_that_of_another_user_is_refused(
    framework: Framework, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(framework, state)
    give_away(state, monkeypatch)
    monkeypatch.chdir(state.parent)
    with pytest.raises(UsageError, match="belongs to user"):
        Esp(framework, [OUT], state=Path(state.name))


def test_one_that_others_may_read_is_refused(framework: Framework, state: Path) -> None:
    send(framework, state)
    state.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        Esp(framework, [OUT], state=state)


def test_one_that_others_can_take_away_is_refused(framework: Framework, tmp_path: Path) -> None:
    """Without it a receiver would begin anew, and take old packets."""
    folder = tmp_path / "common"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="others can take it away"):
        Esp(framework, [OUT], state=folder / "state.json")
    folder.chmod(0o1777)
    assert send(framework, folder / "state.json") == [1]
    assert send(framework, folder / "state.json") == [2]


@pytest.mark.parametrize("what", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused(framework: Framework, tmp_path: Path, what: str) -> None:
    paths = {"folder": tmp_path, "pipe": tmp_path / "pipe", "device": Path("/dev/null")}
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no regular file"):
        Esp(framework, [OUT], state=paths[what])


def test_where_no_replay_is_looked_for_nothing_can_be_kept(
    framework: Framework, state: Path
) -> None:
    with pytest.raises(UsageError, match="looks for no replays"):
        Esp(framework, [replace(IN, replay_window=0)], state=state)
    assert not state.exists()
