"""
SAs in TOML: the format of this project, which has all that can be said of an SA.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Any, Final

from opencrypto import UsageError
from opencrypto_esp.formats.content import FIELDS, Content, Found, made
from opencrypto_esp.sa import (
    ANY_SPI,
    WRITTEN,
    Address,
    Direction,
    Mode,
    Network,
    Protocol,
    SecurityAssociation,
)

TITLE: Final = "TOML"
CARRIES: Final = frozenset(FIELDS)

ANY: Final = "*"
"""What a file has for `ANY_SPI`."""

_OF_THE_OTHER_WAY: Final[dict[Direction | None, str]] = {
    Direction.IN: "sequence",
    Direction.OUT: "replay_seq_hi",
}
"""What an SA of each direction has no use for."""

_KEYS: Final = ("encryption_key", "integrity_key")
_SELECTORS: Final = ("source", "destination")
_FIRST: Final = re.compile(r"\[|[A-Za-z_'\"][^:]*=")
_MAYBE_A_KEY: Final = re.compile("[0-9a-fA-F]{16}")
"""What is not shown in an error."""
_NUMBERS: Final = (
    "spi", "replay_window", "sequence", "replay_seq_hi", "hop_limit", "dscp", "icv_length",
    "encap_source_port", "encap_destination_port", "tfc_padding",
)  # fmt: skip
_CHOICES: Final[Mapping[str, type[StrEnum]]] = {
    "protocol": Protocol,
    "mode": Mode,
    "direction": Direction,
}
_FLAGS: Final = ("esn", "unauthenticated")
_WORDS: Final = ("encryption", "integrity", "encap", "then", "keys", "name")


def recognised(text: str) -> bool:
    """Tell whether a text may be TOML, by its first line that says something."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return bool(_FIRST.match(line.lstrip()))
    return True  # it says nothing, and is told what it should


def read(text: str, where: str) -> Content:
    """
    Read the ``[[sa]]`` tables of a document.

    Raises:
        UsageError: it does not make sense.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # `from None`: in newer Pythons the error holds the document, and that holds keys.
        raise UsageError(f"{where} is not TOML: {_where(error)}") from None
    tables = document.pop("sa", None)
    if document:
        raise UsageError(f"{where}: unknown {_list(document)}; SAs are tables [[sa]]")
    if not isinstance(tables, list) or not tables:
        raise UsageError(f"{where} has no [[sa]] table; write one for each SA")
    sas = [_sa(f"{where}, SA {n}", table) for n, table in enumerate(tables, 1)]
    return Content(found=[Found(sa) for sa in sas])


def _where(error: tomllib.TOMLDecodeError) -> str:
    """Say where, and nothing that the line holds."""
    _, bracket, place = str(error).rpartition("(at ")
    return f"look at {place.rstrip(')')}" if bracket else "it cannot be parsed"


def _list(names: Mapping[str, object] | Sequence[str]) -> str:
    shown = (repr(name) if not _MAYBE_A_KEY.search(name) else "what may be a key" for name in names)
    return ", ".join(shown)


def _sa(where: str, table: object) -> SecurityAssociation:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: not a table; write [[sa]]")
    values: dict[str, Any] = dict(table)
    selectors = values.pop("selectors", {})
    if not isinstance(selectors, dict) or set(selectors) - set(_SELECTORS):
        raise UsageError(f"{where}: selectors are the networks 'source' and 'destination'")
    unknown = sorted(set(values) - set(FIELDS) | set(values) & set(_SELECTORS))
    if unknown:
        raise UsageError(f"{where}: unknown {_list(unknown)}")
    wanted = ("spi", "encryption") if values.get("protocol", "esp") == "esp" else ("spi",)
    missing = [name for name in wanted if name not in values]
    if missing:
        raise UsageError(f"{where}: {_list(missing)} is missing")
    for name, value in values.items():
        values[name] = _value(f"{where}: {name}", name, value)
    for name in selectors:
        values[name] = _networks(f"{where}: selectors.{name}", selectors[name])
    if values.get("direction") is Direction.IN and "sequence" in values:
        raise UsageError(
            f"{where}: sequence is for sending, and this SA is to receive on; leave it out (what "
            "was received is kept in a state)"
        )
    if values.get("direction") is Direction.OUT and "replay_seq_hi" in values:
        raise UsageError(
            f"{where}: replay_seq_hi is for receiving, and this SA is to send by; leave it out"
        )
    values.setdefault("keys", WRITTEN)
    return made(where, values)


def _value(where: str, name: str, value: object) -> object:
    if name in _KEYS:
        return _key(where, value)
    if name == "spi" and value in (ANY, ANY_SPI):
        if value != ANY:
            raise UsageError(f'{where} must be 1 to 0xffffffff, or "{ANY}" for any')
        return ANY_SPI
    if name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{where} must be a number")
        return value
    if name in _FLAGS:
        if not isinstance(value, bool):
            raise UsageError(f"{where} must be true or false")
        return value
    if not isinstance(value, str):
        raise UsageError(f"{where} must be text in quotes")
    if _MAYBE_A_KEY.search(value) and name != "name":
        raise UsageError(f"{where} has what may be a key, and a key does not belong there")
    if name in _WORDS:
        return value
    if name in _CHOICES:
        return _choice(where, _CHOICES[name], value)
    return _address(where, value)


def _key(where: str, value: object) -> bytes:
    """Read hexadecimal digits, with or without 0x, blanks and colons."""
    if isinstance(value, str):
        try:
            return bytes.fromhex(value.strip().removeprefix("0x").replace(":", " "))
        except ValueError:
            pass
    raise UsageError(f"{where} must be hexadecimal digits in quotes")


def _choice(where: str, choices: type[StrEnum], value: str) -> StrEnum:
    try:
        return choices(value)
    except ValueError:
        raise UsageError(f"{where} is {' or '.join(map(repr, map(str, choices)))}") from None


def _address(where: str, value: str) -> Address:
    try:
        return ip_address(value)
    except ValueError:
        raise UsageError(f"{where}: {value!r} is no IPv4 or IPv6 address") from None


def _networks(where: str, value: object) -> tuple[Network, ...]:
    values = value if isinstance(value, list) else [value]
    try:
        return tuple(ip_network(_text(item)) for item in values)
    except ValueError as error:
        raise UsageError(
            f"{where}: {_harmless(error)}; write networks such as '10.0.0.0/8'"
        ) from None


def _harmless(error: ValueError) -> str:
    return "no network" if _MAYBE_A_KEY.search(str(error)) else str(error)


def _text(value: object) -> str:
    # ip_network() takes numbers and bytes too, which here would be slips.
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


# Writing.


def write(sas: Iterable[SecurityAssociation]) -> str:
    """Return a document."""
    return "\n".join(["# SAs of ESP, with their keys", *map(_table, sas)]) + "\n"


def _table(sa: SecurityAssociation) -> str:
    lines = ["", "[[sa]]", *_lines(sa)]
    if sa.source or sa.destination:
        lines.append("[sa.selectors]")
        lines += (
            f"{name} = [{', '.join(_quoted(str(network)) for network in networks)}]"
            for name in _SELECTORS
            if (networks := getattr(sa, name))
        )
    return "\n".join(lines)


def _lines(sa: SecurityAssociation) -> Iterator[str]:
    """Yield what an SA has that goes without saying in no other."""
    for name, field in FIELDS.items():
        value = getattr(sa, name)
        if name in _SELECTORS or value == field.default or (name, value) == ("keys", WRITTEN):
            continue
        if name == _OF_THE_OTHER_WAY.get(sa.direction):
            continue
        yield f"{name} = {_written(name, value)}"


def _written(name: str, value: object) -> str:
    if name == "spi":
        return _quoted(ANY) if value == ANY_SPI else f"{value:#010x}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return _quoted(value.hex() if isinstance(value, bytes) else str(value))


def _quoted(text: str) -> str:
    # JSON's strings are TOML's too, but for one character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
