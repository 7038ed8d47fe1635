"""The driver itself: what it offers, and which sessions have a quick way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cryptography
from cryptography.hazmat.backends.openssl import backend

from opencrypto.chain import ChainDriver, ChainSession, Quick, TransformFactory
from opencrypto.constants import (
    CRYPTOCAP_F_ACCEL_SOFTWARE,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
)
from opencrypto.driver import Capability
from opencrypto.xform import AEAD_PARTNERS
from opencrypto_openssl import _aead, _ciphers, _macs, _quick

LIBRARY: Final = f"{backend.openssl_version_text()} by cryptography {cryptography.__version__}"


class OpensslDriver(ChainDriver):
    """Synchronous, in the caller's thread; many threads may share a session."""

    name = "openssl"
    flags = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_ACCEL_SOFTWARE | CRYPTOCAP_F_SYNC
    factories: Mapping[int, TransformFactory] = {
        **_ciphers.FACTORIES,
        **_aead.FACTORIES,
        **_macs.FACTORIES,
    }
    capabilities: Mapping[int, Capability] = {
        **dict.fromkeys(factories, Capability(implementation=LIBRARY)),
        # An authenticating half is served by its cipher's transform.
        **{
            half: Capability(implementation=LIBRARY)
            for alg in _aead.FACTORIES
            for half in sorted(AEAD_PARTNERS[alg])
        },
    }

    def quick(self, session: ChainSession) -> Quick | None:
        """Compile what most requests of the session will look like."""
        return _quick.compile_session(session)
