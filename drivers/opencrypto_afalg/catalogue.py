"""
What this kernel really has: found by binding, once for each name, and only when somebody asks.

A trial bind is the only truth: allow-lists, masks, seccomp and missing modules all show there and
nowhere else. A failing bind costs the start of a modprobe each time, so failures are remembered.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from opencrypto.driver import renew_after_fork
from opencrypto_afalg.kernel import Implementation, Kernel
from opencrypto_afalg.names import Name

LOOK_S: Final = 2.0
"""Seconds for which a look at the kernel's list is good enough for people."""

log: Final = logging.getLogger("opencrypto.afalg")


@dataclass(frozen=True, slots=True)
class Served:
    """
    A name that this kernel serves.

    `address` is what to bind for the class wanted; `implementation` and `priority` are what the
    kernel calls it, where it could be told.
    """

    name: Name
    address: tuple[str, str]
    implementation: str = ""
    priority: int = 0
    device: bool = False

    @property
    def text(self) -> str:
        """The implementation with its priority, for people."""
        return f"{self.implementation} ({self.priority})" if self.implementation else ""


class Catalogue:
    """
    The answers of one kernel for one class of implementations.

    Args:
        kernel: Whom to ask.
        device: True to want devices only, False to want none.
    """

    def __init__(self, kernel: Kernel, *, device: bool = False) -> None:
        self._kernel = kernel
        self._device = device
        self._looked = float("-inf")
        self._seen: list[Implementation] = []
        self._lock = threading.Lock()  # held while probing, so that each name is probed once
        self._found: dict[tuple[str, str, str], Served | str] = {}
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Renew the lock in a forked child; what a thread was probing is probed again."""
        self._lock = threading.Lock()

    def find(self, names: Iterable[Name]) -> Served | str:
        """Return the first of these names that is served, or why none of them is."""
        reason = "the kernel has no name for it"
        for name in names:
            key = _key(name)
            found = self._found.get(key)
            if found is None:
                with self._lock:
                    found = self._found.get(key)
                    if found is None:
                        found = self._found[key] = self._probe(name)
            if isinstance(found, Served):
                return found
            reason = found
        return reason

    def known(self, names: Iterable[Name]) -> str:
        """Say which implementation serves, or would, without binding anything."""
        for name in names:
            found = self._found.get(_key(name))
            if isinstance(found, Served):
                return found.text
            if found is None:
                best = self._best(name)
                return f"{best.driver} ({best.priority})" if best is not None else ""
        return ""

    def missing(self, names: Iterable[Name]) -> str:
        """Say why none of these names is served, if that is known of them all."""
        reason = ""
        for name in names:
            found = self._found.get(_key(name))
            if not isinstance(found, str):
                return ""
            reason = found
        return reason

    def lost(self, gone: Mapping[tuple[str, str], int]) -> None:
        """Take note of addresses that could be bound once and cannot now."""
        with self._lock:
            for key, found in self._found.items():
                code = gone.get(found.address) if isinstance(found, Served) else None
                if code is not None:
                    self._found[key] = f"it has gone: {reason_of(OSError(code, ''), key[1])}"

    def distrust(self, address: tuple[str, str], reason: str) -> None:
        """Offer an address no more."""
        with self._lock:
            for key, found in self._found.items():
                if isinstance(found, Served) and found.address == address:
                    self._found[key] = reason

    def _probe(self, name: Name) -> Served | str:
        served = self._bind_wanted(name)
        if isinstance(served, str):
            log.info("%s: %s", name.name, served)
        return served

    def _bind_wanted(self, name: Name) -> Served | str:
        served = self._bind(name, name.name)
        if isinstance(served, str):
            return served
        if served.device == self._device:
            # By its own name: the general one would give software, silently, when it has left.
            if self._device:
                served = replace(served, address=(name.type, served.implementation))
            return served
        # The other class has the higher priority. An implementation that the kernel lists may be
        # bound by its own name; that changes nothing for anybody else.
        for best in self._ranked(name):
            if "(" not in best.driver or best.driver == name.generic:
                return self._by_driver(name, best)
        if not self._device and name.generic:
            return self._bind(name, name.generic)
        wanted = "a device" if self._device else "software"
        return f"{name.name} is served by {served.implementation}, and {wanted} was asked for"

    def _by_driver(self, name: Name, best: Implementation) -> Served | str:
        served = self._bind(name, best.driver)
        if isinstance(served, str):
            return served
        return Served(name, served.address, best.driver, best.priority, best.device)

    def _ranked(
        self, name: Name, listing: list[Implementation] | None = None
    ) -> list[Implementation]:
        """Return the implementations of a name in our class, the best first."""
        if self._device and not self._kernel.devices_reachable:
            return []
        found = [
            each
            for each in (self._kernel.implementations() if listing is None else listing)
            if each.name == name.name and not each.internal and each.device == self._device
        ]
        return sorted(found, key=lambda each: -each.priority)

    def _best(self, name: Name) -> Implementation | None:
        # For people, who ask for all names at once: one look at the kernel's list will do.
        if time.monotonic() > self._looked + LOOK_S:
            self._seen = self._kernel.implementations()
            self._looked = time.monotonic()
        ranked = self._ranked(name, self._seen)
        return ranked[0] if ranked else None

    def _bind(self, name: Name, wanted: str) -> Served | str:
        """Bind a name once, and see whose reference count that raises."""
        address = (name.type, wanted)
        try:
            with self._kernel.socket() as probe:
                probe.bind(address)
                # Only now, and closed again below: the first bind may have loaded modules.
                with_it = self._kernel.implementations()
        except OSError as error:
            return reason_of(error, wanted)
        except ValueError:
            return f"{wanted} is too long a name for this Python"
        serving = _serving(self._listing(), with_it, wanted)
        if serving is None:
            return Served(name, address)
        device = serving.device and self._kernel.devices_reachable
        return Served(name, address, serving.driver, serving.priority, device)

    def _listing(self) -> list[Implementation]:
        # A reference is dropped a little after close() returns, when the socket is destroyed.
        time.sleep(0)
        return self._kernel.implementations()


def _key(name: Name) -> tuple[str, str, str]:
    """Return what is quicker to look up than a dataclass."""
    return name.type, name.name, name.form.value


def _serving(
    without: list[Implementation], with_it: list[Implementation], wanted: str
) -> Implementation | None:
    """Find which implementation held one reference more while the socket was bound."""
    before = {each.driver: each.refcnt for each in without}
    mine = [each for each in with_it if wanted in (each.name, each.driver) and not each.internal]
    held = [each for each in mine if each.refcnt > before.get(each.driver, each.refcnt)]
    # Somebody else may have bound or closed in between: then the kernel's own rule decides.
    return max(held or mine, key=lambda each: each.priority, default=None)


def reason_of(error: OSError, what: str) -> str:
    """Say what an error of socket() or bind() means, and what may have caused it."""
    match error.errno:
        case errno.EAFNOSUPPORT:
            return "this kernel has no AF_ALG (CONFIG_CRYPTO_USER_API), or it is switched off"
        case errno.EPERM | errno.EACCES:
            return "AF_ALG is forbidden to this process (seccomp, SELinux or a container's profile)"
        case errno.ENOENT:
            return f"this kernel has no {what}, or does not allow it"
        case errno.EMFILE | errno.ENFILE:
            return "no file descriptors are left for AF_ALG sockets"
        case code:
            return f"{what}: {os.strerror(code or errno.EIO)}"
