"""
Files of SAs: what people have, in one of several formats, each known by what is in it.

Several files may say of the same SAs: a listing of the kernel's SAs has their keys, one of its
policies what they are for, and an IKE daemon's their names.

The rooms, in the order of their imports: `content` is what a file has, `words` takes a line apart,
`names` are those of other programs; then a room for each format: `toml`, `esp_sa`, `xfrm` (which
has rooms of its own), `tcpdump` and `swanctl`; `joining` puts together what several say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from opencrypto import UsageError, files
from opencrypto_esp.formats import esp_sa, swanctl, tcpdump, toml, xfrm
from opencrypto_esp.formats.content import FIELDS, Content
from opencrypto_esp.formats.joining import joined
from opencrypto_esp.formats.xfrm import batch
from opencrypto_esp.sa import Mode, SecurityAssociation

Remark = Callable[[str], None]
"""What hears of that which is in a file, or in an SA, and cannot be taken or written."""

STREAM: Final = Path("-")
"""What stands for standard input."""

_KEY: Final = re.compile(r":\s*0x[0-9a-fA-F]{8}|(^|[^0-9a-zA-Z])(0x)?[0-9a-fA-F]{32}|^\"IPv[46]\"")
_DISPENSABLE: Final = frozenset({"keys", "name", "unauthenticated"})
"""What an SA works without."""


class Format(Protocol):
    """A room for a format that is read."""

    TITLE: str

    def recognised(self, text: str) -> bool:
        """Tell whether a text is in this format."""

    def read(self, text: str, where: str) -> Content:
        """Read a text."""


class Target(Protocol):
    """A room for a format that is written."""

    CARRIES: frozenset[str]

    def write(self, sas: Iterable[SecurityAssociation]) -> str:
        """Return a text."""


READ: Final[tuple[Format, ...]] = (esp_sa, xfrm, swanctl, tcpdump, toml)
"""The formats that are known by what is in a file; TOML, which may have most, comes last."""

WRITTEN_AS: Final[dict[str, Target]] = {"toml": toml, "xfrm": batch, "esp_sa": esp_sa}
"""The formats that are written, by the name that ``--to`` has for each."""


def load_sas(
    *paths: str | os.PathLike[str], remark: Remark | None = None
) -> list[SecurityAssociation]:
    """
    Read SAs from a file, or from several that say of the same ones (see docs/consumers/esp.md).

    Args:
        paths: Files in any format of `READ`; ``-`` is standard input.
        remark: Is called with a sentence on what is there and cannot be taken. None refuses that.

    Raises:
        UsageError: others can read a file (chmod 600), it is another user's, or it does not
            make sense; or there is no SA in any.
        OSError: one cannot be read.
    """
    content = Content()
    for path in map(Path, paths):
        content.add(_read(path))
    named = " and ".join(map(str, paths))
    sas = joined(content)
    if not sas:
        raise UsageError(f"{named} has no SA with keys; give the listing of SAs too: ip xfrm state")
    if content.remarks:
        listed = ", ".join(f"{what} ({times})" for what, times in content.remarks.items())
        _heard(f"{named}: left out is what cannot be taken: {listed}", remark)
    return sas


def write_sas(
    sas: Iterable[SecurityAssociation], kind: str, *, remark: Remark | None = None
) -> str:
    """
    Return SAs as text in a format; it holds their keys.

    Args:
        sas: The SAs.
        kind: A name of `WRITTEN_AS`.
        remark: Is called with a sentence on what that format has no place for. None refuses that.

    Raises:
        UsageError: an SA cannot be said in that format.
    """
    sas = list(sas)
    target = WRITTEN_AS[kind]
    text = target.write(sas)
    lost = dict.fromkeys(
        name
        for sa in sas
        for name, field in FIELDS.items()
        if name not in target.CARRIES | _DISPENSABLE
        and getattr(sa, name) != field.default
        and not (name == "mode" and sa.mode is Mode.EITHER)
    )
    if lost:
        _heard(f"{kind} has no place for {', '.join(lost)}, which is left out", remark)
    return text


def _heard(what: str, remark: Remark | None) -> None:
    if remark is None:
        raise UsageError(what)
    remark(what)


def _read(path: Path) -> Content:
    _refuse_keys(path)
    where = "standard input" if path == STREAM else str(path)
    raw = files.read_private("/dev/stdin" if path == STREAM else path)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{where} is not UTF-8 text") from None
    for room in READ:
        if room.recognised(text):
            return room.read(text, where)
    known = ", ".join(room.TITLE for room in READ)
    raise UsageError(f"{where} is in no format that is known here ({known})")


def _refuse_keys(path: Path) -> None:
    """Refuse keys in the place of a file that has them, and do not show them once more."""
    word = str(path)
    if (_KEY.search(word) or tcpdump.recognised(word)) and not _is_there(path):
        raise UsageError(
            "a key is no file: all users see it on a command line; write the line into a file, "
            "run chmod 600 on that, and name it here"
        )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than any name
        return False


__all__ = [
    "Content",
    "Format",
    "READ",
    "Remark",
    "Target",
    "WRITTEN_AS",
    "load_sas",
    "write_sas",
]
