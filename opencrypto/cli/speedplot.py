"""
What ``opencrypto speed`` draws: rate by size on logarithmic scales, a line for each driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from opencrypto import UsageError, files
from opencrypto.cli.rates import size_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS: Final = ("png", "svg", "pdf")

ACROSS: Final = 3
"""How many pictures stand side by side."""

Measured: TypeAlias = tuple[str, str, int, float]
"""An algorithm, a driver, the bytes of a message, and the bytes in a second."""


def drawing(file: Path) -> Callable[[Iterable[Measured]], None]:
    """
    Return what draws into a file.

    Raises:
        UsageError: matplotlib is not installed, or the file's name ends in none of `KINDS`.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise UsageError(f"{file} tells no kind of picture; name it .png, .svg or .pdf")
    try:
        import matplotlib.figure  # noqa: F401 - whether it is there
    except ImportError:
        raise UsageError(
            "drawing needs matplotlib, which is not installed; pip install 'opencrypto[plot]'"
        ) from None
    if not file.parent.is_dir():
        raise UsageError(f"{file.parent} is no folder; make it first, or name another file")
    return lambda measured: draw(measured, file, kind)


def draw(measured: Iterable[Measured], file: Path, kind: str) -> None:
    """Draw a picture for each algorithm, with a line for each driver, into one file."""
    from matplotlib.figure import Figure

    lines: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for algorithm, driver, size, rate in measured:
        lines.setdefault(algorithm, {}).setdefault(driver, []).append((size, rate / 1e6))
    drivers = list(dict.fromkeys(driver for each in lines.values() for driver in each))
    sizes = sorted({size for each in lines.values() for line in each.values() for size, _ in line})
    across = min(ACROSS, len(lines))
    down = -(-len(lines) // across)
    figure = Figure(figsize=(5 * across, 3.8 * down), layout="constrained")
    pictures = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for place, axes in enumerate(pictures.flat):
        if place >= len(lines):
            axes.set_axis_off()
            continue
        algorithm = list(lines)[place]
        picture(axes, algorithm, lines[algorithm], drivers)
        axes.set_xticks(sizes, [*map(size_name, sizes)], rotation=45)
        axes.minorticks_off()
        axes.tick_params(labelbottom=True, labelleft=True)
    with files.writing(file) as out:
        figure.savefig(out, format=kind, dpi=120)


def picture(
    axes: Axes, algorithm: str, lines: dict[str, list[tuple[int, float]]], drivers: list[str]
) -> None:
    """Draw what one algorithm's drivers do."""
    for driver, points in lines.items():
        sizes, rates = zip(*sorted(points), strict=True)
        colour = f"C{drivers.index(driver) % 10}"  # one driver's in all of them
        axes.plot(sizes, rates, marker="o", color=colour, label=driver)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(algorithm)
    axes.set_xlabel("bytes of a message")
    axes.set_ylabel("MB/s")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
