"""
Playing a trace to drivers: the same sizes, algorithms and moments, with keys and data of our own.

What was decrypted is encrypted, and what was verified is made, since there is nothing to decrypt
and nothing that would verify; it costs the same within a few per cent.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_VERIFY,
    CRYPTO_MAX_MAC_LEN,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    UsageError,
)
from opencrypto._measure.trace import Entry
from opencrypto.cli import algorithms
from opencrypto.xform import FACTS

COLUMNS: Final = ("requests", "errors", "seconds", "rate", "megabytes", "p50", "p99")
OUTSTANDING: Final = 64
"""How many requests are in flight at most when none waits for its moment."""

MAX_BUFFER: Final = 64 << 20
PATIENCE: Final = 60.0
"""Seconds without any answer after which the drivers have failed."""


def all_players(
    entries: Sequence[Entry], drivers: Sequence[str] | None, speed: float
) -> list[dict[str, Any]]:
    """
    Play a trace to each of the drivers by itself, one after the other.

    Args:
        entries: In the order of their moments.
        drivers: Names of plugins; None for all that are installed, together.
        speed: How many times as fast as recorded; 0 for as fast as it goes.

    Returns:
        For each, ``driver`` (None for all together), the names in `COLUMNS`, and ``refused``: the
        chains that it did not take, and why.

    Raises:
        UsageError: one of the drivers is not there; then none has played.
    """
    if drivers is None:
        return [_play(entries, None, speed)]
    for name in dict.fromkeys(drivers):
        with _framework(name) as framework:
            if not any(each.hid is not None for each in framework.drivers):
                reasons = "; ".join(f"{d.name}: {d.reason}" for d in framework.drivers)
                raise UsageError(f"{name} cannot play: {reasons or 'no plugin has this name'}")
    return [_play(entries, name, speed) for name in drivers]


def recorded(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the names in `COLUMNS` for what was recorded."""
    return _row(
        [e.invoke + e.done + e.cb for e in entries],
        sum(entry.size for entry in entries),
        (entries[-1].at - entries[0].at) / 1e9,
        sum(bool(e.etype) for e in entries),
    )


def _framework(driver: str | None) -> Framework:
    return Framework(plugins=True if driver is None else [driver], control=False)


def _play(entries: Sequence[Entry], driver: str | None, speed: float) -> dict[str, Any]:
    with _framework(driver) as framework:
        player = _Player(framework, speed)
        start = time.perf_counter()
        for entry in entries:
            player.play(entry)
        player.finish()
        seconds = time.perf_counter() - start
    row = _row(player.times, player.bytes, seconds, player.errors)
    return {"driver": driver, **row, "refused": player.refused}


def _row(times: Sequence[int], size: int, seconds: float, errors: int) -> dict[str, Any]:
    ordered = sorted(times)

    def part(which: float) -> float:
        return round(ordered[int(which * (len(ordered) - 1))] / 1e3, 1) if ordered else 0.0

    return {
        "requests": len(times),
        "errors": errors,
        "seconds": round(seconds, 6),
        "rate": round(len(times) / seconds) if seconds else 0,
        "megabytes": round(size / seconds / 1e6, 3) if seconds else 0.0,
        "p50": part(0.5),
        "p99": part(0.99),
    }


class _Player:
    """What plays, and what came of it. `times` are from dispatch to callback, nanoseconds."""

    def __init__(self, framework: Framework, speed: float) -> None:
        self._framework = framework
        self._speed = speed
        self._room = threading.Semaphore(OUTSTANDING)
        self._sids: dict[int, int] = {}  # recorded to ours; 0 for what no driver takes
        self._began: tuple[int, int] | None = None
        self.refused: dict[str, str] = {}
        self.times: list[int] = []
        self.bytes = 0
        self.errors = 0

    def play(self, entry: Entry) -> None:
        """Dispatch one request, at its moment."""
        if entry.sid not in self._sids:
            self._sids[entry.sid] = self._open(entry)
        if not self._sids[entry.sid]:
            return
        self._wait(entry)
        if not self._room.acquire(timeout=PATIENCE):
            raise CryptoError("the drivers have stopped answering", errno=errno.EIO)
        crp = _request(entry)
        crp.sid = self._sids[entry.sid]
        begun = time.perf_counter_ns()

        def callback(crp: Cryptop) -> None:
            self.times.append(time.perf_counter_ns() - begun)
            if crp.etype:
                self.errors += 1
            self._room.release()

        crp.callback = callback
        self.bytes += entry.size
        self._framework.dispatch(crp)

    def _open(self, entry: Entry) -> int:
        try:
            inis = [
                Cryptoini(alg, key=os.urandom(klen // 8) if klen else None, mlen=mlen)
                for alg, klen, mlen in entry.chain
                if klen <= 1 << 16
            ]
            return self._framework.newsession(inis)
        except CryptoError as error:
            name = algorithms.spec_name(entry.chain)
            self.refused[name] = error.strerror or ""
            return 0

    def _wait(self, entry: Entry) -> None:
        if not self._speed:
            return
        now = time.perf_counter_ns()
        if self._began is None:
            self._began = now, entry.at
        due = self._began[0] + (entry.at - self._began[1]) / self._speed
        if due > now:
            time.sleep((due - now) / 1e9)

    def finish(self) -> None:
        """Wait for the last answer; free the sessions."""
        for _ in range(OUTSTANDING):
            if not self._room.acquire(timeout=PATIENCE):
                raise CryptoError("the drivers have stopped answering", errno=errno.EIO)
        for sid in filter(None, self._sids.values()):
            self._framework.freesession(sid)


def _request(entry: Entry) -> Cryptop:
    end = max([entry.size, *(max(d[1] + d[2], d[3]) for d in entry.desc)])
    if end > MAX_BUFFER:
        raise UsageError(f"the trace has a request of {end} bytes; at most {MAX_BUFFER} are played")
    klens = {alg: klen for alg, klen, _ in entry.chain}
    desc = [_descriptor(each, klens) for each in entry.desc]
    crp = Cryptop(buf=bytearray(end + CRYPTO_MAX_MAC_LEN), desc=desc, flags=entry.flags)
    crp.ilen = entry.size
    return crp


def _descriptor(values: tuple[int, int, int, int, int], klens: dict[int, int]) -> Cryptodesc:
    alg, skip, length, inject, flags = values
    flags = flags & ~CRD_F_VERIFY | CRD_F_ENCRYPT | CRD_F_COMP
    iv = None
    if flags & CRD_F_IV_EXPLICIT and alg in FACTS:
        iv = os.urandom(FACTS[alg].ivlen(klens.get(alg, 0) // 8))
    return Cryptodesc(skip, length, inject, flags, alg=alg, iv=iv)
