"""The public face: every name exported once, documented, and defined somewhere else."""

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import opencrypto
from opencrypto import bsd, constants

FACE = Path(__file__).parents[2] / "opencrypto" / "__init__.py"
TREE = ast.parse(FACE.read_text())


def imported_names() -> list[str]:
    """Return what the face imports by name."""
    return [
        alias.asname or alias.name
        for node in ast.walk(TREE)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name != "*"
    ]


def test_all_names_nothing_twice() -> None:
    assert len(opencrypto.__all__) == len(set(opencrypto.__all__))


@pytest.mark.parametrize("face", [opencrypto, bsd, constants], ids=lambda face: face.__name__)
def test_lists_of_names_are_sorted(face: ModuleType) -> None:
    tree = ast.parse(Path(str(face.__file__)).read_text())
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert lists == [sorted(names) for names in lists]
    assert len(lists) == 1


def test_what_is_imported_is_exported() -> None:
    names = imported_names()
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"imported twice: {twice}"
    exported = set(opencrypto.__all__) - set(constants.__all__)
    assert exported == {name for name in names if not name.startswith("_")}


def test_every_constant_is_listed_where_it_is_defined() -> None:
    """And by that it is exported, at the top and in the BSD face."""
    tree = ast.parse(Path(str(constants.__file__)).read_text())
    defined = [
        node.name if isinstance(node, ast.ClassDef) else ast.unparse(node.target)
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.AnnAssign)
    ]
    assert sorted(defined) == constants.__all__
    assert set(constants.__all__) <= set(opencrypto.__all__)
    assert set(constants.__all__) - set(bsd.__all__) == {"Alg", "EBADMSG", "EOK", "Kop"}


def test_the_face_defines_nothing() -> None:
    """What is defined there would have no room of its own, and would be imported by the rooms."""
    for node in TREE.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        dunder = isinstance(node, ast.Assign | ast.AnnAssign) and all(
            isinstance(target, ast.Name) and target.id in {"__all__", "__version__"}
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
        imports = isinstance(node, ast.Import | ast.ImportFrom)
        listed = isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "__all__"
        assert docstring or dunder or imports or listed, (
            f"line {node.lineno}: {ast.unparse(node)[:60]}"
        )


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
