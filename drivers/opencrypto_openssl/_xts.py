"""
AES in XTS mode, for storage, as far as this OpenSSL has it.

Its contexts take no new tweak, and so each request has a context of its own. Most of what that
costs is Python's, for the description of the cipher; a session keeps that, and puts the tweak in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import Cryptop
from opencrypto.chain import (
    Chain,
    Quick,
    Segments,
    TransformFactory,
    in_one_piece,
    recognise_cipher,
)
from opencrypto.constants import CRYPTO_AES_XTS
from opencrypto_openssl._library import made, present

KEPT: Final = 8
"""How many descriptions a session keeps: as many threads run without waste."""

Kept: TypeAlias = "tuple[Cipher[modes.XTS], modes.XTS]"


def _takes_a_tweak() -> bool:
    """Find out whether this library's description of the mode can be given another tweak."""
    mode, tweak = modes.XTS(bytes(16)), bytes(range(16))
    try:
        mode._tweak = tweak
    except AttributeError:
        return False
    return mode.tweak == tweak


TWEAKED: Final = _takes_a_tweak()
"""Else each request describes the cipher anew."""


class Xts:
    """
    AES-XTS (IEEE 1619) over whole blocks.

    Attributes:
        kept: Idle descriptions, and the mode in each, which has the tweak. One is taken for one
            request, so no two threads share it. List operations are atomic.
    """

    __slots__ = ("_algorithm", "kept")

    def __init__(self, key: bytes) -> None:
        self._algorithm: AES | None = AES(key)
        self.kept: list[Kept] = []
        # A key with equal halves, which a profile may allow, refuses the session.
        self.describe(bytes(16))[0].encryptor()

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt a region in place; `iv` is the tweak, 16 bytes little-endian."""
        in_one_piece(parts, partial(self._crypt, iv, encrypt))

    def _crypt(self, iv: bytes, encrypt: bool, view: memoryview) -> None:
        cipher, _ = self.describe(iv)
        context = cipher.encryptor() if encrypt else cipher.decryptor()
        context.update_into(view, view)

    def describe(self, iv: bytes) -> Kept:
        """Describe the cipher anew."""
        assert self._algorithm is not None
        mode = modes.XTS(iv)
        return Cipher(self._algorithm, mode), mode

    def wipe(self) -> None:
        """Drop the key."""
        self._algorithm = None
        self.kept.clear()


def compile_xts(chain: Chain, xts: Xts) -> Quick:
    """Return the quick way of a session of XTS alone."""
    kept, describe = xts.kept, xts.describe

    def exchange(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int, encrypting: int
    ) -> bool:
        try:
            one = kept.pop()
        except IndexError:
            one = describe(iv)
        cipher, mode = one
        mode._tweak = iv
        context = cipher.encryptor() if encrypting else cipher.decryptor()
        part = view[start:end]
        context.update_into(part, part)
        if len(kept) < KEPT:
            kept.append(one)
        return True

    return recognise_cipher(chain, exchange)


FACTORIES: Final[Mapping[int, TransformFactory]] = present({CRYPTO_AES_XTS: partial(made, Xts)})
