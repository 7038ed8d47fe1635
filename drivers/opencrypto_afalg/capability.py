"""
What the driver promises: every algorithm of its table, proved when somebody wants a session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from opencrypto import Alg, Capability, Cryptoini
from opencrypto.xform import AEAD_CIPHERS
from opencrypto_afalg.catalogue import Catalogue, Served
from opencrypto_afalg.names import NAMES, Name

MAX_KEY: Final = 4096
"""Bytes of key that every kernel takes, whatever its limit on a socket's memory."""


class KernelCapability(Capability):
    """
    What one algorithm is worth on this kernel: found out late, by `refusal`, and then known.

    `implementation` says what serves it, or would by what is loaded now, with its priority;
    `absence` says why nothing does, once that is known. Neither asks the kernel for anything new.
    """

    def __init__(
        self,
        find: Callable[[], Served | str],
        known: Callable[[], str],
        missing: Callable[[], str],
    ) -> None:
        super().__init__()
        self._find = find
        self._known = known
        self._missing = missing

    @property
    def implementation(self) -> str:
        """Its name in the kernel and its priority, such as ``cbc(aes-generic) (100)``."""
        return self._known()

    @property
    def absence(self) -> str:
        """Why it is not to be had, as far as somebody has asked for it; else empty."""
        return self._missing()

    def served(self, cri: Cryptoini | None = None) -> Served | str:
        """Return what serves it, or why nothing does. The first time, this binds a socket."""
        found = self._find()
        if isinstance(found, str):
            return f"cannot ({found})"
        if cri is not None and cri.klen // 8 > MAX_KEY:
            return f"takes no key of {cri.klen} bits"
        return found

    def refusal(self, cri: Cryptoini) -> str:
        """Say why these parameters cannot be served, or return an empty string."""
        found = self.served(cri)
        return found if isinstance(found, str) else ""


def names_of(alg: int, table: Mapping[Alg, tuple[Name, ...]] = NAMES) -> tuple[Name, ...]:
    """Return the names that serve an algorithm; for an authenticating half, its ciphers'."""
    whole = [Alg(alg), *AEAD_CIPHERS.get(alg, ())]
    return tuple(dict.fromkeys(name for each in whole for name in table.get(each, ())))


def capabilities(
    catalogue: Catalogue, names: Mapping[Alg, tuple[Name, ...]] = NAMES
) -> dict[int, KernelCapability]:
    """Return what to promise for a table of names."""

    def one(wanted: tuple[Name, ...]) -> KernelCapability:
        return KernelCapability(
            lambda: catalogue.find(wanted),
            lambda: catalogue.known(wanted),
            lambda: catalogue.missing(wanted),
        )

    found = {alg: names_of(alg, names) for alg in (*NAMES, *AEAD_CIPHERS)}
    return {int(alg): one(wanted) for alg, wanted in sorted(found.items()) if wanted}
