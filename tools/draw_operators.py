"""
Draw the pictures of docs/operators.md from the installed drivers at work: ``top`` as tmux has it on
its screen, and the panels of the dashboard from what a real Prometheus answers to their queries.

Usage: tools/draw_operators.py [FOLDER]   (needs tmux and prometheus; takes a minute)
"""

from __future__ import annotations

import html
import io
import json
import re
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
for part in (".", "drivers", "consumers"):
    sys.path.insert(0, str(ROOT / part))

from prometheus_client import start_http_server
from rich.console import Console
from rich.text import Text

from opencrypto import Framework
from tests.operators.real_load import RealLoad, at_work
from tests.operators.test_metrics import Server, registry
from tests.operators.test_top import Terminal

COLOURS = ("#3274d9", "#e0752d", "#3f9142", "#b877d9", "#c4162a", "#806eb7", "#148a8a")
WIDTH, HEIGHT, COLUMN = 1200, 170, 400
SECONDS = 40


def draw_top(folder: Path, width: int, height: int) -> None:
    """Draw top in a terminal of some size, under load, with timing on."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "it.sock"
        with at_work(path):
            python = f"{sys.executable} -c 'from opencrypto.cli import main; main()'"
            where = f"PYTHONPATH={ROOT}:{ROOT}/drivers:{ROOT}/consumers"
            terminal = Terminal(
                Path(scratch), width, height, f"{where} {python} top -w 1 --socket {path}"
            )
            try:
                terminal.wait_for("rate/s")
                terminal.keys("t")
                terminal.wait_for("timing: on")
                time.sleep(3)
                screen = terminal.screen(colours=True)
            finally:
                terminal("kill-server")
    console = Console(record=True, width=width, file=io.StringIO())
    for line in screen.split("\n")[:height]:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    text = console.export_svg(title="opencrypto top")
    # rich names fonts to fetch from elsewhere; any monospace one does, and nobody is asked.
    text = re.sub(r"@font-face\s*{[^}]*}|<!--.*?-->", "", text, flags=re.DOTALL)
    (folder / f"top-{width}x{height}.svg").write_text(text)


def ask(server: Server, expression: str, start: float, end: float) -> list[dict[str, Any]]:
    """Ask Prometheus for the course of an expression."""
    query = {"query": expression, "start": start, "end": end, "step": 0.5}
    url = f"http://127.0.0.1:{server.port}/api/v1/query_range?" + urllib.parse.urlencode(query)
    with urllib.request.urlopen(url, timeout=10) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def draw_dashboard(folder: Path) -> None:
    """Draw the dashboard's panels over real work, while a driver leaves and comes again."""
    board = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    with (
        tempfile.TemporaryDirectory() as scratch,
        Framework(plugins=["openssl", "swcrypto"], control=False) as framework,
    ):
        framework.sysctl["opencrypto.timing"] = 1
        http, thread = start_http_server(0, addr="127.0.0.1", registry=registry(framework))
        server = Server(Path(scratch), http.server_address[1])
        try:
            server.wait_for("up == 1")
            start = time.time()
            with RealLoad(framework):
                time.sleep(SECONDS / 2)
                framework.detach("openssl")
                time.sleep(SECONDS / 4)
                framework.attach(framework.offered("openssl"))
                time.sleep(SECONDS / 4)
            drawn = [
                _panel(panel, n, server, start, time.time())
                for n, panel in enumerate(board["panels"])
            ]
        finally:
            server.close()
            http.shutdown()
            http.server_close()
            thread.join()
    rows = -(-len(drawn) // 3)
    (folder / "dashboard.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{rows * HEIGHT}" '
        'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(drawn)
        + "</svg>\n"
    )


def _panel(panel: dict[str, Any], n: int, server: Server, start: float, end: float) -> str:
    lines: list[tuple[str, list[tuple[float, float]]]] = []
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", "3s")
        expression = expression.replace('instance=~"$instance"', 'instance=~".*"')
        for series in ask(server, expression, start, end):
            name = target["legendFormat"]
            for label, value in series["metric"].items():
                name = name.replace("{{" + label + "}}", value)
            points = [(float(at), float(y)) for at, y in series["values"] if y != "NaN"]
            if any(y for _, y in points):
                lines.append((name, points))
    x0, y0 = n % 3 * COLUMN, n // 3 * HEIGHT
    most = max((y for _, points in lines for _, y in points), default=1.0) or 1.0
    out = [
        f'<g transform="translate({x0 + 8},{y0 + 8})"><rect width="{COLUMN - 16}" '
        f'height="{HEIGHT - 16}" fill="#f7f8fa" stroke="#d0d4dc"/><text x="8" y="16" '
        f'font-weight="bold">{html.escape(panel["title"])}</text>'
        f'<text x="{COLUMN - 24}" y="16" text-anchor="end" fill="#777">max '
        f"{most:.3g} {panel['fieldConfig']['defaults']['unit']}</text>"
    ]
    for place, (name, points) in enumerate(lines[: len(COLOURS)]):
        path = " ".join(
            f"{8 + (at - start) / (end - start) * (COLUMN - 32):.1f},{118 - y / most * 92:.1f}"
            for at, y in points
        )
        colour = COLOURS[place]
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        out.append(
            f'<text x="{8 + place % 4 * 94}" y="{132 + place // 4 * 12}" fill="{colour}">'
            f"{html.escape(name[:18])}</text>"
        )
    return "".join(out) + "</g>"


def main() -> None:
    """Draw all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    draw_top(folder, 80, 24)
    draw_top(folder, 200, 50)
    draw_dashboard(folder)


if __name__ == "__main__":
    main()
