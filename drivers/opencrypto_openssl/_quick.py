"""
Quick ways of the driver's own, for the two chains of ESP; other sessions have `ChainDriver`'s.
"""

from __future__ import annotations

import errno
from typing import Final

from cryptography.exceptions import InvalidTag

from opencrypto import Cryptop
from opencrypto.chain import (
    UNVERIFIED,
    ChainSession,
    Quick,
    Shape,
    compile_quick,
    places_of,
    recognise_aead,
    shape_of,
    with_messages,
)
from opencrypto.driver import Bytes, Messages
from opencrypto_openssl._cbc import Cbc
from opencrypto_openssl._esp import compile_esp
from opencrypto_openssl._gcm import SCRATCH, Gcm
from opencrypto_openssl._hmac import Hmac
from opencrypto_openssl._xts import TWEAKED, Xts, compile_xts

TAG: Final = 16
LONGEST: Final = (1 << 30) - 1
"""In bytes; OpenSSL's lengths have 31 bits."""


def compile_session(session: ChainSession) -> Quick | None:
    """Return the quick way of a session, or None if there is none for its chain."""
    cipher_at, mac_at = places_of(session.chain)
    cipher, mac = session.transforms[cipher_at], session.transforms[mac_at]
    match shape_of(session.chain):
        case Shape.CIPHER_MAC if isinstance(cipher, Cbc) and isinstance(mac, Hmac):
            return compile_esp(session.chain, cipher, mac)
        case Shape.AEAD if isinstance(cipher, Gcm) and session.chain.macs[mac_at] == TAG:
            if cipher.encrypt_into is not None:
                return _gcm(session, cipher)
        case Shape.CIPHER if isinstance(cipher, Xts) and TWEAKED:
            return compile_xts(session.chain, cipher)
    return compile_quick(session.chain, session.transforms)


def _gcm(session: ChainSession, gcm: Gcm) -> Quick:
    """`AESGCM` in place, with a whole tag that follows the payload, as in ESP and TLS."""

    def exchange(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int,
        aad: int, aad_end: int, at: int, encrypting: int,
    ) -> bool:  # fmt: skip
        nonce = gcm.salt + iv
        whole = view[start : end + TAG]
        if encrypting:
            # Not kept here, since it has the key; and CPython is slow to call what is in a slot.
            encrypt_into = gcm.encrypt_into
            encrypt_into(nonce, view[start:end], view[aad:aad_end], whole)  # type: ignore[misc]  # there, as compile_session has seen
            return True
        length = end - start
        private = SCRATCH.take(length)
        try:
            plain = memoryview(private)[:length]
            decrypt_into = gcm.decrypt_into
            decrypt_into(nonce, whole, view[aad:aad_end], plain)  # type: ignore[misc]  # there, as compile_session has seen
            view[start:end] = plain
        except InvalidTag:
            crp.fail(errno.EBADMSG, UNVERIFIED)
        finally:
            SCRATCH.give(private, length)
        return True

    quick = recognise_aead(session.chain, exchange, adjacent=True, longest=LONGEST)
    return with_messages(quick, _gcm_messages(gcm))


def _gcm_messages(gcm: Gcm) -> Messages:
    """Whole messages by `AESGCM`, whose methods wipe() takes away."""

    def seal(iv: bytes, data: Bytes, aad: Bytes) -> bytes:
        return gcm.encrypt(gcm.salt + iv, data, aad or None)  # type: ignore[misc]  # there until wiped

    def seal_into(iv: bytes, data: Bytes, aad: Bytes, out: memoryview) -> bool:
        gcm.encrypt_into(gcm.salt + iv, data, aad, out)  # type: ignore[misc]  # likewise
        return True

    def unseal(iv: bytes, sealed: Bytes, aad: Bytes) -> bytes | None:
        try:
            return gcm.decrypt(gcm.salt + iv, sealed, aad or None)  # type: ignore[misc]  # likewise
        except InvalidTag:
            return None

    def open_into(iv: bytes, sealed: Bytes, aad: Bytes, out: memoryview) -> bool | None:
        private = SCRATCH.take(len(out))
        try:
            with memoryview(private)[: len(out)] as plain:
                gcm.decrypt_into(gcm.salt + iv, sealed, aad, plain)  # type: ignore[misc]  # likewise
                out[:] = plain
            return True
        except InvalidTag:
            return None
        finally:
            SCRATCH.give(private, len(out))

    return Messages(seal, seal_into, unseal, open_into, longest=LONGEST)
