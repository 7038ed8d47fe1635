"""Programs of any calls, on a real kernel's sockets and on ours at once: the same answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import Framework
from opencrypto_algsocket import AlgSocket, authenc_key
from tests.consumers.algsocket import pairs
from tests.consumers.algsocket.pairs import Call

pytestmark = pytest.mark.kernel

EXAMPLES = int(os.environ.get("OPENCRYPTO_ALG_EXAMPLES", "60"))
"""How many programs of each kind, of up to 16 calls; ``make algsocket`` has 2500."""


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    """Everything but the kernel's own driver: what answers here is somebody else's code."""
    with Framework(["openssl", "swcrypto"]) as framework:
        yield framework


any_program = settings(
    max_examples=EXAMPLES,
    derandomize="OPENCRYPTO_ALG_EXAMPLES" not in os.environ,  # the suite says the same each time
    deadline=timedelta(seconds=30),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

which = st.integers(1, 3)
bits = st.booleans()

HASHES = ["sha256", "sha1", "md5", "sha512", "hmac(sha256)", "hmac(sha1)", "cmac(aes)", "xcbc(aes)"]
KEYS = {16: [0, 1, 15, 16, 17], 0: [0, 1, 20, 64, 65, 200]}


def keys(name: str) -> st.SearchStrategy[bytes]:
    lengths = KEYS[0] if "hmac" in name else KEYS[16]
    return st.sampled_from(lengths).map(lambda n: bytes(range(n)))


data = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([0, 16, 63, 64, 65, 512, 4096, 5000]).map(
        lambda n: bytes(n % 251 for n in range(n))
    ),
)


def hash_calls(name: str) -> st.SearchStrategy[list[Call]]:
    calls = st.one_of(
        st.builds(pairs.send, which, data, more=bits),
        st.builds(pairs.send, which, data, more=bits),
        st.builds(pairs.recv, which, st.sampled_from([0, 1, 16, 20, 32, 64, 200])),
        st.builds(lambda w, n: Call("recvmsg", w, (n,)), which, st.sampled_from([4, 32, 64])),
        st.builds(pairs.accept, st.integers(0, 3)),
        st.builds(pairs.key, keys(name)),
    )
    return st.lists(calls, max_size=14)


@any_program
@given(st.data(), st.sampled_from(HASHES))
def test_hash(framework: Framework, draw: st.DataObject, name: str) -> None:
    program = [pairs.bind("hash", name)]
    if draw.draw(bits):
        program.append(pairs.key(draw.draw(keys(name))))
    program.append(pairs.accept())
    pairs.compare(framework, program + draw.draw(hash_calls(name)))


CIPHERS = {
    "cbc(aes)": (16, [16, 24, 32]),
    "ctr(aes)": (16, [16, 24, 32]),
    "ecb(aes)": (0, [16, 24, 32]),
    "cbc(des3_ede)": (8, [24]),
    "rfc3686(ctr(aes))": (8, [20, 28, 36]),
    "xts(aes)": (16, [32, 64]),
}

whole = st.sampled_from([0, 16, 32, 48, 64, 512, 4096]).map(
    lambda n: bytes(i % 253 for i in range(n))
)
ragged = st.sampled_from([1, 15, 17, 20, 33, 100]).map(lambda n: bytes(i % 249 for i in range(n)))


def ivs(length: int) -> st.SearchStrategy[bytes]:
    exact = st.binary(min_size=length, max_size=length)
    return st.one_of(exact, exact, exact, exact, st.binary(max_size=20))


@any_program
@given(st.data(), st.sampled_from(sorted(CIPHERS)))
def test_skcipher(framework: Framework, draw: st.DataObject, name: str) -> None:
    ivlen, lengths = CIPHERS[name]
    streamed = name != "xts(aes)"  # which takes a message in one read: see the page
    chained = name not in ("ctr(aes)", "rfc3686(ctr(aes))", "xts(aes)")
    pieces = st.lists(whole if not chained else st.one_of(whole, whole, ragged), max_size=2)
    calls = st.one_of(
        st.builds(
            pairs.message,
            which,
            pieces,
            op=st.sampled_from([0, 1, 1, 2]),
            iv=ivs(ivlen) if ivlen else st.none(),
            more=bits if streamed else st.just(False),
        ),
        st.builds(pairs.send, which, whole, more=bits) if chained else st.nothing(),
        st.builds(
            pairs.recv,
            which,
            st.sampled_from([pairs.MOST, 16, 32, 20, 0]) if streamed else st.just(pairs.MOST),
        ),
        st.builds(pairs.accept, st.sampled_from([0, 0, 1])),
        st.builds(pairs.key, st.sampled_from([*lengths, 7]).map(lambda n: bytes(range(1, n + 1)))),
    )
    program = [pairs.bind("skcipher", name)]
    if draw.draw(st.sampled_from([True, True, True, False])):
        program.append(pairs.key(bytes(range(lengths[0]))))
    program.append(pairs.accept())
    pairs.compare(framework, program + draw.draw(st.lists(calls, max_size=14)))


AEADS = {
    "gcm(aes)": (12, 16, bytes(range(16))),
    "rfc4106(gcm(aes))": (8, 16, bytes(range(20))),
    "rfc7539(chacha20,poly1305)": (12, 16, bytes(range(32))),
    "authenc(hmac(sha1),cbc(aes))": (16, 20, authenc_key(bytes(range(16)), bytes(range(20)))),
    "authenc(hmac(sha256),cbc(aes))": (16, 32, authenc_key(bytes(range(32)), bytes(range(32)))),
}


@any_program
@given(st.data(), st.sampled_from(sorted(AEADS)))
def test_aead(framework: Framework, draw: st.DataObject, name: str) -> None:
    """Sealed messages are what both answered before, whole or damaged."""
    ivlen, most, given_key = AEADS[name]
    iv = bytes(range(ivlen))
    aad = draw.draw(st.sampled_from([0, 8, 16, 20] if "4106" not in name else [8, 16, 20]))
    text = draw.draw(st.sampled_from([0, 16, 32, 64, 4096]))
    tag = draw.draw(st.sampled_from([most, most, 12, 8, 4, 1, 17]))
    program = [pairs.bind("aead", name)]
    program += draw.draw(st.permutations([pairs.key(given_key), pairs.tag(tag)]))
    program.append(pairs.accept())
    message = bytes(i % 241 for i in range(aad + text))
    if aad and "4106" in name:
        message = message[: aad - 8] + iv + message[aad:]
    split = draw.draw(st.integers(0, len(message)))
    program.append(pairs.message(1, [message[:split]], op=1, iv=iv, assoclen=aad, more=True))
    program += draw.draw(st.lists(st.builds(pairs.recv, st.just(1)), max_size=1))
    program += [pairs.send(1, message[split:]), pairs.recv(1)]
    pairs.compare(framework, program)
    ours = pairs.Side(lambda: AlgSocket(framework=framework))
    try:
        sealed = [ours.call(call) for call in program][-1][1]
    finally:
        ours.close()
    if not isinstance(sealed, bytes):
        return
    damaged = bytearray(sealed)
    at = draw.draw(st.integers(0, max(0, len(sealed) - 1)))
    if sealed and draw.draw(bits):
        damaged[at] ^= 1
    program.append(pairs.message(1, [bytes(damaged)], op=0, iv=iv, assoclen=aad))
    program += [pairs.recv(1), pairs.recv(1)]
    short = draw.draw(st.integers(0, 3))
    program += [pairs.message(1, [sealed[:short]], op=0, iv=iv, assoclen=aad), pairs.recv(1)]
    pairs.compare(framework, program)


@any_program
@given(st.data(), st.sampled_from(["stdrng", "drbg_nopr_hmac_sha512", "jitterentropy_rng", "none"]))
def test_rng(framework: Framework, draw: st.DataObject, name: str) -> None:
    """Of random bytes, how many there are."""
    calls = st.one_of(
        st.builds(pairs.recv, which, st.sampled_from([0, 1, 127, 128, 129, 1000])),
        st.builds(pairs.send, which, data),
        st.builds(pairs.accept, st.integers(0, 2)),
        st.builds(pairs.key, st.binary(max_size=40)),
    )
    program = [pairs.bind("rng", name), pairs.accept(), *draw.draw(st.lists(calls, max_size=8))]
    theirs = pairs.Side(pairs.kernels)
    ours = pairs.Side(lambda: AlgSocket(framework=framework))
    try:
        for call in program:
            wanted, got = theirs.call(call), ours.call(call)
            if name == "jitterentropy_rng" and call.name == "bind":
                assert got == ("errno", "ENOENT")
                return
            if call.name == "recv" and wanted[0] == got[0] == "answer":
                assert isinstance(wanted[1], bytes)
                assert isinstance(got[1], bytes)
                assert len(wanted[1]) == len(got[1])
            else:
                assert got == wanted, (call, program)
    finally:
        theirs.close()
        ours.close()
