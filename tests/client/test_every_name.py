"""Every name there is, through a `Session`, against code that shares none with the driver."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import (
    Alg,
    AuthenticationError,
    Cryptoini,
    Framework,
    NoDriverError,
    OperationError,
    Profile,
    UsageError,
)
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind, Named, algorithm, chain_name, named
from tests.drivers.independent import DEFINITION, IMPLEMENTATIONS, Implementation
from tests.drivers.rig import NAMES, attached, make_driver
from tests.drivers.test_every_algorithm import independent

pytestmark = [pytest.mark.slow, pytest.mark.shared_framework]

ANYTHING = Profile(weak_auth=True, weak_keys=True)
"""Every name is tried, those of authenticators that hardly authenticate too."""


def others(driver: str, alg: Alg) -> list[Implementation]:
    """Return who else has an algorithm without a process for each answer, strangers if any are."""
    for found in (independent(driver, alg), IMPLEMENTATIONS[alg]):
        quick = [each for each in found if not each.how.startswith("openssl")]
        if quick:
            return quick
    return []


SOME = frozenset({1, 5, 16, 20, 32, 64, 65, 131})
"""Lengths of key, in bytes, where there are many."""


class Case(NamedTuple):
    """A name, a driver that has it, a key's length that goes with both, and who else knows it."""

    entry: Named
    driver: str
    keylen: int
    other: Implementation


def cases() -> Iterator[Case]:
    """Yield all that there are; a name without limits has some lengths of key."""
    for driver in NAMES:
        capabilities = make_driver(driver).capabilities
        for entry in named():
            if entry.alg not in capabilities:
                continue
            lengths = SOME if entry.keys is None or len(entry.keys) > 6 else entry.keys
            for length in sorted(lengths & (entry.keys or SOME)):
                for other in others(driver, entry.alg):
                    cri = Cryptoini(entry, bytes(range(length)))
                    if other.takes(length) and not capabilities[entry.alg].refusal(cri):
                        yield Case(entry, driver, length, other)


CASES = list(cases())
CIPHERS = [case for case in CASES if FACTS[case.entry.alg].kind is Kind.CIPHER]
AEADS = [case for case in CASES if FACTS[case.entry.alg].kind is Kind.AEAD]
MACS = [case for case in CASES if FACTS[case.entry.alg].kind in (Kind.MAC, Kind.HASH)]
COMPRESSIONS = {entry.name for entry in named() if FACTS[entry.alg].kind is Kind.COMP}


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


def test_no_name_is_left_out() -> None:
    """Compression, which is one of many right answers, has tests of its own."""
    tried = {case.entry.name for case in (*CIPHERS, *AEADS, *MACS)}
    assert tried == {entry.name for entry in named()} - COMPRESSIONS
    assert len(COMPRESSIONS) == 3


examples = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def spelt(draw: st.DrawFn, entry: Named) -> str:
    """Draw one of a name's spellings, in letters of any size."""
    spelling = draw(st.sampled_from((entry.name, *entry.aliases)))
    return draw(st.sampled_from((spelling, spelling.lower(), spelling.upper())))


def random_key(draw: st.DataObject, length: int) -> bytes:
    """Draw a key without a pattern, which some libraries would refuse."""
    return random.Random(draw.draw(st.integers(0, 1 << 32))).randbytes(length)


def nearly(data: bytes, draw: st.DataObject) -> bytes:
    """Draw the same with one bit changed."""
    at = draw.draw(st.integers(0, 8 * len(data) - 1))
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


@examples
@given(st.data())
def test_ciphers(framework: Framework, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CIPHERS))
    facts = FACTS[case.entry.alg]
    key = random_key(data, case.keylen)
    name = data.draw(spelt(case.entry))
    granule = facts.granule
    plain = data.draw(st.binary(max_size=600).map(lambda d: d[: len(d) - len(d) % granule]))
    ivlen = facts.ivlen(case.keylen)
    iv = data.draw(st.binary(min_size=ivlen, max_size=ivlen))
    given = key if case.entry.takes_key else None
    with framework.session(name, given, driver=case.driver, profile=ANYTHING) as session:
        sealed = session.encrypt(plain, iv=iv or None)
        assert (sealed.iv, sealed.mac) == (iv, b"")
        assert sealed.data == case.other.run(key, iv, b"", plain)[0]
        assert session.decrypt(sealed) == plain
        fresh = session.encrypt(plain)
        assert fresh.data == case.other.run(key, fresh.iv, b"", plain)[0]


@examples
@given(st.data())
def test_authenticated_ciphers(framework: Framework, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(AEADS))
    facts, entry = FACTS[case.entry.alg], case.entry
    name = data.draw(spelt(entry))
    tags = sorted(FACTS[min(AEAD_PARTNERS[entry.alg])].macs)
    mlen = data.draw(st.sampled_from([entry.mlen, *(n for n in tags if n <= entry.mlen)]))
    shortened = mlen != entry.mlen and algorithm(name).mlen == 16 and not name[-1].isdigit()
    if shortened:
        name += f"-{8 * mlen}"
    else:
        mlen = entry.mlen
    key = random_key(data, case.keylen)
    plain = b"" if facts.name == "AES_GMAC" else data.draw(st.binary(max_size=600))
    aad = data.draw(st.binary(max_size=64))
    ivlen = facts.ivlen(case.keylen)
    iv = data.draw(st.binary(min_size=ivlen, max_size=ivlen))
    wanted, tag = case.other.run(key, iv, aad, plain)
    if facts.name.startswith("AES_CCM") and mlen != 16:
        return  # of which the length is in what is authenticated
    with framework.session(name, key, driver=case.driver, profile=ANYTHING) as session:
        sealed = session.encrypt(plain, iv=iv or None, aad=aad)
        assert (sealed.iv, sealed.data, sealed.mac) == (iv, wanted, tag[:mlen])
        assert session.decrypt(sealed, aad=aad) == plain
        token = session.seal(plain, aad=aad, iv=iv or None)
        assert token == iv + wanted + tag[:mlen]
        assert session.open(token, aad=aad) == plain
        with pytest.raises(AuthenticationError):
            session.open(nearly(token, data), aad=aad)
        with pytest.raises(AuthenticationError):
            session.decrypt(sealed._replace(mac=nearly(sealed.mac, data)), aad=aad)
        if plain:
            with pytest.raises(AuthenticationError):
                session.decrypt(sealed._replace(data=nearly(sealed.data, data)), aad=aad)


@examples
@given(st.data())
def test_authenticators_and_digests(framework: Framework, data: st.DataObject) -> None:
    """By name the whole length, with a number of bits behind it so many, by number BSD's."""
    case = data.draw(st.sampled_from(MACS))
    entry, facts = case.entry, FACTS[case.entry.alg]
    key = random_key(data, case.keylen)
    text = data.draw(st.binary(max_size=600))
    name, length = data.draw(spelt(entry)), entry.mlen
    way = data.draw(st.sampled_from(("name", "bits", "number", "constant")))
    made: str | int = name
    if way == "bits" and entry.mlen == facts.digest:
        length = data.draw(st.integers(1, entry.mlen))
        made = f"{name}-{8 * length}"
    elif way == "number":
        made, length = int(entry.alg), facts.mac
    elif way == "constant":
        made, length = facts.name, facts.mac
    whole = case.other.run(key, b"", b"", text)[1]
    with framework.session(made, key or None, driver=case.driver, profile=ANYTHING) as session:
        mac = session.mac(text)
        assert mac == whole[:length]
        session.verify(text, mac)
        if case.other.code != DEFINITION:
            with pytest.raises(OperationError):
                session.verify(text, nearly(mac, data))
    if made in (facts.name, facts.alg):
        assert algorithm(chain_name(Cryptoini(made, key or None))).mlen == facts.mac


@examples
@given(st.data())
def test_a_cipher_and_an_authenticator(framework: Framework, data: st.DataObject) -> None:
    """Encrypt-then-MAC over additional data, IV, ciphertext, and how long the first is."""
    cipher = data.draw(st.sampled_from([c for c in CIPHERS if c.entry.takes_key]))
    mac = data.draw(st.sampled_from([m for m in MACS if m.driver == cipher.driver]))
    keys = tuple(random_key(data, c.keylen) for c in (cipher, mac) if c.entry.takes_key)
    keyed = mac.entry.takes_key
    name = f"{data.draw(spelt(cipher.entry))}+{data.draw(spelt(mac.entry))}"
    granule = FACTS[cipher.entry.alg].granule
    plain = data.draw(st.binary(max_size=300).map(lambda d: d[: len(d) - len(d) % granule]))
    aad = data.draw(st.binary(max_size=40)) if keyed else b""
    with framework.session(name, keys, driver=cipher.driver, profile=ANYTHING) as session:
        sealed = session.encrypt(plain, aad=aad)
        assert sealed.data == cipher.other.run(keys[0], sealed.iv, b"", plain)[0]
        covered = aad + sealed.iv + sealed.data + (8 * len(aad)).to_bytes(8)
        whole = mac.other.run(keys[1] if keyed else b"", b"", b"", covered)[1]
        assert sealed.mac == whole[: mac.entry.mlen]
        assert session.decrypt(sealed, aad=aad) == plain
        assert session.open(session.seal(plain, aad=aad), aad=aad) == plain


WHOLE_ONLY = {"AES_XTS", "AES_CCM_16", "AES_SIV", "AES_GMAC"}
"""What is not taken in pieces, or has no message."""


def cut(data: st.DataObject, text: bytes, pieces: int = 6) -> list[bytes]:
    """Draw places where a text is cut; pieces may be empty."""
    places = st.lists(st.integers(0, len(text)), max_size=pieces)
    at = [0, *sorted(data.draw(places)), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(at)]


@examples
@given(st.data())
def test_messages_in_pieces(framework: Framework, data: st.DataObject) -> None:
    """However a message is cut, the pieces come to what the whole does."""
    case = data.draw(st.sampled_from([*CIPHERS, *AEADS, *MACS]))
    entry, facts = case.entry, FACTS[case.entry.alg]
    key = random_key(data, case.keylen)
    plain = data.draw(st.binary(max_size=900))
    plain = plain[: len(plain) - len(plain) % facts.granule]
    ivlen = facts.ivlen(case.keylen)
    iv, aad = random_key(data, ivlen), b"aad" if facts.kind is Kind.AEAD else b""
    given = key if entry.takes_key else None
    with framework.session(entry.name, given, driver=case.driver, profile=ANYTHING) as session:
        if facts.name in WHOLE_ONLY:
            refused = pytest.raises((UsageError, NoDriverError))
            with refused, session.encryptor(iv=iv or None) as stream:
                stream.update(plain or bytes(16))
            return
        wanted, whole = case.other.run(key, iv, aad, plain)
        if facts.kind in (Kind.MAC, Kind.HASH):
            with session.hasher() as hasher:
                for piece in cut(data, plain):
                    hasher.update(piece)
                assert hasher.digest() == whole[: entry.mlen]
            return
        with session.encryptor(iv=iv or None, aad=aad) as stream:
            coded = b"".join(map(stream.update, cut(data, plain))) + stream.finalize()
            assert coded == wanted
            tag = stream.tag[: entry.mlen] if aad else None
            assert tag is None or tag == whole[: entry.mlen]
        with session.decryptor(iv, aad=aad, unverified=True) as back:
            clear = b"".join(map(back.update, cut(data, coded)))
            assert clear + back.finalize(*[tag] * (tag is not None)) == plain
