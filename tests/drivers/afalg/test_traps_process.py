"""Traps of AF_ALG about the process: its timeouts, buffers, signals, children and descriptors."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from opencrypto import Alg, Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRYPTO_F_CBIMM,
)
from opencrypto_afalg import AfalgDriver, KernelHash, KernelRng
from opencrypto_afalg import sockets as afalg_sockets
from opencrypto_afalg import transforms as afalg_transforms
from tests.drivers.afalg.requests import EXPLICIT, IV, KEY, cbc, driver, framework
from tests.drivers.afalg.support import attached, follow, open_on, pair, run
from tests.drivers.rig import crd

__all__ = ["driver", "framework"]

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("timeout", [0.0, 0.5, 30.0])
def test_a_default_timeout_of_the_application(timeout: float) -> None:
    """``socket.setdefaulttimeout`` breaks sockets that have no poll; ours do not take it over."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        with attached(AfalgDriver()) as framework:
            mac = framework.newsession(Cryptoini(Alg.SHA2_256_HMAC, KEY, mlen=32))
            cipher = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
            chain = pair(Alg.AES_GCM_16, KEY)
            aead = framework.newsession(chain)
            seal = crd(Alg.AES_GCM_16, 0, 40, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(12))
            buf = bytearray(64)
            for _ in range(3):
                assert run(framework, aead, buf, seal, crd(chain[1].alg, 0, 0, 48)).etype == 0
                assert run(framework, mac, buf, crd(Alg.SHA2_256_HMAC, 0, 32, 32)).etype == 0
                assert bytes(buf[32:]) == hmac.digest(KEY, bytes(buf[:32]), "sha256")
                assert run(framework, cipher, buf, cbc(True, 32)).etype == 0
        with KernelHash(Alg.SHA1) as running, KernelRng() as rng:
            running.update(b"abc")
            with running.copy() as twin:
                assert twin.digest() == hashlib.sha1(b"abc").digest()
            assert len(rng.read(300)) == 300
    finally:
        socket.setdefaulttimeout(before)


@pytest.mark.parametrize("size", [208896, 208896 + 16, 1 << 20])
def test_without_the_right_to_enlarge_buffers(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """What does not fit is refused untouched, for another driver: waiting would be for ever."""

    def no_more(operation: socket.socket, wanted: int = 0) -> int:
        return 208896

    monkeypatch.setattr(afalg_sockets, "room", no_more)
    with attached(AfalgDriver(), fallback=True) as framework:
        chain = pair(Alg.AES_GCM_16, KEY)
        aead = open_on(framework, chain)
        whole = bytearray(size)
        seal = crd(Alg.AES_GCM_16, 0, size - 16, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(12))
        first = run(framework, aead, whole, seal, crd(chain[1].alg, 0, 0, size - 16))
        assert first.etype == (0 if size <= 208896 else errno.EAGAIN)
        assert any(whole) is not bool(first.etype)
        for alg, key in ((Alg.AES_XTS, bytes(range(32))), (Alg.AES_CBC, KEY)):
            sid = open_on(framework, Cryptoini(alg, key))
            buf = bytearray(size)
            first = run(framework, sid, buf, crd(alg, 0, size, 0, EXPLICIT | CRD_F_ENCRYPT, IV))
            splits = alg == Alg.AES_CBC
            assert first.etype == (0 if splits or size <= 208896 else errno.EAGAIN)
            if first.etype:
                assert not any(buf)


def test_socket_memory_runs_short() -> None:
    """ENOMEM by a small optmem_max: sessions migrate, and no request is half done."""
    path = Path("/proc/sys/net/core/optmem_max")
    before = path.read_text()
    chain = [Cryptoini(Alg.AES_CTR, bytes(20)), Cryptoini(Alg.SHA1_HMAC, bytes(20))]
    with attached(AfalgDriver(), fallback=True) as framework:
        expected = None
        for memory in (before, "3500", "1200", "0"):
            sid = open_on(framework, chain)
            path.write_text(memory)
            try:
                buf = bytearray(20_020 + 4)
                desc = [
                    crd(Alg.AES_CTR, 0, 20_000, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(8)),
                    crd(Alg.SHA1_HMAC, 3, 19_990, 20_001),
                ]
                crp = follow(framework, sid, buf, *desc)
            finally:
                path.write_text(before)
            assert crp.etype == 0, crp.error
            expected = expected or bytes(buf)
            assert buf == expected


def test_a_second_call_that_fails_undoes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request handed back is as it came, though its cipher had been done when its MAC failed."""

    def fail(self: object, parts: object) -> bytes:
        raise afalg_sockets.KernelRefused("gone", errno.ENODEV)

    chain = [Cryptoini(Alg.AES_CBC, KEY), Cryptoini(Alg.MD5_HMAC, KEY)]
    with attached(AfalgDriver(), fallback=True) as framework:
        sid = open_on(framework, chain)
        data = random.Random(5).randbytes(100)
        buf = [bytearray(data[:50]), bytearray(data[50:])]
        monkeypatch.setattr(afalg_transforms.Mac, "mac", fail)
        crp = run(framework, sid, buf, cbc(True, 64), crd(Alg.MD5_HMAC, 0, 80, 84))
        assert crp.etype == errno.EAGAIN
        assert b"".join(buf) == data
        assert crp.sid >> 32 != sid >> 32


@contextmanager
def pestered(handler: Callable[[int, FrameType | None], object], every: float) -> Iterator[None]:
    """Send this process a signal again and again. Not SIGALRM, which limits the tests' time."""
    before = signal.signal(signal.SIGUSR1, handler)
    stop = threading.Event()

    def pester() -> None:
        while not stop.wait(every):
            os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=pester)
    thread.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        stop.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_signals_arrive_while_the_kernel_works(framework: Framework) -> None:
    """A signal ends a receive early; the answer is whole all the same."""
    caught: list[int] = []
    sid = framework.newsession(Cryptoini(Alg["3DES_CBC"], bytes(range(24))))
    mac = framework.newsession(Cryptoini(Alg.SHA2_512))
    data = random.Random(6).randbytes(60_000)
    deadline = time.monotonic() + 2
    with pestered(lambda number, _: caught.append(number), 0.001):
        while time.monotonic() < deadline and len(caught) < 200:
            buf = bytearray(data)
            for flags in (CRD_F_ENCRYPT, 0):
                desc = crd(Alg["3DES_CBC"], 0, len(data), 0, EXPLICIT | flags, bytes(8))
                assert run(framework, sid, buf, desc).etype == 0
            assert buf == data
            digest = bytearray(64)
            assert run(framework, mac, buf, crd(Alg.SHA2_512, 0, 60_000), mac=digest).etype == 0
            assert digest == hashlib.sha512(data).digest()
    assert len(caught) > 20


class Interrupt(Exception):
    """What the handler of a signal raises."""


def test_a_signal_handler_that_raises_spoils_no_socket() -> None:
    """What a socket holds after that is unknown, so it is not used again."""

    def handler(number: int, frame: FrameType | None) -> None:
        # Only while a request is with the kernel. In the midst of Python's own socket.accept() it
        # would lose the descriptor, and no code of ours could help that.
        if frame is not None and frame.f_code.co_name == "exchange":
            if "operation" in frame.f_locals:
                raise Interrupt

    driver = AfalgDriver(inline_ns=10**9)  # at once, in the thread that gets the signals
    with attached(driver) as framework:
        sid = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
        expected = bytearray(16_384)
        assert run(framework, sid, expected, cbc(True, len(expected))).etype == 0
        interrupted = 0
        deadline = time.monotonic() + 5
        with pestered(handler, 0.001):
            while interrupted < 30 and time.monotonic() < deadline:
                buf = bytearray(len(expected))
                done: list[Cryptop] = []
                desc = cbc(True, len(buf))
                framework.dispatch(Cryptop(sid, buf, [desc], done.append, CRYPTO_F_CBIMM))
                (crp,) = done
                interrupted += crp.etype == errno.EIO
                assert crp.etype in (0, errno.EIO)
                assert crp.etype or buf == expected
        assert interrupted > 3
        buf = bytearray(len(expected))
        assert run(framework, sid, buf, cbc(True, len(buf))).etype == 0
        assert buf == expected


def test_a_forked_child_has_sockets_of_its_own(framework: Framework, driver: AfalgDriver) -> None:
    """Operation sockets shared with the parent would mix two requests up."""
    sid = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
    expected = bytearray(4096)
    assert run(framework, sid, expected, cbc(True, 4096)).etype == 0

    def work() -> bool:
        for _ in range(300):
            buf = bytearray(4096)
            if run(framework, sid, buf, cbc(True, 4096)).etype or buf != expected:
                return False
        large = bytearray(1 << 20)
        return run(framework, sid, large, cbc(True, 1 << 20)).etype == 0

    large = bytearray(1 << 20)
    assert run(framework, sid, large, cbc(True, 1 << 20)).etype == 0  # threads are there
    pid = os.fork()
    if not pid:
        right = False
        try:
            right = work()
        finally:
            os._exit(0 if right else 1)
    assert work()
    assert os.waitpid(pid, 0)[1] == 0
    assert driver.descriptors.sockets


def test_descriptors_are_few_and_lent_to_who_needs_them() -> None:
    """Over the limit the sockets of sessions not used lately are closed, and opened again later."""
    driver = AfalgDriver(limit=12)
    with attached(driver) as framework:
        sids = [framework.newsession(Cryptoini(Alg.AES_CBC, bytes([n]) * 16)) for n in range(50)]
        answers: dict[int, bytes] = {}
        for _ in range(3):
            for sid in sids:
                buf = bytearray(32)
                assert run(framework, sid, buf, cbc(True, 32)).etype == 0
                assert answers.setdefault(sid, bytes(buf)) == bytes(buf)
                assert len(driver.descriptors.sockets) <= 14
        assert len(set(answers.values())) == 50
        for sid in sids:
            framework.freesession(sid)
        assert not driver.descriptors.sockets


def test_a_large_request_does_not_keep_its_caller(framework: Framework) -> None:
    """Long ones go to a thread: process returns before the work is done."""
    sid = framework.newsession(Cryptoini(Alg["3DES_CBC"], bytes(range(24))))
    done = threading.Event()
    desc = crd(Alg["3DES_CBC"], 0, 1 << 20, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(8))
    crp = Cryptop(sid, bytearray(1 << 20), [desc], lambda _: done.set(), CRYPTO_F_CBIMM)
    start = time.perf_counter()
    framework.dispatch(crp)
    kept = time.perf_counter() - start
    assert done.wait(30)
    whole = time.perf_counter() - start
    assert kept < whole / 2
    assert crp.etype == 0
