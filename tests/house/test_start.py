"""What is loaded when: a bare import brings what it needs to name things, and no more."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from opencrypto.cli.app import COMMANDS, load
from tests.support import sample_of

# The whole of what `import opencrypto` may load, by the top-level name. One more is a cost to every
# program that starts: see docs/performance.md for how it is measured.
MAY_LOAD = {
    "opencrypto": "the framework itself",
    "linecache": "shows the text of compiled functions in tracebacks; brings tokenize",
    "threading": "locks, and the counts of each thread; brings weakref and functools",
    "queue": "SimpleQueue, whose put a signal handler may call; brings heapq",
    "typing": "brings contextlib, collections, re and copyreg",
    "mmap": "a page that the kernel wipes in a forked child",
    "array errno enum bisect operator itertools": "small",
}
BROUGHT_ALONG = set(
    "__future__ collections contextlib copyreg functools heapq keyword re reprlib token tokenize "
    "types warnings weakref".split()
)

# Those below a name that may be loaded which may not.
NOT_BEFORE_THEY_ARE_NEEDED = {"importlib.metadata", "importlib.resources", "importlib.abc"}


def run(code: str, folder: Path) -> Any:
    """Run `code` in a child of its own, and return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return json.loads(done.stdout)


LOADED = """
import sys
before = set(sys.modules)
import opencrypto
after = set(sys.modules)
import json
print(json.dumps(sorted(after - before)))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules that a bare import loads, in a process where nothing else has been imported."""
    return set(run(LOADED, tmp_path_factory.mktemp("bare")))


def test_a_bare_import_loads_what_is_listed_here(loaded: set[str]) -> None:
    may = {name for names in MAY_LOAD for name in names.split()} | BROUGHT_ALONG
    tops = {name.partition(".")[0] for name in loaded}
    # What begins with an underscore is a part in C of a module that is listed.
    assert not {name for name in tops - may if not name.startswith("_")}
    assert not loaded & NOT_BEFORE_THEY_ARE_NEEDED
    assert "opencrypto" in loaded


def test_a_bare_import_loads_the_rooms_that_run_and_no_other(loaded: set[str]) -> None:
    """Neither faces that not everybody uses, nor the known answers, nor a driver."""
    rooms = {name.removeprefix("opencrypto.") for name in loaded if name.startswith("opencrypto.")}
    assert not rooms & {
        "aio", "bsd", "cli", "client", "control", "metrics", "selftest", "telemetry", "testing",
    }  # fmt: skip
    assert not {name for name in loaded if name.startswith("opencrypto_")}


def heard(setup: str, folder: Path) -> Any:
    """Let the framework log, and return what a handler got and whether structlog was loaded."""
    code = f"""
import json, logging, sys
import opencrypto
from opencrypto._log import log
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append([record.levelname, record.getMessage()])
{setup}
log.info("driver_attached", driver="x", hid=3)
log.warning("driver_blocked", driver="x")
with opencrypto.Framework(plugins=False):
    pass
print(json.dumps([lines, "structlog" in sys.modules]))
"""
    return run(code, folder)


INFO = ["INFO", "event=driver_attached driver=x hid=3"]
WARNING = ["WARNING", "event=driver_blocked driver=x"]
ROOT = "logging.getLogger().addHandler(Keep())"


SETUPS: Final = dict(
    zip(
        "own root unset level-alone errors-only disabled kept-to-itself deaf-handler info".split(),
        [
            ("logging.getLogger('opencrypto').addHandler(Keep())", [WARNING]),
            (ROOT, [WARNING]),
            ("", []),
            ("logging.getLogger().setLevel(1)", []),
            (f"{ROOT}; logging.getLogger().setLevel(logging.ERROR)", []),
            (f"{ROOT}; logging.disable()", []),
            (f"{ROOT}; logging.getLogger('opencrypto').propagate = False", []),
            ("logging.getLogger().addHandler(Keep(logging.ERROR))", []),
            (f"{ROOT}; logging.getLogger('opencrypto').setLevel(logging.INFO)", [INFO, WARNING]),
        ],
        strict=True,
    )
)


@pytest.mark.parametrize("name", sample_of([*SETUPS]))
def test_structlog_comes_with_the_first_event_that_is_heard(name: str, tmp_path: Path) -> None:
    """The host's logging decides, and what it does not show costs nothing."""
    setup, lines = SETUPS[name]
    assert heard(setup, tmp_path) == [lines, bool(lines)]


def test_a_filter_of_the_host_sees_each_event(tmp_path: Path) -> None:
    """It may count, so it is asked even where no handler would show anything."""
    count = "logging.getLogger('opencrypto').addFilter(lambda r: lines.append(r.getMessage()))"
    assert heard(count, tmp_path) == [[WARNING[1]], True]


def test_warnings_of_drivers_print_nothing_by_themselves(tmp_path: Path) -> None:
    """Their loggers are below the library's, which is there before a driver is looked for."""
    code = """
import logging, opencrypto
with opencrypto.Framework(plugins=False):
    logging.getLogger("opencrypto.somebody").warning("not asked for")
print("0")
"""
    assert run(code, tmp_path) == 0


COMMAND = """
import contextlib, io, json, sys
from opencrypto.cli import main
sys.argv = ["opencrypto", *{words}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    try:
        main()
    except SystemExit:
        pass
print(json.dumps(list(sys.modules)))
"""


@pytest.mark.parametrize(
    ("words", "rooms"),
    sample_of(
        [
            ("ps --json", "live ps"),
            ("--help", ""),
            ("--version", ""),
            ("drivers", "algorithms drivers live"),
            ("sysctl x --socket x", "live sysctl"),
            ("trace show x", "algorithms live trace"),
            ("speed no-such-thing", "keyrates live rates speed"),
        ]
    ),
)
def test_a_command_loads_what_it_runs(words: str, rooms: str, tmp_path: Path) -> None:
    """The others' modules stay where they are, and so does what they need."""
    loaded = set(run(COMMAND.format(words=words.split()), tmp_path))
    here = "opencrypto.cli."
    wanted = {"app", "ending", "show", *rooms.split()}
    assert {name.removeprefix(here) for name in loaded if name.startswith(here)} == wanted
    assert not loaded & {"dpkt", "matplotlib", "opencrypto_esp", "pytest", "structlog"}
    assert words == "drivers" or not {name for name in loaded if name.startswith("opencrypto_")}


@pytest.mark.parametrize("word", COMMANDS)
def test_a_commands_sentence_is_its_own(word: str) -> None:
    """What `opencrypto --help` says of it is how its own help begins."""
    assert " ".join(str(load(word).help).partition("\n\n")[0].split()) == COMMANDS[word]
