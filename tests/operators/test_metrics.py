"""Metrics for Prometheus and OpenTelemetry, and the log's events: read by those they are for."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_SYMQ,
    ERESTART,
    Cryptoini,
    Cryptop,
    Framework,
)
from opencrypto.driver import Process
from opencrypto_swcrypto._driver import SwcryptoDriver
from tests.operators.load import Hardware, Instant, Load
from tests.support import require_module, require_tool

prometheus = require_module("prometheus_client", "prometheus-client")
ROOT = Path(__file__).parents[2]


def registry(framework: Framework, name: str = "") -> Any:
    """A registry with our collector in it."""
    from opencrypto.metrics import Collector

    made = prometheus.CollectorRegistry()
    made.register(Collector(framework, name))
    return made


def exposition(framework: Framework) -> str:
    """What a scrape gets."""
    text: bytes = prometheus.generate_latest(registry(framework))
    return text.decode()


def test_the_exposition_passes_the_linter(tmp_path: Path) -> None:
    """Promtool finds nothing to complain about, timing on or off, drivers there or gone."""
    tool = require_tool("promtool", "prometheus")
    with Framework(plugins=[Hardware("hw"), Instant("sw")]) as framework:
        for timing in (0, 1):
            framework.sysctl["opencrypto.timing"] = timing
            with Load(framework, threads=2):
                time.sleep(0.05)
            done = subprocess.run(
                [tool, "check", "metrics"],
                input=exposition(framework),
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_values_are_those_of_the_tree() -> None:
    """Counters, sizes and times of a load appear with their labels, exactly."""
    with Framework(plugins=[Hardware("hw"), Instant("sw")]) as framework:
        framework.sysctl["opencrypto.timing"] = 1
        with Load(framework, threads=5) as load:
            time.sleep(0.1)
        found = registry(framework, "it")

        def sample(name: str, **labels: str) -> float:
            value = found.get_sample_value(f"opencrypto_{name}", {"framework": "it", **labels})
            assert value is not None, name
            return float(value)

        assert sample("requests_total", driver="hw") == load.ops
        assert sample("requests_total", driver="(none)") == 0
        assert sample("request_bytes_total", driver="hw") == load.bytes
        assert sample("request_size_bytes_sum") == load.bytes
        assert sample("request_size_bytes_count") == load.ops
        assert sample("request_size_bytes_bucket", le="64.0") == load.sent[64]
        assert sample("request_size_bytes_bucket", le="256.0") == load.sent[64] + load.sent[100]
        assert sample("driver_latency_seconds_count", driver="hw") == load.ops
        assert sample("request_done_seconds_bucket", le="+Inf") == load.ops
        assert 0 < sample("request_done_seconds_sum") < 3600
        assert sample("sessions", chain="") == sample("sessions", chain="NULL_CBC") == 0
        assert sample("driver_info", driver="sw", **{"class": "software"}) == 1


def test_the_series_of_a_driver_that_left_goes_on() -> None:
    """A driver's counters neither vanish nor fall nor jump when it leaves and comes again."""
    with Framework(plugins=[Instant("it")]) as framework:
        seen = []
        for _ in range(40):
            sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
            framework.dispatch(Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None))
            framework.freesession(sid)
            for act in (lambda: framework.detach("it"), lambda: framework.attach(Instant("it"))):
                act()
                found = registry(framework)
                seen.append(found.get_sample_value("opencrypto_requests_total", {"driver": "it"}))
        assert seen == [float(n) for n in range(1, 41) for _ in range(2)]
        assert framework.stats.ops == 40


def test_a_driver_that_leaves_in_the_midst_of_a_look_is_seen_once() -> None:
    """What was looked up together is read together, though the driver is gone by then."""
    with Framework(plugins=[Instant("it")]) as framework:
        for _ in range(3):
            sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
            framework.dispatch(Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None))
            framework.freesession(sid)
            look = framework.sysctl.nodes("opencrypto.")
            framework.detach("it")
            assert look["opencrypto.drivers.it.ops"].get() == 1
            again = framework.sysctl.nodes("opencrypto.")
            assert "opencrypto.drivers.it.ops" not in again
            framework.attach(Instant("it"), selftest=False)
        assert framework.sysctl["opencrypto.rest.drivers.it.ops"] == 3


def test_a_look_while_drivers_come_and_go_sees_no_count_fall() -> None:
    """Whatever else happens between two readings of a scrape: series go up, and end at the sum."""
    turns = 150 if os.environ.get("OPENCRYPTO_QUICK") else 600
    going = threading.Event()
    with Framework(plugins=[Instant("stays")]) as framework:

        def come_and_go() -> None:
            for _ in range(turns):
                framework.attach(Instant("it"), selftest=False)
                sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC), driver="it")
                for _ in range(3):
                    crp = Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None)
                    crp.ilen = 100
                    framework.dispatch(crp)
                framework.freesession(sid)
                framework.detach("it")
            going.set()

        found = registry(framework)
        worker = threading.Thread(target=come_and_go)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            worker.start()
            last: dict[Any, float] = {}
            looks = 0
            while not going.is_set():
                looks += 1
                for family in found.collect():
                    for sample in family.samples:
                        if family.type == "counter":
                            key = sample.name, *sorted(sample.labels.items())
                            assert sample.value >= last.get(key, 0), key
                            last[key] = sample.value
        finally:
            sys.setswitchinterval(interval)
            worker.join()
        assert looks > 2
        value = found.get_sample_value("opencrypto_request_bytes_total", {"driver": "it"})
        assert value == turns * 3 * 100
        assert framework.stats.ops == turns * 3


def test_a_second_collector_of_the_same_name_is_refused() -> None:
    """Each series would come twice, in silence; the registry says what to do instead."""
    from opencrypto.metrics import Collector

    found = prometheus.CollectorRegistry()
    with Framework(plugins=False) as one, Framework(plugins=False) as two:
        first = Collector(one)
        found.register(first)
        with pytest.raises(ValueError, match="without a name; give each one of its own"):
            found.register(Collector(two))
        found.register(Collector(two, name="esp"))
        with pytest.raises(ValueError, match=r"named .*esp.*; give each one of its own"):
            found.register(Collector(one, name="esp"))
        text = prometheus.generate_latest(found).decode()
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        assert len({line.rsplit(" ", 1)[0] for line in samples}) == len(samples)
        found.unregister(first)
        found.register(Collector(two))


def test_buckets_begin_at_a_microsecond() -> None:
    """The histograms' bounds are seconds, from 1 us to 17 s, four an octave."""
    with Framework(plugins=[Instant()]) as framework:
        bounds = [
            line.split('le="')[1].split('"')[0]
            for line in exposition(framework).splitlines()
            if line.startswith("opencrypto_request_done_seconds_bucket")
        ]
    assert (*bounds[:2], *bounds[-2:]) == ("1.024e-06", "1.28e-06", "17.179869184", "+Inf")


class Server:
    """A Prometheus server with a folder and a port of its own."""

    def __init__(
        self, folder: Path, target: int, interval: str = "200ms", before: Sequence[str] = ()
    ) -> None:
        config = folder / "prometheus.yml"
        config.write_text(
            f"global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\n"
            "scrape_configs:\n- job_name: opencrypto\n  static_configs:\n"
            f"  - targets: ['127.0.0.1:{target}']\n"
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [
                *before,
                require_tool("prometheus", "prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=error",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask it."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode(
            {"query": expression}
        )
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return result
        except OSError:
            return []  # it is still starting

    def wait_for(self, expression: str, seconds: float = 30) -> list[dict[str, Any]]:
        """Ask it until it knows."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            result = self.query(expression)
            if result:
                return result
            time.sleep(0.1)
        raise AssertionError(f"Prometheus never knew {expression}")

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[tuple[Framework, Server]]:
    """A framework with timing on, and a Prometheus that scrapes it."""
    with Framework(plugins=[Hardware("hw"), Instant("sw")]) as framework:
        framework.sysctl["opencrypto.timing"] = 1
        http, thread = prometheus.start_http_server(
            0, addr="127.0.0.1", registry=registry(framework)
        )
        try:
            server = Server(tmp_path, http.server_address[1])
            try:
                yield framework, server
            finally:
                server.close()
        finally:
            http.shutdown()
            http.server_close()
            thread.join()


@pytest.mark.slow
def test_a_real_prometheus_scrapes_it(scraped: tuple[Framework, Server]) -> None:
    """It stores what the load does, and answers the queries of the dashboard."""
    framework, server = scraped
    server.wait_for("up == 1")
    with Load(framework, threads=4, pause=0.001) as load:
        rate = server.wait_for("sum(rate(opencrypto_requests_total[5s])) > 0")
        assert float(rate[0]["value"][1]) > 0
        server.wait_for(
            "histogram_quantile(0.99, sum by (le, driver) "
            "(rate(opencrypto_driver_latency_seconds_bucket[5s]))) > 0"
        )
    total = server.wait_for(f"sum(opencrypto_requests_total) == {load.ops}")
    assert int(float(total[0]["value"][1])) == load.ops


class Trouble(threading.Thread):
    """Requests that fail, and sessions whose driver leaves, over and over: a context manager."""

    def __init__(self, framework: Framework) -> None:
        super().__init__(name="trouble")
        self._framework = framework
        self._told = threading.Event()

    def run(self) -> None:
        """Make trouble."""
        framework = self._framework
        while not self._told.wait(0.05):
            framework.attach(Hardware("guest"))
            sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))  # it has the fewest sessions
            framework.detach("guest", timeout=1)
            framework.dispatch(Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None))
            framework.freesession(sid)

    def __enter__(self) -> Trouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        self.join()


@pytest.mark.slow
def test_every_query_of_the_dashboard_is_understood(scraped: tuple[Framework, Server]) -> None:
    """Each panel's expressions have an answer, which is no wall of lines at zero."""
    framework, server = scraped
    board = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    framework.attach(SwcryptoDriver())
    framework.sysctl["opencrypto.sessions.watch"] = 1
    with Load(framework, threads=2, pause=0.001), Trouble(framework):
        server.wait_for("sum(rate(opencrypto_requests_total[5s])) > 0")
        for panel in board["panels"]:
            lines = []
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", "5s")
                expression = expression.replace('instance=~"$instance"', 'instance=~".*"')
                lines += server.wait_for(expression)
            still = [line for line in lines if not float(line["value"][1])]
            assert len(still) < 12, panel["title"]
    assert len(server.query("opencrypto_algorithm_requests_total")) > 40


def test_the_dashboard_shows_what_an_operator_asks_for_first() -> None:
    board = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    asked = " ".join(t["expr"] for panel in board["panels"] for t in panel["targets"])
    for name in (
        "driver_blocked_seconds", "oldest_request_in_flight_seconds", "selftest_failed",
        "sessions_migrated_total", "session_oldest_age", "session_oldest_idle",
        "request_errors_total",
    ):  # fmt: skip
        assert f"opencrypto_{name}" in asked
    assert re.search(r"sum by \([^)]*errno", asked)
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len({place[:2] for place in places}) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(places)


Points = dict[tuple[str, frozenset[tuple[str, str]]], float]


def exported(framework: Framework) -> Callable[[], Points]:
    """Offer a framework to an SDK of OpenTelemetry; return what reads what that exports."""
    require_module("opentelemetry.sdk", "opentelemetry-sdk")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from opencrypto.telemetry import instrument

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(framework, provider)

    def read() -> Points:
        data = reader.get_metrics_data()
        assert data is not None
        return {
            (metric.name, frozenset(dict[str, Any](point.attributes or {}).items())): (
                getattr(point, "value", -1)
            )
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }

    return read


def as_in_opentelemetry(sample: Any) -> tuple[str, frozenset[tuple[str, str]]]:
    """Name a sample of Prometheus as OpenTelemetry does."""
    name = sample.name.removesuffix("_info" if sample.name.endswith("driver_info") else "_total")
    for part in ("bucket", "sum", "count"):
        if "le" in sample.labels or name.endswith((f"_seconds_{part}", f"_bytes_{part}")):
            name = re.sub(f"_{part}$", f".{part}", name)
    return name.replace("opencrypto_", "opencrypto.", 1), frozenset(sample.labels.items())


def test_opentelemetry_gets_all_that_prometheus_has() -> None:
    """Each sample of a scrape, histograms by `le` included, with the same value; and no other."""
    with Framework(plugins=[Hardware("hw"), Instant("sw")]) as framework:
        read = exported(framework)
        framework.sysctl["opencrypto.timing"] = framework.sysctl["opencrypto.sessions.watch"] = 1
        with Load(framework, threads=2) as load:
            time.sleep(0.05)
        framework.detach("sw")
        points = read()
        wanted = {
            as_in_opentelemetry(sample): sample.value
            for family in registry(framework).collect()
            for sample in family.samples
        }
    driver = frozenset({("driver", "hw")})
    assert points["opencrypto.requests", driver] == load.ops
    assert points["opencrypto.request_bytes", driver] == load.bytes
    assert points["opencrypto.driver_latency_seconds.count", driver] == load.ops
    age = ("opencrypto.session_oldest_age_seconds", frozenset[tuple[str, str]]())
    assert points.pop(age) <= wanted.pop(age)
    assert points == wanted
    assert len(points) > 500


def test_each_export_of_opentelemetry_is_fresh() -> None:
    """One look serves one export; the next has another, however soon it comes."""
    with Framework(plugins=[Instant("it")]) as framework:
        read = exported(framework)
        sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        for n in range(1, 6):
            framework.dispatch(Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None))
            assert read()["opencrypto.requests", frozenset({("driver", "it")})] == n


class Moody(Instant):
    """A driver that refuses each request once; the known answers have no patience for that."""

    selftest = False

    def newsession(self, ini: object) -> int | tuple[int, Process]:
        """Open a session that says ERESTART every other time."""
        done = self.done
        refused = False

        def process(crp: Cryptop, hint: int) -> int:
            nonlocal refused
            refused = not refused
            if refused:
                return ERESTART
            done(crp)
            return 0

        return self.newlid(), process


def test_events_have_stable_names(caplog: pytest.LogCaptureFixture) -> None:
    """Attach, block, migrate and detach are logged; a block that repeats, once a second."""
    caplog.set_level("DEBUG", logger="opencrypto")
    moody = Moody("moody")
    with Framework(plugins=[moody]) as framework:
        sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        for _ in range(5):
            answered: list[Cryptop] = []
            framework.dispatch(Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=answered.append))
            moody.unblock(CRYPTO_SYMQ)
            deadline = time.monotonic() + 10
            while not answered and time.monotonic() < deadline:
                time.sleep(0.001)
        assert framework.sysctl["opencrypto.stats.blocks"] == 5
        framework.attach(Instant("other"))
        framework.detach("moody")
        framework.dispatch(Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None))
    events = [record.getMessage().split()[0] for record in caplog.records]
    wanted = ["driver_attached", "driver_blocked", "driver_detached", "session_migrated"]
    assert [events.count(f"event={name}") for name in wanted] == [2, 1, 2, 1]


def test_nothing_is_printed_unless_asked(tmp_path: Path) -> None:
    """A program that configures no logging sees nothing of ours on its output."""
    code = (
        "from opencrypto import *\n"
        "from tests.operators.load import Instant, Hardware\n"
        "with Framework(plugins=[Hardware('a'), Instant('b')]) as fw:\n"
        "    sid = fw.newsession(Cryptoini(CRYPTO_NULL_CBC))\n"
        "    fw.detach('a')\n"
        "    fw.dispatch(Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: 1 / 0))\n"
    )
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "consumers"))
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout + done.stderr == ""
