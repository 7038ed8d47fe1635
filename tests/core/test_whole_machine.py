"""
The framework with everything in it, driven by hypothesis: sessions of one driver and of several,
compression, the same algorithm twice, key operations; and drivers with every kind of manners.

`test_machine` looks at order and hints. Here each answer is computed and compared: whatever the
drivers do, a request ends once, with the right bytes or with an errno that the documents have.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from Crypto.Cipher import AES
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRK_MOD,
    CRK_MOD_ADD,
    CRYPTO_AES_CBC,
    CRYPTO_ASYMQ,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA2_256,
    CRYPTO_SYMQ,
    Cryptkop,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
    NoDriverError,
    UsageError,
)
from opencrypto._core.virtual import HID
from opencrypto._state import SlotState
from opencrypto.bsd import CRYPTO_SESID2HID
from opencrypto.testing import ManualInterrupt
from tests.core.unruly_drivers import WAYS, Moody
from tests.toy import nothing_left, step

KEY, OTHER = bytes(range(16)), bytes(range(16, 36))
OUTSIDE = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
ENDS = {0, errno.EAGAIN, errno.ENODEV, errno.ENOENT, errno.EIO}
KENDS = {0, errno.ENODEV, errno.EIO}
FLAGS = st.sampled_from([0, CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC]).flatmap(
    lambda when: st.sampled_from([when, when | CRYPTO_F_BATCH])
)


# What is asked: a chain, and requests whose answer other code knows.


@dataclass(frozen=True)
class Work:
    """A kind of session and what is asked of it."""

    inis: Sequence[Cryptoini]
    make: Callable[[int], tuple[Any, list[Cryptodesc], bytes]]
    """For a number: a buffer, descriptors, and what the buffer must become."""


def _text(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def _cbc(encrypt: bool) -> Cryptodesc:
    flags = OUTSIDE | (CRD_F_ENCRYPT if encrypt else 0)
    return Cryptodesc(0, 32, 0, flags, alg=CRYPTO_AES_CBC, iv=bytes(16))


def _encrypted(number: int) -> bytes:
    return AES.new(KEY, AES.MODE_CBC, iv=bytes(16)).encrypt(_text(number))


def _cipher(number: int) -> tuple[Any, list[Cryptodesc], bytes]:
    return bytearray(_text(number)), [_cbc(True)], _encrypted(number)


def _sealed(number: int) -> bytes:
    body = _encrypted(number)
    return body + hmac.digest(OTHER, body, "sha1")


def _seal(number: int) -> tuple[Any, list[Cryptodesc], bytes]:
    """Encrypt then MAC, and the way back for every other request."""
    mac = Cryptodesc(0, 32, 32, alg=CRYPTO_SHA1_HMAC)
    if number % 2:
        mac.flags = CRD_F_VERIFY
        sealed = _sealed(number)
        return bytearray(sealed), [mac, _cbc(False)], _text(number) + sealed[32:]
    return bytearray(_text(number) + bytes(20)), [_cbc(True), mac], _sealed(number)


def _twice(number: int) -> tuple[Any, list[Cryptodesc], bytes]:
    """Two MACs of one algorithm with two keys, a digest between them, on an iov."""
    text = _text(number)
    first = hmac.digest(OTHER, text, "sha1")
    digest = hashlib.sha256(text + first).digest()
    second = hmac.digest(KEY, text, "sha1")
    room = bytearray(len(text) + 20 + 32 + 20)
    room[: len(text)] = text
    desc = [
        Cryptodesc(0, 32, 32, alg=CRYPTO_SHA1_HMAC),
        Cryptodesc(0, 52, 52, alg=CRYPTO_SHA2_256),
        Cryptodesc(0, 32, 84, alg=CRYPTO_SHA1_HMAC),
    ]
    view = memoryview(room)
    return [view[:33], view[33:]], desc, text + first + digest + second


def _unpack(number: int) -> tuple[Any, list[Cryptodesc], bytes]:
    text = _text(number) * 5
    packed = zlib.compress(text, wbits=-15)
    crd = Cryptodesc(0, len(packed), alg=CRYPTO_DEFLATE_COMP)
    return Mbuf([bytearray(packed)]), [crd], text


def _pack(number: int) -> tuple[Any, list[Cryptodesc], bytes]:
    text = _text(number) * 5
    crd = Cryptodesc(0, len(text), 0, CRD_F_COMP, alg=CRYPTO_DEFLATE_COMP)
    return Mbuf([bytearray(text)]), [crd], text


WORK = {
    "cipher": Work([Cryptoini(CRYPTO_AES_CBC, KEY)], _cipher),
    "seal": Work([Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC, OTHER)], _seal),
    "twice": Work(
        [
            Cryptoini(CRYPTO_SHA1_HMAC, OTHER), Cryptoini(CRYPTO_SHA2_256),
            Cryptoini(CRYPTO_SHA1_HMAC, KEY),
        ],
        _twice,
    ),
    "unpack": Work([Cryptoini(CRYPTO_DEFLATE_COMP)], _unpack),
    "pack": Work([Cryptoini(CRYPTO_DEFLATE_COMP)], _pack),
}  # fmt: skip
PARTS = [
    (CRYPTO_AES_CBC,), (CRYPTO_SHA1_HMAC,), (CRYPTO_SHA2_256, CRYPTO_DEFLATE_COMP),
    (CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC),
    (CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, CRYPTO_SHA2_256, CRYPTO_DEFLATE_COMP),
]  # fmt: skip
"""What drivers have; most chains need several of them."""


def content(buf: Any) -> bytes:
    """Return the bytes of a buffer of any kind."""
    return b"".join(buf) if isinstance(buf, list) else bytes(buf)


class Request:
    """One request of the model."""

    def __init__(self, kind: str, number: int) -> None:
        self.kind = kind
        self.buf, self.desc, self.after = WORK[kind].make(number)
        self.before = content(self.buf)
        self.sid = 0  # that it was last dispatched with

    def complaint(self, crp: Cryptop) -> str:
        """Say what is wrong with how it ended, or return an empty string."""
        after = content(self.buf)
        if crp.etype == errno.EAGAIN:
            if crp.sid == self.sid:
                return "EAGAIN, and no new session"
            return "" if after == self.before else "EAGAIN, and the buffer has changed"
        if crp.etype:
            return "" if crp.etype in ENDS else f"{crp.etype}: {crp.error}"
        if self.kind == "pack":
            after = zlib.decompress(after, wbits=-15)
        return "" if after == self.after else f"{self.kind}: wrong bytes"


@contextmanager
def answering_meanwhile(fw: Framework, driver: Moody) -> Iterator[None]:
    """Let a thread answer, or hand back, what a driver kept, once the driver has begun to leave."""
    slot = next(slot for slot in fw._drivers if slot.driver is driver)
    for_later = [pair for pair in driver.kept if isinstance(pair[0], Cryptkop)]

    def work() -> None:
        while slot.state is not SlotState.CLEANUP:
            time.sleep(0.0001)
        if driver.parting == "answers":
            driver.answer(len(driver.kept))
        else:
            driver.hand_back()

    if len(for_later) == len(driver.kept):
        yield  # close() will do it
        return
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


class WholeMachine(RuleBasedStateMachine):
    """Rules are what consumers, drivers and operators may do at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.fw = Framework(plugins=False, interrupt=ManualInterrupt)
        self.drivers: list[Moody] = []  # attached
        self.everyone: list[Moody] = []
        self.sessions: list[tuple[str, int]] = []  # what each is for, and its SID
        self.requests: list[Request] = []
        self.completed: Counter[int] = Counter()
        self.krequests: list[Cryptkop] = []
        self.kcompleted: Counter[int] = Counter()
        self.again: list[Cryptop] = []
        self.wrong: list[str] = []
        self.lost = 0  # by drivers that left without a word

    # Drivers.

    @initialize()
    def begin(self) -> None:
        for parts in PARTS[:3]:
            self.attach(False, parts)
        for kind in WORK:
            self.newsession(kind, 0)

    @precondition(lambda self: len(self.drivers) < 6)
    @rule(hard=st.booleans(), parts=st.sampled_from(PARTS))
    def attach(self, hard: bool, parts: tuple[int, ...]) -> None:
        keyops = (CRK_MOD, CRK_MOD_ADD) if CRYPTO_SHA1_HMAC in parts else (CRK_MOD,)
        driver = Moody(f"d{len(self.everyone)}", parts, keyops, hard=hard)
        self.drivers.append(driver)
        self.everyone.append(driver)
        self.fw.attach(driver, selftest=False)

    @precondition(lambda self: self.drivers)
    @rule(data=st.data(), way=st.sampled_from(WAYS))
    def turn(self, data: st.DataObject, way: str) -> None:
        """A driver changes its manners."""
        data.draw(st.sampled_from(self.drivers)).way = way

    @precondition(lambda self: any(driver.kept for driver in self.drivers))
    @rule(data=st.data(), number=st.integers(1, 3))
    def answer_late(self, data: st.DataObject, number: int) -> None:
        """A driver answers something it kept."""
        data.draw(st.sampled_from([d for d in self.drivers if d.kept])).answer(number)

    @precondition(lambda self: self.drivers)
    @rule(data=st.data())
    def unblock(self, data: st.DataObject) -> None:
        """A driver says it has room; perhaps it has."""
        driver = data.draw(st.sampled_from(self.drivers))
        if data.draw(st.booleans(), "and means it"):
            driver.way = "answer"
        driver.unblock(CRYPTO_SYMQ | CRYPTO_ASYMQ)

    @precondition(lambda self: len(self.drivers) > 2)
    @rule(data=st.data(), parting=st.sampled_from(["answers", "hands back", "without a word"]))
    def detach(self, data: st.DataObject, parting: str) -> None:
        """A driver leaves, with what it has in hand."""
        driver = data.draw(st.sampled_from(self.drivers))
        self.drivers.remove(driver)
        driver.parting = parting
        kept = [request for request, _ in driver.kept]
        if parting == "without a word":
            self.lost += any(isinstance(request, Cryptop) for request in kept)
            self.lost += any(isinstance(request, Cryptkop) for request in kept)
            self.fw.detach(driver, timeout=0)
            for request in kept:  # another has it now, or it has ended
                with pytest.raises(UsageError):
                    driver.done(request) if isinstance(request, Cryptop) else driver.kdone(request)
        else:
            with answering_meanwhile(self.fw, driver):
                self.fw.detach(driver, timeout=10)
        assert driver.closed == 1

    # Consumers.

    @precondition(lambda self: len(self.sessions) < 12)
    @rule(kind=st.sampled_from(sorted(WORK)), hard=st.sampled_from([-1, 0, 0, 1]))
    def newsession(self, kind: str, hard: int) -> None:
        try:
            self.sessions.append((kind, self.fw.newsession(WORK[kind].inis, hard)))
        except NoDriverError:
            pass  # nobody has it, or not in that class

    @precondition(lambda self: len(self.sessions) > 4)
    @rule(data=st.data())
    def freesession(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        self.sessions.remove(session)
        self.fw.freesession(session[1])

    @precondition(lambda self: self.sessions and self.drivers)
    @rule(data=st.data(), bursts=st.lists(st.lists(FLAGS, min_size=1, max_size=4), max_size=4))
    def dispatch_to_the_moody(self, data: st.DataObject, bursts: list[list[int]]) -> None:
        """Requests, between which drivers change their manners."""
        for burst in bursts:
            data.draw(st.sampled_from(self.drivers)).way = data.draw(st.sampled_from(WAYS))
            self.dispatch(data.draw(st.sampled_from(self.sessions)), burst)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), burst=st.lists(FLAGS, min_size=1, max_size=5))
    def dispatch_some(self, data: st.DataObject, burst: list[int]) -> None:
        self.dispatch(data.draw(st.sampled_from(self.sessions)), burst)

    def dispatch(self, session: tuple[str, int], burst: list[int]) -> None:
        """Dispatch requests of one session."""
        kind, sid = session
        for flags in burst:
            number = len(self.requests)
            request = Request(kind, number)
            self.requests.append(request)
            request.sid = sid
            crp = Cryptop(sid, request.buf, request.desc, self.called_back, flags, opaque=number)
            self.fw.dispatch(crp)

    def called_back(self, crp: Cryptop) -> None:
        """Count, and compare."""
        self.completed[crp.opaque] += 1
        self.wrong += filter(None, [self.requests[crp.opaque].complaint(crp)])
        if crp.etype == errno.EAGAIN:
            self.again.append(crp)

    @precondition(lambda self: self.again)
    @rule()
    def dispatch_again(self) -> None:
        """What EAGAIN gave back goes out again, as a new request of the model."""
        waiting, self.again = self.again, []
        for crp in waiting:
            self.requests.append(self.requests[crp.opaque])
            self.requests[-1].sid = crp.sid
            crp.opaque = len(self.requests) - 1
            self.fw.dispatch(crp)

    @rule(op=st.sampled_from([CRK_MOD, CRK_MOD_ADD]), flags=st.sampled_from([0, CRYPTO_F_CBIMM]))
    def kdispatch(self, op: int, flags: int) -> None:
        """A consumer asks for a key operation."""
        number = len(self.krequests)
        inputs = [number, 7] if op == CRK_MOD else [number, 0, 7]
        krp = Cryptkop.of(op, inputs, [8], self.kcalled_back, flags)
        krp.opaque = number
        self.krequests.append(krp)
        self.fw.kdispatch(krp)

    def kcalled_back(self, krp: Cryptkop) -> None:
        """Count, and compare."""
        self.kcompleted[krp.opaque] += 1
        if krp.status not in KENDS:
            self.wrong.append(f"key operation: {krp.status} {krp.error}")
        elif not krp.status and krp.outputs[0].to_int() != krp.opaque % 7:
            self.wrong.append("key operation: a wrong result")

    @rule()
    def interrupts(self) -> None:
        """Both interrupts run."""
        step(self.fw)

    # What is always so.

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.wrong, self.wrong
        assert self.fw.stats.callback_errors == 0
        bugs = self.lost + sum(driver.bugs for driver in self.everyone)
        assert self.fw.stats.driver_bugs == bugs

    @invariant()
    def nobody_is_called_back_twice(self) -> None:
        assert max([*self.completed.values(), *self.kcompleted.values()], default=1) == 1

    @invariant()
    def key_requests_are_somewhere(self) -> None:
        """What is not called back yet is with a driver that is here, or on the return queue."""
        waiting = set(range(len(self.krequests))) - set(self.kcompleted)
        held = {krp.opaque for slot in self.fw._drivers for krp in slot.keys.inflight}
        assert waiting == held | {krp.opaque for krp in self.fw._key_requests.returns._items}

    @invariant()
    def no_driver_was_told_to_free_what_it_did_not_open(self) -> None:
        for driver in self.everyone:
            assert max(Counter(driver.freed).values(), default=1) == 1
            assert set(driver.freed) <= set(driver.opened)

    def teardown(self) -> None:
        """Whoever is here answers; then everything has ended once and nothing is left."""
        for _ in range(10):
            for driver in self.drivers:
                driver.way = "answer"
                driver.unblock(CRYPTO_SYMQ | CRYPTO_ASYMQ)
                driver.answer(len(driver.kept))
            step(self.fw)
        for _, sid in self.sessions:  # and with them their parts and their other names
            self.fw.freesession(sid)
        step(self.fw)
        try:
            self.nothing_is_wrong()
            assert self.completed == Counter(range(len(self.requests))), "lost, or called twice"
            assert self.kcompleted == Counter(range(len(self.krequests)))
            assert nothing_left(self.fw)
        finally:
            self.fw.close()
        for driver in self.everyone:
            assert sorted(driver.freed) == sorted(driver.opened)
            assert driver.closed == 1


WholeMachine.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.slow
class TestWholeMachine(WholeMachine.TestCase):  # type: ignore[misc,valid-type]  # made at run time
    """Any order of calls, under drivers of any manners, keeps the rules above."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", sorted(WORK))
def test_each_manner_with_each_kind_of_work(kind: str, way: str) -> None:
    """The machine's pieces one by one, so that `make quick` sees them: nothing is lost."""
    machine = WholeMachine()
    machine.begin()
    sid = dict(machine.sessions)[kind]
    virtual = kind in {"seal", "twice"}
    assert (CRYPTO_SESID2HID(sid) == HID) == virtual
    for driver in machine.drivers:
        driver.way = way
    machine.dispatch((kind, sid), [0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH])
    for op in (CRK_MOD, CRK_MOD_ADD):
        machine.kdispatch(op, 0)
    step(machine.fw)
    machine.nothing_is_wrong()
    # What some handed back or lost, nobody is left to do; what was kept or refused is done.
    machine.teardown()
