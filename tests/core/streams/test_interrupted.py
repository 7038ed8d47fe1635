"""KeyboardInterrupt in the midst of pieces: each is answered once, and the session goes on."""

from __future__ import annotations

import errno
import random
import time
from collections import Counter

import pytest

from opencrypto import CRYPTO_F_CBIMM, Cryptop
from tests.core.storms import MARKS, SECONDS, Pacer, alarms, say, until
from tests.core.streams.support import Piecewise, toy_piece
from tests.toy import newsession, nothing_left, threaded

pytestmark = MARKS


@pytest.mark.slow
@pytest.mark.parametrize("flags", [CRYPTO_F_CBIMM, 0])
def test_no_piece_is_lost_or_doubled_wherever_its_dispatch_is_interrupted(
    capsys: pytest.CaptureFixture[str], flags: int
) -> None:
    """One that raised is idle again or answered once, and breaks its message or does not."""
    random.seed(15)
    driver = Piecewise()
    calls: Counter[int] = Counter()
    etypes: Counter[int] = Counter()

    def on(crp: Cryptop) -> None:
        calls[crp.opaque] += 1
        etypes[crp.etype] += 1

    pacer = Pacer()
    sent = 0
    unanswered: list[Cryptop] = []
    with threaded(driver) as fw:
        end = time.monotonic() + SECONDS
        with alarms(0.0004, pacer) as count:
            while time.monotonic() < end:
                sid = newsession(fw)
                for number in range(6):
                    sent += 1
                    crp = toy_piece(sid, on, sent, more=number < 5, flags=flags)
                    try:
                        with pacer:
                            fw.dispatch(crp)
                    except KeyboardInterrupt:
                        unanswered.append(crp)
                assert until(lambda: all(crp.state == 0 for crp in unanswered)), unanswered
                # Whatever has become of it, a last piece ends it and the next one is whole.
                for more in (False, True, False):
                    sent += 1
                    crp = toy_piece(sid, on, sent, more=more, flags=flags)
                    fw.dispatch(crp)
                    number = sent
                    assert until(lambda number=number: calls[number] == 1)  # type: ignore[misc]
                assert crp.etype == 0
                fw.freesession(sid)
                unanswered.clear()
        assert until(lambda: nothing_left(fw))
    say(capsys, alarms=count[0], interrupts=pacer.hits, pieces=sent, etypes=dict(etypes))
    assert set(calls.values()) == {1}
    assert set(etypes) <= {0, errno.EIO, errno.EINVAL}
    assert pacer.hits
    assert driver.freed == driver.opened
