"""The short way of whole messages: what a request would be, it is, at whatever moment it is met."""

from __future__ import annotations

import contextlib
import errno
import hmac
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_SHA2_256_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    AuthenticationError,
    Capability,
    CryptoError,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
)
from opencrypto._core.short import NOT_TAKEN
from opencrypto.chain import with_messages
from opencrypto.client import Session
from opencrypto.driver import Messages, Process, Profile

KEY = bytes(range(32))
INI = Cryptoini(CRYPTO_SHA2_256_HMAC, KEY)
TEXT = b"Hi There"
RIGHT = hmac.digest(KEY, TEXT, "sha256")[:16]
PATIENCE = 30.0


def nothing() -> None:
    return


class Swift(Driver):
    """
    A driver of one MAC, by request and by the short way.

    Attributes:
        during: What happens in the midst of each call by the short way.
        calls: How many of these there were.
        requests: How many requests there were.
        freed: Which sessions it was told to forget.
    """

    flags = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC
    capabilities: Mapping[int, Capability] = {CRYPTO_SHA2_256_HMAC: Capability()}

    def __init__(self, name: str = "swift") -> None:
        self.name = name
        self.during: Callable[[], object] = nothing
        self.calls = 0
        self.requests = 0
        self.freed: list[int] = []
        self.open: set[int] = set()

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open a session whose process has both ways."""
        lid = self.newlid()
        key = bytes(ini[0].key or b"")
        self.open.add(lid)

        def mac_of(data: Any) -> bytes:
            assert lid in self.open, "served after it was told to forget it"
            return hmac.digest(key, data, "sha256")[:16]

        def mac(data: bytes | memoryview) -> bytes:
            self.calls += 1
            self.during()
            return mac_of(data)

        def process(crp: Cryptop, hint: int) -> int:
            self.requests += 1
            crd = crp.desc[0]
            view = memoryview(crp.buf)
            right = mac_of(view[crd.skip : crd.skip + crd.len])
            place = view[crd.inject : crd.inject + 16]
            if not crd.flags:
                place[:] = right
            elif place != right:
                crp.fail(errno.EBADMSG, "no")
            self.done(crp)
            return 0

        return lid, self.compiled(with_messages(process, Messages(mac=mac)))

    def compiled(self, process: Process) -> Process:
        """Return what the framework is given."""
        return process

    def freesession(self, lid: int) -> None:
        """Forget a session."""
        self.freed.append(lid)
        self.open.discard(lid)


@pytest.fixture
def swift() -> Swift:
    return Swift()


@pytest.fixture
def fw(swift: Swift) -> Iterator[Framework]:
    with Framework(plugins=False) as framework:
        framework.attach(swift, selftest=False)
        yield framework


def inflight(fw: Framework, session: Session) -> int:
    return len(fw._sessions.table[session.sid].inflight)


def test_it_is_taken_and_says_what_a_request_says(fw: Framework, swift: Swift) -> None:
    with fw.session(INI) as session:
        assert session.mac(TEXT) == RIGHT
        session.verify(TEXT, RIGHT)
        assert (swift.calls, swift.requests) == (2, 0)
        assert inflight(fw, session) == 0


def test_it_is_counted_as_requests_are(fw: Framework, swift: Swift) -> None:
    """The same requests, bytes, sizes and errors, by either way."""

    def counted() -> list[object]:
        before = fw.stats.drivers["swift"]
        with fw.session(INI) as session:
            for size in (0, 1, 64, 1400):
                session.mac(bytes(size))
            list(session.mac_many([bytes(n) for n in (0, 5, 5, 300)]))
            session.verify(TEXT, RIGHT)
            with pytest.raises(AuthenticationError):
                session.verify(TEXT, bytes(16))
        after = fw.stats.drivers["swift"]
        return [a - b for a, b in zip(after, before, strict=True)]

    short = counted()
    assert swift.requests == 0
    fw.sysctl["opencrypto.timing"] = 1
    long = counted()
    assert swift.requests == 10
    assert short == long
    assert short[0] == 10


def test_it_is_not_taken_while_somebody_watches(fw: Framework, swift: Swift) -> None:
    with fw.session(INI) as session:
        fw.start_trace()
        assert session.mac(TEXT) == RIGHT
        assert swift.requests == 1
        fw.stop_trace()
        assert session.mac(TEXT) == RIGHT
        assert (swift.calls, swift.requests) == (1, 1)


class Wrapped(Swift):
    """A driver whose process is put into another one, which must see every request."""

    def compiled(self, process: Process) -> Process:
        """Wrap it."""

        def wrapper(crp: Cryptop, hint: int) -> int:
            return process(crp, hint)

        return wrapper


class Bounded(Swift):
    """A driver that has one request at a time."""

    max_inflight = 1


class Aligned(Swift):
    """A driver that wants memory to begin at multiples of 64."""

    alignment = 64


@pytest.mark.parametrize("kind", [Wrapped, Bounded, Aligned])
def test_it_is_not_taken_past_what_stands_before_the_driver(kind: type[Swift]) -> None:
    driver = kind()
    with Framework(plugins=False) as fw:
        fw.attach(driver, selftest=False)
        with fw.session(INI) as session:
            assert session.mac(TEXT) == RIGHT
            assert (driver.calls, driver.requests) == (0, 1)


@pytest.mark.parametrize("profile", [Profile(direction="encrypt"), Profile(shared=True)])
def test_it_is_not_taken_past_a_profile(fw: Framework, swift: Swift, profile: Profile) -> None:
    with fw.session(INI, profile=profile) as session:
        assert session.mac(TEXT) == RIGHT
        assert (swift.calls, swift.requests) == (0, 1)


def test_a_session_that_is_closed_in_the_midst_ends_with_the_call(
    fw: Framework, swift: Swift
) -> None:
    """Its driver is told to forget it afterwards, once; the answer is given."""
    session = fw.session(INI)

    def close() -> None:
        session.close()
        assert not swift.freed

    swift.during = close
    assert session.mac(TEXT) == RIGHT
    assert len(swift.freed) == 1
    swift.during = nothing
    with pytest.raises(CryptoError, match="closed"):
        session.mac(TEXT)
    assert swift.calls == 1


def test_a_session_moves_when_its_driver_leaves(fw: Framework, swift: Swift) -> None:
    """And goes the short way of the next one."""
    with fw.session(INI) as session:
        assert session.mac(TEXT) == RIGHT
        other = Swift("other")
        fw.attach(other, selftest=False)
        fw.detach("swift")
        assert session.mac(TEXT) == RIGHT
        assert session.mac(TEXT) == RIGHT
        assert (swift.calls, swift.requests) == (1, 0)
        assert (other.calls, other.requests) == (1, 1)  # the first was sent on


def test_a_driver_that_is_given_up_in_the_midst(fw: Framework, swift: Swift) -> None:
    """What it was asked ends with EIO, as a request does; its answer is not given."""
    called, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        called.set()
        assert go_on.wait(PATIENCE)

    swift.during = hang
    outcome: list[object] = []
    session = fw.session(INI)

    def ask() -> None:
        try:
            outcome.append(session.mac(TEXT))
        except CryptoError as error:
            outcome.append(error.errno)

    asking = threading.Thread(target=ask)
    asking.start()
    assert called.wait(PATIENCE)
    fw.attach(Swift("other"), selftest=False)
    fw.detach("swift", timeout=0.01)
    go_on.set()
    asking.join(PATIENCE)
    assert outcome == [errno.EIO]
    assert session.mac(TEXT) == RIGHT
    assert fw.driver_of(session.sid) == ("other",)
    session.close()


def test_a_driver_that_raises_is_reported_as_ever(fw: Framework, swift: Swift) -> None:
    def fall() -> None:
        raise ZeroDivisionError

    with fw.session(INI) as session:
        swift.during = fall
        with pytest.raises(CryptoError, match="swift raised ZeroDivisionError") as raised:
            session.mac(TEXT)
        assert raised.value.errno == errno.EIO
        assert fw.stats.driver_bugs == 1
        assert fw.stats.drivers["swift"].errs == 1
        swift.during = nothing
        assert session.mac(TEXT) == RIGHT
        assert inflight(fw, session) == 0


def test_what_a_signal_handler_raises_goes_on_upwards(fw: Framework, swift: Swift) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with fw.session(INI) as session:
        swift.during = interrupt
        with pytest.raises(KeyboardInterrupt):
            session.mac(TEXT)
        assert fw.stats.driver_bugs == 0
        swift.during = nothing
        assert session.mac(TEXT) == RIGHT
        assert inflight(fw, session) == 0


def test_a_call_may_be_made_in_the_midst_of_another(fw: Framework, swift: Swift) -> None:
    """As a signal handler makes it; however deep, and beyond some depth by request."""
    left = [100]

    with fw.session(INI) as session:

        def again() -> None:
            if left[0]:
                left[0] -= 1
                assert session.mac(TEXT) == RIGHT

        swift.during = again
        assert session.mac(TEXT) == RIGHT
        assert inflight(fw, session) == 0
        assert swift.calls + swift.requests == fw.stats.drivers["swift"].ops


def test_threads_share_a_session_and_every_call_is_counted(fw: Framework, swift: Swift) -> None:
    wrong: list[bytes] = []
    with fw.session(INI) as session:

        def work() -> None:
            for _ in range(500):
                mac = session.mac(TEXT)
                if mac != RIGHT:
                    wrong.append(mac)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert inflight(fw, session) == 0
    assert fw.stats.drivers["swift"].ops == 2000
    assert fw.stats.drivers["swift"].bytes == 2000 * (len(TEXT) + 16)


def test_a_session_freed_by_another_thread_is_served_no_more(fw: Framework, swift: Swift) -> None:
    """However the two meet: `Swift` asserts that it knows each session that it serves."""
    for _ in range(50):
        session = fw.session(INI)
        short = fw.short_way(session.sid)
        assert short is not None
        assert short.messages.mac is not None
        started = threading.Event()

        def ask(
            run: Callable[..., Any] = short.run,
            mac: Callable[..., bytes] = short.messages.mac,
            started: threading.Event = started,
        ) -> None:
            started.set()
            while run(mac, 24, TEXT) is not NOT_TAKEN:
                pass

        thread = threading.Thread(target=ask)
        thread.start()
        started.wait(PATIENCE)
        session.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(swift.freed) == 50
    assert fw.stats.driver_bugs == 0


@pytest.mark.alone
def test_interrupts_at_any_moment_leave_nothing_behind(fw: Framework, swift: Swift) -> None:
    """Each message is answered, or its caller hears of the interrupt."""
    hits = 0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal hits
        hits += 1
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    session = fw.session(INI)
    try:
        while hits < 200:
            with contextlib.suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
                while True:
                    session.mac(TEXT)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert session.mac(TEXT) == RIGHT
    assert fw._sessions.table[session.sid].slot.local.counts.depth == 0
    session.close()
    assert fw.stats.driver_bugs == 0
    fw.detach("swift")  # which waits for what is under way
    assert len(swift.freed) == 1
