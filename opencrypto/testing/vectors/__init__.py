"""Published known-answer vectors, one JSON file for each algorithm.

``load("aes_cbc")`` gives the vectors of CRYPTO_AES_CBC. README.md beside this file says where each
vector comes from, how it was checked, and what the fields mean for each kind of algorithm.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

__all__ = ["Vector", "load", "names"]

_PREFIX = "crypto_"


@dataclass(frozen=True)
class Vector:
    """One known answer.

    ``output`` is what the data region holds after the forward operation (encrypt, compress); an
    authenticator leaves the data alone, so there it equals ``input``. ``mac`` has the length that
    the algorithm gives by default, ``full`` the untruncated value. A vector whose ``result`` is
    "invalid" must be refused when ``output`` (with ``aad`` and ``mac``) is verified, decrypted or
    decompressed.
    """

    alg: str
    id: str
    source: str
    key: bytes
    iv: bytes | None
    aad: bytes | None
    input: bytes
    output: bytes
    mac: bytes | None
    full: bytes | None
    result: Literal["valid", "invalid"]
    iv_layout: str


def names() -> list[str]:
    """The algorithms that have vectors, as ``load`` takes them."""
    folder = resources.files(__name__)
    return sorted(
        entry.name[: -len(".json")] for entry in folder.iterdir() if entry.name.endswith(".json")
    )


def load(alg_name: str) -> list[Vector]:
    """The vectors of one algorithm: "aes_cbc", "AES_CBC" and "CRYPTO_AES_CBC" mean the same."""
    return list(_load(alg_name.lower().removeprefix(_PREFIX)))


@cache
def _load(name: str) -> tuple[Vector, ...]:
    if name not in names():
        raise LookupError(f"no vectors for {name!r}: names() lists those there are")
    document = json.loads(
        resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="ascii")
    )
    return tuple(
        _vector(document["alg"], document["iv_layout"], entry) for entry in document["vectors"]
    )


def _vector(alg: str, iv_layout: str, entry: dict[str, Any]) -> Vector:
    data = _data(entry["input"])
    result: Literal["valid", "invalid"] = (
        "invalid" if entry.get("result", "valid") == "invalid" else "valid"
    )
    return Vector(
        alg=alg,
        id=entry["id"],
        source=entry["source"],
        key=_data(entry.get("key", "")),
        iv=_optional(entry, "iv"),
        aad=_optional(entry, "aad"),
        input=data,
        output=_data(entry["output"]) if "output" in entry else data,
        mac=_optional(entry, "mac"),
        full=_optional(entry, "full"),
        result=result,
        iv_layout=entry.get("iv_layout", iv_layout),
    )


def _optional(entry: dict[str, Any], field: str) -> bytes | None:
    return _data(entry[field]) if field in entry else None


def _data(value: str | dict[str, Any]) -> bytes:
    """Hex digits, or {"repeat": hex, "times": n} for long runs."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return bytes.fromhex(value["repeat"]) * int(value["times"])
