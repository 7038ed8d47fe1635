"""
The session identifier, a SID: ``((hid + 1) << 32) | lid``. It is packed and taken apart here.

The hid is the driver's id, the lid the driver's own number of the session. 0 is never a session.
"""

from __future__ import annotations

from typing import Final

LID: Final = 0xFFFFFFFF
"""The bits of a SID that are the lid; and the highest lid there can be."""


def pack_sid(hid: int, lid: int) -> int:
    """Make a SID from a driver id and the driver's own session number."""
    return (hid + 1) << 32 | lid


def hid_of(sid: int) -> int:
    """Return the driver id in a SID; that of SID 0 is -1."""
    return (sid >> 32 & 0xFFFFFF) - 1


def lid_of(sid: int) -> int:
    """Return the driver's own number of a session."""
    return sid & LID


def caps_of(sid: int) -> int:
    """Return the capability flags that BSD keeps in a SID; 0, since nobody fills them in."""
    return sid >> 32 & 0xFF000000


def sid_text(sid: object) -> str:
    """Write a SID, or what was given for one."""
    return f"{sid:#x}" if isinstance(sid, int) else repr(sid)
