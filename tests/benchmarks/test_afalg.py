"""
The AF_ALG driver against raw sockets and against libkcapi, inside one kernel on one CPU.

Only ratios and differences mean anything: a system call of User Mode Linux costs about 13 us.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

import opencrypto_openssl
from opencrypto import Alg, Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_F_CBIMM,
)
from opencrypto_afalg import AfalgDriver
from tests.benchmarks.measure import Result, compare, size_name, table
from tests.drivers.rig import crd
from tests.support import missing

pytestmark = [pytest.mark.bench, pytest.mark.shared_framework]

KEY, IV, NONCE = bytes(range(16)), bytes(16), bytes(12)
FLAGS = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT | CRD_F_ENCRYPT
WHAT = {
    "cbc": "AES-128-CBC",
    "gcm": "AES-128-GCM, 16 bytes of additional data",
    "hmac": "HMAC-SHA256",
}
CASES = ("raw", "kcapi", "driver", "framework", "each time")
ROUNDS = 15
SIZES = (64, 1024, 1504, 4096, 16384, 65536)
SOL_ALG = 279
SENDMSG = 2
"""libkcapi's KCAPI_ACCESS_SENDMSG, its quicker way at every size measured."""


@pytest.fixture(scope="module")
def driver() -> AfalgDriver:
    return AfalgDriver(inline_ns=10**9)


@pytest.fixture(scope="module")
def framework(driver: AfalgDriver) -> Iterator[Framework]:
    with Framework(plugins=False) as framework:
        framework.attach(driver)
        yield framework


def ignore(crp: Cryptop) -> None:
    pass


class Way:
    """One algorithm, done in each way over a buffer of its own."""

    def __init__(self, kind: str, size: int, closing: ExitStack) -> None:
        self.closing = closing
        self.kind = kind
        self.size = size
        # By its own name where a device has taken the general one; the driver does the same.
        self.name = {"cbc": "cbc(aes-generic)", "gcm": "gcm(aes)", "hmac": "hmac(sha256)"}[kind]
        self.type = {"cbc": "skcipher", "gcm": "aead", "hmac": "hash"}[kind]

    def inis(self) -> list[Cryptoini]:
        if self.kind == "cbc":
            return [Cryptoini(Alg.AES_CBC, KEY)]
        if self.kind == "hmac":
            return [Cryptoini(Alg.SHA2_256_HMAC, KEY, mlen=32)]
        return [Cryptoini(Alg.AES_GCM_16, KEY), Cryptoini(Alg.AES_128_GMAC, KEY)]

    def desc(self) -> list[Cryptodesc]:
        if self.kind == "cbc":
            return [crd(Alg.AES_CBC, 0, self.size, 0, FLAGS, IV)]
        if self.kind == "hmac":
            return [crd(Alg.SHA2_256_HMAC, 0, self.size, self.size)]
        cipher = crd(Alg.AES_GCM_16, 16, self.size, 0, FLAGS, NONCE)
        return [cipher, crd(Alg.AES_128_GMAC, 0, 16, 16 + self.size)]

    def buf(self) -> bytearray:
        return bytearray(self.size + (0 if self.kind == "cbc" else 32))

    def framework(self, framework: Framework, sid: int | None = None) -> Callable[[], object]:
        """Through everything: dispatch to callback."""
        sid = framework.newsession(self.inis()) if sid is None else sid
        crp = Cryptop(sid, self.buf(), self.desc(), ignore, CRYPTO_F_CBIMM)
        framework.dispatch(crp)
        assert crp.etype == 0, crp.error
        dispatch = framework.dispatch
        return lambda: dispatch(crp)

    def driver(self, driver: AfalgDriver) -> Callable[[], object]:
        """The driver alone: what the framework would call."""
        before, driver.done = driver.done, ignore
        try:
            _, process = driver.newsession(tuple(self.inis()))
        finally:
            driver.done = before
        crp = Cryptop(0, self.buf(), self.desc(), ignore)
        return lambda: process(crp, 0)

    def _open(self) -> tuple[socket.socket, socket.socket]:
        transform = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0)
        transform.bind((self.type, self.name))
        transform.setsockopt(SOL_ALG, 1, KEY)
        if self.kind == "gcm":
            transform.setsockopt(SOL_ALG, 5, None, 16)
        return transform, transform.accept()[0]

    def raw(self) -> Callable[[], object]:
        """Sockets and ancillary data made before: the least that Python can do."""
        transform, operation = self._open()
        transform.close()
        self.closing.callback(operation.close)
        return self._raw(operation)

    def _raw(self, operation: socket.socket) -> Callable[[], object]:
        buf = self.buf()
        view = memoryview(buf)[: self.size]
        op = (SOL_ALG, 3, struct.pack("=I", 1))
        if self.kind == "hmac":
            out = bytearray(32)

            def hash_it() -> None:
                operation.send(view)
                operation.recv_into(out, 32)

            return hash_it
        if self.kind == "cbc":
            ancillary = [op, (SOL_ALG, 2, struct.pack("=I", 16) + IV)]

            def cipher() -> None:
                operation.sendmsg([view], ancillary)
                operation.recv_into(view, self.size)

            return cipher
        ancillary = [
            op, (SOL_ALG, 2, struct.pack("=I", 12) + NONCE), (SOL_ALG, 4, struct.pack("=I", 16)),
        ]  # fmt: skip
        whole = memoryview(buf)

        def aead() -> None:
            operation.sendmsg([whole[: 16 + self.size]], ancillary)
            operation.recv_into(whole, 32 + self.size)

        return aead

    def each_time(self) -> Callable[[], object]:
        """Code that opens its sockets for each request."""

        def once() -> None:
            transform, operation = self._open()
            self._raw(operation)()
            operation.close()
            transform.close()

        return once

    def kcapi(self) -> Callable[[], object]:
        """libkcapi by ctypes, with everything prepared."""
        lib = library()
        handle = ctypes.c_void_p()
        short = {"cbc": "cipher", "gcm": "aead", "hmac": "md"}[self.kind]
        name = self.name.encode()
        assert getattr(lib, f"kcapi_{short}_init")(ctypes.byref(handle), name, 0) == 0
        assert getattr(lib, f"kcapi_{short}_setkey")(handle, KEY, len(KEY)) == 0
        self.closing.callback(getattr(lib, f"kcapi_{short}_destroy"), handle)
        size = ctypes.c_size_t(self.size)
        buf = self.buf()
        place = (ctypes.c_char * len(buf)).from_buffer(buf)
        iv = ctypes.create_string_buffer(IV, 16)
        call: Any
        if self.kind == "cbc":
            call = lib.kcapi_cipher_encrypt
            arguments: tuple[Any, ...] = (handle, place, size, iv, place, size, SENDMSG)
        elif self.kind == "hmac":
            call = lib.kcapi_md_digest
            out = ctypes.create_string_buffer(32)
            arguments = (handle, place, size, out, ctypes.c_size_t(32))
        else:
            assert lib.kcapi_aead_settaglen(handle, 16) == 0
            lib.kcapi_aead_setassoclen(handle, ctypes.c_size_t(16))
            call = lib.kcapi_aead_encrypt
            nonce = ctypes.create_string_buffer(NONCE, 12)
            total = ctypes.c_size_t(32 + self.size)
            arguments = (
                handle,
                place,
                ctypes.c_size_t(16 + self.size),
                nonce,
                place,
                total,
                SENDMSG,
            )
        call.restype = ctypes.c_ssize_t
        assert call(*arguments) >= 0
        return lambda: call(*arguments)


def library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libkcapi.so.1")
    except OSError:
        missing("the library libkcapi.so.1", "apt-get install libkcapi1")


def timed(kind: str, size: int, framework: Framework, driver: AfalgDriver) -> Result:
    with ExitStack() as closing:
        way = Way(kind, size, closing)
        return compare(
            {
                "raw": way.raw(),
                "kcapi": way.kcapi(),
                "driver": way.driver(driver),
                "framework": way.framework(framework),
                "each time": way.each_time(),
            },
            rounds=ROUNDS,
        )


@pytest.mark.kernel("uml", "qemu")
@pytest.mark.parametrize("kind", ["cbc", "gcm", "hmac"])
def test_against_libkcapi(framework: Framework, driver: AfalgDriver, kind: str) -> None:
    """
    The driver against libkcapi and raw sockets.

    The emulated machine runs Python many times as slowly as a real one and has system calls that
    are no dearer than the rest: there one sees what Python adds.
    """
    rows = []
    for size in SIZES:
        result = timed(kind, size, framework, driver)
        rows.append(
            [
                size_name(size),
                *(f"{result.us(case):.1f}" for case in CASES),
                f"{result.ratio('driver', 'kcapi'):.2f}",
                f"{result.excess('framework', 'raw'):.1f}",
                f"{result.ratio('framework', 'each time'):.1f}",
            ]
        )
    heads = [*CASES, "driver, times kcapi", "framework over raw, us", "times each time"]
    table(f"{WHAT[kind]}, us", ["", *heads], rows)


@pytest.mark.kernel("uml")
def test_one_authenc_call_against_two(framework: Framework) -> None:
    """Cipher and MAC in one call of the kernel against a call for each."""
    size, head = 1504, 24
    aes, mac = Cryptoini(Alg.AES_CBC, KEY), Cryptoini(Alg.SHA1_HMAC_96, bytes(20))
    cipher = crd(Alg.AES_CBC, head, size, 8, FLAGS, IV)
    end = head + size
    cases = {
        "one call": chained(framework, [aes, mac], [cipher, crd(mac.alg, 0, end, end)]),
        # A MAC over one byte less than the ciphertext is not what authenc does.
        "one session, two calls": chained(
            framework, [aes, mac], [cipher, crd(mac.alg, 0, end - 1, end)]
        ),
    }
    first = chained(framework, [aes], [cipher])
    second = chained(framework, [mac], [crd(mac.alg, 0, end, end)])
    cases["two sessions"] = lambda: (first(), second())
    result = compare(cases, rounds=9)
    rows = [
        [name, f"{result.us(name):.1f}", f"{result.ratio('one call', name):.2f}"] for name in cases
    ]
    table(f"AES-128-CBC and HMAC-SHA1-96, {size} B", ["", "us", "one call, times as fast"], rows)


def chained(
    framework: Framework, inis: list[Cryptoini], desc: list[Cryptodesc]
) -> Callable[[], object]:
    """Return a request of the session, to be dispatched again and again."""
    sid = framework.newsession(inis)
    crp = Cryptop(sid, bytearray(2048), desc, ignore, CRYPTO_F_CBIMM)
    framework.dispatch(crp)
    assert crp.etype == 0, crp.error
    dispatch = framework.dispatch
    return lambda: dispatch(crp)


@pytest.mark.kernel("uml", "qemu")
def test_two_threads(kernel: str) -> None:
    """
    How much two threads gain at 64 KiB: on one session, by sockets alone, and without the kernel.

    User Mode Linux has one CPU. The emulated machine has two, each a thread of the emulator, and a
    device, which is one for both.
    """
    with ExitStack() as closing:
        framework = closing.enter_context(Framework(plugins=False))
        way = Way("cbc", 65536, closing)
        rows = []
        pairs: dict[str, list[Callable[[], object]]] = {"raw sockets": [way.raw(), way.raw()]}
        for driver in (AfalgDriver(inline_ns=10**9), AfalgDriver(device=True, inline_ns=10**9)):
            framework.attach(driver)
            if not isinstance(driver.capabilities[Alg.AES_CBC].served(), str):
                sid = framework.newsession(way.inis(), driver=driver.name)
                pairs[f"one session, {driver.name}"] = [
                    way.framework(framework, sid) for _ in range(2)
                ]
        pairs |= {
            "no kernel: hashlib, 64 KiB": [digest, digest],
            "no kernel: a loop of Python": [spin, spin],
        }
        for name, cases in pairs.items():
            one, two = together(cases[:1]), together(cases)
            rows.append([name, f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f}"])
        heads = ["", "one thread, /s", "two threads, /s", "times"]
        table(f"Two threads, AES-128-CBC, 64 KiB, {kernel}, {os.cpu_count()} CPUs", heads, rows)


@pytest.mark.kernel("uml", "qemu")
def test_when_it_pays(kernel: str) -> None:
    """The kernel, and a device where there is one, against a library in the same process."""
    with ExitStack() as closing:
        framework = closing.enter_context(Framework(plugins=[opencrypto_openssl]))
        drivers = [AfalgDriver(inline_ns=10**9), AfalgDriver(device=True, inline_ns=10**9)]
        for driver in drivers:
            framework.attach(driver)
        rows = []
        for size in (64, 1024, 4096, 16384, 65536):
            way = Way("cbc", size, closing)
            cases = {
                "openssl": way.framework(
                    framework, framework.newsession(way.inis(), driver="openssl")
                )
            }
            for driver in drivers:
                if not isinstance(driver.capabilities[Alg.AES_CBC].served(), str):
                    sid = framework.newsession(way.inis(), driver=driver.name)
                    cases[driver.name] = way.framework(framework, sid)
            result = compare(cases, rounds=9)
            row = [f"{result.us(case):.1f}" for case in cases]
            row += [f"{result.ratio(case, 'openssl'):.2f}" for case in cases if case != "openssl"]
            rows.append([size_name(size), *row])
        heads = ["", *cases, *(f"{case}, times openssl" for case in cases if case != "openssl")]
        table(f"AES-128-CBC, us, {kernel}", heads, rows)


def spin() -> object:
    """Keep Python's lock."""
    return sum(range(10_000))


def digest() -> object:
    """Let it go, and be in C."""
    return hashlib.sha256(bytes(65536)).digest()


def together(cases: Sequence[Callable[[], object]], seconds: float = 2.0) -> float:
    """Return how often a second these run, each in a thread of its own, all at once."""
    counts = [0] * len(cases)
    start = time.perf_counter()

    def work(at: int) -> None:
        while time.perf_counter() < start + seconds:
            cases[at]()
            counts[at] += 1

    crew = [threading.Thread(target=work, args=(at,)) for at in range(len(cases))]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    return sum(counts) / (time.perf_counter() - start)
