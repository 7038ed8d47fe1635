"""DSA: nonces that are never used twice and as likely each; domains and keys that are none."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from itertools import islice
from types import ModuleType

import pytest
from Crypto.Hash import SHA256, SHA512
from Crypto.Math.Numbers import Integer
from Crypto.PublicKey import DSA
from Crypto.Signature import DSS

from opencrypto import Cryptkop, Kop
from opencrypto.testing._key_samples import is_signature, published
from opencrypto_swcrypto._dsa import nonces
from opencrypto_swcrypto._key_engine import compute
from tests.core.keys.powers import require_trusted
from tests.drivers.swcrypto.test_rsa import status_of
from tests.support import examples

require_trusted()

DOMAIN = published()["dsa"]
P, Q, G, X, Y = (DOMAIN[name] for name in "pqgxy")
DIGEST: bytes = DOMAIN["digest"]


def sign(digest: bytes, x: int = X) -> tuple[int, int]:
    """Sign with the published key, or another of its domain."""
    krp = Cryptkop.of(Kop.DSA_SIGN, [digest, P, Q, G, x], [256, 256])
    compute(krp)
    r, s = (output.to_int() for output in krp.outputs)
    return r, s


def test_a_generator_that_repeats_itself_repeats_no_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's state that is cloned: each digest has a nonce of its own all the same."""
    monkeypatch.setattr(os, "urandom", lambda size: b"\x01" * size)
    rs = [sign(hashlib.sha256(bytes([n])).digest())[0] for n in range(8)]
    assert len(set(rs)) == len(rs)
    assert sign(DIGEST, X)[0] != sign(DIGEST, X - 1)[0]


def test_one_digest_has_another_nonce_each_time() -> None:
    """So that a fault gives no two signatures of one nonce, a right one and a wrong one."""
    signatures = {sign(DIGEST) for _ in range(4)}
    assert len({r for r, _ in signatures}) == 4
    assert all(is_signature(*each) for each in signatures)


@pytest.mark.parametrize(("hash_name", "hashed"), [("sha256", SHA256), ("sha512", SHA512)])
def test_without_fresh_bytes_they_are_those_of_rfc_6979(hash_name: str, hashed: ModuleType) -> None:
    """r is what another library's deterministic signature has."""
    key = DSA.construct((Y, G, P, Q, X))
    signer = DSS.new(key, "deterministic-rfc6979")
    for message in (b"sample", b"test", b""):
        digest = hashlib.new(hash_name, message).digest()
        theirs = signer.sign(hashed.new(message))
        nonce = next(nonces(Integer(X), digest, Q, b"", hash_name))
        assert pow(G, int(nonce), P) % Q == int.from_bytes(theirs[:32])


@pytest.mark.parametrize("q", [11, 13, 251, 257, 2**13 - 1, 2**89 - 1])
def test_every_nonce_is_as_likely_and_as_wide(q: int) -> None:
    """From 1 to q - 1, no leading bit favoured; as wide as q, whatever the value."""
    many = examples(4000)
    drawn = list(islice(nonces(Integer(5), b"digest", q, b"fresh"), many))
    assert {each._bits for each in drawn} == {q.bit_length()}  # type: ignore[attr-defined]  # its width, which is looked at
    values = [int(each) for each in drawn]
    assert min(values) >= 1
    assert max(values) < q
    upper = sum(value > q // 2 for value in values)
    assert abs(upper - many / 2) < 5 * (many / 4) ** 0.5
    if q < 20:
        assert set(Counter(values)) == set(range(1, q))


BAD = [
    ({"y": 1}, "y is not between"),
    ({"y": P - 1}, "y is not between"),
    ({"y": P + 1}, "y is not between"),
    ({"y": 0}, "y is not between"),
    ({"y": Y + 1}, "y is not in the subgroup"),
    ({"g": P - 1}, "g is not between"),
    ({"g": 1}, "g is not between"),
    ({"g": 2}, "g is not of the order q"),
    ({"p": P + 2 * Q}, "g is not of the order q"),
    ({"q": Q + 2}, "does not divide"),
]


@pytest.mark.parametrize(
    ("bad", "word"), BAD, ids=[f"{'-'.join(bad)}{n}" for n, (bad, _) in enumerate(BAD)]
)
def test_what_is_no_public_key_verifies_nothing(bad: dict[str, int], word: str) -> None:
    """Of a y of a small order anybody makes signatures; of a wrong g they give the key away."""
    parts = {**DOMAIN, **bad}
    inputs = [parts[name] for name in ("digest", "p", "q", "g", "y", "r", "s")]
    krp = Cryptkop.of(Kop.DSA_VERIFY, inputs)
    status, sentence = status_of(krp)
    assert (status, word in sentence) == (errno.EINVAL, True), sentence
    assert krp.verdict is None


def test_a_y_of_order_two_forges_nothing() -> None:
    """p - 1 to an even power is 1: r of g alone, and any s, would be a signature by nobody."""
    z = int.from_bytes(DIGEST)
    for s in range(1, 9):
        w = pow(s, -1, Q)
        forged = pow(G, z * w % Q, P) % Q
        inputs = [DIGEST, P, Q, G, P - 1, forged, s]
        krp = Cryptkop.of(Kop.DSA_VERIFY, inputs)
        assert status_of(krp)[0] == errno.EINVAL
        assert krp.verdict is None


def test_composite_domains_sign_nothing() -> None:
    """9 has the order 15 modulo 31, but 15 is no prime; nor are the p of the other two."""
    for p, q, g in ((31, 15, 9), (15, 7, 2), (341, 5, 4)):
        krp = Cryptkop.of(Kop.DSA_SIGN, [b"\5", p, q, g, 2], [16, 16])
        assert status_of(krp)[0] == errno.EINVAL


@pytest.mark.parametrize("x", [0, Q, Q + 1, 2**300])
def test_a_private_key_out_of_range_signs_nothing(x: int) -> None:
    krp = Cryptkop.of(Kop.DSA_SIGN, [DIGEST, P, Q, G, x], [256, 256])
    status, sentence = status_of(krp)
    assert (status, "x is not between" in sentence) == (errno.EINVAL, True)
