"""
Random number generators by name: what a driver offers, and what a program holds of one.

`Rng` comes from `Framework.rng`. A driver author writes a `Generator`, and names in `Driver.rngs`
what makes one. Names are Linux': ``stdrng``, ``drbg_nopr_sha256``, ``drbg_pr_ctr_aes256``,
``ansi_cprng``.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeAlias

from opencrypto._request.buffer import BytesLike, flat
from opencrypto._threads import renew_after_fork
from opencrypto.exceptions import BusyError, CryptoError, DriverBug, DriverGone, UsageError

__all__ = ["Generator", "Holder", "Rng", "RngMaker"]


class Generator(Protocol):
    """
    One generator of a driver. One thread at a time calls it.

    It raises CryptoError, in a sentence, for what it does not take or cannot give.
    """

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return `count` random bytes, 0 or more; `additional` is SP 800-90A's additional input."""

    def reseed(self, seed: bytes) -> None:
        """Take new entropy, and `seed` with it: of ``ansi_cprng`` it is the whole state."""

    def set_entropy(self, entropy: bytes) -> None:
        """Take these bytes as the entropy (and nonce) of each seeding from now on, for tests."""

    def close(self) -> None:
        """Wipe the state and let go of all that is held; once."""


RngMaker: TypeAlias = Callable[[bytes, "bytes | None"], Generator]
"""
Makes a generator: from its seed (a DRBG's personalization string), and from entropy and nonce where
a test gives them in place of the system's; else None. Raises CryptoError where it cannot.
"""


class Holder(NamedTuple):
    """
    A driver that has a generator.

    Attributes:
        driver: The driver's name.
        make: What makes one.
        present: Tells whether the driver is there still, and not about to leave.
    """

    driver: str
    make: RngMaker
    present: Callable[[], bool]


class Rng:
    """
    A random number generator. A context manager; threads may share it.

    One that was seeded by nobody but its driver goes on with another driver when its own leaves.
    One whose state its program has made cannot: it ends with ENODEV. A forked child has a state of
    its own, seeded anew; of one that its program seeded, it must call `reseed` first.

    Args:
        name: The generator's name.
        seed: Its seed, in **bytes** of any number that the generator takes.
        entropy: Entropy and nonce in place of the system's, which makes it deterministic: for
            validation only.
        holders: Gives the drivers that have it, best first; none is a reason to raise.

    Raises:
        CryptoError: no driver has one, or none takes this seed.
    """

    def __init__(
        self,
        name: str,
        seed: BytesLike,
        entropy: BytesLike | None,
        holders: Callable[[], Iterable[Holder]],
    ) -> None:
        self._name = name
        self._holders = holders
        seed = bytes(flat(seed, "seed"))
        given = None if entropy is None else bytes(flat(entropy, "entropy"))
        self._own = bool(seed) or given is not None
        self._forked = False
        self._lock = threading.Lock()  # guards the generator, and who has it
        self._user = 0
        self._generator: Generator | None = None
        self._ended = False
        self._late = False
        self._holder, self._generator = self._made(seed, given)
        renew_after_fork(self)

    @property
    def name(self) -> str:
        """The name it was asked for by."""
        return self._name

    @property
    def driver(self) -> str:
        """The name of the driver that it is with."""
        return self._holder.driver

    def generate(self, count: int, additional: BytesLike = b"") -> bytes:
        """
        Return random bytes.

        Args:
            count: How many **bytes**, 0 or more.
            additional: Additional input (SP 800-90A, 9.3), mixed into the state first.

        Raises:
            UsageError: `count` is no number or negative, `additional` is not bytes-like or not
                taken by this generator; it is closed; or it must be seeded first.
            BusyError: a signal handler or finalizer calls it on top of itself.
            DriverGone: its driver left, and its state with it.
            CryptoError: the generator gives none.
        """
        if isinstance(count, bool) or not isinstance(count, int):
            raise UsageError(f"a number of random bytes is an int, not {type(count).__name__}")
        if count < 0:
            raise UsageError(f"{count} random bytes; ask for 0 or more")
        given = bytes(flat(additional, "additional input"))
        return self._use(lambda generator: generator.generate(count, given), count)

    def reseed(self, seed: BytesLike = b"") -> None:
        """
        Seed it anew: with new entropy of its driver's, and with `seed`.

        Args:
            seed: For a DRBG additional input of its reseeding (SP 800-90A, 9.2); for
                ``ansi_cprng`` V, key and DT.

        Raises:
            UsageError: `seed` is not bytes-like or not taken; or it is closed.
            BusyError, DriverGone, CryptoError: as `generate`.
        """
        given = bytes(flat(seed, "seed"))
        with_fork, self._forked = self._forked, False
        try:
            self._use(lambda generator: generator.reseed(given))
        except BaseException:
            self._forked = with_fork
            raise
        self._own = self._own or bool(given)

    def set_entropy(self, entropy: BytesLike) -> None:
        """
        Replace the entropy and nonce of each seeding from now on: for validation only.

        Raises:
            UsageError: `entropy` is not bytes-like or not taken; or it is closed.
            BusyError, DriverGone, CryptoError: as `generate`.
        """
        given = bytes(flat(entropy, "entropy"))
        self._use(lambda generator: generator.set_entropy(given))
        self._own = True

    def look(self) -> None:
        """Let the generator go if its driver has left or leaves; the framework calls it."""
        if not self._holder.present():
            self._let_go()

    def close(self) -> None:
        """Wipe the state and let the generator go. Closing again does nothing."""
        self._ended = True
        self._let_go()

    def after_fork(self) -> None:
        """In a forked child, never give what the parent gives too."""
        self._lock = threading.Lock()
        self._user = 0
        self._forked = True

    def _use(self, call: Callable[[Generator], object], count: int | None = None) -> bytes:
        if self._user == threading.get_ident():
            raise BusyError(f"generator {self._name} is in use beneath this call; try again later")
        with self._lock:
            self._user = threading.get_ident()
            try:
                return self._checked(call, self._ready(), count)
            finally:
                self._user = 0
                if self._ended or self._late:
                    self._drop()

    def _checked(
        self, call: Callable[[Generator], object], generator: Generator, count: int | None
    ) -> bytes:
        """Call the driver's generator, which raises nothing but CryptoError and gives its count."""
        try:
            answer = call(generator)
        except (CryptoError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise self._bug(f"raised {type(error).__name__}") from None
        if count is None:
            return b""
        if not isinstance(answer, bytes) or len(answer) != count:
            raise self._bug(f"gave no {count} bytes")
        return answer

    def _bug(self, what: str) -> DriverBug:
        return DriverBug(f"driver {self.driver}: generator {self._name} {what}")

    def _ready(self) -> Generator:
        """Return the generator; another driver's if its own has left, one of the child's own."""
        if self._ended:
            raise UsageError(f"generator {self._name} is closed; make a new one")
        generator = self._generator
        if generator is not None and not self._forked and self._holder.present():
            return generator
        if self._own:
            self._refuse_own()
        self._drop()
        self._forked = False
        self._holder, self._generator = self._made(b"", None)
        return self._generator

    def _refuse_own(self) -> None:
        """Refuse to go on where that would take a state that only its program can make."""
        if self._forked:
            raise UsageError(
                f"generator {self._name} was seeded before a fork, and its parent goes on with "
                "that state; call reseed first"
            )
        raise DriverGone(
            f"driver {self.driver} left with the state of generator {self._name}; make a new one"
        )

    def _made(self, seed: bytes, entropy: bytes | None) -> tuple[Holder, Generator]:
        """Have the first driver that takes the seed make a generator."""
        refusal: CryptoError | None = None
        for holder in self._holders():
            try:
                return holder, holder.make(seed, entropy)
            except CryptoError as error:
                refusal = error
        raise refusal or DriverGone(f"no driver has generator {self._name} any more")

    def _let_go(self) -> None:
        if self._user == threading.get_ident():
            self._late = True  # what lies beneath this call does it at its end
            return
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        generator, self._generator, self._late = self._generator, None, False
        if generator is not None:
            generator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise UsageError("a generator's state is pickled by nobody; make one where it is needed")

    def __repr__(self) -> str:
        return f"<Rng {self._name} of {self.driver}>"


def refused_without(name: str, known: Iterable[str]) -> CryptoError:
    """Make the error of a generator that no driver attached has."""
    names = ", ".join(sorted(set(known))) or "none"
    return CryptoError(f"no driver has generator {name!r} (there are: {names})", errno=errno.ENOENT)
