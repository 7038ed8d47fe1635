"""Traps of AF_ALG about a request: lengths, tags, wiping, segments, keys and directions."""

from __future__ import annotations

import errno
import hashlib
import hmac
import random

import pytest

from opencrypto import Alg, Cryptoini, Framework, Profile, UsageError
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_VERIFY,
)
from opencrypto.xform import FACTS
from opencrypto_afalg import AfalgDriver, Kernel
from opencrypto_afalg import quick as afalg_quick
from opencrypto_afalg import sockets as afalg_sockets
from opencrypto_afalg import transforms as afalg_transforms
from tests.drivers.afalg.requests import EXPLICIT, KEY, cbc, driver, framework
from tests.drivers.afalg.support import attached, pair, run
from tests.drivers.rig import crd, shape

__all__ = ["driver", "framework"]

pytestmark = pytest.mark.kernel


def test_direction_and_iv_go_with_every_request(framework: Framework) -> None:
    """An operation socket remembers both; a request without one of them would use the last."""
    sid = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
    buf = bytearray(32)
    for _ in range(3):
        assert run(framework, sid, buf, cbc(True, 32)).etype == 0
        sealed = bytes(buf)
        assert run(framework, sid, buf, cbc(True, 32)).etype == 0
        assert run(framework, sid, buf, cbc(False, 32)).etype == 0
        assert buf == sealed
        assert run(framework, sid, buf, cbc(False, 32)).etype == 0
        assert buf == bytes(32)


def test_empty_messages(framework: Framework) -> None:
    """A digest of nothing is of nothing, whatever was hashed before."""
    sid = framework.newsession(Cryptoini(Alg.SHA2_256))
    for data in (b"", b"before", b""):
        buf = bytearray(data + bytes(32))
        assert run(framework, sid, buf, crd(Alg.SHA2_256, 0, len(data), len(data))).etype == 0
        assert bytes(buf[len(data) :]) == hashlib.sha256(data).digest()
    sid = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
    assert run(framework, sid, bytearray(16), cbc(True, 0)).etype == 0


def test_an_empty_aead_is_verified(framework: Framework) -> None:
    """A receive of no bytes succeeds without verifying anything: there is never one."""
    chain = pair(Alg.AES_GCM_16, KEY)
    sid = framework.newsession(chain)
    nonce = bytes(12)
    for aad in (0, 5):
        buf = bytearray(aad + 16)
        tag = crd(chain[1].alg, 0, aad, aad)
        sealing = crd(Alg.AES_GCM_16, aad, 0, 0, EXPLICIT | CRD_F_ENCRYPT, nonce)
        assert run(framework, sid, buf, sealing, tag).etype == 0
        opening = crd(Alg.AES_GCM_16, aad, 0, 0, EXPLICIT, nonce)
        assert run(framework, sid, buf, tag, opening).etype == 0
        buf[-1] ^= 1
        assert run(framework, sid, buf, tag, opening).etype == errno.EBADMSG


@pytest.mark.parametrize("alg", [Alg.AES_GCM_16, Alg.AES_CCM_16, Alg.CHACHA20_POLY1305])
def test_aead_truncated_forged_and_every_tag_size(framework: Framework, alg: Alg) -> None:
    """Each legal tag; a wrong tag, or less or other data, gives EBADMSG and releases nothing."""
    rng = random.Random(alg)
    key = rng.randbytes(32)
    half = pair(alg, key)[1].alg
    for taglen in sorted(FACTS[half].macs):
        sid = framework.newsession(pair(alg, key, taglen))
        for aad, length in ((0, 40), (65536, 40), (20, 0), (13, 1000)):
            nonce = rng.randbytes(12)
            plain = rng.randbytes(aad + length)
            buf = bytearray(plain + bytes(taglen))
            end = aad + length
            tag = crd(half, 0, aad, end)
            seal = crd(alg, aad, length, 0, EXPLICIT | CRD_F_ENCRYPT, nonce)
            assert run(framework, sid, buf, seal, tag).etype == 0
            sealed = bytes(buf)
            unseal = crd(alg, aad, length, 0, EXPLICIT, nonce)
            for at in {0, aad, end, end + taglen - 1} - {end if not taglen else -1}:
                buf[:] = sealed
                buf[at] ^= 0x40
                forged = bytes(buf)
                assert run(framework, sid, buf, tag, unseal).etype == errno.EBADMSG
                assert buf == forged
            if length:
                buf[:] = sealed
                shorter = crd(alg, aad, length - 1, 0, EXPLICIT, nonce)
                assert run(framework, sid, buf, tag, shorter).etype == errno.EBADMSG
                assert buf == sealed
            buf[:] = sealed
            assert run(framework, sid, buf, tag, unseal).etype == 0
            assert buf[:end] == plain
        framework.freesession(sid)


@pytest.mark.parametrize("kind", ["contiguous", "iov"])
def test_what_did_not_verify_is_wiped(
    framework: Framework, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The kernel has written the plaintext into our private memory: nothing of it stays there."""
    private: list[tuple[bytes, bytearray]] = []
    real = afalg_transforms.wipe

    def wipe(buffer: bytearray) -> None:
        before = bytes(buffer)
        real(buffer)
        private.append((before, buffer))

    monkeypatch.setattr(afalg_transforms, "wipe", wipe)
    monkeypatch.setattr(afalg_quick, "wipe", wipe)
    chain = pair(Alg.AES_GCM_16, KEY)
    sid = framework.newsession(chain)
    text = random.Random(9).randbytes(200)
    packet = bytearray(text + bytes(16))
    tag = crd(chain[1].alg, 0, 0, 200)
    seal = crd(Alg.AES_GCM_16, 0, 200, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(12))
    assert run(framework, sid, packet, seal, tag).etype == 0
    packet[-1] ^= 1
    work = shape(kind, bytes(packet))
    unseal = crd(Alg.AES_GCM_16, 0, 200, 0, EXPLICIT, bytes(12))
    assert run(framework, sid, work.buf, tag, unseal).etype == errno.EBADMSG
    assert work.content() == packet
    ((seen, memory),) = private
    assert seen == text, "it was there"
    assert memory == bytes(200), "and is no more"


def test_the_authsize_is_the_length_of_an_absent_value() -> None:
    """As a value it would silently set 4 bytes of tag; a bad one is refused by the kernel."""
    with Kernel().socket() as transform:
        transform.bind(("aead", "gcm(aes)"))
        option = (afalg_sockets.SOL_ALG, afalg_sockets.ALG_SET_AEAD_AUTHSIZE)
        transform.setsockopt(*option, None, 12)
        with pytest.raises(OSError) as refusal:
            transform.setsockopt(*option, None, 5)
        assert refusal.value.errno == errno.EINVAL


def test_arc4_begins_anew_with_every_request(framework: Framework, kernel: str) -> None:
    """Up to Linux 7.1 the key stream would run on, common to all operation sockets."""
    sid = framework.newsession(Cryptoini(Alg.ARC4, KEY))
    outcomes = set()
    for _ in range(3):
        buf = bytearray(24)
        assert run(framework, sid, buf, crd(Alg.ARC4, 0, 24, 0, CRD_F_ENCRYPT)).etype == 0
        outcomes.add(bytes(buf))
    assert len(outcomes) == 1


@pytest.mark.parametrize("segments", [2, 29, 1025, 3000])
def test_many_segments(framework: Framework, segments: int) -> None:
    """Receiving into more than 28 buffers is ENOMEM, and no call takes more than 1024."""
    data = random.Random(segments).randbytes(16 * segments)
    cipher = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
    whole = bytearray(data)
    assert run(framework, cipher, whole, cbc(True, len(data))).etype == 0
    parts = [bytearray(data[at : at + 16]) for at in range(0, len(data), 16)]
    assert run(framework, cipher, parts, cbc(True, len(data))).etype == 0
    assert b"".join(parts) == whole
    sid = framework.newsession(Cryptoini(Alg.SHA2_256))
    digest = bytearray(32)
    assert run(framework, sid, parts, crd(Alg.SHA2_256, 0, len(data)), mac=digest).etype == 0
    assert digest == hashlib.sha256(whole).digest()


def test_keys_longer_than_the_block_and_none(framework: Framework) -> None:
    """HMAC keys of any length, the empty one too; longer ones than sockets take are refused."""
    for size in (0, 1, 64, 65, 131, 4096):
        key = bytes(range(256)) * 16
        sid = framework.newsession(Cryptoini(Alg.SHA2_256_HMAC, key[:size], mlen=32))
        buf = bytearray(b"data" + bytes(32))
        assert run(framework, sid, buf, crd(Alg.SHA2_256_HMAC, 0, 4, 4)).etype == 0
        assert bytes(buf[4:]) == hmac.digest(key[:size], b"data", "sha256")
    with pytest.raises(OSError, match="takes no key of"):
        framework.newsession(Cryptoini(Alg.SHA2_256_HMAC, bytes(100_000)))


@pytest.mark.parametrize(
    ("alg", "key"),
    [(Alg["3DES_CBC"], bytes(24)), (Alg.DES_CBC, bytes(8)), (Alg.AES_XTS, bytes(range(16)) * 2)],
)
def test_weak_keys(alg: Alg, key: bytes) -> None:
    """The kernel takes them all, and so does swcrypto: the answers are the same."""
    with attached(AfalgDriver(), fallback=True) as framework:
        answers = []
        for driver in ("afalg", "swcrypto"):
            weak = Profile(weak_keys=True)
            sid = framework.newsession(Cryptoini(alg, key), driver=driver, profile=weak)
            buf = bytearray(64)
            seal = crd(alg, 0, 64, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(FACTS[alg].iv))
            assert run(framework, sid, buf, seal).etype == 0
            answers.append(buf)
        assert answers[0] == answers[1]
        if alg == Alg.AES_XTS:
            with pytest.raises(UsageError):
                framework.newsession(Cryptoini(alg, bytes(48)))  # which the kernel would take


def test_requests_that_do_not_fit_are_refused_as_ever(framework: Framework) -> None:
    """A bad region is EINVAL, not a reason to move the session."""
    sid = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
    for desc in (cbc(True, 17), cbc(True, 64), crd(Alg.SHA1, 0, 16)):
        assert run(framework, sid, bytearray(32), desc).etype == errno.EINVAL
    with pytest.raises(UsageError):
        framework.newsession(Cryptoini(Alg.AES_CBC, bytes(15)))


def test_verify_leaves_the_buffer(framework: Framework) -> None:
    """Verification writes nothing, so it works on a read-only buffer."""
    sid = framework.newsession(Cryptoini(Alg.SHA1))
    data = b"read only" + hashlib.sha1(b"read only").digest()
    assert run(framework, sid, data, crd(Alg.SHA1, 0, 9, 9, CRD_F_VERIFY)).etype == 0
