"""
What the kernel does with the requests of ciphers, which the driver is built on.

Tried on the kernels themselves, so that one which does otherwise is found out before its users do.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from typing import Final

import pytest
from Crypto.Cipher import AES

from opencrypto_afalg.sockets import MSG_DONTWAIT, MSG_MORE
from tests.drivers.afalg.raw import (
    DECRYPT,
    ENCRYPT,
    IV,
    KEY,
    assoclen,
    bound,
    iv,
    op,
    operation,
    refused,
)

pytestmark = pytest.mark.kernel("uml", "qemu")

SEAL: Final = [op(ENCRYPT), iv(IV)]
NONCE: Final = bytes(12)


def cbc(data: bytes, start: bytes = IV) -> bytes:
    """Return what another library makes of it."""
    return AES.new(KEY, AES.MODE_CBC, iv=start).encrypt(data)


def test_a_second_request_before_the_answer() -> None:
    """EINVAL: so a socket carries one request, from its send to its receive."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([bytes(16)], SEAL)
        with refused(errno.EINVAL):
            opened.sendmsg([bytes(16)], SEAL)


def test_asking_for_more_than_there_is() -> None:
    """Without waiting it gives what there is. One that waits would wait for ever, so none does."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([bytes(32)], SEAL)
        assert opened.recv(1000, MSG_DONTWAIT) == cbc(bytes(32))


def test_asking_for_less_gives_whole_blocks() -> None:
    """A partial read: the rest stays, and less than a block is nothing, or EINVAL later on."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([bytes(48)], SEAL)
        assert opened.recv(20, MSG_DONTWAIT) == cbc(bytes(48))[:16]
        assert opened.recv(32, MSG_DONTWAIT) == cbc(bytes(48))[16:]
        opened.sendmsg([bytes(16)], SEAL)
        try:
            assert opened.recv(8, MSG_DONTWAIT) == b""
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise


def test_a_length_that_is_no_multiple_of_the_block() -> None:
    """EINVAL by the receive; the socket can be used afterwards."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([bytes(17)], SEAL)
        with refused(errno.EINVAL):
            opened.recv(17, MSG_DONTWAIT)
        opened.sendmsg([bytes(16)], SEAL)
        assert opened.recv(16, MSG_DONTWAIT) == cbc(bytes(16))


def test_an_empty_request_is_answered_with_nothing() -> None:
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([b""], SEAL)
        assert opened.recv(16, MSG_DONTWAIT) == b""


@pytest.mark.parametrize(
    ("name", "key", "chains"), [("cbc(aes)", 16, True), ("xts(aes)", 32, False)]
)
def test_what_goes_on_from_request_to_request(name: str, key: int, chains: bool) -> None:
    """CBC's state lives in the operation socket; XTS begins anew, so it can never be split."""
    with operation("skcipher", name, bytes(range(key))) as opened:
        opened.sendmsg([bytes(64)], SEAL)
        whole = opened.recv(64)
        parts = b""
        for ancillary in (SEAL, []):
            opened.sendmsg([bytes(32)], ancillary)
            parts += opened.recv(32)
        assert (parts == whole) is chains


def test_the_key_stream_of_arc4_belongs_to_the_transform(kernel: str) -> None:
    """Up to 7.1 it runs on, common to its operation sockets. Debian's own kernel has none."""
    if kernel == "qemu":
        with refused(errno.ENOENT), bound("skcipher", "ecb(arc4)"):
            pass
        return
    streams = []
    with ExitStack() as stack:
        transform = stack.enter_context(bound("skcipher", "ecb(arc4)", KEY))
        one, other = (stack.enter_context(transform.accept()[0]) for _ in range(2))
        for opened in (one, one, other):
            opened.sendmsg([bytes(16)], [op(ENCRYPT)])
            streams.append(opened.recv(16))
    assert len(set(streams)) == 3


def test_streaming_a_chained_mode() -> None:
    """MSG_MORE on all but the last, received in between: right for CBC by whole blocks."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([bytes(32)], SEAL, MSG_MORE)
        got = opened.recv(32, MSG_DONTWAIT)
        opened.send(bytes(32))
        assert got + opened.recv(32, MSG_DONTWAIT) == cbc(bytes(64))


def test_the_sockets_buffer_bounds_a_request() -> None:
    """A send that does not wait takes a part; one that waits would never end."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        size = opened.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert 0 < opened.sendmsg([bytes(4 * size)], SEAL, MSG_DONTWAIT) <= size


def test_many_buffers_to_receive_into() -> None:
    """ENOMEM on 6.1, where sending from a thousand is no matter: so we receive in one piece."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([bytes(16)] * 1000, SEAL)
        assert opened.recv(16_000, MSG_DONTWAIT) == cbc(bytes(16_000))
        opened.sendmsg([bytes(16)] * 100, SEAL)
        with refused(errno.ENOMEM):
            opened.recvmsg_into([bytearray(16) for _ in range(100)], 0, MSG_DONTWAIT)


def test_in_place() -> None:
    """Data are copied when they are sent, so the answer may go over them."""
    buf = bytearray(64)
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([buf], SEAL)
        assert opened.recv_into(buf, 64) == 64
    assert buf == cbc(bytes(64))


def sealed(aad: bytes, data: bytes, tag: int = 16) -> bytes:
    """Return AAD, ciphertext and tag, by another library."""
    cipher = AES.new(KEY, AES.MODE_GCM, nonce=NONCE, mac_len=tag)
    cipher.update(aad)
    return aad + b"".join(cipher.encrypt_and_digest(data))


def test_the_layout_of_aead() -> None:
    """Additional data come back in front; the tag stands behind the ciphertext."""
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([b"head", bytes(20)], [op(ENCRYPT), iv(NONCE), assoclen(4)])
        assert opened.recv(40) == sealed(b"head", bytes(20))
        opened.sendmsg([sealed(b"head", bytes(20))], [op(DECRYPT), iv(NONCE), assoclen(4)])
        assert opened.recv(24) == b"head" + bytes(20)


def test_without_a_length_there_are_no_additional_data() -> None:
    """The length of the last request is not kept when any ancillary data come."""
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([b"head", bytes(20)], [op(ENCRYPT), iv(NONCE), assoclen(4)])
        opened.recv(40)
        opened.sendmsg([b"head"], [op(ENCRYPT), iv(NONCE)])
        assert opened.recv(20) == sealed(b"", b"head")


def test_less_than_the_additional_data() -> None:
    """EINVAL by the receive."""
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([b"abc"], [op(ENCRYPT), iv(NONCE), assoclen(4)])
        with refused(errno.EINVAL):
            opened.recv(64, MSG_DONTWAIT)


def test_too_small_an_answer_is_no_error() -> None:
    """It is a shorter message with a tag of its own: why only exact sizes are ever asked for."""
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([b"head" + bytes(56)], [op(ENCRYPT), iv(NONCE), assoclen(4)])
        short = opened.recv(70, MSG_DONTWAIT)
        assert len(short) <= 70
        assert short != sealed(b"head", bytes(56))[:70], "not a part of the right answer"


def test_the_iv_of_aead_stays_as_it_was() -> None:
    """A second request without one uses the same nonce: so each request brings its own."""
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([bytes(16)], [op(ENCRYPT), iv(NONCE)])
        first = opened.recv(32)
        opened.sendmsg([bytes(16)])
        assert opened.recv(32) == first


@pytest.mark.parametrize("length", [8, 16])
def test_gcm_takes_nonces_of_12_bytes(length: int) -> None:
    with operation("aead", "gcm(aes)", KEY, 16) as opened, refused(errno.EINVAL):
        opened.sendmsg([bytes(16)], [op(ENCRYPT), iv(bytes(length))])


def test_plaintext_is_written_before_it_is_verified() -> None:
    """A forged message: EBADMSG, and the plaintext is in the buffer. The socket can be used."""
    text = os.urandom(32)
    forged = bytearray(sealed(b"", text))
    forged[-1] ^= 1
    out = bytearray(32)
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([forged], [op(DECRYPT), iv(NONCE)])
        with refused(errno.EBADMSG):
            opened.recv_into(out, 32)
        assert out == text, "why the driver receives into memory of its own, and wipes it"
        opened.sendmsg([sealed(b"", text)], [op(DECRYPT), iv(NONCE)])
        assert opened.recv(32) == text


def test_a_receive_of_nothing_verifies_nothing() -> None:
    """Success for a forged tag; asked for one byte the kernel does verify."""
    forged = bytes(16)
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([forged], [op(DECRYPT), iv(NONCE)])
        assert opened.recv(0) == b""
    with operation("aead", "gcm(aes)", KEY, 16) as opened:
        opened.sendmsg([forged], [op(DECRYPT), iv(NONCE)])
        with refused(errno.EBADMSG):
            opened.recv(1, MSG_DONTWAIT)
        opened.sendmsg([sealed(b"", b"")], [op(DECRYPT), iv(NONCE)])
        assert opened.recv(1, MSG_DONTWAIT) == b""
