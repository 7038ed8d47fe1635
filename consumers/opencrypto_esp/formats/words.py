"""
The words of a line, taken one after another and each for what it must be.

What is refused is named by its place and never shown: it may be a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from opencrypto import UsageError
from opencrypto_esp.sa import Address, Network

_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19}")


class Words:
    """
    What is left of a line.

    Args:
        where: What to call the line in an error.
        words: Its words.
    """

    def __init__(self, where: str, words: Iterable[str]) -> None:
        self.where = where
        self._words = list(words)
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._words)

    def next_is(self, *words: str) -> bool:
        """Tell whether the next word is one of these."""
        return bool(self) and self._words[self._at] in words

    def peek(self) -> str:
        """Return the next word, and leave it; empty at the end."""
        return self._words[self._at] if self else ""

    def take(self) -> str:
        """Return the next word."""
        if not self:
            raise UsageError(f"{self.where}: something is missing at its end")
        self._at += 1
        return self._words[self._at - 1]

    def skip(self) -> None:
        """Leave the rest."""
        self._at = len(self._words)

    def bad(self, what: str) -> UsageError:
        """Return the error for the word that was last taken."""
        return UsageError(f"{self.where}, word {self._at}: {what}")

    def number(self, most: int = 0xFFFFFFFF) -> int:
        """Take a number, decimal or hexadecimal; what follows may be itself again, or a comma."""
        word = self.take().partition("(")[0].rstrip(",")
        value = int(word, 0) if _NUMBER.fullmatch(word) else -1
        if not 0 <= value <= most:
            raise self.bad(f"must be a number up to {most:#x}")
        return value

    def address(self) -> Address:
        """Take an IP address; what the kernel's tool writes as a host's network is one too."""
        try:
            return ip_address(self.take().partition("/")[0])
        except ValueError:
            raise self.bad("must be an IPv4 or IPv6 address") from None

    def network(self) -> Network:
        """Take a network, of one address if it has no length."""
        word = self.take()
        try:
            return ip_network(word, strict=False)
        except ValueError:
            raise self.bad("must be a network, such as 10.0.0.0/8") from None

    def key(self) -> bytes:
        """Take a key: hexadecimal digits behind 0x, or else what its characters are."""
        word = self.take()
        if word[:2] not in ("0x", "0X"):
            return word.encode()
        try:
            return bytes.fromhex(word[2:])
        except ValueError:
            raise self.bad("must be hexadecimal digits, two for each byte") from None
