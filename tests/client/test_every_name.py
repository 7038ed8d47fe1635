"""Every name there is, through a `Session`, against code that shares none with the driver."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import Alg, AuthenticationError, Cryptoini, Framework, OperationError, Profile
from opencrypto.client import Session
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind, Named, algorithm, chain, chain_name, named
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
    with Session(
        chain(name, key if case.entry.takes_key else None),
        framework=framework, driver=case.driver, profile=ANYTHING,
    ) as session:  # fmt: skip
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
    with Session(
        Cryptoini(name, key), framework=framework, driver=case.driver, profile=ANYTHING
    ) as session:
        sealed = session.encrypt(plain, iv=iv or None, aad=aad)
        assert (sealed.iv, sealed.data, sealed.mac) == (iv, wanted, tag[:mlen])
        assert session.decrypt(sealed, aad=aad) == plain
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
    cri = Cryptoini(made, key or None)
    whole = case.other.run(key, b"", b"", text)[1]
    with Session(cri, framework=framework, driver=case.driver, profile=ANYTHING) as session:
        mac = session.mac(text)
        assert mac == whole[:length]
        session.verify(text, mac)
        if case.other.code != DEFINITION:
            with pytest.raises(OperationError):
                session.verify(text, nearly(mac, data))
    if made in (facts.name, facts.alg):
        assert algorithm(chain_name(cri)).mlen == facts.mac


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
    with Session(
        chain(name, keys), framework=framework, driver=cipher.driver, profile=ANYTHING
    ) as session:
        sealed = session.encrypt(plain, aad=aad)
        assert sealed.data == cipher.other.run(keys[0], sealed.iv, b"", plain)[0]
        covered = aad + sealed.iv + sealed.data + (8 * len(aad)).to_bytes(8)
        whole = mac.other.run(keys[1] if keyed else b"", b"", b"", covered)[1]
        assert sealed.mac == whole[: mac.entry.mlen]
        assert session.decrypt(sealed, aad=aad) == plain
