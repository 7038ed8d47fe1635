"""
``opencrypto speed``: how fast each driver is with each algorithm, by the size of the messages.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from opencrypto import CryptoError, DriverInfo, Framework, NoDriverError, UsageError
from opencrypto.cli import live, show
from opencrypto.cli.keyrates import WORDS, Operation, key_consumers
from opencrypto.cli.rates import Chain, Consumer, Rate, Way, chain_of, consumers, measure, size_name
from opencrypto.driver import KOPS
from opencrypto.xform import FACTS

SIZES: Final = ("16", "64", "256", "1024", "8192", "16384", "1M")
"""What is measured where nobody says: the sizes of ``openssl speed``, and a large one."""

ALGORITHMS: Final = (
    "aes-128-gcm",
    "chacha20-poly1305",
    "aes-128-cbc",
    "aes-128-cbc+hmac-sha2-256",
    "sha2-256",
)
"""Likewise, the algorithms."""

UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

INTERRUPTED: Final = 130


class Point(NamedTuple):
    """
    One thing to measure.

    Attributes:
        algorithm: What the table calls it.
        driver: Whose it is.
        size: The **bytes** of a message; 0 for an operation with keys.
        open: Makes the consumers.
    """

    algorithm: str
    driver: str
    size: int
    open: Callable[[], AbstractContextManager[list[Consumer]]]


@dataclass
class Findings:
    """What has been measured, and what could not be and why."""

    rates: list[tuple[Point, Rate]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    planned: int = 0
    interrupt: KeyboardInterrupt | None = None


def speed(
    algorithms: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ALGORITHM",
            help="Algorithms, chains of two joined by '+', and operations with keys: "
            f"{', '.join(WORDS)}. A few that many use, if none is named.",
        ),
    ] = None,
    drivers: Annotated[
        list[str] | None,
        typer.Option("--driver", "-D", help="Only this driver; may be given several times."),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size", "-s", metavar="BYTES", help="Of a message: 1400, 64k, 1M; several times."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", "-t", min=0.001, max=3600, help="For each point.")
    ] = 0.5,
    threads: Annotated[
        int, typer.Option(min=1, max=256, help="How many work at once, each with its session.")
    ] = 1,
    depth: Annotated[
        int, typer.Option(min=1, max=4096, help="How many requests each thread has in flight.")
    ] = 1,
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Decrypt, verify, decompress what was protected.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw it, too: rate by size, as .png, .svg or .pdf."),
    ] = None,
    as_json: live.Json = False,
    plain: show.Plain = False,
) -> None:
    """
    Measure the drivers: which is how fast with which algorithm, by the size of the messages.

    One consumer, or several threads, dispatch kept requests over and over, each driver for itself.
    A rate is of all that happens between the dispatch of a message and its callback, in millions
    of bytes (10**6) in a second. Ctrl-C ends it and shows what has been measured so far.
    """
    way = Way(seconds, threads, depth, decrypt)
    lengths = sorted({size_of(each) for each in sizes or SIZES})
    draw = _drawing(plot)
    works = [_work(word) for word in dict.fromkeys(algorithms or ALGORITHMS)]
    found = Findings()
    with Framework(control=False) as framework:
        _check_drivers(framework, drivers)
        points = list(_points(framework, works, drivers, lengths, way, found))
        found.planned = len(points)
        _announce(points, way)
        _measure(points, way, found)
    if as_json:
        show.as_json(_document(found, way))
    else:
        _show(found, plain=plain)
    for what, why in found.refused:
        show.warn(f"not measured: {what}: {why}")
    if draw is not None and any(point.size for point, _ in found.rates):
        draw([(p.algorithm, p.driver, p.size, _bytes(p, r)) for p, r in found.rates if p.size])
    _end(found)


def size_of(text: str) -> int:
    """
    Return the **bytes** of a size as people write it: 1400, 64k, 1M, 16KiB.

    Raises:
        UsageError: it is none, or 0.
    """
    found = re.fullmatch(r"(\d{1,12})\s*([kmg]?)(?:ib|b)?", text.strip().lower())
    size = int(found[1]) * UNITS[found[2]] if found else 0
    if size < 1:
        raise UsageError(f"{text!r} is no size; give bytes, as 1400, 64k or 1M")
    return size


def _drawing(file: Path | None) -> Callable[[Iterable[tuple[str, str, int, float]]], None] | None:
    """Return what draws into a file, or say beforehand why nothing can."""
    if file is None:
        return None
    from opencrypto.cli import speedplot  # with the library that draws, for those who want it

    return speedplot.drawing(file)


def _check_drivers(framework: Framework, wanted: Iterable[str] | None) -> None:
    infos = {info.name: info for info in framework.drivers}
    for name in wanted or ():
        if name not in infos or infos[name].hid is None:
            why = infos[name].reason if name in infos else "no installed plugin offers it"
            raise UsageError(f"driver {name} cannot be measured: {why}")


def _work(word: str) -> Chain | Operation:
    """Return what a word asks to be measured."""
    return WORDS[word]() if word in WORDS else chain_of(word)


def _points(
    framework: Framework,
    works: Iterable[Chain | Operation],
    wanted: Sequence[str] | None,
    sizes: Sequence[int],
    way: Way,
    found: Findings,
) -> Iterator[Point]:
    """Yield what there is to measure, algorithm by algorithm; note what no driver has."""
    infos = [info for info in framework.drivers if info.hid is not None]
    for work in works:
        having = [info for info in infos if _serves(info, work) and _meant(info, wanted)]
        if not having:
            whose = "none of these drivers has" if wanted else "no driver has"
            found.refused.append((work.name, f"{whose} it; see opencrypto drivers"))
        for info in having:
            yield from _points_of(framework, work, info.name, sizes, way)


def _points_of(
    framework: Framework, work: Chain | Operation, driver: str, sizes: Sequence[int], way: Way
) -> Iterator[Point]:
    if isinstance(work, Operation):
        yield Point(work.name, driver, 0, partial(key_consumers, framework, work, driver, way))
        return
    for size in sizes:
        yield Point(
            work.name, driver, size, partial(consumers, framework, work.inis, driver, size, way)
        )


def _serves(info: DriverInfo, work: Chain | Operation) -> bool:
    """Tell whether a driver has what is to be measured."""
    if isinstance(work, Operation):
        return KOPS[work.op].name in info.keyops
    return {FACTS[cri.alg].name for cri in work.inis} <= set(info.algorithms)


def _meant(info: DriverInfo, wanted: Sequence[str] | None) -> bool:
    """Tell whether a driver is to be measured; one that is used by name only must be named."""
    if wanted:
        return info.name in wanted
    return all(word != "only_if_named" for word, _ in info.facts)


def _announce(points: Sequence[Point], way: Way) -> None:
    """Tell whoever looks how long it will take."""
    if sys.stderr.isatty():
        show.warn(
            f"{len(points)} points of {way.seconds:g} s each, about "
            f"{len(points) * way.seconds:.0f} s; Ctrl-C shows what is there by then"
        )


def _measure(points: Iterable[Point], way: Way, found: Findings) -> None:
    """Measure one point after the other until an interrupt comes."""
    looked_at = sys.stderr.isatty()
    try:
        for point in points:
            what = f"{point.algorithm} on {point.driver}"
            what += f", {size_name(point.size)}" if point.size else ""
            try:
                with point.open() as them:
                    rate = measure(them, way.seconds)
            except CryptoError as error:
                found.refused.append((what, error.strerror or str(error)))
                continue
            found.rates.append((point, rate))
            if looked_at:
                show.warn(f"{what}: {rate.operations} in {rate.seconds:.2f} s")
    except KeyboardInterrupt as interrupt:
        found.interrupt = interrupt


def _bytes(point: Point, rate: Rate) -> float:
    return point.size * rate.per_second


def _document(found: Findings, way: Way) -> dict[str, Any]:
    rates = [
        {
            "algorithm": point.algorithm,
            "driver": point.driver,
            **({"size": point.size} if point.size else {}),
            "operations": rate.operations,
            "seconds": round(rate.seconds, 6),
            "operations_per_second": round(rate.per_second, 3),
            **({"bytes_per_second": round(_bytes(point, rate))} if point.size else {}),
        }
        for point, rate in found.rates
    ]
    return {
        **way._asdict(),
        "planned": found.planned,
        "interrupted": found.interrupt is not None,
        "rates": [each for each in rates if "size" in each],
        "key_rates": [each for each in rates if "size" not in each],
        "not_measured": [{"what": what, "reason": why} for what, why in found.refused],
    }


def _show(found: Findings, *, plain: bool) -> None:
    """Print a row for each algorithm of each driver, with the rates by size."""
    messages = [(point, rate) for point, rate in found.rates if point.size]
    sizes = sorted({point.size for point, _ in messages})
    rows: list[list[object]] = []
    for (algorithm, driver), several in groupby(messages, lambda each: each[0][:2]):
        by_size = {point.size: round(_bytes(point, rate) / 1e6, 3) for point, rate in several}
        rows.append([algorithm, driver, *(by_size.get(size, "-") for size in sizes)])
    if rows:
        show.table(("MB/s", "driver", *map(size_name, sizes)), rows, plain=plain)
    keys = [(point, rate) for point, rate in found.rates if not point.size]
    if rows and keys:
        show.say()
    if keys:
        show.table(
            ("keys", "driver", "operations/s", "ms"),
            [
                (p.algorithm, p.driver, round(r.per_second, 1), round(1e3 / r.per_second, 3))
                for p, r in keys
            ],
            plain=plain,
        )


def _end(found: Findings) -> None:
    """Say how it ended, if not as it was meant."""
    if found.interrupt is not None:
        if type(found.interrupt) is not KeyboardInterrupt:
            raise found.interrupt  # a signal that wants the process to end
        show.warn(f"interrupted: {len(found.rates)} of {found.planned} points were measured")
        raise typer.Exit(INTERRUPTED)
    if not found.rates:
        raise NoDriverError("nothing could be measured")
