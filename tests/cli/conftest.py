"""SA files that may be used: copies that nobody else may read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import DATA


@pytest.fixture
def sa(tmp_path: Path) -> Path:
    """Return an SA file that may be used."""
    path = Path(shutil.copy(DATA / "sa" / "transport.toml", tmp_path / "sa.toml"))
    path.chmod(0o600)
    return path


@pytest.fixture
def tunnel(tmp_path: Path) -> Path:
    """Return one with tunnels over IPv4 and IPv6."""
    path = Path(shutil.copy(DATA / "sa" / "tunnel.toml", tmp_path / "tunnel.toml"))
    path.chmod(0o600)
    return path
