"""
Tests that need a kernel of their own, reported test by test as if they had run here.

A test marked ``kernel`` is run inside each of the kernels it names: the first such test of a
session boots the kernel with all of them as its list, an inner pytest runs them there, and its
reports are handed on one by one. So a failure inside is a failure outside, with its traceback, and
``-k``, ``--junitxml`` and single node ids work as ever. A kernel is booted once for each session.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import everything_required

ROOT: Final = Path(__file__).parents[2]
HERE: Final = os.environ.get("OPENCRYPTO_KERNEL", "host")
"""The kernel that this process runs on; the scripts of tools/ set it inside theirs."""

REPORTS: Final = "OPENCRYPTO_KERNEL_REPORTS"
PASSED_ON: Final = {"OPENCRYPTO_GATEWAY_LONG", "OPENCRYPTO_ALG_EXAMPLES"}
"""What is said to the tests inside too: which of them there are depends on it."""

SECONDS: Final = "OPENCRYPTO_KERNEL_SECONDS"
"""Ends a kernel after so many seconds, where somebody has more for it to do than usual."""

BOOTS: Final = {
    "uml": ("tools/run-in-uml", "linux.uml", "user-mode-linux kmod", 900),
    "qemu": (
        "tools/run-in-qemu",
        "qemu-system-x86_64",
        "qemu-system-x86 busybox-static kmod cpio",
        900,
    ),
}
"""By kernel: what boots it, the command without which that cannot be, its packages, seconds."""


def has_af_alg() -> bool:
    """Say whether the kernel under this process has AF_ALG, and lets us use it."""
    try:
        socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0).close()
    except (OSError, AttributeError):
        return False
    return True


def kernels_of(marker: pytest.Mark) -> list[str]:
    """Return the kernels that a test runs on: those it names, or UML; and ours, if that can."""
    named = list(marker.args) or ["uml", "host"]
    return [name for name in named if name != "host" or (HERE == "host" and has_af_alg())]


class Run:
    """One boot of a kernel, with the reports of its tests as they come in."""

    def __init__(self, kernel: str, items: list[pytest.Item]) -> None:
        self.kernel = kernel
        self.reports: dict[str, list[dict[str, Any]]] = {}
        self._script, self._command, self._packages, self._seconds = BOOTS[kernel]
        self._seconds = int(os.environ.get(SECONDS, self._seconds))
        self._process: subprocess.Popen[bytes] | None = None
        self._read_to = 0
        # Not below /tmp: kernels put a file system of their own there if they like.
        self._folder = Path(tempfile.mkdtemp(prefix=f"opencrypto-{kernel}-", dir="/var/tmp"))
        self._rest = ""
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
        self.absent = "" if shutil.which(self._command, path=path) else self._command
        if not self.absent:
            self._boot(items)

    def _boot(self, items: list[pytest.Item]) -> None:
        reports = self._folder / "reports"
        reports.touch()
        listing = self._folder / "tests"
        listing.write_text("".join(f"{item.nodeid}\n" for item in items))
        command = [
            str(ROOT / self._script), "-t", str(self._seconds), "-d", str(self._folder),
            "env", f"{REPORTS}={reports}", "PYTHONDONTWRITEBYTECODE=1",
            f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
            *(f"{name}={value}" for name, value in os.environ.items() if name in PASSED_ON),
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            f"--basetemp={self._folder}/pytest", f"@{listing}",
        ]  # fmt: skip
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def wait(self, nodeid: str) -> list[dict[str, Any]]:
        """Return the reports of a test when it has ended; short of them if the kernel has."""
        assert self._process is not None
        while True:
            alive = self._process.poll() is None
            self._read()
            found = self.reports.get(nodeid, [])
            if not alive or any(report.get("when") == "teardown" for report in found):
                return found
            time.sleep(0.02)

    def _read(self) -> None:
        # Opened each time: one that stays open would be a leak to the tests that run here.
        with (self._folder / "reports").open() as file:
            file.seek(self._read_to)
            *lines, self._rest = (self._rest + file.read()).split("\n")
            self._read_to = file.tell()
        for line in lines:
            report = json.loads(line)
            if isinstance(report.get("longrepr"), list):
                report["longrepr"] = tuple(report["longrepr"])  # a skip's place; JSON has no tuples
            self.reports.setdefault(report["nodeid"], []).append(report)

    def console(self) -> str:
        """Return the end of what the kernel and the inner pytest have printed."""
        try:
            return (self._folder / "output").read_text(errors="replace")[-4000:]
        except OSError:
            return ""

    def why_absent(self) -> str:
        """Say what is to be installed."""
        return f"the command {self.absent} is missing: apt-get install {self._packages}"

    def close(self) -> None:
        """End the kernel, if it has not ended by itself."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


RUNS: Final = pytest.StashKey[dict[str, Run]]()


def run_remotely(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Report a test from its kernel; False if it is to run in this process after all."""
    kernel = kernel_of(item)
    if kernel == HERE:
        return False
    run = _all_runs(item.session)[kernel]
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item, run):
        item.ihook.pytest_runtest_logreport(report=report)
        if report.when == "call" and item.config.getoption("capture") == "no":
            print(report.capstdout, end="")  # -s: what is printed is to be seen
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    _end_fixtures(item, nextitem)
    return True


def _all_runs(session: pytest.Session) -> dict[str, Run]:
    """Return the boots of a session; the first call starts them all, each on a CPU of its own."""
    if RUNS not in session.stash:
        wanted: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            if kernel_of(item) != HERE:
                wanted.setdefault(kernel_of(item), []).append(item)
        session.stash[RUNS] = {kernel: Run(kernel, items) for kernel, items in wanted.items()}
    return session.stash[RUNS]


def _end_fixtures(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """
    End the fixtures of tests before this one that ran here, if the next one has no use for them.

    Neither call is public. They are what pytest's own protocol does, which ours replaces; output
    is captured as it is then, since fixtures compare what is open before and after.
    """
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.item_capture("teardown", item) if capture else nullcontext():
            item.session._setupstate.teardown_exact(nextitem)
    except (Exception, pytest.fail.Exception) as error:
        why = f"the fixtures of earlier tests: {error}"
        item.ihook.pytest_runtest_logreport(report=_made_here(item, "failed", why))


def kernel_of(item: pytest.Item) -> str:
    """Return the kernel that a collected test is for."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("kernel", HERE)) if callspec else HERE


def _reports(item: pytest.Item, run: Run) -> Iterator[pytest.TestReport]:
    if run.absent:
        yield _made_here(item, "failed" if everything_required() else "skipped", run.why_absent())
        return
    found = run.wait(item.nodeid)
    for data in found:
        yield item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
    if not any(report.get("when") == "teardown" for report in found):
        # Where everything is required a kernel that does not boot is a failure; so is, everywhere,
        # one that has booted and died under a test.
        booted = bool(run.reports)
        outcome = "failed" if booted or everything_required() else "skipped"
        what = "the kernel ended before this test" if booted else "the kernel did not boot"
        yield _made_here(item, outcome, f"{what}; its console says:\n{run.console()}")


def _made_here(item: pytest.Item, outcome: Any, why: str) -> pytest.TestReport:
    path, line, _ = item.location
    longrepr: Any = (path, line or 0, f"Skipped: {why}") if outcome == "skipped" else why
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords={}, outcome=outcome,
        longrepr=longrepr, when="call",
    )  # fmt: skip


def send_report(config: pytest.Config, report: pytest.TestReport) -> None:
    """Inside a kernel: write a report where the outer session reads it."""
    path = os.environ.get(REPORTS)
    if path and HERE != "host":
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
        with Path(path).open("a") as file:
            file.write(json.dumps(data) + "\n")


def close_all(session: pytest.Session) -> None:
    """End the kernels of a session."""
    for run in session.stash.get(RUNS, {}).values():
        run.close()
