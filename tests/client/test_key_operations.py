"""Key operations as calls: numbers in, numbers out, typed errors; waited for, or as futures."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import inspect
import json
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from importlib.resources import files
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as encodings
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import (
    AuthenticationError,
    CryptoError,
    DriverGone,
    DriverTimeout,
    Framework,
    LimitError,
    UsageError,
)
from opencrypto._request import keycall
from opencrypto.aio import AsyncFramework
from opencrypto.driver import KOPS
from tests.client.keycalls import PATIENCE, ways
from tests.core.keys.scripted import Scripted, answer, keep, refuse
from tests.support import examples

pytestmark = pytest.mark.shared_framework

MERSENNE = 2**521 - 1
SOON = 0.05
"""Seconds that an operation gets here of a driver which does not answer."""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework(["swcrypto"], strict=True) as made:
        yield made


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def group() -> dict[str, Any]:
    """The group, the key and a signature of NIST's."""
    found = json.loads(files("opencrypto.testing").joinpath("keyops.json").read_text())["dsa"]
    digest = bytes.fromhex(found.pop("digest"))
    found.pop("source")
    return {"digest": digest, **{name: int(value, 16) for name, value in found.items()}}


def padded(message: bytes, size: int) -> bytes:
    """Encode a message for RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 9.2)."""
    info = bytes.fromhex("3031300d060960864801650304020105000420")
    tail = b"\0" + info + hashlib.sha256(message).digest()
    return b"\0\1" + b"\xff" * (size - 2 - len(tail)) + tail


@ways
def test_a_power_is_pythons(framework: Framework, ask: Ask) -> None:
    """An int for an int; for bytes as many bytes as the modulus has, leading zeros too."""
    expected = pow(7, 65537, MERSENNE)
    assert ask(framework, "modexp", 7, 65537, MERSENNE) == expected
    assert ask(framework, "modexp", b"\x07", 65537, MERSENNE) == expected.to_bytes(66)
    assert ask(framework, "modexp", b"\x01", b"\x05", b"\0\0\x01\x01") == b"\0\x01"


SIMPLE: dict[str, Callable[..., int]] = {
    "modadd": lambda a, b, m: (a + b) % m,
    "modsub": lambda a, b, m: (a - b) % m,
    "modmult": lambda a, b, m: a * b % m,
    "modexp": pow,
    "modaddinv": lambda a, _, m: -a % m,
    "mod": lambda a, _, m: a % m,
}


@pytest.mark.parametrize("name", SIMPLE)
@settings(max_examples=examples(60), deadline=None)
@given(
    a=st.integers(0, 2**300),
    b=st.integers(0, 2**300),
    modulus=st.integers(1, 2**256).map(lambda m: m | 1),
)
def test_arithmetic_is_pythons(
    framework: Framework, name: str, a: int, b: int, modulus: int
) -> None:
    """Whatever the numbers, given as ints or as bytes."""
    expected = SIMPLE[name](a, b, modulus)
    values = (a, modulus) if name in {"modaddinv", "mod"} else (a, b, modulus)
    operation = getattr(framework, name)
    assert operation(*values) == expected
    size = (modulus.bit_length() + 7) // 8
    assert operation(*(value.to_bytes(40) for value in values)) == expected.to_bytes(size)


@ways
def test_an_inverse_is_one_or_is_refused(framework: Framework, ask: Ask) -> None:
    """Two numbers with a common factor have none."""
    assert ask(framework, "modmultinv", 3, 7) == 5
    with pytest.raises(UsageError, match="no inverse"):
        ask(framework, "modmultinv", 2, 4)


@ways
def test_rsa_by_the_primes_signs(
    framework: Framework, rsa_key: rsa.RSAPrivateKey, ask: Ask
) -> None:
    """Another library accepts the signature, which has as many bytes as the modulus."""
    key = rsa_key.private_numbers()
    numbers = (key.p, key.q, key.dmp1, key.dmq1, key.iqmp)
    signature = ask(framework, "rsa_private", padded(b"message", 256), *numbers)
    assert len(signature) == 256
    rsa_key.public_key().verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())
    as_bytes = [number.to_bytes(129) for number in numbers]
    assert ask(framework, "rsa_private", padded(b"message", 256), *as_bytes) == signature
    number = int.from_bytes(padded(b"message", 256))
    assert ask(framework, "rsa_private", number, *numbers) == int.from_bytes(signature)


@ways
def test_dsa_signs_and_verifies(framework: Framework, group: dict[str, Any], ask: Ask) -> None:
    """Either library accepts the other's signature, and NIST's; a changed digest is found out."""
    digest, p, q, g, x, y = (group[name] for name in ("digest", "p", "q", "g", "x", "y"))
    r, s = ask(framework, "dsa_sign", digest, p, q, g, x)
    theirs = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()
    prehashed = encodings.Prehashed(hashes.SHA256())
    theirs.verify(encodings.encode_dss_signature(r, s), digest, prehashed)
    ask(framework, "dsa_verify", digest, p, q, g, y, r, s)
    ask(framework, "dsa_verify", bytearray(digest), p, q, g, y, group["r"], group["s"])
    with pytest.raises(AuthenticationError, match="is not the key's"):
        ask(framework, "dsa_verify", b"\1" + digest[1:], p, q, g, y, r, s)


@ways
def test_two_share_a_secret(framework: Framework, ask: Ask) -> None:
    """Diffie and Hellman in a group of RFC 3526, with the peer in Python."""
    prime = int(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A0879"
        "8E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B"
        "0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA4836"
        "1C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804"
        "F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6"
        "955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
        16,
    )
    private = int.from_bytes(hashlib.sha512(b"a private key").digest())
    theirs = int.from_bytes(hashlib.sha512(b"the peer's").digest())
    public = pow(2, theirs, prime)
    ours = ask(framework, "modexp", 2, private, prime)
    secret = pow(ours, theirs, prime)  # Python's own arithmetic is the peer
    assert ask(framework, "dh", private, public, prime) == secret
    assert ask(framework, "dh", private, public.to_bytes(256), prime) == secret.to_bytes(256)


def test_every_operation_that_is_a_call_has_three_faces() -> None:
    """All of the BSD ones but random bytes, which are no arithmetic."""
    names = {
        "MOD_EXP": "modexp", "MOD_EXP_CRT": "rsa_private", "DSA_SIGN": "dsa_sign",
        "DSA_VERIFY": "dsa_verify", "DH_COMPUTE_KEY": "dh", "MOD_ADD": "modadd",
        "MOD_ADDINV": "modaddinv", "MOD_SUB": "modsub", "MOD_MULT": "modmult",
        "MOD_MULTINV": "modmultinv", "MOD": "mod",
    }  # fmt: skip
    assert set(names) == {facts.name for facts in KOPS.values()} - {"RANDOM"}
    for name in names.values():
        assert callable(getattr(Framework, name))
        assert callable(getattr(Framework, f"submit_{name}"))
        assert inspect.iscoroutinefunction(getattr(AsyncFramework, name))


@ways
@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("modexp", (-3, 5, 7), "base must not be negative"),
        ("modexp", (3, -5, 7), "exp must not be negative"),
        ("modexp", (3, 5, -7), "mod must not be negative"),
        ("modexp", (3, 5, 0), "modulus is 0"),
        ("modexp", ("3", 5, 7), "base must be bytes-like, not str.* an int will do"),
        ("modexp", (3, 5.0, 7), "exp must be bytes-like, not float"),
        ("modadd", (3, None, 7), "b must be bytes-like"),
        ("dsa_sign", (5, 23, 11, 4, 3), "the digest is a number; give its bytes"),
        ("dh", (3, 0, 23), "public key"),
        ("rsa_private", (1000, 11, 13, 3, 7, 6), "not less than p"),
    ],
)
def test_what_is_no_number_is_refused(
    framework: Framework, ask: Ask, name: str, values: tuple[Any, ...], words: str
) -> None:
    """In a sentence that names the argument."""
    with pytest.raises(UsageError, match=words):
        ask(framework, name, *values)


def test_bytes_are_bytes(framework: Framework) -> None:
    """All bytes of a value count, whatever its items."""
    for value in (memoryview(b"\1\2"), bytearray(b"\1\2"), memoryview(array("H", [0x0201]))):
        number: Any = value
        assert framework.modadd(number, 0, 2**16 - 1) == b"\1\2"
        assert framework.modadd(0, number, 2**16 - 1) == 0x0102


@ways
def test_too_long_a_number_is_a_limit(framework: Framework, ask: Ask) -> None:
    """It would take minutes."""
    with pytest.raises(LimitError) as caught:
        ask(framework, "modexp", 3, 5, 2**20000 + 1)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "1", True])
def test_a_timeout_is_a_number_of_seconds(framework: Framework, wrong: Any) -> None:
    with pytest.raises(UsageError, match="timeout is"):
        framework.modexp(3, 5, 7, timeout=wrong)


def scripted(*drivers: Scripted) -> Framework:
    """Make a framework of such drivers."""
    made = Framework(plugins=False)
    for driver in drivers:
        made.attach(driver, selftest=False)
    return made


@ways
def test_the_named_driver_does_it(ask: Ask) -> None:
    """And one that is not attached is an error at once."""
    with scripted(Scripted("one", keep), Scripted("two")) as fw:
        assert fw.mod(5, 8, driver="two") == 7
        assert fw.submit_mod(5, 8, driver="two").result(PATIENCE) == 7
        with pytest.raises(UsageError, match="no driver 'three'"):
            fw.mod(5, 8, driver="three")


@ways
def test_without_a_driver_there_is_an_error(ask: Ask) -> None:
    with scripted() as fw, pytest.raises(DriverGone, match="no driver for MOD_EXP"):
        ask(fw, "modexp", 3, 5, 7)


def test_no_answer_in_time_is_heard_by_who_awaits_it_too() -> None:
    """And a wait that is cancelled drops the answer, which is wiped."""
    driver = Scripted("slow", keep)
    with scripted(driver) as fw:

        async def main() -> None:
            with pytest.raises(DriverTimeout, match="driver slow within") as caught:
                await fw.aio.mod(5, 8, timeout=SOON)
            assert caught.value.drivers == ("slow",)
            task = asyncio.ensure_future(fw.aio.mod(5, 8))
            while len(driver.kept) < 2:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        late = list(driver.kept)
        driver.finish()
        assert all(wiped(krp.param) for krp in late)
        with pytest.raises(UsageError, match="no driver 'nobody'"):
            asyncio.run(fw.aio.mod(5, 8, driver="nobody"))


@pytest.mark.parametrize("behaviour", [keep, refuse])
def test_no_answer_in_time_names_who_had_it(behaviour: Any) -> None:
    """A driver that keeps the request, or that has it in its queue."""
    driver = Scripted("slow", behaviour)
    with scripted(driver) as fw:
        began = time.monotonic()
        with pytest.raises(DriverTimeout, match="driver slow within") as caught:
            fw.mod(5, 8, timeout=SOON)
        assert SOON <= time.monotonic() - began < PATIENCE
        assert caught.value.drivers == ("slow",)
        driver.finish()
        driver.script = [answer]
        fw.unblock(0, 3)


def test_a_driver_that_leaves_hands_its_work_on() -> None:
    """The caller hears nothing of it."""
    first, second = Scripted("first", keep), Scripted("second")
    with scripted(first) as fw:
        future = fw.submit_mod(5, 8)
        assert not future.done()
        fw.attach(second, selftest=False)
        fw.unregister_all(0)
        for krp in first.kept:
            krp.fail(errno.EAGAIN)
            first.kdone(krp)
        assert future.result(PATIENCE) == 7


def test_a_cancelled_future_drops_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The driver's answer is wiped, and harms nobody."""
    driver = Scripted("slow", keep)
    with scripted(driver) as fw:
        future = fw.submit_mod(5, 8)
        assert future.cancel()
        krp = driver.kept[0]
        driver.finish()
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
        assert wiped(krp.outputs)
        assert fw.sysctl["opencrypto.stats.callback_errors"] == 0
    assert not caplog.text


def wiped(parameters: Any) -> bool:
    return all(not any(bytes(parameter.p)) for parameter in parameters)


def test_nothing_is_left_of_what_was_secret() -> None:
    """Neither of the numbers given nor of the result, answered in time or too late."""
    driver = Scripted("slow", keep)
    with scripted(driver) as fw:
        future = fw.submit_modexp(5, 2**70, 2**80 + 1)
        given = driver.kept[0]
        assert not wiped(given.inputs)
        driver.finish()
        assert future.result(PATIENCE) == 7
        assert wiped(given.param)
        with pytest.raises(DriverTimeout):
            fw.modexp(5, 3, 11, timeout=SOON)
        late = driver.kept[0]
        driver.finish()
        assert wiped(late.param)
        unheard = keycall.modexp(5, 3, 11)
        unheard.abandon()
        assert wiped(unheard.krp.param)
        with pytest.raises(UsageError):
            fw.mod(5, 8, driver="nobody")


def test_errors_and_calls_show_no_number(framework: Framework) -> None:
    """A secret exponent is in no repr and no message."""
    secret = 0x5EC12E75EC12E75EC12E75EC12E7
    call = keycall.modexp(3, secret, 2**128 + 1)
    assert str(secret) not in repr(call) + repr(call.krp) + repr(call.krp.param)
    with pytest.raises(CryptoError) as caught:
        framework.modexp(3, secret, 0)
    assert str(secret) not in str(caught.value)


def test_secrets_are_as_wide_as_their_group() -> None:
    """An exponent's length would show; a public one, as 65537, is left as it is."""
    wide = keycall.modexp(3, 2**70, 2**256 - 1).krp.param
    assert [each.nbits for each in wide] == [256, 256, 256, 256]
    assert keycall.modexp(3, 65537, 2**256 - 1).krp.param[1].nbits == 17
    assert keycall.dsa_sign(b"x", 23, 2**160 - 1, 4, 3).krp.param[4].nbits == 160
    assert keycall.dh(3, 5, 2**192 - 1).krp.param[0].nbits == 192


def test_a_digest_is_the_one_that_was_given(group: dict[str, Any]) -> None:
    """Whoever writes into his buffer afterwards changes nothing."""
    digest = bytearray(group["digest"])
    call = keycall.dsa_sign(digest, group["p"], group["q"], group["g"], group["x"])
    digest[:] = bytes(len(digest))
    assert call.krp.param[0].to_bytes() == group["digest"]
