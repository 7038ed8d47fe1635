"""
The wheel, not the checkout: built, installed where nothing else is, used in an empty folder.

Needs no network: the build back end and the dependencies are those of the tests' environment.
"""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

ROUND_TRIP = """
import sys
import opencrypto
from opencrypto import CRD_F_ENCRYPT, CRYPTO_F_CBIMM, CRYPTO_NULL_CBC, Cryptoini, Framework

done = []
with Framework() as fw:
    sid = fw.newsession(Cryptoini(alg=CRYPTO_NULL_CBC), driver="null")
    crp = fw.getreq(1)
    crp.sid, crp.buf, crp.ilen = sid, bytearray(b"as it was"), 9
    crp.desc[0].alg, crp.desc[0].len, crp.desc[0].flags = CRYPTO_NULL_CBC, 9, CRD_F_ENCRYPT
    crp.callback, crp.flags = done.append, CRYPTO_F_CBIMM
    fw.dispatch(crp)
    crp.check()
    assert done == [crp] and crp.buf == b"as it was"
    fw.freereq(crp)
    fw.freesession(sid)
print(opencrypto.__file__)
"""


def closure(name: str, extras: set[str], seen: dict[str, metadata.Distribution]) -> None:
    """Collect the distributions that `name` with its `extras` declares, and what they declare."""
    for line in metadata.distribution(name).requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        if requirement.name not in seen:
            seen[requirement.name] = metadata.distribution(requirement.name)
            closure(requirement.name, requirement.extras, seen)


def link_dependencies(target: Path) -> None:
    """
    Give the new environment what the project declares, and nothing more.

    A dependency that is used but not declared is thus missing there, as it would be for a user.
    """
    found: dict[str, metadata.Distribution] = {}
    closure("opencrypto", {"openssl"}, found)
    for distribution in found.values():
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            link = target / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, as `python -m build` does for a release."""
    out = tmp_path_factory.mktemp("dist")
    call = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*call, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bindir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own; return the folder of its commands."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    scheme = {"base": str(home), "platbase": str(home)}
    link_dependencies(Path(sysconfig.get_path("purelib", "venv", scheme)))
    commands = Path(sysconfig.get_path("scripts", "venv", scheme))
    call = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "install"]
    options = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*call, *options, str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return commands


def run(folder: Path, *call: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty folder, with nothing of our environment that could help it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        [str(word) for word in call],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_it_holds_our_names_and_no_others(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert all(top.startswith("opencrypto") for top in tops), tops
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    for top in tops:
        if not top.endswith(".dist-info"):
            assert f"{top}/py.typed" in names
    assert not [name for name in names if "/tests/" in name and "/templates/" not in name]
    assert not [name for name in names if name.endswith(".pyc")]
    templates = (ROOT / "opencrypto" / "cli" / "templates").rglob("*.in")
    assert {str(path.relative_to(ROOT)) for path in templates} <= set(names)


@pytest.mark.slow
def test_it_runs_in_an_empty_folder(bindir: Path, tmp_path: Path) -> None:
    done = run(tmp_path, bindir / "python", "-W", "error", "-c", ROUND_TRIP)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(bindir.parent), "it was the checkout that ran"


@pytest.mark.slow
def test_its_command_lists_the_drivers(bindir: Path, tmp_path: Path) -> None:
    done = run(tmp_path, bindir / "opencrypto", "drivers", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.dumps(json.loads(done.stdout))
    for token in ("null", "openssl", "swcrypto"):
        assert f'"{token}"' in listed
