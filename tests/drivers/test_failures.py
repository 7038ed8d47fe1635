"""Requests that fail half way: what is left in the buffer, in private memory and in contexts."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from opencrypto import Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
)
from tests.drivers.rig import (
    BOTH,
    DATA,
    ENCRYPT,
    ESP,
    GCM,
    IV,
    KEY,
    KINDS,
    OUTSIDE,
    attached,
    crd,
    esp_in,
    esp_out,
    gcm,
    make_driver,
    run,
    session_of,
    shape,
)

pytestmark = pytest.mark.shared_framework


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BOTH)
def test_what_does_not_verify_is_left_as_it_is(framework: Framework, name: str, kind: str) -> None:
    esp = framework.newsession(ESP, driver=name)
    aead = framework.newsession(GCM, driver=name)
    for sid, size, way_in, way_out in (
        (esp, 100, esp_in(), esp_out()),
        (aead, 96, gcm(ENCRYPT), gcm(0)),
    ):
        packet = bytearray(DATA + bytes(size - len(DATA)))
        assert run(framework, sid, packet, *way_in).etype == 0
        for at in (0, 12, 24, 87, size - 1):
            damaged = bytes(b ^ (i == at) for i, b in enumerate(packet))
            work = shape(kind, damaged)
            crp = run(framework, sid, work.buf, *way_out)
            assert crp.etype == errno.EBADMSG
            assert work.content() == damaged
        work = shape(kind, bytes(packet))
        assert run(framework, sid, work.buf, *way_out).etype == 0
        assert work.content()[24:80] == DATA[24:80]


@pytest.mark.parametrize("name", BOTH)
def test_unverified_plaintext_is_in_the_buffer_not_even_for_a_moment(name: str) -> None:
    size = 1 << 22
    with attached(name) as framework:
        sid = framework.newsession(GCM)
        work = bytearray(8 + size + 16)
        tag = crd(CRYPTO_AES_128_GMAC, 0, 0, 8 + size)
        assert (
            run(framework, sid, work, crd(CRYPTO_AES_GCM_16, 8, size, 0, ENCRYPT), tag).etype == 0
        )
        work[-1] ^= 1
        # Plaintext is zeros: a thread that looks all the time would see them.
        places = range(8, 8 + size, 65537)
        looks, seen = 0, 0
        ended = threading.Event()

        def look() -> None:
            nonlocal looks, seen
            while not ended.is_set():
                looks += 1
                seen += any(work[at : at + 16] == bytes(16) for at in places)

        watcher = threading.Thread(target=look)
        watcher.start()
        for _ in range(10):
            assert (
                run(framework, sid, work, crd(CRYPTO_AES_GCM_16, 8, size), tag).etype
                == errno.EBADMSG
            )
        ended.set()
        watcher.join()
        assert looks
        assert not seen


def test_private_memory_is_wiped() -> None:
    from opencrypto_openssl._gcm import SCRATCH

    for length in (100, 100_000, 300_000):
        piece = SCRATCH.take(length)
        piece[:length] = b"\xff" * length
        SCRATCH.give(piece, length)
        assert not any(piece)


@pytest.mark.parametrize("name", BOTH)
def test_a_context_that_raised_is_not_used_again(name: str) -> None:
    driver = make_driver(name)
    with Framework(plugins=[driver]) as framework:
        sid = framework.newsession(Cryptoini(CRYPTO_AES_CBC, KEY))
        transform: Any = session_of(driver).transforms[0]
        want = bytearray(DATA)
        request = crd(CRYPTO_AES_CBC, 0, 96, 0, ENCRYPT | OUTSIDE, IV)
        run(framework, sid, want, request)
        pool = transform.encryptors if name == "openssl" else transform._encryptors
        (kept,) = pool

        def broken(*args: Any, **named: Any) -> bytes:
            raise MemoryError

        class Broken:
            encrypt = broken

        pool[:] = [(Broken, kept[-1]) if name == "swcrypto" else (broken, broken, kept[-1])]
        assert run(framework, sid, bytearray(DATA), request).etype == errno.EIO
        assert pool == []
        again = bytearray(DATA)
        assert run(framework, sid, again, request).etype == 0
        assert again == want


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("length", [16, 96, 4096, 4112, 65536, 65552, 100_000])
def test_a_chain_of_blocks_that_never_ends_is_never_seen(name: str, length: int) -> None:
    """Request upon request on one session, of every length class, against fresh sessions."""
    with attached(name) as framework:
        kept = framework.newsession(Cryptoini(CRYPTO_AES_CBC, KEY))
        for slack in (0, 3, 40):
            for turn in range(3):
                data, iv = os.urandom(length + slack), os.urandom(16)
                fresh = framework.newsession(Cryptoini(CRYPTO_AES_CBC, KEY))
                one, other = bytearray(data), bytearray(data)
                request = crd(CRYPTO_AES_CBC, 0, length, 0, ENCRYPT | OUTSIDE, iv)
                run(framework, kept, one, request)
                run(framework, fresh, other, request)
                assert one == other, (slack, turn)
                run(framework, kept, one, crd(CRYPTO_AES_CBC, 0, length, 0, OUTSIDE, iv))
                assert one == data
                framework.freesession(fresh)


@pytest.mark.parametrize("chain", [ESP, GCM], ids=["cbc+hmac", "gcm"])
@pytest.mark.parametrize("name", BOTH)
def test_the_callback_may_resize_the_buffer(
    framework: Framework, name: str, chain: list[Cryptoini]
) -> None:
    sid = framework.newsession(chain, driver=name)
    work = bytearray(DATA + bytes(16))
    trimmed = []

    def callback(crp: Cryptop) -> None:
        del crp.buf[-4:]
        trimmed.append(len(crp.buf))

    desc = esp_in() if chain is ESP else gcm(ENCRYPT)
    framework.dispatch(Cryptop(sid, work, desc, callback, 0x10))
    assert trimmed == [len(DATA) + 12]
