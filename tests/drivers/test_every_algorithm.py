"""
What shows each algorithm right, as one table, and that no algorithm is without.

For each: published vectors, and somebody else's code on random data. The tests that use these are
`test_vectors`, `test_borders` and `test_independent`, which are made from the same tables.
"""

from __future__ import annotations

from opencrypto import Alg
from opencrypto.testing import vectors
from opencrypto.testing.vectors import Vector
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind
from tests.drivers import test_borders, test_independent, test_vectors
from tests.drivers.independent import (
    ALONE,
    DEFINITION,
    IMPLEMENTATIONS,
    OPENSSL,
    PYCRYPTODOME,
    Implementation,
)
from tests.drivers.rig import NAMES, make_driver, name_of, partner_of

ALGORITHMS = [alg for alg in Alg if FACTS[alg].kind is not Kind.AEAD_AUTH]
HALVES = [alg for alg in Alg if FACTS[alg].kind is Kind.AEAD_AUTH]

UNPUBLISHED = frozenset({Alg.MD5_KPDK, Alg.SHA1_KPDK})
"""Nobody has published vectors of these: theirs are made by the construction in the RFC."""

NO_VECTORS_OF_ITS_OWN = {Alg.DEFLATE_COMP_NOGROW: Alg.DEFLATE_COMP}

SAME_CODE = {
    ("openssl", Alg.CAMELLIA_CBC): "swcrypto's own, by tests/drivers/test_agreement.py",
}
"""Where the table's implementations are the driver's own library: who else there is."""


def published(alg: Alg) -> list[Vector]:
    """Return the valid vectors of an algorithm that somebody has published, or worked by hand."""
    found = vectors.load(name_of(NO_VECTORS_OF_ITS_OWN.get(alg, alg)))
    return [v for v in found if v.result == "valid" and not v.source.startswith("computed")]


def code_of(driver: str, alg: Alg) -> str:
    """Return whose code a driver uses for an algorithm; hashlib's is OpenSSL's for the most."""
    underneath = make_driver(driver).capabilities[alg].implementation
    if underneath.startswith("hashlib") or "OpenSSL" in underneath:
        return OPENSSL
    return PYCRYPTODOME if underneath.startswith("pycryptodome") else underneath


def independent(driver: str, alg: Alg) -> list[Implementation]:
    """Return the implementations that share no code with a driver's."""
    mine = code_of(driver, alg)
    return [other for other in IMPLEMENTATIONS[alg] if other.code != mine]


def test_the_table_has_every_algorithm() -> None:
    """Nothing in FACTS is left out, and nothing is made up."""
    assert {*map(int, ALGORITHMS), *map(int, HALVES)} == set(FACTS)
    assert set(ALGORITHMS) == set(IMPLEMENTATIONS)


def test_every_algorithm_has_published_vectors() -> None:
    """At least three each; of KPDK there are none, and those computed from the RFC stand in."""
    missing = {alg.name for alg in ALGORITHMS if len(published(alg)) < 3}
    assert missing == {alg.name for alg in UNPUBLISHED}
    assert all(len(vectors.load(name_of(alg))) >= 3 for alg in UNPUBLISHED)


def test_every_vector_names_a_source_that_is_not_ours() -> None:
    """No driver of this project has made one."""
    for alg in ALGORITHMS:
        for v in vectors.load(name_of(NO_VECTORS_OF_ITS_OWN.get(alg, alg))):
            assert v.source, v.id
            assert "opencrypto" not in v.source, v.id


def test_every_algorithm_has_an_independent_implementation_for_each_driver() -> None:
    """One that shares no code with the driver, at least."""
    missing = [
        (driver, alg)
        for driver in NAMES
        for alg in ALGORITHMS
        if alg in make_driver(driver).capabilities and not independent(driver, alg)
    ]
    assert missing == list(SAME_CODE)


def test_what_no_library_has_is_known() -> None:
    """Such an algorithm has three published vectors where they exist, and a second construction."""
    for alg in ALONE:
        assert alg in UNPUBLISHED or len(published(alg)) >= 3
        assert all(other.code != DEFINITION for other in IMPLEMENTATIONS[alg])


def test_every_half_of_an_authenticated_cipher_is_tried_with_its_cipher() -> None:
    """The vectors have keys of each length, so each of the three GMACs comes up."""
    used = {
        partner_of(alg, len(v.key)) for alg in AEAD_PARTNERS for v in vectors.load(name_of(alg))
    }
    assert used == set(HALVES)


def test_the_tests_run_the_whole_table() -> None:
    """What the drivers offer between them is what the three modules try, and it is everything."""
    tried = {(driver, alg) for driver, alg in test_borders.CASES}
    offered = {
        (driver, alg)
        for driver in NAMES
        for alg in make_driver(driver).capabilities
        if FACTS[alg].kind is not Kind.AEAD_AUTH
    }
    assert tried == offered
    assert {alg for _, alg in tried} == set(ALGORITHMS)
    by_others = {(case.values[0], case.values[1]) for case in test_independent.CASES}
    assert by_others == offered
    by_vectors = set(test_vectors.CASES)
    assert {(d, a) for d, a in offered if FACTS[a].kind is not Kind.COMP} == by_vectors
