"""
Where drivers come from, and who of them is let in: distributions, and the lists of names.

A driver sees keys, and whoever can install a distribution can offer one. So each is known by its
distribution, version and file, and an operator says by lists what may be loaded, and what must not.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from opencrypto._hookimpl import PROJECT
from opencrypto.exceptions import UsageError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

BLOCK_VARIABLE: Final = "OPENCRYPTO_BLOCK"
"""Environment variable: plugins and drivers not to load. It wins over whatever allows them."""

ALLOW_VARIABLE: Final = "OPENCRYPTO_ALLOW"
"""Environment variable: if it names any, the only plugins of installed distributions to load."""

OURS: Final = "opencrypto"
"""The distribution that the framework itself comes with."""


class Words(TypedDict):
    """What an origin is called."""

    distribution: str
    version: str
    file: str


class Origin:
    """
    Where a plugin comes from. What stands in files is looked up when it is wanted.

    Attributes:
        distribution: The distribution that declares it; empty if a program has brought it.
        version: That distribution's version; empty if there is none.
    """

    def __init__(self, module: str = "", distribution: str = "", version: str = "") -> None:
        self._module = module
        self.distribution = distribution
        self.version = version

    @classmethod
    def of(cls, plugin: object) -> Origin:
        """Return where an object comes from that a program has brought itself."""
        named = getattr(plugin, "__file__", None) and getattr(plugin, "__name__", None)
        holder = plugin if isinstance(plugin, type) else type(plugin)
        return cls(str(named or holder.__module__))

    @cached_property
    def file(self) -> str:
        """The file of its module, found without running it; empty if there is none."""
        module = sys.modules.get(self._module)
        if module is not None:
            return _shown(getattr(module, "__file__", None) or "")
        from importlib.util import find_spec

        try:
            spec = find_spec(self._module.partition(".")[0])  # of a whole name, it would run a part
        except (ImportError, ValueError):
            return ""
        return _shown(spec.origin or "") if spec is not None else ""

    @cached_property
    def outside(self) -> bool:
        """Whether another distribution than the framework's own has brought it."""
        return bool(self.distribution) and _canonical(self.distribution) != OURS

    @property
    def label(self) -> str:
        """Distribution and version, for people."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def words(self) -> Words:
        """Distribution, version and file by name, for listings, the log and observers."""
        return Words(distribution=self.distribution, version=self.version, file=self.file)

    def __repr__(self) -> str:
        return f"<Origin {self.label or self._module}>"


class Names:
    """
    A list of names as an operator writes it.

    ``openssl`` is a plugin or a driver of that name, whoever brings it; ``openssl@opencrypto`` the
    one of that distribution; ``*@opencrypto`` all of a distribution's; ``*`` all there are.

    Raises:
        UsageError: it is one string, the letters of which are nobody's names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        if isinstance(names, str):
            raise UsageError(f"{names!r} is one string; give a list of names, or a set")
        self._whoever: set[str] = set()
        self._by: set[tuple[str, str]] = set()
        for each in names:
            name, at, distribution = each.strip().partition("@")
            if at:
                self._by.add((name, _canonical(distribution)))
            elif name:
                self._whoever.add(name)

    @classmethod
    def of_environment(cls, variable: str) -> Names:
        """Read a list from the environment, separated by commas."""
        return cls(os.environ.get(variable, "").split(","))

    def has(self, name: str, origin: Origin) -> bool:
        """Tell whether a name of that origin is on the list."""
        return bool(self._whoever & {name, "*"}) or self.singles_out(name, origin)

    def singles_out(self, name: str, origin: Origin) -> bool:
        """Tell whether it is, beside its distribution: of two with one name this one is meant."""
        distribution = _canonical(origin.distribution)
        return (name, distribution) in self._by or ("*", distribution) in self._by

    def __bool__(self) -> bool:
        return bool(self._whoever or self._by)


class Lists:
    """
    Who is let in.

    Args:
        blocked: Names that the program does not want, beside those of the environment.
    """

    def __init__(self, blocked: Iterable[str] = ()) -> None:
        self._blocked = (Names(blocked), Names.of_environment(BLOCK_VARIABLE))
        self._allowed = [Names.of_environment(ALLOW_VARIABLE)]

    def allow_only(self, names: Iterable[str]) -> None:
        """Let in, of those that the environment lets in, only these."""
        self._allowed.append(Names(names))

    def blocks(self, name: str, origin: Origin) -> bool:
        """Tell whether a plugin or driver of this name is blocked, whoever allows it."""
        return any(names.has(name, origin) for names in self._blocked)

    def refusal(self, name: str, origin: Origin) -> str:
        """Say why a plugin of an installed distribution is not let in, or return ""."""
        if self.blocks(name, origin):
            return "blocked by configuration"
        if not all(names.has(name, origin) for names in self._allowed if names):
            return f"not on the list of what may be loaded ({ALLOW_VARIABLE}, or plugins=)"
        return ""

    def driver_refusal(self, name: str, plugin: str, origin: Origin) -> str:
        """
        Say why a driver is not let in whose plugin is, or return an empty string.

        A plugin that a list names may bring drivers called like it (``afalg``, ``afalg.hw``). One
        of another name must be on the list itself, or else what may be loaded could not be read.
        """
        if self.blocks(name, origin):
            return "blocked by configuration"
        if not origin.distribution or name == plugin or name.startswith(f"{plugin}."):
            return ""
        refusal = self.refusal(name, origin)
        return refusal and f"{refusal}; its plugin {plugin} is"

    def only(self, name: str, origins: Iterable[Origin]) -> Origin | None:
        """Return the one of several origins of a name that a list singles out, if one alone is."""
        meant = [
            origin
            for origin in origins
            if any(names.singles_out(name, origin) for names in self._allowed)
        ]
        return meant[0] if len(meant) == 1 else None


class Declared(NamedTuple):
    """A plugin that an installed distribution declares; `load` imports it."""

    name: str
    load: Callable[[], object]
    origin: Origin


def declared() -> list[Declared]:
    """List the plugins that installed distributions declare, by name, then by distribution."""
    from importlib.metadata import entry_points  # as heavy as the framework itself

    versions: dict[int, tuple[str, str]] = {}
    found: dict[tuple[str, str, str], Declared] = {}
    for entry in entry_points(group=PROJECT):
        name, version = _of_distribution(entry, versions)
        origin = Origin(entry.module, name, version)
        found[entry.name, name, entry.value] = Declared(entry.name, entry.load, origin)
    return [found[key] for key in sorted(found)]


def conflict(name: str, origins: Iterable[Origin]) -> str:
    """Say that several distributions have something of one name, and what to do about it."""
    labels = [f"{origin.label} ({origin.file})" for origin in origins]
    return (
        f"{' and '.join(labels)} have a driver {name!r} each, and neither is taken; uninstall one, "
        f"or name what may be loaded in {ALLOW_VARIABLE}, {name}@DISTRIBUTION among it"
    )


def _of_distribution(entry: EntryPoint, versions: dict[int, tuple[str, str]]) -> tuple[str, str]:
    """Return name and version of the distribution that declares an entry point."""
    distribution: Distribution | None = entry.dist
    if distribution is None:
        return "", ""
    known = versions.get(id(distribution))
    if known is None:
        facts = distribution.metadata  # read from its file each time
        known = _shown(facts["Name"]), _shown(facts["Version"])
        versions[id(distribution)] = known
    return known


def _shown(text: object) -> str:
    """Return what a file of somebody's says, fit for a terminal and a line of a log."""
    return "".join(each if each.isprintable() else "?" for each in str(text))


def _canonical(name: str) -> str:
    """Return a distribution's name as its index compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def by_name(plugins: Iterable[Declared]) -> Iterator[tuple[str, list[Declared]]]:
    """Give the plugins of each name together."""
    groups: dict[str, list[Declared]] = {}
    for each in plugins:
        groups.setdefault(each.name, []).append(each)
    yield from groups.items()
