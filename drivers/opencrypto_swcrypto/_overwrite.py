"""
What pycryptodome leaves of keys in memory that it has let go, and what can be done about it.

It frees the key schedules of its objects, in C, without overwriting them, and its functions leave
pieces of them on the stack. Nobody can overwrite memory that is the allocator's. But who asks for
as much again just then is given the same, as a rule: so each session that ends is followed by one
of the same algorithms with a key of no worth. docs/security.md says what remains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from opencrypto import Cryptoini
from opencrypto.chain import TransformFactory
from opencrypto.constants import (
    CRYPTO_AES_CBC,
    CRYPTO_AES_CCM_16,
    CRYPTO_AES_CMAC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_ECB,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_GMAC,
    CRYPTO_AES_ICM,
    CRYPTO_AES_SIV,
    CRYPTO_AES_XCBC_MAC_96,
    CRYPTO_AES_XTS,
    CRYPTO_CHACHA20_POLY1305,
)
from opencrypto.xform import FACTS, Kind
from opencrypto_swcrypto._gcm import Gcm

WORTHLESS: Final = bytes(range(1, 65))
"""The key, of which no part is like another."""

LEAVING: Final = frozenset(
    {
        CRYPTO_AES_CBC, CRYPTO_AES_CCM_16, CRYPTO_AES_CMAC, CRYPTO_AES_CTR, CRYPTO_AES_GCM_16,
        CRYPTO_AES_GMAC, CRYPTO_AES_ICM, CRYPTO_AES_ECB, CRYPTO_AES_SIV, CRYPTO_AES_XCBC_MAC_96,
        CRYPTO_AES_XTS, CRYPTO_CHACHA20_POLY1305,
    }
)  # fmt: skip
"""The algorithms that leave something, as tests/drivers/test_keys_in_memory.py finds it."""


MESSAGES: Final = 3
"""How many objects at once, where the library has one for each message, or several for one key."""


def overwrite(ended: Iterable[tuple[int, int]], factories: Mapping[int, TransformFactory]) -> None:
    """
    Have the memory of sessions' keys used again, by objects with a worthless key.

    Args:
        ended: The algorithms of a session that ended just now, each with its key's **bytes**.
        factories: What makes the transform of each.
    """
    kept: list[Any] = []  # all at once, so that each is given memory of its own
    for alg, length in ended:
        if alg in LEAVING and FACTS[alg].key_ok(length):  # else it was refused
            for _ in range(MESSAGES if alg == CRYPTO_AES_CMAC else 1):
                transform = factories[alg](Cryptoini(alg, WORTHLESS[:length]))
                kept.append(transform)
                kept += _used(alg, FACTS[alg].ivlen(length), transform)


def _used(alg: int, ivlen: int, transform: Any) -> list[Any]:
    """Have a transform do both that it can; return objects of its library, if each has its own."""
    facts = FACTS[alg]
    room, iv = memoryview(bytearray(32)), bytes(ivlen)
    kept = [transform.one(iv, room) for _ in range(MESSAGES)] if isinstance(transform, Gcm) else []
    match facts.kind:
        case Kind.CIPHER:
            transform.crypt(iv, [room], True)
            transform.crypt(iv, [room], False)
        case Kind.AEAD:
            tag = transform.seal(iv, [], [room], 16)
            transform.open(iv, [], [room], tag)
        case _:
            transform.mac([room])
    return kept
