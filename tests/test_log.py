"""The log is silent until a program asks for it."""

from __future__ import annotations

import subprocess
import sys

SILENT = """
from opencrypto import *
from tests.toy import *
import errno
def fails(crp): raise RuntimeError
with threaded(Toy("one"), Toy("two")) as fw:
    sid = newsession(fw, driver="one")
    fw.dispatch(request(sid, fails))
    fw.detach("one")
    fw.dispatch(request(sid, Log()))
    try:
        fw.attach(Toy("two words"))
    except UsageError:
        pass
"""


def test_nothing_is_printed_unless_somebody_asks() -> None:
    """A program that configures no logging sees nothing of ours, errors included."""
    done = subprocess.run(
        [sys.executable, "-c", SILENT], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")
