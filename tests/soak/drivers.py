"""The drivers of the soak, and who has them come and go."""

import random
import threading
from collections.abc import Callable, Collection

from opencrypto import (
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Cryptkop,
    Cryptop,
    Driver,
    Framework,
)
from opencrypto.driver import Process, WorkerPool
from opencrypto.xform import FACTS, Kind
from opencrypto_null import opencrypto_drivers as null_drivers
from opencrypto_openssl import opencrypto_drivers as openssl_drivers
from opencrypto_swcrypto import opencrypto_drivers as swcrypto_drivers

MACS = frozenset(alg for alg in FACTS if FACTS[alg].kind in {Kind.MAC, Kind.HASH})
REST = frozenset(FACTS) - MACS


def part(name: str, algs: Collection[int], *, keyops: bool) -> Driver:
    """Make the software driver under another name, with some of what it has."""
    made: Driver = swcrypto_drivers()[0]
    made.name = name
    made.capabilities = {alg: made.capabilities[alg] for alg in made.capabilities if alg in algs}
    made.keyops = made.keyops if keyops else ()
    return made


def late(inner: Driver) -> Driver:
    """Have a driver answer from threads of its own, and block when they have enough."""

    class Late(Driver):
        name = f"late-{inner.name}"
        flags = CRYPTOCAP_F_SOFTWARE
        capabilities = inner.capabilities
        keyops = inner.keyops

        def __init__(self) -> None:
            self.pool = WorkerPool(self.name, self._room, size=2, depth=16)

        def _room(self) -> None:
            self.unblock(CRYPTO_SYMQ)

        def newsession(self, ini: object) -> tuple[int, Process]:
            inner.done = self.done
            opened = inner.newsession(ini)  # type: ignore[arg-type]  # a driver's own view of it
            assert isinstance(opened, tuple)
            lid, work = opened

            def process(crp: Cryptop, hint: int) -> int:
                return 0 if self.pool.submit(lambda: work(crp, 0)) else ERESTART

            return lid, process

        def freesession(self, lid: int) -> None:
            inner.freesession(lid)

        def kprocess(self, krp: Cryptkop, hint: int) -> int:
            inner.kdone, inner.unblock = self.kdone, self.unblock
            return inner.kprocess(krp, hint)

        def close(self) -> None:
            self.pool.close()
            inner.close()

    return Late()


MAKERS: dict[str, Callable[[], Driver]] = {
    "openssl": lambda: openssl_drivers()[0],
    "null": lambda: null_drivers()[0],
    "swcrypto": lambda: swcrypto_drivers()[0],
    "rest": lambda: part("rest", REST, keyops=True),
    "late-rest": lambda: late(part("rest", REST, keyops=True)),
    "macs": lambda: part("macs", MACS, keyops=False),
    "late-macs": lambda: late(part("macs", MACS, keyops=False)),
}
"""By name. `swcrypto` has everything; without it most chains need two of the others."""

NEEDED = (("rest", "late-rest"), ("macs", "late-macs"))
"""Of each of these pairs one is always there: between them they have everything."""


def churn(fw: Framework, until: threading.Event) -> int:
    """Detach and attach random drivers, so that somebody is left for each algorithm."""
    rng = random.Random(0)
    changes = 0
    while not until.wait(rng.uniform(0.001, 0.05)):
        name = rng.choice(sorted(MAKERS))
        there = {info.name for info in fw.drivers if info.hid is not None}
        if name not in there:
            fw.attach(MAKERS[name](), selftest=False)
        elif all(name not in pair or set(pair) <= there for pair in NEEDED):
            fw.detach(name)
        else:
            continue
        changes += 1
    return changes
