"""
How a user program opens a session: as far as the operator lets it, by a name or by parameters.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from opencrypto._client.subject import Subject
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptoini
from opencrypto._rules.profile import Profile
from opencrypto.driver import Driver
from opencrypto.exceptions import UsageError

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
