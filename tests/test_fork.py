"""
Locks of the whole tree in a forked child: each of them may have been held by another thread.

They are found by walking: every module, and one of everything that is made of them.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pkgutil
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import opencrypto
import opencrypto_esp
from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA1_HMAC,
    Alg,
    Cryptoini,
    Framework,
)
from opencrypto.client import Session
from opencrypto.driver import WorkerPool
from opencrypto.testing import LateDriver
from opencrypto_afalg.driver import AfalgDriver
from opencrypto_afalg.rng import KernelRng
from opencrypto_esp import Direction, Esp
from tests.consumers.esp.packets import SUITES, ipv4, make_sa
from tests.drivers.afalg.fake import linux_7_2
from tests.toy import Toy, newsession

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

LOCKS = (type(threading.Lock()), type(threading.RLock()))
BUILT = (threading.Event, threading.Condition, threading.Semaphore)
LEFT_OUT = (type, str, bytes, bytearray, int, memoryview, types.ModuleType, types.CodeType)
CHAINS = (
    [(CRYPTO_AES_GCM_16, bytes(16)), (CRYPTO_AES_128_GMAC, bytes(16))],
    [(CRYPTO_AES_CBC, bytes(16))],
    [(CRYPTO_AES_CBC, bytes(16)), (CRYPTO_SHA1_HMAC, bytes(20))],
    [(CRYPTO_AES_CTR, bytes(20))],
    [(CRYPTO_NULL_HMAC, b"")],
)
# Those that are as they must be, and why.
ANYHOW = (
    "._bell", "._manned",  # new; rung, and held by their thread for life, by design
    "().chain._lock",  # a driver's own chain: nobody holds or releases that one
)  # fmt: skip


def parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a container holds, a function closes over, or an object of ours has."""
    if isinstance(thing, Mapping):
        yield from ((f"[{key!r:.40}]", value) for key, value in list(thing.items()))
    elif isinstance(thing, (list, tuple, set, frozenset, deque)):
        yield from (("[]", value) for value in list(thing))
    if isinstance(thing, types.FunctionType):
        for cell in thing.__closure__ or ():
            yield "()", cell.cell_contents
    elif isinstance(thing, types.MethodType):
        yield "()", thing.__self__
    elif isinstance(thing, functools.partial):
        yield from (("()", value) for value in (thing.func, *thing.args))
    elif isinstance(thing, BUILT) or type(thing).__module__.startswith("opencrypto"):
        yield from ((f".{name}", value) for name, value in getattr(thing, "__dict__", {}).items())
        for each in type(thing).__mro__:
            names = each.__dict__.get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                yield f".{name}", getattr(thing, name, None)


def locks(roots: Mapping[str, Any]) -> dict[str, Any]:
    """Return every lock that can be reached, by the way to it."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    left = deque(roots.items())
    while left:
        way, thing = left.popleft()
        if id(thing) in seen or isinstance(thing, LEFT_OUT):
            continue
        seen.add(id(thing))
        if isinstance(thing, LOCKS):
            found[way] = thing
        left.extend((way + name, part) for name, part in parts(thing))
    return found


def modules() -> dict[str, Any]:
    """Import every module of the framework, the drivers and the consumers; return their globals."""
    import opencrypto_afalg
    import opencrypto_null
    import opencrypto_openssl
    import opencrypto_swcrypto

    for package in (
        opencrypto, opencrypto_afalg, opencrypto_esp, opencrypto_null, opencrypto_openssl,
        opencrypto_swcrypto,
    ):  # fmt: skip
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return {
        name: dict(vars(module))
        for name, module in sys.modules.items()
        if name.partition(".")[0].startswith("opencrypto")
    }


@contextmanager
def one_of_everything() -> Iterator[dict[str, Any]]:
    """Give what has been used, and so has all its locks: drivers, sessions, consumers, doubles."""
    afalg = AfalgDriver(kernel=linux_7_2(), algs=[CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC])
    with ExitStack() as stack:
        fw = stack.enter_context(Framework(plugins=["null", "openssl", "swcrypto", afalg]))
        toy = LateDriver("late", threaded=True)
        fw.attach(toy, selftest=False)
        fw.attach(gone := Toy("gone"))
        newsession(fw, driver="gone")
        fw.detach(gone)
        for info in [info for info in fw.drivers if info.hid is not None]:
            for chain in CHAINS:
                if all(Alg(alg).name in info.algorithms for alg, _ in chain):
                    fw.newsession([Cryptoini(*each) for each in chain], driver=info.hid)
        session = stack.enter_context(Session(Cryptoini(CRYPTO_AES_CBC, bytes(16)), framework=fw))
        session.encrypt(bytes(32))
        esp = stack.enter_context(Esp(fw, [make_sa(*SUITES[0], direction=Direction.OUT)]))
        assert esp.protect(ipv4(b"payload")).packet
        pool = WorkerPool("test", lambda: None, size=1)
        stack.callback(pool.close)
        pool.submit(int)
        rng = stack.enter_context(KernelRng(kernel=linux_7_2()))
        yield {
            "afalg": afalg, "esp": esp, "fw": fw, "late": toy, "pool": pool, "rng": rng,
            "session": session,
        }  # fmt: skip


@contextmanager
def held(every: Mapping[str, Any]) -> Iterator[None]:
    """Have another thread hold all locks that are free, and let them go at the end."""
    taken, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        mine = [lock for lock in every.values() if lock.acquire(blocking=False)]
        taken.set()
        let_go.wait(20)
        for lock in reversed(mine):
            lock.release()

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        let_go.set()
        holder.join()


def in_child(ask: Callable[[], Any]) -> Any:
    """Return what a forked child answers."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writes, json.dumps(ask()).encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return json.loads(answer)


def test_no_lock_is_held_in_a_child_by_a_thread_that_did_not_come_along() -> None:
    with one_of_everything() as made:
        roots = modules() | made
        before = locks(roots)
        ways = " ".join(before)
        for part in "fw esp rng late afalg ['DEFAULT'].lock _loudly".split():
            assert part in ways, f"the walk finds {part}"
        assert len(before) > 40

        def stuck() -> list[str]:
            # Modules' globals are looked up anew: the child may have put others in their places.
            return [
                way
                for way, lock in locks(modules() | made).items()
                if not way.endswith(ANYHOW) and not lock.acquire(blocking=False)
            ]

        with held(before):
            found = in_child(stuck)
    assert not found, "\n".join(found)
