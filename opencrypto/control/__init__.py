"""
The socket on which a live process answers the ``opencrypto`` command: docs/control-protocol.md.

Nothing is opened unless the program or its environment asks for it: ``Framework(control=path)``,
or the variable OPENCRYPTO_CONTROL.
"""

from opencrypto.control.client import Client, ProcessGone, find_sockets, look

__all__ = ["Client", "ProcessGone", "find_sockets", "look"]
