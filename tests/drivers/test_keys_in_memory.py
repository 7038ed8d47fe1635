"""
Keys are out of a process' memory when their sessions are: it is searched from outside.

A child makes keys that stand nowhere else, byte by byte, uses them in sessions and closes those;
its parent, which can make the same keys, reads all that the child can write to. What may remain is
in docs/security.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opencrypto import Alg
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind
from tests.drivers.rig import BOTH, make_driver

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="this system shows no process' memory"
)

CANARY = '''
def canary(length, number):
    """Make a key that no program text has, and no other memory holds."""
    key, state = bytearray(length), 0x9E3779B9 + 7919 * number
    for at in range(length):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        key[at] = state >> 24
    return key
'''

CHILD = (
    CANARY
    + """
import gc, sys
from opencrypto import Alg, Cryptoini, Framework
from opencrypto.client import Session

driver, ends, *chains = sys.argv[1:]

def use(framework, number, names, length):
    key = canary(length, number)
    session = Session([Cryptoini(Alg[name], key) for name in names], framework=framework)
    key[:] = bytes(length)
    if session._layout.cipher is None:
        session.verify(b"data", session.mac(b"data"))
    else:
        for _ in range(3):
            session.decrypt(session.encrypt(bytes(64)))
    if ends == "closed":
        session.close()
    return session

with Framework(plugins=[driver]) as framework:
    kept = []
    for number, chain in enumerate(chains):
        names, length = chain.split(":")
        kept.append(use(framework, number, names.split("+"), int(length)))
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    for session in kept:
        session.close()
"""
)

canaries: dict[str, object] = {}
exec(CANARY, canaries)  # noqa: S102 - the same text that the child has


def key_of(length: int, number: int) -> bytes:
    return bytes(canaries["canary"](length, number))  # type: ignore[operator]  # out of the text above


def chains_of(driver: str) -> list[str]:
    """Return each algorithm with a key that a driver has, as the child takes it."""
    found = []
    for alg in sorted(make_driver(driver).capabilities):
        facts = FACTS[alg]
        lengths = [32] if facts.keys is None else sorted(facts.keys)
        if facts.kind in (Kind.AEAD_AUTH, Kind.COMP, Kind.HASH) or alg == Alg.AES_GMAC:
            continue
        length = next((each for each in lengths if each >= 16), lengths[-1])
        names = [Alg(alg).name]
        if facts.kind is Kind.AEAD:
            names += [half.name for half in AEAD_PARTNERS[alg] if FACTS[half].key_ok(length)][:1]
        found.append(f"{'+'.join(names)}:{length}")
    return found


def forms(key: bytes) -> dict[str, bytes]:
    """Return what a key looks like: as it is, in a schedule of words, and in the pads of HMAC."""
    key = key[:16]
    words = [key[at : at + 4][::-1] for at in range(0, len(key), 4)]
    return {
        "the key": key,
        "its words": b"".join(words),
        "its inner pad": bytes(byte ^ 0x36 for byte in key),
        "its outer pad": bytes(byte ^ 0x5C for byte in key),
    }


def memory_of(pid: int) -> Iterator[tuple[str, bytes]]:
    """Yield all that a process can write to, with what it is."""
    process = Path(f"/proc/{pid}")
    with (process / "mem").open("rb", 0) as memory:
        for line in (process / "maps").read_text("utf-8").splitlines():
            start, end, rights, what = re.findall(r"^(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)$", line)[0]
            if rights.startswith("rw"):
                memory.seek(int(start, 16))
                try:
                    yield what or "mapped", memory.read(int(end, 16) - int(start, 16))
                except OSError:
                    continue  # such as a device's


@contextmanager
def child(driver: str, ends: str, chains: list[str]) -> Iterator[int]:
    """Have a child use sessions, and keep it as it then is."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, driver, ends, *chains],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(60) == 0


def left_of(driver: str, ends: str, chains: list[str]) -> dict[str, set[tuple[str, str]]]:
    """Return what is left of each chain's key, and in what kind of memory."""
    found: dict[str, set[tuple[str, str]]] = {}
    with child(driver, ends, chains) as pid:
        for what, content in memory_of(pid):
            for number, chain in enumerate(chains):
                length = int(chain.rpartition(":")[2])
                for form, wanted in forms(key_of(length, number)).items():
                    if wanted in content:
                        found.setdefault(chain, set()).add((form, what))
    return found


STACK = {("the key", "[stack]")}
"""What OpenSSL's functions leave of AES keys on the stack, until others use it."""

TRIES = 3
"""What memory the allocator gives is its own choice: once in so many it is to be the right one."""


def nothing_left(driver: str, chains: list[str]) -> bool:
    """Tell whether the keys of closed sessions are gone; what is left is in the test's output."""
    for _ in range(TRIES):
        left = left_of(driver, "closed", chains)
        if driver == "openssl":
            left = {chain: places - STACK for chain, places in left.items() if places - STACK}
        if not left:
            return True
        print(left)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("driver", BOTH)
def test_the_keys_of_sessions_that_are_open_are_found(driver: str) -> None:
    """Else the others here would prove nothing; all of them, one by one."""
    chains = chains_of(driver)
    assert set(left_of(driver, "open", chains)) == set(chains)


@pytest.mark.slow
@pytest.mark.parametrize("driver", BOTH)
def test_no_key_outlives_its_session(driver: str) -> None:
    """A cipher, an authenticated one and a MAC; before they are closed the keys are there."""
    chains = ["AES_CBC:16", "AES_GCM_16+AES_128_GMAC:20", "SHA1_HMAC:20"]
    assert set(left_of(driver, "open", chains)) == set(chains)
    assert nothing_left(driver, chains)


@pytest.mark.slow
@pytest.mark.parametrize("driver", BOTH)
def test_no_key_of_any_algorithm_outlives_its_session(driver: str) -> None:
    """All of them in one process; pycryptodome and OpenSSL underneath."""
    assert nothing_left(driver, chains_of(driver))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("driver", "chain"), [(driver, chain) for driver in BOTH for chain in chains_of(driver)]
)
def test_no_key_outlives_its_session_where_none_follows(driver: str, chain: str) -> None:
    """Each algorithm alone, so that no other session takes the memory of this one."""
    assert nothing_left(driver, [chain])
