"""
Operation sockets of type aead: associated data, payload and tag in one stream.

In goes ``AAD | plaintext`` or ``AAD | ciphertext | tag``, out comes ``AAD | ciphertext | tag`` or
``AAD | plaintext``. What does not verify is released to nobody. A read that has no room for the
whole answer does nothing, and the message waits on.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from opencrypto import Alg, Cryptodesc, CryptoError, Cryptoini
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
)
from opencrypto_algsocket.asking import Asked
from opencrypto_algsocket.control import Control
from opencrypto_algsocket.errors import as_kernel, refused
from opencrypto_algsocket.names import Bound
from opencrypto_algsocket.waiting import Buffered

_IPSEC: Final = (16, 20)
"""SPI, sequence number (of 32 or 64 bits) and IV, in **bytes**: crypto_ipsec_check_assoclen."""


class AeadOperation(Buffered):
    """One message after the other under a transform's key."""

    def __init__(
        self,
        bound: Bound,
        asked: Callable[[], Asked],
        half: Callable[[], Alg],
        tag: Callable[[], int],
        room: int,
    ) -> None:
        super().__init__(room)
        self._bound = bound
        self._asked = asked
        self._half = half
        self._tag = tag
        facts = bound.facts
        self._alg = facts.alg
        self._ccm = facts.alg == Alg.AES_CCM_16 and not bound.salted
        self._ivlen = 16 if self._ccm else facts.salted_iv if bound.salted else facts.iv
        self._iv: bytes | None = None
        self._encrypt = False
        self._assoclen = 0

    def begin(self, control: Control) -> None:
        """Take direction, IV and the associated data's length of a request."""
        if control.iv is not None:
            if len(control.iv) != self._ivlen:
                raise refused(
                    errno.EINVAL,
                    f"{self._bound.name} takes an IV of {self._ivlen} bytes, not {len(control.iv)}",
                )
            self._iv = self._nonce(control.iv)
        self._encrypt = control.encrypt
        self._assoclen = control.assoclen

    def _nonce(self, iv: bytes) -> bytes:
        """Return the nonce in an IV; CCM's is a whole first counter block (RFC 3610, 2.3)."""
        if not self._ccm:
            return iv
        if iv[0] != 2 or iv[13:] != bytes(3):
            raise refused(
                errno.EINVAL,
                "an IV of ccm(aes) is 2, a nonce of 12 bytes and a counter of 3 that is 0; "
                "other lengths of nonce no driver here has",
            )
        return iv[1:13]

    def check_key(self) -> None:
        """Refuse to work without a key (ENOKEY)."""
        self._asked()

    def least(self) -> int:
        """Return more than there ever is: a message is read when it is whole."""
        return self.used + 1

    def read(self, count: int) -> bytes:
        """Work on the message that waits, and return the answer."""
        taglen = self._tag()
        needed = self._assoclen + (0 if self._encrypt else taglen)
        if self.used < needed:
            raise refused(
                errno.EINVAL,
                f"{self.used} bytes are less than the associated data and the tag, {needed}",
            )
        answer = self.used + (taglen if self._encrypt else -taglen)
        if count < answer and answer > 0:
            raise refused(errno.EINVAL, f"the answer has {answer} bytes; read as many, not {count}")
        if self._iv is None:
            if self._encrypt:
                unsealed = self.take(self.used)
                unsealed[:] = bytes(len(unsealed))
                raise refused(errno.EINVAL, "each message needs an IV of its own; set ALG_SET_IV")
            self._iv = bytes(12 if self._ccm else self._ivlen)
        message = self.take(self.used)
        try:
            return self._worked(message)
        except CryptoError as error:
            raise as_kernel(error) from None
        finally:
            message[:] = bytes(len(message))
            if self._encrypt:
                self._iv = None  # a nonce is used once

    def _worked(self, message: bytearray) -> bytes:
        asked, aad, taglen = self._asked(), self._assoclen, self._tag()
        if self._encrypt:
            message += bytes(taglen)
        end = len(message) - taglen
        cipher = Cryptodesc(
            skip=aad,
            len=end - aad,
            flags=CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT,
            ini=Cryptoini(self._alg, iv=self._iv),
        )
        auth = Cryptodesc(inject=end, ini=Cryptoini(self._half()))
        auth.len = end if self._bound.is_authenc else self._authenticated(aad)
        if self._encrypt:
            cipher.flags |= CRD_F_ENCRYPT
            asked.carry_out(message, [cipher, auth])
            return bytes(message)
        if self._bound.is_authenc and (end - aad) % self._bound.facts.granule:
            raise refused(errno.EBADMSG, "it has no whole blocks, so it was never sealed")
        auth.flags |= CRD_F_VERIFY
        asked.carry_out(message, [auth, cipher])
        return bytes(message[:end])

    def _authenticated(self, aad: int) -> int:
        """Return how much of the associated data counts: not the IV that IPsec puts last."""
        if not self._bound.with_iv_behind:
            return aad
        if aad not in _IPSEC:
            raise refused(
                errno.EINVAL,
                f"the associated data of {self._bound.name} are ESP's header and the IV: "
                f"{' or '.join(map(str, _IPSEC))} bytes, not {aad}",
            )
        return aad - self._ivlen
