"""
Small drivers that are right, to try the contract kit on: one synchronous, one with a thread and a
short queue, one without a process of each session. Cryptography is pycryptodome's and hmac's.
"""

from __future__ import annotations

import hashlib
import hmac
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from Crypto.Cipher import AES

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_192_GMAC,
    CRYPTO_AES_256_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_SHA1,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Capability,
    Cryptoini,
    Cryptop,
)
from opencrypto.chain import ChainDriver, Segments, TransformFactory, in_one_piece
from opencrypto.driver import Process
from opencrypto_swcrypto._driver import SwcryptoDriver


class Cbc:
    """AES-CBC."""

    def __init__(self, cri: Cryptoini) -> None:
        self.key = bytes(cri.key or b"")

    def cipher(self, iv: bytes) -> Any:
        return AES.new(self.key, AES.MODE_CBC, iv)

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        cipher = self.cipher(iv)
        work = cipher.encrypt if encrypt else cipher.decrypt

        def piece(view: memoryview) -> None:
            view[:] = work(view)

        in_one_piece(parts, piece)


class Ctr(Cbc):
    """AES-CTR of RFC 3686: the nonce is at the key's end."""

    def cipher(self, iv: bytes) -> Any:
        key, nonce = self.key[:-4], self.key[-4:]
        return AES.new(key, AES.MODE_CTR, nonce=nonce + iv, initial_value=1)


class Gcm:
    """AES-GCM, the salt of RFC 4106 at the key's end if there is one."""

    def __init__(self, cri: Cryptoini) -> None:
        key = bytes(cri.key or b"")
        salt = len(key) % 8
        self.key, self.salt = key[: len(key) - salt], key[len(key) - salt :]

    def cipher(self, iv: bytes, aad: Segments, maclen: int) -> Any:
        cipher = AES.new(self.key, AES.MODE_GCM, nonce=self.salt + iv, mac_len=maclen)
        for part in aad:
            cipher.update(part)
        return cipher

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        cipher = self.cipher(iv, aad, maclen)
        for part in parts:
            part[:] = cipher.encrypt(part)
        tag: bytes = cipher.digest()
        return tag

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        cipher = self.cipher(iv, aad, len(tag))
        plain = [cipher.decrypt(part) for part in parts]
        try:
            cipher.verify(tag)
        except ValueError:
            return False
        for part, data in zip(parts, plain, strict=True):
            part[:] = data
        return True


class Hmac:
    """HMAC-SHA-256."""

    def __init__(self, cri: Cryptoini) -> None:
        self.keyed = hmac.new(bytes(cri.key or b""), digestmod="sha256")

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        state = self.keyed.copy()
        for part in parts:
            state.update(part)
        return state.digest()


class Sha1:
    """SHA-1."""

    def __init__(self, cri: Cryptoini) -> None:
        pass

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        state = hashlib.sha1()
        for part in parts:
            state.update(part)
        return state.digest()


class Honest(ChainDriver):
    """Five algorithms, done at once."""

    name = "honest"
    capabilities: Mapping[int, Capability] = {
        CRYPTO_AES_CBC: Capability(),
        CRYPTO_AES_CTR: Capability(),
        CRYPTO_AES_GCM_16: Capability(),
        CRYPTO_AES_128_GMAC: Capability(),
        CRYPTO_AES_192_GMAC: Capability(),
        CRYPTO_AES_256_GMAC: Capability(),
        CRYPTO_SHA2_256_HMAC: Capability(),
        CRYPTO_SHA1: Capability(),
    }
    factories: Mapping[int, TransformFactory] = {
        CRYPTO_AES_CBC: Cbc,
        CRYPTO_AES_CTR: Ctr,
        CRYPTO_AES_GCM_16: Gcm,
        CRYPTO_SHA2_256_HMAC: Hmac,
        CRYPTO_SHA1: Sha1,
    }


class HonestLean(Honest):
    """One algorithm of each kind, for what is tried often."""

    name = "lean"
    capabilities: Mapping[int, Capability] = {
        CRYPTO_AES_CBC: Capability(keys=(16, 32)),
        CRYPTO_AES_GCM_16: Capability(keys=(20,)),
        CRYPTO_AES_128_GMAC: Capability(keys=(20,)),
        CRYPTO_SHA2_256_HMAC: Capability(),
    }


class HonestPlain(Honest):
    """Hands back no process of a session: the framework checks the requests."""

    name = "plain"

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        answer = super().newsession(ini)
        return answer if isinstance(answer, int) else answer[0]


class HonestThreaded(Honest):
    """Works in a thread, with a queue of eight; answers ERESTART when it is full."""

    name = "threaded"
    flags = CRYPTOCAP_F_SOFTWARE
    room = 8

    def __init__(self) -> None:
        super().__init__()
        self.work: queue.SimpleQueue[tuple[Process, Cryptop] | None] = queue.SimpleQueue()
        self.lock = threading.Lock()  # guards the next three
        self.taken = 0
        self.full = False
        self.thread: threading.Thread | None = None

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        answer = super().newsession(ini)
        assert isinstance(answer, tuple)
        lid, process = answer
        return lid, lambda crp, hint: self.take(process, crp)

    def take(self, process: Process, crp: Cryptop) -> int:
        with self.lock:
            if self.taken >= self.room:
                self.full = True
                return ERESTART
            self.taken += 1
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.run, name="opencrypto-honest")
                self.thread.daemon = True
                self.thread.start()
        self.work.put((process, crp))
        return 0

    def run(self) -> None:
        while (job := self.work.get()) is not None:
            process, crp = job
            del job
            process(crp, 0)
            del process, crp
            with self.lock:
                self.taken -= 1
                free, self.full = self.full and self.taken < self.room, False
            if free:
                self.unblock(CRYPTO_SYMQ)

    def close(self) -> None:
        if self.thread is not None:
            self.work.put(None)
            self.thread.join()
        super().close()


class HonestKeys(SwcryptoDriver):
    """Key operations and nothing else, the slow ones in threads."""

    name = "keys"
    capabilities: Mapping[int, Capability] = {}
