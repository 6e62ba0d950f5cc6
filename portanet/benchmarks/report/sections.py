"""What a report says, in order, whatever it is written in."""

from __future__ import annotations

from ..history import History, Past
from ..statistics import Spread
from ..summary import Row, Summary
from . import answers, conditions, numbers, plots, table
from .answers import PARTS, name, tool
from .blocks import Figure, Section, Table
from .numbers import NONE


def sections(summary: Summary, history: History) -> list[Section]:
    """All that the report says below its verdict.

    Parameters
    ----------
    summary : Summary
    history : History
        Of runs beside this one.
    """
    found = [
        _ranking(summary),
        Section("Questions and answers", answers.answers(summary)),
        _where(summary),
        _sweep(summary),
        _learning(summary),
        _taken(summary),
        _pairs(summary),
        _past(history),
        conditions.published(summary),
        conditions.measured(summary),
    ]
    return [section for section in found if not section.empty]


def _ranking(summary: Summary) -> Section:
    section = Section(f"{summary.header.model}, tool by tool")
    best = {at for at, row in enumerate(summary.rows) if row.vs_best == 1}
    faint = {at for at, row in enumerate(summary.rows) if not row.ok}
    cells = [table.cells(row) for row in summary.rows]
    section.lead = Table(f"{table.conditions(summary)}.", table.COLUMNS, cells, best=best, faint=faint)
    if found := table.missing(summary):
        section.tables.append(Table("Without figures, or with fewer of them.", ("Tool", "Why"), list(found), {1}))
    if found := table.unstable(summary):
        section.tables.append(
            Table("(!) Unstable: another run may well show another time.", ("Tool", "Why"), list(found), {1})
        )
    if not summary.sweep and len(summary.ranked) > 1:
        section.figures += [
            Figure(
                "times",
                "Seconds of the whole fit. Dot: median; bar: the middle half; line: fastest to slowest repeat.",
                _told("Seconds of the whole fit", summary, lambda row: row.time, "s"),
                plots.times(summary),
            ),
            *(
                [
                    Figure(
                        "errors",
                        "Test error rate after the last epoch. Dot: mean; line: lowest to highest seed.",
                        _told("Test error rate in percent", summary, lambda row: row.error, "%", 100),
                        plots.errors(summary),
                    )
                ]
                if any(row.error for row in summary.ranked)
                else []
            ),
        ]
    return section


def _told(what: str, summary: Summary, figure, unit: str, scale: float = 1) -> str:
    each = [
        f"{name(row)} {numbers.seconds(scale * figure(row).median)} {unit}" for row in summary.ranked if figure(row)
    ]
    return f"{what}, median: {'; '.join(each)}."


def _where(summary: Summary) -> Section:
    section = Section("Where the time goes")
    points = summary.header.points
    rows = [row for row in summary.ranked if row.share and row.time and row.point in (points[0], points[-1])]
    if not rows:
        return section
    parts = [part for part in PARTS if any(row.share.get(part) for row in rows)]
    section.figures.append(
        Figure(
            "shares",
            "Seconds of the fit, by what they go into.",
            "; ".join(
                f"{name(row)}: "
                + ", ".join(f"{PARTS[part]} {numbers.percent(row.share.get(part, 0))} %" for part in parts)
                for row in rows
            ),
            plots.shares(rows, parts),
        )
    )
    section.tables.append(
        Table(
            "Share of the fit in percent. Waiting: with less than one core busy, so for a device or another process.",
            ("Tool", *(PARTS[part].capitalize() if part != "python" else PARTS[part] for part in parts)),
            [(name(row), *(numbers.percent(row.share.get(part, 0.0), 1) for part in parts)) for row in rows],
        )
    )
    first = min(rows, key=lambda row: row.time.median if row.time else 0.0)
    for row in rows:
        why = answers.explained(row, first)
        if row.point == first.point and row is not first and why and row.time and first.time:
            more = numbers.seconds(row.time.median - first.time.median)
            section.paragraphs.append(f"{name(row)} takes {more} s more than {name(first)}: {why}.")
    return section


def _sweep(summary: Summary) -> Section:
    axes = sorted({axis for point in summary.header.points for axis in point}) if summary.sweep else []
    section = Section("Throughput by " + numbers.listed([axis.replace("_", " ") for axis in axes]))
    for axis in axes:
        found = [crossing for crossing in summary.crossings if crossing.axis == axis]
        words = axis.replace("_", " ")
        svg = plots.throughput(summary, axis)
        if svg:
            alt = "; ".join(
                f"{tool(summary, one.after)} passes {tool(summary, one.before)} at {numbers.count(one.at)}"
                for one in found
            )
            section.figures.append(Figure(
                f"throughput-{axis}", f"Steady samples a second by {words}, both axes logarithmic. Rings: where a "
                "device comes to stay ahead of another.", alt or "No two curves cross.", svg,
            ))  # fmt: skip
        section.paragraphs += [] if found else [f"No two contestants' curves cross along {words}."]
        rows = [(tool(summary, one.after), tool(summary, one.before), numbers.count(one.at)) for one in found]
        if rows:
            head = ("Tool", "is ahead of", f"from {words}")
            section.tables.append(
                Table("Crossovers, between measured points by interpolation on logarithmic axes.", head, rows, {1})
            )
    return section


def _learning(summary: Summary) -> Section:
    section = Section("Learning curves")
    point = summary.header.points[-1]
    curves = [curve for curve in summary.curves if curve.point == point]
    if not curves:
        return section
    at = f" at {numbers.place(point)}" if point else ""
    section.paragraphs.append(
        f"Medians over the repeats{at}. Where engines do the same work, the curves by epoch lie on one another."
    )
    for value, words in (("train_loss", "Training loss"), ("test_error", "Test error in percent")):
        known = [curve for curve in curves if any(one is not None for one in getattr(curve, value))]
        for axis in ("epoch", "second") if known else ():
            ends = "; ".join(f"{tool(summary, curve.contestant)} {_end(getattr(curve, value)[-1])}" for curve in known)
            section.figures.append(
                Figure(
                    f"{value}-{axis}",
                    f"{words} by {axis}.",
                    f"{words} after the last epoch: {ends}.",
                    plots.learning(summary, known, value, axis),
                )
            )
    return section


def _end(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _taken(summary: Summary) -> Section:
    section = Section("Times and resources")
    rows = summary.ranked
    if not rows:
        return section
    target = summary.header.target_error
    to_target = (f"To {numbers.percent(target, 1)} % error",) if target is not None else ()
    section.tables.append(
        Table(
            "Seconds of the whole fit; n counts the repeats. Again: where the mean of another run of as many repeats "
            "is expected to lie in 95 % of cases, on this machine as it was.",
            ("Tool", "Median", "Quartiles", "Fastest", "n", "Again", *to_target),
            [_fit(row, bool(to_target)) for row in rows],
        )
    )
    section.tables.append(
        Table(
            "Seconds by step, medians over the repeats. Imports are no part of a fit; epoch: after the first.",
            ("Tool", "Import", "Make", "Compile", "First epoch", "Epoch", "Samples/s"),
            [
                (
                    name(row),
                    *map(_median, (row.imports, row.build, row.compile, row.first_epoch, row.epoch)),
                    numbers.count(row.rate.median if row.rate else None),
                )
                for row in rows
            ],
        )
    )
    section.tables.append(
        Table(
            "Resources, medians over the repeats, from first to last epoch, the tests between them included. "
            "Others' cores: kept busy by other processes in the worst repeat. Peak: share of "
            "this machine's own matrix product"
            + (f", {numbers.count(peak)} GFLOP/s." if (peak := summary.header.machine.get("peak_gflops")) else "."),
            (
                "Tool",
                "Busy cores",
                "Others' cores",
                "Memory",
                "GFLOP/s",
                "Peak (%)",
                "Moved (GB/s)",
                *(_CARD if any(row.gpu is not None for row in rows) else ()),
            ),
            [_resources(row, any(one.gpu is not None for one in rows)) for row in rows],
        )
    )
    return section


_CARD = ("GPU (%)", "GPU memory", "GPU energy (J)")


def _fit(row: Row, target: bool) -> list[str]:
    whole = row.time
    if whole is None:
        return [name(row), *[NONE] * (5 + target)]
    expected = (
        f"{numbers.seconds(row.again.low)} to {numbers.seconds(row.again.high)}" if row.again and whole.n > 1 else NONE
    )
    quartiles = f"{numbers.seconds(whole.low)} to {numbers.seconds(whole.high)}"
    cells = [name(row), _median(whole), quartiles, numbers.seconds(whole.minimum), str(whole.n), expected]
    some = f" ({row.reached} of {whole.n})" if row.reached < whole.n else ""
    return [*cells, _median(row.target) + some if row.target else "not reached"] if target else cells


def _median(spread: Spread | None) -> str:
    return numbers.seconds(spread.median if spread else None)


def _resources(row: Row, card: bool) -> list[str]:
    busy = NONE if row.busy is None else f"{row.busy:.2f}"
    moved = numbers.seconds(row.bandwidth / 1e9 if row.bandwidth is not None else None)
    others = NONE if row.others is None else f"{max(row.others, 0.0):.2f}"
    cells = [
        name(row),
        busy,
        others,
        numbers.size(row.memory),
        numbers.seconds(row.gflops),
        numbers.percent(row.peak_share),
        moved,
    ]
    return (
        [*cells, numbers.percent(row.gpu), numbers.size(row.gpu_memory), numbers.count(row.energy)] if card else cells
    )


def _pairs(summary: Summary) -> Section:
    section = Section("Every pair")
    rows = []
    for pair in summary.comparisons:
        first = ", ".join(filter(None, [tool(summary, pair.first), numbers.place(pair.point)]))
        speed = (
            [f"{pair.time.value:.2f}", numbers.between(pair.time), numbers.probability(pair.time_p)]
            if pair.time
            else [NONE] * 3
        )
        error = (
            [numbers.signed(100 * pair.error.value), numbers.between(pair.error, 100), pair.errors]
            if pair.error
            else [NONE] * 3
        )
        rows.append([first, tool(summary, pair.second), *speed, *error, numbers.percent(pair.agreement, 2)])
    if rows:
        head = (
            "Faster",
            "Slower",
            "Times as long",
            "95 % interval",
            "p",
            "Error, points",
            "95 % interval",
            "Errors",
            "Agreement (%)",
        )
        section.tables.append(
            Table(
                "How many times as long the slower one's fit takes, its error rate minus the faster one's, and for "
                "what share of the test rows both predict the same class.",
                head,
                rows,
                {1, 7},
            )
        )
    return section


def _past(history: History) -> Section:
    section = Section("Across commits")
    section.paragraphs += [f"Not read, {reason}" for reason in history.unread]
    if not history.entries:
        return section
    here = [entry for entry in history.entries if entry.here]
    if len({entry.folder for entry in here}) > 1:
        for value, words in (("rate", "Steady samples a second"), ("error", "Test error rate in percent")):
            last = "; ".join(f"{entry.tool} {_past_value(entry, value)} at {entry.commit[:7]}" for entry in here)
            svg = plots.history(here, value)
            section.figures += (
                [Figure(f"history-{value}", f"{words}, run by run, on this machine.", last, svg)] if svg else []
            )
    elsewhere = sorted({entry.machine for entry in history.entries if not entry.here})
    if elsewhere:
        section.paragraphs.append(
            f"In the table only, since other machines are not comparable: {'; '.join(elsewhere)}."
        )
    rows = [_past_row(entry) for entry in sorted(history.entries, key=lambda entry: (entry.tool, str(entry.point)))]
    caption = "Runs of this net on these data whose folders lie beside this one."
    head = ("Tool", "Date", "Commit", "Time (s)", "Samples/s", "Error (%)", "Machine")
    section.tables.append(Table(caption, head, rows, {1, 2, 6}))
    return section


def _past_row(entry: Past) -> list[str]:
    who = ", ".join(filter(None, [entry.tool, numbers.place(entry.point)]))
    figures = [numbers.seconds(entry.seconds), numbers.count(entry.rate), numbers.percent(entry.error, 2)]
    return [who, entry.created[:10], entry.commit[:7] or NONE, *figures, entry.machine]


def _past_value(entry: Past, value: str) -> str:
    return numbers.count(entry.rate) if value == "rate" else f"{numbers.percent(entry.error, 2)} %"
