"""Run a program whose AF_ALG sockets the framework serves: ``python -m opencrypto_algsocket``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from opencrypto_algsocket import installed

USAGE = "usage: python -m opencrypto_algsocket PROGRAM [ARGUMENT ...]"


def main(arguments: list[str]) -> int:
    """Run the program that the arguments name, with the others as its own."""
    if not arguments or arguments[0] in ("-h", "--help"):
        (sys.stdout if arguments else sys.stderr).write(f"{USAGE}\n")
        return 0 if arguments else 2
    program = Path(arguments[0])
    if not program.is_file():
        sys.stderr.write(f"no such program: {program}\n")
        return 2
    sys.argv = arguments
    sys.path[0] = str(program.resolve().parent)
    with installed():
        runpy.run_path(str(program), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
