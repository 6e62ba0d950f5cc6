"""The drawings of a report, as SVG that takes its colours from the page around it.

Text stays text, in the page's font. Lines and letters are drawn in the page's own colour; contestants in the custom
properties ``--numpy``, ``--torch`` ... of the page, which has a set of them for light and one for dark. A contestant's
colour is its engine's; its marker is its own, so that none depends on colour alone. Hollow markers stand for a GPU,
broken lines for other libraries than portanet.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..history import Past
from ..statistics import Spread
from ..summary import Curve, Row, Summary
from . import numbers
from .answers import PARTS, between_devices, name, tool

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID, PAPER = "#010203", "#030201", "#fdfefd"
COLOURS = {
    "numpy": "#5b5b5b", "torch": "#d55e00", "jax": "#aa3377", "tensorflow": "#b88600", "theano": "#0072b2",
    "mxnet": "#228833", "cntk": "#3d9bcb",
}  # fmt: skip
PART_COLOURS = {
    "kernels": "#0073b2", "waiting": "#b8b8b8", "compile": "#b88601", "python": "#d55f00", "transfer": "#229933",
    "input": "#aa3378",
}  # fmt: skip
MARKERS = "os^DvPX*<>hpd8"
WIDTH, LANE = 4.7, 0.38
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "portanet",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
}


def times(summary: Summary) -> str:
    """Seconds of the whole fit, a lane for each row."""
    return _spreads(summary, lambda row: row.time, "seconds", 1, True)


def errors(summary: Summary) -> str:
    """Error rates in percent, a lane for each row."""
    return _spreads(summary, lambda row: row.error, "test error, %", 100, False)


def shares(rows: Sequence[Row], parts: Sequence[str]) -> str:
    """Seconds of the fit by what they go into, a bar for each row."""

    def draw(ax: Axes) -> None:
        longest = max(row.time.median for row in rows if row.time)
        for lane, row in enumerate(rows):
            start, whole = 0.0, row.time.median if row.time else 0.0
            for part in parts:
                seconds = row.share.get(part, 0.0) * whole
                ax.barh(-lane, seconds, 0.42, start, color=PART_COLOURS[part], edgecolor=PAPER, linewidth=0.8,
                        label=PARTS[part] if lane == 0 else None)  # fmt: skip
                start += seconds
            ax.annotate(f"{whole:.3g} s", (start, -lane), (4, 0), textcoords="offset points", va="center", fontsize=8.8)
        ax.set_xlim(0, longest * 1.16)
        _lanes(ax, [name(row) for row in rows])
        ax.set_xlabel("seconds")
        _key(ax, 2)

    return _drawn("shares", _height(len(rows)) + 0.2 * -(-len(parts) // 2), draw)


def throughput(summary: Summary, axis: str) -> str:
    """Steady samples a second along an axis, rings where devices cross; "" with fewer than two points."""
    rows = [row for row in summary.ranked if row.rate and list(row.point) == [axis]]
    if len({row.point[axis] for row in rows}) < 2:
        return ""
    looks = _looks(summary)

    def draw(ax: Axes) -> None:
        for key, look in looks.items():
            line = sorted((row.point[axis], row.rate.median) for row in rows if row.key == key and row.rate)
            if line:
                ax.plot(*zip(*line, strict=True), label=tool(summary, key), **look)
        ax.set(xscale="log", yscale="log", xlabel=axis.replace("_", " "), ylabel="samples a second")
        points = sorted({row.point[axis] for row in rows})
        ax.set_xticks(points, [f"{point}" for point in points])
        ax.minorticks_off()
        for crossing in between_devices(summary):
            at = _height_at(rows, crossing.after, axis, crossing.at)
            if crossing.axis == axis and at is not None:
                ax.plot([crossing.at], [at], "o", ms=11, mfc="none", mec=INK, mew=0.9)
        _figures(ax.yaxis)
        _key(ax, 2)

    return _drawn(f"throughput-{axis}", 3.2 + 0.2 * -(-len(looks) // 2), draw)


def learning(summary: Summary, curves: Sequence[Curve], value: str, axis: str) -> str:
    """Training loss or test error of all contestants, by epoch or by second."""
    from matplotlib.ticker import MaxNLocator

    looks = _looks(summary)

    def draw(ax: Axes) -> None:
        for at, curve in enumerate(curves):
            values = [one if one is None or value == "train_loss" else 100 * one for one in getattr(curve, value)]
            x = curve.seconds if axis == "second" else range(1, len(values) + 1)
            known = [(place, one) for place, one in zip(x, values, strict=True) if one is not None]
            ax.plot(
                *zip(*known, strict=True),
                label=tool(summary, curve.contestant),
                markevery=(at % 3, 3) if len(known) > 6 else 1,
                alpha=0.85,
                **looks[curve.contestant],
            )
        target = summary.header.target_error
        if value == "test_error" and target is not None:
            ax.axhline(100 * target, color=INK, lw=0.8, ls=":")
            ax.annotate(
                "target",
                (1, 100 * target),
                (0, 2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                fontsize=8.8,
            )
        ax.set(yscale="log", xlabel="epoch" if axis == "epoch" else "seconds of the fit", ylabel=_named(value))
        if axis == "epoch":
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _figures(ax.yaxis)
        _key(ax, 2)

    return _drawn(f"{value}-{axis}", 2.7 + 0.2 * -(-len(curves) // 2), draw)


def history(entries: Sequence[Past], value: str) -> str:
    """Throughput or error run by run, on one machine; "" where nothing is known of two runs."""
    known = [entry for entry in entries if getattr(entry, value) is not None]
    folders = {entry.folder: f"{entry.commit[:7] or entry.folder}\n{entry.created[:10]}" for entry in known}
    if len(folders) < 2:
        return ""
    places = {folder: at for at, folder in enumerate(folders)}
    lines: dict[tuple[str, str], list[Past]] = {}
    for entry in known:
        label = ", ".join(filter(None, [entry.tool, numbers.place(entry.point)]))
        lines.setdefault((entry.contestant, label), []).append(entry)

    def draw(ax: Axes) -> None:
        for at, ((key, label), line) in enumerate(lines.items()):
            scale = 100 if value == "error" else 1
            ax.plot(
                [places[entry.folder] for entry in line],
                [scale * getattr(entry, value) for entry in line],
                label=label,
                color=_colour(key),
                marker=MARKERS[at % len(MARKERS)],
                mec=_colour(key),
            )
        ax.set_xticks(range(len(folders)), folders.values(), fontsize=8)
        ax.set(xlim=(-0.4, len(folders) - 0.6), ylabel="samples a second" if value == "rate" else _named("test_error"))
        ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
        _figures(ax.yaxis)
        _key(ax, 2)

    return _drawn(f"history-{value}", 2.9 + 0.2 * -(-len(lines) // 2), draw)


def _spreads(summary: Summary, figure: Callable[[Row], Spread | None], label: str, scale: float, fit: bool) -> str:
    rows = [row for row in summary.ranked if figure(row)]
    looks = _looks(summary)

    def draw(ax: Axes) -> None:
        for lane, row in enumerate(rows):
            seen, look = figure(row), looks[row.key]
            assert seen is not None
            ax.plot([scale * seen.minimum, scale * seen.maximum], [-lane, -lane], color=look["color"], lw=1)
            if fit:
                ax.plot([scale * seen.low, scale * seen.high], [-lane, -lane], color=look["color"], lw=4.5, alpha=0.45)
            ax.plot([scale * (seen.median if fit else seen.mean)], [-lane], **{**look, "ls": ""})
        _lanes(ax, [name(row) for row in rows])
        ax.set_xlabel(label)
        ax.set_xlim(0, 1.06 * scale * max(seen.maximum for seen in map(figure, rows) if seen))

    return _drawn("times" if fit else "errors", _height(len(rows)), draw)


def _looks(summary: Summary) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of each contestant."""
    looks = {}
    for at, one in enumerate(summary.header.contestants):
        colour = COLOURS.get(one.engine, INK)
        looks[one.key] = {
            "color": colour,
            "marker": MARKERS[at % len(MARKERS)],
            "mec": colour,
            "mfc": colour if one.device == "cpu" else PAPER,
            "ls": "-" if one.kind == "portanet" else "--",
        }
    return looks


def _colour(key: str) -> str:
    return next((colour for engine, colour in COLOURS.items() if engine in key), INK)


def _named(value: str) -> str:
    return "training loss" if value == "train_loss" else "test error, %"


def _height(lanes: int) -> float:
    return LANE * lanes + 0.55


def _height_at(rows: Sequence[Row], key: str, axis: str, x: float) -> float | None:
    """Of a contestant's curve, on the logarithmic axes it is drawn on."""
    import numpy as np

    line = sorted((row.point[axis], row.rate.median) for row in rows if row.key == key and row.rate)
    places, values = np.log(np.array(line, dtype=float).T)
    return float(np.exp(np.interp(np.log(x), places, values))) if line else None


def _lanes(ax: Axes, labels: Sequence[str]) -> None:
    """Each label above its lane, where a narrow screen has room for it."""
    ax.set_ylim(-len(labels) + 0.55, 0.8)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    for lane, label in enumerate(labels):
        ax.annotate(label, (0, -lane + 0.27), xycoords=("axes fraction", "data"), va="bottom", fontsize=8.8)


def _figures(axis: Any) -> None:
    """Plain numbers at the ticks, also of a logarithmic axis that spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        axis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 100 * low else (1,)))
        axis.set_minor_locator(LogLocator(10, ()))


def _key(ax: Axes, columns: int) -> None:
    figure = ax.figure
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="outside lower left",
        ncols=columns,
        fontsize=8.8,
        handlelength=2.2,
        columnspacing=1.2,
        labelspacing=0.35,
        borderaxespad=0.2,
    )


def _drawn(prefix: str, height: float, draw: Callable[[Axes], None]) -> str:
    """A figure's SVG, its names made unlike those of the other figures of a page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _of_page(text.getvalue(), prefix)


def _of_page(svg: str, prefix: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', svg, count=1, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", svg)
    svg = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--font)", svg)
    named = {INK: "currentColor", GRID: "var(--grid)", PAPER: "var(--paper)"}
    named |= {colour: f"var(--{part})" for colours in (COLOURS, PART_COLOURS) for part, colour in colours.items()}
    return re.sub(r"#[0-9a-f]{6}", lambda found: named.get(found[0], found[0]), svg)
