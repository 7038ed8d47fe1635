"""
Which algorithms a command is asked for: names in any spelling, and what they choose.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, TypeAlias

import typer

from opencrypto import Cryptoini
from opencrypto.xform import AEAD_CIPHERS, AEAD_PARTNERS, FACTS, Named, algorithms, chain_name

Only: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--alg",
        help="Only this algorithm or chain, by any of its names (aes-128-gcm, 'gcm(aes)', "
        "AES_CBC+SHA1_HMAC); may be repeated.",
    ),
]

Chain: TypeAlias = tuple[Named, ...]
"""What a name means, in the order of the chain."""

Spec: TypeAlias = tuple[int, int, int]
"""An algorithm of a recorded chain: its number, the key's bits, the MAC's bytes."""


@functools.lru_cache(1024)
def spec_name(chain: tuple[Spec, ...]) -> str:
    """Name a recorded chain, by a name that may be asked for; an unknown number says so."""
    return chain_name([Cryptoini(alg, klen=klen, mlen=mlen) for alg, klen, mlen in chain])


def chains(names: Iterable[str] | None) -> list[Chain]:
    """
    Look up what is asked for.

    Raises:
        UsageError: nothing is called so; it says what may be meant.
    """
    return [algorithms(name) for name in names or ()]


def numbers(names: Iterable[str] | None) -> frozenset[int]:
    """
    Return the numbers of all that is asked for, with the halves of authenticated ciphers.

    Raises:
        UsageError: nothing is called so.
    """
    return frozenset(alg for parts in chains(names) for part in parts for alg in _numbers(part))


def are_among(there: Collection[str], parts: Iterable[Named]) -> bool:
    """Tell whether all that a chain needs is among some constants' names, as a driver lists."""
    return all(
        FACTS[cipher].name in there
        and (not halves or any(FACTS[half].name in there for half in halves))
        for cipher, *halves in map(_numbers, parts)
    )


def _numbers(part: Named) -> list[int]:
    halves = [
        half
        for half in AEAD_PARTNERS.get(part.alg, ())
        if any(FACTS[half].key_ok(length) for length in part.keys or ())
    ]
    return [int(part.alg), *map(int, halves)]


def carries(chain: Sequence[Spec], parts: Iterable[Named]) -> bool:
    """Tell whether a session of a recorded chain has all that a name says."""
    return all(any(_is(spec, part, chain) for spec in chain) for part in parts)


def _is(spec: Spec, part: Named, chain: Sequence[Spec]) -> bool:
    alg, bits, mlen = spec
    if alg != part.alg or (part.keys is not None and bits // 8 not in part.keys):
        return False
    if part.joined:
        alg, mlen = next(
            ((half, kept) for half, _, kept in chain if part.alg in AEAD_CIPHERS.get(half, ())),
            (alg, mlen),
        )
    return not part.mlen or (mlen or FACTS[alg].mac) == part.mlen
