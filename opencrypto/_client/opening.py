"""
How a user program opens a session: as far as the operator lets it, by a name or by parameters.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Any

from opencrypto._client.subject import Subject
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptoini
from opencrypto._rules.profile import Profile
from opencrypto.driver import Driver
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS, Kind

Keys = BytesLike | Sequence[BytesLike] | None
"""One key, or one for each algorithm of a chain: ``(cipher key, MAC key)``."""


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
        self._parts = [(cri.alg, cri.mlen, cri.limit) for cri in inis]
        self._hard = hard
        self._driver = driver
        self.profile = profile

    def inis(self, key: Keys) -> list[Cryptoini]:
        """
        Return the parameters with other keys; the halves of an authenticated cipher share one.

        Raises:
            UsageError: there are too few keys, or too many.
        """
        keys = list(key) if isinstance(key, (list, tuple)) else [key]
        wanted = [alg for alg, _, _ in self._parts if _has_own_key(alg)]
        if len(keys) != len(wanted):
            raise UsageError(
                f"{len(keys)} keys for {len(wanted)} algorithms that have one; give one for each"
            )
        given: dict[int, Any] = dict(zip(wanted, keys, strict=True))
        shared = next((given[alg] for alg in wanted if FACTS[alg].kind is Kind.AEAD), None)
        given |= {alg: shared for alg, _, _ in self._parts if FACTS[alg].kind is Kind.AEAD_AUTH}
        return [
            Cryptoini(
                alg,
                shared if FACTS[alg].kind is Kind.AEAD_AUTH else given.get(alg),
                mlen=mlen,
                limit=limit,
            )
            for alg, mlen, limit in self._parts
        ]

    def open(self, framework: Subject, inis: list[Cryptoini]) -> int:
        """Open a session with such parameters, and return its SID."""
        return open_session(framework, inis, self._hard, self._driver, self.profile)


def _has_own_key(alg: int) -> bool:
    return FACTS[alg].kind in (Kind.CIPHER, Kind.MAC, Kind.AEAD)


def as_chain(chain: int | Cryptoini | Iterable[Cryptoini], key: Keys) -> list[Cryptoini]:
    """
    Return the parameters that a session is opened with.

    Args:
        chain: An algorithm, or parameters.
        key: The algorithm's; parameters have theirs in them.

    Raises:
        UsageError: parameters, and a key beside them.
    """
    if isinstance(chain, int):
        if isinstance(key, (list, tuple)):
            raise UsageError("one algorithm has one key; give several with a chain of algorithms")
        return [Cryptoini(chain, key)]  # type: ignore[arg-type]  # no sequence of them, as seen
    if key is not None:
        raise UsageError("parameters have their keys in them; give a key with a name only")
    return [chain] if isinstance(chain, Cryptoini) else list(chain)
