"""A driver that does with each key request as a test has told it, and requests for it."""

import errno
from collections.abc import Callable, Collection, Iterator

import pytest

from opencrypto import (
    CRK_DSA_VERIFY,
    CRK_MOD,
    CRK_MOD_ADD,
    CRK_MOD_EXP,
    CRYPTO_F_CBIMM,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Cryptkop,
    Driver,
    Framework,
)
from tests.core.keys.support import Completion

HARDWARE, SOFTWARE = 0, CRYPTOCAP_F_SOFTWARE


Behaviour = Callable[["Scripted", Cryptkop], int]


def answer(driver: "Scripted", krp: Cryptkop) -> int:
    """Do the operation at once."""
    if krp.outputs:
        krp.outputs[0].store(7)
    driver.kdone(krp)
    return 0


def keep(driver: "Scripted", krp: Cryptkop) -> int:
    """Take the request and answer when told to."""
    driver.kept.append(krp)
    return 0


def refuse(driver: "Scripted", krp: Cryptkop) -> int:
    """Take nothing for now."""
    return ERESTART


def hand_back(driver: "Scripted", krp: Cryptkop) -> int:
    """Let another driver do it."""
    krp.fail(errno.EAGAIN)
    driver.kdone(krp)
    return 0


class Scripted(Driver):
    """Does what its script says, and the last of it from then on."""

    keyops: Collection[int] = (CRK_MOD_EXP, CRK_MOD_ADD, CRK_MOD, CRK_DSA_VERIFY)

    def __init__(self, name: str, *script: Behaviour, flags: int = HARDWARE) -> None:
        self.name = name
        self.flags = flags
        self.script = list(script) or [answer]
        self.kept: list[Cryptkop] = []
        self.hints: list[int] = []
        self.closed: Callable[[], None] = lambda: None

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Act out the script."""
        self.hints.append(hint)
        behaviour = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return behaviour(self, krp)

    def finish(self) -> None:
        """Answer what was kept."""
        while self.kept:
            answer(self, self.kept.pop(0))

    def close(self) -> None:
        """Do as the test says."""
        self.closed()


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework(plugins=False) as made:
        yield made


def mod(flags: int = CRYPTO_F_CBIMM) -> tuple[Cryptkop, Completion]:
    """Make a small request, called back at once."""
    done = Completion()
    return Cryptkop.of(CRK_MOD, [5, 3], [8], done, flags), done


def go(framework: Framework, count: int = 1, flags: int = CRYPTO_F_CBIMM) -> list[Completion]:
    """Dispatch some requests."""
    completions = []
    for _ in range(count):
        krp, done = mod(flags)
        framework.kdispatch(krp)
        completions.append(done)
    return completions


def hids(completions: list[Completion]) -> list[int]:
    """Return which drivers served requests."""
    return [done.wait().hid for done in completions]
