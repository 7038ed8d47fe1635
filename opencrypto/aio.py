"""
What a Python program wants of the framework, for coroutines of asyncio (uvloop's too) and of trio.

``framework.aio`` and ``session.aio`` are where it begins. A message that a driver answers at once
costs no future and no turn of the loop, large ones are no work for the loop's thread, and answers
of other threads are gathered: the loop is woken once for all of them.
"""

from opencrypto._client.aio_framework import AsyncFramework
from opencrypto._client.aio_session import AsyncSession
from opencrypto._client.aio_streams import AsyncDecryptor, AsyncEncryptor, AsyncHasher

__all__ = ["AsyncDecryptor", "AsyncEncryptor", "AsyncFramework", "AsyncHasher", "AsyncSession"]
