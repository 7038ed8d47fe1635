"""
Errors as the kernel's sockets give them: an OSError of one errno, with a sentence beside it.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from opencrypto import CryptoError, NoDriverError

_KERNELS: Final = {
    errno.E2BIG: errno.EMSGSIZE,
    errno.EFBIG: errno.EMSGSIZE,
    errno.ENODEV: errno.ENOENT,
}
"""What the kernel has for an errno of the framework's."""


def refused(code: int, why: str) -> OSError:
    """Make the error of an errno; which class it has is by the errno, as Python has it."""
    return OSError(code, f"{os.strerror(code)}: {why}")


def as_kernel(error: CryptoError) -> OSError:
    """Make of a framework's error what a program of AF_ALG's expects."""
    code = errno.ENOENT if isinstance(error, NoDriverError) else error.errno or errno.EIO
    return refused(_KERNELS.get(code, code), error.strerror or str(error))
