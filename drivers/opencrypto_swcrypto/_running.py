"""Ciphers in the midst of a message that comes in pieces: objects of the library, which go on."""

from __future__ import annotations

from typing import Any

from opencrypto.chain import Segments


class Running:
    """
    A stream cipher in the midst of a message.

    Args:
        cipher: The library's object, which is nobody else's.
    """

    __slots__ = ("_cipher",)

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt, which is the same, the next region in place."""
        for part in parts:
            self._cipher.encrypt(part, output=part)

    def wipe(self) -> None:
        """Drop the object, and with it the library's state."""
        self._cipher = None


class AeadRunning:
    """
    An authenticated cipher in the midst of a message.

    Args:
        cipher: The library's object, made for the tag's length, which has seen the additional data.
        encrypt: Which way it goes.
    """

    __slots__ = ("_cipher", "_encrypt")

    def __init__(self, cipher: Any, encrypt: bool) -> None:
        self._cipher = cipher
        self._encrypt = encrypt

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt the next region in place, of any number of bytes."""
        work = self._cipher.encrypt if self._encrypt else self._cipher.decrypt
        for part in parts:
            work(part, output=part)

    def tag(self, maclen: int) -> bytes:
        """End a message that was encrypted; return its tag."""
        whole: bytes = self._cipher.digest()
        return whole[:maclen]

    def verify(self, tag: bytes) -> bool:
        """End a message that was decrypted; tell whether that is its tag."""
        try:
            self._cipher.verify(tag)
        except ValueError:
            return False
        return True

    def wipe(self) -> None:
        """Drop the object, and with it the library's state."""
        self._cipher = None
