"""AES-CMAC (RFC 4493)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from Crypto.Cipher import AES
from Crypto.Hash import CMAC

from opencrypto.chain import TransformFactory
from opencrypto.constants import CRYPTO_AES_CMAC
from opencrypto_swcrypto._keyed import Keyed

FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CMAC: lambda cri: Keyed(CMAC.new(cri.key or b"", ciphermod=AES)),
}
