"""
What a driver does against its contract is counted, logged, and told to who listens.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from opencrypto import Cryptop, Framework
from opencrypto._core.bugs import DriverBugs
from opencrypto.driver import Rule
from opencrypto.testing import CLAUSES
from tests.toy import Log, Toy, newsession, request, stepped


class Odd(Toy):
    """Takes each request, and says something else than 0."""

    def process(self, crp: Cryptop, hint: int) -> Any:
        super().process(crp, hint)
        return 7


def use(fw: Framework) -> None:
    """Have the driver break its rule once."""
    fw.dispatch(request(newsession(fw), Log()))


def test_a_rule_is_its_sentence_and_names_a_clause() -> None:
    for rule in Rule:
        assert isinstance(rule, str)
        assert rule == rule.value == str(rule)
        assert rule.clause in CLAUSES
    assert len(set(Rule)) == len(Rule.__members__), "two rules must not have one sentence"


def test_a_bug_is_counted_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[Rule, str]] = []
    with stepped(Odd("odd")) as fw, caplog.at_level(logging.ERROR, "opencrypto"):
        end = fw.driver_bugs.listen(lambda rule, driver: told.append((rule, driver)))
        use(fw)
        assert told == [(Rule.PROCESS_DONE, "odd")]
        assert fw.driver_bugs.count == fw.stats.driver_bugs == 1
        assert re.search(
            rf"driver_bug .*driver=odd rule={Rule.PROCESS_DONE}$", caplog.text, re.MULTILINE
        )
        end()
        end()
        use(fw)
        assert len(told) == 1
        assert fw.driver_bugs.count == 2


def test_two_frameworks_do_not_hear_of_each_others_drivers() -> None:
    told: list[tuple[Rule, str]] = []
    with stepped(Odd()) as fw, stepped(Toy()) as other:
        other.driver_bugs.listen(lambda rule, driver: told.append((rule, driver)))
        use(fw)
        use(other)
        assert not told
        assert (fw.stats.driver_bugs, other.stats.driver_bugs) == (1, 0)


def test_one_callback_given_twice_is_told_twice_and_ended_one_by_one() -> None:
    told: list[str] = []

    def tell(rule: Rule, driver: str) -> None:
        told.append(driver)

    with stepped(Odd("odd")) as fw:
        first, second = fw.driver_bugs.listen(tell), fw.driver_bugs.listen(tell)
        use(fw)
        first()
        use(fw)
        second()
        use(fw)
    assert told == ["odd"] * 3


def test_a_listener_that_raises_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def broken(rule: Rule, driver: str) -> None:
        raise RuntimeError("of its own")

    callback = Log()
    with stepped(Odd("odd")) as fw, caplog.at_level(logging.ERROR, "opencrypto"):
        fw.driver_bugs.listen(broken)
        fw.driver_bugs.listen(lambda rule, driver: told.append(driver))
        fw.dispatch(request(newsession(fw), callback, "the request"))
    assert told == ["odd"]
    assert callback.order == ["the request"]
    assert "observer_failed hook=driver_bug error=RuntimeError" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_a_listener_that_exits_stops_nothing(error: type[BaseException]) -> None:
    """The next one is told, and the request whose driver was at fault is answered."""
    bugs, told = DriverBugs(), list[str]()

    def exits(rule: Rule, driver: str) -> None:
        raise error

    bugs.listen(exits)
    bugs.listen(lambda rule, driver: told.append(driver))
    bugs.report(Rule.CLOSE, "toy")
    assert (told, bugs.count) == (["toy"], 1)
