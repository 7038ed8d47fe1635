"""ChaCha20-Poly1305 (RFC 7634)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from opencrypto.chain import TransformFactory
from opencrypto.constants import CRYPTO_CHACHA20_POLY1305
from opencrypto_openssl._ccm import aead_factory

FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_CHACHA20_POLY1305: aead_factory(
        CRYPTO_CHACHA20_POLY1305, lambda key, _: ChaCha20Poly1305(key)
    ),
}
