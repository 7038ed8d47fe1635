"""
"Too big": what the sender of an inner packet is told that does not fit (RFC 792, 1191, 4443).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from opencrypto_esp import ip
from opencrypto_esp.gateway.checksum import complement, pseudo, total
from opencrypto_esp.results import Drop

_ICMP4: Final = 1
_ICMP6: Final = 58
_QUOTED4: Final = 576 - 28
_QUOTED6: Final = 1280 - 48
_ERRORS4: Final = {3, 4, 5, 11, 12}
_IPV4: Final = Struct("!BBHHHBBH4s4s")
_IPV6: Final = Struct("!IHBB16s16s")
_MESSAGE4: Final = Struct("!BBHHH")
_MESSAGE6: Final = Struct("!BBHI")


def too_big(packet: bytes, mtu: int) -> bytes | None:
    """
    Return the ICMP packet that tells a packet's sender the size that fits.

    It comes from the address that the packet was for: the device has none that the sender must
    know, and that one is certainly routed here.

    Returns:
        None where no answer may be given: to errors, later fragments, and senders that are
        nobody or many (RFC 1122 §3.2.2, RFC 4443 §2.4).
    """
    return _too_big4(packet, mtu) if packet[0] >> 4 == 4 else _too_big6(packet, mtu)


def _too_big4(packet: bytes, mtu: int) -> bytes | None:
    source, destination = packet[12:16], packet[16:20]
    head = (packet[0] & 15) << 2
    later = packet[6] & 0x1F or packet[7]
    error = packet[9] == _ICMP4 and len(packet) > head and packet[head] in _ERRORS4
    if later or error or _nobody4(source) or destination[0] >= 224:
        return None
    quoted = packet[:_QUOTED4]
    message = bytearray(_MESSAGE4.pack(3, 4, 0, 0, mtu) + quoted)
    message[2:4] = complement(total(message)).to_bytes(2)
    header = bytearray(
        _IPV4.pack(0x45, 0xC0, 20 + len(message), 0, 0, 64, _ICMP4, 0, destination, source)
    )
    ip.set_checksum(header)
    return bytes(header + message)


def _nobody4(address: bytes) -> bool:
    return address[0] in {0, 127} or address[0] >= 224


def _too_big6(packet: bytes, mtu: int) -> bytes | None:
    source, destination = packet[8:24], packet[24:40]
    try:
        protocol, at = ip.protocol(packet)
    except Drop:
        return None
    error = protocol == _ICMP6 and at and len(packet) > at and packet[at] < 128
    if error or source[0] == 0xFF or not any(source):
        return None
    # Unlike others, this error is for multicasts too; but it cannot come from their address.
    if destination[0] == 0xFF:
        return None
    message = bytearray(_MESSAGE6.pack(2, 0, 0, mtu) + packet[:_QUOTED6])
    words = pseudo(destination + source, _ICMP6, len(message)) + total(message)
    message[2:4] = complement(words).to_bytes(2)
    header = _IPV6.pack(6 << 28, len(message), _ICMP6, 64, destination, source)
    return bytes(header + message)
