"""
The ``opencrypto`` command: what drivers there are, and ESP on packet captures.

Exit status: 0 all was done; 1 the work failed, or packets were dropped; 2 the call was wrong.
"""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command; an interrupt is a sentence from the first moment on."""
    try:
        from opencrypto.cli.app import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("opencrypto: interrupted; nothing was written\n")
        sys.exit(130)


__all__ = ["main"]
