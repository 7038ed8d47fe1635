"""Sessions over time: many threads on one, what a freed one leaves, drivers without library."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from opencrypto import Cryptoini, Framework
from opencrypto.constants import CRYPTO_NULL_HMAC
from opencrypto.exceptions import DriverUnavailable
from tests.drivers.rig import (
    BOTH,
    DATA,
    ENCRYPT,
    ESP,
    GCM,
    NAMES,
    PLUGINS,
    attached,
    esp_in,
    esp_out,
    gcm,
    make_driver,
    run,
    session_of,
)

# Threads.


@pytest.mark.parametrize("name", BOTH)
def test_many_threads_on_one_session(name: str) -> None:
    lengths = (16, 64, 1504 // 16 * 16, 4112, 20_000)
    with attached(name) as framework:
        esp, aead = framework.newsession(ESP), framework.newsession(GCM)
        wrong: list[Any] = []
        start = threading.Barrier(8)

        def work(seed: int) -> None:
            start.wait()
            for turn in range(120):
                length = lengths[(seed + turn) % len(lengths)] // 16 * 16
                data = os.urandom(24 + length)
                packet = bytearray(data + bytes(16))
                for sid, way_in, way_out in (
                    (esp, esp_in(length), esp_out(length)),
                    (aead, gcm(ENCRYPT, length + 8), gcm(0, length + 8)),
                ):
                    packet[24 : 24 + length] = data[24:]
                    first = run(framework, sid, packet, *way_in).etype
                    hidden = packet[24 : 24 + length] != data[24:]
                    second = run(framework, sid, packet, *way_out).etype
                    if first or second or not hidden or packet[24 : 24 + length] != data[24:]:
                        wrong.append((seed, turn, sid, first, second))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert not wrong


# Forgetting.


def left_in(transform: object) -> Iterator[str]:
    """Name what a transform still has, besides what has nothing to do with a key."""
    for slot in getattr(type(transform), "__slots__", ()):
        value = getattr(transform, slot)
        if hasattr(type(value), "__slots__"):
            yield from left_in(value)
        elif value and slot not in {"_block", "block", "_module"}:
            yield slot


@pytest.mark.parametrize("chain", [ESP, GCM], ids=["cbc+hmac", "gcm"])
@pytest.mark.parametrize("name", BOTH)
def test_a_freed_session_keeps_nothing_of_its_keys(name: str, chain: list[Cryptoini]) -> None:
    driver = make_driver(name)
    with Framework(plugins=[driver]) as framework:
        sid = framework.newsession(chain)
        desc = esp_in() if chain is ESP else gcm(ENCRYPT)
        run(framework, sid, bytearray(DATA + bytes(16)), *desc)
        session = session_of(driver)
        transforms = session.transforms
        keys = [cri.key for cri in session.chain.inis]
        del session  # what the framework still refers to must be empty, not merely unreachable
        framework.freesession(sid)
        assert driver._sessions == {}  # type: ignore[attr-defined]  # each driver's own
        for key in keys:
            assert isinstance(key, bytearray)
            assert not any(key)
        for transform in transforms:
            assert not list(left_in(transform))


@pytest.mark.parametrize("name", NAMES)
def test_close_forgets_every_session(name: str) -> None:
    driver = make_driver(name)
    with Framework(plugins=[driver]) as framework:
        for _ in range(5):
            framework.newsession(Cryptoini(CRYPTO_NULL_HMAC))
    assert not getattr(driver, "_sessions", None)
    assert not getattr(driver, "_maclens", None)


# Coming and not coming.


@pytest.mark.parametrize(("name", "library"), [("openssl", "cryptography"), ("swcrypto", "Crypto")])
def test_a_missing_library_is_a_sentence(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    for module in [m for m in sys.modules if m.startswith(f"opencrypto_{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DriverUnavailable, match="pip install"):
        PLUGINS[name].opencrypto_drivers()
