"""The examples of README.md are run, so that they stay true."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_it_leads_with_the_two_commands() -> None:
    head = README.read_text()[:300]
    assert 0 < head.index("make demo") < head.index("make test")


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(EXAMPLES[number], f"{README.name} example {number}", "exec"), {})  # noqa: S102 - our own README
    assert capsys.readouterr().out.startswith("done:")
