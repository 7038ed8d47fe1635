"""
Small drivers that answer later: by workers, by workers if a request is large, and when a device,
which is a thread here, has done its work.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_SHA1,
    CRYPTO_SHA2_256_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    Cryptoini,
)
from opencrypto.chain import Later, Segments, Transform, TransformFactory
from tests.kit.correct_drivers import Cbc, Gcm, Hmac, Honest, Sha1


class Working(Honest):
    """Has workers for everything."""

    name = "working"
    workers = 3
    depth = 16


class Sizing(Honest):
    """Has workers for what is large."""

    name = "sizing"
    threads_from = 1024


class Device:
    """A thread that does what it is given, one thing after the other."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Later] | None]
        self._jobs = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def give(self, job: Callable[[], object]) -> Later:
        later = Later()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="opencrypto-device", daemon=True
                )
                self._thread.start()
        self._jobs.put((job, later))
        return later

    def _run(self) -> None:
        while (given := self._jobs.get()) is not None:
            job, later = given
            later.finish(job())
            del given, job, later  # or what they are about would live on while it waits

    def close(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    def after_fork(self) -> None:
        self.__init__()  # type: ignore[misc]


class By:
    """A transform that has the device do what another transform does."""

    def __init__(self, device: Device, transform: Any) -> None:
        self.device = device
        self.transform = transform

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> Any:
        return self.device.give(lambda: self.transform.crypt(iv, parts, encrypt))

    async def mac(self, parts: Sequence[memoryview]) -> Any:
        return await self.device.give(lambda: self.transform.mac(parts))

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> Any:
        return self.device.give(lambda: self.transform.seal(iv, aad, parts, maclen))

    async def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> Any:
        return await self.device.give(lambda: self.transform.open(iv, aad, parts, tag))


class Waiting(Honest):
    """Gives its device the work, and is told when it is done."""

    name = "waiting"
    flags = CRYPTOCAP_F_SOFTWARE
    later = True

    def __init__(self) -> None:
        super().__init__()
        self.device = Device()
        made: Mapping[int, Callable[[Cryptoini], Transform]] = {
            CRYPTO_AES_CBC: Cbc,
            CRYPTO_AES_GCM_16: Gcm,
            CRYPTO_SHA2_256_HMAC: Hmac,
            CRYPTO_SHA1: Sha1,
        }
        self.factories: Mapping[int, TransformFactory] = {
            **Honest.factories,  # of which AES_CTR answers at once
            **{alg: self._by(make) for alg, make in made.items()},
        }

    def _by(self, make: Callable[[Cryptoini], Transform]) -> TransformFactory:
        return lambda cri: By(self.device, make(cri))

    def after_fork(self) -> None:
        self.device.after_fork()

    def close(self) -> None:
        self.device.close()
        super().close()
