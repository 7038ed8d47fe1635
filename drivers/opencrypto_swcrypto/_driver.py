"""The driver itself: what it offers, as the sum of the tables of its families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import Crypto

from opencrypto import Cryptkop, transforms
from opencrypto.chain import ChainDriver, TransformFactory
from opencrypto.constants import CRYPTOCAP_F_SOFTWARE, CRYPTOCAP_F_SYNC
from opencrypto.driver import Capability
from opencrypto.xform import AEAD_PARTNERS
from opencrypto_swcrypto import (
    _arc4,
    _blake2,
    _cbc,
    _ccm,
    _chacha,
    _cmac,
    _compression,
    _ctr,
    _gcm,
    _hmac,
    _icm,
    _kpdk,
    _own_cbc,
    _poly1305,
    _ripemd160,
    _siv,
    _xcbc,
    _xts,
)
from opencrypto_swcrypto._key_engine import KEYOPS, KeyEngine, withheld
from opencrypto_swcrypto._overwrite import overwrite
from opencrypto_swcrypto._rngs import RNGS

LIBRARY: Final = f"pycryptodome {Crypto.__version__}"

FACTORIES: Final[Mapping[int, TransformFactory]] = {
    **_cbc.FACTORIES,
    **_own_cbc.FACTORIES,
    **_ctr.FACTORIES,
    **_icm.FACTORIES,
    **_xts.FACTORIES,
    **_arc4.FACTORIES,
    **transforms.NULL,
    **_gcm.FACTORIES,
    **_ccm.FACTORIES,
    **_chacha.FACTORIES,
    **_siv.FACTORIES,
    **_hmac.FACTORIES,
    **_cmac.FACTORIES,
    **_xcbc.FACTORIES,
    **_blake2.FACTORIES,
    **_poly1305.FACTORIES,
    **_ripemd160.FACTORIES,
    **_kpdk.FACTORIES,
    **transforms.DIGESTS,
    **_compression.FACTORIES,
}

_HASHLIB: Final = (_hmac.FACTORIES, transforms.DIGESTS, _blake2.FACTORIES, _kpdk.FACTORIES)
_OWN: Final = (_own_cbc.FACTORIES, _xts.FACTORIES)

UNDERNEATH: Final[Mapping[int, str]] = {
    **{alg: "hashlib" for table in _HASHLIB for alg in table},
    **{alg: "swcrypto" for table in _OWN for alg in table},
    **dict.fromkeys(_compression.FACTORIES, "zlib"),
}
"""What serves an algorithm, where it is not pycryptodome."""


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
    withheld = withheld()
    keyops = KEYOPS - withheld.keys()
    rngs = RNGS

    def __init__(self) -> None:
        super().__init__()
        self._keys = KeyEngine(self)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Have a worker do a key operation, or do it here if it is a quick one."""
        return self._keys.process(krp)

    def freesession(self, lid: int) -> None:
        """Drop the session's transforms, and have the memory of their keys used again."""
        session = self._sessions.get(lid)
        super().freesession(lid)
        if session is not None:
            inis = session.chain.inis
            overwrite([(cri.alg, cri.klen // 8) for cri in inis], self.factories)

    def close(self) -> None:
        """Answer the key operations taken, end the workers, and drop every session."""
        self._keys.close()
        super().close()
