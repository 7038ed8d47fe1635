"""
The driver's random number generators, by Linux' names: the DRBGs of SP 800-90A, and ansi_cprng.

Each is tried with a known answer before its first use in a process (SP 800-90A, 11.3).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Final

from opencrypto.driver import Generator, RngMaker
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto_swcrypto._ansi_cprng import SEED, AnsiCprng
from opencrypto_swcrypto._drbg import MOST_AT_ONCE, CtrDrbg, HashDrbg, HmacDrbg, Mechanism

__all__ = ["RNGS"]

Begin = Callable[[bytes], Mechanism]

RESEED_AFTER: Final = 1 << 20
"""Requests after which a DRBG takes new entropy by itself, as in Linux; the standard has 2**48."""


class _Drbg:
    """A DRBG, and where its entropy comes from: the system, unless a test says otherwise."""

    def __init__(self, begin: Begin, seed: bytes, entropy: bytes | None, *, always: bool) -> None:
        self._entropy = entropy
        self._always = always
        self._left = RESEED_AFTER
        # Entropy, and a nonce of half the strength (8.6.7).
        strength = begin(b"").strength
        self._mechanism = begin(self._fresh(strength + strength // 2) + seed)

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return random bytes; with prediction resistance after new entropy for each request."""
        parts: list[bytes] = []
        while count > 0 or not parts:
            part = min(count, MOST_AT_ONCE)
            if self._always or not self._left:
                self.reseed(additional)
                additional = b""
            self._left -= 1
            parts.append(self._mechanism.generate(part, additional))
            additional = b""
            count -= part
        return b"".join(parts)

    def reseed(self, seed: bytes) -> None:
        """Take new entropy, and `seed` as additional input."""
        self._mechanism.reseed(self._fresh(self._mechanism.strength), seed)
        self._left = RESEED_AFTER

    def set_entropy(self, entropy: bytes) -> None:
        """Take these bytes in place of the system's from now on."""
        self._entropy = entropy

    def close(self) -> None:
        """Wipe the state."""
        self._mechanism.wipe()

    def _fresh(self, count: int) -> bytes:
        return os.urandom(count) if self._entropy is None else self._entropy


class _Cprng:
    """ANSI X9.31's generator, which has no entropy but its seed."""

    def __init__(self, seed: bytes, entropy: bytes | None) -> None:
        if entropy is not None:
            self.set_entropy(entropy)
        self._mechanism = AnsiCprng(_checked(seed))

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return what follows from the seed."""
        if additional:
            raise UsageError("ansi_cprng takes no additional input; seed it by reseed")
        try:
            return self._mechanism.generate(count, b"")
        except ArithmeticError as error:
            raise CryptoError(str(error)) from None

    def reseed(self, seed: bytes) -> None:
        """Begin anew with another seed."""
        self._mechanism.reseed(_checked(seed), b"")

    def set_entropy(self, entropy: bytes) -> None:
        """Refuse, since it has none."""
        raise UsageError("ansi_cprng takes no entropy; its seed is V, key and DT")

    def close(self) -> None:
        """Wipe the state."""
        self._mechanism.wipe()


def _checked(seed: bytes) -> bytes:
    if len(seed) not in (SEED * 2 // 3, SEED):
        raise UsageError(
            "a seed of ansi_cprng is V, key and perhaps DT, of 16 bytes each: "
            f"32 or 48 bytes, not {len(seed)}"
        )
    return seed


_DIGESTS: Final = ("sha1", "sha224", "sha256", "sha384", "sha512")

_MECHANISMS: Final[Mapping[str, Begin]] = {
    **{name: functools.partial(HashDrbg, name) for name in _DIGESTS},
    **{f"hmac_{name}": functools.partial(HmacDrbg, name) for name in _DIGESTS},
    **{f"ctr_aes{bits}": functools.partial(CtrDrbg, bits // 8) for bits in (128, 192, 256)},
}
"""By the part of the name behind ``drbg_nopr_`` and ``drbg_pr_``."""

_ANSWERS: Final[Mapping[str, str]] = {
    "sha1": "b4fd5f464e010a645827e3bf1a9e694ebaacf640cb0ebfcc1e504d6007affea1",
    "sha224": "45bc4c1dff799e3a8ee8dbaf81a641ecd423910c4ddbb701bd16cea4d38f0c18",
    "sha256": "d32308d294b8bff20e641bbd99a363ac892501bb32fba1d9068ec338436895ed",
    "sha384": "369e5015f062f68ea32bf94447a949fba62b5b858cc73b807ebf5f54b33e3ab3",
    "sha512": "5409069f06f68fc1f80657419aeccfc3e1b3dd29f18f63a7d67c789d19866366",
    "hmac_sha1": "0c2b31c4ee9c5e9c4db98237e838085763fe9b0f61167e50d6d58134b31cb372",
    "hmac_sha224": "7d9fbf84798ed6cc1d23aa09ae631293b6bf196dd3bbf9e87300dfadc0dd59ff",
    "hmac_sha256": "29c5e6d845e732260a3b3cc0d38dc73a6dff13582ca90155ab2e9fdc6c1e47a3",
    "hmac_sha384": "d1cf33c30920c13915129a8d8a2d4db2828b3435d45387712328e7f736726f9d",
    "hmac_sha512": "932b6d9d516d0b6e8236a03e991cae3d144cb759796b184927c8cc159959c2ec",
    "ctr_aes128": "ab77ebf658fd0af455be4aeb59f84e474954eac04b06be6a9cedeb158257a45f",
    "ctr_aes192": "2841946c1184fbe1c1082c2c15a1963087e77f510ce8835554892babeb0524e2",
    "ctr_aes256": "4f1adfbb05b4c4b22dcb13fbfd44e34cb614b3f9d386c351a328596d445da8a0",
    "ansi_cprng": "c2263c6280eba8d3f000eb21a46a9f70f6af20c27eaddea99c3e5e81d5c5d1a1",
}
"""What `_tried` must give; made when the mechanisms had passed NIST's own vectors."""


def _known(name: str) -> None:
    """
    Try a mechanism with a known answer, once in a process.

    Raises:
        CryptoError: it gives another one.
    """
    answer = _tried(name)
    if answer != _ANSWERS[name]:
        raise CryptoError(f"generator {name} fails its known answer; it is not to be used")


@functools.cache
def _tried(name: str) -> str:
    if name == "ansi_cprng":
        return AnsiCprng(bytes(range(SEED))).generate(32, b"").hex()
    mechanism = _MECHANISMS[name](bytes(range(48)))
    mechanism.generate(16, b"additional")
    mechanism.reseed(bytes(range(48, 80)), b"more")
    return mechanism.generate(32, b"").hex()


def _drbg(name: str, *, always: bool) -> RngMaker:
    def make(seed: bytes, entropy: bytes | None) -> Generator:
        _known(name)
        return _Drbg(_MECHANISMS[name], seed, entropy, always=always)

    return make


def _cprng(seed: bytes, entropy: bytes | None) -> Generator:
    _known("ansi_cprng")
    return _Cprng(seed, entropy)


RNGS: Final[Mapping[str, RngMaker]] = {
    "stdrng": _drbg("hmac_sha512", always=False),
    **{f"drbg_nopr_{name}": _drbg(name, always=False) for name in _MECHANISMS},
    **{f"drbg_pr_{name}": _drbg(name, always=True) for name in _MECHANISMS},
    "ansi_cprng": _cprng,
}
"""What makes each, by name. ``stdrng`` is the DRBG that Linux prefers."""
