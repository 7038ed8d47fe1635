"""The clause that is named is the one that is broken: whatever the log says, whoever else runs."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Self

import pytest

from opencrypto import CRYPTO_AES_CBC, Cryptoini
from opencrypto.driver import Rule
from opencrypto.testing import CLAUSES, FAULTS, ContractBroken, Fault, check_driver
from opencrypto.testing._rig import Rig
from opencrypto.testing._secrets import everything_logged
from opencrypto.testing.faults import DoneTwice, LeavesAThread, LogsKeys, RaisesAtClose
from opencrypto.testing.report import Report
from tests.kit.correct_drivers import HonestLean
from tests.kit.test_faults import PATIENCE, QUICK_CLAUSES, caught


def test_every_rule_of_the_framework_is_of_a_clause() -> None:
    assert {rule.clause for rule in Rule} <= set(CLAUSES)


class OtherWords(StrEnum):
    """The base of the same rules in other words."""

    clause: str

    def __new__(cls, sentence: str, clause: str) -> Self:
        rule = str.__new__(cls, sentence)
        rule._value_ = sentence
        rule.clause = clause
        return rule


class Mumble(logging.Filter):
    """Has every line of the framework's log say the same."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = "close, answer, process: something happened", ()
        return True


@pytest.fixture
def reworded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the framework say nothing of what it finds that it says elsewhere."""
    sentences = {
        rule.name: (f"close must not be done: {number}", rule.clause)
        for number, rule in enumerate(Rule)
    }
    words = OtherWords("Rule", sentences)  # type: ignore[arg-type]  # an enum of other words
    patched = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("opencrypto.") and vars(module).get("Rule") is Rule:
            monkeypatch.setattr(module, "Rule", words)
            patched += 1
    assert patched > 3, "the rooms that report a breach"
    mumble = Mumble()
    logging.getLogger("opencrypto").addFilter(mumble)
    yield
    logging.getLogger("opencrypto").removeFilter(mumble)


ONE_OF_EACH = list({fault.clause: fault for fault in FAULTS}.values())


@pytest.mark.usefixtures("reworded")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=() if fault.clause in QUICK_CLAUSES else pytest.mark.slow)
        for fault in ONE_OF_EACH
    ],
    ids=lambda fault: fault.__name__,
)
def test_faults_are_caught_by_their_clause_whatever_the_log_says(fault: type[Fault]) -> None:
    report = caught(fault, {fault.clause})
    assert report.broken == {fault.clause}, str(report)


def test_two_at_once_do_not_blame_each_other() -> None:
    """Each report names the fault of its own driver, though both speak in one process and log."""
    faults = (DoneTwice, RaisesAtClose)
    together = threading.Barrier(len(faults))
    reports: dict[type[Fault], Report] = {}

    def run(fault: type[Fault]) -> None:
        together.wait()
        reports[fault] = caught(fault, {"D7", "D19"})

    threads = [threading.Thread(target=run, args=(fault,)) for fault in faults]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fault in faults:
        assert reports[fault].broken == {fault.clause}, str(reports[fault])


def test_one_bench_does_not_hear_of_what_another_has_found() -> None:
    """The order that two reports at once seldom have: found there, looked at here."""
    wrong, right = RaisesAtClose.of(HonestLean)(), HonestLean()
    with Rig(right, PATIENCE) as bench:
        other = Rig(wrong, PATIENCE)
        other.open([Cryptoini(CRYPTO_AES_CBC, bytes(16))])
        other.close()
        bench.check_bugs()
        with pytest.raises(ContractBroken, match="D19"):
            other.check_bugs()


def test_threads_that_come_and_go_elsewhere_are_not_left_by_this_one() -> None:
    """At every look there is another thread of somebody else's, as a busy process has."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            threads = [threading.Thread(target=time.sleep, args=(0.02,)) for _ in range(2)]
            for thread in threads:
                thread.start()
                time.sleep(0.01)

    with Rig(HonestLean(), PATIENCE) as bench, Rig(HonestLean(), PATIENCE):
        busy = threading.Thread(target=come_and_go, name="contract-busy")
        busy.start()
        try:
            time.sleep(0.05)
            bench.detach()
            assert bench.threads_left() == []
        finally:
            stop.set()
            busy.join()


def test_a_thread_that_stays_is_left_by_this_one() -> None:
    """Whether or not there is another bench."""
    driver = LeavesAThread.of(HonestLean)()
    with Rig(driver, PATIENCE) as bench, Rig(HonestLean(), PATIENCE):
        bench.open([Cryptoini(CRYPTO_AES_CBC, bytes(16))])
        bench.detach()
        assert "left" in bench.threads_left()


def test_the_keys_of_one_are_not_taken_for_those_of_another() -> None:
    """Both log in one process: a key that another driver logs is no secret of this one."""
    stop, started = threading.Event(), threading.Event()

    def chatter() -> None:
        while not stop.is_set():
            check_driver(LogsKeys.of(HonestLean), clauses={"D20"}, patience=PATIENCE)
            started.set()

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        assert started.wait(60)
        report = check_driver(HonestLean, clauses={"D20"}, patience=10 * PATIENCE)
    finally:
        stop.set()
        thread.join()
    assert report.ok, str(report)


def test_levels_of_the_log_come_back_when_the_last_has_done_with_it() -> None:
    loggers = [logging.getLogger(), logging.getLogger("opencrypto")]
    before = [logger.level for logger in loggers]
    first, second = everything_logged(), everything_logged()
    first.__enter__()
    lines = second.__enter__()
    first.__exit__(None, None, None)
    loggers[1].debug("still heard")
    assert lines == ["still heard"]
    second.__exit__(None, None, None)
    assert [logger.level for logger in loggers] == before
