"""A key request's way: which driver, how often, what becomes of it when drivers misbehave."""

import errno
import threading
from collections.abc import Callable, Collection, Iterator

import pytest

from opencrypto import (
    CRK_DSA_VERIFY,
    CRK_MOD,
    CRK_MOD_ADD,
    CRK_MOD_EXP,
    CRYPTO_ASYMQ,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_F_USER,
    CRYPTO_HINT_MORE,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    ERESTART,
    BusyError,
    Crparam,
    Cryptkop,
    CryptoError,
    Driver,
    DriverBug,
    DriverGone,
    Framework,
    UsageError,
)
from tests.core.keys.support import Completion, run

HARDWARE, SOFTWARE = 0, CRYPTOCAP_F_SOFTWARE

Behaviour = Callable[["Scripted", Cryptkop], int]


def answer(driver: "Scripted", krp: Cryptkop) -> int:
    """Do the operation at once."""
    if krp.outputs:
        krp.outputs[0].store(7)
    driver.kdone(krp)
    return 0


def keep(driver: "Scripted", krp: Cryptkop) -> int:
    """Take the request and answer when told to."""
    driver.kept.append(krp)
    return 0


def refuse(driver: "Scripted", krp: Cryptkop) -> int:
    """Take nothing for now."""
    return ERESTART


def hand_back(driver: "Scripted", krp: Cryptkop) -> int:
    """Let another driver do it."""
    krp.fail(errno.EAGAIN)
    driver.kdone(krp)
    return 0


class Scripted(Driver):
    """Does what its script says, and the last of it from then on."""

    keyops: Collection[int] = (CRK_MOD_EXP, CRK_MOD_ADD, CRK_MOD, CRK_DSA_VERIFY)

    def __init__(self, name: str, *script: Behaviour, flags: int = HARDWARE) -> None:
        self.name = name
        self.flags = flags
        self.script = list(script) or [answer]
        self.kept: list[Cryptkop] = []
        self.hints: list[int] = []
        self.closed: Callable[[], None] = lambda: None

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Act out the script."""
        self.hints.append(hint)
        behaviour = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return behaviour(self, krp)

    def finish(self) -> None:
        """Answer what was kept."""
        while self.kept:
            answer(self, self.kept.pop(0))

    def close(self) -> None:
        """Do as the test says."""
        self.closed()


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework(plugins=False) as made:
        yield made


def mod(flags: int = CRYPTO_F_CBIMM) -> tuple[Cryptkop, Completion]:
    """Make a small request, called back at once."""
    done = Completion()
    return Cryptkop.of(CRK_MOD, [5, 3], [8], done, flags), done


def go(framework: Framework, count: int = 1, flags: int = CRYPTO_F_CBIMM) -> list[Completion]:
    """Dispatch some requests."""
    completions = []
    for _ in range(count):
        krp, done = mod(flags)
        framework.kdispatch(krp)
        completions.append(done)
    return completions


def hids(completions: list[Completion]) -> list[int]:
    """Return which drivers served requests."""
    return [done.wait().hid for done in completions]


# Which driver.


def test_hardware_comes_first(framework: Framework) -> None:
    """The class decides before the load does."""
    framework.attach(Scripted("soft", flags=SOFTWARE))
    hard = Scripted("hard", keep)
    hid = framework.attach(hard)
    completions = go(framework, 5)
    assert len(hard.kept) == 5
    hard.finish()
    assert hids(completions) == [hid] * 5


def test_the_least_busy_of_a_class_is_next(framework: Framework) -> None:
    """Requests spread over drivers by what each has in flight, the lowest id on a tie."""
    drivers = [Scripted(f"d{n}", keep) for n in range(3)]
    for driver in drivers:
        framework.attach(driver)
    go(framework, 7)
    assert [len(driver.kept) for driver in drivers] == [3, 2, 2]
    drivers[1].finish()
    go(framework, 2)
    assert [len(driver.kept) for driver in drivers] == [3, 2, 2]
    for driver in drivers:
        driver.finish()


def test_a_blocked_driver_is_passed_over(framework: Framework) -> None:
    """While the better one takes nothing the other one works; the first one waits for it."""
    framework.attach(Scripted("hard", refuse, answer))
    soft = framework.attach(Scripted("soft", flags=SOFTWARE))
    first = go(framework)[0]
    assert hids(go(framework, 3)) == [soft] * 3
    assert not first.calls
    framework.unblock(0, CRYPTO_ASYMQ)
    assert hids([first]) == [0]
    assert framework.stats.kblocks == 1


def test_a_pinned_request_goes_nowhere_else(framework: Framework) -> None:
    """Asked for one driver, it is that one or ENODEV."""
    framework.attach(Scripted("a"))
    b = Scripted("b", answer, hand_back)
    hid = framework.attach(b)
    krp, _ = mod()
    framework.kdispatch(krp, driver="b")
    assert (krp.status, krp.hid) == (0, hid)
    framework.kdispatch(krp, driver=hid)
    assert (krp.status, krp.hid) == (errno.ENODEV, -1)
    with pytest.raises(UsageError):
        framework.kdispatch(krp, driver="c")


def test_nobody_is_enodev(framework: Framework) -> None:
    """No driver at all, or none with the operation."""
    krp = run(framework, CRK_MOD, [5, 3], [8], status=errno.ENODEV)
    with pytest.raises(DriverGone, match="MOD"):
        krp.check()
    assert krp.hid == -1
    driver = Scripted("a")
    driver.keyops = (CRK_MOD_ADD,)
    framework.attach(driver)
    run(framework, CRK_MOD, [5, 3], [8], status=errno.ENODEV)
    assert (framework.stats.kops, framework.stats.kerrs) == (2, 2)


# Blocking.


def test_refused_requests_are_served_in_order_with_hints(framework: Framework) -> None:
    """What queued up while the driver was blocked goes first in, first out."""
    order: list[int] = []

    def note(driver: Scripted, krp: Cryptkop) -> int:
        order.append(krp.opaque)
        return answer(driver, krp)

    driver = Scripted("a", refuse, note)
    framework.attach(driver)
    completions = []
    for n in range(5):
        krp, done = mod()
        krp.opaque = n
        framework.kdispatch(krp)
        completions.append(done)
    driver.unblock(CRYPTO_ASYMQ)
    for done in completions:
        done.wait()
    assert order == [0, 1, 2, 3, 4]
    assert driver.hints == [0, *[CRYPTO_HINT_MORE] * 4, 0]


def test_an_unblock_within_kprocess_is_not_lost(framework: Framework) -> None:
    """Room that comes up between refusing and being marked blocked still wakes the queue."""

    def refuse_and_unblock(driver: Scripted, krp: Cryptkop) -> int:
        driver.unblock(CRYPTO_ASYMQ)
        return ERESTART

    framework.attach(Scripted("a", refuse_and_unblock, refuse_and_unblock, answer))
    assert hids(go(framework)) == [0]


def test_unblocking_the_other_queue_does_nothing(framework: Framework) -> None:
    """Sessions and key operations block apart."""
    framework.attach(Scripted("a", refuse, answer))
    done = go(framework)[0]
    framework.unblock(0, 1)
    assert not done.calls
    framework.unblock(0, CRYPTO_ASYMQ)
    done.wait()


# A driver that leaves.


def test_what_is_queued_goes_to_another_driver(framework: Framework) -> None:
    """Blocked requests of a driver that leaves are served by the next."""
    framework.attach(Scripted("hard", refuse))
    completions = go(framework, 2)
    other = framework.attach(Scripted("soft", flags=SOFTWARE))
    framework.detach("hard")
    assert hids(completions) == [other] * 2


def test_what_is_handed_back_goes_to_each_driver_once(framework: Framework) -> None:
    """Drivers that pass it round end with ENODEV, each having had it once."""
    drivers = [Scripted(f"d{n}", hand_back) for n in range(4)]
    for driver in drivers:
        framework.attach(driver)
    done = go(framework)[0]
    assert done.wait().status == errno.ENODEV
    assert [len(driver.hints) for driver in drivers] == [1, 1, 1, 1]
    assert len(done.calls) == 1


def test_detach_waits_for_what_is_in_flight(framework: Framework) -> None:
    """The driver answers late, from another thread, and is closed only then."""
    driver = Scripted("a", keep)
    framework.attach(driver)
    done = go(framework)[0]
    moments: list[str] = []
    driver.closed = lambda: moments.append("closed")

    def finish() -> None:
        moments.append("answered")
        driver.finish()

    timer = threading.Timer(0.1, finish)
    timer.start()
    framework.detach("a")
    timer.join()
    assert moments == ["answered", "closed"]
    assert done.wait().status == 0


def test_close_may_hand_back(framework: Framework) -> None:
    """What a driver gives up in close() is served by another."""
    leaving = Scripted("hard", keep)
    framework.attach(leaving)
    other = framework.attach(Scripted("soft", flags=SOFTWARE))
    done = go(framework)[0]

    def give_up() -> None:
        krp = leaving.kept.pop()
        krp.fail(errno.EAGAIN)
        leaving.kdone(krp)

    leaving.closed = give_up
    framework.detach("hard", timeout=0.01)
    assert hids([done]) == [other]
    assert framework.stats.driver_bugs == 0


def test_a_driver_that_never_answers_loses_its_requests(framework: Framework) -> None:
    """They go to another, once; what the first one says later is refused, and heard by it."""
    stuck = Scripted("stuck", keep)
    framework.attach(stuck)
    slow = Scripted("slow", keep, flags=SOFTWARE)
    framework.attach(slow)
    done = go(framework)[0]
    late = stuck.kdone
    framework.detach("stuck", timeout=0.01)
    assert slow.kept == stuck.kept
    with pytest.raises(DriverBug):
        late(stuck.kept[0])
    assert not done.calls
    slow.finish()
    assert done.wait().status == 0
    assert len(done.calls) == 1
    assert framework.stats.driver_bugs == 2


def test_a_framework_that_closes_ends_what_is_queued() -> None:
    """Nothing moves to a driver that is about to go as well."""
    with Framework(plugins=False) as framework:
        framework.attach(Scripted("a", refuse))
        framework.attach(Scripted("b", refuse))
        completions = go(framework, 4)
    assert [done.wait().status for done in completions] == [errno.ENODEV] * 4
    krp, done = mod()
    framework.kdispatch(krp)
    assert done.wait().status == errno.ENODEV


def test_a_slot_that_is_used_again_is_another_driver(framework: Framework) -> None:
    """A request that one driver lost may go to the next that has the same id."""
    first = Scripted("first", keep)
    hid = framework.attach(first)
    second = Scripted("second", keep, flags=SOFTWARE)
    framework.attach(second)
    done = go(framework)[0]
    framework.detach("first", timeout=0.01)
    assert second.kept
    assert framework.attach(Scripted("third")) == hid
    framework.detach("second", timeout=0.01)
    assert hids([done]) == [hid]


# Broken drivers.


def test_a_second_kdone_is_an_error_of_the_driver(framework: Framework) -> None:
    """The callback runs once."""
    heard: list[BaseException] = []

    def twice(driver: Scripted, krp: Cryptkop) -> int:
        driver.kdone(krp)
        try:
            driver.kdone(krp)
        except DriverBug as error:
            heard.append(error)
        return 0

    framework.attach(Scripted("a", twice))
    done = go(framework)[0]
    assert done.wait().status == 0
    assert len(done.calls) == 1
    assert len(heard) == 1
    assert framework.stats.driver_bugs == 1


def test_a_driver_that_raises_is_eio(framework: Framework) -> None:
    """The text of the exception, which might quote a key, goes nowhere."""

    def broken(driver: Scripted, krp: Cryptkop) -> int:
        raise ValueError("secret")

    framework.attach(Scripted("a", broken))
    krp = go(framework)[0].wait()
    assert krp.status == errno.EIO
    assert "ValueError" in krp.error
    assert "secret" not in krp.error


def test_a_driver_that_answers_and_raises_has_answered(framework: Framework) -> None:
    """One completion, with the answer."""

    def both(driver: Scripted, krp: Cryptkop) -> int:
        answer(driver, krp)
        raise ValueError

    framework.attach(Scripted("a", both))
    done = go(framework)[0]
    assert done.wait().status == 0
    assert len(done.calls) == 1
    assert framework.stats.driver_bugs == 1


@pytest.mark.parametrize("value", [7, -1, True])
def test_any_other_return_value_is_eio(framework: Framework, value: int) -> None:
    """Only 0 and ERESTART mean something."""
    framework.attach(Scripted("a", lambda driver, krp: value))
    assert go(framework)[0].wait().status == errno.EIO


def test_refusing_what_was_answered_is_a_bug(framework: Framework) -> None:
    """ERESTART after kdone does not bring the request back."""

    def answer_and_refuse(driver: Scripted, krp: Cryptkop) -> int:
        answer(driver, krp)
        return ERESTART

    driver = Scripted("a", answer_and_refuse, answer)
    framework.attach(driver)
    done = go(framework)[0]
    assert done.wait().status == 0
    assert len(driver.hints) == 1
    assert hids(go(framework)) == [0]


def test_answering_what_was_refused_is_a_bug(framework: Framework) -> None:
    """A queued request is not in the driver's hands."""
    driver = Scripted("a", refuse, answer)
    framework.attach(driver)
    krp, done = mod()
    framework.kdispatch(krp)
    with pytest.raises(DriverBug):
        driver.kdone(krp)
    assert not done.calls
    driver.unblock(CRYPTO_ASYMQ)
    done.wait()


def test_a_verification_without_a_verdict_is_eio(framework: Framework) -> None:
    """Silence is not a good signature; and no verdict comes with an error."""
    framework.attach(Scripted("a"))
    krp = run(framework, CRK_DSA_VERIFY, [b"d", 23, 11, 4, 3, 1, 1], status=errno.EIO)
    assert krp.verdict is None

    def yes_but_no(driver: Scripted, krp: Cryptkop) -> int:
        krp.verdict = True
        krp.fail(errno.EINVAL)
        driver.kdone(krp)
        return 0

    framework.detach("a")
    framework.attach(Scripted("b", yes_but_no))
    krp = run(framework, CRK_DSA_VERIFY, [b"d", 23, 11, 4, 3, 1, 1], status=errno.EINVAL)
    assert krp.verdict is None


# Callbacks.


def test_where_callbacks_run(framework: Framework) -> None:
    """From the return queue's thread, unless the request or a synchronous driver say otherwise."""
    framework.attach(Scripted("a", flags=SOFTWARE | CRYPTOCAP_F_SYNC))
    names: list[str] = []
    for flags in (0, CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC):
        done = threading.Event()
        krp = Cryptkop.of(CRK_MOD, [5, 3], [8], flags=flags)

        def note(krp: Cryptkop, done: threading.Event = done) -> None:
            names.append(threading.current_thread().name)
            done.set()

        krp.callback = note
        framework.kdispatch(krp)
        assert done.wait(10)
    here = threading.current_thread().name
    assert names == ["opencrypto-returns", here, here]


def test_a_callback_that_raises_stops_nothing(framework: Framework) -> None:
    """It is counted; later ones run."""
    framework.attach(Scripted("a"))

    def broken(krp: Cryptkop) -> None:
        raise ValueError

    framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], broken))
    assert hids(go(framework, flags=0)) == [0]
    assert framework.stats.callback_errors == 1


def test_a_callback_may_dispatch_the_same_request_again(framework: Framework) -> None:
    """It is the consumer's when the callback runs."""
    framework.attach(Scripted("a"))
    left = [5]
    done = threading.Event()

    def again(krp: Cryptkop) -> None:
        left[0] -= 1
        if left[0]:
            framework.kdispatch(krp)
        else:
            done.set()

    framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], again))
    assert done.wait(10)


def test_over_the_limit_no_request_is_given_out(framework: Framework) -> None:
    """kgetreq fails while too many callbacks wait, and counts it, on its own queue."""
    framework.attach(Scripted("a"))
    framework.sysctl["opencrypto.crypto_ret_kq.maxlen"] = 2
    gate, entered = threading.Event(), threading.Event()

    def slow(krp: Cryptkop) -> None:
        entered.set()
        gate.wait(10)

    framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], slow))
    assert entered.wait(10)
    completions = go(framework, 3, flags=0)
    assert framework.sysctl["opencrypto.crypto_ret_kq.len"] == 3
    assert framework.kgetreq() is None
    assert framework.getreq(1) is not None
    assert framework.sysctl["opencrypto.crypto_ret_kq.drops"] == 1
    gate.set()
    for done in completions:
        done.wait()
    assert framework.kgetreq() is not None


# Misuse.


def test_a_request_in_use_is_busy(framework: Framework) -> None:
    """It is neither dispatched twice nor freed."""
    driver = Scripted("a", keep)
    framework.attach(driver)
    krp, done = mod()
    framework.kdispatch(krp)
    for call in (framework.kdispatch, framework.kfreereq):
        with pytest.raises(BusyError):
            call(krp)
    driver.finish()
    done.wait()
    framework.kfreereq(krp)
    for call in (framework.kdispatch, framework.kfreereq):
        with pytest.raises(UsageError, match="freed"):
            call(krp)


def test_a_request_without_a_callback_raises(framework: Framework) -> None:
    """There is nobody to tell."""
    with pytest.raises(UsageError, match="callback"):
        framework.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8]))
    with pytest.raises(UsageError):
        framework.kgetreq(2)
    framework.kfreereq(None)


@pytest.mark.parametrize(
    ("krp", "status"),
    [
        (Cryptkop.of(99, [1], [1]), errno.EINVAL),
        (Cryptkop.of(11, [1], [1]), errno.EINVAL),
        (Cryptkop.of(CRK_MOD, [1], [1]), errno.EINVAL),
        (Cryptkop.of(CRK_MOD, [1, 2], []), errno.EINVAL),
        (Cryptkop(CRK_MOD, [Crparam(nbits=1)], 2, 1), errno.EINVAL),
        (Cryptkop(CRK_MOD, [None] * 3, 2, 1), errno.EINVAL),  # type: ignore[list-item]
        (Cryptkop.of(CRK_MOD, [1] * 8, [1]), errno.EFBIG),
        (Cryptkop(CRK_MOD, [Crparam(nbits=1)] * 9, 2, 1), errno.EFBIG),
    ],
)
def test_malformed_requests_reach_no_driver(
    framework: Framework, krp: Cryptkop, status: int
) -> None:
    """They are called back with the errno that says what is wrong."""
    driver = Scripted("a")
    framework.attach(driver)
    run(framework, krp=krp, status=status)
    with pytest.raises(CryptoError):
        krp.check()
    assert not driver.hints


def test_parameters_that_claim_too_much_reach_no_driver(framework: Framework) -> None:
    """More bits than bytes, an output that cannot be written, no bytes at all."""
    driver = Scripted("a")
    framework.attach(driver)
    krp = Cryptkop.of(CRK_MOD, [5, 3], [8])
    good = krp.param
    bad: list[tuple[int, Crparam]] = [
        (0, Crparam(b"\x01", 9)),
        (2, Crparam(b"\x01")),
        (0, Crparam("text", 8)),  # type: ignore[arg-type]
    ]
    for place, parameter in bad:
        krp.param = [*good[:place], parameter, *good[place + 1 :]]
        run(framework, krp=krp, status=errno.EINVAL)
    assert not driver.hints


# User programs.


def test_user_programs_get_the_drivers_an_operator_allows(framework: Framework) -> None:
    """kern.cryptodevallowsoft is `hard` for them, and kern.userasymcrypto 0 forbids all."""
    framework.attach(Scripted("soft", flags=SOFTWARE))
    user = CRYPTO_F_CBIMM | CRYPTO_F_USER
    for allow, status in ((1, errno.ENODEV), (0, 0), (-1, 0)):
        framework.sysctl["kern.cryptodevallowsoft"] = allow
        assert go(framework, flags=user)[0].wait().status == status
    framework.sysctl["kern.userasymcrypto"] = 0
    assert go(framework, flags=user)[0].wait().status == errno.ENODEV
    assert go(framework)[0].wait().status == 0, "the program itself is no user"


def test_the_mask_of_what_there_is(framework: Framework) -> None:
    """getfeat ors the bits of the drivers attached, MOD among them; 0 if users may do nothing."""
    assert framework.getfeat() == 0
    framework.attach(Scripted("soft", flags=SOFTWARE))
    everything = 1 << CRK_MOD_EXP | 1 << CRK_MOD_ADD | 1 << CRK_MOD | 1 << CRK_DSA_VERIFY
    assert framework.getfeat() == everything
    assert framework.getfeat(1) == 0
    assert framework.getfeat(-1) == everything
    framework.sysctl["kern.userasymcrypto"] = 0
    assert framework.getfeat() == 0


# Parameters.


def test_parameters_to_and_from_integers() -> None:
    """Little-endian, with bits that need not fill a byte."""
    p = Crparam.from_int(0x1FF)
    assert (p.nbits, bytes(p.p), p.to_int()) == (9, b"\xff\x01", 0x1FF)
    assert Crparam(b"\xff\xff", 9).to_int() == 0x1FF
    assert (Crparam.from_int(0).nbits, Crparam.from_int(0).to_int()) == (0, 0)
    assert Crparam.from_int(3, 20).to_bytes() == b"\x03\x00\x00"
    assert Crparam.from_bytes(b"digest").to_bytes() == b"digest"
    out = Crparam(bytearray(b"\xee" * 4), 12)
    out.store(0xABC)
    assert out.p == b"\xbc\x0a\xee\xee"
    with pytest.raises(CryptoError) as caught:
        out.store(0x1000)
    assert caught.value.errno == errno.ERANGE
    with pytest.raises(UsageError):
        Crparam.from_int(-1)
    with pytest.raises(UsageError):
        Crparam(nbits=-1)
    with pytest.raises(UsageError) as refused:
        Crparam.from_int(256, 8)
    assert refused.value.errno == errno.ERANGE
