"""
The ``opencrypto`` command: what drivers there are, and ESP on packet captures.

Exit status: 0 all was done; 1 the work failed, or packets were dropped; 2 the call was wrong.
"""

from opencrypto.cli.app import main

__all__ = ["main"]
