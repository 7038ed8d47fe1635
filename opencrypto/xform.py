"""
What every algorithm is, and what it is called: its facts, its names, and parameters by name.

The facts are the same for every driver. A name is taken wherever an algorithm is:
``Cryptoini("aes-128-gcm", key)`` for one, `chain` for several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from opencrypto._facts import AEAD_CIPHERS, AEAD_PARTNERS, FACTS, Facts, Kind
from opencrypto._names import Named, algorithm, algorithms, name_of, named
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptoini, KeySerial
from opencrypto.exceptions import UsageError

__all__ = [
    "AEAD_CIPHERS",
    "AEAD_PARTNERS",
    "FACTS",
    "Facts",
    "Keys",
    "Kind",
    "Named",
    "algorithm",
    "algorithms",
    "chain",
    "chain_name",
    "name_of",
    "named",
]

Keys: TypeAlias = BytesLike | KeySerial | None
"""What stands for a key: the key itself, its serial number, or None where there is none."""


def chain(name: str, keys: Keys | tuple[Keys, ...] | list[Keys] = None) -> list[Cryptoini]:
    """
    Make the parameters of a session by its name.

    Args:
        name: One name, or several joined by ``+``: ``aes-256-cbc+hmac-sha2-256``; in any spelling
            of `opencrypto.xform.named`, such as ``authenc(hmac(sha256),cbc(aes))``, which is the
            cipher and then the MAC.
        keys: A key for each algorithm that takes one, as a tuple in the chain's order: the cipher's
            first, where the cipher is first. One alone need not be in a tuple. Keys are never
            joined together.

    Returns:
        The parameters, one for each algorithm and one for an authenticated cipher, in the order
        of the chain. Encrypt-then-MAC is the cipher first.

    Raises:
        UsageError: a name is unknown, the number of keys is another, or a key has a wrong length.
    """
    parts = algorithms(name)
    takers = [part for part in parts if part.takes_key]
    given = _given(keys)
    if len(given) != len(takers) and not (len(takers) == 1 and not given and _goes_bare(takers[0])):
        raise UsageError(_keys_needed(parts, takers, given))
    left = iter(given)
    return [Cryptoini(part, _none_or(left) if part.takes_key else None) for part in parts]


def _goes_bare(part: Named) -> bool:
    """Tell whether a key may be left out: of BLAKE2, which is then a digest."""
    return part.keys is not None and 0 in part.keys


def _given(keys: Keys | tuple[Keys, ...] | list[Keys]) -> list[Keys]:
    if isinstance(keys, tuple | list):
        return [*keys]
    return [] if keys is None else [keys]


def _none_or(left: Iterator[Keys]) -> Any:
    return next(left, None)


def _keys_needed(parts: Iterable[Named], takers: list[Named], given: list[Keys]) -> str:
    name = "+".join(part.name for part in parts)
    if not takers:
        return f"{name} takes no key"
    if len(takers) == 1:
        return f"{name} takes one key, not {len(given) or 'none'}"
    wanted = ", ".join(f"key of {part.name}" for part in takers)
    return f"{name} takes {len(takers)} keys, not {len(given)}; give a tuple: ({wanted})"


def chain_name(inis: Cryptoini | Iterable[Cryptoini]) -> str:
    """
    Name the chain of a session's parameters, or of a driver's, for people.

    Args:
        inis: The parameters; the two halves of an authenticated cipher have one name.

    Returns:
        A name that `chain` knows, such as ``aes-256-cbc+hmac-sha2-256-128``.
    """
    every = [inis] if isinstance(inis, Cryptoini) else list(inis)
    tags = [cri for cri in every if cri.alg in AEAD_CIPHERS]
    names = []
    for cri in every:
        half = next((tag for tag in tags if cri.alg in AEAD_CIPHERS[tag.alg]), None)
        mlen = half.mlen if half is not None else cri.mlen
        if cri not in tags or not any(c.alg in AEAD_CIPHERS[cri.alg] for c in every):
            names.append(name_of(cri.alg, cri.klen // 8, mlen))
    return "+".join(names)
