"""
What marks the functions of a plugin; it imports pluggy only when a plugin is there to be marked.

pluggy and what it imports (inspect, ast, tokenize) cost a third of the framework's own import, and
a program that only imports names does without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast, overload

PROJECT: Final = "opencrypto"
"""The name of the entry-point group, and of pluggy's project."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def hookimpl(function: _Function, **options: Any) -> _Function: ...


@overload
def hookimpl(function: None = None, **options: Any) -> Callable[[_Function], _Function]: ...


def hookimpl(
    function: _Function | None = None, **options: Any
) -> _Function | Callable[[_Function], _Function]:
    """
    Mark a function as the implementation of the hook of its name: see `opencrypto.hookspecs`.

    Args:
        function: The function; without one, a decorator with these options is returned.
        options: Those of pluggy's ``HookimplMarker``, such as ``specname`` and ``tryfirst``.

    Raises:
        TypeError: pluggy has no such option.
    """
    from pluggy import HookimplMarker

    marked = HookimplMarker(PROJECT)(function, **options)
    return cast("_Function | Callable[[_Function], _Function]", marked)
