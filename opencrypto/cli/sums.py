"""
Sums over a whole process, which ``stat`` and ``top`` show alike: what waits, what was refused.
"""

from __future__ import annotations

from typing import Final

from opencrypto.cli.sample import Change

RETURN_QUEUES: Final = ("crypto_ret_q", "crypto_ret_kq")


def queues(change: Change, leaf: str) -> float:
    """Sum a value of both return queues."""
    return sum(change.new.number(f"opencrypto.{queue}.{leaf}") for queue in RETURN_QUEUES)


def refused(change: Change) -> float:
    """How many requests a second were not handed out, since too many answers waited."""
    return sum(change.rate(f"opencrypto.{queue}.drops") for queue in RETURN_QUEUES)


def totals(change: Change) -> dict[str, float]:
    """Return what has come to pass since the program started, by what it is."""
    number = change.new.number
    return {
        "requests": number("opencrypto.stats.ops"),
        "errors": number("opencrypto.stats.errs") + number("opencrypto.stats.kerrs"),
        "key ops": number("opencrypto.stats.kops"),
        "moved": number("opencrypto.sessions.migrated"),
        "refused": queues(change, "drops"),
        "bugs": number("opencrypto.stats.driver_bugs"),
        "callbacks raised": number("opencrypto.stats.callback_errors"),
    }
