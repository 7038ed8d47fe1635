"""
tcpdump's secrets of ESP, as its ``-E`` takes them and the file that it names has them.

Each line is ``SPI@ADDRESS ALGORITHM:KEY``, or ``ALGORITHM:KEY`` for all that has no other; the
address is where packets go, and ``-hmac96`` behind an algorithm says that 12 bytes of ICV follow,
of whatever kind. ``file NAME`` has more of them. Source: print-esp.c of tcpdump, and tcpdump(1).
"""

from __future__ import annotations

import re
from typing import Any, Final

from opencrypto import UsageError, files
from opencrypto_esp.formats import names
from opencrypto_esp.formats.content import Content, Found, made
from opencrypto_esp.formats.words import Words
from opencrypto_esp.sa import ANY_SPI, WRITTEN, Mode

TITLE: Final = "tcpdump -E"

_OF_SPI: Final = re.compile(r"(?:0x[0-9a-fA-F]+|\d+)@")
_FIRST: Final = re.compile(
    rf"({_OF_SPI.pattern}[0-9a-fA-F:.]+[ \t]+)?3?[A-Za-z][A-Za-z0-9-]*:\S|file[ \t]+\S|ikev2[ \t]"
)
_NEXT: Final = re.compile(rf",(?={_OF_SPI.pattern})")
_HMAC_96: Final = "-hmac96"
_FILES: Final = 8
"""How deep files may name files."""


def recognised(text: str) -> bool:
    """Tell whether a text is tcpdump's, by its first line that says something."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            return bool(_FIRST.match(line))
    return False


def read(text: str, where: str, depth: int = 0) -> Content:
    """
    Read lines of secrets, and those of the files that they name.

    Raises:
        UsageError: it does not make sense, or others can read a file that it names.
        OSError: one cannot be read.
    """
    content = Content()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{where}, line {number}"
        for one in _NEXT.split(line):
            words = Words(place, one.split(None, 1))
            if words.next_is("file"):
                words.take()
                content.add(_read_file(words.take().strip(), place, depth))
            elif words.next_is("ikev2"):
                content.remarks["secrets of IKE"] += 1
            else:
                content.found.append(_found(words))
    return content


def _read_file(name: str, place: str, depth: int) -> Content:
    if depth >= _FILES:
        raise UsageError(f"{place}: files name files, {_FILES} deep")
    text = files.read_private(name)
    try:
        return read(text.decode(), name, depth + 1)
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text") from None


def _found(words: Words) -> Found:
    values: dict[str, Any] = {"keys": WRITTEN, "mode": Mode.EITHER, "spi": ANY_SPI}
    if _OF_SPI.match(words.peek()):
        spi, _, address = words.take().partition("@")
        of_address = Words(words.where, [spi, address])
        values["spi"] = of_address.number()
        values["tunnel_destination"] = of_address.address()
    name, colon, key = words.take().strip().partition(":")
    if not colon:
        raise words.bad("must be an algorithm and a key, a colon between them")
    name = name.lower()
    if name.endswith(_HMAC_96):
        name = name.removesuffix(_HMAC_96)
        values["icv_length"] = 12
    encryption = names.OPENSSL_ENCRYPTIONS.get(name.removesuffix("-cbc"))
    if encryption is None:
        raise words.bad("names an algorithm that ESP is not known with")
    values["encryption"] = encryption
    values["encryption_key"] = Words(words.where, [key]).key() if encryption != "null" else b""
    if "icv_length" not in values:
        values["unauthenticated"] = True
    return Found(made(words.where, values))
