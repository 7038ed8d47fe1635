"""A session that is dropped unclosed is freed, and somebody hears of it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings

import pytest

from opencrypto import (
    CRYPTO_NULL_CBC,
    Cryptoini,
    NoDriverError,
    UnknownSession,
    UsageError,
)
from opencrypto.aio import AsyncSession
from opencrypto.client import Session
from tests.toy import KEY, SYNC, Toy, nothing_left, threaded

INI = Cryptoini(CRYPTO_NULL_CBC, KEY)
MANY = 1000


def test_a_thousand_dropped_sessions_leave_none() -> None:
    """A thousand warnings, each with its number; the driver forgets every one."""
    driver = Toy()
    with threaded(driver) as fw:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number in range(MANY):
                session = Session(INI, framework=fw)
                if number % 2:
                    AsyncSession(session)
            del session
            gc.collect()
        said = {str(each.message) for each in caught if each.category is ResourceWarning}
        assert len(said) == MANY
        assert all(each.startswith("unclosed <Session 0x") for each in said)
        assert fw.sysctl["opencrypto.sessions.active"] == 0
        assert driver.freed == driver.opened
        assert nothing_left(fw)


def test_one_in_a_cycle_is_freed_when_the_cycle_is() -> None:
    """So long it lives; a collector's thread may be any."""
    with threaded(Toy()) as fw:
        cycle: list[object] = [Session(INI, framework=fw)]
        cycle.append(cycle)
        del cycle
        with pytest.warns(ResourceWarning, match="unclosed <Session"):
            gc.collect()
        assert nothing_left(fw)


def test_one_whose_message_was_given_up_is_freed_by_the_late_answer() -> None:
    """Dropping it waits for nothing, and takes nothing from the driver."""
    driver = Toy(hold=True, flags=SYNC & ~4)
    with threaded(driver) as fw:
        kept = [Session(INI, framework=fw, timeout=0.01)]
        with pytest.raises(TimeoutError) as late:
            kept[0].encrypt(bytes(16))
        late.value.__traceback__ = None  # which holds its frames, and they the session
        del late
        with pytest.warns(ResourceWarning, match="unclosed <Session"):
            kept.clear()
        assert not driver.freed
        driver.answer()
        assert driver.freed == driver.opened
        assert nothing_left(fw)


def test_a_session_that_is_no_more_is_dropped_in_silence() -> None:
    """Closed, freed with its framework, or never opened: there is nothing to say."""
    with threaded(Toy()) as fw:
        Session(INI, framework=fw).close()
        with pytest.raises(NoDriverError):
            Session(Cryptoini(11, bytes(16)), framework=fw)
        with pytest.raises(UsageError):
            Session(INI, framework=fw, timeout=-1)
        left = Session(INI, framework=fw)
    del left
    gc.collect()


def test_one_freed_by_its_number_is_dropped_without_an_error() -> None:
    """It was not closed, which is said; that it is no more is no error."""
    with threaded(Toy()) as fw:
        kept = [Session(INI, framework=fw)]
        fw.freesession(kept[0].sid)
        with pytest.raises(UnknownSession):
            fw.freesession(kept[0].sid)
        with pytest.warns(ResourceWarning):
            kept.clear()


def test_a_message_that_follows_a_closed_session_does_not_bring_it_back() -> None:
    """The session moved while another thread closed it: it stays closed."""
    one, two = Toy("one", hold=True, flags=SYNC & ~4), Toy("two")
    with threaded(one, two) as fw:
        session = Session(INI, framework=fw)

        async def main() -> None:
            asession = AsyncSession(session)
            task = asyncio.ensure_future(asession.encrypt(bytes(16)))
            await asyncio.sleep(0)
            asession.close()
            one.answer(etype=11)
            with pytest.raises(UsageError):
                await task

        asyncio.run(main())
        assert session.sid == 0
        assert nothing_left(fw)


AT_EXIT = """
import sys
from opencrypto import CRYPTO_NULL_CBC, Cryptoini, Framework
from opencrypto.client import Session

fw = Framework(plugins=["swcrypto"])
sys.modules["somewhere"] = kept = Session(Cryptoini(CRYPTO_NULL_CBC), framework=fw)
cycle = [Session(Cryptoini(CRYPTO_NULL_CBC), framework=fw)]
cycle.append(cycle)
"""


def test_a_program_that_ends_is_not_told() -> None:
    """At the interpreter's end there is nobody to tell, and nothing to free."""
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always::ResourceWarning", "-c", AT_EXIT],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
