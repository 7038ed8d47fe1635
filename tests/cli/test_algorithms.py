"""Commands take algorithms by any of their names, and choose by what the name says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opencrypto import Alg, UsageError
from opencrypto._measure.trace import Entry
from opencrypto.cli.algorithms import are_among, carries, chains, numbers, spec_name
from tests.cli.commands import ask

GCM = ((29, 128, 0), (30, 128, 0))
SHORT = ((30, 160, 12), (29, 160, 0))
ESP = ((11, 256, 0), (15, 256, 0))
WHOLE = ((11, 128, 0), (15, 256, 32))
ICM = ((80, 128, 0),)
EVERY = (GCM, SHORT, ESP, WHOLE, ICM)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Return a trace with a request of each kind of session."""
    fields = dict.fromkeys(Entry._fields, 0) | {"desc": [], "driver": "x"}
    head = {"format": "opencrypto-trace", "version": 1, "fields": [*fields]}
    lines = [[*(fields | {"sid": n, "chain": c}).values()] for n, c in enumerate(EVERY)]
    file = tmp_path / "it.trace"
    file.write_text("\n".join(map(json.dumps, [head, *lines])))
    return file


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("aes-128-gcm", {GCM}),
        ("AES_GCM_16+AES_128_GMAC", {GCM, SHORT}),
        ("rfc4106(gcm(aes))-96", {SHORT}),
        ("aes128gcm12", {SHORT}),
        ("aes-256-gcm", set()),
        ("AES_CBC", {ESP, WHOLE}),
        ("cbc(aes)", {ESP, WHOLE}),
        ("aes-256-cbc", {ESP}),
        ("hmac-sha2-256", {WHOLE}),
        ("hmac-sha2-256-128", {ESP}),
        ("sha2_256_hmac", {ESP, WHOLE}),
        ("aes-256-cbc+hmac-sha2-256-128", {ESP}),
        ("aes-256-cbc+hmac-sha2-256", set()),
        ("authenc(hmac(sha256),cbc(aes))", {WHOLE}),
        ("ctr(aes)", {ICM}),
        ("rfc3686(ctr(aes))", set()),
    ],
)
def test_what_a_name_chooses_of_a_trace(name: str, which: set[object]) -> None:
    (parts,) = chains([name])
    assert {chain for chain in EVERY if carries(chain, parts)} == which


def test_what_is_shown_can_be_asked_for() -> None:
    for spec in EVERY:
        (parts,) = chains([spec_name(spec)])
        assert [each for each in EVERY if carries(each, parts)] == [spec]
    assert spec_name(((9999, 0, 0), (11, 7, 3))) == "algorithm 9999+AES_CBC"


def test_a_trace_is_shown_and_played_in_part(trace: Path) -> None:
    _, shown, _ = ask("trace", "show", trace, "--alg", "aes-128-gcm", "--alg", "CTR(AES)")
    assert [each["sid"] for each in shown["requests"]] == [0, 4]
    assert shown["count"] == 2
    assert shown["algorithms"] == {"aes-128-gcm": 1, "aes-128-ctr": 1}
    status, played, _ = ask("trace", "replay", trace, "--alg", "ctr(aes)", "-D", "swcrypto")
    assert (status, played["recorded"]["requests"]) == (0, 1)
    with pytest.raises(UsageError, match="has no requests of aes-256-gcm"):
        ask("trace", "replay", trace, "--alg", "aes-256-gcm")
    with pytest.raises(UsageError, match=r"'aes-265-gcm'; did you mean aes-256-gcm"):
        ask("trace", "show", trace, "--alg", "aes-265-gcm")


def test_drivers_that_have_an_algorithm() -> None:
    def names(*words: str) -> list[str]:
        return [each["name"] for each in ask("drivers", *words)[1]["drivers"] if each["available"]]

    everybody = names()
    assert {"openssl", "swcrypto", "null"} <= {*everybody}
    assert "null" not in names("--alg", "aes-128-gcm")
    assert names("--alg", "skipjack") == ["swcrypto"]
    assert names("--alg", "skipjack+hmac-sha1") == ["swcrypto"]
    assert {*names("--alg", "skipjack", "--alg", "null")} == {"swcrypto", "openssl", "null"} | (
        {"afalg"} & {*names("--alg", "null")}
    )


def test_a_driver_has_a_chain_if_it_has_all_of_it() -> None:
    (parts,) = chains(["aes-gcm+sha256"])
    assert are_among(["AES_GCM_16", "AES_256_GMAC", "SHA2_256"], parts)
    assert not are_among(["AES_GCM_16", "SHA2_256"], parts)
    assert not are_among(["AES_GCM_16", "AES_256_GMAC"], parts)


def test_numbers_are_of_both_halves() -> None:
    assert numbers(["aes-128-gcm", "sha1"]) == {29, 30, 14}
    assert numbers(["gcm(aes)"]) == {29, 30, 31, 32}
    assert numbers(None) == frozenset()


@pytest.mark.slow
def test_the_contract_of_one_algorithm() -> None:
    """Others are not tried, nor are key operations; what the driver has not is not tried."""
    words = ("check", "opencrypto_swcrypto", "--quick", "--clause", "D4")
    status, told, _ = ask(*words, "--alg", "aes-128-siv")
    assert status == 0
    (clause,) = [each for each in told["drivers"][0]["clauses"] if each["clause"] == "D4"]
    assert clause["passed"] > 0
    _, everything, _ = ask(*words)
    (whole,) = [each for each in everything["drivers"][0]["clauses"] if each["clause"] == "D4"]
    assert clause["passed"] < whole["passed"]
    words = ("check", "opencrypto_swcrypto", "--quick", "--clause", "D3")
    assert ask(*words, "--alg", "aes-128-siv")[0] == 0, "what was not asked for is still claimed"
    status, told, _ = ask("check", "opencrypto_null", "--alg", "aes-128-siv")
    assert status == 1
    assert "has none of the algorithms asked for" in json.dumps(told)


@pytest.mark.slow
def test_the_contract_of_one_algorithm_in_processes_of_their_own() -> None:
    words = ("check", "opencrypto_null", "--isolated", "--quick", "--clause", "D12")
    _, told, _ = ask(*words, "--alg", "null")
    _, everything, _ = ask(*words)

    def passed(document: dict[str, list[dict[str, list[dict[str, int]]]]]) -> int:
        return sum(each["passed"] for each in document["drivers"][0]["clauses"])

    assert 0 < passed(told) < passed(everything)


def test_every_constant_can_be_asked_for() -> None:
    for alg in Alg:
        assert alg in numbers([alg.name])
