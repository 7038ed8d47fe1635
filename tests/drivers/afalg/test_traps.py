"""Each trap of the kernel's interface, and that the driver does not step into it."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from opencrypto import Alg, Cryptoini, Cryptop, Framework, Profile, UsageError
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_F_CBIMM,
)
from opencrypto.xform import FACTS
from opencrypto_afalg import AfalgDriver, Kernel, KernelHash, KernelRng
from opencrypto_afalg import quick as afalg_quick
from opencrypto_afalg import sockets as afalg_sockets
from opencrypto_afalg import transforms as afalg_transforms
from opencrypto_afalg.catalogue import Catalogue, Served
from opencrypto_afalg.names import NAMES, Name
from tests.drivers.afalg.support import attached, follow, pair, run
from tests.drivers.rig import crd, shape

pytestmark = pytest.mark.kernel

EXPLICIT = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
KEY = bytes(range(16))
IV = bytes(range(16, 32))


def cbc(encrypt: bool, length: int, iv: bytes = IV, skip: int = 0):  # type: ignore[no-untyped-def]
    return crd(Alg.AES_CBC, skip, length, 0, EXPLICIT | (CRD_F_ENCRYPT if encrypt else 0), iv)


@pytest.fixture
def driver() -> AfalgDriver:
    return AfalgDriver()


@pytest.fixture
def framework(driver: AfalgDriver) -> Iterator[Framework]:
    with attached(driver) as framework:
        yield framework


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


@pytest.mark.parametrize("timeout", [0.0, 0.5, 30.0])
def test_a_default_timeout_of_the_application(timeout: float) -> None:
    """``socket.setdefaulttimeout`` breaks sockets that have no poll; ours do not take it over."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        with attached(AfalgDriver()) as framework:
            mac = framework.newsession(Cryptoini(Alg.SHA2_256_HMAC, KEY, mlen=32))
            cipher = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
            chain = pair(Alg.AES_GCM_16, KEY)
            aead = framework.newsession(chain)
            seal = crd(Alg.AES_GCM_16, 0, 40, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(12))
            buf = bytearray(64)
            for _ in range(3):
                assert run(framework, aead, buf, seal, crd(chain[1].alg, 0, 0, 48)).etype == 0
                assert run(framework, mac, buf, crd(Alg.SHA2_256_HMAC, 0, 32, 32)).etype == 0
                assert bytes(buf[32:]) == hmac.digest(KEY, bytes(buf[:32]), "sha256")
                assert run(framework, cipher, buf, cbc(True, 32)).etype == 0
        with KernelHash(Alg.SHA1) as running, KernelRng() as rng:
            running.update(b"abc")
            with running.copy() as twin:
                assert twin.digest() == hashlib.sha1(b"abc").digest()
            assert len(rng.read(300)) == 300
    finally:
        socket.setdefaulttimeout(before)


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


@pytest.mark.parametrize("size", [208896, 208896 + 16, 1 << 20])
def test_without_the_right_to_enlarge_buffers(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """What does not fit is refused untouched, for another driver: waiting would be for ever."""

    def no_more(operation: socket.socket, wanted: int = 0) -> int:
        return 208896

    monkeypatch.setattr(afalg_sockets, "room", no_more)
    with attached(AfalgDriver(), fallback=True) as framework:
        chain = pair(Alg.AES_GCM_16, KEY)
        aead = framework.newsession(chain, driver="afalg")
        whole = bytearray(size)
        seal = crd(Alg.AES_GCM_16, 0, size - 16, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(12))
        first = run(framework, aead, whole, seal, crd(chain[1].alg, 0, 0, size - 16))
        assert first.etype == (0 if size <= 208896 else errno.EAGAIN)
        assert any(whole) is not bool(first.etype)
        for alg, key in ((Alg.AES_XTS, bytes(range(32))), (Alg.AES_CBC, KEY)):
            sid = framework.newsession(Cryptoini(alg, key), driver="afalg")
            buf = bytearray(size)
            first = run(framework, sid, buf, crd(alg, 0, size, 0, EXPLICIT | CRD_F_ENCRYPT, IV))
            splits = alg == Alg.AES_CBC
            assert first.etype == (0 if splits or size <= 208896 else errno.EAGAIN)
            if first.etype:
                assert not any(buf)


def test_socket_memory_runs_short() -> None:
    """ENOMEM by a small optmem_max: sessions migrate, and no request is half done."""
    path = Path("/proc/sys/net/core/optmem_max")
    before = path.read_text()
    chain = [Cryptoini(Alg.AES_CTR, bytes(20)), Cryptoini(Alg.SHA1_HMAC, bytes(20))]
    with attached(AfalgDriver(), fallback=True) as framework:
        expected = None
        for memory in (before, "3500", "1200", "0"):
            sid = framework.newsession(chain, driver="afalg")
            path.write_text(memory)
            try:
                buf = bytearray(20_020 + 4)
                desc = [
                    crd(Alg.AES_CTR, 0, 20_000, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(8)),
                    crd(Alg.SHA1_HMAC, 3, 19_990, 20_001),
                ]
                crp = follow(framework, sid, buf, *desc)
            finally:
                path.write_text(before)
            assert crp.etype == 0, crp.error
            expected = expected or bytes(buf)
            assert buf == expected


def test_a_second_call_that_fails_undoes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request handed back is as it came, though its cipher had been done when its MAC failed."""

    def fail(self: object, parts: object) -> bytes:
        raise afalg_sockets.KernelRefused("gone", errno.ENODEV)

    chain = [Cryptoini(Alg.AES_CBC, KEY), Cryptoini(Alg.MD5_HMAC, KEY)]
    with attached(AfalgDriver(), fallback=True) as framework:
        sid = framework.newsession(chain, driver="afalg")
        data = random.Random(5).randbytes(100)
        buf = [bytearray(data[:50]), bytearray(data[50:])]
        monkeypatch.setattr(afalg_transforms.Mac, "mac", fail)
        crp = run(framework, sid, buf, cbc(True, 64), crd(Alg.MD5_HMAC, 0, 80, 84))
        assert crp.etype == errno.EAGAIN
        assert b"".join(buf) == data
        assert crp.sid >> 32 != sid >> 32


@contextmanager
def pestered(handler: Callable[[int, FrameType | None], object], every: float) -> Iterator[None]:
    """Send this process a signal again and again. Not SIGALRM, which limits the tests' time."""
    before = signal.signal(signal.SIGUSR1, handler)
    stop = threading.Event()

    def pester() -> None:
        while not stop.wait(every):
            os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=pester)
    thread.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        stop.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_signals_arrive_while_the_kernel_works(framework: Framework) -> None:
    """A signal ends a receive early; the answer is whole all the same."""
    caught: list[int] = []
    sid = framework.newsession(Cryptoini(Alg["3DES_CBC"], bytes(range(24))))
    mac = framework.newsession(Cryptoini(Alg.SHA2_512))
    data = random.Random(6).randbytes(60_000)
    deadline = time.monotonic() + 2
    with pestered(lambda number, _: caught.append(number), 0.001):
        while time.monotonic() < deadline and len(caught) < 200:
            buf = bytearray(data)
            for flags in (CRD_F_ENCRYPT, 0):
                desc = crd(Alg["3DES_CBC"], 0, len(data), 0, EXPLICIT | flags, bytes(8))
                assert run(framework, sid, buf, desc).etype == 0
            assert buf == data
            digest = bytearray(64)
            assert run(framework, mac, buf, crd(Alg.SHA2_512, 0, 60_000), mac=digest).etype == 0
            assert digest == hashlib.sha512(data).digest()
    assert len(caught) > 20


class Interrupt(Exception):
    """What the handler of a signal raises."""


def test_a_signal_handler_that_raises_spoils_no_socket() -> None:
    """What a socket holds after that is unknown, so it is not used again."""

    def handler(number: int, frame: FrameType | None) -> None:
        # Only while a request is with the kernel. In the midst of Python's own socket.accept() it
        # would lose the descriptor, and no code of ours could help that.
        if frame is not None and frame.f_code.co_name == "exchange":
            if "operation" in frame.f_locals:
                raise Interrupt

    driver = AfalgDriver(inline_ns=10**9)  # at once, in the thread that gets the signals
    with attached(driver) as framework:
        sid = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
        expected = bytearray(16_384)
        assert run(framework, sid, expected, cbc(True, len(expected))).etype == 0
        interrupted = 0
        deadline = time.monotonic() + 5
        with pestered(handler, 0.001):
            while interrupted < 30 and time.monotonic() < deadline:
                buf = bytearray(len(expected))
                done: list[Cryptop] = []
                desc = cbc(True, len(buf))
                framework.dispatch(Cryptop(sid, buf, [desc], done.append, CRYPTO_F_CBIMM))
                (crp,) = done
                interrupted += crp.etype == errno.EIO
                assert crp.etype in (0, errno.EIO)
                assert crp.etype or buf == expected
        assert interrupted > 3
        buf = bytearray(len(expected))
        assert run(framework, sid, buf, cbc(True, len(buf))).etype == 0
        assert buf == expected


def test_a_forked_child_has_sockets_of_its_own(framework: Framework, driver: AfalgDriver) -> None:
    """Operation sockets shared with the parent would mix two requests up."""
    sid = framework.newsession(Cryptoini(Alg.AES_CBC, KEY))
    expected = bytearray(4096)
    assert run(framework, sid, expected, cbc(True, 4096)).etype == 0

    def work() -> bool:
        for _ in range(300):
            buf = bytearray(4096)
            if run(framework, sid, buf, cbc(True, 4096)).etype or buf != expected:
                return False
        large = bytearray(1 << 20)
        return run(framework, sid, large, cbc(True, 1 << 20)).etype == 0

    large = bytearray(1 << 20)
    assert run(framework, sid, large, cbc(True, 1 << 20)).etype == 0  # threads are there
    pid = os.fork()
    if not pid:
        right = False
        try:
            right = work()
        finally:
            os._exit(0 if right else 1)
    assert work()
    assert os.waitpid(pid, 0)[1] == 0
    assert driver.descriptors.sockets


def test_descriptors_are_few_and_lent_to_who_needs_them() -> None:
    """Over the limit the sockets of sessions not used lately are closed, and opened again later."""
    driver = AfalgDriver(limit=12)
    with attached(driver) as framework:
        sids = [framework.newsession(Cryptoini(Alg.AES_CBC, bytes([n]) * 16)) for n in range(50)]
        answers: dict[int, bytes] = {}
        for _ in range(3):
            for sid in sids:
                buf = bytearray(32)
                assert run(framework, sid, buf, cbc(True, 32)).etype == 0
                assert answers.setdefault(sid, bytes(buf)) == bytes(buf)
                assert len(driver.descriptors.sockets) <= 14
        assert len(set(answers.values())) == 50
        for sid in sids:
            framework.freesession(sid)
        assert not driver.descriptors.sockets


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


def test_only_names_of_the_table_are_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bind of ``cryptd(...)`` would change what the whole system gets."""
    bound: list[str] = []
    real = socket.socket.bind

    def note(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_ALG:
            assert isinstance(address, tuple)
            bound.append(address[1])
        real(self, address)  # type: ignore[arg-type]

    class Noting(socket.socket):
        bind = note

    class Watched(Kernel):
        def socket(self) -> socket.socket:
            return Noting(socket.AF_ALG, socket.SOCK_SEQPACKET, 0)

    driver = AfalgDriver(Watched())
    driver.probe()
    allowed = {name.name for names in NAMES.values() for name in names}
    assert set(bound) <= allowed
    assert len(bound) > 30


def test_names_too_long_for_python_are_absent() -> None:
    """CPython takes 63 bytes of name; a longer one is no more than another absent name."""
    long = Name("aead", "authenc(hmac(sha512),rfc3686(ctr(cbc(ecb(aes-generic)))))" + "x" * 20)
    answer = Catalogue(Kernel()).find([long])
    assert isinstance(answer, str)
    assert "too long" in answer


def test_a_failing_bind_is_remembered() -> None:
    """Each costs the start of a modprobe, so the second is answered from memory."""
    catalogue = Catalogue(Kernel())
    absent = Name("skcipher", "cbc(skipjack)")
    start = time.perf_counter()
    assert catalogue.find([absent]) == "this kernel has no cbc(skipjack), or does not allow it"
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(1000):
        assert isinstance(catalogue.find([absent]), str)
    assert time.perf_counter() - start < max(first, 0.05)
    assert isinstance(catalogue.find([absent, Name("hash", "sha256")]), Served)


def test_nothing_is_probed_before_it_is_wanted() -> None:
    """Attaching binds nothing: it would load every module that the kernel has."""
    opened: list[int] = []

    class Counting(Kernel):
        def socket(self) -> socket.socket:
            opened.append(1)
            return super().socket()

    with attached(AfalgDriver(Counting())) as framework:
        assert not opened
        framework.newsession(Cryptoini(Alg.SHA1))
        assert 0 < len(opened) < 8
        count = len(opened)
        framework.newsession(Cryptoini(Alg.SHA1))
        assert len(opened) == count, "a second session opens nothing before its first request"


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


def test_a_large_request_does_not_keep_its_caller(framework: Framework) -> None:
    """Long ones go to a thread: process returns before the work is done."""
    sid = framework.newsession(Cryptoini(Alg["3DES_CBC"], bytes(range(24))))
    done = threading.Event()
    desc = crd(Alg["3DES_CBC"], 0, 1 << 20, 0, EXPLICIT | CRD_F_ENCRYPT, bytes(8))
    crp = Cryptop(sid, bytearray(1 << 20), [desc], lambda _: done.set(), CRYPTO_F_CBIMM)
    start = time.perf_counter()
    framework.dispatch(crp)
    kept = time.perf_counter() - start
    assert done.wait(30)
    whole = time.perf_counter() - start
    assert kept < whole / 2
    assert crp.etype == 0
