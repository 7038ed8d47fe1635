"""A driver whose library ends the interpreter, in two ways; right in all else."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

from opencrypto import CRYPTO_NULL_CBC, CRYPTO_NULL_HMAC, Capability, Cryptop, hookimpl
from opencrypto_null import NullDriver


class Segfaulting(NullDriver):
    """Reads from address 0 for a chain of two, and aborts for more than 300 000 bytes."""

    name = "segfaulting"
    capabilities: Mapping[int, Capability] = {
        CRYPTO_NULL_CBC: Capability(),
        CRYPTO_NULL_HMAC: Capability(),
    }

    def process(self, crp: Cryptop, hint: int) -> int:
        """Carry a request out, or end it all."""
        if len(crp.desc) > 1:
            ctypes.string_at(0)
        if crp.desc and crp.desc[0].len > 300_000:
            os.abort()
        return super().process(crp, hint)


class EndsAtOnce(NullDriver):
    """Cannot even be made."""

    name = "ends-at-once"

    def __init__(self) -> None:
        os._exit(3)


class Holds(NullDriver):
    """Waits for a device, for ever, without letting go of the interpreter."""

    name = "holds"

    def process(self, crp: Cryptop, hint: int) -> int:
        """Wait, where another library would let other threads run."""
        return int(ctypes.PyDLL(None).pause())


@hookimpl
def opencrypto_drivers() -> list[Segfaulting]:
    """Offer the driver."""
    return [Segfaulting()]
