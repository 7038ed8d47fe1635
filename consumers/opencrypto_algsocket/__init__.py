"""
Sockets of the family AF_ALG, served by any driver, on any system.

`AlgSocket` has the methods of Python's socket; within `installed` programs that were written for
the kernel's sockets get these, unchanged: ``python -m opencrypto_algsocket PROGRAM ARGS``.
"""

from opencrypto_algsocket.installing import installed
from opencrypto_algsocket.keys import authenc_key
from opencrypto_algsocket.names import unique
from opencrypto_algsocket.sockets import AlgSocket

__all__ = ["AlgSocket", "authenc_key", "installed", "unique"]
