"""
IPsec over opencrypto, the consumer that the framework was made for: ESP (RFC 4303), and beside it
AH (RFC 4302) and IPComp (RFC 3173).

`load_sas` reads associations from a file, `Esp` protects and unprotects IP packets with them.
"""

from opencrypto_esp.esp import Esp
from opencrypto_esp.formats import load_sas, write_sas
from opencrypto_esp.results import Counters, Flow, Reason, Result
from opencrypto_esp.sa import Direction, Mode, Protocol, SecurityAssociation
from opencrypto_esp.suites import (
    ENCRYPTIONS,
    INTEGRITIES,
    Encryption,
    Integrity,
    encryption_named,
    integrity_named,
)
from opencrypto_esp.together import one_way
from opencrypto_esp.window import ReplayWindow

__all__ = [
    "ENCRYPTIONS",
    "Counters",
    "Direction",
    "Encryption",
    "Esp",
    "Flow",
    "INTEGRITIES",
    "Integrity",
    "Mode",
    "Protocol",
    "Reason",
    "ReplayWindow",
    "Result",
    "SecurityAssociation",
    "encryption_named",
    "integrity_named",
    "load_sas",
    "one_way",
    "write_sas",
]
