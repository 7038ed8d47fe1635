"""
The tree of names an operator reads and writes: ``framework.sysctl["kern.usercrypto"]``.

One source of truth for every view of a framework. Each name is a `Node` with a type, a sentence,
and, if it is writable, a checked range.
"""

from __future__ import annotations

import errno
from collections.abc import (
    Callable,
    Collection,
    ItemsView,
    Iterable,
    Iterator,
    MutableMapping,
    ValuesView,
)
from typing import Final, Literal, NamedTuple, Self

from opencrypto.exceptions import UsageError

LONGEST_SHOWN: Final = 64
"""How many characters, or bits, of a wrong value a message repeats."""

Value = int | float | str | tuple[int, ...]

Type = Literal["integer", "number", "string", "integers"]
"""The type of a value: int, float, str, or a tuple of int."""

Kind = Literal["", "counter", "gauge"]
"""What a consumer's number is to who measures."""


Steps = Callable[[], Iterator[Value | None]]
"""A value that takes time to find: None after each step of some milliseconds, then the value."""


class Node(NamedTuple):
    """
    One name of the tree.

    Attributes:
        name: Dotted, as sysctl(8) prints it.
        description: One sentence.
        get: Reads the value.
        set: Writes it, or None if it is read-only.
        low: The least value allowed.
        high: The greatest value allowed.
        type: What `get` returns.
        unit: What it is counted in (``bytes``, ``ns``, ``s``); empty for plain numbers.
        steps: Reads it step by step, where there is much to look at; None if it is read at once.
        kind: Whether `opencrypto.metrics` and `opencrypto.telemetry` show it under its own name: a
            ``counter``, which only grows, or a ``gauge``. For consumers that count: they `graft`
            such nodes. Empty: they do not, or know the name by themselves.
    """

    name: str
    description: str
    get: Callable[[], Value]
    set: Callable[[int], None] | None = None
    low: int = -(2**31)
    high: int = 2**31 - 1
    type: Type = "integer"
    unit: str = ""
    kind: Kind = ""
    steps: Steps | None = None

    @classmethod
    def in_steps(
        cls, name: str, description: str, steps: Steps, *, type: Type = "integer", unit: str = ""
    ) -> Self:
        """Make a read-only node whose value is found step by step."""
        return cls(name, description, lambda: _last(steps()), type=type, unit=unit, steps=steps)

    def read(self) -> Iterator[Value | None]:
        """
        Read the value for who must not be kept long: yield None after each step, and the value
        at the end.
        """
        if self.steps is None:
            yield self.get()
        else:
            yield from self.steps()

    def write(self, value: Value) -> None:
        """
        Set the value.

        Raises:
            UsageError: it is read-only (EPERM), of another type, or out of range.
        """
        if self.set is None:
            raise UsageError(f"{self.name} is read-only", errno=errno.EPERM)
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{self.name} takes an integer, not {type(value).__name__}")
        if not self.low <= value <= self.high:
            raise UsageError(f"{self.name} takes {self.low} to {self.high}, not {shown(value)}")
        self.set(value)


def _last(steps: Iterator[Value | None]) -> Value:
    *_, value = steps
    assert value is not None
    return value


def shown(value: int | str) -> str:
    """Write a value into a message: a long one by its beginning and its length."""
    if isinstance(value, int):
        bits = value.bit_length()
        return str(value) if bits <= LONGEST_SHOWN else f"a number of {bits} bits"
    text = repr(value[:LONGEST_SHOWN])
    return text if len(value) <= LONGEST_SHOWN else f"{text}... ({len(value)} characters)"


def _meet(prefix: str, name: str) -> bool:
    """Tell whether a branch has names under this one, or this one in it."""
    return prefix.startswith(name) or name.startswith(prefix)


def sentence(description: str) -> str:
    """Begin a node's description with a capital letter, for those who show it by itself."""
    return description[:1].upper() + description[1:]


class Sysctl(MutableMapping[str, Value]):
    """
    The names of one framework as a mapping; names can be neither added nor deleted through it.

    Drivers come and go, and with them names: `items` is for who wants all values, and
    ``dict(tree.items())`` rather than ``dict(tree)``, which reads one name after the other.

    A branch whose names come and go (one per driver, say) is hung on the tree as a function that
    lists its nodes, in one place: `graft`. The nodes that one call of it returns may share what
    they have looked up, so that values read together belong together.
    """

    def __init__(self) -> None:
        self._branches: list[tuple[tuple[str, ...], Callable[[], Iterable[Node]]]] = []

    def graft(self, branch: Callable[[], Iterable[Node]], *prefixes: str) -> None:
        """
        Hang a branch on the tree.

        Args:
            branch: Returns its nodes as they are now.
            prefixes: How each of its names begins, with one of these: it is not asked for others.
                Without any it is asked for all.
        """
        self._branches.append((prefixes or ("",), branch))

    def nodes(self, prefix: str = "") -> dict[str, Node]:
        """Return every node whose name begins with `prefix`, by name, as the tree is now."""
        return {
            node.name: node
            for starts, branch in self._branches
            if prefix.startswith(starts) or any(start.startswith(prefix) for start in starts)
            for node in branch()
            if node.name.startswith(prefix)
        }

    def walk(self, names: Collection[str] = ()) -> Iterator[Node]:
        """
        Yield nodes one by one: of the branches that these names are in, or all.

        For who must not be kept long: what is not asked for is among them, and a name may come
        twice.
        """
        for prefixes, branch in self._branches:
            if not names or any(_meet(prefix, name) for prefix in prefixes for name in names):
                yield from branch()

    def has_branch(self, name: str) -> bool:
        """Tell whether names of a branch begin so, though there may be none now: no driver, say."""
        return any(f"{name}." in prefixes for prefixes, _ in self._branches)

    def below(self, name: str) -> dict[str, Node]:
        """
        Return the node of a name and those under it, as sysctl(8) does for a name's first part.

        Raises:
            UsageError: there is neither; as `node`.
        """
        found = {
            each: node
            for each, node in self.nodes(name).items()
            if each == name or each.startswith(f"{name}.")
        }
        return found if found or self.has_branch(name) else {name: self.node(name)}

    def node(self, name: str) -> Node:
        """
        Return the node of a name.

        Raises:
            UsageError: there is no such name (ENOENT); the message suggests near ones. It is an
                `UnknownName`, and so a KeyError too, as a mapping's reader expects.
        """
        found = self.nodes(name).get(name)
        if found is not None:
            return found
        raise UnknownName.of(name, near_names(name, self.nodes()))

    def __getitem__(self, name: str) -> Value:
        return self.node(name).get()

    def integer(self, name: str) -> int:
        """
        Return the value of a name that has an integer.

        Raises:
            UsageError: there is no such name, or it has a value of another type.
        """
        value = self[name]
        if not isinstance(value, int):
            raise UsageError(f"{name} is no integer")
        return value

    def __setitem__(self, name: str, value: Value) -> None:
        """
        Write a value.

        Raises:
            UsageError: there is no such name, or it does not take the value; as `Node.write`.
        """
        self.node(name).write(value)

    def __delitem__(self, name: str) -> None:
        raise UsageError(f"{self.node(name).name} cannot be deleted", errno=errno.EPERM)

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes())

    def items(self) -> ItemsView[str, Value]:
        """Return names with their values, of one look: none of them can be gone when it is read."""
        return {name: node.get() for name, node in self.nodes().items()}.items()

    def values(self) -> ValuesView[Value]:
        """Return the values, likewise."""
        return dict(self.items()).values()

    def __len__(self) -> int:
        return len(self.nodes())

    def __repr__(self) -> str:
        return f"<Sysctl {len(self)} names>"


class UnknownName(UsageError, KeyError):
    """No such name in the tree (ENOENT)."""

    code = errno.ENOENT

    @classmethod
    def of(cls, name: str, near: Collection[str]) -> Self:
        """Make the error of a name, with those that may have been meant."""
        hint = f"; did you mean {' or '.join(near)}?" if near else "; see 'opencrypto sysctl -a'"
        return cls(f"no sysctl name {shown(name)}{hint}")


def near_names(name: str, names: Iterable[str]) -> list[str]:
    """Return the names that look most like one."""
    import difflib  # wanted for a wrong name alone

    return difflib.get_close_matches(name, names, n=3)


def lineage(name: str) -> list[str]:
    """Return a name and those above it: ``a.b.c``, ``a.b``, ``a``."""
    found = [name]
    while "." in name:
        name = name.rpartition(".")[0]
        found.append(name)
    return found
