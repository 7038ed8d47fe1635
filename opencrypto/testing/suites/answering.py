"""
A driver as the subject of a validation: prompts of ACVP come in, and its answers go out.

Each line in is a vector set as a server gives it; each line out is the response to that. What the
driver does not do has ``error`` and the reason in place of an answer, and nothing is made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opencrypto.exceptions import CryptoError
from opencrypto.testing.suites import acvp
from opencrypto.testing.suites.case import NOT_AS_PUBLISHED, Fields
from opencrypto.testing.suites.subject import RefusedError, Subject, WrongError

__all__ = ["answer_lines"]

_KEPT = ("vsId", "algorithm", "mode", "revision", "isSample")
"""What a response repeats of its prompt."""


def answer_lines(subject: Subject, lines: Iterable[str]) -> Iterator[Fields]:
    """
    Answer prompts, one after the other.

    Args:
        subject: The driver.
        lines: JSON, a vector set each; empty ones are passed over.

    Yields:
        The response to each, or an object with ``error`` for a line that is no vector set.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            documents = acvp.vector_sets(json.loads(line))
        except (ValueError, RecursionError):
            documents = []
        if not documents:
            yield {"error": f"line {number} is no vector set: one JSON object with testGroups"}
        for document in documents:
            yield _response(subject, document)


def _response(subject: Subject, document: Fields) -> Fields:
    kept = {name: document[name] for name in _KEPT if name in document}
    try:
        groups = [
            {
                "tgId": group.get("tgId"),
                "tests": [_answered(subject, document, group, test) for test in group["tests"]],
            }
            for group in document["testGroups"]
        ]
    except NOT_AS_PUBLISHED as error:
        return {**kept, "error": f"is not built as vector sets are ({type(error).__name__})"}
    return {**kept, "testGroups": groups}


def _answered(subject: Subject, document: Fields, group: Fields, test: Fields) -> Fields:
    work = acvp.MONTE_CARLO_WORK if group.get("testType") == "MCT" else 1.0
    found: list[Fields] = []

    def ask(asked: Subject) -> None:
        found.append(acvp.answer(document, group, test, asked))

    return {"tcId": test.get("tcId"), **_guarded(subject, ask, found, subject.patience * work)}


def _guarded(
    subject: Subject, ask: Callable[[Subject], None], found: list[Any], patience: float
) -> Fields:
    try:
        subject.call(ask, patience)
    except (RefusedError, WrongError) as error:
        return {"error": str(error)}
    except NOT_AS_PUBLISHED as error:
        return {"error": f"is not built as such cases are ({type(error).__name__})"}
    except CryptoError as error:
        return {"error": error.strerror or type(error).__name__}
    answered: Fields = found[0]
    return answered
