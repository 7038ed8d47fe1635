"""Algorithms by name: every spelling means one thing, and a session is what its name says."""

import contextlib
import hashlib
import hmac
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_ICM,
    CRYPTO_SHA2_256_HMAC,
    Alg,
    Cryptoini,
    Framework,
    KeySerial,
    UsageError,
)
from opencrypto._rules.chain import Chain
from opencrypto.client import Session
from opencrypto.xform import (
    AEAD_PARTNERS,
    FACTS,
    Kind,
    Named,
    algorithm,
    algorithms,
    chain,
    chain_name,
    name_of,
    named,
)

EVERY = [(entry, spelling) for entry in named() for spelling in (entry.name, *entry.aliases)]


def lengths(entry: Named) -> list[int]:
    """Return some lengths of key that go with a name."""
    return [0, 1, 64, 200] if entry.keys is None else sorted({min(entry.keys), max(entry.keys)})


def test_no_spelling_means_two_things() -> None:
    spellings = [spelling.lower() for _, spelling in EVERY]
    constants = [name.lower() for name in Alg.__members__]
    assert not [spelling for spelling, times in Counter(spellings).items() if times > 1]
    for spelling in set(spellings) & set(constants):
        meant = algorithm(spelling)
        assert meant.alg == Alg[spelling.upper()]
        assert meant.mlen in (0, FACTS[meant.alg].mac), "a constant has BSD's length"


@pytest.mark.parametrize(("entry", "spelling"), EVERY, ids=[spelling for _, spelling in EVERY])
def test_each_spelling_is_understood(entry: Named, spelling: str) -> None:
    for written in (spelling, spelling.upper(), spelling.lower(), f" {spelling} "):
        assert algorithm(written) == entry
        assert algorithms(written) == (entry,)


@pytest.mark.parametrize("entry", named(), ids=[entry.name for entry in named()])
def test_a_name_and_its_key_make_the_chain_that_is_named_so(entry: Named) -> None:
    for length in lengths(entry):
        key = bytes(range(length))
        cri = Cryptoini(entry.name, key)
        assert (cri.alg, type(cri.alg), cri.klen) == (entry.alg, int, 8 * length)
        made = Chain([cri])
        assert made.facts[0].alg == entry.alg
        assert len(made.facts) == 1 + (FACTS[entry.alg].kind is Kind.AEAD)
        assert made.macs[-1] == entry.mlen
        again = algorithm(chain_name(made.inis))
        assert (again.alg, again.mlen) == (entry.alg, entry.mlen)
        again.check_key(length)


def test_every_algorithm_has_a_name() -> None:
    halves = frozenset().union(*AEAD_PARTNERS.values())
    assert {entry.alg for entry in named()} == {facts.alg for facts in FACTS.values()} - halves


@pytest.mark.parametrize("facts", FACTS.values(), ids=lambda facts: facts.name)
def test_a_constants_name_means_its_number(facts: object) -> None:
    assert isinstance(facts, tuple)
    alg = Alg(facts[0])
    for spelling in (alg.name, f"CRYPTO_{alg.name}", alg.name.lower()):
        assert algorithm(spelling).alg == alg
    assert algorithm("CRYPTO_RIJNDAEL128_CBC").alg == CRYPTO_AES_CBC
    assert algorithm("sha2_hmac").alg == CRYPTO_SHA2_256_HMAC


def test_the_borders_between_like_spellings() -> None:
    """What differs by a hyphen, or by who writes it, differs in its keys too."""
    assert algorithm("aes-128-ctr").alg == algorithm("ctr(aes)").alg == CRYPTO_AES_ICM
    assert algorithm("aes128ctr").alg == algorithm("rfc3686(ctr(aes))").alg == CRYPTO_AES_CTR
    assert algorithm("aes128ctr").keys == frozenset({20})
    assert algorithm("aes-128-gcm").keys == frozenset({16})
    assert algorithm("gcm(aes)").keys == frozenset({16, 24, 32})
    assert algorithm("rfc4106(gcm(aes))").keys == frozenset({20, 28, 36})
    assert algorithm("aes-256-xts").keys == frozenset({64})
    assert algorithm("aes-256-siv").keys == frozenset({64})
    assert algorithm("hmac-sha2-256").mlen == 32
    assert algorithm("hmac-sha2-256-128").mlen == 16
    assert algorithm("hmac(sha256)-96").mlen == 12
    assert algorithm("SHA2_256_HMAC").mlen == 0
    assert algorithm("aes128gcm12").mlen == algorithm("aes-128-gcm-96").mlen == 12
    assert algorithm("seqiv(rfc4106(gcm(aes)))") == algorithm("rfc4106(gcm(aes))")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("aes-256-cbc+hmac-sha2-256", ["aes-256-cbc", "hmac-sha2-256"]),
        ("hmac(sha1) + cbc(aes)", ["hmac-sha1", "aes-cbc"]),
        ("authenc(hmac(sha256),cbc(aes))", ["aes-cbc", "hmac-sha2-256"]),
        ("authenc(hmac(sha256),rfc3686(ctr(aes)))", ["rfc3686(ctr(aes))", "hmac-sha2-256"]),
        ("echainiv(authenc(hmac(sha1),cbc(des3_ede)))", ["des-ede3-cbc", "hmac-sha1"]),
        ("aes256-sha256", ["aes-256-cbc", "hmac-sha2-256-128"]),
        ("3des-sha1", ["des-ede3-cbc", "hmac-sha1-96"]),
        ("aes128ctr-aesxcbc", ["aes128ctr", "aes-xcbc-mac-96"]),
        ("deflate+aes-128-gcm", ["deflate", "aes-128-gcm"]),
        ("AES_CBC+SHA1_HMAC", ["AES_CBC", "SHA1_HMAC"]),
        ("AES_GCM_16+AES_128_GMAC", ["AES_GCM_16"]),
        ("deflate+AES_192_GMAC+AES_GCM_16", ["deflate", "AES_GCM_16"]),
    ],
)
def test_chains(name: str, parts: list[str]) -> None:
    assert [part.name for part in algorithms(name)] == parts


def test_both_halves_by_their_constants_say_which_key() -> None:
    (joined,) = algorithms("AES_GCM_16+AES_192_GMAC")
    assert joined.keys == frozenset({24, 28})
    assert [cri.klen for cri in chain("AES_GCM_16+AES_192_GMAC", bytes(24))] == [192]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("aes-126-gcm", "did you mean aes-128-gcm"),
        ("aes-256-gcn", "did you mean aes-256-gcm"),
        ("hmac-sha2-265", "did you mean hmac-sha2-256"),
        ("gcm(aess)", "gcm(aes)"),
        ("AES-CBC-HMCA", "did you mean"),
        ("rot13", "opencrypto.xform.named() has them"),
        ("", "opencrypto.xform.named() has them"),
        ("hmac-sha2-256-264", "no algorithm is called"),  # longer than it is
        ("hmac-sha2-256-100", "no algorithm is called"),  # no whole bytes
        ("aes-128-gcm-40", "no algorithm is called"),  # no tag of GCM
        ("authenc(hmac(sha256))", "no algorithm is called"),
        ("x" * 1000, "'" + "x" * 80 + "'"),
    ],
)
def test_what_nothing_is_called(name: str, says: str) -> None:
    for look_up in (algorithm, algorithms, chain, Cryptoini):
        with pytest.raises(UsageError) as caught:
            look_up(name)
        assert says in str(caught.value)


def test_one_bad_part_of_a_chain_is_named() -> None:
    with pytest.raises(UsageError, match=r"'hmca-sha256'; did you mean hmac-sha256"):
        algorithms("aes-256-cbc+hmca-sha256")


def test_a_chain_is_not_one_parameter() -> None:
    with pytest.raises(UsageError, match=r"is a chain of 2 algorithms; opencrypto\.xform\.chain"):
        Cryptoini("aes-256-cbc+hmac-sha2-256", bytes(64))


@pytest.mark.parametrize(
    ("name", "length", "says"),
    [
        ("aes-128-gcm", 32, "a key of 16 bytes, not 32; aes-256-gcm takes that"),
        ("aes-128-gcm", 20, "a key of 16 bytes, not 20; rfc4106(gcm(aes)) takes that"),
        ("aes-192-cbc", 16, "a key of 24 bytes, not 16; aes-128-cbc takes that"),
        ("aes-128-xts", 64, "a key of 32 bytes, not 64; aes-256-xts takes that"),
        ("aes-cbc", 17, "a key of 16 or 24 or 32 bytes, not 17"),
        ("sha2-256", 1, "takes no key, not 1"),
        ("bf-cbc", 60, "a key of 4 to 56 bytes, not 60"),
    ],
)
def test_a_key_that_the_name_does_not_say(name: str, length: int, says: str) -> None:
    for key in (bytes(length), bytearray(length), KeySerial(1, length)):
        with pytest.raises(UsageError) as caught:
            Cryptoini(name, key)
        assert says in str(caught.value)


def test_the_name_counts_when_the_key_comes_later() -> None:
    for name in ("aes-128-gcm", "aes-128-ctr"):
        cri = Cryptoini(name)
        cri.key = bytes(32)
        with pytest.raises(UsageError, match=f"{name} takes a key of 16 bytes, not 32"):
            Chain([cri])
        cri.alg, cri.mlen = CRYPTO_AES_CBC, 0  # another one, of which nothing was said
        assert [facts.alg for facts in Chain([cri]).facts] == [CRYPTO_AES_CBC]
        cri.reset()
        assert cri.named is None


def test_a_mac_may_be_shorter_than_its_name_says_and_not_longer() -> None:
    assert Cryptoini("hmac-sha2-256", b"key").mlen == 32
    assert Cryptoini("hmac-sha2-256", b"key", mlen=20).mlen == 20
    assert Cryptoini("SHA2_256_HMAC", b"key", mlen=32).mlen == 32
    with pytest.raises(UsageError, match="a MAC of 16 bytes, and mlen asks for 32"):
        Cryptoini("hmac-sha2-256-128", b"key", mlen=32)


def test_keys_are_a_tuple_in_the_chains_order() -> None:
    cipher, mac = b"c" * 32, b"m" * 20
    made = chain("authenc(hmac(sha1),cbc(aes))", (cipher, mac))
    assert [(cri.alg, cri.key) for cri in made] == [(11, cipher), (7, mac)]
    made = chain("deflate+aes-256-cbc+hmac-sha1", (cipher, mac))
    assert [cri.key for cri in made] == [None, cipher, mac]
    assert chain("aes-256-cbc", cipher)[0].key == chain("aes-256-cbc", (cipher,))[0].key
    assert chain("sha2-256")[0].key is None
    assert chain("sha2-256", ())[0].key is None
    assert chain("blake2b-512")[0].klen == 0
    assert chain("null+hmac-sha1", mac)[1].key == mac


@pytest.mark.parametrize(
    ("name", "keys", "says"),
    [
        ("aes-256-cbc+hmac-sha1", bytes(52), "takes 2 keys, not 1; give a tuple"),
        ("aes-256-cbc+hmac-sha1", None, "takes 2 keys, not 0"),
        ("aes-256-cbc+hmac-sha1", (bytes(32),), "takes 2 keys, not 1"),
        ("aes-256-cbc", (bytes(32), b"x"), "takes one key, not 2"),
        ("sha2-256", b"x", "takes no key"),
        ("sha2-256+md5", (b"x",), "takes no key"),
    ],
)
def test_as_many_keys_as_algorithms_that_take_one(name: str, keys: object, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        chain(name, keys)  # type: ignore[arg-type]  # what is tried
    assert says in str(caught.value)


def test_an_error_does_not_show_a_key() -> None:
    with pytest.raises(UsageError) as caught:
        chain("aes-256-cbc+hmac-sha1", (b"SECRETSECRET", b"key"))
    assert "SECRET" not in str(caught.value)


def test_names_of_chains() -> None:
    assert chain_name(Cryptoini(CRYPTO_AES_CBC)) == "aes-cbc"
    assert chain_name(Cryptoini(CRYPTO_SHA2_256_HMAC, b"key")) == "hmac-sha2-256-128"
    assert chain_name(Cryptoini("hmac-sha2-256-72", b"key")) == "hmac-sha2-256-72"
    assert chain_name([Cryptoini(11, bytes(24)), Cryptoini(7, b"")]) == "aes-192-cbc+hmac-sha1"
    gcm = [Cryptoini(CRYPTO_AES_GCM_16, bytes(16)), Cryptoini(CRYPTO_AES_128_GMAC, bytes(16))]
    assert chain_name(gcm) == chain_name(gcm[::-1]) == "aes-128-gcm"
    gcm[1].mlen = 12
    assert chain_name(gcm) == "aes-128-gcm-96"
    assert chain_name(gcm[1]) == "AES_128_GMAC"
    assert name_of(9999) == "algorithm 9999"


def test_an_authenticated_cipher_is_one_parameter() -> None:
    key, iv = bytes(range(16)), bytes(range(12))
    with Framework() as framework:
        given = Cryptoini("aes-128-gcm", key)
        with Session(given, framework=framework) as session:
            sealed = session.encrypt(b"text", iv=iv, aad=b"more")
        assert sealed.data + sealed.mac == AESGCM(key).encrypt(iv, b"text", b"more")
        assert (given.alg, given.mlen) == (CRYPTO_AES_GCM_16, 16), "it is left as it was"
        copy = given.copy()
        given.reset()
        sid = framework.newsession(copy)
        framework.freesession(sid)
        short = Cryptoini("aes-128-gcm-96", key)
        with Session(short, framework=framework) as session:
            assert session.encrypt(b"text", iv=iv, aad=b"more").mac == sealed.mac[:12]
        with pytest.raises(UsageError, match="exactly one authenticator"):
            framework.newsession([copy, Cryptoini(CRYPTO_AES_128_GMAC, key)])


def test_a_mac_by_name_is_whole_and_by_number_bsds() -> None:
    whole = hmac.digest(b"key", b"text", hashlib.sha256)
    with Framework() as framework:
        for given, length in (("hmac-sha2-256", 32), ("SHA2_256_HMAC", 16), (15, 16)):
            with Session(Cryptoini(given, b"key"), framework=framework) as session:
                assert session.mac(b"text") == whole[:length]


WORDS = [
    "aes",
    "-128",
    "-cbc",
    "gcm",
    "hmac",
    "sha",
    "256",
    "(",
    ")",
    "authenc(",
    "seqiv(",
    ",",
    "+",
]


@given(st.text() | st.lists(st.sampled_from([*WORDS, *(s for _, s in EVERY)])).map("".join))
def test_whatever_is_asked_for_is_known_or_refused(name: str) -> None:
    for look_up in (algorithm, algorithms):
        with contextlib.suppress(UsageError):
            assert look_up(name)


def test_a_name_without_end_is_not_looked_at() -> None:
    """Its parentheses would be taken off one by one."""
    for name in ("seqiv(" * 10**6, "aes-cbc+" * 10**6, "authenc(" * 10**6):
        with pytest.raises(UsageError, match="no algorithm is called"):
            algorithms(name)


def test_a_name_is_a_str() -> None:
    for wrong in (None, 11, b"aes-128-gcm"):
        with pytest.raises(UsageError, match="is a str, not"):
            algorithms(wrong)  # type: ignore[arg-type]  # what is tried
