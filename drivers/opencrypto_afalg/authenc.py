"""
A cipher and a MAC in one call of the kernel: ``authenc(hmac(sha256),cbc(aes))``.

It serves a request whose MAC covers the ciphertext and ends with it, as in IPsec ESP: encrypt and
then authenticate, or verify and then decrypt. Every other request of the session takes two calls.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from opencrypto import CRD_F_ENCRYPT, Cryptoini, Cryptop
from opencrypto.chain import (
    UNVERIFIED,
    Chain,
    ChainSession,
    Plan,
    Segments,
    Step,
    Transform,
    cipher_and_mac,
    region,
    request_iv,
    scatter,
)
from opencrypto_afalg.transforms import Aead

# struct rtattr { len, type = CRYPTO_AUTHENC_KEYA_PARAM }, then the cipher's key length, big-endian.
_RTATTR: Final = struct.Struct("=HH")
_KEYLEN: Final = struct.Struct(">I")


def authenc_key(mac: Cryptoini, cipher: Cryptoini) -> bytearray:
    """Pack the keys of both algorithms as the kernel wants them in one."""
    return bytearray().join(
        (
            _RTATTR.pack(_RTATTR.size + _KEYLEN.size, 1),
            _KEYLEN.pack(cipher.klen // 8),
            mac.key or b"",
            cipher.key or b"",
        )
    )


def in_one_call(start: int, end: int, mac_start: int, mac_end: int) -> bool:
    """Tell whether one call can do a cipher's region and a MAC's, each of them from … to."""
    return mac_start <= start < end == mac_end


class FusedSession(ChainSession):
    """A session of one cipher and one MAC that can do both at once."""

    __slots__ = ("both",)

    def __init__(self, chain: Chain, transforms: list[Transform | None], both: Aead) -> None:
        super().__init__(chain, transforms)
        self.both = both

    def carry_out(self, crp: Cryptop, plan: Plan) -> None:
        """Carry a request out, in one call if its regions allow."""
        fitting = self._fit(plan)
        if fitting is None:
            super().carry_out(crp, plan)
        elif not self._once(crp, plan.parts, *fitting):
            crp.fail(errno.EBADMSG, UNVERIFIED)

    def _fit(self, plan: Plan) -> tuple[Step, Step] | None:
        """Return the cipher's and the MAC's step if one call can do both."""
        both = cipher_and_mac(plan, self.chain)
        if both is None:
            return None
        cipher, mac = both
        crd, over = cipher.crd, mac.crd
        # One call cannot be done in pieces. Each of the two can, and takes any length.
        if over.len + self.chain.macs[mac.position] > self.both.transform.piece:
            return None
        regions = crd.skip, crd.skip + crd.len, over.skip, over.skip + over.len
        return both if in_one_call(*regions) else None

    def _once(self, crp: Cryptop, parts: Segments, cipher: Step, mac: Step) -> bool:
        crd, at = cipher.crd, cipher.position
        maclen = self.chain.macs[mac.position]
        iv = request_iv(crd, self.chain.inis[at], self.chain.ivlens[at], parts)
        before = region(parts, mac.crd.skip, crd.skip - mac.crd.skip)
        payload = region(parts, crd.skip, crd.len)
        if mac.mac_at < 0:
            place = region(parts, mac.crd.inject, maclen)
        else:
            assert crp.mac is not None
            place = [memoryview(crp.mac).cast("B")[mac.mac_at : mac.mac_at + maclen]]
        if not crd.flags & CRD_F_ENCRYPT:
            return self.both.open(iv, before, payload, b"".join(place))
        scatter(place, self.both.seal(iv, before, payload, maclen))
        return True
