"""
Wireshark's table of ESP SAs: the file ``esp_sa`` of its folder of preferences.

Each line has eight fields in quotation marks: the IP version, from where, to where, SPI, encryption
and its key, authentication and its key; newer versions add how long sequence numbers are, and their
upper half. A star stands for any address or SPI. What a packet has, tunnel or not, it does not say.
Sources: epan/dissectors/packet-ipsec.c and epan/uat.c of Wireshark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, Final

from opencrypto import UsageError
from opencrypto_esp.formats import names
from opencrypto_esp.formats.content import Content, Found, ends, made
from opencrypto_esp.formats.words import Words
from opencrypto_esp.sa import ANY_SPI, WRITTEN, Address, Mode, Protocol, SecurityAssociation

TITLE: Final = "Wireshark's esp_sa"

CARRIES: Final = frozenset({
    "spi", "encryption", "encryption_key", "integrity", "integrity_key", "icv_length",
    "protocol", "tunnel_source", "tunnel_destination", "unauthenticated", "keys", "name",
})  # fmt: skip
"""What it has of an SA; the last three it can do without."""

_FIELD: Final = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_FIRST: Final = re.compile(r'\s*"(IPv4|IPv6)"\s*,')
_VERSIONS: Final = {"IPv4": 4, "IPv6": 6}
_ANY: Final = re.compile(r"\*?|(\*\.)+\*|(\*:)+\*|0x\*+|\*+")


def recognised(text: str) -> bool:
    """Tell whether a text is such a table, by its first line that says something."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            return bool(_FIRST.match(line))
    return False


def read(text: str, where: str) -> Content:
    """
    Read a table.

    Raises:
        UsageError: it does not make sense, or asks for part of an SPI.
    """
    content = Content()
    seen: set[SecurityAssociation] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{where}, line {number}"
        words = Words(place, _fields(line, place))
        sa = made(place, _values(words, content))
        if sa not in seen:  # one for each IP version, of any addresses, is one here
            seen.add(sa)
            content.found.append(Found(sa))
    return content


def _fields(line: str, place: str) -> Iterator[str]:
    at = 0
    while at < len(line):
        field = _FIELD.match(line, at)
        if field is None:
            raise UsageError(f"{place}: must be fields in quotation marks, commas between them")
        at = field.end()
        yield _ESCAPE.sub(_unescaped, field[1])


def _unescaped(escape: re.Match[str]) -> str:
    what = escape[1]
    return chr(int(what[1:], 16)) if len(what) > 1 else what


def _values(words: Words, content: Content) -> dict[str, Any]:
    """Return what a line's fields say."""
    values: dict[str, Any] = {"keys": WRITTEN, "mode": Mode.EITHER}
    version = _VERSIONS.get(words.take())
    if version is None:
        raise words.bad("must be IPv4 or IPv6")
    for name in ("tunnel_source", "tunnel_destination"):
        values[name] = _end(words, version, content)
    values["spi"] = _spi(words)
    _set_suite(words, values)
    if words and "64" in words.take():
        values["esn"] = True
        if words and words.peek() not in ("", "0x"):
            values["replay_seq_hi"] = words.number()
    return values


def _end(words: Words, version: int, content: Content) -> Address | None:
    word = words.take()
    if _ANY.fullmatch(word):
        return None
    if "*" in word:
        content.remarks["addresses that are known in part"] += 1
        return None
    try:
        found = ip_address(word)
    except ValueError:
        found = None
    if found is None or found.version != version:
        raise words.bad(f"must be an IPv{version} address, or * for any")
    return found


def _spi(words: Words) -> int:
    if _ANY.fullmatch(words.peek()):
        words.take()
        return ANY_SPI
    spi = words.number()
    if spi == ANY_SPI:
        raise words.bad("must be an SPI, or * for any")
    return spi


def _set_suite(words: Words, values: dict[str, Any]) -> None:
    name = words.take()
    encryption = names.WIRESHARK_ENCRYPTIONS.get(name)
    values["encryption_key"] = _key(words)
    authentication = words.take()
    key = _key(words)
    icv = names.WIRESHARK_ICVS.get(authentication, 0)
    if name == _GCM:
        encryption = f"aes-gcm-{icv or 16}"
    if encryption is None:
        raise words.bad("an encryption that ESP is not known with stands before")
    values["encryption"] = encryption
    if authentication in names.WIRESHARK_INTEGRITIES:
        values["integrity"] = names.WIRESHARK_INTEGRITIES[authentication]
        values["integrity_key"] = key
    elif not icv and authentication != "NULL":
        raise words.bad("an authentication that ESP is not known with stands before")
    elif encryption in _ALONE:
        values |= {"icv_length": icv} if icv else {"unauthenticated": True}


def _key(words: Words) -> bytes:
    return words.key() if words.peek() else words.take().encode()


_GCM: Final = "AES-GCM [RFC4106]"
"""The name in old versions, where the authentication says how long the ICV is."""
_ALONE: Final = frozenset(
    name for name in names.WIRESHARK_ENCRYPTIONS.values() if name.endswith(("cbc", "ctr", "null"))
)
"""What encrypts and does not authenticate."""


# Writing.


def write(sas: Iterable[SecurityAssociation]) -> str:
    """
    Return a table.

    Raises:
        UsageError: Wireshark does not know an SA's algorithms.
    """
    lines = ["# ESP SAs, in the format of Wireshark's esp_sa; it holds keys"]
    for sa in sas:
        if sa.protocol is not Protocol.ESP:
            raise UsageError(f"SA {sa.label}: {TITLE} is of ESP alone; keep it in TOML")
        lines += (",".join(f'"{field}"' for field in row) for row in _rows(sa))
    return "\n".join(lines) + "\n"


def _rows(sa: SecurityAssociation) -> Iterator[tuple[str, ...]]:
    source, destination = ends(sa)
    known = [end for end in (source, destination) if end is not None]
    for version in {end.version for end in known} or (4, 6):
        yield (
            f"IPv{version}",
            str(source or "*"),
            str(destination or "*"),
            f"{sa.spi:#010x}" if sa.spi != ANY_SPI else "*",
            _theirs(names.WIRESHARK_ENCRYPTIONS, sa, sa.encryption),
            f"0x{sa.encryption_key.hex()}" if sa.encryption_key else "",
            _authentication(sa),
            f"0x{sa.integrity_key.hex()}" if sa.integrity_key else "",
        )


def _authentication(sa: SecurityAssociation) -> str:
    if sa.integrity:
        return _theirs(names.WIRESHARK_INTEGRITIES, sa, sa.integrity)
    if sa.icv_length:
        return _theirs(names.WIRESHARK_ICVS, sa, sa.icv_length)
    return "NULL"


def _theirs(table: Any, sa: SecurityAssociation, ours: object) -> str:
    """Return the other program's name for what we call `ours`."""
    for theirs, value in table.items():
        if value == ours:
            return str(theirs)
    raise UsageError(f"SA {sa.label}: {TITLE} has no {ours}; keep it in TOML")
