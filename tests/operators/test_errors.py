"""Errors have reasons: by errno, driver and chain, in the tree and the metrics."""

from __future__ import annotations

import errno
import time
from typing import Any

import pytest

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    Cryptkop,
    Cryptoini,
    Cryptop,
    Framework,
)
from opencrypto.sysctl import Value
from tests.support import require_module
from tests.toy import Log, Toy, newsession, request, step, stepped

SECRET = "5a-the-key"


class Failing(Toy):
    """A toy that ends requests as it is told."""

    keyops = (CRK_MOD_EXP,)

    def __init__(self, name: str = "failing") -> None:
        super().__init__(name)
        self.etype: Any = 0
        self.text = ""

    def process(self, crp: Cryptop, hint: int) -> int:
        if not self.etype:
            return super().process(crp, hint)
        crp.fail(self.etype, self.text)
        self.done(crp)
        return 0

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        krp.fail(self.etype, self.text)
        self.kdone(krp)
        return 0


def names(fw: Framework, branch: str) -> dict[str, Value]:
    """The names under a branch, without it, and their values; not the times."""
    found = fw.sysctl.below(branch)
    return {
        name.removeprefix(f"{branch}."): node.get()
        for name, node in found.items()
        if not name.endswith(".at")
    }


def fail(fw: Framework, sid: int, driver: Failing, etype: Any, text: str = "") -> None:
    """Have one request end so."""
    driver.etype, driver.text = etype, text
    fw.dispatch(request(sid, Log()))
    driver.etype = 0


def test_errors_by_errno_driver_and_chain() -> None:
    """Each has its count, its class, its last sentence and time; the sums are exact."""
    driver = Failing()
    with stepped(driver) as fw:
        cipher = newsession(fw)
        both = fw.newsession([Cryptoini(CRYPTO_NULL_CBC), Cryptoini(CRYPTO_NULL_HMAC)])
        before = time.time()
        fail(fw, cipher, driver, errno.EBADMSG, "the first")
        fail(fw, cipher, driver, errno.EBADMSG, "the second")
        fail(fw, both, driver, errno.EBADMSG, "the third")
        fail(fw, both, driver, errno.ENOSPC)
        fail(fw, both, driver, 70000)
        fw.dispatch(request(cipher, Log()))
        assert names(fw, "opencrypto.drivers.failing.errors") == {
            "EBADMSG": 3,
            "EBADMSG.class": "AuthenticationError",
            "EBADMSG.last": "the third",
            "EBADMSG.chains.NULL_CBC": 2,
            "EBADMSG.chains.NULL_CBC+NULL_HMAC": 1,
            "ENOSPC": 1,
            "ENOSPC.class": "OutputTooSmall",
            "ENOSPC.last": "the result does not fit the buffer; give more room",
            "ENOSPC.chains.NULL_CBC+NULL_HMAC": 1,
            "other": 1,
            "other.class": "OperationError",
            "other.last": "a driver ended it with what is no errno",
            "other.chains.NULL_CBC+NULL_HMAC": 1,
        }
        at = fw.sysctl["opencrypto.drivers.failing.errors.EBADMSG.at"]
        assert isinstance(at, float)
        assert before - 0.001 <= at <= time.time() + 0.001
        own = names(fw, "opencrypto.chains.NULL_CBC")
        assert (own["ops"], own["errs"], own["errors.EBADMSG"]) == (3, 2, 2)
        assert own["errors.EBADMSG.last"] == "the second"
        whole = names(fw, "opencrypto.stats.errors")
        assert (whole["EBADMSG"], whole["ENOSPC"], whole["other"]) == (3, 1, 1)
        assert fw.stats.errs == fw.stats.drivers["failing"].errs == 5


def test_key_operations_that_fail() -> None:
    """By errno and operation at the driver; in the sums each once."""
    driver = Failing()
    with stepped(driver) as fw:
        driver.etype, driver.text = errno.ERANGE, "too small"
        fw.kdispatch(Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], lambda krp: None))
        fw.kdispatch(Cryptkop.of(77, [3], [8], lambda krp: None))  # which nobody has
        found = names(fw, "opencrypto.drivers.failing.kerrors")
        assert found == {
            "ERANGE": 1,
            "ERANGE.class": "OutputTooSmall",
            "ERANGE.last": "too small",
            "ERANGE.ops.MOD_EXP": 1,
        }
        whole = names(fw, "opencrypto.stats.kerrors")
        assert (whole["ERANGE"], whole["EINVAL"], whole["EINVAL.ops.other"]) == (1, 1, 1)
        assert fw.stats.kerrs == 2


def test_what_met_no_session_or_one_that_moved_is_no_drivers() -> None:
    """It is with the strays; and the counts of the driver that left rise no more."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log))
        fw.detach("one")
        gone = names(fw, "opencrypto.rest.drivers.one")
        assert (gone["ops"], gone["errs"]) == (1, 0)
        for _ in range(3):
            fw.dispatch(request(sid, log))  # a consumer that does not listen
        fw.dispatch(request(sid, log, flags=CRYPTO_F_CBIMM | CRYPTO_F_BATCH))
        step(fw)
        fw.dispatch(request(12345, log))
        assert log.etypes == [0, *[errno.EAGAIN] * 4, errno.ENOENT]
        after = names(fw, "opencrypto.rest.drivers.one")
        assert {**after, "migrated": 0} == {**gone, "migrated": 0}
        assert (fw.stats.drivers["two"].ops, fw.stats.drivers["two"].errs) == (0, 0)
        strays = names(fw, "opencrypto.rest.strays")
        assert (strays["ops"], strays["errs"]) == (5, 5)
        assert (strays["errors.EAGAIN"], strays["errors.ENOENT"]) == (4, 1)
        assert strays["errors.EAGAIN.chains.NULL_CBC"] == 4
        assert strays["errors.ENOENT.chains.none"] == 1
        assert (fw.stats.ops, fw.stats.errs) == (6, 5)


def test_a_stranded_sessions_requests_are_no_drivers() -> None:
    """Its driver left and nobody takes it over: each request ends with ENODEV, for nobody."""
    with stepped(Toy("only")) as fw:
        sid, log = newsession(fw), Log()
        fw.detach("only")
        for _ in range(2):
            fw.dispatch(request(sid, log))
        assert log.etypes == [errno.ENODEV] * 2
        assert fw.sysctl["opencrypto.rest.drivers.only.errs"] == 0
        assert fw.sysctl["opencrypto.rest.strays.errors.ENODEV"] == 2


def test_what_a_driver_leaves_waiting_is_its_own() -> None:
    """A request that was queued for it, and sent on when it left, has been counted as its own."""
    driver = Toy("one")
    with stepped(driver, Toy("two")) as fw:
        sid, log = newsession(fw), Log()
        driver.full = True
        fw.dispatch(request(sid, log))
        fw.detach("one")
        assert log.etypes == [errno.EAGAIN]
        gone = names(fw, "opencrypto.rest.drivers.one")
        assert (gone["ops"], gone["errs"], gone["errors.EAGAIN"]) == (1, 1, 1)
        assert fw.sysctl["opencrypto.rest.strays.ops"] == 0


def test_no_content_is_shown() -> None:
    """A key, a buffer and an IV are in no name and no value."""
    driver = Failing()
    with stepped(driver) as fw:
        sid = fw.newsession(Cryptoini(CRYPTO_NULL_CBC, SECRET.encode()))
        fail(fw, sid, driver, errno.EIO)
        crp = request(sid, Log(), buf=bytearray(SECRET.encode()))
        crp.ilen = -1
        fw.dispatch(crp)
        assert fw.stats.errs == 2
        assert SECRET not in repr(dict(fw.sysctl.items()))


def scrape(fw: Framework) -> dict[tuple[str, ...], float]:
    """Errors as Prometheus gets them: driver, chain, errno."""
    prometheus = require_module("prometheus_client", "prometheus-client")
    from opencrypto.metrics import Collector

    found = prometheus.CollectorRegistry()
    found.register(Collector(fw))
    return {
        (sample.labels["driver"], sample.labels["chain"], sample.labels["errno"]): sample.value
        for metric in found.collect()
        for sample in metric.samples
        if sample.name == "opencrypto_request_errors_total"
    }


def test_the_metric_has_driver_chain_and_errno() -> None:
    """It adds up to all errors, before and after the driver has left and come back."""
    driver = Failing()
    with stepped(driver) as fw:
        assert scrape(fw) == {("failing", "", ""): 0, ("(none)", "", ""): 0}
        sid = newsession(fw)
        fail(fw, sid, driver, errno.EBADMSG)
        fw.dispatch(request(9, Log()))
        wanted = {
            ("failing", "", ""): 0.0,
            ("(none)", "", ""): 0.0,
            ("failing", "NULL_CBC", "EBADMSG"): 1.0,
            ("(none)", "none", "ENOENT"): 1.0,
        }
        assert scrape(fw) == wanted
        fw.freesession(sid)
        fw.detach("failing")
        assert scrape(fw) == wanted
        again = Failing()
        fw.attach(again)
        fail(fw, newsession(fw), again, errno.EBADMSG)
        assert scrape(fw) == {**wanted, ("failing", "NULL_CBC", "EBADMSG"): 2.0}
        assert sum(scrape(fw).values()) == fw.stats.errs == 3


@pytest.mark.parametrize("name", ["a", "a.hw"])
def test_drivers_whose_names_have_dots_are_kept_apart(name: str) -> None:
    one, other = Failing("a"), Failing("a.hw")
    with stepped(one, other) as fw:
        driver = one if name == "a" else other
        fail(fw, fw.newsession(Cryptoini(CRYPTO_NULL_CBC), driver=name), driver, errno.EIO)
        assert {key: value for key, value in scrape(fw).items() if value} == {
            (name, "NULL_CBC", "EIO"): 1.0
        }
