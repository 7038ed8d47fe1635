"""What a gateway counts is on the tree, and in the metrics under names that their linter likes."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrypto import Framework
from opencrypto.sysctl import Node
from opencrypto_esp import Reason
from opencrypto_esp.gateway import Associations, Counts, Journal
from opencrypto_esp.gateway.counts import branch
from tests.consumers.esp.gateway.test_journal import IN, OUT, PACKET
from tests.support import require_module, require_tool

PREFIX = "esp.gateway."


@pytest.fixture
def framework(tmp_path: Path) -> Iterator[Framework]:
    """Return a framework with what a gateway hangs on its tree, after two packets."""
    journal = Journal(tmp_path / "state")
    with Framework() as made:
        links = Associations(made, [OUT, IN], journal, lambda: 0.0, test_keys=True)
        counts = Counts(too_big=3)
        made.sysctl.graft(lambda: branch(links, counts), PREFIX)
        assert [r.reason for r in links.protect([PACKET, PACKET, b""])][2] is Reason.NOT_IP
        yield made
        links.close()
    journal.close()


def test_they_are_on_the_tree(framework: Framework) -> None:
    tree = framework.sysctl
    assert tree[f"{PREFIX}protected.packets"] == 2
    assert tree[f"{PREFIX}protected.octets_in"] == 40
    assert tree[f"{PREFIX}too_big"] == 3
    assert tree[f"{PREFIX}sa.out.0x00001000.sequence"] == 2
    assert tree[f"{PREFIX}sa.in.0x00001001.packets"] == 0
    assert tree[f"{PREFIX}protected.dropped.not_ip"] == 1
    for node in tree.nodes(PREFIX).values():
        assert node.description
        assert isinstance(node.get(), str if node.type == "string" else int)


def test_they_are_in_the_metrics(framework: Framework) -> None:
    require_module("prometheus_client", "prometheus-client")
    from opencrypto.metrics import serving

    with (
        serving(framework, 0) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer,
    ):
        text = answer.read().decode()
    assert "opencrypto_esp_gateway_protected_packets_total 2.0" in text
    assert "opencrypto_esp_gateway_protected_octets_in_bytes_total 40.0" in text
    assert "opencrypto_esp_gateway_passing 0.0" in text
    tool = require_tool("promtool", "prometheus")
    done = subprocess.run(
        [tool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_they_are_offered_to_opentelemetry(framework: Framework) -> None:
    require_module("opentelemetry.sdk.metrics", "opentelemetry-sdk")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from opencrypto.telemetry import instrument

    framework.sysctl.graft(lambda: [Node("my.level", "a level", lambda: 7, kind="gauge")], "my.")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(framework, provider)
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: [point.value for point in metric.data.data_points]  # type: ignore[union-attr]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    assert found[f"{PREFIX}protected.packets"] == [2]
    assert found["my.level"] == [7]
