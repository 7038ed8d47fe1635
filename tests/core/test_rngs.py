"""Generators by name: who makes one, what becomes of it, what is refused."""

import errno
import os
import pickle
import signal
import threading
from collections.abc import Iterator

import pytest

from opencrypto import BusyError, CryptoError, Driver, DriverBug, DriverGone, Framework, UsageError
from opencrypto.driver import Generator
from opencrypto.rng import Rng


class Counting:
    """A generator whose bytes are its driver's letter, and which counts what is done to it."""

    def __init__(self, letter: bytes, log: list[str]) -> None:
        self.letter = letter
        self.log = log

    def generate(self, count: int, additional: bytes) -> bytes:
        self.log.append(f"generate {count} {additional!r}")
        return self.letter * count

    def reseed(self, seed: bytes) -> None:
        self.log.append(f"reseed {seed!r}")

    def set_entropy(self, entropy: bytes) -> None:
        self.log.append(f"entropy {entropy!r}")

    def close(self) -> None:
        self.log.append("close")


class Source(Driver):
    """A driver that has nothing but generators."""

    def __init__(self, name: str, flags: int = 0) -> None:
        self.name = name
        self.flags = flags
        self.log: list[str] = []
        self.rngs = {"stdrng": self.make}

    def make(self, seed: bytes, entropy: bytes | None) -> Generator:
        if seed == b"refused":
            raise UsageError("takes no such seed")
        self.log.append(f"make {seed!r} {entropy!r}")
        return Counting(self.name[:1].encode(), self.log)

    def close(self) -> None:
        self.log.append("driver closed")


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework(plugins=False) as framework:
        yield framework


def test_the_best_class_serves_and_a_pin_holds(framework: Framework) -> None:
    soft, card = Source("soft", 6), Source("card")
    framework.attach(soft)
    framework.attach(card)
    with framework.rng() as rng, framework.rng(hard=-1) as software:
        assert (rng.driver, software.driver) == ("card", "soft")
        assert rng.generate(3, b"x") == b"ccc"
    with framework.rng(driver="soft", seed=b"s", entropy=b"e") as rng:
        assert rng.generate(0) == b""
    assert soft.log[-3:] == ["make b's' b'e'", "generate 0 b''", "close"]


def test_one_that_its_driver_seeded_goes_on_elsewhere(framework: Framework) -> None:
    card, soft = Source("card"), Source("soft", 6)
    framework.attach(card)
    framework.attach(soft)
    with framework.rng() as rng, framework.rng(seed=b"mine") as mine:
        assert rng.generate(1) + mine.generate(1) == b"cc"
        framework.detach("card")
        assert card.log[-3:] == ["close", "close", "driver closed"]
        assert rng.generate(2) == b"ss"
        assert rng.driver == "soft"
        with pytest.raises(DriverGone, match="card left with the state"):
            mine.generate(1)


def test_a_driver_that_takes_no_seed_is_passed_over(framework: Framework) -> None:
    framework.attach(Source("card"))
    with pytest.raises(UsageError, match="no such seed"):
        framework.rng(seed=b"refused")
    other = Source("soft", 6)
    other.rngs = {"stdrng": lambda seed, entropy: Counting(b"!", [])}
    framework.attach(other)
    with framework.rng(seed=b"refused") as rng:
        assert rng.generate(1) == b"!"


def test_what_is_refused(framework: Framework) -> None:
    with pytest.raises(
        CryptoError, match=r"no driver has generator 'stdrng' \(there are: none"
    ) as error:
        framework.rng()
    assert error.value.errno == errno.ENOENT
    framework.attach(Source("card"))
    rng = framework.rng()
    for count in (True, "1", 1.0, None):
        with pytest.raises(UsageError, match="is an int"):
            rng.generate(count)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0 or more"):
        rng.generate(-1)
    for wrong in ("text", 5):
        with pytest.raises(UsageError):
            rng.generate(1, wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            framework.rng(seed=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="pickled"):
        pickle.dumps(rng)
    rng.close()
    rng.close()
    with pytest.raises(UsageError, match="closed"):
        rng.generate(1)
    driver = Source("odd")
    driver.rngs = {"stdrng": None}  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="rngs"):
        framework.attach(driver)


def test_a_closed_framework_gives_none() -> None:
    framework = Framework(plugins=False)
    card = Source("card")
    framework.attach(card)
    rng = framework.rng()
    framework.close()
    assert card.log[-2:] == ["close", "driver closed"]
    with pytest.raises(UsageError, match="closed"):
        framework.rng()
    with pytest.raises(CryptoError):
        rng.generate(1)


@pytest.mark.parametrize("answer", [b"", "text", None, bytearray(3)])
def test_a_driver_that_gives_something_else_is_named(framework: Framework, answer: object) -> None:
    card = Source("card")
    framework.attach(card)
    with framework.rng() as rng:
        assert isinstance(rng._generator, Counting)
        rng._generator.generate = lambda count, additional: answer  # type: ignore[method-assign, assignment, return-value]
        with pytest.raises(DriverBug, match="card: generator stdrng gave no 3 bytes"):
            rng.generate(3)


def test_what_escapes_from_a_driver_is_told_without_its_text(framework: Framework) -> None:
    class Broken(Counting):
        def generate(self, count: int, additional: bytes) -> bytes:
            raise ValueError("the state is 0xsecret")

    card = Source("card")
    card.rngs = {"stdrng": lambda seed, entropy: Broken(b"", [])}
    framework.attach(card)
    with framework.rng() as rng, pytest.raises(DriverBug, match="raised ValueError") as error:
        rng.generate(1)
    assert "secret" not in str(error.value)


def test_a_signal_handler_on_top_of_it_is_refused_and_gets_no_same_bytes(
    framework: Framework,
) -> None:
    heard: list[BaseException] = []

    class Slow(Counting):
        def generate(self, count: int, additional: bytes) -> bytes:
            signal.raise_signal(signal.SIGUSR1)
            return super().generate(count, additional)

    card = Source("card")
    card.rngs = {"stdrng": lambda seed, entropy: Slow(b"c", card.log)}
    framework.attach(card)
    rng = framework.rng()

    def handler(*_: object) -> None:
        try:
            rng.generate(1)
        except CryptoError as error:
            heard.append(error)
        rng.close()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert rng.generate(1) == b"c"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [type(error) for error in heard] == [BusyError]
    assert card.log[-1] == "close"


def test_threads_share_one(framework: Framework) -> None:
    framework.attach(Source("card"))
    got: list[bytes] = []
    with framework.rng() as rng:
        threads = [
            threading.Thread(target=lambda: got.extend(rng.generate(4) for _ in range(200)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [b"cccc"] * 800


def in_child(rng: Rng) -> bytes:
    """Return what a forked child gets, or the name of the error it meets."""
    here, there = os.pipe()
    if not (pid := os.fork()):
        try:
            answer = rng.generate(16)
        except BaseException as error:
            answer = type(error).__name__.encode()
        os.write(there, answer)
        os._exit(0)
    os.waitpid(pid, 0)
    answer = os.read(here, 100)
    os.close(here)
    os.close(there)
    return answer


def test_a_forked_child_never_has_the_same_bytes() -> None:
    with Framework(["swcrypto"]) as framework:
        rng, mine = framework.rng(), framework.rng(entropy=bytes(96))
        assert in_child(rng) != rng.generate(16)
        assert in_child(mine) == b"UsageError"
        assert len(mine.generate(16)) == 16
        rng.close()
        mine.close()
