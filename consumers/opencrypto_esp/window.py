"""
Sequence numbers on receipt: the anti-replay window, and the half of a long number nobody sends.

Pure. RFC 4303 §3.4.3 (window), §2.2.1 and Appendix A (extended sequence numbers).
"""

from __future__ import annotations

from opencrypto_esp.results import Reason

_LOW = 0xFFFFFFFF
_LAST = 0xFFFFFFFFFFFFFFFF


class ReplayWindow:
    """
    Which sequence numbers have been received.

    Args:
        size: How many numbers back from the highest one are told apart; 0 checks nothing.
        esn: Numbers have 64 bits, of which 32 are on the wire.
        high: The upper half of the numbers that are expected first; None begins with the first.
    """

    __slots__ = ("_esn", "seen", "size", "top")

    def __init__(self, size: int = 64, *, esn: bool = False, high: int | None = None) -> None:
        self.size = size
        # The window lies at the beginning of that half's span, and none of it has come.
        self.top = (high << 32) + size - 1 if high is not None else 0
        """The highest number that was verified."""
        self._esn = esn
        self.seen = 0
        """Bit n tells whether the number ``top - n`` was received."""

    def resume(self, top: int, size: int, seen: int) -> None:
        """Go on where a window of some size has ended; what that could not tell counts as seen."""
        self.top = top
        self.seen = (seen | -1 << size) & ((1 << self.size) - 1)

    def infer(self, low: int) -> int:
        """
        Return the whole number for the 32 bits on the wire, or -1 if there can be none.

        RFC 4303 Appendix A2.2: the window may lie in one span of 2**32 numbers (case A) or across
        two (case B); the number is the one that lies in it, or next above it.
        """
        if not self._esn:
            return low
        high, top = self.top >> 32, self.top & _LOW
        bottom = top - self.size + 1
        if bottom >= 0:
            if low < bottom:
                high += 1
        elif low >= bottom & _LOW:
            high -= 1
        seq = high << 32 | low
        return seq if high >= 0 and seq <= _LAST else -1

    def check(self, seq: int) -> Reason | None:
        """Say why a number cannot be accepted, changing nothing; before the ICV is verified."""
        if not self.size:
            return None
        if seq <= 0:
            # A sender starts with 1 (§2.2); -1 is what infer() gives for what lies before that.
            return Reason.TOO_OLD
        back = self.top - seq
        if back < 0:
            return None
        if back >= self.size:
            return Reason.TOO_OLD
        return Reason.REPLAYED if self.seen >> back & 1 else None

    def update(self, seq: int) -> Reason | None:
        """
        Take note of a number whose packet has verified; say why if it came meanwhile.

        With several packets in flight the same number can pass `check` twice.
        """
        reason = self.check(seq)
        if reason is not None or not self.size:
            return reason
        ahead = seq - self.top
        if ahead > 0:
            # A jump past the window leaves nothing of it; shifting by so much would cost memory.
            kept = self.seen << ahead if ahead < self.size else 0
            self.seen = (kept | 1) & ((1 << self.size) - 1)
            self.top = seq
        else:
            self.seen |= 1 << -ahead
        return None
