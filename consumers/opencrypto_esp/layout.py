"""
Where the parts of an SA's ESP packet stand in a request's buffer, and the chain that goes with it.

On the wire: SPI, sequence number, IV, payload with trailer, ICV (RFC 4303 §2). The buffer differs
where the upper half of an extended sequence number is authenticated but not sent:

* combined modes authenticate SPI, upper half, lower half (RFC 4106 §5): it stands after the SPI;
* a separate integrity algorithm authenticates it after all else (RFC 4303 §2.2.1): it stands
  where the payload ends.
"""

from __future__ import annotations

from opencrypto import CRYPTO_NULL_CBC, Cryptoini
from opencrypto_esp.sa import SecurityAssociation


class Layout:
    """
    The layout of one SA. Offsets and sizes in **bytes**.

    Attributes:
        iv_at: Where the IV stands.
        payload_at: Where the payload begins.
        icv: Size of the ICV.
        verified: Whether there is an ICV whose key is known.
        overhead: All but payload, padding and its length: what a packet has at least.
        combined: Whether one algorithm encrypts and authenticates.
        hides: Whether there is a payload to encrypt.
        aad: Length of the first part, if only that is authenticated beside the payload; else 0,
            and the region goes from the SPI to the end of the payload.
        high_first: Whether the upper half of the sequence number stands after the SPI.
        high_last: Whether it stands after the payload.
    """

    def __init__(self, sa: SecurityAssociation) -> None:
        self._sa = sa
        self.combined = bool(sa.cipher.icv)
        self.verified = sa.verified
        # What neither encrypts nor verifies is a request all the same, of which nothing comes.
        self._cipher = sa.cipher.alg if sa.cipher.alg or self.verified else CRYPTO_NULL_CBC
        self.hides = sa.cipher.hides or not self.verified
        self.high_first = sa.esn and self.combined
        self.high_last = sa.esn and not self.combined and self.verified
        self.iv_at = 12 if self.high_first else 8
        self.payload_at = self.iv_at + sa.cipher.iv
        self.icv = sa.icv
        self.overhead = 8 + sa.cipher.iv + sa.icv
        # Others authenticate what precedes the IV, AES-GMAC IV and payload too (RFC 4543 §3.3).
        self.aad = self.iv_at if self.combined and self.hides else 0

    def cipher_ini(self, *, key: bool) -> Cryptoini | None:
        """Return the encrypting half of the chain, if there is one."""
        sa = self._sa
        if self._cipher is None:
            return None
        return Cryptoini(self._cipher, sa.encryption_key if key else None)

    def tag_ini(self, *, key: bool) -> Cryptoini | None:
        """
        Return the authenticating half of the chain, if there is one.

        With its key it is the session's, which says how long the ICV is; a request that said it
        again would have to be compared with that.
        """
        sa = self._sa
        if self.combined:
            # Both halves of a combined mode have the same key.
            alg, secret = sa.cipher.tags[len(sa.encryption_key)], sa.encryption_key
        elif sa.authenticator is not None:
            alg, secret = sa.authenticator.alg, sa.integrity_key
        else:
            return None
        return Cryptoini(alg, secret, mlen=sa.icv) if key else Cryptoini(alg)
