"""
The numbers of ``linux/if_alg.h``, for hosts whose `socket` module has none of them.
"""

from __future__ import annotations

from typing import Final

AF_ALG: Final = 38
SOL_ALG: Final = 279

ALG_SET_KEY: Final = 1
ALG_SET_IV: Final = 2
ALG_SET_OP: Final = 3
ALG_SET_AEAD_ASSOCLEN: Final = 4
ALG_SET_AEAD_AUTHSIZE: Final = 5
ALG_SET_DRBG_ENTROPY: Final = 6
ALG_SET_KEY_BY_KEY_SERIAL: Final = 7

ALG_OP_DECRYPT: Final = 0
ALG_OP_ENCRYPT: Final = 1

CRYPTO_ALG_KERN_DRIVER_ONLY: Final = 0x1000
"""A bit of ``salg_feat`` and ``salg_mask`` (linux/crypto.h): implementations that need a kernel."""

MSG_OOB: Final = 0x1
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_MORE: Final = 0x8000

PAGES: Final = 16 * 4096
"""The most **bytes** of one zero-copy operation: ALG_MAX_PAGES of 4 KiB."""

ROOM: Final = 212992
"""The **bytes** that one operation socket holds before writes block: Linux' SO_SNDBUF."""
