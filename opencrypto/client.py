"""
What a Python program wants of the framework: a `Session` with methods, answers and exceptions.

It hides requests, callbacks and migration. Programs that keep many requests in flight, or work in
place on buffers of their own, dispatch requests themselves; coroutines use `opencrypto.aio`.
"""

from __future__ import annotations

from opencrypto._client.asking import MIGRATIONS
from opencrypto._client.opening import open_session
from opencrypto._client.session import Session
from opencrypto._client.streams import Decryptor, Encryptor, Hasher
from opencrypto._client.subject import HOME
from opencrypto._core.default import default_framework
from opencrypto._rules.message import Detached, Sealed

__all__ = [
    "Decryptor",
    "Detached",
    "Encryptor",
    "Hasher",
    "MIGRATIONS",
    "Sealed",
    "Session",
    "open_session",
]

HOME.find = default_framework
