"""The public face: every name exported once, documented, and defined somewhere else."""

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import opencrypto

FACE = Path(__file__).parents[2] / "opencrypto" / "__init__.py"
TREE = ast.parse(FACE.read_text())


def imported_names() -> list[str]:
    """Return what the face imports, by the names it gives."""
    return [
        alias.asname or alias.name
        for node in ast.walk(TREE)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert list(opencrypto.__all__) == sorted(set(opencrypto.__all__))


def test_what_is_imported_is_exported() -> None:
    names = imported_names()
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"imported twice: {twice}"
    exported = {name for name in opencrypto.__all__ if name != "__version__"}
    assert exported == {name for name in names if not name.startswith("_")}


def test_the_face_defines_nothing() -> None:
    """What is defined there would have no room of its own, and would be imported by the rooms."""
    for node in TREE.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        dunder = isinstance(node, ast.Assign | ast.AnnAssign) and all(
            isinstance(target, ast.Name) and target.id in {"__all__", "__version__"}
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
        imports = isinstance(node, ast.Import | ast.ImportFrom)
        assert docstring or dunder or imports, f"line {node.lineno}: {ast.unparse(node)[:60]}"


@pytest.mark.parametrize("name", opencrypto.__all__)
def test_public_names_are_documented(name: str) -> None:
    thing = getattr(opencrypto, name)
    assert not isinstance(thing, ModuleType) or name == "bsd", "a module is no name of its own"
    if inspect.isclass(thing) or inspect.isroutine(thing):
        # __doc__, not getdoc(): that would show the docstring of a base class.
        assert (thing.__doc__ or "").strip(), f"{name} says nothing about itself"
    if inspect.isclass(thing) and thing.__module__.startswith("opencrypto"):
        silent = [
            f"{name}.{attribute}"
            for attribute, value in vars(thing).items()
            if not attribute.startswith("_")
            and (inspect.isroutine(value) or isinstance(value, property))
            and not (inspect.getdoc(getattr(thing, attribute)) or "").strip()
        ]
        assert not silent, f"undocumented: {silent}"


def test_one_thing_has_one_name() -> None:
    """Constants may share a value, and BSD has synonyms; classes and functions have one name."""
    seen: dict[int, str] = {}
    for name in opencrypto.__all__:
        thing = getattr(opencrypto, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            first = seen.setdefault(id(thing), name)
            assert first == name, f"{name} is {first}"
