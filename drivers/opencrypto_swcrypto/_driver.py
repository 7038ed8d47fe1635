"""The driver itself: what it offers, as the sum of the tables of its families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import Crypto

from opencrypto import Cryptkop
from opencrypto.chain import ChainDriver, TransformFactory
from opencrypto.constants import CRYPTOCAP_F_SOFTWARE, CRYPTOCAP_F_SYNC
from opencrypto.driver import Capability
from opencrypto.xform import AEAD_PARTNERS
from opencrypto_swcrypto import (
    _aead,
    _ciphers,
    _compression,
    _macs,
    _otheraead,
    _otherciphers,
    _othermacs,
)
from opencrypto_swcrypto._keyops import KEYOPS, KeyEngine

LIBRARY: Final = f"pycryptodome {Crypto.__version__}"

FACTORIES: Final[Mapping[int, TransformFactory]] = {
    **_ciphers.FACTORIES,
    **_otherciphers.FACTORIES,
    **_macs.FACTORIES,
    **_othermacs.FACTORIES,
    **_aead.FACTORIES,
    **_otheraead.FACTORIES,
    **_compression.FACTORIES,
}

# What serves an algorithm, where it is not pycryptodome.
UNDERNEATH: Final[Mapping[int, str]] = {
    **dict.fromkeys(_macs.FACTORIES, "hashlib"),
    **dict.fromkeys(_othermacs.HASHLIB, "hashlib"),
    **dict.fromkeys(_otherciphers.OWN, "swcrypto"),
    **dict.fromkeys(_compression.FACTORIES, "zlib"),
}


def _capability(alg: int) -> Capability:
    return Capability(implementation=UNDERNEATH.get(alg, LIBRARY))


class SwcryptoDriver(ChainDriver):
    """Synchronous, in the caller's thread; many threads may share a session."""

    name = "swcrypto"
    flags = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC
    factories = FACTORIES
    capabilities: Mapping[int, Capability] = {
        **{alg: _capability(alg) for alg in FACTORIES},
        # An authenticating half is served by its cipher's transform.
        **{
            half: _capability(alg)
            for alg in FACTORIES
            for half in sorted(AEAD_PARTNERS.get(alg, ()))
        },
    }
    keyops = KEYOPS

    def __init__(self) -> None:
        super().__init__()
        self._keys = KeyEngine(self)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Have a worker do a key operation, or do it here if it is a quick one."""
        return self._keys.process(krp)

    def close(self) -> None:
        """Answer the key operations taken, end the workers, and drop every session."""
        self._keys.close()
        super().close()
