"""
What strongSwan's ``swanctl --list-sas`` says: no keys, but names and directions, by SPI.

Source: src/swanctl/commands/list_sas.c of strongSwan.
"""

from __future__ import annotations

import re
from typing import Final

from opencrypto import UsageError
from opencrypto_esp.formats.content import Content, Listed
from opencrypto_esp.sa import Direction

TITLE: Final = "swanctl --list-sas"

_IKE: Final = re.compile(r"\s*\S.*: #\d+, [A-Z_]+, IKEv[12]\b")
_CHILD: Final = re.compile(r"\s*(\S.*): #\d+, reqid \d+, ([A-Z_]+), \S+, (ESP|AH):")
_SPI: Final = re.compile(r"\s*(in|out)\s+([0-9a-f]{1,8})\b")


def recognised(text: str) -> bool:
    """Tell whether a text is a listing, by its first line."""
    return bool(_IKE.match(text.lstrip("\n")))


def read(text: str, where: str) -> Content:
    """
    Read a listing.

    Raises:
        UsageError: no SA of ESP is in it.
    """
    content = Content()
    name = ""
    for line in text.splitlines():
        if child := _CHILD.match(line):
            name = child[1] if child[3] == "ESP" else ""
        elif _IKE.match(line):
            name = ""
        elif name and (spi := _SPI.match(line)):
            content.listed.append(Listed(int(spi[2], 16), Direction(spi[1]), name))
    if not content.listed:
        raise UsageError(f"{where} lists no SA of ESP; a tunnel that is up is listed")
    return content
