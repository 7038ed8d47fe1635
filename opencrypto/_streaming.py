"""
A message in pieces carried out over transforms: what a `ChainDriver` keeps from piece to piece.

A transform that can go on where it was has a method ``stream``, which begins a message. Without
one, a cipher that chains its blocks goes on with the last of them, and one that counts its blocks
with their number, by requests as any others. What can do neither is refused in a sentence.
"""

from __future__ import annotations

import errno
import hmac
from collections.abc import Callable
from typing import Any, Final, Protocol

from opencrypto._carrying import ChainSession, request_iv
from opencrypto._request.buffer import Segments, byteview, gather, region, scatter, total
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.check import Plan, Step
from opencrypto._rules.messages import UNVERIFIED
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_VERIFY, Alg
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto.xform import Kind


class CipherStream(Protocol):
    """
    A cipher in the midst of a message: what ``stream(iv, encrypt)`` of a transform returns.

    One thread at a time calls it, as all that streams here.
    """

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt the next region in place, of whole granules; it is not empty."""


class MacStream(Protocol):
    """
    An authenticator or digest in the midst of one: what ``stream()`` of a transform returns.

    One whose state can be copied has a method ``copy`` that returns another.
    """

    def update(self, parts: Segments) -> None:
        """Go on with the next region."""

    def mac(self) -> bytes:
        """End the message; return the whole MAC of it."""


class AeadStream(Protocol):
    """
    An authenticated cipher in the midst of one: ``stream(iv, aad, encrypt, maclen)``.

    What it decrypts is given out before anybody knows whether it is authentic.
    """

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt the next region in place; it is not empty."""

    def tag(self, maclen: int) -> bytes:
        """End a message that was encrypted; return its tag of `maclen` bytes."""

    def verify(self, tag: bytes) -> bool:
        """End a message that was decrypted; tell whether that is its tag."""


def _algs(*names: str) -> frozenset[int]:
    return frozenset(int(alg) for alg in Alg if alg.name in names)


CHAINED: Final = _algs(
    "DES_CBC", "3DES_CBC", "BLF_CBC", "CAST_CBC", "SKIPJACK_CBC", "CAMELLIA_CBC", "AES_CBC"
)
"""Ciphers of which each block needs the one before: the last one is the next piece's IV."""

COUNTED: Final = _algs("AES_ICM")
"""Ciphers whose IV is the whole first counter block, big-endian."""

STATELESS: Final = _algs("AES_ECB", "NULL_CBC")
"""Ciphers to which a piece is as good as a message."""

CHANGES: Final = "it changes lengths, and takes whole messages only"

SENTENCES: Final[dict[int, str]] = {
    Alg.DEFLATE_COMP: CHANGES,
    Alg.DEFLATE_COMP_NOGROW: CHANGES,
    Alg.GZIP_COMP: CHANGES,
    Alg.AES_XTS: "one IV is for one sector, which is one request",
    Alg.AES_SIV: "it goes over its message twice",
    Alg.AES_CCM_16: "it begins with the length of its message",
}
"""Why no driver takes these in pieces."""


class ByLastBlock:
    """A `CipherStream` of a cipher that chains its blocks: the last one is the next piece's IV."""

    __slots__ = ("_crypt", "_encrypt", "_iv")

    def __init__(self, crypt: Callable[..., Any], iv: bytes, encrypt: bool) -> None:
        self._crypt = crypt
        self._iv = iv
        self._encrypt = encrypt

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt whole blocks in place."""
        block = len(self._iv)
        iv = self._iv
        if self._encrypt:
            self._crypt(iv, parts, True)
            self._iv = _tail(parts, block)
        else:
            self._iv = _tail(parts, block)
            self._crypt(iv, parts, False)


class ByCounter:
    """A `CipherStream` of a cipher in counter mode: it goes on at any byte of any block."""

    __slots__ = ("_at", "_crypt", "_first")

    def __init__(self, crypt: Callable[..., Any], iv: bytes, encrypt: bool) -> None:
        self._crypt = crypt
        self._first = int.from_bytes(iv, "big")
        self._at = 0  # bytes that went before

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt, which is the same."""
        number, within = divmod(self._at, _COUNTED_BLOCK)
        counter = ((self._first + number) % (1 << 8 * _COUNTED_BLOCK)).to_bytes(_COUNTED_BLOCK)
        if within:
            parts = self._rest_of_block(counter, within, parts)
            if not parts:
                return
            self.crypt(parts)
            return
        self._crypt(counter, parts, True)
        self._at += total(parts)

    def _rest_of_block(self, counter: bytes, within: int, parts: Segments) -> Segments:
        """Do what is left of the block that the piece before ended in; return what is behind it."""
        size = total(parts)
        length = min(size, _COUNTED_BLOCK - within)
        head = region(parts, 0, length)
        block = bytearray(within).join((b"", gather(head)))
        self._crypt(counter, [memoryview(block)], True)
        scatter(head, memoryview(block)[within:])
        block[:] = bytes(len(block))
        self._at += length
        return region(parts, length, size - length)


_COUNTED_BLOCK: Final = 16


class Stateless:
    """A `CipherStream` of a cipher to which a piece is as good as a message."""

    __slots__ = ("_crypt", "_encrypt", "_iv")

    def __init__(self, crypt: Callable[..., Any], iv: bytes, encrypt: bool) -> None:
        self._crypt = crypt
        self._iv = iv
        self._encrypt = encrypt

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt whole blocks in place."""
        self._crypt(self._iv, parts, self._encrypt)


def _tail(parts: Segments, length: int) -> bytes:
    """Return the last bytes of a region."""
    last = parts[-1]
    if len(last) >= length:
        return bytes(last[-length:])
    return b"".join(region(parts, total(parts) - length, length))


def stream_refusal(alg: int, transform: Any) -> str:
    """Say why a transform takes no message in pieces, or return an empty string."""
    if alg in SENTENCES:
        return SENTENCES[alg]
    if transform is None or hasattr(transform, "stream") or alg in _GENERIC:
        return ""
    return "its transform keeps nothing from piece to piece"


_GENERIC: Final[dict[int, Callable[..., CipherStream]]] = {
    **dict.fromkeys(CHAINED, ByLastBlock),
    **dict.fromkeys(COUNTED, ByCounter),
    **dict.fromkeys(STATELESS, Stateless),
}


class ChainStream:
    """
    The state of one message in pieces, in a session of a `ChainDriver`.

    Args:
        session: The session.

    Raises:
        UsageError: one of its algorithms takes whole messages only.
    """

    __slots__ = ("_session", "_states")

    def __init__(self, session: ChainSession) -> None:
        for cri, facts, transform in zip(
            session.chain.inis, session.chain.facts, session.transforms, strict=True
        ):
            refusal = stream_refusal(cri.alg, transform)
            if refusal:
                raise UsageError(f"{facts.name} is not taken in pieces here: {refusal}")
        self._session = session
        self._states: dict[int, Any] = {}

    def carry_out(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        """Carry the next piece out, setting ``etype`` to what came of it."""
        try:
            for step in plan.steps:
                if not self._do(crp, plan, step, last):
                    crp.fail(errno.EBADMSG, UNVERIFIED)
                    return
        except CryptoError as error:
            crp.fail_for(error)

    def _do(self, crp: Cryptop, plan: Plan, step: Step, last: bool) -> bool:
        """Do a step; False if a MAC did not verify."""
        parts, crd = plan.parts, step.crd
        state = self._states.get(step.position)
        if state is None:
            state = self._states[step.position] = self._begin(step, parts)
        payload = region(parts, crd.skip, step.length)
        match self._session.chain.facts[step.position].kind:
            case Kind.CIPHER:
                if payload:
                    state.crypt(payload)
                return True
            case Kind.AEAD:
                if payload:
                    state.crypt(payload)
                return not last or self._end_aead(crp, step, parts, state)
            case _:
                state.update(payload)
                return not last or self._end_mac(crp, step, parts, state.mac())

    def _begin(self, step: Step, parts: Segments) -> Any:
        session, at, crd = self._session, step.position, step.crd
        transform: Any = session.transforms[at]
        kind = session.chain.facts[at].kind
        if kind not in (Kind.CIPHER, Kind.AEAD):
            return transform.stream()
        iv = request_iv(crd, session.chain.inis[at], session.chain.ivlens[at], parts)
        encrypt = bool(crd.flags & CRD_F_ENCRYPT)
        if kind is Kind.AEAD:
            assert step.partner is not None
            aad = region(parts, step.partner.crd.skip, step.partner.length)
            return transform.stream(iv, aad, encrypt, session.chain.macs[step.partner.position])
        if hasattr(transform, "stream"):
            return transform.stream(iv, encrypt)
        return _GENERIC[session.chain.inis[at].alg](transform.crypt, iv, encrypt)

    def _end_mac(self, crp: Cryptop, step: Step, parts: Segments, whole: bytes) -> bool:
        digest = whole[: self._session.chain.macs[step.position]]
        place = self._mac_place(crp, step, parts)
        if step.crd.flags & CRD_F_VERIFY:
            return hmac.compare_digest(b"".join(place), digest)
        scatter(place, digest)
        return True

    def _end_aead(self, crp: Cryptop, step: Step, parts: Segments, state: Any) -> bool:
        tag = step.partner
        assert tag is not None
        place = self._mac_place(crp, tag, parts)
        if not step.crd.flags & CRD_F_ENCRYPT:
            return bool(state.verify(b"".join(place)))
        scatter(place, state.tag(self._session.chain.macs[tag.position]))
        return True

    def _mac_place(self, crp: Cryptop, step: Step, parts: Segments) -> Segments:
        length = self._session.chain.macs[step.position]
        if step.mac_at < 0:
            return region(parts, step.crd.inject, length)
        return [byteview(crp.mac, writable=False)[step.mac_at : step.mac_at + length]]

    def copy(self, session: ChainSession) -> ChainStream:
        """
        Return another stream that has come as far, in a session with the same keys.

        Raises:
            UsageError: what is kept of one of the algorithms cannot be copied.
        """
        twin = ChainStream(session)
        for position, state in self._states.items():
            copy = getattr(state, "copy", None)
            if copy is None:
                name = self._session.chain.facts[position].name
                raise UsageError(f"what this driver keeps of {name} cannot be copied")
            twin._states[position] = copy()
        return twin

    def wipe(self) -> None:
        """Drop what was kept of the message; nothing of it comes any more."""
        for state in self._states.values():
            wipe = getattr(state, "wipe", None)
            if wipe is not None:
                wipe()
        self._states.clear()
