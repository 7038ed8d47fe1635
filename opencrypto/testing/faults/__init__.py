"""
Drivers that are wrong on purpose, one rule each: a contract that nobody has seen fail is none.

``DoneTwice.of(MyDriver)`` is MyDriver, right in everything but that. Each names the clause which
must find it; the tests of this package try every one.
"""

# ruff: noqa: F403 - each of these says in its __all__ what it gives

from __future__ import annotations

from typing import Final

from opencrypto.testing.faults import (
    batches,
    claims,
    completion,
    endurance,
    hanging,
    keys,
    keysafety,
    life,
    pieces,
    places,
    subtle,
)
from opencrypto.testing.faults.batches import *
from opencrypto.testing.faults.claims import *
from opencrypto.testing.faults.completion import *
from opencrypto.testing.faults.endurance import *
from opencrypto.testing.faults.fault import Fault
from opencrypto.testing.faults.hanging import *
from opencrypto.testing.faults.keys import *
from opencrypto.testing.faults.keysafety import *
from opencrypto.testing.faults.life import *
from opencrypto.testing.faults.pieces import *
from opencrypto.testing.faults.places import *
from opencrypto.testing.faults.subtle import *

__all__ = ["FAULTS", "Fault"]
__all__ += claims.__all__
__all__ += completion.__all__
__all__ += places.__all__
__all__ += pieces.__all__
__all__ += life.__all__
__all__ += batches.__all__
__all__ += hanging.__all__
__all__ += endurance.__all__
__all__ += subtle.__all__
__all__ += keys.__all__
__all__ += keysafety.__all__

FAULTS: Final[tuple[type[Fault], ...]] = tuple(
    getattr(room, name)
    for room in (
        claims,
        completion,
        places,
        pieces,
        life,
        batches,
        hanging,
        endurance,
        subtle,
        keys,
        keysafety,
    )
    for name in room.__all__
)
"""Every fault there is."""
