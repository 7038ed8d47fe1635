"""What `KernelRng` is given: sentences about what it cannot take, before a kernel is asked."""

from __future__ import annotations

import array
from typing import Any

import pytest

from opencrypto import UsageError
from opencrypto_afalg import Kernel, KernelRng


class Pretended:
    """A socket that is none: it says what a generator's would, and notes nothing."""

    def setblocking(self, flag: bool) -> None:
        """Do nothing."""

    def bind(self, address: object) -> None:
        """Do nothing."""

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """Take bytes alone, as sockets do."""
        memoryview(value)

    def accept(self) -> tuple[Any, str]:
        """Give itself for an operation."""
        return self, ""

    def send(self, data: bytes) -> int:
        """Take bytes alone."""
        return len(memoryview(data))

    def recv_into(self, view: memoryview, size: int) -> int:
        """Give nines."""
        view[:size] = b"\x09" * size
        return size

    def close(self) -> None:
        """Do nothing."""


class Pretending(Kernel):
    """A kernel that has every generator."""

    def socket(self) -> Any:
        """Pretend."""
        return Pretended()


@pytest.mark.parametrize("wrong", ["a seed", 5, True, [1]])
def test_a_generator_is_asked_for_what_it_can_give(wrong: Any) -> None:
    """Sizes that are no numbers, seeds and buffers that are no bytes: a sentence, no TypeError."""
    with KernelRng(kernel=Pretending()) as rng:
        assert rng.read(3) == b"\x09" * 3
        for size in ("3", 3.0, None, True, b"3", -1):
            with pytest.raises(UsageError, match="random bytes"):
                rng.read(size)  # type: ignore[arg-type]  # wrong on purpose
        for call in (rng.reseed, rng.set_entropy, rng.fill):
            with pytest.raises(UsageError, match="bytes-like, not"):
                call(wrong)
        with pytest.raises(UsageError, match="bytes-like, not"):
            rng.read(1, additional=wrong)
        with pytest.raises(UsageError, match="read-only"):
            rng.fill(bytes(4))  # type: ignore[arg-type]  # wrong on purpose
        wide = array.array("I", [0, 0])
        rng.fill(memoryview(wide))
        assert bytes(wide) == b"\x09" * 8
        assert rng.read(2) == b"\x09\x09"
    for late in (rng.reseed, lambda: rng.read(1)):
        with pytest.raises(UsageError, match="closed"):
            late()
    with pytest.raises(UsageError, match="bytes-like, not"):
        KernelRng(seed=wrong, kernel=Pretending())
    names: list[Any] = [wrong, None, []]
    for name in names:
        with pytest.raises(UsageError, match="is no generator"):
            KernelRng(name, kernel=Pretending())
