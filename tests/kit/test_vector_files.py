"""The shipped files of vectors keep their form, and each vector names its source."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from typing import Any

import pytest

from opencrypto.testing import vectors
from tests.references import MAC_LENGTHS

DATA_FIELDS = {"key", "iv", "aad", "input", "output", "mac", "full"}


FIELDS = DATA_FIELDS | {"id", "source", "iv_layout", "result"}


LAYOUTS = {"none", "block", "salted", "nonce", "tweak"}


NAMES = vectors.names()


VALID = "valid"


# ---- form -----------------------------------------------------------------------------------


def document(name: str) -> dict[str, Any]:
    text = resources.files(vectors).joinpath(f"{name}.json").read_text(encoding="ascii")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def is_data(value: object) -> bool:
    if isinstance(value, dict):
        return set(value) == {"repeat", "times"} and is_data(value["repeat"]) and value["times"] > 0
    if not isinstance(value, str) or value != value.lower() or any(c.isspace() for c in value):
        return False
    bytes.fromhex(value)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_file_is_well_formed(name: str) -> None:
    doc = document(name)
    assert set(doc) == {"alg", "constant", "iv_layout", "vectors"}
    assert doc["alg"] == name
    assert doc["constant"] == "CRYPTO_" + name.upper()
    assert doc["iv_layout"] in LAYOUTS
    ids = [entry["id"] for entry in doc["vectors"]]
    assert len(ids) == len(set(ids)) > 0
    for entry in doc["vectors"]:
        assert {"id", "source", "key", "input"} <= set(entry) <= FIELDS
        assert entry["source"].strip(), "each vector names its source"
        assert entry.get("result", "invalid") == "invalid", "valid is the default and not written"
        assert entry.get("iv_layout", "none") in LAYOUTS
        assert all(is_data(entry[f]) for f in DATA_FIELDS & set(entry))


@pytest.mark.parametrize("name", NAMES)
def test_loaded_vectors_keep_the_rules(name: str) -> None:
    loaded = vectors.load(name)
    assert sum(v.result == VALID for v in loaded) >= 3
    for v in loaded:
        assert v.alg == name
        assert (v.iv is None) == (v.iv_layout == "none"), v.id
        if name in MAC_LENGTHS:
            assert v.mac is not None, v.id
            assert len(v.mac) == MAC_LENGTHS[name], v.id
        else:
            assert v.mac is None, v.id
        if v.full is not None:
            assert v.mac is not None, v.id
            assert v.full.startswith(v.mac), v.id
    if name in MAC_LENGTHS:
        assert any(v.result == "invalid" for v in loaded), "something to refuse"


def test_names_in_every_spelling_load_the_same() -> None:
    assert vectors.load("AES_CBC") == vectors.load("CRYPTO_AES_CBC") == vectors.load("aes_cbc")
    with pytest.raises(LookupError, match="rot13"):
        vectors.load("rot13")


def test_a_vector_cannot_be_changed_by_a_test() -> None:
    first = vectors.load("aes_cbc")
    with pytest.raises(dataclasses.FrozenInstanceError):
        first[0].key = b""  # type: ignore[misc]  # it cannot be set, which is tried
    first.clear()
    assert vectors.load("aes_cbc")


def test_all_files_together_stay_small() -> None:
    folder = resources.files(vectors)
    assert sum(len(folder.joinpath(f"{n}.json").read_bytes()) for n in NAMES) < 900_000
