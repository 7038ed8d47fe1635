"""AES-GCM by kept objects, against an object of the library for each message."""

import os
import threading
from typing import Any

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from opencrypto import Alg, Cryptoini
from opencrypto_swcrypto import _gcm, _gcm_kept
from opencrypto_swcrypto._ctr import SHORT
from opencrypto_swcrypto._gcm_kept import JOINED, KeptGcm

EDGES = [0, 1, 15, 16, 17]
EDGES += [edge + off for edge in (SHORT, JOINED) for off in (-17, -16, -1, 0, 1, 15, 16)]
"""Lengths about which the way of doing it changes."""


def library(key: bytes, iv: bytes, aad: bytes, text: bytes) -> tuple[bytes, bytes]:
    """Encrypt by a new object."""
    cipher = AES.new(key, AES.MODE_GCM, nonce=iv)
    cipher.update(aad)
    return cipher.encrypt_and_digest(text)


def cut(data: bytearray, at: int) -> list[memoryview]:
    """Return views of two pieces of data, or of one."""
    view = memoryview(data)
    return [part for part in (view[:at], view[at:]) if len(part)]


@given(st.data())
def test_messages_one_after_the_other(data: st.DataObject) -> None:
    """A session's second message is not tinged by its first, whatever their lengths and borders."""
    key = data.draw(st.sampled_from([16, 24, 32]).map(os.urandom))
    kept = KeptGcm(key, 0)
    for _ in range(3):
        text = os.urandom(data.draw(st.one_of(st.sampled_from(EDGES), st.integers(0, 300))))
        aad = os.urandom(data.draw(st.integers(0, 40)))
        iv = os.urandom(12)
        work = bytearray(text)
        parts = cut(work, data.draw(st.integers(0, len(text))))
        aads = cut(bytearray(aad), data.draw(st.integers(0, len(aad))))
        sealed, tag = library(key, iv, aad, text)
        assert kept.seal(iv, aads, parts, 16) == tag
        assert bytes(work) == sealed
        assert not kept.open(iv, aads, parts, bytes([tag[0] ^ 1]) + tag[1:])
        assert bytes(work) == sealed
        assert kept.open(iv, aads, parts, tag[:12])
        assert bytes(work) == text


def test_threads_share_a_session() -> None:
    """Each thread has a GHASH object to itself while it works."""
    key = os.urandom(16)
    kept = KeptGcm(key, 0)
    wrong: list[int] = []

    def work() -> None:
        for n in range(400):
            iv, text = os.urandom(12), os.urandom(n)
            buffer = bytearray(text)
            tag = kept.seal(iv, [memoryview(iv)], [memoryview(buffer)], 16)
            if (bytes(buffer), tag) != library(key, iv, iv, text):
                wrong.append(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_library_is_as_it_is_known() -> None:
    """Were it not, GCM would be right but slow; then `_gcm_kept` is to be brought up to date."""
    assert _gcm_kept.USABLE


class Different:
    """A GHASH that forgets what it has hashed."""

    def update(self, data: bytes) -> None:
        """Hash nothing."""

    def digest(self) -> bytes:
        """Return nothing's hash."""
        return bytes(16)


def missing(subkey: bytes) -> Any:
    """Stand for a library that has none."""
    raise AttributeError("_GHASH")


@pytest.mark.parametrize("ghash", [missing, lambda key: object(), lambda key: Different()])
def test_another_library_is_noticed(monkeypatch: pytest.MonkeyPatch, ghash: Any) -> None:
    """One whose inside has changed is used by its public interface."""
    monkeypatch.setattr(_gcm_kept, "_ghash", ghash)
    assert not _gcm_kept._answers()
    monkeypatch.setattr(_gcm, "USABLE", False)
    key, iv, text = os.urandom(20), os.urandom(8), bytearray(100)
    transform: Any = _gcm.FACTORIES[Alg.AES_GCM_16](Cryptoini(Alg.AES_GCM_16, key))
    tag = transform.seal(iv, [], [memoryview(text)], 16)
    assert (bytes(text), tag) == library(key[:16], key[16:] + iv, b"", bytes(100))
