"""
What a name of the kernel's stands for: which algorithms of the framework's, laid out in which way.

Generic names (``cbc(aes)``) leave the choice to the framework. Unique names, which the kernel has
one of for each implementation, are here the generic one with its punctuation as hyphens and the
driver behind it: ``cbc-aes-openssl``, ``drbg-nopr-sha256-swcrypto``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from opencrypto import Framework, UsageError
from opencrypto.xform import AEAD_PARTNERS, FACTS, Facts, Kind, Named, algorithms, named
from opencrypto_algsocket.errors import refused
from opencrypto_algsocket.numbers import CRYPTO_ALG_KERN_DRIVER_ONLY

TYPES: Final = ("hash", "skcipher", "aead", "rng", "compress")
"""The types that may be bound. ``compress`` is of the proposal of 2010 alone."""


class Bound(NamedTuple):
    """
    What a socket is bound to.

    Attributes:
        type: One of `TYPES`.
        name: The name that was asked for.
        parts: The algorithms: one, or cipher and authenticator of ``authenc``; none of a generator.
        rng: A generator's name, else empty.
        driver: The driver that a unique name pins, or None.
        hard: As of `Framework.newsession`.
    """

    type: str
    name: str
    parts: tuple[Named, ...] = ()
    rng: str = ""
    driver: str | None = None
    hard: int = 0

    @property
    def facts(self) -> Facts:
        """The facts of the (first) algorithm."""
        return FACTS[self.parts[0].alg]

    @property
    def salted(self) -> bool:
        """Whether its keys end with a salt, as those of IPsec's templates do."""
        return self.parts[0].keys is not None and self.parts[0].keys <= self.facts.salted

    @property
    def with_iv_behind(self) -> bool:
        """Whether its associated data end with the IV, as those of IPsec's templates do."""
        return self.type == "aead" and self.salted

    @property
    def is_authenc(self) -> bool:
        """Whether it is a cipher and an authenticator of its own."""
        return len(self.parts) == 2


def bound(framework: Framework, kind: str, name: str, feat: int = 0, mask: int = 0) -> Bound:
    """
    Find what an address stands for.

    Args:
        framework: Whose drivers are asked.
        kind: ``salg_type``.
        name: ``salg_name``.
        feat: ``salg_feat``; see `mask`.
        mask: ``salg_mask``: with CRYPTO_ALG_KERN_DRIVER_ONLY in both, hardware alone is asked for.

    Raises:
        OSError: no driver has it, or it is of another type (ENOENT); the bits are unknown (EINVAL).
    """
    hard = _class_of(feat, mask)
    if kind not in TYPES:
        raise refused(errno.ENOENT, f"there is no type {kind[:20]!r}; one of {', '.join(TYPES)}")
    found = _generic(framework, kind, name, hard, None)
    if found is None:
        found = _unique(framework, kind, name, hard)
    if found is None:
        raise refused(errno.ENOENT, f"no driver has {kind} {name[:63]!r}")
    return found


def _class_of(feat: int, mask: int) -> int:
    if (feat | mask) & ~CRYPTO_ALG_KERN_DRIVER_ONLY:
        raise refused(errno.EINVAL, "of feat and mask only CRYPTO_ALG_KERN_DRIVER_ONLY is known")
    if not mask:
        return 0
    return 1 if feat else -1


def _generic(
    framework: Framework, kind: str, name: str, hard: int, driver: str | None
) -> Bound | None:
    if kind == "rng":
        return _generator(framework, name, hard, driver)
    parts = _parts(name)
    if parts is None or _type_of(parts) != kind or not _is_kernels(name, parts):
        return None
    if not _is_had(framework, parts, hard, driver):
        return None
    return Bound(kind, name, parts, driver=driver, hard=hard)


def _generator(framework: Framework, name: str, hard: int, driver: str | None) -> Bound | None:
    has = [
        each.name
        for each in framework.drivers
        if each.hid is not None and name in each.rngs and _fits(each.tier, hard)
    ]
    if driver is not None:
        has = [each for each in has if each == driver]
    return Bound("rng", name, rng=name, driver=driver, hard=hard) if has else None


def _parts(name: str) -> tuple[Named, ...] | None:
    try:
        return algorithms(name)
    except UsageError:
        return None


def _type_of(parts: tuple[Named, ...]) -> str:
    kinds = [FACTS[part.alg].kind for part in parts]
    if len(parts) == 2:
        return "aead" if kinds == [Kind.CIPHER, Kind.MAC] else ""
    if parts[0].alg in AEAD_PARTNERS:
        return "aead"
    one = {Kind.CIPHER: "skcipher", Kind.MAC: "hash", Kind.HASH: "hash", Kind.COMP: "compress"}
    return one.get(kinds[0], "")


def _is_kernels(name: str, parts: tuple[Named, ...]) -> bool:
    """Tell whether a spelling is Linux', among the many that the framework knows."""
    if name.startswith("authenc("):
        return len(parts) == 2
    return name in LINUX and len(parts) == 1


def _linux_names() -> Iterator[str]:
    """Give the spellings that are Linux', in the order of the table."""
    plain = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-512"}
    plain |= {"blake2b-512", "blake2s-256", "deflate", "rmd160"}
    for entry in named():
        for spelling in (entry.name, *entry.aliases):
            if spelling in plain or ("(" in spelling and not re.search(r"\)-\d+$", spelling)):
                yield spelling


LINUX: Final = tuple(_linux_names())
"""The generic names of algorithms that Linux has and the framework too."""


def _is_had(framework: Framework, parts: tuple[Named, ...], hard: int, driver: str | None) -> bool:
    """Tell whether drivers of the class, or the one that is named, have all of it."""
    wanted = {FACTS[part.alg].name for part in parts}
    offered: set[str] = set()
    for each in framework.drivers:
        if each.hid is not None and _fits(each.tier, hard) and driver in (None, each.name):
            offered |= set(each.algorithms)
    return wanted <= offered


def _fits(tier: str, hard: int) -> bool:
    return not hard or (tier == "hardware") == (hard > 0)


def _unique(framework: Framework, kind: str, name: str, hard: int) -> Bound | None:
    """Find a unique name: a generic one, hyphened, with a driver behind it."""
    for driver, generic in unique_names(framework, kind):
        if unique(generic, driver) == name:
            found = _generic(framework, kind, generic, hard, driver)
            return None if found is None else found._replace(name=name)
    return None


def unique(generic: str, driver: str) -> str:
    """Return the unique name of one driver's implementation of a generic name."""
    return f"{re.sub(r'[^a-z0-9]+', '-', generic).strip('-')}-{driver}"


def unique_names(framework: Framework, kind: str) -> Iterator[tuple[str, str]]:
    """Give each driver with each generic name of a type that it has."""
    for each in framework.drivers:
        if each.hid is None:
            continue
        for generic in generics(kind, each.rngs):
            if kind == "rng" or _generic(framework, kind, generic, 0, each.name) is not None:
                yield each.name, generic


def generics(kind: str, rngs: Iterable[str]) -> Iterator[str]:
    """Give the generic names of a type; of generators those that a driver has."""
    if kind == "rng":
        yield from rngs
        return
    for name in (*LINUX, *_AUTHENC):
        parts = _parts(name)
        if parts is not None and _type_of(parts) == kind:
            yield name


_AUTHENC: Final = tuple(
    f"authenc(hmac({digest}),{cipher})"
    for digest in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
    for cipher in ("cbc(aes)", "cbc(des3_ede)", "rfc3686(ctr(aes))", "ctr(aes)")
)
