"""The driver itself: what it offers, and which sessions have a quick way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cryptography
from cryptography.hazmat.backends.openssl import backend

from opencrypto import transforms
from opencrypto.chain import ChainDriver, ChainSession, Quick, TransformFactory
from opencrypto.constants import (
    CRYPTO_AES_CCM_16,
    CRYPTO_AES_CCM_MAC,
    CRYPTO_AES_SIV,
    CRYPTO_AES_SIV_MAC,
    CRYPTO_ARC4,
    CRYPTO_CHACHA20_POLY1305,
    CRYPTO_CHACHA20_POLY1305_MAC,
    CRYPTOCAP_F_ACCEL_SOFTWARE,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
)
from opencrypto.driver import Capability
from opencrypto.xform import AEAD_PARTNERS
from opencrypto_openssl import (
    _arc4,
    _cbc,
    _ccm,
    _chacha,
    _cmac,
    _ctr,
    _ecb,
    _gcm,
    _hmac,
    _poly1305,
    _quick,
    _siv,
    _xts,
)

LIBRARY: Final = f"{backend.openssl_version_text()} by cryptography {cryptography.__version__}"


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    **_cbc.FACTORIES,
    **_ctr.FACTORIES,
    **_ecb.FACTORIES,
    **_xts.FACTORIES,
    **_arc4.FACTORIES,
    **transforms.NULL,
    **_gcm.FACTORIES,
    **_ccm.FACTORIES,
    **_chacha.FACTORIES,
    **_siv.FACTORIES,
    **_hmac.FACTORIES,
    **_cmac.FACTORIES,
    **_poly1305.FACTORIES,
    **transforms.DIGESTS,
}


def _capability(alg: int) -> Capability:
    keys = _arc4.KEYS if alg == CRYPTO_ARC4 else None
    return Capability(keys, implementation=LIBRARY)


_WHOLE: Final = (
    CRYPTO_AES_CCM_16, CRYPTO_AES_CCM_MAC, CRYPTO_CHACHA20_POLY1305, CRYPTO_CHACHA20_POLY1305_MAC,
    CRYPTO_AES_SIV, CRYPTO_AES_SIV_MAC,
)  # fmt: skip
"""Whose message the library takes in one piece, with the tag behind it."""

_LONGEST_WHOLE: Final = 2**31 - 1 - 16
"""`cryptography` says OverflowError beyond 31 bits, for the data or for the additional data."""


class OpensslDriver(ChainDriver):
    """Synchronous, in the caller's thread; many threads may share a session."""

    name = "openssl"
    flags = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_ACCEL_SOFTWARE | CRYPTOCAP_F_SYNC
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

    longest: Mapping[int, int] = dict.fromkeys(_WHOLE, _LONGEST_WHOLE)

    def quick(self, session: ChainSession) -> Quick | None:
        """Compile what most requests of the session will look like."""
        return _quick.compile_session(session)
