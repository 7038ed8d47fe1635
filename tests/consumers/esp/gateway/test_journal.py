"""Numbers of associations that come and go: none is sent or taken twice, whatever ends a run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from opencrypto import BusyError, CryptoError, Framework, UsageError
from opencrypto_esp import Direction, Mode, Reason, SecurityAssociation
from opencrypto_esp.gateway import Associations, Journal, tops
from opencrypto_esp.gateway.journal import REMEMBERED

KEY = bytes(range(20))


def sa(spi: int, direction: Direction, key: bytes = KEY, **fields: object) -> SecurityAssociation:
    """Make an SA of a tunnel."""
    ends = ("192.0.2.1", "192.0.2.2")
    if (direction is Direction.IN) == (spi & 1):
        ends = ends[::-1]
    return SecurityAssociation(
        spi=spi, direction=direction, mode=Mode.TUNNEL,
        tunnel_source=ip_address(ends[0]), tunnel_destination=ip_address(ends[1]),
        encryption="aes-gcm-16", encryption_key=key[:-5] + bytes((spi & 0xFF,)) + key[-4:],
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip


OUT, IN = sa(0x1000, Direction.OUT), sa(0x1001, Direction.IN)
THERE, BACK = replace(OUT, direction=Direction.IN), replace(IN, direction=Direction.OUT)
PACKET = b"\x45\0\0\x14" + bytes(4) + b"\x40\xfd" + bytes(10)


def crash(path: Path) -> Path:
    """Return the files as a process leaves them that is killed now."""
    left = path.with_name(f"left-{time.monotonic_ns()}")
    for found, name in (
        (path, left.name),
        (path.with_name(f"{path.name}.tops"), f"{left.name}.tops"),
    ):
        shutil.copy2(found, left.with_name(name))
    return left


@pytest.fixture
def framework() -> Iterator[Framework]:
    """Return a framework."""
    with Framework() as made:
        yield made


class Side:
    """One end, with its journal."""

    def __init__(self, framework: Framework, path: Path, *sas: SecurityAssociation) -> None:
        self.now = 0.0
        self.path = path
        self.journal = Journal(path)
        self.links = Associations(
            framework, sas, self.journal, lambda: self.now, test_keys=True, grace=10
        )

    def send(self, many: int = 1) -> list[bytes]:
        """Protect some packets."""
        found = [result.packet for result in self.links.protect([PACKET] * many)]
        assert all(found)
        return [packet for packet in found if packet is not None]

    def take(self, packets: list[bytes]) -> list[Reason | None]:
        """Unprotect packets, as the loop does."""
        results = list(self.links.unprotect(packets))
        self.journal.note()
        return [result.reason for result in results]

    def close(self) -> None:
        """End well."""
        self.links.close()
        self.journal.close()

    def kill(self) -> Path:
        """End as a crash does, and return where the state was left."""
        left = crash(self.path)
        self.close()
        return left


def sequence(packet: bytes) -> int:
    """Return an ESP packet's sequence number."""
    return int.from_bytes(packet[24:28])


def test_numbers_go_on_from_run_to_run(framework: Framework, tmp_path: Path) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    assert [sequence(each) for each in side.send(5)] == [1, 2, 3, 4, 5]
    side.close()
    assert not (tmp_path / "state.tops").exists()
    side = Side(framework, tmp_path / "state", OUT, IN)
    assert sequence(side.send()[0]) == 6
    side.close()
    side.journal.close()


def test_after_a_crash_what_was_reserved_counts_as_sent(
    framework: Framework, tmp_path: Path
) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    highest = sequence(side.send(100)[-1])
    side.journal.look_ahead()
    left = side.kill()
    side = Side(framework, left, OUT, IN)
    assert sequence(side.send()[0]) > highest
    side.close()


def test_after_a_crash_what_was_received_is_known_to_the_packet(
    framework: Framework, tmp_path: Path
) -> None:
    peer = Side(framework, tmp_path / "peer", THERE, BACK)
    side = Side(framework, tmp_path / "state", OUT, IN)
    packets = peer.send(101)
    assert side.take(packets[:100]) == [None] * 100
    side = Side(framework, side.kill(), OUT, IN)
    assert set(side.take(packets[:100])) <= {Reason.REPLAYED, Reason.TOO_OLD}
    assert side.take(packets[100:]) == [None]
    side.close()
    peer.close()


def test_when_the_machine_has_crashed_what_was_reserved_counts_as_received(
    framework: Framework, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Side(framework, tmp_path / "peer", THERE, BACK)
    side = Side(framework, tmp_path / "state", OUT, IN)
    packets = peer.send(200)
    side.take(packets[:5])
    left = side.kill()
    monkeypatch.setattr(tops, "boot", lambda: b"another".ljust(40))
    side = Side(framework, left, OUT, IN)
    reasons = side.take(packets)
    assert reasons[:5] != [None] * 5
    assert None not in reasons[:32]
    assert reasons[-1] is None
    side.close()
    peer.close()


@pytest.mark.parametrize("damage", [b"", b"x" * 100, b"esp-tops" + bytes(40) + bytes(39)])
def test_what_stands_beside_and_is_damaged_is_not_believed(
    framework: Framework, tmp_path: Path, damage: bytes
) -> None:
    peer = Side(framework, tmp_path / "peer", THERE, BACK)
    side = Side(framework, tmp_path / "state", OUT, IN)
    packets = peer.send(40)
    side.take(packets[:5])
    left = side.kill()
    left.with_name(f"{left.name}.tops").write_bytes(damage)
    side = Side(framework, left, OUT, IN)
    assert None not in side.take(packets[:5])
    side.close()
    peer.close()


def test_an_association_that_comes_back_goes_on(framework: Framework, tmp_path: Path) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    side.send(3)
    new = sa(0x2000, Direction.OUT), sa(0x2001, Direction.IN)
    side.links.renew(new)
    assert sequence(side.send()[0]) == 1
    side.links.renew((OUT, IN))
    assert sequence(side.send()[0]) == 4
    side.now = 100.0
    assert side.links.expire() is None
    side.links.renew(new)
    assert sequence(side.send()[0]) == 2
    side.close()
    side = Side(framework, tmp_path / "state", OUT, IN)
    assert sequence(side.send()[0]) == 5
    side.close()


def test_what_was_replaced_is_received_on_until_its_grace_ends(
    framework: Framework, tmp_path: Path
) -> None:
    peer = Side(framework, tmp_path / "peer", THERE, BACK)
    side = Side(framework, tmp_path / "state", OUT, IN)
    early, late, last = peer.send(3)
    assert side.take([early]) == [None]
    side.links.renew([sa(0x2000, Direction.OUT), sa(0x2001, Direction.IN)])
    assert side.links.passing == 1
    assert side.links.expire() == 10.0
    assert side.take([early, late]) == [Reason.REPLAYED, None]
    side.now = 10.0
    assert side.links.expire() is None
    assert side.take([last]) == [Reason.UNKNOWN_SPI]
    counted = side.links.counters().unprotected
    assert (counted.packets, counted.dropped[Reason.REPLAYED]) == (2, 1)
    side.close()
    peer.close()


def test_what_is_refused_changes_nothing(framework: Framework, tmp_path: Path) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    side.send(2)
    other = bytes(20)
    for wrong in (
        [],
        [OUT, replace(OUT, direction=Direction.IN)],
        [sa(0x1000, Direction.OUT, other), IN],
        [replace(IN, replay_window=0)],
        [sa(0x3001, Direction.IN, replay_window=0), sa(0x3000, Direction.OUT)],
    ):
        with pytest.raises(UsageError):
            side.links.renew(wrong)
    assert side.links.sas == (OUT, IN)
    assert sequence(side.send()[0]) == 3
    assert side.links.renewed == 0
    side.close()


def test_selectors_may_change_under_the_same_keys(framework: Framework, tmp_path: Path) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    side.send(2)
    side.links.renew([replace(OUT, name="another"), IN])
    assert sequence(side.send()[0]) == 3
    side.now = 100.0
    side.links.expire()
    assert sequence(side.send()[0]) == 4
    side.close()


def test_the_past_is_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    for number in range(REMEMBERED + 50):
        one = [sa(0x1000 + 2 * number, Direction.OUT, number.to_bytes(2) * 10)]
        journal.join(one)
        journal.leave(one)
    journal.close()
    assert (tmp_path / "state").read_text().count('"mac"') == REMEMBERED


def test_the_file_is_one_process_s_and_holds_no_key(framework: Framework, tmp_path: Path) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    with pytest.raises(BusyError):
        Journal(tmp_path / "state")
    text = (tmp_path / "state").read_bytes() + (tmp_path / "state.tops").read_bytes()
    for each in (OUT, IN):
        assert each.encryption_key not in text
        assert each.encryption_key.hex().encode() not in text
    for name in ("state", "state.tops"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    side.close()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": "x", "version": 1}', b"{}"])
def test_a_damaged_file_is_refused_and_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError):
        Journal(path)
    assert path.read_bytes() == content


def test_more_is_reserved_before_it_is_wanted(framework: Framework, tmp_path: Path) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    numbers = side.journal.numbers(OUT)
    for _ in range(200):
        side.send(50)
        before = numbers.reserved
        side.journal.look_ahead()
        side.journal.settle()
        assert numbers.reserved >= before
        assert numbers.reserved > numbers.top
    left = side.kill()
    again = Journal(left)
    again.join([OUT, IN])
    assert again.numbers(OUT).top >= numbers.top
    again.close()


def test_a_journal_that_cannot_be_written_hands_nothing_on(
    framework: Framework, tmp_path: Path
) -> None:
    side = Side(framework, tmp_path / "state", OUT, IN)
    side.send(32)
    (tmp_path / "state").unlink()
    reasons = [result.reason for result in side.links.protect([PACKET] * 1000)]
    assert reasons[-1] is Reason.NOT_KEPT
    with pytest.raises(CryptoError):
        side.close()
