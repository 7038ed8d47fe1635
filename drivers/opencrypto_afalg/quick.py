"""
Quick ways: a session's chain as one function, for the requests that it mostly sees.

Each serves one shape of request over one contiguous buffer with MACs in the buffer, small enough
for one exchange. It finds out first whether a request has that shape and is sound; if not it
returns False, having touched nothing, and the general way does the request or words the refusal.
What the kernel refuses is raised as `KernelRefused`, with nothing done.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any, Final

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    Alg,
    Cryptodesc,
    Cryptop,
)
from opencrypto.chain import SEGMENTED, UNVERIFIED, ChainSession, Quick, is_flat
from opencrypto.xform import Kind
from opencrypto_afalg.names import Form
from opencrypto_afalg.sockets import (
    ALG_SET_AEAD_ASSOCLEN,
    ALG_SET_IV,
    MSG_DONTWAIT,
    SOL_ALG,
    KernelBroke,
    KernelRefused,
    Transform,
)
from opencrypto_afalg.transforms import DECRYPT, ENCRYPT, U32, Aead, Cipher, Mac, wipe

EXTERNAL: Final = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT

ASSOCLEN: Final = {n: (SOL_ALG, ALG_SET_AEAD_ASSOCLEN, U32.pack(n)) for n in range(65)}
"""For the usual lengths of additional data, made once."""

Receive = Callable[[socket.socket], int]


def compile_session(session: ChainSession, both: Aead | None = None) -> Quick | None:
    """Return the quick way of a session, or None; `both` is its cipher and MAC in one call."""
    kinds = [facts.kind for facts in session.chain.facts]
    if len(kinds) == 1:
        only = session.transforms[0]
        if isinstance(only, Cipher) and only.form not in (Form.STREAM, Form.NO_KEY):
            return _cipher(session, only)
        if isinstance(only, Mac) and not only.before and not only.zerocopy:
            return _mac(session, only)
        return None
    if len(kinds) != 2:
        return None
    if Kind.AEAD in kinds:
        at = kinds.index(Kind.AEAD)
        aead = session.transforms[at]
        assert isinstance(aead, Aead)
        return None if aead.form is Form.SALTED else _aead(session, aead, at, fused=False)
    return _aead(session, both, kinds.index(Kind.CIPHER), fused=True) if both else None


def find_iv(crd: Cryptodesc, view: memoryview, start: int, end: int, ivlen: int) -> bytes | None:
    """Return an IV that is given, in the descriptor or in the buffer; None for the general way."""
    flags = crd.flags
    if flags & EXTERNAL == EXTERNAL or (flags & CRD_F_IV_EXPLICIT and not flags & CRD_F_ENCRYPT):
        iv = crd.ini.iv
        return bytes(iv) if iv is not None and len(iv) == ivlen else None
    if flags & CRD_F_IV_EXPLICIT or (flags & CRD_F_ENCRYPT and not flags & CRD_F_IV_PRESENT):
        return None
    at = crd.inject
    to = at + ivlen
    if at < 0 or to > len(view) or (at < end and start < to):
        return None
    return bytes(view[at:to])


def exchange(
    transform: Transform,
    parts: Sequence[memoryview],
    ancillary: Sequence[tuple[int, int, bytes]],
    sent: int,
    receive: Receive,
    wanted: int,
) -> None:
    """Send one request and receive its answer, all of both."""
    operation = transform.take()
    try:
        if operation.sendmsg(parts, ancillary, MSG_DONTWAIT) != sent:
            raise KernelRefused("the request does not fit the socket's buffer", errno.E2BIG)
        if receive(operation) != wanted:
            raise KernelBroke("the kernel answered with less than the request", errno.EIO)
    except OSError as error:
        if error.errno == errno.EBADMSG:
            transform.give(operation)
            raise
        transform.drop(operation)
        raise transform.refused(error) from None
    except BaseException:
        transform.drop(operation)
        raise
    transform.give(operation)


def _cipher(session: ChainSession, cipher: Cipher) -> Quick:
    """One cipher."""
    transform, form, nonce = cipher.transform, cipher.form, cipher.nonce
    alg = session.chain.inis[0].alg
    granule = session.chain.facts[0].granule
    ivlen = session.chain.ivlens[0]
    tail = b"\0\0\0\1" if form is Form.COUNTER else b""
    header = U32.pack(len(nonce) + ivlen + len(tail)) + nonce

    def quick(crp: Cryptop) -> bool:
        desc, buf = crp.desc, crp.buf
        if len(desc) != 1 or crp.flags & SEGMENTED or not (type(buf) is bytearray or is_flat(buf)):
            return False
        crd = desc[0]
        start, length = crd.skip, crd.len
        end = start + length
        if crd.ini.alg != alg or not 0 <= start < end <= len(buf) or length % granule:
            return False
        view = memoryview(buf)
        flags = crd.flags
        iv: Any = crd.ini.iv
        if flags & EXTERNAL != EXTERNAL or type(iv) is not bytes or len(iv) != ivlen:
            iv = find_iv(crd, view, start, end, ivlen)
            if iv is None:
                return False
        if length > transform.piece:
            return False
        op = ENCRYPT if flags & CRD_F_ENCRYPT else DECRYPT
        region = view[start:end]
        operation = transform.take()
        try:
            ancillary = (op, (SOL_ALG, ALG_SET_IV, header + iv + tail))
            if operation.sendmsg((region,), ancillary, MSG_DONTWAIT) != length:
                raise KernelRefused("the request does not fit the socket's buffer", errno.E2BIG)
            if operation.recv_into(region, length, MSG_DONTWAIT) != length:
                raise KernelBroke("the kernel answered with less than the request", errno.EIO)
        except OSError as error:
            transform.drop(operation)
            raise transform.refused(error) from None
        except BaseException:
            transform.drop(operation)
            raise
        transform.give(operation)
        return True

    return quick


def _mac(session: ChainSession, mac: Mac) -> Quick:
    """One authenticator or digest."""
    transform, whole = mac.transform, mac.length
    alg = session.chain.inis[0].alg
    maclen = session.chain.macs[0]

    def quick(crp: Cryptop) -> bool:
        desc, buf = crp.desc, crp.buf
        if len(desc) != 1 or crp.mac is not None or crp.flags & SEGMENTED:
            return False
        crd = desc[0]
        start, at, length = crd.skip, crd.inject, crd.len
        end, to = start + length, at + maclen
        if crd.ini.alg != alg or not (type(buf) is bytearray or is_flat(buf)):
            return False
        if not (0 <= start <= end <= len(buf) and at >= 0 and to <= len(buf)):
            return False
        view = memoryview(buf)
        operation = transform.take()
        try:
            if operation.send(view[start:end]) != length:
                raise KernelRefused("the hash took only a part of the data")
            digest = operation.recv(whole)
            if len(digest) != whole:
                raise KernelRefused("the hash has another length than expected")
        except OSError as error:
            transform.drop(operation)
            raise transform.refused(error) from None
        except BaseException:
            transform.drop(operation)
            raise
        transform.give(operation)
        if not crd.flags & CRD_F_VERIFY:
            view[at:to] = digest[:maclen]
        elif not compare_digest(digest[:maclen], view[at:to]):
            crp.fail(errno.EBADMSG, UNVERIFIED)
        return True

    return quick


def _aead(session: ChainSession, aead: Aead, cipher_at: int, *, fused: bool) -> Quick:
    """
    An authenticated cipher; or, `fused`, a cipher and the MAC of all from somewhere before it to
    its end, in the order in which `ChainSession` would do them.
    """
    chain, transform = session.chain, aead.transform
    cipher_alg = chain.inis[cipher_at].alg
    tag_alg = chain.inis[1 - cipher_at].alg
    maclen = chain.macs[1 - cipher_at]
    ivlen, granule = chain.ivlens[cipher_at], chain.facts[cipher_at].granule
    shaped = aead.shape_iv(bytes(ivlen))  # what goes before and after the IV is always the same
    after = bytes(15 - len(aead.nonce) - ivlen) if aead.form is Form.CCM else b""
    before = U32.pack(len(shaped)) + shaped[: len(shaped) - len(after) - ivlen]
    no_payload = cipher_alg == Alg.AES_GMAC

    def quick(crp: Cryptop) -> bool:
        desc, buf = crp.desc, crp.buf
        if len(desc) != 2 or crp.mac is not None or crp.flags & SEGMENTED:
            return False
        crd, tag = desc
        if crd.ini.alg != cipher_alg:
            tag, crd = desc
        if crd.ini.alg != cipher_alg or tag.ini.alg != tag_alg:
            return False
        if not (type(buf) is bytearray or is_flat(buf)):
            return False
        encrypt = crd.flags & CRD_F_ENCRYPT
        if encrypt and tag.flags & CRD_F_VERIFY:
            return False
        start, length, aad, at = crd.skip, crd.len, tag.skip, tag.inject
        end, aad_end, to = start + length, aad + tag.len, at + maclen
        if fused:
            if aad_end != end or (desc[0] is crd) is not bool(encrypt) or not length:
                return False
            if not encrypt and not tag.flags & CRD_F_VERIFY:
                return False
            aad_end = start
        if not (0 <= aad <= aad_end <= start <= end <= at and to <= len(buf)):
            return False
        extra = aad_end - aad
        size = extra + length + maclen
        if length % granule or (no_payload and length) or size > transform.piece:
            return False
        view = memoryview(buf)
        given: Any = crd.ini.iv
        if crd.flags & EXTERNAL != EXTERNAL or type(given) is not bytes or len(given) != ivlen:
            given = find_iv(crd, view, start, end, ivlen)
            if given is None:
                return False
        ancillary = (
            ENCRYPT if encrypt else DECRYPT,
            (SOL_ALG, ALG_SET_IV, before + given + after),
            ASSOCLEN.get(extra) or (SOL_ALG, ALG_SET_AEAD_ASSOCLEN, U32.pack(extra)),
        )
        together = aad_end == start
        if together and encrypt and at == end:  # the usual case, without further calls
            operation = transform.take()
            try:
                if operation.sendmsg((view[aad:end],), ancillary, MSG_DONTWAIT) != size - maclen:
                    raise KernelRefused("the request does not fit the buffer", errno.E2BIG)
                if operation.recv_into(view[aad:to], size, MSG_DONTWAIT) != size:
                    raise KernelBroke("the kernel answered with less than the request")
            except OSError as error:
                transform.drop(operation)
                raise transform.refused(error) from None
            except BaseException:
                transform.drop(operation)
                raise
            transform.give(operation)
            return True
        parts = [view[aad:end]] if together else [view[aad:aad_end], view[start:end]]
        if encrypt:
            scattered: list[bytearray | memoryview] = [
                bytearray(extra), view[start:end], view[at:to],
            ]  # fmt: skip
            into = [each for each in scattered if len(each)]
            exchange(transform, parts, ancillary, size - maclen,
                     lambda op: op.recvmsg_into(into, 0, MSG_DONTWAIT)[0], size)  # fmt: skip
            return True
        parts.append(view[at:to])
        # Private, since the kernel writes before it has verified; never empty, since an answer of
        # no bytes verifies nothing.
        plain = bytearray(max(1, size - maclen))
        try:
            exchange(transform, parts, ancillary, size,
                     lambda op: op.recv_into(plain, 0, MSG_DONTWAIT), size - maclen)  # fmt: skip
            view[start:end] = memoryview(plain)[extra : extra + length]
        except OSError:
            crp.fail(errno.EBADMSG, UNVERIFIED)
        finally:
            wipe(plain)
        return True

    return quick
