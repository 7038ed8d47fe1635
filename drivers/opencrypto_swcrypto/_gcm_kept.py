"""
AES-GCM with the set-up kept: what depends on the key alone is done once for a session.

A new GCM object of pycryptodome makes three key schedules and the tables of GHASH, which takes
40 us; a message of 1500 bytes takes 5. Its public interface has no way to begin a second message,
so this uses the library's own GHASH under its private name. Where that is not to be had, or does
not give the public answer, `USABLE` is False and `_gcm` makes an object for each message.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from typing import Any, Final, TypeAlias

from Crypto.Cipher import AES
from Crypto.Cipher import _mode_gcm as inner
from Crypto.Util.strxor import strxor

from opencrypto.chain import BytesLike, Segments, gather, scatter
from opencrypto_swcrypto._ctr import BLOCK, SHORT, Counter
from opencrypto_swcrypto._running import AeadRunning

KEPT: Final = 8
"""How many idle GHASH objects a session keeps: as many threads run without waste."""

JOINED: Final = 1 << 14
"""Up to this many bytes it is quicker to copy a message together than to hash it in two calls."""

PADDING: Final = [bytes(-length % BLOCK) for length in range(BLOCK)]

Crypt: TypeAlias = Callable[[BytesLike, BytesLike], object]
"""Encrypts or decrypts the first into the second, which may be the same."""


class KeptGcm:
    """
    AES-GCM (SP 800-38D), and GMAC, which is GCM without a payload; nonces of 12 bytes.

    A GHASH object goes on from where it was. Since it multiplies the sum of what it has and the
    next block, hashing what it has brings it back to zero.
    """

    __slots__ = ("_counter", "_idle", "_salt", "_subkey")

    def __init__(self, key: BytesLike, salt: int) -> None:
        view = memoryview(key)
        self._counter = Counter(view[: len(view) - salt])
        self._salt = bytes(view[len(view) - salt :])
        self._subkey = self._counter.encrypt(bytes(BLOCK))
        self._idle: list[Any] = []  # taken by one thread at a time; list operations are atomic

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag of `maclen` bytes."""
        view = parts[0] if len(parts) == 1 else memoryview(gather(parts))
        data = b"".join(aad)  # now, since it may overlap the payload
        mask, crypt = self._begin(self._salt + iv, len(view))
        crypt(view, view)
        if len(parts) != 1:
            scatter(parts, view)
        return self._tag(data, view, mask)[:maclen]

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies."""
        # A copy of our own, so that what is decrypted is what was verified.
        text = b"".join(parts)
        mask, crypt = self._begin(self._salt + iv, len(text))
        if not compare_digest(self._tag(b"".join(aad), text, mask)[: len(tag)], tag):
            return False
        if len(parts) == 1:
            crypt(text, parts[0])
            return True
        private = bytearray(len(text))
        try:
            crypt(text, private)
            scatter(parts, private)
        finally:
            private[:] = bytes(len(private))
        return True

    def _begin(self, nonce: bytes, size: int) -> tuple[BytesLike, Crypt]:
        """Return the mask of a message's tag, and what encrypts or decrypts its payload."""
        if size > SHORT:
            cipher = self._counter.cipher(nonce)
            return cipher.encrypt(bytes(BLOCK)), lambda text, out: cipher.encrypt(text, output=out)
        stream = self._counter.stream(nonce, BLOCK + size)
        payload = stream[BLOCK : BLOCK + size]
        return stream[:BLOCK], lambda text, out: strxor(text, payload, output=out)

    def _tag(self, aad: bytes, text: BytesLike, mask: BytesLike) -> bytes:
        try:
            ghash = self._idle.pop()
        except IndexError:
            ghash = _ghash(self._subkey)
        size, aad_size = len(text), len(aad)
        head = (ghash.digest(), aad, PADDING[aad_size % BLOCK])
        tail = (PADDING[size % BLOCK], (aad_size * 8).to_bytes(8), (size * 8).to_bytes(8))
        if size <= JOINED:
            ghash.update(b"".join((*head, text, *tail)))
        else:
            view = memoryview(text)
            whole = size - size % BLOCK
            ghash.update(b"".join(head))
            ghash.update(view[:whole])
            ghash.update(b"".join((view[whole:], *tail)))
        tag: bytes = strxor(ghash.digest(), mask)
        if len(self._idle) < KEPT:
            self._idle.append(ghash)
        return tag

    def stream(self, iv: bytes, aad: Segments, encrypt: bool, maclen: int) -> AeadRunning:
        """Begin a message that comes in pieces: by an object of its own."""
        cipher = self._counter.gcm(self._salt + iv, maclen)
        for part in aad:
            cipher.update(part)
        return AeadRunning(cipher, encrypt)

    def wipe(self) -> None:
        """Drop the key, and what the library made of it."""
        self._counter.wipe()
        self._idle.clear()
        self._salt = self._subkey = b""


def _ghash(subkey: bytes) -> Any:
    """Return a GHASH object of the library; a library without it may raise anything."""
    library: Any = inner
    return library._GHASH(subkey, library._ghash_clmul or library._ghash_portable)


def _answers() -> bool:
    """Tell whether kept objects give what the library gives, first and second time."""
    key, iv, aad = bytes(range(16)), bytes(12), b"opencrypto"
    try:
        kept = KeptGcm(key, 0)
        for size in (33, 20, JOINED + 7):
            text = bytearray(size)
            tag = kept.seal(iv, [memoryview(aad)], [memoryview(text)], BLOCK)
            public = (
                AES.new(key, AES.MODE_GCM, nonce=iv).update(aad).encrypt_and_digest(bytes(size))
            )
            if (bytes(text), tag) != public:
                return False
    except Exception:  # whatever a later library's inside does with what this one's takes
        return False
    return True


USABLE: Final = _answers()
"""Whether this library's inside is as it is known here."""
