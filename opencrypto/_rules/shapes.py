"""
Flat ways: a session's chain compiled into one function for requests over one contiguous buffer.

Most requests are of one shape: one buffer in one piece, every algorithm of the chain once, MACs in
the buffer. A flat way first finds out whether a request has that shape and is sound. If not it
returns False, having touched nothing, and the general way does the request or words the refusal: so
both ways always agree. One that returns has no view of the buffer left, and the consumer may resize
it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opencrypto._rules.chain import Chain
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_GMAC,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
)
from opencrypto.xform import Kind

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop

UNVERIFIED: Final = "the MAC does not verify; discard the data"
"""The sentence that goes with EBADMSG."""

SEGMENTED: Final = CRYPTO_F_IOV | CRYPTO_F_IMBUF
"""Flags that a request over one contiguous buffer does not have."""

Quick: TypeAlias = "Callable[[Cryptop], bool]"
"""Carries a request out and returns True, or leaves it as it is and returns False."""

TakeIv: TypeAlias = "Callable[[Cryptodesc, memoryview, int, int], bytes | None]"
"""Called with a cipher's descriptor, the buffer, and where its region starts and ends."""


def is_flat(buf: Any) -> bool:
    """Tell whether a buffer can be sliced and written to as it is: it is writable, and bytes."""
    return type(buf) is bytearray or (
        type(buf) is memoryview
        and not buf.readonly
        and buf.c_contiguous
        and buf.ndim == 1
        and buf.format == "B"
    )


def iv_taker(ivlen: int, cri: Cryptoini) -> TakeIv:
    """
    Return what applies the IV rules for a cipher of a session.

    It returns the IV, found or made, having written it where that is asked for; or None, having
    touched nothing, if the descriptor is not sound.
    """
    if not ivlen:
        return lambda crd, view, start, end: b""
    fresh = cri.fresh_iv

    def take(crd: Cryptodesc, view: memoryview, start: int, end: int) -> bytes | None:
        flags = crd.flags
        if flags & CRD_F_IV_EXPLICIT:
            explicit = crd.ini.iv
            if explicit is None or len(explicit) != ivlen:
                return None
            iv = bytes(explicit)
            if flags & CRD_F_IV_PRESENT or not flags & CRD_F_ENCRYPT:
                return iv
        at = crd.inject
        to = at + ivlen
        if at < 0 or to > len(view) or (at < end and start < to):
            return None
        if not flags & CRD_F_IV_EXPLICIT:
            if flags & CRD_F_IV_PRESENT or not flags & CRD_F_ENCRYPT:
                return bytes(view[at:to])
            iv = fresh()
        view[at:to] = iv
        return iv

    return take


def compile_flat(chain: Chain, transforms: Sequence[Any]) -> Quick | None:
    """Return the flat way of a chain, or None if there is none for it."""
    match [facts.kind for facts in chain.facts]:
        case [Kind.CIPHER]:
            return _cipher(chain, transforms)
        case [Kind.MAC] | [Kind.HASH]:
            return _mac(chain, transforms)
        case [Kind.CIPHER, Kind.MAC]:
            return _cipher_and_mac(chain, transforms, 0, 1)
        case [Kind.MAC, Kind.CIPHER]:
            return _cipher_and_mac(chain, transforms, 1, 0)
        case [Kind.AEAD, Kind.AEAD_AUTH]:
            return _aead(chain, transforms, 0, 1)
        case [Kind.AEAD_AUTH, Kind.AEAD]:
            return _aead(chain, transforms, 1, 0)
    return None


def _cipher(chain: Chain, transforms: Sequence[Any]) -> Quick:
    alg = chain.inis[0].alg
    granule = chain.facts[0].granule
    take_iv = iv_taker(chain.ivlens[0], chain.inis[0])
    crypt = transforms[0].crypt

    def quick(crp: Cryptop) -> bool:
        desc, buf = crp.desc, crp.buf
        if len(desc) != 1 or crp.flags & SEGMENTED or not is_flat(buf):
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
        crypt(iv, [view[start:end]], bool(crd.flags & CRD_F_ENCRYPT))
        return True

    return quick


def _mac(chain: Chain, transforms: Sequence[Any]) -> Quick:
    alg = chain.inis[0].alg
    maclen = chain.macs[0]
    mac_of = transforms[0].mac

    def quick(crp: Cryptop) -> bool:
        desc, buf = crp.desc, crp.buf
        if len(desc) != 1 or crp.mac is not None or crp.flags & SEGMENTED or not is_flat(buf):
            return False
        crd = desc[0]
        start, at = crd.skip, crd.inject
        end, to = start + crd.len, at + maclen
        if crd.ini.alg != alg or not 0 <= start <= end <= len(buf) or at < 0 or to > len(buf):
            return False
        view = memoryview(buf)
        mac = mac_of([view[start:end]])[:maclen]
        if not crd.flags & CRD_F_VERIFY:
            view[at:to] = mac
        elif not compare_digest(mac, view[at:to]):
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return quick


def _cipher_and_mac(chain: Chain, transforms: Sequence[Any], cipher_at: int, mac_at: int) -> Quick:
    """Encrypt, then authenticate; or verify, then decrypt. The descriptors are in that order."""
    cipher_alg, mac_alg = chain.inis[cipher_at].alg, chain.inis[mac_at].alg
    granule = chain.facts[cipher_at].granule
    maclen = chain.macs[mac_at]
    take_iv = iv_taker(chain.ivlens[cipher_at], chain.inis[cipher_at])
    crypt, mac_of = transforms[cipher_at].crypt, transforms[mac_at].mac

    def quick(crp: Cryptop) -> bool:
        desc, buf = crp.desc, crp.buf
        if len(desc) != 2 or crp.mac is not None or crp.flags & SEGMENTED or not is_flat(buf):
            return False
        first, second = desc
        encrypting = first.ini.alg == cipher_alg
        crd, mac = (first, second) if encrypting else (second, first)
        if crd.ini.alg != cipher_alg or mac.ini.alg != mac_alg:
            return False
        if bool(crd.flags & CRD_F_ENCRYPT) != encrypting:
            return False
        if bool(mac.flags & CRD_F_VERIFY) == encrypting:
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
        if encrypting:
            crypt(iv, [view[start:end]], True)
            view[at:to] = mac_of([view[mac_start:mac_end]])[:maclen]
        elif compare_digest(mac_of([view[mac_start:mac_end]])[:maclen], view[at:to]):
            crypt(iv, [view[start:end]], False)
        else:
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return quick


def _aead(chain: Chain, transforms: Sequence[Any], cipher_at: int, tag_at: int) -> Quick:
    """An authenticated cipher whose tag follows the payload, as in ESP and TLS."""
    cipher_alg, tag_alg = chain.inis[cipher_at].alg, chain.inis[tag_at].alg
    no_payload = cipher_alg == CRYPTO_AES_GMAC
    maclen = chain.macs[tag_at]
    take_iv = iv_taker(chain.ivlens[cipher_at], chain.inis[cipher_at])
    seal, unseal = transforms[cipher_at].seal, transforms[cipher_at].open

    def quick(crp: Cryptop) -> bool:
        desc, buf = crp.desc, crp.buf
        if len(desc) != 2 or crp.mac is not None or crp.flags & SEGMENTED or not is_flat(buf):
            return False
        crd, tag = desc
        if crd.ini.alg != cipher_alg:
            tag, crd = desc
        if crd.ini.alg != cipher_alg or tag.ini.alg != tag_alg:
            return False
        start, aad_start, at = crd.skip, tag.skip, tag.inject
        end, aad_end, to = start + crd.len, aad_start + tag.len, at + maclen
        # Data to authenticate behind the payload, or a tag before it, is for the general way.
        if not 0 <= aad_start <= aad_end <= start <= end <= at <= to <= len(buf):
            return False
        if no_payload and start != end:
            return False
        encrypting = crd.flags & CRD_F_ENCRYPT
        if encrypting and tag.flags & CRD_F_VERIFY:
            return False
        view = memoryview(buf)
        iv = take_iv(crd, view, start, end)
        if iv is None:
            return False
        aad = [view[aad_start:aad_end]] if aad_start < aad_end else []
        payload = [view[start:end]] if start < end else []
        if encrypting:
            view[at:to] = seal(iv, aad, payload, maclen)
        elif not unseal(iv, aad, payload, bytes(view[at:to])):
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return quick
