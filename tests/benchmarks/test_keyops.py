"""What a key operation costs through the framework, against the library's own calls."""

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
from Crypto.Math.Numbers import Integer
from Crypto.PublicKey import RSA

import opencrypto_swcrypto
from opencrypto import (
    CRK_MOD_ADD,
    CRK_MOD_EXP,
    CRK_MOD_EXP_CRT,
    CRYPTO_F_CBIMM,
    Cryptkop,
    Framework,
)
from opencrypto_swcrypto import _powers
from tests.benchmarks.measure import compare, table
from tests.support import missing

pytestmark = [pytest.mark.bench, pytest.mark.shared_framework]

PATIENCE = 60.0
ROUNDS = 21


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework([opencrypto_swcrypto], strict=True) as made:
        yield made


@pytest.fixture(scope="module")
def key() -> RSA.RsaKey:
    return RSA.generate(2048)


def inputs_of(key: RSA.RsaKey) -> list[int]:
    """Return the inputs of MOD_EXP_CRT: p, q, I, d mod p-1, d mod q-1, q**-1 mod p."""
    p, q, d = int(key.p), int(key.q), int(key.d)
    return [p, q, int(key.n) // 3, d % (p - 1), d % (q - 1), pow(q, -1, p)]


def bare_crt(p: int, q: int, i: int, dp: int, dq: int, pinv: int) -> int:
    """Make the library's calls by hand, from integers to an integer."""
    one = pow(Integer(i) % p, Integer(dp), Integer(p))
    two = pow(Integer(i) % q, Integer(dq), Integer(q))
    rest = (one + p - two % p) * pinv % p
    return int(two + rest * q)


class Client:
    """Dispatches one request over and over, as a consumer that keeps its parameters."""

    def __init__(self, framework: Framework, krp: Cryptkop) -> None:
        self._framework = framework
        self._event = threading.Semaphore(0)
        krp.callback = lambda krp: self._event.release()
        krp.flags = CRYPTO_F_CBIMM
        self.krp = krp

    def go(self) -> None:
        """Start one operation."""
        self._framework.kdispatch(self.krp)

    def wait(self) -> None:
        """Wait for its end."""
        assert self._event.acquire(timeout=PATIENCE)
        assert not self.krp.status, self.krp.error

    def run(self) -> None:
        """Do one operation."""
        self.go()
        self.wait()


def test_rsa_private_operations(framework: Framework, key: RSA.RsaKey) -> None:
    """Through kdispatch they take about as long as by the library's own calls."""
    crt = inputs_of(key)
    base, exponent, modulus = crt[2], int(key.d), int(key.n)
    by_crt = Client(framework, Cryptkop.of(CRK_MOD_EXP_CRT, crt, [2048]))
    whole = Client(framework, Cryptkop.of(CRK_MOD_EXP, [base, exponent, modulus], [2048]))
    result = compare(
        {
            "MOD_EXP_CRT": by_crt.run,
            "library, by primes": lambda: key._decrypt_to_bytes(base),  # type: ignore[no-untyped-call]  # the library's own, for comparison
            "library, unblinded": lambda: bare_crt(*crt),
            "MOD_EXP": whole.run,
            "library, whole": lambda: int(pow(Integer(base), Integer(exponent), Integer(modulus))),
        },
        ROUNDS,
    )
    assert by_crt.krp.outputs[0].to_int() == whole.krp.outputs[0].to_int()
    rows = []
    for op, bare in (
        ("MOD_EXP_CRT", "library, by primes"),  # it blinds too, and keeps the factor's inverse
        ("MOD_EXP_CRT", "library, unblinded"),
        ("MOD_EXP", "library, whole"),
    ):
        ratio = result.ratio(bare, op)
        rows.append([op, bare, f"{result.us(op):.0f}", f"{result.us(bare):.0f}", f"{ratio:.3f}"])
    heads = ["", "against", "kdispatch, us", "library, us", "ratio"]
    table("RSA-2048, private operation", heads, rows)


def test_the_libraries_for_powers() -> None:
    """One power of each size by pycryptodome and by gmpy2, which is taken only if asked for."""
    if find_spec("gmpy2") is None:
        missing("gmpy2", "pip install 'opencrypto[gmpy2]'")
    by_gmpy2 = _powers.by_gmpy2()
    rows = []
    for bits in (512, 1024, 2048, 3072, 4096):
        modulus = Integer.random(exact_bits=bits) | 1
        base, exponent = Integer.random(exact_bits=bits - 1), Integer.random(exact_bits=bits)
        values = (base, exponent, modulus)
        result = compare(
            {
                "pycryptodome": functools.partial(pow, *values),
                "gmpy2": functools.partial(by_gmpy2, *values),
            },
            5,
        )
        times = [f"{result.us(name):.0f}" for name in ("pycryptodome", "gmpy2")]
        rows.append([f"{bits}", *times, f"{result.ratio('pycryptodome', 'gmpy2'):.2f}"])
    table("A power", ["bits", "pycryptodome, us", "gmpy2, us", "ratio"], rows)


def test_two_at_once(framework: Framework, key: RSA.RsaKey) -> None:
    """Two private operations in flight, against two in a row, where there are two free cores."""
    crt = inputs_of(key)
    clients = [Client(framework, Cryptkop.of(CRK_MOD_EXP_CRT, crt, [2048])) for _ in range(2)]

    def in_a_row() -> None:
        for client in clients:
            client.run()

    def at_once() -> None:
        for client in clients:
            client.go()
        for client in clients:
            client.wait()

    def library(threads: ThreadPoolExecutor) -> None:
        futures = [threads.submit(bare_crt, *crt) for _ in range(2)]
        for future in futures:
            future.result()

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:
        result = compare(
            {
                "in a row": in_a_row,
                "at once": at_once,
                "library, in a row": lambda: library(one),
                "library, at once": lambda: library(two),
            },
            ROUNDS,
        )
    ours = result.ratio("at once", "in a row")
    bare = result.ratio("library, at once", "library, in a row")
    heads = ["", "two in a row, us", "two at once, us", "times quicker"]
    table(
        "RSA-2048 by primes, two cores",
        heads,
        [
            [name, f"{result.us(row):.0f}", f"{result.us(both):.0f}", f"{ratio:.2f}"]
            for name, row, both, ratio in (
                ("kdispatch", "in a row", "at once", ours),
                ("library, threads", "library, in a row", "library, at once", bare),
            )
        ],
    )


def test_a_quick_operation(framework: Framework) -> None:
    """What the framework itself costs for a key request, without a worker: a sum."""
    client = Client(framework, Cryptkop.of(CRK_MOD_ADD, [3, 5, 7], [3]))
    result = compare({"MOD_ADD": client.run})
    table(
        "A key request without arithmetic", ["", "us"], [["MOD_ADD", f"{result.us('MOD_ADD'):.1f}"]]
    )
