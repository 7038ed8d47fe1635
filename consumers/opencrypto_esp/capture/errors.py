"""
What goes wrong with captures.
"""

from __future__ import annotations

from opencrypto.exceptions import OperationError


class CaptureError(OperationError):
    """A capture cannot be read, or cannot be written as it was asked for."""


class Damage(Exception):  # not "Error": it ends a capture, and what came before it is kept
    """Says what is wrong with a capture from here on. Raised and caught within the package."""
