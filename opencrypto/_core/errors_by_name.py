"""
Errors by name: what ended with which errno, how often, when last, and what was said of it then.

The same names stand under each driver, each chain, and the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from opencrypto._measure.failures import OTHER, Failure, Failures, code_class, code_name, said
from opencrypto._request.key import kop_name
from opencrypto.sysctl import Node, Value

Parts = tuple[str, Callable[[int], str]]
"""What the failures are divided into: the word of it, and what names each part."""


def _operation(op: int) -> str:
    return "other" if op == OTHER else kop_name(op)


OPERATIONS: Final[Parts] = ("ops", _operation)


def error_nodes(prefix: str, failures: Failures, parts: Parts | None = None) -> Iterator[Node]:
    """Name what failed: a count by errno, its class, its last sentence and the time of that."""
    for code, failure in failures.by_code().items():
        name = f"{prefix}.{code_name(code)}"
        yield Node(name, f"those that ended with {code_name(code)}", _always(failure.total))
        yield Node(
            f"{name}.class", "the error that it is in Python", _always(code_class(code)),
            type="string",
        )  # fmt: skip
        yield Node(
            f"{name}.last", "what was said of the last one", _always(said(code, failure)),
            type="string",
        )  # fmt: skip
        yield Node(
            f"{name}.at", "when that was, seconds since 1970", _always(round(failure.at, 3)),
            type="number", unit="s",
        )  # fmt: skip
        if parts is not None:
            yield from _part_nodes(name, failure, *parts)


def _part_nodes(
    prefix: str, failure: Failure, word: str, name_of: Callable[[int], str]
) -> Iterator[Node]:
    for part, count in sorted(failure.counts.items()):
        yield Node(
            f"{prefix}.{word}.{name_of(part)}",
            "those of them of this chain" if word == "chains" else "those of this operation",
            _always(count),
        )


def _always(value: Value) -> Callable[[], Value]:
    return lambda: value
