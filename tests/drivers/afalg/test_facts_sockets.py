"""
What the kernel's sockets do, which the driver is built on: opening, keys, control, hashes, random.

Tried on the kernels themselves, so that one which does otherwise is found out before its users do.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import struct
from contextlib import nullcontext

import pytest

from opencrypto_afalg.sockets import (
    ALG_SET_AEAD_AUTHSIZE,
    ALG_SET_KEY,
    ALG_SET_KEY_BY_KEY_SERIAL,
    MSG_DONTWAIT,
    MSG_MORE,
    SOL_ALG,
)
from tests.drivers.afalg.raw import (
    DECRYPT,
    ENCRYPT,
    IV,
    KEY,
    Ancillary,
    bound,
    iv,
    op,
    operation,
    refused,
)

pytestmark = pytest.mark.kernel("uml", "qemu")


def test_the_family_has_one_type_and_no_protocol() -> None:
    with refused(errno.ESOCKTNOSUPPORT):
        socket.socket(socket.AF_ALG, socket.SOCK_STREAM, 0)
    with refused(errno.EPROTONOSUPPORT):
        socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 1)


def test_a_name_is_of_one_type() -> None:
    """Unknown, or known as something else: ENOENT up to 7.1, EINVAL for the second from 7.2 on."""
    with refused(errno.ENOENT), bound("skcipher", "cbc(nothing)"):
        pass
    with refused(errno.ENOENT, errno.EINVAL), bound("hash", "cbc(aes)"):
        pass
    with refused(errno.ENOENT), bound("comp", "deflate"):
        pass


def test_binding_again() -> None:
    """It replaces the algorithm; not while an operation socket is open."""
    with bound("hash", "sha1") as transform:
        transform.bind(("hash", "sha256"))
        with transform.accept()[0] as opened:
            opened.send(b"abc")
            assert opened.recv(32) == hashlib.sha256(b"abc").digest()
            with refused(errno.EBUSY):
                transform.bind(("hash", "sha1"))


def test_operation_sockets_outlive_their_transform() -> None:
    """Which is why a transform may lose its socket while requests are at work."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:
        opened.sendmsg([bytes(16)], [op(ENCRYPT), iv(IV)])
        assert len(opened.recv(16)) == 16


def test_options_are_the_transforms() -> None:
    """On an operation socket none can be set."""
    with operation("skcipher", "cbc(aes)", KEY) as opened, refused(errno.EOPNOTSUPP):
        opened.setsockopt(SOL_ALG, ALG_SET_KEY, KEY)


def test_keys_and_open_operations() -> None:
    """EBUSY while one is open; afterwards a new key holds. Without a key: ENOKEY, by the send."""
    with bound("skcipher", "cbc(aes)") as transform:
        early = transform.accept()[0]
        with early, refused(errno.ENOKEY):
            early.sendmsg([bytes(16)], [op(ENCRYPT), iv(IV)])
        transform.setsockopt(SOL_ALG, ALG_SET_KEY, KEY)
        with transform.accept()[0], refused(errno.EBUSY):
            transform.setsockopt(SOL_ALG, ALG_SET_KEY, KEY)
        transform.setsockopt(SOL_ALG, ALG_SET_KEY, bytes(32))
        with refused(errno.EINVAL):
            transform.setsockopt(SOL_ALG, ALG_SET_KEY, bytes(15))


def test_a_tag_size_given_as_a_value_says_four() -> None:
    """Why it travels as the length of an absent value. Never set, it is the longest."""
    for tag, value in ((0, None), (12, None), (4, struct.pack("=I", 12))):
        with bound("aead", "gcm(aes)", KEY) as transform:
            if value is not None:
                transform.setsockopt(SOL_ALG, ALG_SET_AEAD_AUTHSIZE, value)
            elif tag:
                transform.setsockopt(SOL_ALG, ALG_SET_AEAD_AUTHSIZE, None, tag)
            with transform.accept()[0] as opened:
                opened.sendmsg([bytes(16)], [op(ENCRYPT), iv(bytes(12))])
                assert len(opened.recv(64, MSG_DONTWAIT)) == 16 + (tag or 16)
                with refused(errno.EBUSY):
                    transform.setsockopt(SOL_ALG, ALG_SET_AEAD_AUTHSIZE, None, 16)


TAGS = {
    "gcm(aes)": (16, {4, 8, 12, 13, 14, 15, 16}),
    "rfc4106(gcm(aes))": (20, {8, 12, 16}),
    "rfc4543(gcm(aes))": (20, {16}),
    "ccm(aes)": (16, {4, 6, 8, 10, 12, 14, 16}),
    "rfc7539(chacha20,poly1305)": (32, {16}),
}


@pytest.mark.parametrize("name", TAGS)
def test_legal_tag_sizes(name: str) -> None:
    """As in `TAGS`; any other is EINVAL when it is set."""
    keylen, legal = TAGS[name]
    for tag in range(1, 18):
        allowed = nullcontext() if tag in legal else refused(errno.EINVAL)
        with allowed, bound("aead", name, bytes(keylen), tag):
            pass


def test_an_authenc_key_is_both_in_one_attribute() -> None:
    """A plain key is EINVAL."""
    with refused(errno.EINVAL), bound("aead", "authenc(hmac(sha1),cbc(aes))", bytes(36)):
        pass


def test_no_key_by_serial_before_6_2() -> None:
    with bound("skcipher", "cbc(aes)") as transform, refused(errno.ENOPROTOOPT):
        transform.setsockopt(SOL_ALG, ALG_SET_KEY_BY_KEY_SERIAL, struct.pack("=i", 1))


def test_a_descriptor_received_needs_its_family_told() -> None:
    """getsockname() does not work on these, so Python cannot find the family out by itself."""
    ours, theirs = socket.socketpair()
    with ours, theirs, operation("hash", "sha1") as opened:
        socket.send_fds(ours, [b"x"], [opened.fileno()])
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        with refused(errno.EOPNOTSUPP):
            socket.socket(fileno=fds[0])
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0, fileno=fds[0]) as twin:
            twin.send(b"abc")
            assert twin.recv(20) == hashlib.sha1(b"abc").digest()


@pytest.mark.parametrize(
    "wrong",
    [
        [op(2), iv(IV)],
        [op(ENCRYPT), iv(IV[:8])],
        [(SOL_ALG, 99, struct.pack("=I", 1))],
    ],
)
def test_wrong_control_messages(wrong: Ancillary) -> None:
    """No such direction, an IV of another length, an unknown message: EINVAL by the send."""
    with operation("skcipher", "cbc(aes)", KEY) as opened, refused(errno.EINVAL):
        opened.sendmsg([bytes(16)], wrong)


def test_an_iv_without_a_direction_means_decrypt() -> None:
    """And neither of both means what was before; on a fresh socket, decrypt with an IV of zeros."""
    with operation("skcipher", "cbc(aes)", KEY) as opened:

        def ask(data: bytes, *ancillary: tuple[int, int, bytes]) -> bytes:
            opened.sendmsg([data], ancillary)
            return opened.recv(len(data))

        zeros = ask(bytes(16))
        assert zeros == ask(bytes(16), op(DECRYPT), iv(bytes(16)))
        sealed = ask(bytes(16), op(ENCRYPT), iv(IV))
        assert ask(sealed, iv(IV)) == bytes(16)
        ask(bytes(16), op(ENCRYPT), iv(IV))
        assert ask(bytes(16)) != ask(bytes(16), op(DECRYPT)), "the direction is kept"


def test_a_short_receive_of_a_digest_loses_the_rest() -> None:
    """MSG_TRUNC says so, by recvmsg only; the next receive is the digest of nothing."""
    with operation("hash", "sha256") as opened:
        opened.send(b"abc")
        data, _, flags, _ = opened.recvmsg(10)
        assert data == hashlib.sha256(b"abc").digest()[:10]
        assert flags & socket.MSG_TRUNC
        assert opened.recv(32) == hashlib.sha256(b"").digest()


def test_a_second_message_drops_the_first_ones_digest() -> None:
    """Why one request is one send and one receive of a socket that nobody else uses meanwhile."""
    with operation("hash", "sha1") as opened:
        opened.send(b"first")
        opened.send(b"second")
        assert opened.recv(20) == hashlib.sha1(b"second").digest()


def test_a_hash_takes_any_length_and_clones() -> None:
    """5 MiB in one send; accept on a hash in progress gives another in the same state."""
    data = bytes(5 << 20)
    with operation("hash", "sha256") as opened:
        assert opened.send(data) == len(data)
        assert opened.recv(32) == hashlib.sha256(data).digest()
        opened.send(b"common ", MSG_MORE)
        with opened.accept()[0] as twin:
            twin.send(b"end")
            assert twin.recv(32) == hashlib.sha256(b"common end").digest()
        opened.send(b"other")
        assert opened.recv(32) == hashlib.sha256(b"common other").digest()


def test_random_comes_by_128_bytes_and_takes_nothing() -> None:
    """The kernel gives no more at once, and refuses data."""
    with bound("rng", "stdrng") as transform:
        transform.setsockopt(SOL_ALG, ALG_SET_KEY, b"")
        with transform.accept()[0] as one, transform.accept()[0] as other:
            assert len(one.recv(1000)) == 128
            assert one.recv(16) != other.recv(16)
            with refused(errno.EOPNOTSUPP):
                one.send(b"more")


def test_a_timeout_breaks_what_cannot_be_polled() -> None:
    """accept() on a transform and recv() on a hash wait by poll, which never answers."""
    with bound("hash", "sha1") as transform:
        transform.settimeout(0.05)
        with pytest.raises(TimeoutError):
            transform.accept()
        transform.setblocking(True)
        with transform.accept()[0] as opened:
            opened.settimeout(0.05)
            with pytest.raises(TimeoutError):
                opened.send(b"abc")


def test_weak_keys_are_taken() -> None:
    """3DES with one key thrice, XTS with equal halves: outside of FIPS mode nobody objects."""
    for name, key in (
        ("cbc(des3_ede)", bytes(24)),
        ("xts(aes)", bytes(32)),
        ("cbc(des)", bytes(8)),
    ):
        with bound("skcipher", name, key):
            pass
