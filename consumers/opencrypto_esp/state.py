"""
Sequence numbers and windows, kept in a file from run to run.

A number must not be sent twice and a packet not be taken twice, whatever ends the process. So
numbers are reserved ahead, on the disk, before the first of them is used; when the process ends
well the file says what was used, and when it does not, all that was reserved counts as used: a
sender leaves a gap, and a receiver takes none of the gap.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
import time
import typing
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from opencrypto import CryptoError, UsageError
from opencrypto.driver import renew_after_fork
from opencrypto.files import HeldFile
from opencrypto_esp.results import Drop, Reason
from opencrypto_esp.sa import MAX_WINDOW, Direction, Mode, SecurityAssociation
from opencrypto_esp.window import ReplayWindow

Name: TypeAlias = "tuple[str, int, str]"
"""What numbers are kept by: direction, SPI, and addresses where several SAs have both alike."""

FORMAT: Final = "opencrypto-esp-state"
VERSION: Final = 1

LEAST: Final = 32
"""How many numbers are reserved ahead at least: what a slow link loses by a crash."""

MOST: Final = 1 << 14
"""How many at most: what a fast one loses, which then writes some times a second."""

QUICK: Final = 1.0
"""Seconds; a reservation that lasts less is followed by a larger one."""


class Numbers:
    """
    The sequence numbers of one SA. Guarded by the lock of its `Channel`.

    Attributes:
        top: The last number sent, of an SA to send by.
        window: Which numbers were received, of one to receive on.
        reserved: Numbers up to this one may be used without asking `reserve` for more.
    """

    def __init__(self, sa: SecurityAssociation) -> None:
        self.top = sa.sequence
        self.window = ReplayWindow(sa.window, esn=sa.esn, high=sa.first_high)
        self.reserved = sa.last_sequence

    def reserve(self, seq: int) -> None:
        """
        See that a number may be used.

        Raises:
            Drop: it cannot be kept that it was.
        """

    def stop(self) -> None:
        """Reserve no more: nothing is sent or received from now on, if the numbers are kept."""


class KeptNumbers(Numbers):
    """
    Those that a state keeps.

    Args:
        sa: The SA.
        save: Saves all numbers of the state.
    """

    def __init__(self, sa: SecurityAssociation, save: Callable[[], None]) -> None:
        super().__init__(sa)
        self._sa = sa
        self._save = save
        self._ahead = LEAST
        self._when = 0.0
        self._stopped = False
        self._claimed: int | None = None  # what the disk says is used, once any may have been
        self.reserved = -1

    def load(self, record: dict[str, Any]) -> None:
        """Begin where another run has ended."""
        if self._sa.direction is Direction.OUT:
            self.top = max(self.top, record["sequence"])
        else:
            self.window.resume(record["top"], record["window"], int(record["seen"], 16))

    def reserve(self, seq: int) -> None:
        """Have it on the disk that numbers up to this one, and some ahead, are used."""
        if self._stopped:
            raise Drop(Reason.NOT_KEPT)
        before = self._claimed
        highest = max(seq, self.window.top)  # what is sent moves no window
        self._claimed = claimed = min(self._sa.last_sequence, highest + self._next_ahead())
        try:
            self._save()
        except OSError:
            self._claimed = before
            raise Drop(Reason.NOT_KEPT) from None
        # Only now: whatever interrupts the saving, none is used that is not on the disk.
        self.reserved = claimed

    def is_low(self) -> bool:
        """Tell whether half of what was reserved ahead is used, so that more is wanted soon."""
        left = self.reserved - self._highest()
        return self._claimed is not None and not self._stopped and left < self._ahead // 2

    def claim(self) -> int:
        """Have more of them in the next record, and return up to which; not to be used yet."""
        ahead = min(self._sa.last_sequence, self._highest() + self._next_ahead())
        self._claimed = ahead if self._claimed is None else max(ahead, self._claimed)
        return self._claimed

    def _highest(self) -> int:
        return self.top if self._sa.direction is Direction.OUT else self.window.top

    def _next_ahead(self) -> int:
        now = time.monotonic()
        quick = now - self._when < QUICK
        self._when = now
        self._ahead = min(MOST, self._ahead * 4) if quick else max(LEAST, self._ahead // 4)
        return self._ahead

    def stop(self) -> None:
        """Reserve no more; `record` is exact from now on."""
        self._stopped, self._claimed, self.reserved = True, None, -1

    def record(self) -> dict[str, Any]:
        """Return what is to be on the disk: what is claimed, or, if nothing is, what was used."""
        if self._sa.direction is Direction.OUT:
            return {"sequence": self.top if self._claimed is None else self._claimed}
        size = self.window.size
        if self._claimed is not None:
            return {"top": self._claimed, "window": size, "seen": f"{(1 << size) - 1:x}"}
        return {"top": self.window.top, "window": size, "seen": f"{self.window.seen:x}"}


class Keeper(typing.Protocol):
    """Who has the numbers of SAs."""

    def numbers(self, sa: SecurityAssociation) -> Numbers:
        """Return the numbers of an SA."""


class State:
    """
    The numbers of all SAs of an `Esp`, in a file.

    The file is JSON, for its owner alone, and one process at a time has it. It holds no key; which
    SAs it is of it tells by a MAC of their keys, under a key of its own.

    Args:
        path: The file; it is made if there is none.
        sas: The SAs, each with a direction.

    Raises:
        UsageError: it is damaged, of other SAs, or another user's; or an SA to receive on looks
            for no replays, so that there is nothing to keep.
        BusyError: another process has it.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, sas: Sequence[SecurityAssociation]) -> None:
        self._path = path
        self._pid = os.getpid()
        self._lock = threading.Lock()  # guards the file; a forked child has no use for either
        for sa in sas:
            if sa.direction is Direction.IN and not sa.window:
                raise UsageError(
                    f"SA {sa.label} looks for no replays, so there is nothing to keep in {path}; "
                    "give it an integrity and a replay_window, or leave the state out"
                )
        self._names = _names(sas)
        self._numbers = {name: KeptNumbers(sa, self._save) for sa, name in self._names.items()}
        if len(self._numbers) < len(sas):
            raise UsageError(
                f"two SAs of one direction have one SPI and the same addresses, and {path} keeps "
                "numbers by these; give each an SPI of its own"
            )
        self._file: HeldFile | None = HeldFile(path)
        try:
            if self._file.content is None:
                self._salt = secrets.token_bytes(16)
            else:
                self._load(self._file.content)
            self._save()  # who cannot write it hears so now
        except BaseException:
            self._file.close()
            raise
        renew_after_fork(self)

    def numbers(self, sa: SecurityAssociation) -> Numbers:
        """Return the numbers of an SA."""
        return self._numbers[self._names[sa]]

    def close(self) -> None:
        """
        Save what was used, and leave the file to others. Closing again does nothing.

        Raises:
            CryptoError: it cannot be saved; what was reserved counts as used.
        """
        self.stop()
        if self._is_the_parents():
            return
        with self._lock:
            file, self._file = self._file, None
        if file is None:
            return
        try:
            file.replace(self._document())
        except OSError as error:
            raise CryptoError(
                f"{self._path} cannot be saved: {error.strerror}; the numbers that were reserved "
                "count as used",
                errno=error.errno,
            ) from None
        finally:
            file.close()

    def stop(self) -> None:
        """Have no more numbers used."""
        for each in self._numbers.values():
            each.stop()

    def after_fork(self) -> None:
        """Stop, in a forked child: what is reserved is the parent's, up to the last number."""
        self.stop()

    def _is_the_parents(self) -> bool:
        """Tell whether this is a forked child, which must not use the same numbers."""
        return os.getpid() != self._pid

    def _save(self) -> None:
        if self._is_the_parents():
            raise CryptoError("the state is the parent's")
        with self._lock:
            if self._file is None:
                raise CryptoError("the state is closed")
            self._file.replace(self._document())

    def _document(self) -> bytes:
        sas = [
            {
                "direction": direction,
                "spi": spi,
                **({"ends": ends} if ends else {}),
                "mac": fingerprint(sa, self._salt),
                **self._numbers[direction, spi, ends].record(),
            }
            for sa, (direction, spi, ends) in self._names.items()
        ]
        document = {"format": FORMAT, "version": VERSION, "salt": self._salt.hex(), "sas": sas}
        return json.dumps(document, indent=1).encode() + b"\n"

    # Reading.

    def _load(self, content: bytes) -> None:
        try:
            document = json.loads(content)
            if (document["format"], document["version"]) != (FORMAT, VERSION):
                raise UsageError(f"{self._path} is no state of ESP that this version knows")
            self._salt = bytes.fromhex(document["salt"])
            records = {
                (each["direction"], each["spi"], each.get("ends", "")): each
                for each in document["sas"]
            }
            whole = len(records) == len(document["sas"]) and all(map(sound, records.values()))
        except UsageError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise UsageError(
                f"{self._path} is damaged: which numbers were used cannot be told any more; agree "
                "on new keys and name a new file"
            )
        self._check_same(records)
        for name, record in records.items():
            self._numbers[name].load(record)

    def _check_same(self, records: dict[Name, dict[str, Any]]) -> None:
        ours = {name: fingerprint(sa, self._salt) for sa, name in self._names.items()}
        theirs = {name: record["mac"] for name, record in records.items()}
        strange = sorted(
            name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
        )
        if strange:
            named = ", ".join(f"{spi:#x} {direction}" for direction, spi, _ in strange[:5])
            raise UsageError(
                f"{self._path} is the state of other SAs or other keys ({named}); give each file "
                "of SAs a state of its own"
            )


def fingerprint(sa: SecurityAssociation, salt: bytes) -> str:
    """Return what tells this SA from others, with other keys too, and no key."""
    parts = (
        *(str(part).encode() for part in (sa.direction, sa.spi, sa.esn)),
        sa.encryption.encode(), sa.encryption_key, sa.integrity.encode(), sa.integrity_key,
    )  # fmt: skip
    mac = hmac.new(salt, digestmod="sha256")
    for part in parts:
        mac.update(len(part).to_bytes(4) + part)  # so that no border can be moved
    return mac.hexdigest()


def _names(sas: Sequence[SecurityAssociation]) -> dict[SecurityAssociation, Name]:
    """Name each SA by direction and SPI, and where several have these, by what else it has."""
    many = Counter((sa.direction, sa.spi) for sa in sas)
    return {
        sa: (str(sa.direction), sa.spi, _ends(sa) if many[sa.direction, sa.spi] > 1 else "")
        for sa in sas
    }


def _ends(sa: SecurityAssociation) -> str:
    tunnel = (sa.tunnel_source,), (sa.tunnel_destination,)
    ends = tunnel if sa.mode is not Mode.TRANSPORT else (sa.source, sa.destination)
    named = (",".join(str(each or "*") for each in end) or "*" for end in ends)
    return f"{sa.protocol} {' to '.join(named)}"


def sound(record: dict[str, Any]) -> bool:
    """Tell whether a record is as we write them."""
    texts = (record["mac"], record.get("ends", ""))
    if not all(isinstance(each, str) for each in texts) or not _number(record["spi"], 0xFFFFFFFF):
        return False
    if record["direction"] == Direction.OUT:
        return _number(record["sequence"])
    size = record["window"]
    return (
        record["direction"] == Direction.IN
        and _number(record["top"])
        and _number(size, MAX_WINDOW)
        and len(record["seen"]) <= MAX_WINDOW
        and 0 <= int(record["seen"], 16) < 1 << size
    )


def _number(value: object, most: int = 0xFFFFFFFFFFFFFFFF) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
