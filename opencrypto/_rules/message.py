"""
Whole messages as requests: the layout that `client` and `aio` share. Pure.

One buffer holds everything, in the order ``aad | iv | payload | mac``. A separate authenticator
covers aad, IV and ciphertext (encrypt, then MAC; verify, then decrypt); an authenticated cipher
takes the aad as its additional data and the IV as its nonce.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opencrypto._request.buffer import BytesLike, flat
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto._rules.chain import Chain, as_inis
from opencrypto._rules.profile import Profile
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_VERIFY,
    CRYPTO_F_CBIMM,
)
from opencrypto.exceptions import AuthenticationError, UsageError
from opencrypto.xform import Kind


@dataclass(frozen=True, slots=True)
class Sealed:
    """A protected message: the IV it was made with, the ciphertext, and the MAC (or tag)."""

    iv: bytes
    data: bytes
    mac: bytes


class Layout:
    """What a session's chain does to a message: at most one cipher and one authenticator."""

    __slots__ = ("auth", "auth_covers_all", "cipher", "ivlen", "keyed", "maclen")

    def __init__(
        self, ini: Cryptoini | Iterable[Cryptoini], profile: Profile | None = None
    ) -> None:
        chain = Chain(as_inis(ini), profile=profile)
        chain.abandon()
        self.cipher: int | None = None
        self.auth: int | None = None
        self.auth_covers_all = True
        self.keyed = False  # whether an authenticator has a key, so that a MAC proves something
        self.ivlen = self.maclen = 0
        for position, facts in enumerate(chain.facts):
            if facts.kind is Kind.COMP:
                raise UsageError(f"{facts.name} changes lengths; dispatch requests of your own")
            if facts.authenticates:
                self._once(self.auth, "authenticator")
                self.auth, self.maclen = facts.alg, chain.macs[position]
                self.keyed = facts.kind is not Kind.HASH
                self.auth_covers_all = facts.kind is not Kind.AEAD_AUTH
            else:
                self._once(self.cipher, "cipher")
                self.cipher, self.ivlen = facts.alg, chain.ivlens[position]

    def _once(self, alg: int | None, what: str) -> None:
        if alg is not None:
            raise UsageError(f"more than one {what} in the chain; dispatch requests of your own")

    def seal(self, data: BytesLike, iv: BytesLike | None, aad: BytesLike) -> Cryptop:
        """
        Make the request that protects a message.

        Raises:
            UsageError: an argument is not bytes-like, is none that the session can use, or the IV
                has a wrong length.
        """
        data, aad = flat(data, "data"), self._aad(aad)
        if iv is not None:
            iv = self._iv(iv)
        crp = self._request(aad, bytes(self.ivlen), data, bytes(self.maclen))
        descriptors = []
        if self.cipher is not None:
            crd = self._cipher(len(aad), len(data), iv)
            crd.flags |= CRD_F_ENCRYPT
            descriptors.append(crd)
        if self.auth is not None:
            descriptors.append(self._auth(len(aad), len(data)))
        crp.desc = descriptors
        return crp

    def open(self, data: BytesLike, iv: BytesLike, mac: BytesLike, aad: BytesLike) -> Cryptop:
        """
        Make the request that verifies a message and takes its protection off.

        Raises:
            AuthenticationError: the MAC has a wrong length.
            UsageError: as `seal`.
        """
        data, mac, aad = flat(data, "data"), flat(mac, "a MAC"), self._aad(aad)
        iv = self._iv(iv) if self.cipher is not None else b""
        if len(mac) != self.maclen:
            raise AuthenticationError(f"a MAC of {len(mac)} bytes; the session's has {self.maclen}")
        crp = self._request(aad, iv, data, mac)
        descriptors = []
        if self.auth is not None:
            crd = self._auth(len(aad), len(data))
            crd.flags |= CRD_F_VERIFY
            descriptors.append(crd)
        if self.cipher is not None:
            descriptors.append(self._cipher(len(aad), len(data), None))
        crp.desc = descriptors
        return crp

    def require_cipher(self) -> None:
        """
        Refuse to encrypt or decrypt with a session that cannot.

        Raises:
            UsageError: the session has no cipher.
        """
        if self.cipher is None:
            raise UsageError("the session has no cipher; use mac and verify, or add a cipher")

    def require_no_cipher(self) -> None:
        """
        Refuse to make or verify a bare MAC with a session that has a cipher.

        Raises:
            UsageError: the session has a cipher.
        """
        if self.cipher is not None:
            raise UsageError("the session has a cipher; use encrypt and decrypt")

    def _aad(self, aad: BytesLike) -> bytes | memoryview:
        aad = flat(aad, "aad")
        if aad and not self.keyed:
            raise UsageError(
                "the session has no authenticator with a key, so nothing would protect the aad; "
                "add one, or give no aad"
            )
        return aad

    def _iv(self, iv: BytesLike) -> bytes:
        iv = bytes(flat(iv, "an iv"))
        if self.cipher is None:
            raise UsageError("the session has no cipher, so it takes no iv")
        if len(iv) != self.ivlen:
            raise UsageError(f"an iv of {len(iv)} bytes; the session takes {self.ivlen}")
        return iv

    def sealed(self, crp: Cryptop) -> Sealed:
        """Read a protected message out of its completed request."""
        buf: bytearray = crp.buf
        start = crp.olen
        end = len(buf) - self.maclen
        payload = start + self.ivlen
        return Sealed(bytes(buf[start:payload]), bytes(buf[payload:end]), bytes(buf[end:]))

    def opened(self, crp: Cryptop) -> bytes:
        """Read the plaintext out of a completed request."""
        return self.sealed(crp).data

    def _request(self, aad: BytesLike, iv: BytesLike, data: BytesLike, mac: BytesLike) -> Cryptop:
        crp = Cryptop(buf=bytearray().join((aad, iv, data, mac)), flags=CRYPTO_F_CBIMM)
        crp.ilen = len(crp.buf)
        crp.olen = len(aad)  # where the message proper begins
        return crp

    def _cipher(self, aad: int, length: int, iv: BytesLike | None) -> Cryptodesc:
        assert self.cipher is not None
        flags = CRD_F_IV_EXPLICIT if iv is not None else 0
        return Cryptodesc(aad + self.ivlen, length, aad, flags, alg=self.cipher, iv=iv)

    def _auth(self, aad: int, length: int) -> Cryptodesc:
        assert self.auth is not None
        covered = aad + self.ivlen + length if self.auth_covers_all else aad
        return Cryptodesc(0, covered, aad + self.ivlen + length, alg=self.auth)
