"""
What a session's driver does with whole messages, without a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

UNVERIFIED: Final = "the MAC does not verify; discard the data"
"""The sentence that goes with EBADMSG."""

Bytes: TypeAlias = bytes | memoryview


class Messages(NamedTuple):
    """
    What a session's driver does with whole messages, out of place and at once.

    A driver hangs it on the ``process`` that it has compiled for the session, as the attribute
    ``messages``. Programs with a `opencrypto.client.Session` are then served without a request
    wherever a request would have gone straight to ``process``. All of it is called from any thread,
    by several at once; the messages fit the session in all but their length. None of it raises to
    report an outcome.

    Attributes:
        seal: ``seal(iv, data, aad) -> bytes``: the ciphertext and the tag behind it.
        seal_into: ``seal_into(iv, data, aad, out)``: the same, written into `out`, which is as long
            and does not overlap the rest. Returns True.
        open: ``open(iv, sealed, aad) -> bytes | None``: the plaintext of what `seal` returned;
            None if it does not verify.
        open_into: ``open_into(iv, sealed, aad, out)``: likewise, into `out`. Returns True, or None
            with `out` as it was.
        mac: ``mac(data) -> bytes``: the MAC or digest, as long as the session has it.
        longest: How many **bytes** of data it takes; longer ones go by request.
    """

    seal: Callable[[bytes, Bytes, Bytes], bytes] | None = None
    seal_into: Callable[[bytes, Bytes, Bytes, memoryview], object] | None = None
    open: Callable[[bytes, Bytes, Bytes], bytes | None] | None = None
    open_into: Callable[[bytes, Bytes, Bytes, memoryview], object] | None = None
    mac: Callable[[Bytes], bytes] | None = None
    longest: int = (1 << 30) - 1
