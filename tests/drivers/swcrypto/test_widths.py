"""How long a secret takes is a matter of its modulus or group: every secret is made that wide."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import Crypto
import pytest
from Crypto.Math.Numbers import Integer

from opencrypto import Crparam, Cryptkop, Kop, OutputTooSmall
from opencrypto.driver import KOPS
from opencrypto.testing._key_samples import crt, published
from opencrypto_swcrypto import _keymath, _powers
from opencrypto_swcrypto._integers import AS_WIDE_AS, inputs_of, integer, packed
from opencrypto_swcrypto._key_engine import KEYOPS, compute
from tests.core.keys.powers import require_trusted

require_trusted()

PRIME = published()["primes"]["q"]
DSA = published()["dsa"]


def width(value: Integer) -> int:
    """Return the bits that an `Integer` works on, whatever its value."""
    bits: int = value._bits  # type: ignore[attr-defined]  # its width, which is looked at
    return bits


def exponents(monkeypatch: pytest.MonkeyPatch, op: int, inputs: list[int | bytes]) -> list[int]:
    """Return the widths of the exponents that an operation hands to the power."""
    widths: list[int] = []

    def power(base: Integer, exponent: Integer, modulus: Integer) -> Integer:
        widths.append(width(exponent))
        return pow(base, exponent, modulus)

    monkeypatch.setattr(_keymath, "secret_power", power)
    compute(Cryptkop.of(op, inputs, [2048] * len(KOPS[op].outputs)))
    return widths


SECRETS = [2**65 + 1, 2**96 - 3, 2**160 - 47, 2**500 + 9, 2**1000 + 5]


@pytest.mark.parametrize(("op", "place"), [(Kop.MOD_EXP, 1), (Kop.DH_COMPUTE_KEY, 0)])
def test_a_short_secret_exponent_is_as_wide_as_a_long_one(
    monkeypatch: pytest.MonkeyPatch, op: int, place: int
) -> None:
    """Of 66 bits or of a thousand: the power works on as many as the modulus has."""
    for secret in SECRETS:
        inputs: list[int | bytes] = [5, 5, PRIME]
        inputs[place] = secret
        assert exponents(monkeypatch, op, inputs) == [PRIME.bit_length()]


def test_a_nonce_is_as_wide_as_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the digest, and so the nonce."""
    for n in range(20):
        inputs = [bytes([n]) * 32, *(DSA[name] for name in "pqgx")]
        assert exponents(monkeypatch, Kop.DSA_SIGN, inputs) == [DSA["q"].bit_length()]


def test_the_public_exponent_is_not_made_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """65537 is no secret, and at the modulus' width a hundred times as slow."""
    assert exponents(monkeypatch, Kop.MOD_EXP, [5, 65537, PRIME])[0] <= 24
    assert exponents(monkeypatch, Kop.MOD_EXP, [5, 2**64 - 1, PRIME])[0] == 64


def test_halves_are_as_wide_as_their_primes(monkeypatch: pytest.MonkeyPatch) -> None:
    """dp and dq are, and 65537, which blinds and verifies, is short."""
    p, q, *_ = (each for each in crt(5).inputs if isinstance(each, int))
    widths = exponents(monkeypatch, Kop.MOD_EXP_CRT, list(crt(5).inputs))
    assert sorted(widths) == [17, 17, 17, 17, p.bit_length(), q.bit_length()]


def test_each_input_that_may_be_secret_gets_its_width() -> None:
    """0 and 1 become as wide as their modulus; every operation with a modulus is in the table."""
    for op, widths in AS_WIDE_AS.items():
        names = KOPS[op].inputs
        for value in (0, 1):
            inputs = [b"d" if n == "digest" else value if n in widths else 2**400 for n in names]
            made = dict(zip(names, inputs_of(Cryptkop.of(op, inputs)), strict=True))
            for name in widths:
                found = made[name]
                assert isinstance(found, Integer)
                short = (op, name) == (Kop.MOD_EXP, "p")
                assert width(found) == (8 if short else 408), (op, name)
    public = {Kop.DSA_VERIFY, Kop.RANDOM}
    assert AS_WIDE_AS.keys() | public == set(KOPS)


def test_parameters_are_read_by_their_bits() -> None:
    """Bits beyond the last are not read; none at all is 0; gaps are none."""
    assert int(integer(Crparam(b"\xff\xff", 9))) == 0x1FF
    assert int(integer(Crparam(b"", 0))) == 0
    assert int(integer(Crparam(b"\xff", 3), 100)) == 7
    assert width(integer(Crparam(b"\xff", 3), 100)) == 104
    assert int(integer(Crparam(memoryview(bytes(range(9)))[::3], 24))) == 0x060300


def test_results_are_packed_whole() -> None:
    """As many bytes as the output has, and what does not fit by one bit is refused."""
    for value in (0, 1, 255, 256, 2**64 - 1, 2**64):
        result = Integer.from_bytes(value.to_bytes(40))
        for bits in range(80):
            output = Crparam(nbits=bits)
            if value.bit_length() > bits:
                with pytest.raises(OutputTooSmall):
                    packed(result, output)
            else:
                assert packed(result, output) == value.to_bytes(-(-bits // 8), "little")


def test_an_old_library_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 4.0, or without its C, it tells how long an exponent is: the reason says so."""
    assert not _powers.refusal()
    monkeypatch.setattr(Crypto, "version_info", (3, 24, "1"))
    assert "pip install 'pycryptodome>=4.0'" in _powers.refusal()
    monkeypatch.setattr(Crypto, "version_info", (4, 0, 0))
    assert not _powers.refusal()


AGED = """
import Crypto
Crypto.version_info = (3, 20, "0")
Crypto.__version__ = "3.20.0"
"""

ASK = """
from opencrypto import CRK_DSA_SIGN, CRK_RANDOM, Framework
from opencrypto.cli.drivers import drivers
with Framework(plugins=["swcrypto"]) as framework:
    (info,) = framework.drivers
    print(info.keyops, len(info.algorithms) > 30, sorted(dict(info.failed)))
    print(framework.getfeat() == 1 << CRK_RANDOM)
import os

os.environ["OPENCRYPTO_ALLOW"] = "swcrypto"
drivers()
"""


@pytest.mark.parametrize(
    ("before", "variable"), [(AGED, ""), ("", "native")], ids=["3.20", "without C"]
)
def test_what_is_not_trusted_is_not_offered_and_the_operator_sees_why(
    before: str, variable: str
) -> None:
    """Sessions and random bits are there as ever; `opencrypto drivers` names the key operations."""
    environment = {**os.environ, "COLUMNS": "400"}
    if variable:
        environment["PYCRYPTODOME_INTEGER"] = variable
    command = [sys.executable, "-c", before + ASK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, second, *shown = done.stdout.splitlines()
    withheld = sorted(KOPS[op].name for op in KEYOPS - {Kop.RANDOM})
    assert first == f"('RANDOM',) True {withheld}"
    assert second == "True"
    row = next(line for line in shown if "DSA_SIGN" in line)
    assert row.startswith("swcrypto\tMOD_EXP ")
    assert "pip install 'pycryptodome>=4.0'" in " ".join(shown)


def test_no_secret_is_made_of_a_python_number() -> None:
    """In the source: ``Integer(...)`` of what is not public, or 0 or 1, would be as short as it."""
    folder = Path(_keymath.__file__).parent
    for file in ("_rsa.py", "_keymath.py", "_powers.py", "_integers.py", "_dsa.py"):
        for number, line in enumerate((folder / file).read_text().splitlines(), 1):
            if "Integer(" in line and "public=True" not in line:
                fine = "Integer(0)" in line or "Integer(1)" in line or "Integer(_leftmost" in line
                assert fine, f"{file}:{number}: {line.strip()}"
