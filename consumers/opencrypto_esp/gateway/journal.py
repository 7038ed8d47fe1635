"""
Sequence numbers and windows of associations that come and go, in a file.

What `State` is to a set of SAs that stays the same. Those that were replaced are remembered: if
an old file of SAs is taken up again, its numbers go on where they ended.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from opencrypto import CryptoError, UsageError
from opencrypto.driver import renew_after_fork
from opencrypto.files import HeldFile
from opencrypto_esp.gateway.tops import Tops, read
from opencrypto_esp.sa import Direction, SecurityAssociation
from opencrypto_esp.state import KeptNumbers, fingerprint, sound

FORMAT: Final = "opencrypto-esp-gateway"
VERSION: Final = 1

REMEMBERED: Final = 256
"""How many associations are remembered that are in use no more, the last ones."""


class Journal:
    """
    The numbers of the SAs in use, and of those that were.

    The file is JSON, for its owner alone, and one process at a time has it. It holds no key: an SA
    is known by a MAC of its keys, under a key of the file's own. Beside it, while it is in use,
    is one that has ``.tops`` at the end of its name: see `tops`.

    Args:
        path: The file; it is made if there is none.

    Raises:
        UsageError: it is damaged, or another user's.
        BusyError: another process has it.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards the file
        self._writer: threading.Thread | None = None
        self._salt = secrets.token_bytes(16)
        self._used: dict[str, tuple[SecurityAssociation, KeptNumbers]] = {}
        self._past: dict[str, dict[str, Any]] = {}
        self._beside = path.with_name(f"{path.name}.tops")
        self._tops: Tops | None = None
        self._noted: list[KeptNumbers] = []
        self._file: HeldFile | None = HeldFile(path)
        try:
            if self._file.content is not None:
                self._load(self._file.content)
                self._believe(read(self._beside))
            self._save()  # who cannot write it hears so now
        except BaseException:
            self._file.close()
            raise
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: what is reserved is the parent's, up to the last number."""
        self._lock = threading.Lock()
        self._writer = None
        self.stop()

    def name(self, sa: SecurityAssociation) -> str:
        """Return what an SA is known by: the same for the same keys, SPI and direction."""
        return fingerprint(sa, self._salt)

    def numbers(self, sa: SecurityAssociation) -> KeptNumbers:
        """Return the numbers of an SA in use."""
        return self._used[self.name(sa)][1]

    def join(self, sas: Iterable[SecurityAssociation]) -> None:
        """
        Keep the numbers of some SAs more; those of one that is known go on.

        Raises:
            UsageError: one to receive on looks for no replays, or two have the same keys.
        """
        self.settle()
        sas = tuple(sas)
        check(sas)
        joining: dict[str, tuple[SecurityAssociation, KeptNumbers]] = {}
        for sa in sas:
            name = self.name(sa)
            if name in joining:
                raise UsageError(f"SA {sa.label} is there twice, with the same keys and SPI")
            numbers = KeptNumbers(sa, self._save)
            if name in self._past:
                numbers.load(self._past[name])
            joining[name] = sa, numbers
        for name, pair in joining.items():
            if name not in self._used:
                self._used[name] = pair
                self._past.pop(name, None)
        self._map()

    def leave(self, sas: Iterable[SecurityAssociation]) -> None:
        """Use no more numbers of some SAs, and remember those that were used."""
        self.settle()
        for sa in sas:
            name = self.name(sa)
            _, numbers = self._used.pop(name)
            numbers.stop()
            self._past[name] = _record(sa, numbers, name)
        for name in list(self._past)[:-REMEMBERED]:
            del self._past[name]
        self._map()

    def _map(self) -> None:
        """Have a place beside for the highest number of each SA that is received on."""
        received = {
            name: numbers
            for name, (sa, numbers) in self._used.items()
            if sa.direction is Direction.IN
        }
        before, self._tops = self._tops, None
        if before is not None:
            before.close()
        self._noted = list(received.values())
        tops = [numbers.window.top for numbers in self._noted]
        self._tops = Tops(self._beside, list(received), tops)

    def note(self) -> None:
        """Set down what was received, before any of it is handed on."""
        if self._tops is not None:
            for number, numbers in enumerate(self._noted):
                self._tops.note(number, numbers.window.top)

    def _believe(self, tops: dict[str, int]) -> None:
        """Take the highest numbers that a process has left which did not end well."""
        for name, top in tops.items():
            record = self._past.get(name)
            if record is not None and "top" in record and top < record["top"]:
                record["top"] = top

    def stop(self) -> None:
        """Have no more numbers used."""
        for _, numbers in self._used.values():
            numbers.stop()

    def close(self) -> None:
        """
        Save what was used, and leave the file to others. Closing again does nothing.

        Raises:
            CryptoError: it cannot be saved; what was reserved counts as used.
        """
        self.settle()
        self.stop()
        file, self._file = self._file, None
        if file is None:
            return
        tops, self._tops = self._tops, None
        try:
            file.replace(self._document())
            if tops is not None:
                tops.close(remove=True)
                tops = None
        except OSError as error:
            raise CryptoError(
                f"{self._path} cannot be saved: {error.strerror}; the numbers that were reserved "
                "count as used",
                errno=error.errno,
            ) from None
        finally:
            if tops is not None:
                tops.close()
            file.close()

    def look_ahead(self) -> None:
        """Have more numbers reserved before they are wanted, by a thread: a disk may be slow."""
        if self._writer is not None and self._writer.is_alive():
            return
        low = [numbers for _, numbers in self._used.values() if numbers.is_low()]
        if low:
            claims = [(numbers, numbers.claim()) for numbers in low]
            self._writer = threading.Thread(
                target=self._write_ahead, args=(claims,), name="opencrypto-journal"
            )
            self._writer.start()

    def _write_ahead(self, claims: Sequence[tuple[KeptNumbers, int]]) -> None:
        try:
            self._save()
        except OSError:
            return  # whoever needs the numbers tries it again, and hears of it
        for numbers, claimed in claims:
            numbers.reserved = max(numbers.reserved, claimed)

    def settle(self) -> None:
        """Wait until nothing is being written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.join()

    def _save(self) -> None:
        with self._lock:
            if self._file is None:
                raise CryptoError("the state is closed")
            self._file.replace(self._document())

    def _document(self) -> bytes:
        used = [_record(sa, numbers, name) for name, (sa, numbers) in self._used.items()]
        document = {
            "format": FORMAT, "version": VERSION, "salt": self._salt.hex(),
            "sas": [*self._past.values(), *used],
        }  # fmt: skip
        return json.dumps(document, indent=1).encode() + b"\n"

    def _load(self, content: bytes) -> None:
        try:
            document = json.loads(content)
            known = (document["format"], document["version"]) == (FORMAT, VERSION)
            if known:
                self._salt = bytes.fromhex(document["salt"])
                self._past = {each["mac"]: each for each in document["sas"]}
            whole = len(self._past) == len(document["sas"]) and all(map(sound, self._past.values()))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            known = True
            whole = False
        if not known:
            raise UsageError(f"{self._path} is no state of a gateway that this version knows")
        if not whole:
            raise UsageError(
                f"{self._path} is damaged: which numbers were used cannot be told any more; agree "
                "on new keys and name a new file"
            )


def _record(sa: SecurityAssociation, numbers: KeptNumbers, name: str) -> dict[str, Any]:
    return {"direction": str(sa.direction), "spi": sa.spi, "mac": name, **numbers.record()}


def check(sas: Iterable[SecurityAssociation]) -> None:
    """
    Refuse SAs whose numbers cannot be kept.

    Raises:
        UsageError: one to receive on looks for no replays.
    """
    for sa in sas:
        if sa.direction is Direction.IN and not sa.window:
            raise UsageError(
                f"SA {sa.label} looks for no replays, so that anybody can send its packets "
                "again; give it an integrity and a replay_window"
            )
