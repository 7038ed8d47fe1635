"""The openssl driver's XTS: what a session keeps of a cipher serves one request at a time."""

from __future__ import annotations

import os
import threading

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import Framework
from opencrypto.client import Sealed
from opencrypto_openssl import _quick, _xts

KEY = bytes(range(64))


def by_hand(tweak: bytes, data: bytes) -> bytes:
    return Cipher(AES(KEY), modes.XTS(tweak)).encryptor().update(data)


@pytest.mark.parametrize("kept", [True, False])
def test_each_request_has_its_own_tweak(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four threads on one session, whether or not the library lets it keep anything."""
    if not kept:
        monkeypatch.setattr(_quick, "TWEAKED", False)
    else:
        assert _xts.TWEAKED, "this library's mode takes no tweak any more: XTS is slower"
    wrong: list[bytes] = []
    with (
        Framework(plugins=["openssl"]) as fw,
        fw.session("aes-256-xts", KEY) as session,
    ):

        def work() -> None:
            for _ in range(100):
                tweak, data = os.urandom(16), os.urandom(512)
                sealed = session.encrypt(data, iv=tweak)
                if sealed.data != by_hand(tweak, data):
                    wrong.append(tweak)
                if session.decrypt(Sealed(tweak, sealed.data, b"")) != data:
                    wrong.append(tweak)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
