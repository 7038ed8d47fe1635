"""
Quick ways of the driver's own, for the two chains of ESP; other sessions have the flat way.

Both keep the rules of `opencrypto.chain`'s flat way: what is not of the expected shape, and sound,
is left untouched for the general way.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from opencrypto import Cryptop
from opencrypto.chain import (
    SEGMENTED,
    UNVERIFIED,
    ChainSession,
    Quick,
    compile_flat,
    is_flat,
    iv_taker,
)
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_GMAC,
)
from opencrypto.xform import Kind
from opencrypto_openssl._aead import SCRATCH, Gcm
from opencrypto_openssl._ciphers import Cbc
from opencrypto_openssl._esp import compile_esp
from opencrypto_openssl._macs import Hmac

TAG: Final = 16
EXTERNAL: Final = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
"""The IV is in the descriptor, and the buffer is not to have it."""
LONGEST: Final = 1 << 30
"""In bytes; OpenSSL's lengths have 31 bits."""


def compile_session(session: ChainSession) -> Quick | None:
    """Return the quick way of a session, or None if there is none for its chain."""
    kinds = [facts.kind for facts in session.chain.facts]
    own: Quick | None = None
    if len(kinds) == 2 and set(kinds) == {Kind.CIPHER, Kind.MAC}:
        own = _esp(session, kinds.index(Kind.CIPHER), kinds.index(Kind.MAC))
    elif len(kinds) == 2 and set(kinds) == {Kind.AEAD, Kind.AEAD_AUTH}:
        own = _aead(session, kinds.index(Kind.AEAD), kinds.index(Kind.AEAD_AUTH))
    return own or compile_flat(session.chain, session.transforms)


def _esp(session: ChainSession, cipher_at: int, mac_at: int) -> Quick | None:
    cipher, mac = session.transforms[cipher_at], session.transforms[mac_at]
    if isinstance(cipher, Cbc) and isinstance(mac, Hmac):
        return compile_esp(session, cipher_at, mac_at)
    return None


def _aead(session: ChainSession, cipher_at: int, tag_at: int) -> Quick | None:
    """An authenticated cipher with a whole tag that follows the payload, as in ESP and TLS."""
    gcm = session.transforms[cipher_at]
    if not isinstance(gcm, Gcm) or gcm.encrypt_into is None or session.chain.macs[tag_at] != TAG:
        return None
    cipher_alg = session.chain.inis[cipher_at].alg
    tag_alg = session.chain.inis[tag_at].alg
    no_payload = cipher_alg == CRYPTO_AES_GMAC
    ivlen = session.chain.ivlens[cipher_at]
    take_iv = iv_taker(ivlen, session.chain.inis[cipher_at])

    def quick(crp: Cryptop) -> bool:
        desc = crp.desc
        buf = crp.buf
        if len(desc) != 2 or crp.mac is not None or crp.flags & SEGMENTED:
            return False
        crd, tag = desc
        if crd.ini.alg != cipher_alg:
            tag, crd = desc
        if crd.ini.alg != cipher_alg or tag.ini.alg != tag_alg:
            return False
        if not (type(buf) is bytearray or is_flat(buf)):
            return False
        length = crd.len
        start = crd.skip
        aad = tag.skip
        end = start + length
        aad_end = aad + tag.len
        # AAD behind the payload, or a tag elsewhere, is for the general way.
        if not 0 <= aad <= aad_end <= start <= end == tag.inject <= len(buf) - TAG:
            return False
        if end > LONGEST or (no_payload and length):
            return False
        view = memoryview(buf)
        flags = crd.flags
        if flags & CRD_F_ENCRYPT and tag.flags & CRD_F_VERIFY:
            return False
        iv: Any
        if flags & EXTERNAL == EXTERNAL:  # the usual case, without a call
            iv = crd.ini.iv
            if iv is None or len(iv) != ivlen:
                return False
        else:
            iv = take_iv(crd, view, start, end)
            if iv is None:
                return False
        nonce = gcm.salt + iv
        if flags & CRD_F_ENCRYPT:
            gcm.encrypt_into(nonce, view[start:end], view[aad:aad_end], view[start : end + TAG])  # type: ignore[misc]
            return True
        private = SCRATCH.take(length)
        try:
            plain = memoryview(private)[:length]
            gcm.decrypt_into(nonce, view[start : end + TAG], view[aad:aad_end], plain)  # type: ignore[misc]
            view[start:end] = plain
        except InvalidTag:
            crp.fail(errno.EBADMSG, UNVERIFIED)
        finally:
            SCRATCH.give(private, length)
        return True

    return quick
