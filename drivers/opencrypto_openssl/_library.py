"""What this build of OpenSSL has: some leave the old algorithms out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm

from opencrypto import Cryptoini
from opencrypto.chain import TransformFactory
from opencrypto.constants import CRYPTO_AES_XTS, CRYPTO_DES_CBC
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS


def made(make: Callable[[Any], Any], cri: Cryptoini) -> Any:
    """
    Make a transform from a session's key.

    Raises:
        UsageError: the library lacks the algorithm, or does not take the key.
    """
    try:
        return make(cri.key or b"")  # no copy: nobody would wipe it
    except (UnsupportedAlgorithm, ValueError) as error:
        # The library's own words are left out: they could quote the key.
        raise UsageError(
            f"this OpenSSL takes no {FACTS[cri.alg].name} key like this ({type(error).__name__})"
        ) from None


def present(wanted: Mapping[int, TransformFactory]) -> dict[int, TransformFactory]:
    """Return those of some ciphers that this build has, found out by trying them."""
    return {alg: factory for alg, factory in wanted.items() if _is_there(alg, factory)}


def _is_there(alg: int, factory: TransformFactory) -> bool:
    key = bytes(range(32 if alg == CRYPTO_AES_XTS else 8 if alg == CRYPTO_DES_CBC else 16))
    try:
        transform: Any = factory(Cryptoini(alg, key))
        transform.crypt(bytes(FACTS[alg].iv), [memoryview(bytearray(16))], True)
    except (UsageError, UnsupportedAlgorithm):
        return False
    return True
