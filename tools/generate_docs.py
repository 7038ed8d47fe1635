#!/usr/bin/env python3
"""
Write the parts of docs/ that are made from the code: diagrams, and the tables of rooms, errors,
algorithms and clauses. Each stands in its page between a line that begins it and one that ends it.

    tools/generate_docs.py            write them
    tools/generate_docs.py --check    write nothing; exit status 1 if one is not as it should be
"""

from __future__ import annotations

import ast
import errno
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "drivers")]

from opencrypto import _state, exceptions, xform
from opencrypto.testing import CLAUSES
from opencrypto_afalg.names import NAMES
from opencrypto_null import NullDriver
from opencrypto_openssl._driver import OpensslDriver
from opencrypto_swcrypto._driver import SwcryptoDriver

DOCS = ROOT / "docs"


def states(table: _state.Table[Any, Any]) -> str:
    """Draw a table of transitions."""
    lines = ["```mermaid", "stateDiagram-v2"]
    first = next(iter(table))
    lines.append(f"    [*] --> {first.name}")
    for state, events in table.items():
        lines += [f"    {state.name} --> {to.name}: {event}" for event, to in events.items()]
        if not events:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join([*lines, "```"])


def rooms() -> str:
    """List the rooms in the order of their imports, each with the first sentence it says."""
    source = (ROOT / "tests" / "house" / "test_imports.py").read_text()
    order = next(
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER"
    )
    lines = ["| room | what lives there |", "| --- | --- |"]
    for name in " ".join(order).split():
        place = ROOT / "opencrypto" / name.replace(".", "/")
        file = place.with_suffix(".py")
        if not file.exists():
            file = place / "__init__.py"
        if file.exists():
            lines.append(f"| `{name}` | {first_sentence(file)} |")
    return "\n".join(lines)


def first_sentence(file: Path) -> str:
    """Return the first sentence of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0].rstrip(".").replace("|", "\\|")


def error_tree() -> str:
    """Draw the tree of exceptions, each with its errno and what it means."""
    lines = ["| exception | errno | what it means |", "| --- | --- | --- |"]

    def add(cls: type[exceptions.CryptoError], depth: int) -> None:
        own = vars(cls).get("code", cls.code)
        indent = "&nbsp;&nbsp;&nbsp;&nbsp;" * depth
        lines.append(f"| {indent}`{cls.__name__}` | {errno.errorcode[own]} | {summary(cls)} |")
        for child in cls.__subclasses__():
            if child.__module__ == exceptions.__name__:
                add(child, depth + 1)

    add(exceptions.CryptoError, 0)
    return "\n".join(lines)


def summary(thing: object) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def error_numbers() -> str:
    """List what each errno in `etype` or `status` becomes, and the sentence that goes with it."""
    lines = ["| errno | becomes | says, if nothing more is known |", "| --- | --- | --- |"]
    for code, cls in exceptions.ERRNO_CLASSES.items():
        name = errno.errorcode[code]
        lines.append(f"| {name} | `{cls.__name__}` | {exceptions.sentence(code)} |")
    return "\n".join(lines)


def clauses() -> str:
    """List the clauses of the driver contract."""
    lines = ["| clause | what it says |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {ident} | {says} |" for ident, says in CLAUSES.items())])


def algorithms() -> str:
    """List the facts of each algorithm, and which drivers of the tree have it."""
    lines = [
        "| constant | number | what | standard | keys | IV | length | MAC | longest | drivers |",
        "| --- | ---: | --- | --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for alg, facts in sorted(xform.FACTS.items()):
        if facts.kind is xform.Kind.AEAD_AUTH:
            what = f"tag of {', '.join(cipher.name for cipher in xform.AEAD_CIPHERS[alg])}"
        else:
            what = {xform.Kind.AEAD: "cipher with a tag", xform.Kind.HASH: "digest"}.get(
                facts.kind, facts.kind.value.replace("mac", "MAC")
            )
        cells = (
            f"`CRYPTO_{facts.name}`", alg, what, facts.source, _lengths(facts.keys), _ivs(facts),
            facts.granule if facts.granule > 1 else "", facts.mac or "", _longest(facts.longest),
            ", ".join(name for name, has in DRIVERS.items() if alg in has),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _lengths(keys: range | frozenset[int] | None) -> str:
    if keys is None:
        return "any"
    if not any(keys):
        return ""
    if len(keys) > 6:
        return f"{min(keys)} to {max(keys)}"
    return ", ".join(map(str, sorted(keys)))


def _ivs(facts: xform.Facts) -> str:
    bare = facts.keys is None or bool(frozenset(facts.keys) - facts.salted)
    lengths = [facts.iv] if bare else []
    lengths += [facts.salted_iv] if facts.salted else []
    return " or ".join(map(str, filter(None, lengths)))


def _longest(length: int) -> str:
    """Write a number of bytes as near a power of two as it is."""
    if not length:
        return ""
    power = length.bit_length() if length & (length - 1) else length.bit_length() - 1
    less = (1 << power) - length
    return f"2^{power}{f' - {less}' if less else ''}"


def names() -> str:
    """List every name with its aliases, the algorithm, the key and the MAC."""
    lines = [
        "| name | other spellings | algorithm | keys | MAC |",
        "| --- | --- | --- | --- | ---: |",
    ]
    for entry in xform.named():
        aliases = ", ".join(f"`{alias}`" for alias in entry.aliases)
        cells = (
            f"`{entry.name}`", aliases, entry.alg.name, _lengths(entry.keys), entry.mlen or "",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


DRIVERS: dict[str, frozenset[int]] = {
    "openssl": frozenset(OpensslDriver.capabilities),
    "swcrypto": frozenset(SwcryptoDriver.capabilities),
    "afalg": frozenset(
        {int(alg) for alg in NAMES}
        | {int(half) for alg in NAMES for half in xform.AEAD_PARTNERS.get(alg, ())}
    ),
    "null": frozenset(NullDriver.capabilities),
}
"""The drivers of the tree, and what each may have; what this machine's kernel lacks is there."""

PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "rooms": ("architecture.md", rooms),
    "request states": ("architecture.md", lambda: states(_state.REQUEST)),
    "session states": ("architecture.md", lambda: states(_state.SESSION)),
    "slot states": ("architecture.md", lambda: states(_state.SLOT)),
    "exceptions": ("errors.md", error_tree),
    "errno values": ("errors.md", error_numbers),
    "algorithms": ("algorithms.md", algorithms),
    "names": ("algorithms.md", names),
    "clauses": ("howto/test-your-driver.md", clauses),
}


def generated() -> Iterator[tuple[Path, str, str]]:
    """Give each page with its text now and its text as it should be."""
    for page in sorted({page for page, _ in PARTS.values()}):
        path = DOCS / page
        now = text = path.read_text()
        for name, (where, make) in PARTS.items():
            if where == page:
                text = put(text, name, make(), path)
        yield path, now, text


def put(text: str, name: str, part: str, path: Path) -> str:
    """Put a part between its two lines."""
    begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{path}: there is no place for {name!r}; add {begin} and {end}")
    return f"{head}{begin}\n{part}\n{end}{tail}"


def main() -> int:
    """Write or check; return the exit status."""
    stale = [(path, text) for path, now, text in generated() if now != text]
    for path, text in stale:
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is stale; run tools/generate_docs.py")
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
