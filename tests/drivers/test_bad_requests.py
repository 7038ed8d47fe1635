"""Each way to call wrongly: the errno, a sentence that says what to do, and a buffer untouched."""

import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_GMAC,
    CRYPTO_F_CBIMM,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
    CRYPTO_SHA1_HMAC_96,
    BusyError,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    DriverBug,
    Framework,
    Mbuf,
    UnknownSession,
    UsageError,
)

SIZE = 64
IV = bytes(16)
OUTSIDE_IV = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


@dataclass(frozen=True)
class Case:
    """A request that is wrong in one place; all else about it is right."""

    name: str
    says: str
    descriptors: Callable[[], list[Cryptodesc]]
    errno: int = errno.EINVAL
    flags: int = 0
    buf: Callable[[], Any] = field(default=lambda: bytearray(range(SIZE)))
    mac: Any = None
    algs: tuple[int, ...] = (CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC_96)


def cipher(skip: int = 16, length: int = 32, inject: int = 0, flags: int = 0, **ini: Any) -> Any:
    """Describe an AES-CBC operation that is right unless told otherwise."""
    alg = ini.pop("alg", CRYPTO_AES_CBC)
    return lambda: [Cryptodesc(skip, length, inject, CRD_F_ENCRYPT | flags, alg=alg, **ini)]


def mac(skip: int = 0, length: int = 48, inject: int = 48, flags: int = 0) -> Any:
    """Describe an HMAC operation that is right unless told otherwise."""
    return lambda: [Cryptodesc(skip, length, inject, flags, alg=CRYPTO_SHA1_HMAC_96)]


def gcm(length: int = 16, at: int = 40, *, both: bool = True) -> Any:
    """Describe an AES-GCM operation that is right unless told otherwise."""

    def descriptors() -> list[Cryptodesc]:
        payload = Cryptodesc(16, length, 0, CRD_F_ENCRYPT, alg=CRYPTO_AES_GCM_16)
        tag = Cryptodesc(0, 8, at, alg=CRYPTO_AES_128_GMAC)
        return [payload, tag] if both else [payload]

    return descriptors


def gcm_that_verifies_what_it_makes(at: int = 32) -> Any:
    """Describe an encryption whose tag is to be verified; right behind, as the quick ways want."""

    def descriptors() -> list[Cryptodesc]:
        payload = Cryptodesc(16, 16, 0, CRD_F_ENCRYPT, alg=CRYPTO_AES_GCM_16)
        return [payload, Cryptodesc(8, 8, at, CRD_F_VERIFY, alg=CRYPTO_AES_128_GMAC)]

    return descriptors


GCM = (CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC)
GMAC = (CRYPTO_AES_GMAC, CRYPTO_AES_128_GMAC)


def gmac_with_payload() -> list[Cryptodesc]:
    """Describe an AES-GMAC operation that wants to cipher something."""
    return [
        Cryptodesc(16, 16, 0, CRD_F_ENCRYPT, alg=CRYPTO_AES_GMAC),
        Cryptodesc(0, 8, 40, alg=CRYPTO_AES_128_GMAC),
    ]


CASES = (
    Case("a tag made and verified at once", "an encryption makes its tag",
         gcm_that_verifies_what_it_makes(), algs=GCM),
    Case("the same, elsewhere", "an encryption makes its tag",
         gcm_that_verifies_what_it_makes(40), algs=GCM),
    Case("the same, into a read-only mac", "an encryption makes its tag",
         gcm_that_verifies_what_it_makes(), algs=GCM, mac=bytes(16)),
    Case("no descriptor", "no descriptors", list),
    Case("no buffer", "no buffer; set buf", cipher(), buf=lambda: None),
    Case("a buffer that is none", "bytes-like, not int", cipher(), buf=lambda: 5),
    Case("a read-only buffer", "read-only; give a bytearray", cipher(), buf=lambda: bytes(SIZE)),
    Case("every other byte", "not contiguous", cipher(),
         buf=lambda: memoryview(bytearray(2 * SIZE))[::2]),
    Case("a list that is said to be an mbuf", "needs an Mbuf", cipher(),
         flags=CRYPTO_F_IMBUF, buf=lambda: [bytearray(SIZE)]),
    Case("an mbuf that is said to be a list", "give a sequence", cipher(),
         flags=CRYPTO_F_IOV, buf=lambda: Mbuf([bytearray(SIZE)])),
    Case("a region beyond the end", "outside the buffer of 64 bytes", cipher(skip=48)),
    Case("a region before the start", "outside the buffer", cipher(skip=-16)),
    Case("a negative length", "outside the buffer", cipher(length=-16)),
    Case("part of a block", "not a multiple of 16", cipher(length=31)),
    Case("an algorithm not in the session", "not in the session's chain",
         cipher(alg=CRYPTO_AES_CTR)),
    Case("an algorithm that does not exist", "not in the session's chain", cipher(alg=999)),
    Case("an explicit IV that is not there", "has no iv", cipher(flags=OUTSIDE_IV)),
    Case("an IV too short", "an iv of 8 bytes; it takes 16", cipher(flags=OUTSIDE_IV, iv=bytes(8))),
    Case("an IV too long", "an iv of 17 bytes", cipher(flags=OUTSIDE_IV, iv=bytes(17))),
    Case("an IV of wide items", "an iv of 64 bytes",
         cipher(flags=OUTSIDE_IV, iv=memoryview(bytes(64)).cast("I"))),
    Case("an IV that is text", "a field has a wrong type",
         cipher(flags=OUTSIDE_IV, iv="sixteen letters.")),
    Case("an IV that is a number", "a field has a wrong type", cipher(flags=OUTSIDE_IV, iv=16)),
    Case("an IV's place outside", "iv's place of 16 bytes at 50", cipher(inject=50)),
    Case("an IV's place before the start", "iv's place", cipher(inject=-1)),
    Case("an IV's place in its own region", "inside the region", cipher(inject=24)),
    Case("a MAC's place outside", "MAC's place of 12 bytes at 53", mac(inject=53)),
    Case("a MAC's place before the start", "MAC's place", mac(inject=-4)),
    Case("a MAC's region outside", "outside the buffer", mac(length=65)),
    Case("too little room for the MAC", "mac has room for 11", mac(), mac=bytearray(11)),
    Case("a MAC into read-only memory", "mac is read-only", mac(), mac=bytes(12)),
    Case("half an authenticated cipher", "needs both its descriptors", gcm(both=False), algs=GCM),
    Case("a tag inside the payload", "the tag's place at 20", gcm(at=20), algs=GCM),
    Case("GMAC with a payload", "ciphers nothing", gmac_with_payload, algs=GMAC),
)  # fmt: skip


@pytest.fixture(params=["openssl", "swcrypto"])
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework() as fw:
        yield fw


def session(fw: Framework, algs: tuple[int, ...], driver: str) -> int:
    """Open a session of some algorithms on one driver."""
    sizes: dict[int, int] = {CRYPTO_AES_CBC: 16}
    return fw.newsession([Cryptoini(alg, bytes(sizes.get(alg, 20))) for alg in algs], driver=driver)


def content(buf: Any) -> bytes | None:
    """Read all of any kind of buffer."""
    if buf is None or isinstance(buf, int):
        return None
    return b"".join(map(bytes, buf)) if isinstance(buf, list) else bytes(buf)


@pytest.mark.shared_framework
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_wrong_request_is_refused_untouched(
    framework: Framework, driver: str, case: Case
) -> None:
    """A request with one mistake completes with its errno, a sentence, and nothing changed."""
    sid = session(framework, case.algs, driver)
    crp = Cryptop(sid, case.buf(), case.descriptors(), lambda crp: None, mac=case.mac)
    crp.flags = CRYPTO_F_CBIMM | case.flags
    before = content(crp.buf)
    framework.dispatch(crp)
    assert crp.etype == case.errno
    assert case.says in crp.error
    assert content(crp.buf) == before
    with pytest.raises(CryptoError) as refusal:
        crp.check()
    assert refusal.value.errno == case.errno
    assert case.says in str(refusal.value)
    framework.freesession(sid)


@pytest.mark.shared_framework
@pytest.mark.parametrize(
    ("place", "value"), [("skip", None), ("len", "16"), ("inject", b""), ("flags", None)]
)
def test_a_field_of_a_wrong_type_is_the_consumers_fault(
    framework: Framework, driver: str, place: str, value: Any
) -> None:
    """It is EINVAL, and no bug of the driver, although the driver's quick way fell over it."""
    sid = session(framework, (CRYPTO_AES_CBC,), driver)
    crp = request(sid)
    setattr(crp.desc[0], place, value)
    bugs = framework.stats.driver_bugs
    framework.dispatch(crp)
    assert crp.etype == errno.EINVAL
    assert "wrong type" in crp.error
    assert crp.buf == bytearray(SIZE)
    assert framework.stats.driver_bugs == bugs
    framework.freesession(sid)


@pytest.mark.shared_framework
def test_a_read_only_buffer_will_do_where_nothing_is_written(
    framework: Framework, driver: str
) -> None:
    """A MAC into memory of its own, or one that is verified, needs no writable buffer."""
    sid = session(framework, (CRYPTO_SHA1_HMAC_96,), driver)
    crp = Cryptop(sid, bytes(SIZE), mac()(), lambda crp: None, CRYPTO_F_CBIMM, mac=bytearray(12))
    framework.dispatch(crp)
    assert crp.etype == 0
    assert crp.mac is not None
    crp.mac = bytearray(crp.mac)
    crp.desc[0].flags = CRD_F_VERIFY
    framework.dispatch(crp)
    assert crp.etype == 0
    framework.freesession(sid)


def request(sid: int, callback: Any = lambda crp: None) -> Cryptop:
    """Make a request that is right."""
    return Cryptop(sid, bytearray(SIZE), cipher()(), callback, CRYPTO_F_CBIMM)


@pytest.mark.shared_framework
class TestSids:
    """SIDs that name no session."""

    @pytest.mark.parametrize("sid", [0, 1, 1 << 32, 1 << 70, -1])
    def test_dispatch_completes_with_enoent(self, framework: Framework, sid: int) -> None:
        """A request on no session is called back with ENOENT and stays as it was."""
        crp = request(sid)
        framework.dispatch(crp)
        assert (crp.etype, crp.buf) == (errno.ENOENT, bytearray(SIZE))
        assert "open one with newsession()" in crp.error

    def test_a_freed_session_is_unknown(self, framework: Framework) -> None:
        """After freesession both dispatch and freesession say ENOENT."""
        sid = session(framework, (CRYPTO_AES_CBC,), "swcrypto")
        framework.freesession(sid)
        crp = request(sid)
        framework.dispatch(crp)
        assert crp.etype == errno.ENOENT
        with pytest.raises(UnknownSession, match="freed already") as refusal:
            framework.freesession(sid)
        assert refusal.value.errno == errno.ENOENT

    def test_freeing_session_0_does_nothing(self, framework: Framework) -> None:
        """0 is the safe "no session"."""
        framework.freesession(0)


@pytest.mark.shared_framework
class TestRequests:
    """Requests in the wrong state."""

    def test_no_callback(self, framework: Framework) -> None:
        """Nobody could hear of the end, so dispatch raises."""
        with pytest.raises(UsageError, match="no callback; set one"):
            framework.dispatch(request(1 << 32, None))

    def test_a_freed_request(self, framework: Framework) -> None:
        """A request given back is dispatched and freed no more."""
        crp = framework.getreq(1)
        assert crp is not None
        framework.freereq(crp)
        crp.callback = lambda crp: None
        with pytest.raises(UsageError, match="has been freed; take a new one"):
            framework.dispatch(crp)
        with pytest.raises(UsageError, match="freed already"):
            framework.freereq(crp)

    def test_one_that_is_in_flight(self, framework: Framework) -> None:
        """A request that waits for its callback is neither dispatched nor freed again."""
        here, go = threading.Event(), threading.Event()

        def callback(crp: Cryptop) -> None:
            here.set()
            go.wait()

        blocker = request(1 << 32, callback)
        blocker.flags = 0
        waiting = request(1 << 32)
        waiting.flags = 0
        framework.dispatch(blocker)
        here.wait()
        framework.dispatch(waiting)
        with pytest.raises(BusyError, match="dispatched already") as refusal:
            framework.dispatch(waiting)
        assert refusal.value.errno == errno.EBUSY
        with pytest.raises(BusyError, match="in use"):
            framework.freereq(waiting)
        go.set()

    def test_done_twice(self, framework: Framework) -> None:
        """Completing what is complete is an error that the driver hears."""
        sid = session(framework, (CRYPTO_AES_CBC,), "swcrypto")
        calls: list[Cryptop] = []
        crp = request(sid, calls.append)
        framework.dispatch(crp)
        with pytest.raises(DriverBug, match="call it once"):
            framework.done(crp)
        assert calls == [crp]
        framework.freesession(sid)

    @pytest.mark.parametrize("n", [0, -1, "1", 2.5])
    def test_how_many_descriptors(self, framework: Framework, n: Any) -> None:
        """A request has a whole number of descriptors, and at least one."""
        with pytest.raises(UsageError, match="at least one descriptor"):
            framework.getreq(n)


@pytest.mark.shared_framework
class TestSessions:
    """Sessions that cannot be."""

    @pytest.mark.parametrize(
        ("ini", "says"),
        [
            ([], "at least one algorithm"),
            ([None], "made of Cryptoini, not NoneType"),
            (Cryptoini(0), "is unknown; use a CRYPTO_"),
            (Cryptoini(CRYPTO_AES_CBC), "a key of 16 or 24 or 32 bytes, not 0"),
            (Cryptoini(CRYPTO_AES_CBC, bytes(15)), "not 15"),
            (Cryptoini(CRYPTO_AES_CBC, bytes(16), klen=129), "no whole number of bytes"),
            (Cryptoini(CRYPTO_AES_CBC, bytes(16), klen=256), "klen says 256 bits, the key has 128"),
            (Cryptoini(CRYPTO_AES_CBC, bytes(16), mlen=12), "cannot give a MAC of 12 bytes"),
            (Cryptoini(CRYPTO_SHA1_HMAC_96, bytes(20), mlen=21), "cannot give a MAC of 21 bytes"),
            (Cryptoini(CRYPTO_AES_GCM_16, bytes(20)), "goes with exactly one authenticator"),
            (
                [
                    Cryptoini(CRYPTO_AES_GCM_16, bytes(20)),
                    Cryptoini(CRYPTO_AES_128_GMAC, b"k" * 20),
                ],
                "give both the same key",
            ),
        ],
    )
    def test_parameters(self, framework: Framework, ini: Any, says: str) -> None:
        """Wrong parameters are EINVAL, with what is right; no session is left behind."""
        before = len(framework._sessions.table)
        with pytest.raises(UsageError, match=says) as refusal:
            framework.newsession(ini)
        assert refusal.value.errno == errno.EINVAL
        assert len(framework._sessions.table) == before

    def test_drivers_that_are_not_there(self, framework: Framework) -> None:
        """A pinned driver must be attached."""
        with pytest.raises(UsageError, match=r"no driver 'nobody' is attached \(attached: "):
            framework.newsession(Cryptoini(CRYPTO_AES_CBC, bytes(16)), driver="nobody")
        with pytest.raises(UsageError, match="no driver 99 is attached"):
            framework.newsession(Cryptoini(CRYPTO_AES_CBC, bytes(16)), driver=99)


@pytest.mark.shared_framework
class TestDrivers:
    """The driver side of the man page, called wrongly."""

    def test_unknown_hid(self, framework: Framework) -> None:
        """Every call that takes a hid says EINVAL for one that nobody has."""
        calls: tuple[Callable[[], None], ...] = (
            lambda: framework.register(99, CRYPTO_AES_CBC, 0, 0, None, None, None),
            lambda: framework.unregister(99, CRYPTO_AES_CBC),
            lambda: framework.unregister_all(99),
            lambda: framework.unblock(99, 1),
            lambda: framework.detach(99),
        )
        for call in calls:
            with pytest.raises(UsageError) as refusal:
                call()
            assert refusal.value.errno == errno.EINVAL

    def test_wrong_algorithms_and_queues(self, framework: Framework) -> None:
        """register, unregister and unblock refuse what does not exist."""
        hid = framework.get_driverid(0)
        with pytest.raises(UsageError, match="no algorithm 34"):
            framework.register(hid, 34, 0, 0, None, None, None)
        with pytest.raises(UsageError, match="needs its callbacks"):
            framework.register(hid, CRYPTO_AES_CBC, 0, 0, None, None, None)
        with pytest.raises(UsageError, match="has not registered"):
            framework.unregister(hid, CRYPTO_AES_CBC)
        for what in (0, 4, -1):
            with pytest.raises(UsageError, match="CRYPTO_SYMQ"):
                framework.unblock(hid, what)
