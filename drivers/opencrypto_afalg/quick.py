"""
Quick ways: a session's chain as one function, for the requests that it mostly sees.

Each serves requests of the usual shape that are small enough for one exchange. What the kernel
refuses is raised as `KernelRefused` with nothing done, so that the request can be handed back as it
came; so a request whose IV has to be written first is for `ChainSession.run`.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from opencrypto import Cryptop
from opencrypto.chain import (
    UNVERIFIED,
    Chain,
    ChainSession,
    Quick,
    Shape,
    places_of,
    recognise_aead,
    recognise_cipher,
    recognise_cipher_mac,
    recognise_mac,
    settle_mac,
    shape_of,
)
from opencrypto.chain import AeadExchange as Exchange
from opencrypto_afalg.authenc import in_one_call
from opencrypto_afalg.names import Form
from opencrypto_afalg.sockets import ALG_SET_AEAD_ASSOCLEN, ALG_SET_IV, SOL_ALG, KernelRefused
from opencrypto_afalg.transforms import (
    DECRYPT,
    ENCRYPT,
    U32,
    Aead,
    Cipher,
    Mac,
    digest_of,
    exchange,
    verify,
    wipe,
)

WITHOUT_IV: Final = (Form.STREAM, Form.NO_KEY, Form.SINGLES)
"""Forms of ciphers that are left to `ChainSession.run`."""

ASSOCLEN: Final = {n: (SOL_ALG, ALG_SET_AEAD_ASSOCLEN, U32.pack(n)) for n in range(65)}
"""For the usual lengths of additional data, made once."""


def compile_session(session: ChainSession, both: Aead | None = None) -> Quick | None:
    """Return the quick way of a session, or None; `both` is its cipher and MAC in one call."""
    chain = session.chain
    cipher_at, mac_at = places_of(chain)
    cipher, mac = session.transforms[cipher_at], session.transforms[mac_at]
    match shape_of(chain):
        case Shape.CIPHER if isinstance(cipher, Cipher):
            return None if cipher.form in WITHOUT_IV else _cipher(chain, cipher)
        case Shape.MAC if isinstance(mac, Mac):
            return None if mac.before or mac.zerocopy else _mac(chain, mac)
        case Shape.CIPHER_MAC if both is not None:
            return _cipher_mac(chain, both)
        case Shape.AEAD if isinstance(cipher, Aead) and cipher.form is not Form.SALTED:
            return recognise_aead(chain, _aead(chain, cipher), writes_iv=False)
    return None


def _cipher(chain: Chain, cipher: Cipher) -> Quick:
    transform, nonce = cipher.transform, cipher.nonce
    tail = b"\0\0\0\1" if cipher.form is Form.COUNTER else b""
    header = U32.pack(len(nonce) + chain.ivlens[0] + len(tail)) + nonce

    def ask(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int, encrypting: int
    ) -> bool:
        length = end - start
        if length > transform.piece:
            return False
        region = (view[start:end],)
        ancillary = (
            ENCRYPT if encrypting else DECRYPT,
            (SOL_ALG, ALG_SET_IV, header + iv + tail),
        )
        transform.once(lambda operation: exchange(operation, region, ancillary, region, length))
        return True

    return recognise_cipher(chain, ask, writes_iv=False)


def _mac(chain: Chain, mac: Mac) -> Quick:
    transform, whole = mac.transform, mac.length
    maclen = chain.macs[0]

    def ask(crp: Cryptop, view: memoryview, start: int, end: int, at: int, verifying: int) -> bool:
        data = view[start:end]

        def work(operation: socket.socket) -> bytes:
            if operation.send(data) != end - start:
                raise KernelRefused("the hash took only a part of the data")
            return digest_of(operation, whole)

        settle_mac(crp, view, at, transform.once(work)[:maclen], verifying)
        return True

    return recognise_mac(chain, ask)


def _cipher_mac(chain: Chain, both: Aead) -> Quick:
    """A cipher, and the MAC of all from somewhere before its region to the region's end."""
    as_aead = _aead(chain, both)

    def ask(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int,
        mac_start: int, mac_end: int, at: int, encrypting: int,
    ) -> bool:  # fmt: skip
        if at < end or not in_one_call(start, end, mac_start, mac_end):
            return False
        return as_aead(crp, view, iv, start, end, mac_start, start, at, encrypting)

    return recognise_cipher_mac(chain, ask, writes_iv=False)


def _aead(chain: Chain, aead: Aead) -> Exchange:
    transform = aead.transform
    cipher_at, mac_at = places_of(chain)
    maclen, ivlen = chain.macs[mac_at], chain.ivlens[cipher_at]
    shaped = aead.shape_iv(bytes(ivlen))  # what goes before and after the IV is always the same
    after = bytes(15 - len(aead.nonce) - ivlen) if aead.form is Form.CCM else b""
    before = U32.pack(len(shaped)) + shaped[: len(shaped) - len(after) - ivlen]

    def ask(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int,
        aad: int, aad_end: int, at: int, encrypting: int,
    ) -> bool:  # fmt: skip
        extra, to = aad_end - aad, at + maclen
        plain_size = extra + end - start
        size = plain_size + maclen
        if size > transform.piece:
            return False
        ancillary = (
            ENCRYPT if encrypting else DECRYPT,
            (SOL_ALG, ALG_SET_IV, before + iv + after),
            ASSOCLEN.get(extra) or (SOL_ALG, ALG_SET_AEAD_ASSOCLEN, U32.pack(extra)),
        )
        together = aad_end == start
        parts = [view[aad:end]] if together else [view[aad:aad_end], view[start:end]]
        if encrypting:
            if together and at == end:
                into = [view[aad:to]]
            else:
                apart = (memoryview(bytearray(extra)), view[start:end], view[at:to])
                into = [each for each in apart if len(each)]
            transform.once(lambda operation: exchange(operation, parts, ancillary, into, size))
            return True
        parts.append(view[at:to])
        # Private, since the kernel writes before it has verified; never empty, since an answer of
        # no bytes verifies nothing.
        plain = bytearray(max(1, plain_size))
        try:
            if transform.once(
                lambda operation: verify(operation, parts, ancillary, plain, plain_size)
            ):
                view[start:end] = memoryview(plain)[extra:plain_size]
            else:
                crp.fail(errno.EBADMSG, UNVERIFIED)
        finally:
            wipe(plain)
        return True

    return ask
