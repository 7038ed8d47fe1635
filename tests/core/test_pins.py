"""A session stays with the driver, or the class of drivers, that it was opened for."""

from __future__ import annotations

import errno
import logging

import pytest

from opencrypto import Framework, NoDriverError
from tests.toy import SYNC, Log, Toy, newsession, request, stepped

HARDWARE = 0


@pytest.mark.parametrize("by", ["name", "hid", "object"])
def test_a_tokens_session_never_moves_to_software_by_itself(by: str) -> None:
    """Its driver leaves: ENODEV, time and again, until a driver of that name is there again."""
    token = Toy("token", flags=HARDWARE)
    with stepped(Toy("soft"), token, Toy("card", flags=HARDWARE)) as fw:
        which = {"name": "token", "hid": 1, "object": token}[by]
        sid, log = newsession(fw, driver=which), Log()
        fw.detach("token")
        crp = request(sid, log)
        for _ in range(3):
            fw.dispatch(crp)
        assert log.etypes == [errno.ENODEV] * 3
        assert crp.error == (
            "the session is for driver token alone, which left or handed it back; attach it"
        )
        assert sessions(fw) == {"soft": 0, "card": 0}
        fw.attach(Toy("token", flags=HARDWARE))
        fw.dispatch(crp)
        fw.dispatch(crp)
        assert log.etypes[3:] == [errno.EAGAIN, 0]
        assert fw.driver_of(sid) == ("token",)
        fw.detach("token")  # the second time the pin is what it was
        fw.dispatch(crp)
        assert log.etypes[-1] == errno.ENODEV
        fw.freesession(sid)
        assert not fw._sessions.table


def test_another_driver_of_the_name_is_not_the_one_meant() -> None:
    """One of another class is not, nor one that is called so only because the name was taken."""
    with stepped(Toy("soft"), Toy("token", flags=HARDWARE), Toy("token", flags=HARDWARE)) as fw:
        assert [info.name for info in fw.drivers] == ["soft", "token", "token#2"]
        sid, log = newsession(fw, driver="token"), Log()
        fw.detach("token")
        fw.attach(Toy("token", flags=SYNC))
        crp = request(sid, log)
        fw.dispatch(crp)
        assert log.etypes == [errno.ENODEV]
        fw.detach("token")
        fw.attach(Toy("token", flags=HARDWARE))
        fw.dispatch(crp)
        assert log.etypes[-1] == errno.EAGAIN


def test_a_driver_that_hands_back_a_session_opened_for_it_gives_it_to_nobody() -> None:
    """That request ends with ENODEV; the next one has it opened there again, and nowhere else."""
    token = Toy("token", hold=True)
    with stepped(token, Toy("other")) as fw:
        sid, log = newsession(fw, driver="token"), Log()
        crp = request(sid, log)
        for _ in range(3):
            fw.dispatch(crp)
            token.answer(etype=errno.EAGAIN)
            assert log.etypes[-1] == errno.ENODEV
            fw.dispatch(crp)
            assert log.etypes[-1] == errno.EAGAIN
            assert sessions(fw) == {"token": 1, "other": 0}
        fw.dispatch(crp)
        token.answer()
        assert log.etypes[-1] == 0


def test_a_session_that_everybody_hands_back_ends_each_request_once() -> None:
    """The only driver hands it back: ENODEV; it is asked again with the next request."""
    only = Toy("only", hold=True)
    with stepped(only) as fw:
        sid, log = newsession(fw), Log()
        crp = request(sid, log)
        fw.dispatch(crp)
        only.answer(etype=errno.EAGAIN)
        fw.dispatch(crp)
        fw.dispatch(crp)
        only.answer()
        assert log.etypes == [errno.ENODEV, errno.EAGAIN, 0]


@pytest.mark.parametrize(("hard", "kind", "mine", "others"), [
    (1, "hardware", HARDWARE, SYNC), (-1, "software", SYNC, HARDWARE),
])  # fmt: skip
def test_the_class_asked_for_is_kept_through_every_move(
    hard: int, kind: str, mine: int, others: int
) -> None:
    """A session moves within its class; where that has nobody left it waits, with ENODEV."""
    with stepped(Toy("other", flags=others), Toy("a", flags=mine), Toy("b", flags=mine)) as fw:
        sid, log = newsession(fw, hard=hard), Log()
        crp = request(sid, log)
        fw.detach("a")
        fw.dispatch(crp)
        assert (log.etypes[-1], fw.driver_of(sid)) == (errno.EAGAIN, ("b",))
        fw.detach("b")
        fw.dispatch(crp)
        assert log.etypes[-1] == errno.ENODEV
        assert f"no other {kind}, as was asked for" in crp.error
        assert sessions(fw) == {"other": 0}
        fw.attach(Toy("c", flags=mine))
        fw.dispatch(crp)
        fw.dispatch(crp)
        assert log.etypes[-2:] == [errno.EAGAIN, 0]
        assert fw.driver_of(sid) == ("c",)


def test_it_is_said_once_that_nobody_takes_a_session_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not with every request; and again, if it has moved since."""
    with stepped(Toy("token")) as fw, caplog.at_level(logging.WARNING, "opencrypto"):
        sid, log = newsession(fw, driver="token"), Log()
        for times in (1, 2):
            fw.detach("token")
            for _ in range(5):
                fw.dispatch(request(sid, log))
            assert caplog.text.count("session_stranded") == times
            fw.attach(Toy("token"))
            fw.dispatch(request(sid, log))
            assert log.etypes[-1] == errno.EAGAIN


def test_a_session_for_all_classes_takes_any() -> None:
    """With hard 0 and no driver named it moves from hardware to software, and back."""
    with stepped(Toy("hard", flags=HARDWARE), Toy("soft")) as fw:
        sid, log = newsession(fw), Log()
        assert fw.driver_of(sid) == ("hard",)
        fw.detach("hard")
        fw.dispatch(request(sid, log))
        assert fw.driver_of(sid) == ("soft",)


def test_a_driver_that_refuses_is_not_replaced_by_another() -> None:
    """The error names that driver alone."""

    class Picky(Toy):
        def refusal(self, *_: object) -> str:
            return "not today"

    with stepped(Picky("token"), Toy("other")) as fw, pytest.raises(NoDriverError) as caught:
        newsession(fw, driver="token")
    assert caught.value.reasons == {"token": "not today"}


def sessions(fw: Framework) -> dict[str, int]:
    """Return how many sessions each driver has."""
    return {info.name: info.sessions for info in fw.drivers}
