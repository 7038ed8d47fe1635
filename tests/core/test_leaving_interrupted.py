"""Storms over drivers that leave, and over workers: what raises, or calls us, in their midst."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Mapping

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    Capability,
    Cryptop,
    Framework,
    UsageError,
)
from opencrypto.chain import ChainDriver, TransformFactory
from opencrypto.transforms import NULL
from tests.core.storms import MARKS, SECONDS, CToy, Pacer, alarms, until
from tests.toy import newsession, nothing_left, request

pytestmark = [pytest.mark.slow, *MARKS]


def is_attached(fw: Framework, name: str) -> bool:
    return any(info.name == name and info.hid is not None for info in fw.drivers)


def test_a_driver_leaves_once_wherever_its_leaving_is_interrupted() -> None:
    """Or it has not begun, and does when it says so again; its sessions are freed; it is closed."""
    pacer, card, soft = Pacer(), CToy("card"), CToy("soft")
    card.flags = 0
    rounds = 0
    with Framework(plugins=[soft]) as fw, alarms(0.0003, pacer):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            rounds += 1
            fw.attach(card)
            answers: list[Cryptop] = []
            sids = [newsession(fw) for _ in range(3)]
            for _ in range(20):
                try:
                    with pacer:
                        card.leave("pulled")
                    break
                except KeyboardInterrupt:
                    pass
            assert until(lambda r=rounds: card.closed == r), list(fw._drivers)  # type: ignore[misc]
            assert not is_attached(fw, "card")
            for sid in sids:
                fw.dispatch(crp := request(sid, answers.append))
                assert crp.etype == errno.EAGAIN
                fw.dispatch(crp)
                assert crp.etype == 0
                fw.freesession(crp.sid)
            assert not card.keys
            assert not soft.keys
        assert nothing_left(fw)
    assert pacer.hits > 5
    assert fw.driver_bugs.count == 0


def test_a_signal_handler_may_have_a_driver_leave_in_the_midst_of_anything() -> None:
    """Every request is answered once: done, or handed back; no session is lost."""
    card, soft = CToy("card"), CToy("soft")
    card.flags = 0
    attached = accepted = 0
    answers: list[Cryptop] = []
    with Framework(plugins=[soft]) as fw:
        with alarms(0.004, lambda: card.leave("pulled")):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                if until(lambda a=attached: card.closed == a):  # type: ignore[misc]
                    attached += 1
                    with contextlib.suppress(UsageError):  # it leaves while it is being attached
                        fw.attach(card)
                sid = newsession(fw)
                for flags in (0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH) * 10:
                    fw.dispatch(request(sid, answers.append, flags=flags))
                    accepted += 1
                fw.freesession(sid)
        assert until(lambda: len(answers) == accepted), f"{len(answers)} of {accepted}"
        assert {crp.etype for crp in answers} <= {0, errno.EAGAIN, errno.ENOENT}
        card.leave("at the end")
        assert until(lambda: card.closed == attached)
        assert until(lambda: not card.keys and not soft.keys)
        assert until(lambda: nothing_left(fw))
    assert attached > 3
    assert fw.driver_bugs.count == 0


class Working(ChainDriver):
    """NULL_CBC by workers, so few that it is full now and then."""

    name = "working"
    workers = 2
    depth = 4
    capabilities: Mapping[int, Capability] = {CRYPTO_NULL_CBC: Capability()}
    factories: Mapping[int, TransformFactory] = NULL


@pytest.mark.parametrize("flags", [0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH])
def test_no_request_to_workers_is_lost_or_doubled_wherever_dispatch_is_interrupted(
    flags: int,
) -> None:
    pacer, driver = Pacer(), Working()
    answers: list[int] = []
    with Framework(plugins=[driver]) as fw:
        sid = newsession(fw, b"")
        with alarms(0.0003, pacer):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                crps = [
                    request(sid, lambda crp: answers.append(crp.opaque), number, flags=flags)
                    for number in range(64)
                ]
                taken = []
                for crp in crps:
                    try:
                        with pacer:
                            fw.dispatch(crp)
                        taken.append(crp.opaque)
                    except KeyboardInterrupt:
                        pass
                assert until(lambda all_=crps: not any(crp.state for crp in all_)), "one is lost"  # type: ignore[misc]
                assert len(set(answers)) == len(answers), "doubled"
                assert set(taken) <= set(answers)
                assert {crp.etype for crp in crps} <= {0, errno.EIO}
                answers.clear()
        fw.freesession(sid)
        assert until(lambda: nothing_left(fw))
    assert pacer.hits > 5
    assert fw.driver_bugs.count == 0
