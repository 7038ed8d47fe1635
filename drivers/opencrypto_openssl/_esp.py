"""
The quick way for CBC + HMAC, which is the chain of ESP: all of it in one function.

Calls, and what they look up again, are a third of the cost of a small packet; that of `Cbc.encrypt`
alone is a tenth. So here stands once more, in line, what `_cbc.Cbc` and `_hmac.Hmac` do; see there
for why.
"""

from __future__ import annotations

import errno
from hmac import compare_digest

from opencrypto import Cryptop
from opencrypto.chain import UNVERIFIED, Chain, Quick, places_of, recognise_cipher_mac
from opencrypto_openssl._cbc import WHOLE, Cbc
from opencrypto_openssl._hmac import Hmac


def compile_esp(chain: Chain, cipher: Cbc, hmac: Hmac) -> Quick:
    """Return the quick way of a session of one CBC cipher and one HMAC."""
    maclen = chain.macs[places_of(chain)[1]]
    block = cipher.block
    encryptors, decrypt = cipher.encryptors, cipher.decrypt
    take, give = encryptors.pop, encryptors.append
    encrypt_anew = cipher.encrypt
    keyed = hmac.keyed  # emptied when the session is freed
    number = int.from_bytes

    def exchange(
        crp: Cryptop, view: memoryview, iv: bytes, start: int, end: int,
        mac_start: int, mac_end: int, at: int, encrypting: int,
    ) -> bool:  # fmt: skip
        state = keyed[0].copy()
        to = at + maclen
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
            if end - start <= WHOLE:
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

    return recognise_cipher_mac(chain, exchange)
