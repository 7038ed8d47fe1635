"""
How a user program opens a session: as far as the operator lets it, by a name or by parameters.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any, TypeAlias

from opencrypto._client.subject import Subject
from opencrypto._request.symmetric import Cryptoini
from opencrypto._rules.profile import Profile
from opencrypto.driver import Driver
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS, Kind, Named
from opencrypto.xform import Keys as Key
from opencrypto.xform import chain as chain_of_name

Keys: TypeAlias = "Key | tuple[Key, ...] | list[Key]"
"""One key, or one for each algorithm of a chain that takes one: ``(cipher key, MAC key)``."""


def open_session(
    framework: Subject,
    ini: Cryptoini | Iterable[Cryptoini],
    hard: int | None,
    driver: int | str | Driver | None,
    profile: Profile | None = None,
) -> int:
    """
    Open a session as a user program does: `hard` None means what the operator has set.

    Raises:
        UsageError: the operator lets user programs open no sessions (ENXIO), or the parameters
            are wrong.
        NoDriverError: no driver takes them.
    """
    if hard is None:
        if not framework.sysctl["kern.usercrypto"]:
            raise UsageError(
                "user programs may open no sessions; set kern.usercrypto to 1", errno=errno.ENXIO
            )
        hard = framework.sysctl.integer("kern.cryptodevallowsoft")
    return framework.newsession(ini, hard, driver=driver, profile=profile)


class Recipe:
    """
    What a session was opened with, except its keys: enough to open it again with others.

    Args:
        inis: Its parameters.
        hard: As for `open_session`.
        driver: As for `open_session`.
        profile: As for `open_session`.
    """

    __slots__ = ("_driver", "_hard", "_parts", "profile")

    def __init__(
        self,
        inis: Iterable[Cryptoini],
        hard: int | None,
        driver: int | str | Driver | None,
        profile: Profile | None,
    ) -> None:
        self._parts = [(_what(cri), cri.mlen, cri.limit) for cri in inis]
        self._hard = hard
        self._driver = driver
        self.profile = profile

    def inis(self, key: Keys) -> list[Cryptoini]:
        """
        Return the parameters with other keys; the halves of an authenticated cipher share one.

        Raises:
            UsageError: there are too few keys, or too many.
        """
        keys = [*key] if isinstance(key, tuple | list) else [key]
        if len(keys) == len(self._parts):  # one for each place, None where there is none
            places = zip(self._parts, keys, strict=True)
            keys = [each for (what, _, _), each in places if each is not None or _takes_key(what)]
        takers = [what for what, _, _ in self._parts if _takes_key(what)]
        if len(keys) != len(takers) or None in keys:
            raise UsageError(f"{len(keys)} keys for {len(takers)} algorithms; give one for each")
        given: dict[int | Named, Any] = dict(zip(takers, keys, strict=True))
        shared = next((given[what] for what in takers if _kind(what) is Kind.AEAD), None)
        return [
            Cryptoini(
                what,
                shared if _kind(what) is Kind.AEAD_AUTH else given.get(what),
                mlen=mlen,
                limit=limit,
            )
            for what, mlen, limit in self._parts
        ]

    def open(self, framework: Subject, inis: list[Cryptoini]) -> int:
        """Open a session with such parameters, and return its SID."""
        return open_session(framework, inis, self._hard, self._driver, self.profile)


def _what(cri: Cryptoini) -> int | Named:
    """Return what parameters are of: by name, if they were given by one and still are."""
    return cri.named if cri.named is not None and cri.named.alg == cri.alg else cri.alg


def _kind(what: int | Named) -> Kind:
    return FACTS[what.alg if isinstance(what, Named) else what].kind


def _takes_key(what: int | Named) -> bool:
    if isinstance(what, Named):
        return what.takes_key
    return _kind(what) in (Kind.CIPHER, Kind.MAC, Kind.AEAD)


def as_chain(chain: str | int | Cryptoini | Iterable[Cryptoini], key: Keys) -> list[Cryptoini]:
    """
    Return the parameters that a session is opened with.

    Args:
        chain: The name of an algorithm or a chain (see `opencrypto.xform.chain`), or the number of
            an algorithm, or parameters.
        key: Its key or keys; parameters have theirs in them.

    Raises:
        UsageError: `chain` is none of these, a name is unknown, there are too few keys or too
            many, or there is one beside parameters.
    """
    if isinstance(chain, str):
        return chain_of_name(chain, key)
    if isinstance(chain, int):
        if isinstance(key, tuple | list):
            raise UsageError("one algorithm has one key; name the chain that has several")
        return [Cryptoini(chain, key)]
    if not isinstance(chain, Cryptoini) and not _is_several(chain):
        raise UsageError(
            f"a session is opened by a name or by Cryptoini, not by {type(chain).__name__}"
        )
    if key is not None:
        raise UsageError("parameters have their keys in them; give a key with a name only")
    return [chain] if isinstance(chain, Cryptoini) else list(chain)


def _is_several(chain: object) -> bool:
    return isinstance(chain, Iterable) and not isinstance(chain, bytes | bytearray | memoryview)
