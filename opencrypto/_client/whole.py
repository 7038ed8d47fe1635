"""
Whole messages: bytes in, bytes out, or into a buffer of the program's own.
"""

from __future__ import annotations

from opencrypto._client.asking import Asking
from opencrypto._core.short import NOT_TAKEN
from opencrypto._request.buffer import BytesLike, byteview, flat, is_private
from opencrypto._rules.message import Detached, Sealed, own_bytes
from opencrypto.exceptions import OutputTooSmall, UsageError


class Whole(Asking):
    """The methods of a session that take a message and wait for what becomes of it."""

    def seal(self, data: BytesLike, aad: BytesLike = b"", iv: BytesLike | None = None) -> bytes:
        """
        Encrypt and authenticate a message into one piece of bytes, a token, which `open` takes.

        A token is ``iv | ciphertext | tag``; `ivlen` and `maclen` say how long the first and the
        last are. A session that compresses does so first.

        Args:
            data: The plaintext; for a block mode, whole blocks.
            aad: Authenticated but not encrypted, and not part of the token; `open` needs the same.
            iv: The IV; if not given, a fresh one, which is what you want.

        Raises:
            UsageError: the session has no cipher, or no authenticator; an argument is not
                bytes-like; the message or the IV has a length that the algorithms do not take.
            DriverGone: the session's driver left, and no other could take the session over.
            DriverTimeout: the answer did not come within the session's `timeout`.
            CryptoError: the driver failed; the class is by the error (see docs/errors.md).
        """
        token = self._calls.seal(data, aad, iv)
        if token is not NOT_TAKEN:
            return token  # type: ignore[no-any-return]  # a token, as `Calls` says
        self._layout.require_seal()
        return self._encrypted(data, aad, iv).to_bytes()

    def open(self, token: BytesLike, aad: BytesLike = b"") -> bytes:
        """
        Verify a token that `seal` has made, and return its plaintext.

        Raises:
            AuthenticationError: it is not what was protected; nothing of it is released.
            UsageError, DriverGone, DriverTimeout, CryptoError: as `seal`.
        """
        data = self._calls.open(token, aad)
        if data is not NOT_TAKEN:
            return data  # type: ignore[no-any-return]  # as `Calls` says
        self._layout.require_seal()
        return self._decrypted(self._layout.parts(token), aad)

    def encrypt(
        self, data: BytesLike, *, iv: BytesLike | None = None, aad: BytesLike = b""
    ) -> Sealed:
        """
        Encrypt a message, and authenticate it with `aad` if the session has an authenticator.

        Args:
            data: The plaintext; for a block mode, whole blocks.
            iv: The IV; if not given, a fresh one, which is what you want.
            aad: Authenticated but not encrypted, and not part of the result.

        Raises:
            UsageError: the session has no cipher, or no authenticator for the `aad`; an argument is
                not bytes-like; the message or the IV has a length that the algorithms do not take.
            DriverGone: the session's driver left, and no other could take the session over.
            DriverTimeout: the answer did not come within the session's `timeout`.
            CryptoError: the driver failed; the class is by the error (see docs/errors.md).
        """
        token = self._calls.seal(data, aad, iv)
        if token is not NOT_TAKEN:
            return self._layout.parts(token)
        self._layout.require_cipher()
        return self._encrypted(data, aad, iv)

    def decrypt(self, sealed: Sealed, *, aad: BytesLike = b"") -> bytes:
        """
        Verify a message and decrypt it.

        Raises:
            AuthenticationError: it is not what was protected; nothing of it is released.
            UsageError, DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        self._layout.require_cipher()
        if not isinstance(sealed, Sealed):
            raise UsageError(
                f"decrypt takes what encrypt returns, a Sealed, not {type(sealed).__name__}; "
                "open takes the tokens of seal"
            )
        return self._decrypted(sealed, aad)

    def seal_into(
        self,
        data: BytesLike,
        out: bytearray | memoryview,
        aad: BytesLike = b"",
        iv: BytesLike | None = None,
    ) -> int:
        """
        As `seal`, with the token written to the beginning of `out`.

        `data` may lie in `out`, anywhere. Where it fails, `out` is as it was.

        Returns:
            How many **bytes** the token has: `ivlen` and `maclen` more than the data.

        Raises:
            OutputTooSmall: the token does not fit into `out`.
            UsageError: as `seal`; `out` is not writable, or not contiguous.
            DriverGone, DriverTimeout, CryptoError: as `seal`.
        """
        self._layout.require_seal()
        place = byteview(out, what="buffer for the token")
        text = own_bytes(data, "data")
        if self._layout.comp is None:
            size = len(text) + self._layout.ivlen + self._layout.maclen
            require_room(place, size)
            if _apart(text, place):
                taken = self._calls.seal_into(text, aad, iv, place[:size])
                if taken is not NOT_TAKEN:
                    return size
        return put(self.seal(text, aad, iv), place)

    def open_into(self, token: BytesLike, out: bytearray | memoryview, aad: BytesLike = b"") -> int:
        """
        As `open`, with the plaintext written to the beginning of `out`.

        `token` may lie in `out`, anywhere. Where it fails, `out` is as it was.

        Returns:
            How many **bytes** the plaintext has.

        Raises:
            AuthenticationError: as `open`.
            OutputTooSmall: the plaintext does not fit into `out`.
            UsageError: as `open`; `out` is not writable, or not contiguous.
            DriverGone, DriverTimeout, CryptoError: as `seal`.
        """
        self._layout.require_seal()
        place = byteview(out, what="buffer for the plaintext")
        text = own_bytes(token, "a token")
        size = len(text) - self._layout.ivlen - self._layout.maclen
        if self._layout.comp is None and size >= 0:
            require_room(place, size)
            if _apart(text, place):
                taken = self._calls.open_into(text, aad, place[:size])
                if taken is not NOT_TAKEN:
                    return size
        return put(self.open(text, aad), place)

    def encrypt_into(
        self,
        data: BytesLike,
        out: bytearray | memoryview,
        *,
        iv: BytesLike | None = None,
        aad: BytesLike = b"",
    ) -> Detached:
        """
        As `encrypt`, with the ciphertext written to the beginning of `out`.

        `out` may be `data` itself: the message is then encrypted in place. Where it fails, `out` is
        as it was.

        Returns:
            The IV and the MAC, which `decrypt_into` needs. The ciphertext is as long as the data,
            unless the session compresses.

        Raises:
            OutputTooSmall: the ciphertext does not fit into `out`.
            UsageError: as `encrypt`; `out` is not writable, or not contiguous.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        self._layout.require_cipher()
        place = byteview(out, what="buffer for the ciphertext")
        if self._layout.comp is None:
            require_room(place, len(flat(data, "data")))
        sealed = self.encrypt(data, iv=iv, aad=aad)
        put(sealed.data, place)
        return Detached(sealed.iv, sealed.mac)

    def decrypt_into(
        self,
        data: BytesLike | Sealed,
        out: bytearray | memoryview,
        *,
        iv: BytesLike = b"",
        mac: BytesLike = b"",
        aad: BytesLike = b"",
    ) -> int:
        """
        As `decrypt`, with the plaintext written to the beginning of `out`.

        Args:
            data: The ciphertext; or a message as `encrypt` returns it, and then no `iv` and `mac`.
            out: Where to write; it may be `data` itself.
            iv: The IV that it was made with.
            mac: Its MAC, if the session has an authenticator.
            aad: What was authenticated with it.

        Returns:
            How many **bytes** the plaintext has.

        Raises:
            AuthenticationError: as `decrypt`.
            OutputTooSmall: the plaintext does not fit into `out`.
            UsageError: as `decrypt`; `out` is not writable, or not contiguous.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        self._layout.require_cipher()
        place = byteview(out, what="buffer for the plaintext")
        if not isinstance(data, Sealed):
            text = bytes(flat(data, "data"))
            data = Sealed(self._layout.iv(iv), text, bytes(flat(mac, "a MAC")))
        if self._layout.comp is None:
            require_room(place, len(data.data))
        return put(self.decrypt(data, aad=aad), place)

    def mac(self, data: BytesLike) -> bytes:
        """
        Return the MAC or digest of a message; for sessions of one authenticator alone.

        Raises:
            UsageError: the session has a cipher, or an argument is not bytes-like.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        mac = self._calls.mac(data)
        if mac is not NOT_TAKEN:
            return mac  # type: ignore[no-any-return]  # as `Calls` says
        self._layout.require_no_cipher()
        return self._layout.sealed(self._run(self._layout.sealing(data, None, b""))).mac

    def digest(self, data: BytesLike) -> bytes:
        """
        Return the digest of a message; for sessions of a digest alone.

        Raises:
            UsageError: the session's authenticator has a key, so `mac` it is; or as `mac`.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        self._layout.require_digest()
        return self.mac(data)

    def verify(self, data: BytesLike, mac: BytesLike) -> None:
        """
        Verify the MAC of a message; for sessions of one authenticator alone.

        Raises:
            AuthenticationError: it does not match.
            UsageError: the session has a cipher, or an argument is not bytes-like.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        if self._calls.verify(data, mac) is NOT_TAKEN:
            self._layout.require_no_cipher()
            self._layout.opened(self._run(self._layout.opening(data, b"", mac, b"")))

    def compress(self, data: BytesLike) -> bytes:
        """
        Return a message compressed; for sessions with a compression.

        Raises:
            UsageError: the session has none, or `data` is not bytes-like.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        return self._layout.resized(self._run(self._layout.compressing(data)))

    def decompress(self, data: BytesLike) -> bytes:
        """
        Return what was compressed.

        Raises:
            OperationError: it is damaged.
            LimitError: it would become longer than the session's `limit`.
            UsageError: the session has no compression, or `data` is not bytes-like.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        return self._layout.resized(self._run(self._layout.decompressing(data)))

    def _encrypted(self, data: BytesLike, aad: BytesLike, iv: BytesLike | None) -> Sealed:
        """Protect a message by requests."""
        if self._layout.comp is not None:
            data = self.compress(data)
        return self._layout.sealed(self._run(self._layout.sealing(data, iv, aad)))

    def _decrypted(self, sealed: Sealed, aad: BytesLike) -> bytes:
        """Take the protection of a message off by requests."""
        make = self._layout.opening(sealed.data, sealed.iv, sealed.mac, aad)
        data = self._layout.opened(self._run(make))
        return data if self._layout.comp is None else self.decompress(data)


def require_room(place: memoryview, size: int) -> None:
    """Refuse a buffer of the program's that is too short (OutputTooSmall)."""
    if len(place) < size:
        raise OutputTooSmall(f"the result has {size} bytes, the buffer {len(place)}; give a longer")


def put(result: bytes, place: memoryview) -> int:
    """Write a result to the beginning of a program's buffer; return how many **bytes** it has."""
    require_room(place, len(result))
    place[: len(result)] = result
    return len(result)


def _apart(data: bytes | memoryview, place: memoryview) -> bool:
    """Tell whether two memories certainly do not overlap, and nobody else writes the second."""
    if not is_private(place):
        return False
    return type(data) is bytes or memoryview(data).obj is not place.obj
