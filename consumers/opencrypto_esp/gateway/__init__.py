"""
A gateway in user space: `opencrypto_esp` on a TUN device and a socket, for Linux.

`Gateway` is the loop; `Tun` and `Outer` are its two sides, `Journal` its memory. It speaks no IKE:
associations come from files, and new ones whenever it is told.
"""

from opencrypto_esp.gateway.associations import GRACE, Associations
from opencrypto_esp.gateway.counts import Counts
from opencrypto_esp.gateway.gateway import Gateway
from opencrypto_esp.gateway.journal import Journal
from opencrypto_esp.gateway.outer import Outer, in_udp, udp_port
from opencrypto_esp.gateway.privileges import User, acting_as, give_up, user
from opencrypto_esp.gateway.tun import Tun

__all__ = [
    "Associations",
    "Counts",
    "GRACE",
    "Gateway",
    "Journal",
    "Outer",
    "Tun",
    "User",
    "acting_as",
    "give_up",
    "in_udp",
    "udp_port",
    "user",
]
