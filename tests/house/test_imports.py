"""
Imports run one way. ORDER is the architecture as data: edit it when the architecture changes,
and say why in docs/architecture.md.
"""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A room may import the rooms on the lines above its own, and, on its own line, those to its left.
# A wing is a folder of rooms, whose order is here too; any other package (control, testing, cli)
# counts as one room, whatever is inside it.
ORDER = (
    # Ground: names, numbers, facts; the logger, the states as tables, and what has threads.
    "_log _hookimpl constants",
    "exceptions",
    "files",
    "options",
    "_facts _names",
    "_state",
    "_threads",
    # What is asked for: data alone.
    "_request.bsdnames",
    "_request.sid _request.buffer _request.symmetric _request.key _request.keycall",
    # The face of facts and names, which makes parameters of a name.
    "xform",
    # What a chain allows. Pure.
    "_rules.template _rules.seconds _rules.profile _rules.messages",
    "_rules.iv",
    "_rules.chain _rules.check _rules.strength _rules.message _rules.shapes _rules.quick",
    "_rules.lending _rules.pieces",
    # What the author of a driver imports.
    "rng",
    "driver _later _carrying _streaming chain transforms",
    "hookspecs selftest",
    # What is counted while requests go by, and the tree it is read from.
    "_measure.histogram _measure.timing _measure.failures _measure.counters",
    "_measure.tally _measure.callers _measure.trace _measure.watcher",
    "sysctl",
    # The running framework.
    "_core.errands _core.bugs _core.origins _core.plugins _core.selection _core.queues",
    "_core.guard _core.returns _core.pool",
    "_core.lineage _core.listing",
    "_core.depth _core.slots _core.lasting _core.departed _core.driver_table _core.lane",
    "_core.sessions _core.rngs _core.streams",
    "_core.opening _core.moving",
    "_core.requests _core.key_requests _core.virtual _core.short",
    "_core.attach _core.views _core.census _core.errors_by_name _core.tree _core.wires",
    # The control socket is a part of the framework it speaks for, loaded when it is wanted.
    "control",
    # What programs hold; the framework makes them.
    "_client.crew _client.deadline _client.subject _client.opening _client.keyops _client.clock",
    "_client.written _client.calls _client.asking",
    "_client.whole _client.futures _client.many",
    "_client.streams",
    "_client.pending _client.flight _client.key_flight _client.loops _client.turns",
    "_client.aio_streams _client.aio_session _client.aio_framework",
    "_client.session",
    "_core.framework _core.default",
    # Faces.
    "__init__",
    "bsd client aio _exported metrics telemetry",
    "testing",
    "cli",
    "__main__",
)

WINGS = ("_request", "_rules", "_measure", "_core", "_client")

# Rules and data without threads, locks included: whoever calls them holds what must be held.
WITHOUT_THREADS = {
    "constants", "exceptions", "_facts", "_names", "xform", "_state", "_core.selection",
    "_core.queues",
}  # fmt: skip

# Each is there for one room only, so that importing the framework stays quick and can be done
# without it.
ONLY_IN = {
    "typer": {"cli"},
    "rich": {"cli"},
    "dpkt": set[str](),
    "matplotlib": {"cli"},
    "prometheus_client": {"metrics"},
    "opentelemetry": {"telemetry"},
    "pytest": {"testing"},
    "hypothesis": {"testing"},
    "Crypto": set[str](),
    "cryptography": set[str](),
}


@dataclass(frozen=True)
class Import:
    """One name that one file imports: `module` is absolute, `names` what is taken from it."""

    file: Path
    line: int
    module: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


@functools.cache  # most tests here ask for the imports of every file
def imports_of(file: Path, package: str) -> tuple[Import, ...]:
    """
    Return each import of `file`, inside functions and for types alone too.

    `package` is what a leading dot means.
    """
    return tuple(_read_imports(file, package))


def _read_imports(file: Path, package: str) -> Iterator[Import]:
    tree = ast.parse(file.read_text(), str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parts = package.split(".")
                base = parts[: len(parts) - node.level + 1]
                module = ".".join([*base, *filter(None, [module])])
            yield Import(file, node.lineno, module, tuple(alias.name for alias in node.names))


def room_of(file: Path) -> str:
    """Return the room that `file` of the framework belongs to."""
    parts = file.relative_to(ROOT / "opencrypto").with_suffix("").parts
    return ".".join(parts[:2] if parts[0] in WINGS and parts[1] != "__init__" else parts[:1])


def rooms() -> dict[str, list[Path]]:
    """Return the files of each room."""
    found: dict[str, list[Path]] = {}
    for file in sorted((ROOT / "opencrypto").rglob("*.py")):
        if room_of(file) not in WINGS:  # a wing's own __init__ is a paragraph and no code
            found.setdefault(room_of(file), []).append(file)
    return found


ROOMS = rooms()
RANK = {room: n for n, room in enumerate(room for line in ORDER for room in line.split())}


def framework_imports(room: str) -> Iterator[Import]:
    """Yield the imports of all files of a room."""
    for file in ROOMS[room]:
        folder = file.parent.relative_to(ROOT)
        yield from imports_of(file, ".".join(folder.parts))


def rooms_imported(found: Import) -> set[str]:
    """Return the rooms of the framework that an import goes to."""
    top, _, rest = found.module.partition(".")
    if top != "opencrypto":
        return set()
    wing, _, room = rest.partition(".")
    if wing in WINGS:
        return (
            {f"{wing}.{room.partition('.')[0]}"} if room else {f"{wing}.{n}" for n in found.names}
        )
    if rest:
        return {wing}
    # "from opencrypto import x": a room if there is one of that name, else the public face.
    return {name if name in ROOMS else "__init__" for name in found.names} or {"__init__"}


def outside_packages() -> list[Path]:
    """Return the folders of the drivers and the consumers."""
    return sorted(
        folder
        for root in ("drivers", "consumers")
        for folder in (ROOT / root).glob("*")
        if folder.is_dir() and (folder / "__init__.py").exists()
    )


def test_every_room_has_its_place() -> None:
    assert ROOMS, "no rooms found"
    unplaced = sorted(set(ROOMS) - set(RANK))
    assert not unplaced, f"add to ORDER, where they belong: {unplaced}"


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_says_what_may_live_there(wing: str) -> None:
    tree = ast.parse((ROOT / "opencrypto" / wing / "__init__.py").read_text())
    assert len(ast.get_docstring(tree) or "") > 100
    assert len(tree.body) == 1, "it imports nothing: a room is imported by its own name"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_is_above_them(room: str) -> None:
    wrong = [
        f"{found} ({target} comes after {room})"
        for found in framework_imports(room)
        for target in (rooms_imported(found) - {room}) & set(RANK)
        if RANK[target] >= RANK.get(room, -1)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_the_framework_knows_no_driver_and_no_consumer(room: str) -> None:
    # The command is the one who calls a consumer, and by its name: `opencrypto esp`.
    allowed = {"opencrypto_esp"} if room == "cli" else set()
    wrong = [
        str(found)
        for found in framework_imports(room)
        if (top := found.module.partition(".")[0]).startswith("opencrypto_") and top not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_the_control_socket_imports_nothing_that_runs() -> None:
    """The framework loads it late, and hands itself over; the types of listings are known."""
    wrong = [
        str(found)
        for found in framework_imports("control")
        if any(
            target.startswith("_core.")
            for target in rooms_imported(found) - {"_core.views", "_core.listing"}
        )
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", sorted(WITHOUT_THREADS & set(ROOMS)))
def test_rules_have_no_threads(room: str) -> None:
    wrong = [
        str(found)
        for found in framework_imports(room)
        if found.module.partition(".")[0] in {"threading", "_thread", "asyncio", "concurrent"}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_in_their_room(library: str) -> None:
    wrong = [
        str(found)
        for room in set(ROOMS) - ONLY_IN[library]
        for found in framework_imports(room)
        if found.module.partition(".")[0] == library
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", outside_packages(), ids=lambda folder: folder.name)
def test_drivers_and_consumers_use_public_names(folder: Path) -> None:
    """They have nothing that an outside author has not."""
    wrong = []
    for file in sorted(folder.rglob("*.py")):
        package = ".".join(file.parent.relative_to(folder.parent).parts)
        for found in imports_of(file, package):
            top, _, rest = found.module.partition(".")
            if top.startswith("opencrypto_") and top != folder.name:
                wrong.append(f"{found}: another package")
            if top == "opencrypto":
                path = [*rest.split("."), *found.names]
                private = [name for name in path if name.startswith("_") and name != "__version__"]
                if private:
                    wrong.append(f"{found}: {', '.join(private)} is private")
    assert not wrong, "\n".join(wrong)


def test_what_commands_print_is_cleaned() -> None:
    """By `show`, which everything goes through; a progress bar and a screen draw for themselves."""
    drawing = {"show.py", "esp.py", "top.py", "topview.py"}
    wrong = [
        f"{file.name} has {word!r}"
        for file in ROOMS["cli"]
        for word in ("typer.echo", "print(", "Console(", "sys.stdout.write")
        if file.name not in drawing and f" {word}" in file.read_text()
    ]
    assert not wrong, "\n".join(wrong)
