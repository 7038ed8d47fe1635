"""Which library does the powers: chosen by the environment, never by what is installed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading

import pytest
from Crypto.Math.Numbers import Integer
from hypothesis import given
from hypothesis import strategies as st

from opencrypto_swcrypto import _powers
from tests.core.keys.powers import require_trusted
from tests.support import examples, missing

require_trusted()

ASK = """
import sys
{before}
from opencrypto import CRK_MOD_EXP, CRYPTO_F_CBIMM, Cryptkop, Framework
import threading
with Framework(plugins=["swcrypto"]) as framework:
    done = threading.Event()
    krp = Cryptkop.of(CRK_MOD_EXP, [7, 65537, 2**521 - 1], [521], lambda krp: done.set())
    framework.kdispatch(krp)
    assert done.wait(10)
    for info in framework.drivers:
        print(info.name, info.hid is not None, info.reason)
    print(krp.status, krp.outputs[0].to_int() == pow(7, 65537, 2**521 - 1))
print("gmpy2" in sys.modules)
"""


def ask(value: str | None, before: str = "") -> list[str]:
    """Return what a program with the variable set so prints of the driver and its answer."""
    environment = {k: v for k, v in os.environ.items() if k != _powers.VARIABLE}
    if value is not None:
        environment[_powers.VARIABLE] = value
    command = [sys.executable, "-c", ASK.format(before=before)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def require_gmpy2() -> None:
    """Skip where gmpy2 is missing; in CI, fail."""
    try:
        importlib.import_module("gmpy2")
    except ModuleNotFoundError:
        missing("gmpy2", "pip install 'opencrypto[gmpy2]'")


@pytest.mark.parametrize(
    "value",
    [None, *(pytest.param(value, marks=pytest.mark.slow) for value in ("", "pycryptodome"))],
)
def test_nobody_asks_for_gmpy2(value: str | None) -> None:
    """Installed or not, it is not even imported."""
    assert ask(value)[-2:] == ["0 True", "False"]


def test_somebody_asks_for_gmpy2() -> None:
    """Then it is what does the powers."""
    require_gmpy2()
    assert ask("gmpy2")[-2:] == ["0 True", "True"]


def test_it_is_asked_for_and_not_there() -> None:
    """The driver is not offered, and says what to install; nothing else is done in its place."""
    lines = ask("gmpy2", "sys.modules['gmpy2'] = None")
    assert any("pip install 'gmpy2>=2.1'" in line for line in lines)
    assert lines[-2].startswith("19 ")


@pytest.mark.slow
def test_something_else_is_asked_for() -> None:
    """A misspelt name is told, not ignored."""
    lines = ask("gmp")
    assert any("say pycryptodome or gmpy2" in line for line in lines)


@given(st.integers(0, 2**300), st.integers(0, 2**300), st.integers(1, 2**299))
def test_gmpy2_gives_what_python_gives(base: int, exponent: int, half: int) -> None:
    """For any odd modulus above 1 and any exponent, 0 and 1 among them."""
    require_gmpy2()
    modulus = 2 * half + 1
    for p in (exponent, 0, 1, modulus - 1):
        result = _powers.by_gmpy2()(Integer(base), Integer(p), Integer(modulus))
        assert int(result) == pow(base, p, modulus)


def test_gmpy2_serves_many_threads() -> None:
    """It works without the GIL, so each thread has a context of its own."""
    require_gmpy2()
    power = _powers.by_gmpy2()
    modulus = 2**1279 - 1
    wrong: list[int] = []

    def work(base: int) -> None:
        for exponent in range(base, base + examples(20)):
            result = power(Integer(base), Integer(3**400 + exponent), Integer(modulus))
            if int(result) != pow(base, 3**400 + exponent, modulus):
                wrong.append(exponent)

    threads = [threading.Thread(target=work, args=(base,)) for base in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
