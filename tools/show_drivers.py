#!/usr/bin/env python3
"""
Say which Python this is, whether it has a global interpreter lock, and what drivers are there.

Exits with 1 where the lock is on though the interpreter was built without: an extension module that
is not made for that has turned it on.
"""

from __future__ import annotations

import sys
import sysconfig

from opencrypto import Framework


def main() -> int:
    """Print it; return the exit status."""
    with Framework() as framework:
        for driver in framework.drivers:
            state = driver.reason or f"attached, {len(driver.algorithms)} algorithms"
            print(f"{driver.name}: {state}")
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, global interpreter lock {'on' if locked else 'off'}")
    return int(locked and bool(sysconfig.get_config_var("Py_GIL_DISABLED")))


if __name__ == "__main__":
    sys.exit(main())
