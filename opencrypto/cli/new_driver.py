"""
``opencrypto new-driver``: the package of a driver, to begin with, which passes its own tests.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final

import typer

from opencrypto.cli import show
from opencrypto.exceptions import UsageError

SUFFIX: Final = ".in"
"""What a template's name ends with, so that nobody takes it for code of ours."""

DOTTED: Final = {"github": ".github", "gitignore": ".gitignore"}
"""Names that begin with a dot, which some builders of packages leave out."""

PLACEHOLDER: Final = re.compile(r"@([A-Z]+)@")

_TOKEN: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")

TAKEN: Final = frozenset({"opencrypto", "drivers", "test", "testing"})
"""Tokens with which the package would be taken for something else."""


class Kind(StrEnum):
    """What there is to begin with."""

    CHAIN = "chain"
    ASYNC = "async"
    CARD = "card"
    NATIVE = "native"


def new_driver(
    name: Annotated[
        str, typer.Argument(help="Its token: what it is called everywhere, as 'mycard'.")
    ],
    kind: Annotated[
        Kind,
        typer.Option(
            help="chain: a library's algorithms; async: those that take long, in threads; "
            "card: a device that answers when it has finished; native: C, by cffi."
        ),
    ] = Kind.CHAIN,
    into: Annotated[
        Path | None, typer.Option(help="The folder to make; opencrypto-NAME here if not given.")
    ] = None,
) -> None:
    """Write the package of a new driver, which passes its own tests."""
    words = words_of(name)
    folder = into or Path(words["DIST"])
    write_package(folder, kind, words)
    show.say(f"wrote {folder}, a driver called {name}; next:")
    show.say(f"  cd {folder} && pip install -e '.[test]' && pytest")


def words_of(name: str) -> dict[str, str]:
    """
    Return what the placeholders of the templates stand for.

    Raises:
        UsageError: the name is no token, or one that is taken.
    """
    if not _TOKEN.fullmatch(name):
        raise UsageError(
            f"{name!r} is no token: small letters, digits and single underscores, as 'mycard'"
        )
    if name in TAKEN or name in _installed():
        raise UsageError(f"there is a driver or a part of opencrypto called {name}; name another")
    camel = "".join(part.capitalize() for part in name.split("_"))
    return {
        "TOKEN": name,
        "UPPER": name.upper(),
        "CAMEL": camel,
        "CLASS": f"{camel}Driver",
        "MODULE": f"opencrypto_{name}",
        "DIST": f"opencrypto-{name.replace('_', '-')}",
    }


def _installed() -> set[str]:
    """Name the plugins that are installed: of two with one name, neither would be loaded."""
    from importlib.metadata import entry_points

    return {entry.name for entry in entry_points(group="opencrypto")}


def write_package(folder: Path, kind: Kind, words: dict[str, str]) -> None:
    """
    Write the package; all of it or, if that fails, nothing.

    Raises:
        UsageError: the folder is there already.
        OSError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{folder} is there already; name another folder by --into") from None
    try:
        for path, text in package_files(kind, words):
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def package_files(kind: Kind, words: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Give each file of a package: its path in the folder, and its text."""
    top = resources.files("opencrypto.cli").joinpath("templates")
    source = f"src/{words['MODULE']}"
    templates = {
        **dict(_templates(top.joinpath("common"))),
        **{
            path if path in {"pyproject.toml", "setup.py", "about"} else f"{source}/{path}": text
            for path, text in _templates(top.joinpath(kind.value))
        },
        f"{source}/py.typed": "",
    }
    words = words | {"ABOUT": _filled(templates.pop("about"), words).strip()}
    for path, text in sorted(templates.items()):
        yield path, _filled(text, words)


def _templates(folder: Traversable) -> Iterator[tuple[str, str]]:
    """Give each template below a folder: the path of what it makes, and its text."""
    for entry in folder.iterdir():
        name = entry.name.removesuffix(SUFFIX)
        name = DOTTED.get(name, name)
        if entry.is_dir():
            yield from ((f"{name}/{path}", text) for path, text in _templates(entry))
        elif entry.name.endswith(SUFFIX):
            yield name, entry.read_text(encoding="utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: words[found[1]], text)
