"""
The library's logger: structlog over the stdlib logger ``opencrypto``, silent unless asked.

The host's logging decides what is shown; nothing is configured here. An unconfigured
``structlog.get_logger()`` would print to stdout, hence the wrapping.
"""

import logging
from typing import Any, Final

import structlog

_stdlib: Final = logging.getLogger("opencrypto")
_stdlib.addHandler(logging.NullHandler())

log: Final[Any] = structlog.wrap_logger(
    _stdlib,
    wrapper_class=structlog.stdlib.BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False),
    ],
)


def where(error: BaseException) -> str:
    """Name the line an exception comes from. Its text is left out: it may quote content."""
    traceback = error.__traceback__
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
