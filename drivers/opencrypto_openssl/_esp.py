"""
The quick way for CBC + HMAC, which is the chain of ESP: all of it in one function.

Calls, and what they look up again, are a third of the cost of a small packet. So here stands once
more, in line, what `_ciphers.Cbc`, `_macs.Hmac` and `chain.iv_taker` do; see there for why.
"""

from __future__ import annotations

import errno
from hmac import compare_digest
from typing import Any

from opencrypto import Cryptop
from opencrypto.chain import SEGMENTED, UNVERIFIED, ChainSession, Quick, is_flat
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
)
from opencrypto_openssl._ciphers import WHOLE, Cbc
from opencrypto_openssl._macs import Hmac


def compile_esp(session: ChainSession, cipher_at: int, mac_at: int) -> Quick:
    """Return the quick way of a session of one CBC cipher and one HMAC."""
    cipher, hmac = session.transforms[cipher_at], session.transforms[mac_at]
    assert isinstance(cipher, Cbc)
    assert isinstance(hmac, Hmac)
    cipher_alg = session.chain.inis[cipher_at].alg
    mac_alg = session.chain.inis[mac_at].alg
    maclen = session.chain.macs[mac_at]
    fresh = session.chain.inis[cipher_at].fresh_iv
    block = cipher.block
    last_bits = block - 1
    encryptors, decrypt = cipher.encryptors, cipher.decrypt
    take, give = encryptors.pop, encryptors.append
    encrypt_anew = cipher.encrypt
    keyed = hmac.keyed  # emptied when the session is freed
    number = int.from_bytes

    def quick(crp: Cryptop) -> bool:
        desc = crp.desc
        buf: Any = crp.buf
        if len(desc) != 2 or crp.mac is not None or crp.flags & SEGMENTED:
            return False
        crd, mac = desc
        ini = crd.ini
        flags = crd.flags
        if ini.alg == cipher_alg and flags & CRD_F_ENCRYPT and not mac.flags & CRD_F_VERIFY:
            encrypting = True
        else:
            mac, crd = desc
            ini = crd.ini
            flags = crd.flags
            if ini.alg != cipher_alg or flags & CRD_F_ENCRYPT or not mac.flags & CRD_F_VERIFY:
                return False
            encrypting = False
        if mac.ini.alg != mac_alg or not (type(buf) is bytearray or is_flat(buf)):
            return False
        size = len(buf)
        start = crd.skip
        length = crd.len
        mac_start = mac.skip
        at = mac.inject
        end = start + length
        mac_end = mac_start + mac.len
        to = at + maclen
        if (
            length & last_bits
            or not 0 <= start < end <= size
            or not 0 <= mac_start <= mac_end <= size
            or not 0 <= at <= to <= size
        ):
            return False
        view = memoryview(buf)

        iv: Any
        if flags & CRD_F_IV_EXPLICIT:
            iv = ini.iv
            if iv is None or len(iv) != block:
                return False
            if type(iv) is not bytes:
                iv = bytes(iv)
            elsewhere = flags & CRD_F_IV_PRESENT or not encrypting
        else:
            iv = elsewhere = None
        if not elsewhere:
            iv_at = crd.inject
            iv_to = iv_at + block
            if iv_at < 0 or iv_to > size or (iv_at < end and start < iv_to):
                return False
            if iv is not None:
                view[iv_at:iv_to] = iv
            elif flags & CRD_F_IV_PRESENT or not encrypting:
                iv = view[iv_at:iv_to]
            else:
                view[iv_at:iv_to] = iv = fresh()

        state = keyed[0].copy()
        if not encrypting:
            state.update(view[mac_start:mac_end])
            if compare_digest(state.finalize()[:maclen], view[at:to]):
                decrypt(view, start, end, iv)
            else:
                crp.fail(errno.EBADMSG, UNVERIFIED)
            return True
        try:
            update, update_into, previous = take()
        except IndexError:
            encrypt_anew(view, start, end, iv)
        else:
            second = start + block
            first = number(view[start:second]) ^ number(iv) ^ previous
            view[start:second] = first.to_bytes(block)
            if length <= WHOLE:
                last = update(view[start:end])
                view[start:end] = last
                last = last[-block:]
            else:
                final = end - block
                update_into(view[start:final], view[start : end - 1])
                last = update(view[final:end])
                view[final:end] = last
            give((update, update_into, number(last)))
        state.update(view[mac_start:mac_end])
        view[at:to] = state.finalize()[:maclen]
        return True

    return quick
