"""What a driver says that it is bound to, and what selection, queues and the list make of it."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from opencrypto import (
    CRK_MOD,
    CRK_MOD_ADD,
    CRK_MOD_EXP,
    CRYPTO_AES_CBC,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    BusyError,
    Capability,
    Cryptkop,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
    NoDriverError,
    Profile,
    UsageError,
)
from opencrypto.driver import KeyCapability
from tests.core.keys.scripted import Scripted, keep
from tests.core.keys.support import Completion
from tests.toy import KEY, Log, Toy, newsession, nothing_left, request, step, stepped, threaded

HARD = 0


def toy(name: str, flags: int = HARD, **facts: Any) -> Toy:
    """A driver with some facts."""
    algs = facts.pop("algs", (CRYPTO_NULL_CBC, CRYPTO_NULL_HMAC))
    made = Toy(name, flags=flags, algs=algs, hold=facts.pop("hold", False))
    for fact, value in facts.items():
        setattr(made, fact, value)
    return made


def facts(fw: Framework, name: str) -> dict[str, str]:
    return dict(next(info for info in fw.drivers if info.name == name).facts)


# Most sessions at a time.


def test_a_full_driver_is_passed_over() -> None:
    card = toy("card", max_sessions=2)
    with threaded(card, Toy("soft")) as fw:
        sids = [newsession(fw) for _ in range(4)]
        names = [fw.driver_of(sid) for sid in sids]
        assert names == [("card",), ("card",), ("soft",), ("soft",)]
        with pytest.raises(NoDriverError, match="card: has as many sessions as it takes, 2"):
            newsession(fw, driver="card")
        fw.freesession(sids[0])
        assert fw.driver_of(newsession(fw)) == ("card",)
        assert facts(fw, "card") == {"max_sessions": "2"}
        assert facts(fw, "soft") == {}


def test_two_that_open_at_once_do_not_both_take_the_last_place() -> None:
    """The driver is never asked for more than it has, by however many threads."""

    class Counting(Toy):
        max_sessions = 3
        most = 0

        def newsession(self, ini: Sequence[Cryptoini]) -> Any:
            lid = super().newsession(ini)
            self.most = max(self.most, len(self.keys))
            return lid

    card = Counting("card", flags=HARD)
    with threaded(card, Toy("soft")) as fw:

        def churn() -> None:
            for _ in range(200):
                fw.freesession(newsession(fw))

        threads = [threading.Thread(target=churn) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= card.most <= 3
        assert nothing_left(fw)
    assert fw.stats.driver_bugs == 0


# Most requests at a time.


class Deep(Toy):
    """Notes how many requests it has had at a time."""

    max_inflight = 3

    def __init__(self) -> None:
        super().__init__("card", flags=HARD, hold=True)
        self.most = 0

    def process(self, crp: Cryptop, hint: int) -> int:
        answer = super().process(crp, hint)
        self.most = max(self.most, len(self.held))
        return answer


@pytest.mark.parametrize("flags", [0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH])
def test_what_is_beyond_waits_in_the_queue_in_order(flags: int) -> None:
    card = Deep()
    with stepped(card) as fw:
        log = Log()
        sid = newsession(fw)
        for number in range(10):
            fw.dispatch(request(sid, log, number, flags=flags))
        step(fw)
        while len(log.calls) < 10:
            assert card.held
            card.answer(1)
            step(fw)
        assert log.order == list(range(10))
        assert log.etypes == [0] * 10
        assert card.most == 3
        assert facts(fw, "card") == {"max_inflight": "3"}


def test_a_place_is_free_before_the_callback_so_that_it_may_dispatch_again() -> None:
    """The same request, from within done, a hundred times."""
    card = Deep()
    with stepped(card) as fw:
        left = 100

        def again(crp: Cryptop) -> None:
            nonlocal left
            left -= 1
            if left:
                fw.dispatch(crp)

        fw.dispatch(request(newsession(fw), again))
        while left:
            card.answer(1)
            step(fw)
        assert card.most == 1
        log = Log()
        for number in range(3):
            fw.dispatch(request(newsession(fw), log, number))
        assert len(card.held) == 3
        card.answer()


def test_what_a_driver_does_not_take_frees_its_place() -> None:
    """It refuses for now, or raises, or answers an errno."""
    card = toy("card", max_inflight=1)
    with stepped(card) as fw:
        log = Log()
        sid = newsession(fw)
        card.full = True
        fw.dispatch(request(sid, log, 1))
        card.full = False
        card.unblock(1)
        step(fw)
        assert log.etypes == [0]
        card.work = None  # type: ignore[assignment,method-assign]
        fw.dispatch(request(sid, log, 2))
        assert log.etypes == [0, errno.EIO]
        del card.work
        fw.dispatch(request(sid, log, 3))
        assert log.etypes == [0, errno.EIO, 0]


def test_places_are_for_key_requests_too() -> None:
    card = Scripted("card", keep, flags=HARD)
    card.max_inflight = 2
    with threaded(card) as fw:
        done = [Completion() for _ in range(5)]
        for each in done:
            fw.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], each, CRYPTO_F_CBIMM))
        assert len(card.kept) == 2
        while not all(each.calls for each in done):
            assert len(card.kept) <= 2
            card.finish()
        assert [each.wait().status for each in done] == [0] * 5


def test_a_forked_child_has_all_places() -> None:
    card = Deep()
    with threaded(card) as fw:
        log = Log()
        sid = newsession(fw)
        for number in range(3):
            fw.dispatch(request(sid, log, number))
        pid = os.fork()
        if not pid:
            card.held.clear()
            mine = Log()
            fw.dispatch(request(sid, mine))
            card.answer()
            os._exit(0 if mine.etypes == [0] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        card.answer()
        assert log.etypes == [0] * 3


# One owner.


def test_an_exclusive_driver_is_attached_once_in_a_process() -> None:
    first, second = toy("token", exclusive=True), toy("token", exclusive=True)
    with threaded(first) as fw, threaded() as other:
        for each in (fw, other):
            with pytest.raises(BusyError, match="driver token has one owner"):
                each.attach(second)
        assert facts(fw, "token") == {"exclusive": "yes"}
        other.attach(toy("token.2", exclusive=True))  # another token of the kind
        fw.detach(first)
        other.attach(second)
    with threaded(first):
        pass
    assert (first.closed, second.closed) == (2, 1)


def test_one_that_could_not_be_attached_owns_nothing() -> None:
    first = toy("token", exclusive=True, max_sessions=-1)
    with threaded() as fw:
        with pytest.raises(UsageError):
            fw.attach(first)
        fw.close()
        with pytest.raises(UsageError, match="closed"):
            fw.attach(toy("token", exclusive=True))
    with threaded(toy("token", exclusive=True)):
        pass


def test_one_that_leaves_may_be_attached_elsewhere() -> None:
    first = toy("token", exclusive=True)
    with threaded(first) as fw, threaded() as other:
        first.leave("unplugged")
        while any(info.hid is not None for info in fw.drivers):
            pass
        for _ in range(1000):
            if first.closed:
                break
            threading.Event().wait(0.005)
        fw.close()
        other.attach(toy("token", exclusive=True))


def test_a_framework_that_is_dropped_frees_it() -> None:
    """Its finalizer says that it was not closed, and closes it."""
    fw = Framework(plugins=False)
    fw.attach(toy("token", exclusive=True))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        del fw
        gc.collect()
    assert ResourceWarning in {each.category for each in heard}
    for _ in range(1000):
        try:
            with threaded(toy("token", exclusive=True)):
                return
        except BusyError:
            threading.Event().wait(0.005)
    pytest.fail("it is owned for ever")


def in_child(work: Callable[[], bool]) -> bool:
    """Tell whether something is so in a forked child."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_has_it_no_more() -> None:
    """Nothing of it is called there; its sessions move; the parent goes on."""
    token, soft = toy("token", exclusive=True), Toy("soft")
    with threaded(token, soft) as fw:
        log = Log()
        sid = newsession(fw)

        def child() -> bool:
            fw.dispatch(crp := request(sid, log))
            fw.dispatch(crp)
            reasons = [(i.name, i.reason) for i in fw.drivers if i.hid is None]
            with pytest.raises(BusyError, match="is the parent's; make another"):
                fw.attach(token)
            fw.attach(toy("token", exclusive=True))
            fw.close()
            return (
                log.etypes == [errno.EAGAIN, 0]
                and reasons == [("token", "left: it belongs to the process that forked this one")]
                and (token.freed, token.closed, token.seen) == ([], 0, [])
            )

        assert in_child(child)
        fw.dispatch(request(sid, log))
        assert log.etypes == [0]
        assert fw.driver_of(sid) == ("token",)


# Only for those who name it.


def test_one_that_is_to_be_named_is_used_by_nobody_else() -> None:
    token = toy("token", only_if_named=True)
    with threaded(token, toy("cbc", algs=[CRYPTO_NULL_CBC])) as fw:
        assert fw.driver_of(newsession(fw)) == ("cbc",)
        for hard in (0, 1):
            with pytest.raises(NoDriverError, match="token: is used only if it is named"):
                fw.newsession(Cryptoini(CRYPTO_NULL_HMAC), hard)
        both = [Cryptoini(CRYPTO_NULL_CBC, KEY), Cryptoini(CRYPTO_NULL_HMAC)]
        with pytest.raises(NoDriverError):
            fw.newsession(both)
        assert token.opened == []
        assert fw.driver_of(fw.newsession(both, driver="token")) == ("token",)
        assert fw.driver_of(newsession(fw, driver=token)) == ("token",)
        assert facts(fw, "token") == {"only_if_named": "yes"}


def test_no_session_moves_to_it() -> None:
    token, card = toy("token", only_if_named=True), toy("card")
    with threaded(card) as fw:
        log = Log()
        sid = newsession(fw)
        fw.attach(token)
        card.leave("pulled")
        fw.dispatch(request(sid, log))
        assert log.etypes == [errno.ENODEV]
        assert token.opened == []


def test_nor_does_a_key_request_that_does_not_name_it() -> None:
    token = Scripted("token", flags=HARD)
    token.only_if_named = True
    with threaded(token) as fw:
        assert fw.getfeat() == 0
        done = Completion()
        fw.kdispatch(krp := Cryptkop.of(CRK_MOD, [5, 3], [8], done, CRYPTO_F_CBIMM))
        assert done.wait().status == errno.ENODEV
        assert "token is used only if it is named" in krp.error
        again = Completion()
        fw.kdispatch(Cryptkop.of(CRK_MOD, [5, 3], [8], again, CRYPTO_F_CBIMM), driver="token")
        assert again.wait().status == 0


def test_refusal_hears_whether_the_driver_was_named() -> None:
    class Choosy(Toy):
        heard: list[bool]

        def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
            self.heard.append(named)
            return "" if named else "takes those who ask for it"

    choosy = Choosy("choosy")
    choosy.heard = []
    with threaded(choosy) as fw:
        with pytest.raises(NoDriverError, match="takes those who ask for it"):
            newsession(fw)
        newsession(fw, driver="choosy")
    assert choosy.heard == [False, True]


# Directions.


def test_a_driver_of_one_direction_has_sessions_that_promise_it() -> None:
    card = toy("card")
    card.capabilities = {CRYPTO_NULL_CBC: Capability(direction="decrypt")}
    with threaded(card, Toy("soft")) as fw:
        assert fw.driver_of(newsession(fw)) == ("soft",)
        assert fw.driver_of(newsession(fw, profile=Profile("encrypt"))) == ("soft",)
        assert fw.driver_of(newsession(fw, profile=Profile("decrypt"))) == ("card",)
        hint = r"can only decrypt by NULL_CBC; promise Profile\(direction='decrypt'\)"
        with pytest.raises(NoDriverError, match=hint):
            newsession(fw, driver="card")
        assert facts(fw, "card") == {"NULL_CBC": "decrypt only"}


# Memory.


class Direct(Toy):
    """Reads memory itself, which must be in one piece at a multiple of 64."""

    alignment = 64

    def __init__(self) -> None:
        super().__init__("dma", flags=HARD)
        self.places: list[int] = []

    def process(self, crp: Cryptop, hint: int) -> int:
        where = ctypes.addressof(ctypes.c_char.from_buffer(memoryview(crp.buf)))
        self.places.append(where % 64)
        return super().process(crp, hint)


@pytest.mark.parametrize("kind", ["odd", "pieces", "mbuf", "page"])
def test_a_driver_has_memory_as_its_device_wants_it(kind: str) -> None:
    """And the consumer has the result where it gave the data, with nothing else touched."""
    memory = bytearray(range(256)) * 20
    at = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % 64
    view = memoryview(memory)
    buf: Any = {
        "odd": view[at + 1 : at + 201],
        "pieces": [view[at : at + 50], view[at + 50 : at + 200]],
        "mbuf": Mbuf([view[at : at + 50], view[at + 50 : at + 200]]),
        "page": view[at : at + 200],
    }[kind]
    card = Direct()
    with threaded(card) as fw:
        before = bytes(memory)
        first = at + (kind == "odd")
        crd = Cryptodesc(16, 128, alg=CRYPTO_NULL_CBC)
        log = Log()
        crp = Cryptop(newsession(fw), buf, [crd], log, CRYPTO_F_CBIMM)
        fw.dispatch(crp)
        assert log.etypes == [0]
        assert crp.buf is buf
        assert card.places == [0]
        want = bytearray(before)
        for place in range(first + 16, first + 144):
            want[place] ^= KEY[0]
        assert memory == want
        assert facts(fw, "dma") == {"alignment": "64 bytes"}


# Bounds of key operations.


def modexp(fw: Framework, a: int, p: int, m: int, **options: Any) -> Cryptkop:
    done = Completion()
    krp = Cryptkop.of(CRK_MOD_EXP, [a, p, m], [m.bit_length()], done, CRYPTO_F_CBIMM)
    fw.kdispatch(krp, **options)
    return done.wait()


@pytest.mark.parametrize(
    ("modulus", "server"),
    [
        ((1 << 64) + 1, "card"),
        ((1 << 64) + 2, "soft"),  # even
        ((1 << 15) + 1, "soft"),  # too short
        ((1 << 300) + 1, "soft"),  # too long
    ],
)
def test_a_key_request_goes_to_a_driver_whose_bounds_it_keeps(modulus: int, server: str) -> None:
    card, soft = Scripted("card", flags=HARD), Scripted("soft", flags=2)
    card.keyops = {
        CRK_MOD_EXP: KeyCapability(32, 256, odd_modulus=True),
        CRK_MOD_ADD: KeyCapability(),
    }
    with threaded(card, soft) as fw:
        krp = modexp(fw, 3, 5, modulus)
        assert krp.status == 0
        assert krp.hid == {"card": 0, "soft": 1}[server]
        assert facts(fw, "card") == {"MOD_EXP": "from 32 bits, up to 256 bits, odd modulus"}


@pytest.mark.parametrize(
    ("modulus", "why"),
    [
        ((1 << 64) + 2, "card takes an odd modulus"),
        ((1 << 15) + 1, "card takes a modulus of 32 bits at least, not 16"),
        ((1 << 300) + 1, "card takes parameters of 256 bits at most, not 301"),
    ],
)
def test_where_nobody_else_is_it_says_why(modulus: int, why: str) -> None:
    card = Scripted("card", flags=HARD)
    card.keyops = {CRK_MOD_EXP: KeyCapability(32, 256, odd_modulus=True)}
    with threaded(card) as fw:
        for options in ({}, {"driver": "card"}):
            krp = modexp(fw, 3, 5, modulus, **options)
            assert krp.status == errno.ENODEV
            assert why in krp.error
        assert card.hints == []


# What is no fact.


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("max_sessions", -1, "max_sessions is a number"),
        ("max_sessions", True, "max_sessions is a number"),
        ("max_inflight", "8", "max_inflight is a number"),
        ("alignment", 3, "alignment is a power of two"),
        ("alignment", 1 << 20, "alignment is a power of two"),
        ("exclusive", 1, "exclusive is True or False"),
        ("only_if_named", None, "only_if_named is True or False"),
        ("keyops", {CRK_MOD: 512}, r"MOD needs a KeyCapability\(\)"),
        ("capabilities", {CRYPTO_AES_CBC: Capability(direction="up")}, "no direction: 'up'"),  # type: ignore[arg-type]
    ],
)
def test_what_means_nothing_is_refused(fact: str, value: Any, words: str) -> None:
    card = toy("card", **{fact: value})
    with threaded() as fw, pytest.raises(UsageError, match=words):
        fw.attach(card)
