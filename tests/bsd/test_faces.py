"""The same scenarios through both faces: a framework's methods, and the man page's functions."""

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import pytest

from opencrypto import (
    CRK_MOD_ADD,
    CRK_MOD_EXP,
    CRYPTO_ASYMQ,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SYMQ,
    ERESTART,
    Cryptkop,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    DriverBug,
    Framework,
    bsd,
)
from opencrypto._core.default import DEFAULT


class Face(Protocol):
    """What a scenario needs; calls that can fail return an errno first."""

    def get_driverid(self, flags: int) -> int: ...
    def register(self, hid: int, alg: int, driver: Any) -> int: ...
    def kregister(self, hid: int, op: int, driver: Any) -> int: ...
    def unregister(self, hid: int, alg: int) -> int: ...
    def unregister_all(self, hid: int) -> int: ...
    def unblock(self, hid: int, what: int) -> int: ...
    def done(self, crp: Cryptop) -> None: ...
    def kdone(self, krp: Cryptkop) -> None: ...
    def newsession(self, ini: Cryptoini, hard: int) -> tuple[int, int]: ...
    def freesession(self, sid: int) -> None: ...
    def getreq(self, n: int) -> Cryptop | None: ...
    def freereq(self, crp: Cryptop | None) -> None: ...
    def kgetreq(self) -> Cryptkop | None: ...
    def kfreereq(self, krp: Cryptkop | None) -> None: ...
    def dispatch(self, crp: Cryptop) -> int: ...
    def kdispatch(self, krp: Cryptkop) -> int: ...
    def getfeat(self) -> int: ...


def code(call: Callable[..., object], *args: object) -> int:
    """Return the errno of a call's error, or 0."""
    try:
        call(*args)
    except CryptoError as error:
        return error.errno or -1
    return 0


class Methods:
    """The framework's own methods."""

    def __init__(self, framework: Framework) -> None:
        self._f = framework
        self.get_driverid = framework.get_driverid
        self.done, self.kdone = framework.done, framework.kdone
        self.freesession = framework.freesession
        self.getreq, self.freereq = framework.getreq, framework.freereq
        self.kgetreq, self.kfreereq = framework.kgetreq, framework.kfreereq
        self.getfeat = framework.getfeat

    def register(self, hid: int, alg: int, driver: Any) -> int:
        def newsession(arg: Any, ini: Sequence[Cryptoini]) -> int:
            lid: int = driver.newsession(arg, hid, ini[0])[1]
            return lid

        return code(
            self._f.register, hid, alg, 0, 0, newsession, driver.freesession, driver.process, driver
        )

    def kregister(self, hid: int, op: int, driver: Any) -> int:
        return code(self._f.kregister, hid, op, 0, driver.kprocess, driver)

    def unregister(self, hid: int, alg: int) -> int:
        return code(self._f.unregister, hid, alg)

    def unregister_all(self, hid: int) -> int:
        return code(self._f.unregister_all, hid)

    def unblock(self, hid: int, what: int) -> int:
        return code(self._f.unblock, hid, what)

    def newsession(self, ini: Cryptoini, hard: int) -> tuple[int, int]:
        try:
            return 0, self._f.newsession(ini, hard)
        except CryptoError as error:
            return error.errno or -1, 0

    def dispatch(self, crp: Cryptop) -> int:
        return code(self._f.dispatch, crp)

    def kdispatch(self, krp: Cryptkop) -> int:
        return code(self._f.kdispatch, krp)


class Functions:
    """The man page's functions, on the default framework."""

    get_driverid = staticmethod(bsd.crypto_get_driverid)
    unregister = staticmethod(bsd.crypto_unregister)
    unregister_all = staticmethod(bsd.crypto_unregister_all)
    unblock = staticmethod(bsd.crypto_unblock)
    done = staticmethod(bsd.crypto_done)
    kdone = staticmethod(bsd.crypto_kdone)
    newsession = staticmethod(bsd.crypto_newsession)
    freesession = staticmethod(bsd.crypto_freesession)
    getreq = staticmethod(bsd.crypto_getreq)
    freereq = staticmethod(bsd.crypto_freereq)
    kfreereq = staticmethod(bsd.crypto_kfreereq)
    dispatch = staticmethod(bsd.crypto_dispatch)
    kdispatch = staticmethod(bsd.crypto_kdispatch)

    def register(self, hid: int, alg: int, driver: Any) -> int:
        return bsd.crypto_register(
            hid, alg, 0, 0, driver.newsession, driver.freesession, driver.process, driver
        )

    def kregister(self, hid: int, op: int, driver: Any) -> int:
        return bsd.crypto_kregister(hid, op, 0, driver.kprocess, driver)

    def kgetreq(self) -> Cryptkop | None:
        return bsd.crypto_kgetreq(1, 0)

    def getfeat(self) -> int:
        error, mask = bsd.crypto_getfeat()
        assert error == 0
        return mask


class Device:
    """A driver in the man page's way: callbacks with an argument, which is itself."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.opened: list[Cryptoini] = []
        self.freed: list[int] = []
        self.full = False
        self.seen: list[int] = []

    def newsession(self, arg: object, hid: int, cri: Cryptoini) -> tuple[int, int]:
        """Open a session; the number counts from 1."""
        assert arg is self
        self.opened.append(cri)
        return 0, len(self.opened)

    def freesession(self, arg: object, sid: int) -> int:
        """Note the SID."""
        self.freed.append(sid)
        return 0

    def process(self, arg: object, crp: Cryptop, hint: int) -> int:
        """Answer at once, or refuse while full."""
        if self.full:
            return ERESTART
        self.seen.append(hint)
        self.face.done(crp)
        return 0

    def kprocess(self, arg: object, krp: Cryptkop, hint: int) -> int:
        """Do the one operation, or refuse while full."""
        if self.full:
            return ERESTART
        a, b, m = (parameter.to_int() for parameter in krp.inputs)
        krp.outputs[0].store((a + b) % m)
        self.face.kdone(krp)
        return 0


@pytest.fixture(params=["methods", "functions"])
def face(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Face]:
    """Give each face in turn, over a framework without drivers."""
    with Framework(plugins=False) as framework:
        monkeypatch.setattr(DEFAULT, "framework", framework)
        yield Methods(framework) if request.param == "methods" else Functions()


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Functions]:
    """Give the man page's face alone, where the other one raises."""
    with Framework(plugins=False) as framework:
        monkeypatch.setattr(DEFAULT, "framework", framework)
        yield Functions()


@pytest.fixture
def device(face: Face) -> Device:
    """Give a device that is registered for one algorithm and one key operation."""
    device = Device(face)
    hid = face.get_driverid(0)
    assert hid == 0
    assert face.register(hid, CRYPTO_NULL_CBC, device) == 0
    assert face.kregister(hid, CRK_MOD_ADD, device) == 0
    return device


def test_a_session_from_opening_to_freeing(face: Face, device: Device) -> None:
    """newsession, getreq, dispatch, the callback, freereq, freesession."""
    error, sid = face.newsession(Cryptoini(CRYPTO_NULL_CBC), 0)
    assert (error, sid) == (0, 1 << 32 | 1)
    crp = face.getreq(1)
    assert crp is not None
    done = threading.Event()
    crp.sid, crp.buf = sid, bytearray(8)
    crp.desc[0].alg, crp.desc[0].len = CRYPTO_NULL_CBC, 8
    crp.callback = lambda crp: done.set()
    assert face.dispatch(crp) == 0
    assert done.wait(10)
    assert crp.etype == 0
    face.freereq(crp)
    face.freereq(None)
    face.freesession(sid)
    face.freesession(0)
    assert device.freed == [sid]


def test_a_key_operation(face: Face, device: Device) -> None:
    """kgetreq, kdispatch, the callback, kfreereq."""
    krp = face.kgetreq()
    assert krp is not None
    made = Cryptkop.of(CRK_MOD_ADD, [3, 5, 7], [3])
    krp.op, krp.param, krp.iparams, krp.oparams = made.op, made.param, 3, 1
    done = threading.Event()
    krp.callback = lambda krp: done.set()
    assert face.kdispatch(krp) == 0
    assert done.wait(10)
    assert (krp.status, krp.hid, krp.outputs[0].to_int()) == (0, 0, 1)
    face.kfreereq(krp)
    face.kfreereq(None)
    assert face.getfeat() == 1 << CRK_MOD_ADD


def test_what_goes_wrong_is_an_errno(face: Face, device: Device) -> None:
    """The errors of the page, each by its number."""
    assert face.register(9, CRYPTO_NULL_CBC, device) == errno.EINVAL
    assert face.register(0, 999, device) == errno.EINVAL
    assert face.kregister(0, 999, device) == errno.EINVAL
    assert face.unregister(0, CRYPTO_SHA1_HMAC) == errno.EINVAL
    assert face.unregister_all(9) == errno.EINVAL
    assert face.unblock(9, CRYPTO_SYMQ) == errno.EINVAL
    assert face.newsession(Cryptoini(CRYPTO_SHA1_HMAC, bytes(20)), 0) == (errno.EINVAL, 0)
    assert face.newsession(Cryptoini(CRYPTO_NULL_CBC), -1) == (errno.EINVAL, 0)
    assert face.dispatch(Cryptop()) == errno.EINVAL
    assert face.kdispatch(Cryptkop()) == errno.EINVAL


def test_an_unknown_key_operation_is_told_to_the_callback(face: Face, device: Device) -> None:
    """What can be called back is called back: EINVAL, ENODEV and EFBIG by status."""
    for krp, status in (
        (Cryptkop.of(99, [], []), errno.EINVAL),
        (Cryptkop.of(CRK_MOD_ADD, [1, 2], [3]), errno.EINVAL),
        (Cryptkop.of(CRK_MOD_EXP, [1, 2, 3], [3]), errno.ENODEV),
        (Cryptkop.of(CRK_MOD_ADD, [1] * 8, [3]), errno.EFBIG),
    ):
        calls: list[Cryptkop] = []
        krp.callback, krp.flags = calls.append, CRYPTO_F_CBIMM
        assert face.kdispatch(krp) == 0
        assert calls == [krp]
        assert krp.status == status


def test_a_full_driver_is_asked_again(face: Face, device: Device) -> None:
    """ERESTART, then unblock, for both kinds of request."""
    sid = face.newsession(Cryptoini(CRYPTO_NULL_CBC), 0)[1]
    device.full = True
    events = [threading.Event(), threading.Event()]
    desc = [Cryptodesc(0, 8, alg=CRYPTO_NULL_CBC)]
    assert face.dispatch(Cryptop(sid, bytearray(8), desc, lambda crp: events[0].set())) == 0
    krp = Cryptkop.of(CRK_MOD_ADD, [1, 1, 3], [2], lambda krp: events[1].set())
    assert face.kdispatch(krp) == 0
    assert not any(event.is_set() for event in events)
    device.full = False
    assert face.unblock(0, CRYPTO_SYMQ | CRYPTO_ASYMQ) == 0
    assert all(event.wait(10) for event in events)


def test_a_second_done_is_heard_by_the_driver(face: Face, device: Device) -> None:
    """Where the kernel would panic, the call raises."""
    krp = Cryptkop.of(CRK_MOD_ADD, [1, 1, 3], [2], lambda krp: None)
    krp.flags = CRYPTO_F_CBIMM
    face.kdispatch(krp)
    with pytest.raises(DriverBug):
        face.kdone(krp)


def test_a_refused_session_is_the_drivers_errno(functions: Functions) -> None:
    """A newsession callback's errno comes out of crypto_newsession."""

    class Refuser(Device):
        def newsession(self, arg: object, hid: int, cri: Cryptoini) -> tuple[int, int]:
            return errno.ENOMEM, 0

    hid = functions.get_driverid(0)
    assert functions.register(hid, CRYPTO_NULL_CBC, Refuser(functions)) == 0
    assert functions.newsession(Cryptoini(CRYPTO_NULL_CBC), 0) == (errno.ENOMEM, 0)


def test_a_linked_chain_reaches_the_driver_linked(face: Face) -> None:
    """cri_next links the chain on both sides."""
    device = Device(face)
    hid = face.get_driverid(0)
    for alg in (CRYPTO_NULL_CBC, CRYPTO_SHA1_HMAC):
        assert face.register(hid, alg, device) == 0
    first, second = Cryptoini(CRYPTO_NULL_CBC), Cryptoini(CRYPTO_SHA1_HMAC, bytes(20))
    first.cri_next = second
    assert face.newsession(first, 0)[0] == 0
    assert device.opened[0].alg == CRYPTO_NULL_CBC
    if not isinstance(face, Methods):
        assert device.opened[0].cri_next.alg == CRYPTO_SHA1_HMAC


def test_failures_to_allocate_are_none(functions: Functions) -> None:
    """The functions return what the page calls NULL and -1."""
    assert bsd.crypto_getreq(0) is None
    assert bsd.crypto_kgetreq(2, 0) is None
    assert bsd.crypto_get_driverid(-1) == -1
