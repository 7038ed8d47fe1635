"""The driver itself: what it offers, as the sum of the tables of its families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import Crypto

from opencrypto.chain import ChainDriver, TransformFactory
from opencrypto.constants import CRYPTOCAP_F_SOFTWARE, CRYPTOCAP_F_SYNC
from opencrypto.driver import Capability
from opencrypto.xform import AEAD_PARTNERS
from opencrypto_swcrypto import _aead, _ciphers, _macs

LIBRARY: Final = f"pycryptodome {Crypto.__version__}"

BY_LIBRARY: Final[dict[int, TransformFactory]] = {**_ciphers.FACTORIES, **_aead.FACTORIES}
BY_PYTHON: Final[dict[int, TransformFactory]] = {**_macs.FACTORIES}


class SwcryptoDriver(ChainDriver):
    """Synchronous, in the caller's thread; many threads may share a session."""

    name = "swcrypto"
    flags = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC
    factories: Mapping[int, TransformFactory] = {**BY_LIBRARY, **BY_PYTHON}
    capabilities: Mapping[int, Capability] = {
        **dict.fromkeys(BY_LIBRARY, Capability(implementation=LIBRARY)),
        # An authenticating half is served by its cipher's transform.
        **{
            half: Capability(implementation=LIBRARY)
            for alg in _aead.FACTORIES
            for half in AEAD_PARTNERS[alg]
        },
        **dict.fromkeys(BY_PYTHON, Capability(implementation="hashlib")),
    }
