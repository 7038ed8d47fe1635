"""Key operations through the framework and the software driver, against `cryptography`."""

import errno
import hashlib
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as encodings

from opencrypto import (
    CRK_DH_COMPUTE_KEY,
    CRK_DSA_SIGN,
    CRK_DSA_VERIFY,
    CRK_MOD_EXP,
    CRK_MOD_EXP_CRT,
    CRK_RANDOM,
    Cryptkop,
    Framework,
)
from tests.core.keys.powers import framework
from tests.core.keys.support import run

pytestmark = pytest.mark.shared_framework

__all__ = ["framework"]


@pytest.fixture(scope="module", params=[2048, pytest.param(4096, marks=pytest.mark.slow)])
def rsa_key(request: pytest.FixtureRequest) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, request.param)


@pytest.fixture(scope="module", params=[1024, pytest.param(2048, marks=pytest.mark.slow)])
def dsa_key(request: pytest.FixtureRequest) -> dsa.DSAPrivateKey:
    """Make a key; that of 1024 bits has a q of 160, shorter than most digests."""
    return dsa.generate_private_key(request.param)


def pkcs1(message: bytes, bits: int) -> int:
    """Encode a message for RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 9.2)."""
    info = bytes.fromhex("3031300d060960864801650304020105000420")
    tail = b"\0" + info + hashlib.sha256(message).digest()
    size = bits // 8
    return int.from_bytes(b"\0\1" + b"\xff" * (size - 2 - len(tail)) + tail)


def test_an_rsa_signature_by_the_whole_exponent_verifies(
    framework: Framework, rsa_key: rsa.RSAPrivateKey
) -> None:
    """MOD_EXP with the private exponent is what another library accepts."""
    numbers = rsa_key.private_numbers()
    n = numbers.public_numbers.n
    bits = rsa_key.key_size
    krp = run(framework, CRK_MOD_EXP, [pkcs1(b"message", bits), numbers.d, n], [bits])
    signature = krp.outputs[0].to_int().to_bytes(bits // 8)
    rsa_key.public_key().verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())


def test_an_rsa_signature_by_its_primes_verifies(
    framework: Framework, rsa_key: rsa.RSAPrivateKey
) -> None:
    """MOD_EXP_CRT takes the parameters in the order p, q, I, d mod p-1, d mod q-1, q**-1 mod p."""
    k, bits = rsa_key.private_numbers(), rsa_key.key_size
    encoded = pkcs1(b"message", bits)
    krp = run(framework, CRK_MOD_EXP_CRT, [k.p, k.q, encoded, k.dmp1, k.dmq1, k.iqmp], [bits])
    signature = krp.outputs[0].to_int().to_bytes(bits // 8)
    rsa_key.public_key().verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())


def test_an_rsa_signature_of_another_library_is_undone(
    framework: Framework, rsa_key: rsa.RSAPrivateKey
) -> None:
    """MOD_EXP with the public exponent gives back what was signed."""
    signature = rsa_key.sign(b"message", padding.PKCS1v15(), hashes.SHA256())
    public = rsa_key.public_key().public_numbers()
    bits = rsa_key.key_size
    krp = run(framework, CRK_MOD_EXP, [int.from_bytes(signature), public.e, public.n], [bits])
    assert krp.outputs[0].to_int() == pkcs1(b"message", bits)


def test_a_dsa_signature_verifies_elsewhere(
    framework: Framework, dsa_key: dsa.DSAPrivateKey
) -> None:
    """DSA_SIGN writes r and s, which another library accepts."""
    digest = hashlib.sha256(b"message").digest()
    x = dsa_key.private_numbers().x
    domain = dsa_key.parameters().parameter_numbers()
    krp = run(framework, CRK_DSA_SIGN, [digest, domain.p, domain.q, domain.g, x], [256, 256])
    r, s = (output.to_int() for output in krp.outputs)
    dsa_key.public_key().verify(
        encodings.encode_dss_signature(r, s), digest, encodings.Prehashed(hashes.SHA256())
    )


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
def test_a_dsa_signature_of_another_library_verifies(
    framework: Framework, dsa_key: dsa.DSAPrivateKey, digest: str
) -> None:
    """DSA_VERIFY takes digests shorter and longer than q, and says no to any other digest."""
    value = hashlib.new(digest, b"message").digest()
    algorithms: dict[str, hashes.HashAlgorithm] = {
        "sha1": hashes.SHA1(),
        "sha256": hashes.SHA256(),
        "sha512": hashes.SHA512(),
    }
    signature = dsa_key.sign(value, encodings.Prehashed(algorithms[digest]))
    r, s = encodings.decode_dss_signature(signature)
    domain = dsa_key.parameters().parameter_numbers()
    y = dsa_key.public_key().public_numbers().y
    for altered, verdict in ((value, True), (bytes([value[0] ^ 1]) + value[1:], False)):
        krp = run(framework, CRK_DSA_VERIFY, [altered, domain.p, domain.q, domain.g, y, r, s])
        assert krp.verdict is verdict


# RFC 3526: 2**n - 2**(n - 64) - 1 + 2**64 * (floor(2**(n - 130) * pi) + k)
GROUPS = {14: (2048, 124476), 15: (3072, 1690314), 16: (4096, 240904)}


def pi_bits(bits: int) -> int:
    """Return floor(2**bits * pi), by Machin's formula."""
    guard = 64
    one = 1 << (bits + guard)

    def arctan_of_inverse(x: int) -> int:
        term = total = one // x
        n, sign = 3, -1
        while term:
            term //= x * x
            total += sign * (term // n)
            n, sign = n + 2, -sign
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> guard


def group(number: int) -> int:
    """Return the prime of a group of RFC 3526."""
    n, k = GROUPS[number]
    return (1 << n) - (1 << (n - 64)) - 1 + (pi_bits(n - 130) + k << 64)


@pytest.mark.filterwarnings("ignore:.*[Dd]iffie-[Hh]ellman.*", "ignore::DeprecationWarning")
@pytest.mark.parametrize("number", GROUPS)
def test_a_dh_secret_is_what_the_other_side_has(framework: Framework, number: int) -> None:
    """DH_COMPUTE_KEY agrees with another library in the MODP groups of IKE."""
    dh = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.dh")
    p = group(number)
    theirs = dh.DHParameterNumbers(p, 2).parameters().generate_private_key()
    their_public = theirs.public_key().public_numbers().y
    private = int.from_bytes(os.urandom(32)) | 1
    public = run(framework, CRK_MOD_EXP, [2, private, p], [p.bit_length()]).outputs[0].to_int()
    krp = run(framework, CRK_DH_COMPUTE_KEY, [private, their_public, p], [p.bit_length()])
    numbers = dh.DHPublicNumbers(public, dh.DHParameterNumbers(p, 2))
    expected = theirs.exchange(numbers.public_key())
    assert krp.outputs[0].to_int() == int.from_bytes(expected)


def test_random_bytes_are_as_many_as_asked_and_never_the_same(framework: Framework) -> None:
    """CRK_RANDOM fills the bits of its output and no others."""
    one = run(framework, CRK_RANDOM, [], [1000]).outputs[0]
    other = run(framework, CRK_RANDOM, [], [1000]).outputs[0]
    assert one.to_int().bit_length() > 900
    assert one.to_int() != other.to_int()
    odd = [run(framework, CRK_RANDOM, [], [3]).outputs[0] for _ in range(50)]
    assert {len(each.to_bytes()) for each in odd} == {1}
    assert max(each.to_bytes()[0] for each in odd) < 8


def test_the_nonce_of_dsa_is_never_the_same(
    framework: Framework, dsa_key: dsa.DSAPrivateKey
) -> None:
    """Two signatures of one digest differ in r; the same nonce twice would give the key away."""
    digest = hashlib.sha256(b"message").digest()
    x = dsa_key.private_numbers().x
    d = dsa_key.parameters().parameter_numbers()
    inputs: list[int | bytes] = [digest, d.p, d.q, d.g, x]
    rs = {run(framework, CRK_DSA_SIGN, inputs, [256, 256]).outputs[0].to_int() for _ in range(5)}
    assert len(rs) == 5


def test_an_output_too_small_is_erange_and_untouched(framework: Framework) -> None:
    """A result that does not fit leaves both outputs of a signature as they were."""
    krp = Cryptkop.of(CRK_MOD_EXP, [5, 3, 1000], [6])
    krp.outputs[0].p = bytearray(b"\xaa")
    run(framework, krp=krp, status=errno.ERANGE)
    assert krp.outputs[0].p == b"\xaa"
    assert "6 bits" in krp.error
