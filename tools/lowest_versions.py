#!/usr/bin/env python3
"""
Print the lowest versions that pyproject.toml names, as constraints for pip.

Of what an installed opencrypto uses: its dependencies and its extras. The extra `dev`, the tools of
this repository, is left out: nobody who installs opencrypto gets it.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FLOOR = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)( *;.*)?")


def floors(project: dict[str, Any]) -> Iterator[str]:
    """
    Yield a constraint for each requirement of a project.

    Raises:
        ValueError: one of them names no lowest version.
    """
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"]}.union(*(extras[name] for name in extras if name != "dev"))
    for requirement in sorted(wanted):
        found = FLOOR.fullmatch(requirement)
        if found is None:
            raise ValueError(f"{requirement!r} names no lowest version")
        yield f"{found[1]}=={found[2]}"


def main() -> None:
    """Print them, a line each."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        print("\n".join(floors(tomllib.load(file)["project"])))


if __name__ == "__main__":
    main()
