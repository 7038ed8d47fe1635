"""What the quick ways ask of a request's buffer, and where its IV comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opencrypto import Cryptodesc, Cryptoini
from opencrypto.chain import ChainSession
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
)

TakeIv = Callable[[Cryptodesc, memoryview, int, int], "bytes | None"]

KINDS: Final = CRYPTO_F_IOV | CRYPTO_F_IMBUF
"""Flags that a contiguous buffer does not have."""


def flat(buf: Any) -> bool:
    """Tell whether `buf` is a memoryview that can be used as it is. A bytearray always can."""
    return (
        type(buf) is memoryview
        and not buf.readonly
        and buf.c_contiguous
        and buf.ndim == 1
        and buf.format == "B"
    )


def iv_taker(ivlen: int, cri: Cryptoini) -> TakeIv:
    """Return what applies the IV rules for a cipher of a session."""
    fresh = cri.fresh_iv

    def take(crd: Cryptodesc, view: memoryview, start: int, end: int) -> bytes | None:
        """Find or make the IV, and write it where asked; or return None if it is not sound."""
        flags = crd.flags
        if flags & CRD_F_IV_EXPLICIT:
            explicit = crd.ini.iv
            if explicit is None or len(explicit) != ivlen:
                return None
            iv = bytes(explicit)
            if flags & CRD_F_IV_PRESENT or not flags & CRD_F_ENCRYPT:
                return iv
        at = crd.inject
        to = at + ivlen
        if at < 0 or to > len(view) or (at < end and start < to):
            return None
        if not flags & CRD_F_IV_EXPLICIT:
            if flags & CRD_F_IV_PRESENT or not flags & CRD_F_ENCRYPT:
                return bytes(view[at:to])
            iv = fresh()
        view[at:to] = iv
        return iv

    return take


def no_iv(crd: Cryptodesc, view: memoryview, start: int, end: int) -> bytes:
    """Stand for the IV of an algorithm without one."""
    return b""


def taker_of(session: ChainSession, at: int) -> TakeIv:
    """Return what applies the IV rules at a place in a session's chain."""
    ivlen = session.chain.ivlens[at]
    return iv_taker(ivlen, session.chain.inis[at]) if ivlen else no_iv
