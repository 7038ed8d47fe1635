"""Memory that others may write: what was verified is what is decrypted, and what was encrypted."""

from __future__ import annotations

import ctypes
import hmac
import mmap
import os
import signal
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import opencrypto_openssl
import opencrypto_swcrypto
from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_F_CBIMM,
    CRYPTO_F_IOV,
    CRYPTO_SHA2_256_HMAC,
    ERESTART,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
    Mbuf,
    Profile,
)
from opencrypto._request.buffer import byteview, is_private
from opencrypto.chain import CipherTransform, MacTransform
from opencrypto.constants import CRD_F_COMP, CRD_F_ENCRYPT, CRD_F_VERIFY, CRYPTO_SYMQ
from opencrypto.driver import Capability, Process
from opencrypto_swcrypto._driver import SwcryptoDriver
from tests.toy import step, stepped

AES, MAC = bytes(range(16)), b"m" * 32
INIS = [Cryptoini(CRYPTO_AES_CBC, AES), Cryptoini(CRYPTO_SHA2_256_HMAC, MAC)]
HEAD, IV, TEXT, TAG = 8, 16, 64, 16
START = HEAD + IV
END = START + TEXT
SIZE = END + TAG
PLAIN = bytes(range(64))


def cbc_hmac(encrypting: bool) -> list[Cryptodesc]:
    """Encrypt, then make the MAC; or verify it, then decrypt."""
    cipher = Cryptodesc(START, TEXT, HEAD, CRD_F_ENCRYPT if encrypting else 0, alg=CRYPTO_AES_CBC)
    auth = Cryptodesc(0, END, END, 0 if encrypting else CRD_F_VERIFY, alg=CRYPTO_SHA2_256_HMAC)
    return [cipher, auth] if encrypting else [auth, cipher]


def run(fw: Framework, sid: int, buf: Any, desc: list[Cryptodesc]) -> Cryptop:
    """Carry a request out at once."""
    called: list[Cryptop] = []
    crp = Cryptop(sid, buf, desc, called.append, CRYPTO_F_CBIMM)
    fw.dispatch(crp)
    assert called == [crp]
    return crp


def mapping(content: bytes) -> mmap.mmap:
    """Map memory that a child would share, with a content."""
    made = mmap.mmap(-1, len(content))
    made[:] = content
    return made


@pytest.fixture(params=["openssl", "swcrypto", "both"])
def framework(request: pytest.FixtureRequest) -> Iterator[Framework]:
    """Frameworks of each driver, and one in which the chain is divided among two."""
    match request.param:
        case "openssl":
            with Framework([opencrypto_openssl]) as fw:
                yield fw
        case "swcrypto":
            with Framework([opencrypto_swcrypto]) as fw:
                yield fw
        case _:
            with Framework(plugins=False) as fw:
                fw.attach(Half("ciphers", CRYPTO_AES_CBC), selftest=False)
                fw.attach(Half("authenticates", CRYPTO_SHA2_256_HMAC), selftest=False)
                yield fw


class Half(SwcryptoDriver):
    """The software driver with one algorithm."""

    def __init__(self, name: str, alg: int) -> None:
        super().__init__()
        self.name = name
        self.capabilities = {alg: SwcryptoDriver.capabilities[alg]}


def shared_kinds(content: bytes) -> Iterator[tuple[str, Any, Callable[[], bytes]]]:
    """Yield buffers that others may write: a name, the buffer, and what reads its bytes."""
    whole = mapping(content)
    yield "a mapping", whole, lambda: whole[:]
    inside = mapping(b"<" * 5000 + content + b">" * 5000)
    yield "a view of one", memoryview(inside)[5000:-5000], lambda: inside[5000:-5000]
    chained = mapping(content)
    view = memoryview(chained)
    yield "an mbuf of it", Mbuf([view[:30], bytearray(content[30:40]), view[40:]]), lambda: b""
    listed = mapping(content)
    parts = [memoryview(listed)[:50], memoryview(listed)[50:]]
    yield "an iov of it", parts, lambda: listed[:]
    c_array = (ctypes.c_ubyte * len(content)).from_buffer_copy(content)
    yield "memory of ctypes", memoryview(c_array), lambda: bytes(c_array)


def test_a_request_in_shared_memory_does_what_it_does_elsewhere(framework: Framework) -> None:
    """Each kind of memory, both ways: the same bytes as in a bytearray, and none beyond them."""
    sid = framework.newsession(INIS)
    made = bytearray(b"header. " + bytes(IV) + PLAIN + bytes(TAG))
    assert not run(framework, sid, made, cbc_hmac(True)).etype
    opened = bytearray(made)
    opened[START:END] = PLAIN
    for name, buf, read in shared_kinds(bytes(made)):
        assert not run(framework, sid, buf, cbc_hmac(False)).etype, name
        found = bytes(buf) if isinstance(buf, Mbuf) else read()
        assert found == opened, name
        crp = run(framework, sid, buf, cbc_hmac(True))
        assert not crp.etype, name
        assert crp.buf is buf
        assert crp.flags == CRYPTO_F_CBIMM
        again = bytes(buf) if isinstance(buf, Mbuf) else read()
        assert again[:HEAD] == b"header. ", name
        assert again != opened, name
        assert not run(framework, sid, buf, cbc_hmac(False)).etype, name


def test_a_forgery_in_shared_memory_changes_nothing(framework: Framework) -> None:
    """A MAC that does not verify leaves the memory as it was."""
    sid = framework.newsession(INIS)
    buf = mapping(bytes(SIZE))
    crp = run(framework, sid, buf, cbc_hmac(False))
    assert crp.etype
    assert buf[:] == bytes(SIZE)


def test_what_is_certainly_private_is_worked_on_in_place() -> None:
    """Only memory of a bytearray, bytes or array is certain to be nobody else's."""
    for obj in (bytearray(4), b"four", array("B", b"four")):
        assert is_private(memoryview(obj))
        assert is_private(byteview(memoryview(obj)[1:], writable=False))
    assert not is_private(memoryview(mmap.mmap(-1, 10)))
    assert not is_private(memoryview((ctypes.c_char * 4)()))


class Tamperer:
    """Somebody who flips a byte of a buffer at the worst moment."""

    buf: Any = None
    at = START

    def strike(self) -> None:
        if self.buf is not None:
            self.buf[self.at] ^= 1


class AfterMac(MacTransform):
    """A MAC, after whose making somebody strikes."""

    def __init__(self, cri: Cryptoini, tamperer: Tamperer) -> None:
        self._key, self._tamperer = bytes(cri.key or b""), tamperer

    def mac(self, payload: Sequence[memoryview]) -> bytes:
        found = hmac.digest(self._key, b"".join(payload), "sha256")
        self._tamperer.strike()
        return found


class AfterCipher(CipherTransform):
    """A cipher that adds one to each byte, after which somebody strikes."""

    def __init__(self, tamperer: Tamperer) -> None:
        self._tamperer = tamperer

    def crypt(self, iv: bytes, payload: Sequence[memoryview], encrypting: bool) -> None:
        step = 1 if encrypting else 255
        for part in payload:
            part[:] = bytes((byte + step) % 256 for byte in part)
        self._tamperer.strike()


class Watched(SwcryptoDriver):
    """The software driver, with somebody who can write between its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.tamperer = Tamperer()
        self.factories = {
            CRYPTO_SHA2_256_HMAC: lambda cri: AfterMac(cri, self.tamperer),
            CRYPTO_AES_CBC: lambda cri: AfterCipher(self.tamperer),
        }


@pytest.mark.parametrize("kind", ["mapping", "profile"])
def test_a_byte_flipped_after_the_verification_is_not_released(kind: str) -> None:
    """The plaintext is that of the ciphertext that was verified."""
    driver = Watched()
    with Framework(plugins=False) as fw:
        fw.attach(driver, selftest=False)
        sid = fw.newsession(INIS, profile=Profile(shared=kind == "profile"))
        text = bytes((byte + 1) % 256 for byte in PLAIN)
        mac = hmac.digest(MAC, bytes(START) + text, "sha256")[:TAG]
        whole = bytes(START) + text + mac
        buf = mapping(whole) if kind == "mapping" else bytearray(whole)
        driver.tamperer.buf = buf
        assert not run(fw, sid, buf, cbc_hmac(False)).etype
        assert bytes(buf[START:END]) == PLAIN


@pytest.mark.parametrize("kind", ["mapping", "profile"])
def test_a_byte_flipped_after_the_encryption_is_not_authenticated(kind: str) -> None:
    """The MAC is over what was encrypted, not over what somebody put in its place."""
    driver = Watched()
    with Framework(plugins=False) as fw:
        fw.attach(driver, selftest=False)
        sid = fw.newsession(INIS, profile=Profile(shared=kind == "profile"))
        whole = bytes(START) + PLAIN + bytes(TAG)
        buf = mapping(whole) if kind == "mapping" else bytearray(whole)
        driver.tamperer.buf = buf
        assert not run(fw, sid, buf, cbc_hmac(True)).etype
        text = bytes((byte + 1) % 256 for byte in PLAIN)
        assert bytes(buf[START:END]) == text
        head = bytes(buf[:START])
        assert bytes(buf[END:]) == hmac.digest(MAC, head + text, "sha256")[:TAG]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("driver", ["openssl", "swcrypto"])
def test_another_process_gets_no_unverified_plaintext_released(driver: str) -> None:
    """A child flips a byte of shared memory all the time; what is accepted was verified."""
    size = 64 << 10
    cipher = Cryptodesc(16, size, 0, CRD_F_ENCRYPT, alg=CRYPTO_AES_CBC)
    auth = Cryptodesc(0, 16 + size, 16 + size, alg=CRYPTO_SHA2_256_HMAC)
    with Framework() as fw:
        sid = fw.newsession(INIS, driver=driver)
        made = bytearray(size + 32)
        assert not run(fw, sid, made, [cipher, auth]).etype
        cipher.flags, auth.flags = 0, CRD_F_VERIFY
        buf = mapping(bytes(made))
        pid = os.fork()
        if not pid:
            while True:
                buf[size] ^= 0x80
        accepted = tried = 0
        try:
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                buf[:] = bytes(made)
                tried += 1
                if run(fw, sid, buf, [auth, cipher]).etype:
                    continue
                accepted += 1
                text = buf[16 : 16 + size]
                # The child may have flipped the byte of the plaintext by now. A flipped ciphertext
                # would have made a block of nonsense.
                assert text.count(0) >= size - 1
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert accepted, f"none of {tried} was accepted"


class Plain(Driver):
    """A driver that compiles nothing: it notes what it was given, and writes there later."""

    name = "plain"
    capabilities = dict.fromkeys((CRYPTO_AES_CBC, CRYPTO_SHA2_256_HMAC), Capability())

    def __init__(self) -> None:
        self.held: list[Cryptop] = []
        self.refusing = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        return self.newlid()

    def freesession(self, lid: int) -> None:
        pass

    def process(self, crp: Cryptop, hint: int) -> int:
        if self.refusing:
            self.refusing -= 1
            return ERESTART
        self.held.append(crp)
        return 0


def test_a_plain_driver_is_given_a_copy_too() -> None:
    """Refused, taken later, answered later: the consumer's memory changes at the callback."""
    driver = Plain()
    with stepped(driver) as fw:
        sid = fw.newsession(INIS)
        buf = mapping(bytes(SIZE))
        called: list[bytes] = []
        crp = Cryptop(sid, buf, cbc_hmac(True), lambda crp: called.append(buf[:]), CRYPTO_F_CBIMM)
        callback = crp.callback
        driver.refusing = 1
        fw.dispatch(crp)
        assert crp.buf is buf
        assert crp.callback is callback
        driver.unblock(CRYPTO_SYMQ)
        step(fw)
        (held,) = driver.held
        assert held.buf is not buf
        held.buf[:] = b"x" * len(held.buf)
        assert buf[:] == bytes(SIZE)
        driver.done(held)
        assert crp.buf is buf
        assert crp.callback is callback
        assert crp.flags == CRYPTO_F_CBIMM
        (seen,) = called
        written = b"x" * (SIZE - HEAD)  # the IV, the ciphertext and the MAC; the aad is only read
        assert seen == bytes(HEAD) + written


def test_a_plain_driver_that_fails_leaves_shared_memory_alone() -> None:
    """What a failing request has written stays in its copy."""
    driver = Plain()
    with stepped(driver) as fw:
        sid = fw.newsession(INIS)
        buf = mapping(bytes(SIZE))
        crp = Cryptop(sid, buf, cbc_hmac(True), lambda crp: None, CRYPTO_F_CBIMM)
        fw.dispatch(crp)
        (held,) = driver.held
        held.buf[:] = b"x" * len(held.buf)
        held.fail(5, "broken")
        driver.done(held)
        assert crp.buf is buf
        assert buf[:] == bytes(SIZE)


@pytest.mark.parametrize(("beside", "copied"), [(4096, SIZE + 4096), (4097, SIZE)])
def test_no_more_is_copied_than_is_concerned_and_some(beside: int, copied: int) -> None:
    """A little beside it is: then the copy is one piece, for which drivers have quick ways."""
    driver = Plain()
    with stepped(driver) as fw:
        sid = fw.newsession(INIS)
        buf = (bytes(range(256)) * 32)[: SIZE + beside]
        shared = mapping(buf)
        crp = Cryptop(sid, shared, cbc_hmac(True), lambda crp: None, CRYPTO_F_CBIMM)
        fw.dispatch(crp)
        (held,) = driver.held
        parts = held.buf if held.flags & CRYPTO_F_IOV else [held.buf]
        assert b"".join(parts) == buf
        assert sum(len(part) for part in parts if part.obj is not shared) == copied
        driver.done(held)


def test_compression_among_other_steps_wants_memory_of_ones_own() -> None:
    """It changes lengths, for which a copy of regions is no help: refused, nothing touched."""
    with Framework([opencrypto_swcrypto]) as fw:
        sid = fw.newsession([Cryptoini(CRYPTO_DEFLATE_COMP), INIS[1]])
        buf = mapping(bytes(SIZE))
        desc = [
            Cryptodesc(0, 64, 0, CRD_F_COMP, alg=CRYPTO_DEFLATE_COMP),
            Cryptodesc(0, 64, 64, alg=CRYPTO_SHA2_256_HMAC),
        ]
        crp = run(fw, sid, buf, desc)
        assert "give a bytearray" in crp.error
        assert buf[:] == bytes(SIZE)
