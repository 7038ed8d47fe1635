"""The house-keeping of tests/conftest.py fails what it should: run pytest inside pytest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import require_tool

CONFTEST = Path(__file__).parents[1] / "conftest.py"
PREAMBLE = """
import os, threading, pytest
stop = threading.Event()
def start(name, daemon=True):
    thread = threading.Thread(target=stop.wait, name=name, daemon=daemon)
    thread.start()
    return thread
"""


def run(folder: Path, body: str) -> str:
    """Run `body` as a test module beside a copy of our conftest; return what pytest prints."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nmarkers =\n  shared_framework: as in the project\n"
    )
    (folder / "test_it.py").write_text(PREAMBLE + body)
    # Other plugins (hypothesis, timeout) play no part, and loading them is most of the time.
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    call = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--import-mode=importlib",
    ]
    done = subprocess.run(
        call, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def test_the_tidy_pass(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        """
def test_thread():
    thread = start("opencrypto-worker")
    stop.set()
    thread.join()
    stop.clear()
def test_fd():
    fd = os.open("/proc/self/status", os.O_RDONLY)
    os.close(fd)
def test_somebody_elses_thread():
    start("elsewhere")
""",
    )
    assert "3 passed" in out, out
    assert "error" not in out


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('def test_it(): start("opencrypto-ret")', "left behind: thread 'opencrypto-ret'"),
        ('def test_it(): os.open("/proc/self/status", os.O_RDONLY)', "/status"),
        ("def test_it(): open('/proc/self/status')", "unclosed file"),
        ("def test_it(): os.pipe()", "left behind: descriptor"),
        (
            "def test_it():\n    def f(): raise RuntimeError('escaped')\n"
            "    t = threading.Thread(target=f); t.start(); t.join()",
            "escaped",
        ),
        (
            "pytestmark = pytest.mark.shared_framework\n"
            "def test_a(): start('opencrypto-ret')\ndef test_b(): pass",
            "the module test_it.py left behind: thread",
        ),
        (
            "def test_it(tmp_path):\n    import sys, types\n"
            "    sys.modules['drivers'] = types.ModuleType('drivers')",
            "not drivers.opencrypto_<token>",
        ),
    ],
    ids=["thread", "fd", "file", "pipe", "exception", "shared", "source-root"],
)
@pytest.mark.slow
def test_the_untidy_do_not(tmp_path: Path, body: str, complaint: str) -> None:
    out = run(tmp_path, body)
    assert complaint in out, out
    assert "1 error" in out or "1 failed" in out, out


@pytest.mark.parametrize("variable", ["CI", "OPENCRYPTO_REQUIRE_ALL"])
def test_a_missing_tool_skips_or_fails(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("OPENCRYPTO_REQUIRE_ALL", raising=False)
    assert Path(require_tool("sh", "dash")).name == "sh"
    with pytest.raises(pytest.skip.Exception, match="apt-get install nosuch-package"):
        require_tool("nosuch-tool", "nosuch-package")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(pytest.fail.Exception, match="nosuch-tool is missing"):
        require_tool("nosuch-tool", "nosuch-package")
