"""
Each page of the runbook on its incident: a script goes the two steps, with the commands alone, in a
real process under load, and the cause stands in what they print.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pexpect
import pytest

from tests.operators.incidents.process import INCIDENTS, in_trouble
from tests.operators.incidents.runbook import PAGES, ROOT, SECTIONS, has, sections, steps

CAUSES: Final[Mapping[str, str]] = {
    # 20 ms and what waking up takes, which is much on a busy machine.
    "slow-driver": r"^card\t.*\t(19|[2-9]\d)\.\dms\t\S+$",
    "failed-selftest": r"^card\tAES_CBC\tits known answer is wrong$",
    "slow-callbacks": r"^opencrypto\.timing\.finis\.p50 = (29|[3-9]\d)\d{6}$",
    "blocked-driver": r"^opencrypto\.drivers\.card\.blocked_for = [1-9]",
    "silent-driver": r"^opencrypto\.drivers\.card\.oldest_inflight = [1-9]",
    "full-return-queue": r"^opencrypto\.crypto_ret_q\.drops = [1-9]",
    "missing-plugin": r"^card\tModuleNotFoundError: No module named 'libcard'$",
    "failing-requests": r"^opencrypto\.drivers\.card\.errors\.EIO\.class = DriverBug$",
    # The line of the one who opens them: the load's own sessions are not idle.
    "leaking-sessions": r"^0x\w+\tAES_CBC\tswcrypto\tlive\t.*process\.py:\d+ \S*serve ",
    "starving-keys": r"^opencrypto\.drivers\.card\.oldest_kop = [1-9]",
}
"""What names the cause of each incident, in what the two steps print."""


def pages() -> set[str]:
    """Return the names of the pages."""
    return {page.stem for page in PAGES.glob("*.md")}


def run(command: str, env: Mapping[str, str], folder: Path) -> str:
    """Run a line as an operator's shell does; it must succeed."""
    tool = folder / "bin" / "opencrypto"
    if not tool.exists():
        tool.parent.mkdir()
        tool.write_text(
            f"#!{sys.executable}\nfrom opencrypto.cli import main\nmain()\n", encoding="utf-8"
        )
        tool.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={**env, "PATH": f"{tool.parent}:{env['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("incident", INCIDENTS)
def test_two_steps_find_the_cause(incident: str, tmp_path: Path) -> None:
    """What the page shows is what is printed, and the cause is in it."""
    printed = []
    with in_trouble(incident, tmp_path) as env:
        for step in steps(incident):
            said = "".join(run(command, env, tmp_path) for command in step.commands)
            lacking = [sign for sign in step.signs if not has(said, sign)]
            assert not lacking, f"{lacking}\n{said}"
            printed.append(said)
    assert re.search(CAUSES[incident], "".join(printed), re.MULTILINE), "\n".join(printed)


@pytest.mark.slow
def test_what_to_do_about_a_blocked_driver_helps(tmp_path: Path) -> None:
    """Detached by the keys of top, as the page says: its sessions go on with another driver."""
    with in_trouble("blocked-driver", tmp_path) as env:
        before = run("opencrypto top --pid $PID -c 1", env, tmp_path)
        assert has(before, "card BLOCKED 2s hardware 2 0 0 4 2s 0 …")
        top = pexpect.spawn(
            "/bin/sh",
            ["-c", "opencrypto top --pid $PID"],
            env={**env, "PATH": f"{tmp_path / 'bin'}:{env['PATH']}", "TERM": "xterm"},
            encoding="utf-8",
            timeout=30,
            dimensions=(24, 100),
        )
        try:
            for key, sign in (("", "q quit"), ("d", "(y/n)"), ("y", "card: detached."), ("q", "")):
                top.send(key)
                top.expect([re.escape(sign)] if sign else [pexpect.EOF])
        finally:
            top.close(force=True)
        after = run("opencrypto top --pid $PID -c 1", env, tmp_path)
    assert has(after, "swcrypto - software 4 …")
    assert "BLOCKED" not in after


def test_each_page_has_its_incident() -> None:
    assert pages() == set(INCIDENTS) == set(CAUSES)


@pytest.mark.parametrize("page", sorted(INCIDENTS))
def test_a_page_has_two_steps_of_commands(page: str) -> None:
    """What you see, where to look, what it means, what to do; no step without a sign."""
    assert sections(page) == SECTIONS
    found = steps(page)
    assert len(found) == 2
    for step in found:
        assert step.signs
        assert all(re.match(r"(opencrypto|sleep) ", command) for command in step.commands)


def test_each_alert_leads_to_a_page_that_speaks_of_it() -> None:
    text = (ROOT / "docs" / "alerts.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", text)
    leads = re.findall(r"^ +runbook: docs/runbook/([a-z-]+)\.md$", text, re.MULTILINE)
    assert len(leads) == len(alerts) > 5
    silent = [
        alert
        for alert, page in zip(alerts, leads, strict=True)
        if f"`{alert}`" not in (PAGES / f"{page}.md").read_text()
    ]
    assert not silent
    assert set(leads) == pages()


def test_a_sign_is_met_by_its_like_alone() -> None:
    """Numbers by numbers, an ellipsis by anything, a word by itself."""
    assert has("a\nx = 38.2\n", "x = 1")
    assert has("card\t-\t12.5ms", "card  -  3us")
    assert has("card 1 2 3", "card …")
    assert not has("x = none", "x = 1")
    assert not has("x = 5", "x = 0")
    assert not has("xx = 5", "x = 5")
    assert not has("card", "card …")
