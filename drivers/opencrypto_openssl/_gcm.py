"""
AES-GCM and GMAC.

`AESGCM` keeps the key schedule from one request to the next, but knows tags of 16 bytes and data
in one piece only. Requests in segments, and shorter tags, go by contexts of the general interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import Cryptoini
from opencrypto.chain import AeadTransform, BytesLike, Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_GCM_16, CRYPTO_AES_GMAC
from opencrypto.xform import FACTS
from opencrypto_openssl._running import AeadRunning

KEPT: Final = 4
LARGEST_KEPT: Final = 4 << 20
SMALL: Final = 1 << 13
_ZEROS: Final = memoryview(bytes(1 << 16))


class Scratch:
    """
    Private memory for plaintext that is not verified yet. Always zeros when nobody has it.

    Large pieces are kept: the system hands out new memory page by page, at the price of
    decrypting as much again.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def take(self, length: int) -> bytearray:
        """Return at least `length` bytes."""
        if length > SMALL:
            try:
                piece = self._kept.pop()
            except IndexError:
                return bytearray(length)
            if len(piece) >= length:
                return piece
        return bytearray(length)

    def give(self, piece: bytearray, length: int) -> None:
        """Wipe what was used, and keep the piece if that pays."""
        if length <= SMALL:
            piece[:length] = bytes(length)
            return
        view = memoryview(piece)
        for at in range(0, length, len(_ZEROS)):
            part = view[at : min(at + len(_ZEROS), length)]
            part[:] = _ZEROS[: len(part)]
        del view, part
        if len(piece) <= LARGEST_KEPT and len(self._kept) < KEPT:
            self._kept.append(piece)


SCRATCH: Final = Scratch()


class Gcm:
    """
    AES-GCM (SP 800-38D), and GMAC, which is GCM without a payload.

    Attributes:
        salt: What each nonce begins with.
        encrypt: ``AESGCM.encrypt`` on the session's key; None once it is wiped.
        decrypt: ``AESGCM.decrypt``, likewise.
        encrypt_into: ``AESGCM.encrypt_into`` on the session's key, or None in old versions.
        decrypt_into: ``AESGCM.decrypt_into``, likewise.
    """

    __slots__ = ("_algorithm", "decrypt", "decrypt_into", "encrypt", "encrypt_into", "salt")

    def __init__(self, key: BytesLike, salt: int) -> None:
        view = memoryview(key)
        plain = view[: len(view) - salt]
        self.salt = bytes(view[len(view) - salt :])
        self._algorithm: AES | None = AES(plain)
        kept = AESGCM(plain)
        self.encrypt: Callable[..., bytes] | None = kept.encrypt
        self.decrypt: Callable[..., bytes] | None = kept.decrypt
        self.encrypt_into: Callable[..., int] | None = getattr(kept, "encrypt_into", None)
        self.decrypt_into: Callable[..., int] | None = getattr(kept, "decrypt_into", None)

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag of `maclen` bytes."""
        assert self._algorithm is not None
        context = Cipher(self._algorithm, modes.GCM(self.salt + iv)).encryptor()
        for part in aad:
            context.authenticate_additional_data(part)
        for part in parts:
            context.update_into(part, part)
        context.finalize()
        return context.tag[:maclen]

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies; until it has, plaintext is in private memory."""
        assert self._algorithm is not None
        mode = modes.GCM(self.salt + iv, tag, min_tag_length=len(tag))
        context = Cipher(self._algorithm, mode).decryptor()
        for part in aad:
            context.authenticate_additional_data(part)
        length = sum(map(len, parts))
        private = SCRATCH.take(length)
        try:
            with memoryview(private)[:length] as view:
                at = 0
                for part in parts:
                    context.update_into(part, view[at : at + len(part)])
                    at += len(part)
                try:
                    context.finalize()
                except InvalidTag:
                    return False
                scatter(parts, view)
            return True
        finally:
            SCRATCH.give(private, length)

    def stream(self, iv: bytes, aad: Segments, encrypt: bool, maclen: int) -> AeadRunning:
        """Begin a message that comes in pieces."""
        assert self._algorithm is not None
        cipher = Cipher(self._algorithm, modes.GCM(self.salt + iv, None, min_tag_length=maclen))
        context = cipher.encryptor() if encrypt else cipher.decryptor()
        for part in aad:
            context.authenticate_additional_data(part)
        return AeadRunning(context)

    def wipe(self) -> None:
        """Drop the keyed objects, whose memory OpenSSL wipes."""
        self._algorithm = self.encrypt_into = self.decrypt_into = None
        self.encrypt = self.decrypt = None
        self.salt = b""


def _gcm(alg: int) -> TransformFactory:
    facts = FACTS[alg]

    def factory(cri: Cryptoini) -> AeadTransform:
        key = cri.key or b""
        return Gcm(key, facts.salt if len(key) in facts.salted else 0)

    return factory


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_GCM_16: _gcm(CRYPTO_AES_GCM_16),
    CRYPTO_AES_GMAC: _gcm(CRYPTO_AES_GMAC),
}
