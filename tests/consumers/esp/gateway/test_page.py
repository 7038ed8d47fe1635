"""The gateway's page: its code runs, its files are read, and it has every option and count."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import typer.main

from opencrypto.cli import esp
from opencrypto_esp import load_sas
from opencrypto_esp.gateway import Counts

PAGE = (Path(__file__).parents[4] / "docs" / "consumers" / "esp-gateway.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the page's blocks of code in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found


def test_its_python_runs() -> None:
    for block in blocks("python"):
        exec(compile(block, "esp-gateway.md", "exec"), {})  # noqa: S102 - the page's own


def test_its_files_of_sas_are_read(tmp_path: Path) -> None:
    for block in blocks("toml"):
        path = tmp_path / "sa.toml"
        path.write_text(block)
        path.chmod(0o600)
        assert {sa.direction for sa in load_sas(path)} == {"out", "in"}


def test_it_has_every_option_and_no_other() -> None:
    command = typer.main.get_command(esp.app).commands["gateway"]  # type: ignore[attr-defined]
    options = {option for each in command.params for option in each.opts} - {"--help"}
    table = set(re.findall(r"^\| `(--[a-z-]+)", PAGE, re.MULTILINE))
    assert table == options


def test_it_has_every_count() -> None:
    for field in fields(Counts):
        assert f".{field.name}`" in PAGE
