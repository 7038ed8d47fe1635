"""
Whole messages as requests: the layout that `client` and `aio` share. Pure.

A protected message as one piece of bytes, a *token*, is ``iv | ciphertext | tag``, each as long as
the session has it; so the receiver's session finds them again.

One buffer holds everything, in the order ``aad | iv | payload | mac``. An authenticated cipher
takes the aad as its additional data and the IV as its nonce. A separate authenticator covers aad,
IV and ciphertext (encrypt, then MAC; verify, then decrypt), and the length of the aad, which stands
between payload and MAC: without it, whoever chooses the aad could move bytes over the border
between aad and IV, and the MAC would still verify. So RFC 7518 has it (section 5.2.2.1: in bits,
as 64 of them, big-endian).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Self, TypeAlias

from opencrypto._request.buffer import BytesLike, Mbuf, flat, is_private
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto._rules.chain import Chain, as_inis
from opencrypto._rules.profile import Profile
from opencrypto._rules.strength import require_strong
from opencrypto.constants import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_VERIFY,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_F_CBIMM,
)
from opencrypto.exceptions import AuthenticationError, UsageError
from opencrypto.xform import Kind

Maker: TypeAlias = "Callable[[], Cryptop]"
"""Makes a request of one message anew, out of copies of what the consumer gave."""

BORDER: Final = 8
"""How many bytes tell an authenticator where the aad ends."""

KEPT: Final = 16
"""How many requests a session keeps of each kind, to be filled in again."""


class Sealed(NamedTuple):
    """A protected message: the IV it was made with, the ciphertext, and the MAC (or tag)."""

    iv: bytes
    data: bytes
    mac: bytes

    def to_bytes(self) -> bytes:
        """Return it in one piece, a token: ``iv | data | mac``."""
        return b"".join(self)

    @classmethod
    def from_bytes(cls, token: BytesLike, ivlen: int, maclen: int) -> Self:
        """
        Take a token apart.

        Args:
            token: What `to_bytes` or `Session.seal` returned.
            ivlen: **Bytes** of IV, `Session.ivlen`.
            maclen: **Bytes** of MAC or tag, `Session.maclen`.

        Raises:
            UsageError: `token` is not bytes-like.
            AuthenticationError: it is shorter than IV and MAC together.
        """
        whole = bytes(flat(token, "a token"))
        end = len(whole) - maclen
        if end < ivlen:
            raise AuthenticationError(too_short(len(whole), ivlen + maclen))
        return cls(whole[:ivlen], whole[ivlen:end], whole[end:])


class Detached(NamedTuple):
    """What belongs to a message whose ciphertext was written into a buffer of the program's own."""

    iv: bytes
    mac: bytes


def too_short(length: int, least: int) -> str:
    """Say that a token cannot be one."""
    return f"a token of {length} bytes; the session's have {least} or more"


def own_bytes(data: BytesLike, what: str) -> bytes | memoryview:
    """
    Return the bytes of a message that nobody else writes, as far as anybody can tell.

    Raises:
        UsageError: it is not bytes-like.
    """
    if type(data) is bytes:
        return data
    view = flat(data, what)
    return view if isinstance(view, bytes) or is_private(view) else bytes(view)


class Layout:
    """
    What a session's chain does to a message: at most one compression, cipher and authenticator.

    Attributes:
        comp: The compression, before all else; None if there is none.
        cipher: The cipher; None if there is none.
        auth: The authenticator; None if there is none.
        auth_covers_all: Whether it is one of its own, and no half of an authenticated cipher.
        keyed: Whether it has a key, so that a MAC proves something.
        ivlen: **Bytes** of IV.
        maclen: **Bytes** of MAC or tag.
        granule: **Bytes** of the cipher's block; 1 if it takes any number.
        tail: **Bytes** that tell a MAC where the aad ends.
    """

    __slots__ = (
        "_openers", "_sealers", "auth", "auth_covers_all", "cipher", "comp", "granule", "ivlen",
        "keyed",
        "maclen", "tail",
    )  # fmt: skip

    def __init__(
        self, ini: Cryptoini | Iterable[Cryptoini], profile: Profile | None = None
    ) -> None:
        chain = Chain(as_inis(ini), profile=profile)
        try:
            require_strong(chain)
        finally:
            chain.abandon()
        self.comp: int | None = None
        self.cipher: int | None = None
        self.auth: int | None = None
        self.auth_covers_all = True
        self.keyed = False
        self.ivlen = self.maclen = 0
        self.granule = 1
        for position, facts in enumerate(chain.facts):
            if facts.kind is Kind.COMP:
                self._once(self.comp, "compression")
                self.comp = self._compression(facts.alg, position)
            elif facts.authenticates:
                self._once(self.auth, "authenticator")
                self.auth, self.maclen = facts.alg, chain.macs[position]
                self.keyed = facts.kind is not Kind.HASH
                self.auth_covers_all = facts.kind is not Kind.AEAD_AUTH
            else:
                self._once(self.cipher, "cipher")
                self.cipher, self.ivlen = facts.alg, chain.ivlens[position]
                self.granule = facts.granule
        if self.comp is not None and self.auth is not None and self.cipher is None:
            raise UsageError("a session compresses for a cipher; or open one for each of the two")
        joins = self.auth is not None and self.cipher is not None and self.auth_covers_all
        self.tail = BORDER if joins else 0
        # Taking one, and giving one back, is one step; one that was given up never comes back.
        self._sealers: list[Cryptop] = []
        self._openers: list[Cryptop] = []

    def _once(self, alg: int | None, what: str) -> None:
        if alg is not None:
            raise UsageError(f"more than one {what} in the chain; dispatch requests of your own")

    def _compression(self, alg: int, position: int) -> int:
        if alg == CRYPTO_DEFLATE_COMP_NOGROW:
            raise UsageError(
                "DEFLATE_COMP_NOGROW does not tell whether it has compressed; take DEFLATE_COMP"
            )
        if position:
            raise UsageError("a session compresses first; put the compression before the others")
        return alg

    def sealing(self, data: BytesLike, iv: BytesLike | None, aad: BytesLike) -> Maker:
        """
        Return what makes the request that protects a message, as often as it is tried.

        Raises:
            UsageError: an argument is not bytes-like, is none that the session can use, or the IV
                has a wrong length.
        """
        text, extra = bytes(flat(data, "data")), bytes(self.aad(aad))
        given = None if iv is None else self.iv(iv)
        start, length = len(extra), len(text)

        def make() -> Cryptop:
            crp = self._taken(self._sealers, [self.cipher, self.auth])
            for crd in crp.desc:
                if crd.ini.alg == self.cipher:
                    explicit = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT
                    self._place_cipher(crd, start, length, given)
                    crd.flags = CRD_F_ENCRYPT if given is None else explicit
                else:
                    self._place_auth(crd, start, length)
            return self._filled(crp, extra, bytes(self.ivlen), text, bytes(self.maclen))

        return make

    def opening(self, data: BytesLike, iv: BytesLike, mac: BytesLike, aad: BytesLike) -> Maker:
        """
        Return what makes the request that verifies a message and takes its protection off.

        Raises:
            AuthenticationError: the MAC has a wrong length.
            UsageError: as `sealing`.
        """
        text, theirs = bytes(flat(data, "data")), bytes(flat(mac, "a MAC"))
        extra = bytes(self.aad(aad))
        given = self.iv(iv) if self.cipher is not None else b""
        if len(theirs) != self.maclen:
            raise AuthenticationError(
                f"a MAC of {len(theirs)} bytes; the session's has {self.maclen}"
            )
        start, length = len(extra), len(text)

        def make() -> Cryptop:
            crp = self._taken(self._openers, [self.auth, self.cipher])
            for crd in crp.desc:
                if crd.ini.alg == self.cipher:
                    self._place_cipher(crd, start, length, None)
                    crd.flags = 0
                else:
                    self._place_auth(crd, start, length)
                    crd.flags = CRD_F_VERIFY
            return self._filled(crp, extra, given, text, theirs)

        return make

    def compressing(self, data: BytesLike) -> Maker:
        """
        Return what makes the request that compresses, as often as it is tried.

        Raises:
            UsageError: the session does not compress, or `data` is not bytes-like.
        """
        comp = self.require_comp()
        text = bytes(flat(data, "data"))

        def make() -> Cryptop:
            return _resizing(text, Cryptodesc(0, len(text), flags=CRD_F_COMP, alg=comp))

        return make

    def decompressing(self, data: BytesLike) -> Maker:
        """
        Return what makes the request that decompresses, as often as it is tried.

        Raises:
            UsageError: the session does not compress, or `data` is not bytes-like.
        """
        comp = self.require_comp()
        text = bytes(flat(data, "data"))

        def make() -> Cryptop:
            return _resizing(text, Cryptodesc(0, len(text), alg=comp))

        return make

    def require_comp(self) -> int:
        """
        Return the compression; refuse to compress with a session that cannot.

        Raises:
            UsageError: the session has none.
        """
        if self.comp is None:
            raise UsageError("the session does not compress; open one with a compression first")
        return self.comp

    def require_cipher(self) -> None:
        """
        Refuse to encrypt or decrypt with a session that cannot.

        Raises:
            UsageError: the session has no cipher.
        """
        if self.cipher is None:
            raise UsageError("the session has no cipher; use mac and verify, or add a cipher")

    def require_seal(self) -> None:
        """
        Refuse to seal or open with a session that would not notice a change.

        Raises:
            UsageError: the session has no cipher, or no authenticator.
        """
        self.require_cipher()
        if self.auth is None:
            raise UsageError(
                "the session has no authenticator, so nothing would notice a change; take an "
                "authenticated cipher such as AES-GCM, or use encrypt and decrypt"
            )

    def require_no_cipher(self) -> None:
        """
        Refuse to make or verify a bare MAC with a session that has a cipher.

        Raises:
            UsageError: the session has a cipher, or no authenticator.
        """
        if self.cipher is not None:
            raise UsageError("the session has a cipher; use encrypt and decrypt")
        if self.auth is None:
            raise UsageError("the session has no authenticator; use compress and decompress")

    def require_digest(self) -> None:
        """
        Refuse to take a MAC for a digest.

        Raises:
            UsageError: the session has a cipher, or its authenticator has a key.
        """
        self.require_no_cipher()
        if self.keyed:
            raise UsageError("the session's authenticator has a key; use mac and verify")

    def aad(self, aad: BytesLike) -> bytes | memoryview:
        """
        Return additional data that the session protects.

        Raises:
            UsageError: it does not, or `aad` is not bytes-like.
        """
        aad = flat(aad, "aad")
        if aad and not self.keyed:
            raise UsageError(
                "the session has no authenticator with a key, so nothing would protect the aad; "
                "add one, or give no aad"
            )
        return aad

    def iv(self, iv: BytesLike) -> bytes:
        """
        Return an IV that the session takes.

        Raises:
            UsageError: it takes none, or of another length, or `iv` is not bytes-like.
        """
        iv = bytes(flat(iv, "an iv"))
        if self.cipher is None:
            raise UsageError("the session has no cipher, so it takes no iv")
        if len(iv) != self.ivlen:
            raise UsageError(f"an iv of {len(iv)} bytes; the session takes {self.ivlen}")
        return iv

    def parts(self, token: BytesLike) -> Sealed:
        """
        Take a token apart.

        Raises:
            UsageError, AuthenticationError: as `Sealed.from_bytes`; or its length is none that a
                token of the session has.
        """
        sealed = Sealed.from_bytes(token, self.ivlen, self.maclen)
        if len(sealed.data) % self.granule:
            raise AuthenticationError("a token of whole blocks and a part of one; discard it")
        return sealed

    def sealed(self, crp: Cryptop) -> Sealed:
        """Read a protected message out of its completed request, which is then the session's."""
        buf: bytearray = crp.buf
        start = crp.olen
        mac = len(buf) - self.maclen
        end = mac - self.tail
        payload = start + self.ivlen
        sealed = Sealed(bytes(buf[start:payload]), bytes(buf[payload:end]), bytes(buf[mac:]))
        self._give_back(crp, self._sealers)
        return sealed

    def opened(self, crp: Cryptop) -> bytes:
        """Read the plaintext out of a completed request, which is then the session's."""
        buf: bytearray = crp.buf
        end = len(buf) - self.maclen - self.tail
        with memoryview(buf) as view:
            text = bytes(view[crp.olen + self.ivlen : end])
        self._give_back(crp, self._openers)
        return text

    def resized(self, crp: Cryptop) -> bytes:
        """Read what was compressed or decompressed out of a completed request."""
        return bytes(crp.buf)

    def _taken(self, kept: list[Cryptop], algs: Iterable[int | None]) -> Cryptop:
        try:
            crp = kept.pop()
        except IndexError:
            desc = [Cryptodesc(alg=alg) for alg in algs if alg is not None]
            return Cryptop(desc=desc, flags=CRYPTO_F_CBIMM)
        crp.flags = CRYPTO_F_CBIMM
        return crp

    def _give_back(self, crp: Cryptop, kept: list[Cryptop]) -> None:
        """Keep a request that was answered, without what was in it."""
        crp.buf = crp.callback = None
        for crd in crp.desc:
            crd.ini.iv = None
        if len(kept) < KEPT:
            kept.append(crp)

    def _filled(self, crp: Cryptop, aad: bytes, iv: bytes, data: bytes, mac: bytes) -> Cryptop:
        border = (8 * len(aad)).to_bytes(self.tail, "big") if self.tail else b""
        crp.buf = buf = bytearray().join((aad, iv, data, border, mac))
        crp.ilen = len(buf)
        crp.olen = len(aad)  # where the message proper begins
        return crp

    def _place_cipher(self, crd: Cryptodesc, aad: int, length: int, iv: bytes | None) -> None:
        crd.skip = aad + self.ivlen
        crd.len = length
        crd.inject = aad
        crd.ini.iv = iv

    def _place_auth(self, crd: Cryptodesc, aad: int, length: int) -> None:
        crd.inject = mac_at = aad + self.ivlen + length + self.tail
        crd.len = mac_at if self.auth_covers_all else aad


def _resizing(text: bytes, crd: Cryptodesc) -> Cryptop:
    """Make a request that changes the length of a message."""
    crp = Cryptop(buf=Mbuf([bytearray(text)]), desc=[crd], flags=CRYPTO_F_CBIMM)
    crp.ilen = len(text)
    return crp
