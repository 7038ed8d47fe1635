"""
Quick ways: a session's chain compiled into one function for the requests it mostly sees.

Each serves one shape of request over one contiguous buffer, with MACs in the buffer. It first
finds out whether a request has that shape and is sound. If not it returns False, having touched
nothing, and the general way does the request or words the refusal: so both ways always agree.
A function that returns has no view of the buffer left; the consumer may then resize it.
"""

from __future__ import annotations

import errno
from hmac import compare_digest
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from opencrypto import Cryptop
from opencrypto.chain import UNVERIFIED, ChainSession, Quick
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_GMAC,
)
from opencrypto.xform import Kind
from opencrypto_openssl._aead import SCRATCH, Gcm
from opencrypto_openssl._ciphers import Cbc, Ctr, Null, RegionCipher
from opencrypto_openssl._esp import compile_esp
from opencrypto_openssl._macs import Hmac, ViewMac
from opencrypto_openssl._shape import KINDS, flat, taker_of

TAG: Final = 16
EXTERNAL: Final = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
"""The IV is in the descriptor, and the buffer is not to have it."""
LONGEST: Final = 1 << 30
"""In bytes; OpenSSL's lengths have 31 bits."""


def compile_session(session: ChainSession) -> Quick | None:
    """Return the quick way of a session, or None if there is none for its chain."""
    facts = session.chain.facts
    kinds = [fact.kind for fact in facts]
    if any(
        kind is Kind.CIPHER and not isinstance(transform, (Cbc, Ctr, Null))
        for kind, transform in zip(kinds, session.transforms, strict=True)
    ):
        return None  # the old ciphers go the general way
    match kinds:
        case [Kind.CIPHER]:
            return _cipher(session)
        case [Kind.MAC] | [Kind.HASH]:
            return _mac(session)
        case [Kind.CIPHER, Kind.MAC]:
            return _cipher_and_mac(session, 0, 1)
        case [Kind.MAC, Kind.CIPHER]:
            return _cipher_and_mac(session, 1, 0)
        case [Kind.AEAD, Kind.AEAD_AUTH]:
            return _aead(session, 0, 1)
        case [Kind.AEAD_AUTH, Kind.AEAD]:
            return _aead(session, 1, 0)
    return None


def _cipher(session: ChainSession) -> Quick:
    """One cipher."""
    transform: RegionCipher = session.transforms[0]  # type: ignore[assignment]
    alg = session.chain.inis[0].alg
    granule = session.chain.facts[0].granule
    take_iv = taker_of(session, 0)
    encrypt, decrypt = transform.encrypt, transform.decrypt

    def quick(crp: Cryptop) -> bool:
        desc = crp.desc
        buf = crp.buf
        if len(desc) != 1 or crp.flags & KINDS or not (type(buf) is bytearray or flat(buf)):
            return False
        crd = desc[0]
        start = crd.skip
        end = start + crd.len
        if crd.ini.alg != alg or not 0 <= start < end <= len(buf) or (end - start) % granule:
            return False
        view = memoryview(buf)
        iv = take_iv(crd, view, start, end)
        if iv is None:
            return False
        (encrypt if crd.flags & CRD_F_ENCRYPT else decrypt)(view, start, end, iv)
        return True

    return quick


def _mac(session: ChainSession) -> Quick:
    """One authenticator or digest."""
    transform: ViewMac = session.transforms[0]  # type: ignore[assignment]
    alg = session.chain.inis[0].alg
    maclen = session.chain.macs[0]
    digest = transform.digest

    def quick(crp: Cryptop) -> bool:
        desc = crp.desc
        buf = crp.buf
        if len(desc) != 1 or crp.mac is not None or crp.flags & KINDS:
            return False
        crd = desc[0]
        start, at = crd.skip, crd.inject
        end, to = start + crd.len, at + maclen
        if crd.ini.alg != alg or not (type(buf) is bytearray or flat(buf)):
            return False
        if not (0 <= start <= end <= len(buf) and at >= 0 and to <= len(buf)):
            return False
        view = memoryview(buf)
        mac = digest(view[start:end])[:maclen]
        if not crd.flags & CRD_F_VERIFY:
            view[at:to] = mac
        elif not compare_digest(mac, view[at:to]):
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return quick


def _cipher_and_mac(session: ChainSession, cipher_at: int, mac_at: int) -> Quick:
    """Encrypt, then authenticate; or verify, then decrypt. The descriptors are in that order."""
    if isinstance(session.transforms[cipher_at], Cbc):
        if isinstance(session.transforms[mac_at], Hmac):
            return compile_esp(session, cipher_at, mac_at)
    cipher: RegionCipher = session.transforms[cipher_at]  # type: ignore[assignment]
    authenticator: ViewMac = session.transforms[mac_at]  # type: ignore[assignment]
    cipher_alg = session.chain.inis[cipher_at].alg
    mac_alg = session.chain.inis[mac_at].alg
    granule = session.chain.facts[cipher_at].granule
    maclen = session.chain.macs[mac_at]
    take_iv = taker_of(session, cipher_at)
    encrypt, decrypt, digest = cipher.encrypt, cipher.decrypt, authenticator.digest

    def quick(crp: Cryptop) -> bool:
        desc = crp.desc
        buf = crp.buf
        if len(desc) != 2 or crp.mac is not None or crp.flags & KINDS:
            return False
        first, second = desc
        if first.ini.alg == cipher_alg:
            crd, mac = first, second
            sound = crd.flags & CRD_F_ENCRYPT and not mac.flags & CRD_F_VERIFY
        else:
            mac, crd = first, second
            sound = mac.flags & CRD_F_VERIFY and not crd.flags & CRD_F_ENCRYPT
        if not sound or crd.ini.alg != cipher_alg or mac.ini.alg != mac_alg:
            return False
        if not (type(buf) is bytearray or flat(buf)):
            return False
        size = len(buf)
        start, mac_start, at = crd.skip, mac.skip, mac.inject
        end, mac_end, to = start + crd.len, mac_start + mac.len, at + maclen
        if not (0 <= start < end <= size and 0 <= mac_start <= mac_end <= size):
            return False
        if (end - start) % granule or at < 0 or to > size:
            return False
        view = memoryview(buf)
        iv = take_iv(crd, view, start, end)
        if iv is None:
            return False
        if crd is first:
            encrypt(view, start, end, iv)
            view[at:to] = digest(view[mac_start:mac_end])[:maclen]
        elif compare_digest(digest(view[mac_start:mac_end])[:maclen], view[at:to]):
            decrypt(view, start, end, iv)
        else:
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return quick


def _aead(session: ChainSession, cipher_at: int, tag_at: int) -> Quick | None:
    """An authenticated cipher with a whole tag that follows the payload, as in ESP and TLS."""
    gcm = session.transforms[cipher_at]
    if not isinstance(gcm, Gcm) or gcm.encrypt_into is None or session.chain.macs[tag_at] != TAG:
        return None
    cipher_alg = session.chain.inis[cipher_at].alg
    tag_alg = session.chain.inis[tag_at].alg
    no_payload = cipher_alg == CRYPTO_AES_GMAC
    ivlen = session.chain.ivlens[cipher_at]
    take_iv = taker_of(session, cipher_at)

    def quick(crp: Cryptop) -> bool:
        desc = crp.desc
        buf = crp.buf
        if len(desc) != 2 or crp.mac is not None or crp.flags & KINDS:
            return False
        crd, tag = desc
        if crd.ini.alg != cipher_alg:
            tag, crd = desc
        if crd.ini.alg != cipher_alg or tag.ini.alg != tag_alg:
            return False
        if not (type(buf) is bytearray or flat(buf)):
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
