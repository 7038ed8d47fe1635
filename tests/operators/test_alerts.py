"""The rules of docs/alerts.yml: promtool takes them, and each fires on its incident."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from opencrypto import Framework
from tests.operators.load import Instant
from tests.operators.test_metrics import exposition
from tests.support import require_tool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs/alerts.yml"
INCIDENTS = Path(__file__).with_name("alerts_test.yml")


def promtool(*words: str | Path) -> None:
    """Run promtool, which says what is wrong."""
    tool = require_tool("promtool", "prometheus")
    done = subprocess.run([tool, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", RULES)


def test_each_rule_fires_on_its_incident_and_on_nothing_like_it() -> None:
    promtool("test", "rules", INCIDENTS)


def test_each_rule_is_tried() -> None:
    rules = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    assert rules == set(re.findall(r"alertname: (\w+)", INCIDENTS.read_text()))


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    asked = set(re.findall(r"\bopencrypto_[a-z_]+", RULES.read_text()))
    with Framework(plugins=[Instant()]) as framework:
        shown = exposition(framework)
    there = set(re.findall(r"^# TYPE (opencrypto_\w+)", shown, re.MULTILINE))
    there |= {f"{name}_bucket" for name in there}
    assert asked <= there
    assert asked
