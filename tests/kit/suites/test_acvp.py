"""ACVP's files: prompts are answered, compared with what is expected, and answered line by line."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import Alg, UsageError
from opencrypto.testing.faults import AcceptsForgeries, AnotherKey
from opencrypto.testing.suites import acvp, check_suites
from opencrypto.testing.suites.answering import answer_lines
from opencrypto.testing.suites.subject import RefusedError, Subject
from opencrypto_swcrypto._driver import SwcryptoDriver
from tests.cli.commands import RUN
from tests.support import examples

DATA = Path(__file__).parents[2] / "data" / "acvp"
FOLDERS = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir())


def without_monte_carlo(name: str, folder: Path) -> Path:
    """Copy a folder's files without the tests that take a hundred thousand operations."""
    folder.mkdir()
    for file in (DATA / name).glob("*.json"):
        document = json.loads(file.read_text())
        kept = {
            group["tgId"]
            for group in json.loads((DATA / name / "prompt.json").read_text())["testGroups"]
            if group["testType"] != "MCT"
        }
        groups = [group for group in document["testGroups"] if group["tgId"] in kept]
        (folder / file.name).write_text(json.dumps(document | {"testGroups": groups}))
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_each_algorithm_is_answered(name: str, tmp_path: Path) -> None:
    report = check_suites(SwcryptoDriver, acvp_folder=without_monte_carlo(name, tmp_path / name))
    assert report.ok, str(report)
    assert report.refused == 0


@pytest.mark.slow
def test_monte_carlo_comes_to_what_nist_has_published() -> None:
    """Hundred thousand operations each, every one of which goes into the last result."""
    report = check_suites(SwcryptoDriver, acvp_folder=DATA)
    assert report.ok, str(report)
    assert report.refused == 0
    assert report.right > 350


@pytest.mark.slow
# By the steps of NIST SP 800-20, as `cryptography`, which is OpenSSL, takes them.
def test_monte_carlo_of_triple_des_takes_nists_steps() -> None:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    keys = [
        bytes.fromhex(text) for text in ("0123456789abcdef", "23456789abcdef01", "456789abcdef0123")
    ]
    iv, data = bytes.fromhex("1234567890abcdef"), b"Now is t"

    def block(encrypt: bool, parts: list[bytes], text: bytes) -> bytes:
        cipher = Cipher(TripleDES(b"".join(parts)), ECB())
        made = cipher.encryptor() if encrypt else cipher.decryptor()
        return made.update(text)

    def xor(one: bytes, other: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(one, other, strict=True))

    def odd(key: bytes) -> bytes:
        return bytes((b & 0xFE) | (1 - (b >> 1).bit_count() % 2) for b in key)

    for encrypt in (True, False):
        key, cv, text = list(keys), iv, data
        wanted = []
        for _ in range(2):
            begun, first = (list(key), cv), text
            out: list[bytes] = []
            for j in range(acvp.TDES_TURNS):
                if encrypt:
                    out.append(block(True, key, xor(text, cv)))
                    text, cv = (begun[1] if j == 0 else out[-2]), out[-1]
                else:
                    out.append(xor(block(False, key, text), cv))
                    text, cv = out[-1], text
                del out[:-3]
            wanted.append((begun[0], begun[1], first, out[-1]))
            key = [odd(xor(k, out[-1 - n])) for n, k in enumerate(key)]
            if encrypt:
                text = out[-2]
        with Subject(SwcryptoDriver()) as subject:
            found = list(itertools.islice(
                acvp._tdes_monte_carlo(subject, list(keys), iv, data, encrypt), 2
            ))  # fmt: skip
        into, outof = ("pt", "ct") if encrypt else ("ct", "pt")
        assert [
            ([bytes.fromhex(f[f"key{n}"]) for n in (1, 2, 3)], bytes.fromhex(f["iv"]),
             bytes.fromhex(f[into]), bytes.fromhex(f[outof]))
            for f in found
        ] == wanted  # fmt: skip


# Wrong drivers, and wrong files.


@pytest.mark.parametrize("name", ["ACVP-AES-GCM-1.0", "CMAC-AES-1.0", "ACVP-AES-CTR-1.0"])
def test_another_key_is_found(name: str) -> None:
    report = check_suites(AnotherKey.of(SwcryptoDriver), acvp_folder=DATA / name)
    assert report.wrong
    assert not report.ok


@pytest.mark.parametrize("name", ["ACVP-AES-GCM-1.0", "CMAC-AES-1.0", "ACVP-AES-GMAC-1.0"])
def test_accepting_forgeries_is_found(name: str) -> None:
    report = check_suites(AcceptsForgeries.of(SwcryptoDriver), acvp_folder=DATA / name)
    assert report.wrong


def test_another_expected_result_is_a_wrong_answer(tmp_path: Path) -> None:
    folder = tmp_path / "hmac"
    shutil.copytree(DATA / "HMAC-SHA-1-1.0", folder)
    file = folder / "expectedResults.json"
    document = json.loads(file.read_text())
    document["testGroups"][0]["tests"][0]["mac"] = "00" * 20
    file.write_text(json.dumps(document))
    report = check_suites(SwcryptoDriver, acvp_folder=folder)
    assert report.rows[0].failures == ["tcId 1: mac is wrong"]


def test_files_that_begin_with_the_version(tmp_path: Path) -> None:
    """A server's files are lists, the version of the protocol first."""
    for file in (DATA / "HMAC-SHA-1-1.0").glob("*.json"):
        listed = [{"acvVersion": "1.0"}, json.loads(file.read_text())]
        (tmp_path / file.name).write_text(json.dumps(listed))
    assert check_suites(SwcryptoDriver, acvp_folder=tmp_path).ok


def test_what_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no prompt\.json"):
        check_suites(SwcryptoDriver, acvp_folder=tmp_path)
    shutil.copy(DATA / "HMAC-SHA-1-1.0" / "prompt.json", tmp_path)
    with pytest.raises(UsageError, match=r"no expectedResults\.json beside it"):
        check_suites(SwcryptoDriver, acvp_folder=tmp_path)


PROMPT: dict[str, Any] = json.loads((DATA / "ACVP-AES-CBC-1.0" / "prompt.json").read_text())


@pytest.mark.parametrize(
    ("algorithm", "group", "test", "says"),
    [
        ("ACVP-AES-OFB", {}, {}, "opencrypto has no ACVP-AES-OFB"),
        ("ACVP-AES-CBC", {"direction": "sideways"}, {}, "'sideways' is unknown"),
        ("ACVP-AES-CBC", {}, {"payloadLen": 127}, "no number of whole bytes"),
        ("ACVP-AES-CBC", {}, {"key": "00" * 20}, "takes no key of 160 bits"),
        ("ACVP-AES-CBC", {}, {"iv": "00"}, "takes no IV of 1 bytes"),
        ("ACVP-AES-CBC", {}, {"pt": "00"}, "takes whole blocks of 16 bytes only"),
        ("ACVP-AES-CBC", {}, {"pt": "no hex"}, "the file gives no pt"),
        ("ACVP-AES-CTR", {"testType": "CTR"}, {}, "would choose the counters"),
        ("ACVP-AES-GCM", {"ivGen": "internal"}, {}, "would choose the IV"),
        ("ACVP-AES-GCM", {"tagLen": 128}, {"aad": ""}, "takes no nonce of 16 bytes"),
    ],
)
def test_what_is_refused_and_why(
    algorithm: str, group: dict[str, Any], test: dict[str, Any], says: str
) -> None:
    document = {"algorithm": algorithm}
    given = PROMPT["testGroups"][0]
    with Subject(SwcryptoDriver()) as subject, pytest.raises(RefusedError) as caught:
        acvp.answer(document, given | group, given["tests"][0] | test, subject)
    assert says in str(caught.value)


class WithoutIcm(SwcryptoDriver):
    """As it was before there was AES_ICM."""

    capabilities = {  # noqa: RUF012 - as the base has it
        alg: each for alg, each in SwcryptoDriver.capabilities.items() if alg != Alg.AES_ICM
    }


def test_any_counter_block_is_for_icm() -> None:
    """RFC 3686's begins with 1; a driver that has that alone refuses the others."""
    group = PROMPT["testGroups"][0]
    asked = {"algorithm": "ACVP-AES-CTR"}, group, group["tests"][0]
    with Subject(SwcryptoDriver()) as subject:
        coded = acvp.answer(*asked, subject)["ct"]
    key, iv, plain = (bytes.fromhex(group["tests"][0][name]) for name in ("key", "iv", "pt"))
    context = Cipher(AES(key), CTR(iv)).encryptor()
    assert bytes.fromhex(coded) == context.update(plain)
    with Subject(WithoutIcm()) as subject, pytest.raises(RefusedError, match="counts from 1"):
        acvp.answer(*asked, subject)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.text("0123456789abcdefABCDEF", max_size=40),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
"""Anything that a file may have in some place."""

SAMPLES = [
    json.loads((DATA / name / "prompt.json").read_text())
    for name in ("ACVP-AES-GCM-1.0", "CMAC-AES-1.0", "DSA-sigVer-1.0", "RSA-SigVer-FIPS186-5")
]


@settings(max_examples=examples(200))
@given(st.data())
def test_files_of_anything_are_answered_or_refused(data: st.DataObject) -> None:
    """A place anywhere in a prompt holds something else."""
    document = copy.deepcopy(data.draw(st.sampled_from(SAMPLES)))
    place: Any = document
    for _ in range(data.draw(st.integers(1, 5))):
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))[:3]
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key]:
            break
        place, held = place[key], place
    else:
        place = held
    place[key] = data.draw(JSON)
    with Subject(SwcryptoDriver()) as subject:
        (answer,) = answer_lines(subject, [json.dumps(document)])
    assert "error" in answer or isinstance(answer["testGroups"], list)


# The subject of a validation.


def test_prompts_are_answered_line_by_line() -> None:
    folders = ["CMAC-AES-1.0", "DSA-sigVer-1.0", "ACVP-AES-CCM-1.0"]
    prompts = [json.loads((DATA / name / "prompt.json").read_text()) for name in folders]
    expected = [json.loads((DATA / name / "expectedResults.json").read_text()) for name in folders]
    with Subject(SwcryptoDriver()) as subject:
        answered = list(answer_lines(subject, [json.dumps(prompt) for prompt in prompts]))
    assert answered == expected


def test_what_cannot_be_answered_says_so() -> None:
    prompt = copy.deepcopy(PROMPT)
    prompt["testGroups"] = [dict(prompt["testGroups"][0])]
    prompt["testGroups"][0]["tests"] = [dict(prompt["testGroups"][0]["tests"][0], payloadLen=1)]
    lines = ["", "{", "[]", json.dumps(prompt), json.dumps(prompt | {"algorithm": "X"})]
    with Subject(SwcryptoDriver()) as subject:
        bad, empty, odd, unknown = answer_lines(subject, lines)
    assert "line 2 is no vector set" in bad["error"]
    assert "line 3 is no vector set" in empty["error"]
    assert "whole bytes" in odd["testGroups"][0]["tests"][0]["error"]
    assert unknown["testGroups"][0]["tests"][0]["error"] == "opencrypto has no X"


@pytest.mark.slow
def test_the_command_is_a_subject() -> None:
    prompt = json.loads((DATA / "HMAC-SHA-1-1.0" / "prompt.json").read_text())
    done = subprocess.run(
        [*RUN, "check", "opencrypto_swcrypto", "--subject"],
        input=json.dumps(prompt) + "\n", capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    expected = json.loads((DATA / "HMAC-SHA-1-1.0" / "expectedResults.json").read_text())
    assert json.loads(line) == expected


@pytest.mark.slow
def test_the_command_prints_a_table_and_json() -> None:
    words = [*RUN, "check", "opencrypto_swcrypto", "--acvp", str(DATA / "HMAC-SHA-1-1.0")]
    table = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "driver swcrypto: answers rightly: 7 right, 0 wrong, 0 refused" in table
    done = subprocess.run(
        [*words, "--json"], capture_output=True, text=True, check=True, timeout=60
    )
    (report,) = json.loads(done.stdout)["drivers"]
    assert report["files"][0]["right"] == report["right"] == 7
    nothing = [*RUN, "check", "opencrypto_null", "--acvp", str(DATA / "HMAC-SHA-1-1.0")]
    refused = subprocess.run(nothing, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert "refused 7: has no SHA1_HMAC" in refused.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--acvp", str(DATA), "--clause", "D1"], "are of the contract"),
        (["--subject", "--isolated"], "are of the contract"),
        (["--subject", "--acvp", str(DATA)], "a subject is asked by stdin"),
        (["--acvp", "no/such/folder"], "is no folder"),
    ],
)
def test_words_that_do_nothing_are_refused(words: list[str], says: str) -> None:
    call = [*RUN, "check", "opencrypto_null", *words]
    done = subprocess.run(
        call, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert says in done.stderr
