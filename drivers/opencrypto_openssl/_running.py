"""Ciphers in the midst of a message that comes in pieces: contexts of OpenSSL, which go on."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidTag

from opencrypto.chain import Segments


class Running:
    """
    A stream cipher in the midst of a message.

    Args:
        context: The library's context, which is nobody else's.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        self._context = context

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt the next region in place, of any number of bytes."""
        for part in parts:
            self._context.update_into(part, part)

    def wipe(self) -> None:
        """Drop the context, whose memory OpenSSL wipes."""
        self._context = None


class AeadRunning(Running):
    """An authenticated cipher in the midst of a message, whose context has seen the aad."""

    __slots__ = ()

    def tag(self, maclen: int) -> bytes:
        """End a message that was encrypted; return its tag of `maclen` bytes."""
        self._context.finalize()
        whole: bytes = self._context.tag
        return whole[:maclen]

    def verify(self, tag: bytes) -> bool:
        """End a message that was decrypted; tell whether that is its tag."""
        try:
            self._context.finalize_with_tag(tag)
        except InvalidTag:
            return False
        return True
