"""What a message in pieces is to the framework: where it begins and ends, and what breaks it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    UsageError,
)
from opencrypto.constants import CRD_F_MORE, CRYPTO_AES_CBC, CRYPTO_SHA2_256
from opencrypto.driver import Rule
from tests.core.streams.support import (
    Piecewise,
    cbc_piece,
    cbc_session,
    toy_piece,
)
from tests.drivers.rig import attached
from tests.toy import Log, Toy, newsession, request, step, stepped, the_session, threaded

EINVAL, EBUSY = errno.EINVAL, errno.EBUSY


@pytest.fixture
def openssl() -> Iterator[Framework]:
    with attached("openssl") as fw:
        yield fw
        assert fw.stats.driver_bugs == 0


def test_whole_messages_go_as_ever_before_and_after() -> None:
    """The session's process is its driver's own again when the last piece is done."""
    driver = Piecewise()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        session = the_session(fw, sid)
        plain = session.process
        for turn in range(3):
            fw.dispatch(request(sid, log))
            assert session.process is plain
            for number in range(4):
                fw.dispatch(toy_piece(sid, log, more=number < 3))
                assert (session.process is plain) == (number == 3)
            assert [stream.wiped for stream in driver.streams] == [1] * (turn + 1)
        assert set(log.etypes) == {0}
        assert len(log.calls) == 15
        assert [stream.sizes for stream in driver.streams] == [[16] * 4] * 3
        assert session.lineage.stream is None


def test_a_second_message_on_a_session_is_refused_and_breaks_nothing(openssl: Framework) -> None:
    sid, log = cbc_session(openssl), Log()
    openssl.dispatch(cbc_piece(sid, log, begins=True))
    openssl.dispatch(busy := cbc_piece(sid, log, begins=True))
    assert "a message is open" in busy.error
    openssl.dispatch(cbc_piece(sid, log, begins=True, more=False))  # a whole one
    openssl.dispatch(cbc_piece(sid, log))
    openssl.dispatch(cbc_piece(sid, log, more=False))
    assert log.etypes == [0, EBUSY, EBUSY, 0, 0]
    openssl.dispatch(cbc_piece(sid, log, begins=True, more=False))
    assert log.etypes[-1] == 0


def test_a_piece_that_fails_breaks_its_message_up_to_the_last_piece(openssl: Framework) -> None:
    """Those that were on their way must not become the beginning of another message."""
    sid, log = cbc_session(openssl), Log()
    openssl.dispatch(cbc_piece(sid, log, begins=True))
    openssl.dispatch(cbc_piece(sid, log, size=15))
    for more in (True, True, False):
        crp = cbc_piece(sid, log, more=more)
        openssl.dispatch(crp)
        assert not any(crp.buf)
    assert log.etypes == [0, EINVAL, EINVAL, EINVAL, EINVAL]
    openssl.dispatch(cbc_piece(sid, log, begins=True))
    openssl.dispatch(cbc_piece(sid, log, more=False))
    assert log.etypes[-2:] == [0, 0]


def test_a_broken_message_ends_too_where_another_one_begins(openssl: Framework) -> None:
    sid, log = cbc_session(openssl), Log()
    openssl.dispatch(cbc_piece(sid, log, begins=True, size=15))  # the first one fails
    openssl.dispatch(cbc_piece(sid, log))
    openssl.dispatch(cbc_piece(sid, log, begins=True))
    openssl.dispatch(cbc_piece(sid, log, size=3))
    whole = cbc_piece(sid, log, begins=True, more=False)
    openssl.dispatch(whole)
    assert log.etypes == [EINVAL, EINVAL, 0, EINVAL, 0]
    assert (whole.etype, whole.error) == (0, "")  # it was completed once


def test_the_flag_goes_on_all_descriptors_or_on_none(openssl: Framework) -> None:
    ini = [Cryptoini(CRYPTO_AES_CBC, bytes(16)), Cryptoini(CRYPTO_SHA2_256)]
    sid, log = openssl.newsession(ini), Log()
    desc = [
        Cryptodesc(0, 16, 0, 7 | CRD_F_MORE, alg=CRYPTO_AES_CBC, iv=bytes(16)),
        Cryptodesc(0, 16, 16, 0, alg=CRYPTO_SHA2_256),
    ]
    crp = Cryptop(sid, bytearray(48), desc, log, CRYPTO_F_CBIMM)
    openssl.dispatch(crp)
    assert crp.etype == EINVAL
    assert "on all descriptors of a request, or on none" in crp.error
    assert crp.buf == bytes(48)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda crp: crp.desc.reverse(), "the same order"),
        (lambda crp: crp.desc.pop(), "has the descriptors of the first one"),
        (lambda crp: setattr(crp, "mac", bytearray(32)), "comes with the last piece"),
        (lambda crp: setattr(crp.desc[0], "flags", CRD_F_MORE), "the same direction"),
        (lambda crp: setattr(crp.desc[0], "len", 64), "outside the buffer"),
        (lambda crp: setattr(crp.desc[0], "flags", crp.desc[0].flags | 0x1000), "mean nothing"),
        (lambda crp: setattr(crp, "buf", bytes(48)), "read-only"),
        (lambda crp: setattr(crp.desc[1], "len", None), "malformed"),
        (lambda crp: setattr(crp, "desc", None), "malformed"),
        (lambda crp: setattr(crp.desc[0].ini, "iv", bytes(16)), "CRD_F_IV_EXPLICIT|first piece"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_byte_is_touched(
    openssl: Framework, change: object, words: str
) -> None:
    ini = [Cryptoini(CRYPTO_AES_CBC, bytes(16)), Cryptoini(CRYPTO_SHA2_256)]
    sid, log = openssl.newsession(ini), Log()

    def piece(begins: bool) -> Cryptop:
        flags = 1 | CRD_F_MORE | (6 if begins else 0)
        iv = bytes(16) if begins else None
        desc = [
            Cryptodesc(0, 16, 0, flags, alg=CRYPTO_AES_CBC, iv=iv),
            Cryptodesc(0, 16, 16, CRD_F_MORE, alg=CRYPTO_SHA2_256),
        ]
        return Cryptop(sid, bytearray(48), desc, log, CRYPTO_F_CBIMM)

    openssl.dispatch(piece(begins=True))
    openssl.dispatch(piece(begins=False))
    openssl.dispatch(piece(begins=False))  # a usual one, that is found sound in one look
    assert log.etypes == [0, 0, 0]
    crp = piece(begins=False)
    assert callable(change)
    change(crp)
    before = bytes(crp.buf)
    openssl.dispatch(crp)
    assert crp.etype == EINVAL
    assert any(word in crp.error for word in words.split("|")), crp.error
    assert crp.buf == before


def test_a_message_that_is_too_long_for_its_algorithm_ends_at_its_limit(
    openssl: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pieces together, not each by itself."""
    sid, log = cbc_session(openssl), Log()
    the_session(openssl, sid).chain.longest = (64,)
    openssl.dispatch(cbc_piece(sid, log, begins=True))
    for _ in range(3):
        openssl.dispatch(cbc_piece(sid, log))
    openssl.dispatch(cbc_piece(sid, log))
    assert log.etypes == [0, 0, 0, 0, errno.E2BIG]


def test_pieces_that_come_while_one_is_worked_on_wait_their_turn() -> None:
    """A driver has one of a message at a time, in order, and so are they answered."""
    driver = Piecewise(hold=True)
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        for number in range(4):
            fw.dispatch(toy_piece(sid, log, number, more=number < 3))
        fw.dispatch(request(sid, log, "whole"))  # behind the last piece
        fw.dispatch(toy_piece(sid, log, "next"))
        fw.dispatch(toy_piece(sid, log, "last", more=False))
        for number in range(4):
            assert len(driver.waiting) == 1
            assert log.order == list(range(number))
            driver.answer_piece()
        assert log.order == [0, 1, 2, 3]
        assert [crp.opaque for crp in driver.held] == ["whole"]
        driver.answer()
        driver.answer_piece()
        driver.answer_piece()
        assert log.order == [0, 1, 2, 3, "whole", "next", "last"]
        assert set(log.etypes) == {0}
        assert [stream.sizes for stream in driver.streams] == [[16] * 4, [16] * 2]
        assert the_session(fw, sid).process is not the_session(fw, sid).stream.whole


def test_pieces_are_batched_as_other_requests_are() -> None:
    driver = Piecewise()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        for number in range(3):
            flags = CRYPTO_F_CBIMM | CRYPTO_F_BATCH
            fw.dispatch(toy_piece(sid, log, number, more=number < 2, flags=flags))
        assert log.order == []
        step(fw)
        assert log.order == [0, 1, 2]
        assert log.etypes == [0, 0, 0]


def test_a_callback_may_send_the_next_piece() -> None:
    """However many: the stack does not grow with them."""
    driver = Piecewise()
    with threaded(driver) as fw:
        sid = newsession(fw)
        count = 3000
        left = iter(range(count))
        ended = threading.Event()
        etypes: list[int] = []

        def on(crp: Cryptop) -> None:
            etypes.append(crp.etype)
            number = next(left, None)
            if number is None:
                ended.set()
                return
            crp.desc[0].flags = CRD_F_MORE if number < count - 1 else 0
            fw.dispatch(crp)

        fw.dispatch(toy_piece(sid, on))
        assert ended.wait(30)
        assert etypes == [0] * (count + 1)
        assert len(driver.streams) == 1


def test_a_driver_without_streams_says_so_once_and_serves_whole_messages() -> None:
    with stepped(Toy()) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(crp := toy_piece(sid, log))
        assert crp.error == "driver toy takes whole messages only"
        fw.dispatch(toy_piece(sid, log, more=False))
        fw.dispatch(request(sid, log))
        assert log.etypes == [EINVAL, EINVAL, 0]


def test_what_a_driver_raises_is_its_bug_and_the_pieces_end() -> None:
    class Raising(Piecewise):
        def newstream(self, lid: int, done: object) -> object:  # type: ignore[override]
            raise ValueError("no")

    with stepped(Raising()) as fw:
        sid, log = newsession(fw), Log()
        heard: list[Rule] = []
        fw.driver_bugs.listen(lambda rule, *_, **__: heard.append(rule))
        fw.dispatch(toy_piece(sid, log))
        fw.dispatch(toy_piece(sid, log, more=False))
        assert log.etypes == [errno.EIO, EINVAL]
        assert fw.stats.driver_bugs == 1

    class Breaking(Piecewise):
        pass

    driver = Breaking()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(toy_piece(sid, log))
        driver.streams[0].work = None  # type: ignore[method-assign,assignment]
        fw.dispatch(toy_piece(sid, log))
        fw.dispatch(toy_piece(sid, log, more=False))
        assert log.etypes == [0, errno.EIO, EINVAL]
        assert driver.streams[0].wiped == 1
        assert fw.stats.driver_bugs == 1


def test_a_driver_that_answers_a_piece_twice_is_told() -> None:
    driver = Piecewise(hold=True)
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(toy_piece(sid, log))
        stream, crp = driver.waiting[0]
        driver.answer_piece()
        with pytest.raises(OSError, match="does not hold"):
            stream.done(crp)
        assert log.etypes == [0]
        assert fw.stats.driver_bugs == 1


def test_ten_threads_send_messages_each_on_its_own_session(openssl: Framework) -> None:
    wrong: list[int] = []

    def work() -> None:
        log = Log()
        sid = cbc_session(openssl)
        for _ in range(30):
            openssl.dispatch(cbc_piece(sid, log, begins=True))
            for _ in range(3):
                openssl.dispatch(cbc_piece(sid, log))
            openssl.dispatch(cbc_piece(sid, log, more=False))
        wrong.extend(each for each in log.etypes if each)
        openssl.freesession(sid)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_that_share_a_message_have_each_piece_done_once() -> None:
    """In an order that nobody knows; but one at a time, and each is answered."""
    driver = Piecewise()
    with threaded(driver) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(toy_piece(sid, log))

        def work() -> None:
            for _ in range(200):
                fw.dispatch(toy_piece(sid, log))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        fw.dispatch(toy_piece(sid, log, more=False))
        assert log.etypes == [0] * 802
        assert driver.streams[0].sizes == [16] * 802


def test_nothing_is_open_so_there_is_nothing_to_copy() -> None:
    with stepped(Piecewise()) as fw:
        sid, log = newsession(fw), Log()
        with pytest.raises(UsageError, match="no message in pieces is open"):
            fw.copystream(sid)
        fw.dispatch(toy_piece(sid, log))
        with pytest.raises(UsageError, match="cannot copy what it keeps"):
            fw.copystream(sid)
        fw.dispatch(toy_piece(sid, log, more=False))
        assert log.etypes == [0, 0]
