"""The ways in which a program asks for a key operation; each gives the same answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opencrypto import Framework

PATIENCE = 30.0
"""Seconds after which an answer counts as lost."""


def waits(fw: Framework, name: str, *values: Any) -> Any:
    return getattr(fw, name)(*values, timeout=PATIENCE)


def submits(fw: Framework, name: str, *values: Any) -> Any:
    return getattr(fw, f"submit_{name}")(*values).result(PATIENCE)


def awaits(fw: Framework, name: str, *values: Any) -> Any:
    async def main() -> Any:
        return await getattr(fw.aio, name)(*values, timeout=PATIENCE)

    return asyncio.run(main())


ways = pytest.mark.parametrize("ask", [waits, submits, awaits])
