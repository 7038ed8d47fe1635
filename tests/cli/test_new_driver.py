"""``opencrypto new-driver``: what it writes is installed elsewhere, tested, listed and removed."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from opencrypto import UsageError
from opencrypto.cli.new_driver import Kind, package_files, words_of, write_package
from tests.cli.commands import RUN
from tests.support import missing, require_module, require_tool

KINDS = list(Kind)
DRIVERS = "from opencrypto.cli import main; main()", "drivers", "--json"


def call(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run something in a folder, with nothing of our environment that could help it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        [str(word) for word in words], cwd=folder, env=env, capture_output=True, text=True,
        check=False, timeout=170,
    )  # fmt: skip


def good(folder: Path, *words: str | Path) -> str:
    done = call(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment outside the tree, which has what ours has, and no network."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    scheme = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    ours = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = [f"import site; site.addsitedir({path!r})" for path in ours]
    (packages / "ours.pth").write_text("\n".join(lines) + "\n")
    return Path(sysconfig.get_path("scripts", "venv", scheme)) / "python"


def listed(python: Path, folder: Path) -> dict[str, dict[str, object]]:
    document = json.loads(good(folder, python, "-c", *DRIVERS))
    return {driver["name"]: driver for driver in document["drivers"]}


def require_compiler() -> None:
    """A C compiler, and what a module in C is compiled against and built with."""
    require_tool("gcc", "gcc")
    require_module("cffi")
    require_module("setuptools")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        missing("Python.h", "apt-get install python3-dev")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_installed_tested_listed_and_removed(
    kind: Kind, python: Path, tmp_path: Path
) -> None:
    if kind is Kind.NATIVE:
        require_compiler()
    name = f"my_{kind}"
    good(tmp_path, *RUN, "new-driver", name, "--kind", kind)
    folder = tmp_path / f"opencrypto-my-{kind}"
    pip = (sys.executable, "-m", "pip", "--python", python)
    quiet = ("--quiet", "--disable-pip-version-check")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    good(tmp_path, *pip, "install", *quiet, *offline, folder)

    info = listed(python, tmp_path)[name]
    assert info["available"], info
    assert info["distribution"] == f"opencrypto-my-{kind}"
    assert "SHA2_256" in info["algorithms"]  # type: ignore[operator]
    assert info["class"] == ("hardware" if kind is Kind.CARD else "software")

    # Copied, so that it is what was installed that is tested.
    tests = tmp_path / "elsewhere"
    (folder / "tests").rename(tests)
    out = good(tests, python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert " passed" in out
    assert "failed" not in out

    good(tmp_path, *pip, "uninstall", "--yes", *quiet, f"opencrypto-my-{kind}")
    assert name not in listed(python, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.CHAIN, Kind.ASYNC, Kind.CARD])
def test_it_is_as_clean_as_we_are(kind: Kind, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    write_package(folder, kind, words_of("clean"))
    good(folder, sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    good(folder, sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")
    good(folder, sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", "src")


@pytest.mark.parametrize("kind", KINDS)
def test_every_placeholder_is_filled(kind: Kind) -> None:
    files = dict(package_files(kind, words_of("some_card")))
    assert {"pyproject.toml", "README.md", ".github/workflows/ci.yml", ".gitignore"} <= set(files)
    assert {"tests/test_contract.py", "src/opencrypto_some_card/__init__.py"} <= set(files)
    assert "src/opencrypto_some_card/py.typed" in files
    for path, text in files.items():
        assert not [word for word in words_of("x") if f"@{word}@" in text], path
        assert "xcard" not in text
    assert "class SomeCardDriver" in files["src/opencrypto_some_card/__init__.py"]
    assert 'some_card = "opencrypto_some_card"' in files["pyproject.toml"]


@pytest.mark.parametrize(
    "name",
    ["", "My", "my-card", "1card", "_card", "card_", "a__b", "../x", "a b", "swcrypto", "test"],
)
def test_what_is_no_name_for_a_driver(name: str) -> None:
    with pytest.raises(UsageError, match=r"is no token|name another"):
        words_of(name)


def test_nothing_that_is_there_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write_package(folder, Kind.CHAIN, words_of("card"))
    assert [path.name for path in folder.iterdir()] == ["notes"]


def test_what_cannot_be_written_whole_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text
    written: list[Path] = []

    def fail(path: Path, text: str, **more: str) -> int:
        if len(written) == 4:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        return write(path, text, **more)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="No space"):
        write_package(tmp_path / "mine", Kind.CHAIN, words_of("card"))
    assert len(written) == 4
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    done = call(tmp_path, *RUN, "new-driver", "No")
    assert done.returncode == 2
    assert "'No' is no token" in done.stderr
    done = call(tmp_path, *RUN, "new-driver", "x", "--kind", "other")
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())
