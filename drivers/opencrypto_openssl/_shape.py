"""What the quick ways ask of a request's buffer."""

from __future__ import annotations

from typing import Any, Final

from opencrypto.constants import CRYPTO_F_IMBUF, CRYPTO_F_IOV

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
