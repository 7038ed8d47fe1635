"""BLAKE2 (RFC 7693), by hashlib."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from opencrypto.chain import TransformFactory
from opencrypto.constants import CRYPTO_BLAKE2B, CRYPTO_BLAKE2S
from opencrypto_swcrypto._keyed import Keyed

FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_BLAKE2B: lambda cri: Keyed(hashlib.blake2b(key=cri.key or b"")),
    CRYPTO_BLAKE2S: lambda cri: Keyed(hashlib.blake2s(key=cri.key or b"")),
}
