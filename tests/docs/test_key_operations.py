"""The page on key operations runs, from its first line to its last."""

from __future__ import annotations

from pathlib import Path

from tests.docs.test_howto import blocks, run


def test_the_page_runs(tmp_path: Path) -> None:
    """All blocks together are one program."""
    program = blocks("key-operations.md")
    assert len(program) > 1
    (tmp_path / "keys.py").write_text("\n".join(program))
    done = run(tmp_path, "keys.py")
    assert done.returncode == 0, done.stderr
