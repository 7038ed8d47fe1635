"""
The tree of names an operator reads and writes: ``framework.sysctl["kern.usercrypto"]``.

One source of truth for every view of a framework. Each name is a `Node` with a type, a sentence,
and, if it is writable, a checked range.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass

from opencrypto.exceptions import UsageError

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Node:
    """
    One name of the tree.

    Attributes:
        name: Dotted, as sysctl(8) prints it.
        description: One sentence.
        get: Reads the value.
        set: Writes it, or None if it is read-only.
        low: The least value allowed.
        high: The greatest value allowed.
    """

    name: str
    description: str
    get: Callable[[], Value]
    set: Callable[[int], None] | None = None
    low: int = -(2**31)
    high: int = 2**31 - 1


class Sysctl(MutableMapping[str, Value]):
    """
    The names of one framework as a mapping; names can be neither added nor deleted through it.

    A branch whose names come and go (one per driver, say) is hung on the tree as a function that
    lists its nodes, in one place: `graft`.
    """

    def __init__(self) -> None:
        self._branches: list[Callable[[], Iterable[Node]]] = []

    def graft(self, branch: Callable[[], Iterable[Node]]) -> None:
        """Hang a branch on the tree: a function that returns its nodes as they are now."""
        self._branches.append(branch)

    def nodes(self) -> dict[str, Node]:
        """Return every node by name, as the tree is now."""
        return {node.name: node for branch in self._branches for node in branch()}

    def node(self, name: str) -> Node:
        """
        Return the node of a name.

        Raises:
            UsageError: there is no such name (ENOENT); the message suggests near ones. It is a
                KeyError too, as a mapping's reader expects.
        """
        nodes = self.nodes()
        if name in nodes:
            return nodes[name]
        near = difflib.get_close_matches(name, nodes, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; see 'opencrypto sysctl -a'"
        raise UnknownName(f"no sysctl name {name!r}{hint}")

    def __getitem__(self, name: str) -> Value:
        return self.node(name).get()

    def __setitem__(self, name: str, value: Value) -> None:
        """Write a value. Raises UsageError if it is read-only, no integer, or out of range."""
        node = self.node(name)
        if node.set is None:
            raise UsageError(f"{name} is read-only", errno=errno.EPERM)
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{name} takes an integer, not {type(value).__name__}")
        if not node.low <= value <= node.high:
            raise UsageError(f"{name} takes {node.low} to {node.high}, not {value}")
        node.set(value)

    def __delitem__(self, name: str) -> None:
        raise UsageError(f"{self.node(name).name} cannot be deleted", errno=errno.EPERM)

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes())

    def __len__(self) -> int:
        return len(self.nodes())

    def __repr__(self) -> str:
        return f"<Sysctl {len(self)} names>"


class UnknownName(UsageError, KeyError):
    """No such name in the tree (ENOENT)."""

    code = errno.ENOENT
