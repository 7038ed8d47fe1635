"""
Operation sockets of type skcipher: what is written is enciphered when it is read.

Data wait in a buffer until they are read; each read is one request. A request that comes without
an IV of its own goes on with the IV that the one before it has left, as CBC and the counter modes
chain. XTS has nothing to chain: it takes a message in one read.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from opencrypto import Alg, Cryptodesc, CryptoError, Cryptoini
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT
from opencrypto_algsocket.asking import Asked
from opencrypto_algsocket.control import Control
from opencrypto_algsocket.errors import as_kernel, refused
from opencrypto_algsocket.names import Bound
from opencrypto_algsocket.waiting import Buffered


class CipherOperation(Buffered):
    """One stream of requests under a transform's key."""

    def __init__(self, bound: Bound, asked: Callable[[], Asked], room: int) -> None:
        super().__init__(room)
        self._bound = bound
        self._asked = asked
        facts = bound.facts
        self._alg = facts.alg
        # What a part of a message is cut to: of counter modes too, as in the kernel.
        self._block = facts.block if facts.counter_iv else facts.granule
        self._ivlen = facts.salted_iv if bound.salted else facts.iv
        self._iv = bytes(self._ivlen)
        self._encrypt = False

    def begin(self, control: Control) -> None:
        """Take direction and IV of a request."""
        if control.iv is not None and len(control.iv) != self._ivlen:
            raise refused(
                errno.EINVAL,
                f"{self._bound.name} takes an IV of {self._ivlen} bytes, not {len(control.iv)}",
            )
        self._encrypt = control.encrypt
        if control.iv is not None:
            self._iv = control.iv

    def check_key(self) -> None:
        """Refuse to work without a key (ENOKEY)."""
        self._asked()

    def least(self) -> int:
        """Return how many bytes must be there before anything can be read of what goes on."""
        return max(1, self._block)

    def read(self, count: int) -> bytes:
        """Encipher up to `count` of the bytes that wait, and return them."""
        length = min(count, self.used)
        if self.more or length < self.used:
            length -= length % self._block
            if self._alg == Alg.AES_XTS:
                raise refused(errno.EINVAL, "XTS enciphers a whole message; read it in one piece")
            if not length and self.used:
                raise refused(
                    errno.EINVAL, f"{count} bytes are less than a block of {self._block}; read more"
                )
        data = self.take(length)
        if not data and self._alg == Alg.AES_XTS:
            raise refused(errno.EINVAL, "XTS enciphers a block at least")
        if not data:
            return b""
        return self._enciphered(data)

    def _enciphered(self, data: bytearray) -> bytes:
        before = bytes(data[-16:])
        crd = Cryptodesc(
            len=len(data),
            flags=CRD_F_ENCRYPT if self._encrypt else 0,
            ini=Cryptoini(self._alg),
        )
        if self._ivlen:
            crd.flags |= CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
            crd.iv = self._iv
        try:
            self._asked().carry_out(data, [crd])
        except CryptoError as error:
            raise as_kernel(error) from None
        self._chain(before, data)
        answer = bytes(data)
        data[:] = bytes(len(data))
        return answer

    def _chain(self, before: bytes, after: bytearray) -> None:
        """Leave the IV that a next request goes on with, if it brings none."""
        if self._alg == Alg.AES_ICM:
            blocks = -(-len(after) // 16)
            value = (int.from_bytes(self._iv, "big") + blocks) % (1 << 128)
            self._iv = value.to_bytes(16, "big")
        elif self._ivlen and self._block == self._ivlen and self._alg != Alg.AES_XTS:
            end = bytes(after) if self._encrypt else before
            self._iv = end[-self._ivlen :]
