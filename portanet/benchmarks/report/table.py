"""The table of benchm-dl, and what to know with it, for the terminal."""

from __future__ import annotations

import textwrap

from ..summary import Row, Summary
from . import answers, numbers
from .answers import name
from .numbers import NONE

COLUMNS = ("Tool", "Time (s)", "vs Best", "vs TF", "GPU (%)", "CPUs", "CPU1 (%)", "Error rate")
UNSTABLE = " (!)"
WIDTH = 100


def cells(row: Row) -> list[str]:
    """Of one row, column by column; the status stands for the time where there is none."""
    if not row.ok or row.time is None:
        return [name(row), row.status, *[NONE] * (len(COLUMNS) - 2)]
    return [
        name(row), numbers.seconds(row.time.median) + (UNSTABLE if row.unstable else ""), numbers.times(row.vs_best),
        numbers.times(row.vs_reference), numbers.percent(row.gpu), numbers.cores(row.cpus), numbers.percent(row.cpu1),
        numbers.error(row.error),
    ]  # fmt: skip


def missing(summary: Summary) -> list[tuple[str, str]]:
    """Name and reason of each row that has no figures, or lacks some repeats."""
    return [
        (name(row), f"{row.status}: {row.reason}" if not row.ok else row.reason) for row in summary.rows if row.reason
    ]


def unstable(summary: Summary) -> list[tuple[str, str]]:
    """Name and reason of each row whose time may well be another in another run."""
    return [(name(row), row.unstable) for row in summary.ranked if row.unstable]


def text(summary: Summary) -> str:
    """The table, the reasons of what is missing in it, and what the statistics say, as lines for a terminal.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    str
    """
    header = summary.header
    lines = [f"{header.model}: {header.title}", *_wrapped(conditions(summary)), "", *_lined_up(summary)]
    for title, found in (("Without figures, or with fewer:", missing(summary)), ("(!) Unstable:", unstable(summary))):
        if found:
            lines += ["", title]
            for tool, reason in found:
                lines += _wrapped(f"{tool}: {reason}", "  ")
    for answer in answers.answers(summary):
        lines += ["", answer.question, *_wrapped(answer.text, "  ")]
    return "\n".join(lines)


def conditions(summary: Summary) -> str:
    header = summary.header
    real = "" if header.data.get("real") else " (a seeded stand-in, not the real data)"
    rows = numbers.count(header.data.get("rows"))
    return (
        f"{header.data.get('name')}{real}, {rows} rows, {numbers.plural(header.epochs, 'epoch')}, "
        f"{numbers.plural(header.threads, 'thread')}; medians of {numbers.plural(header.repeats, 'repeat')}, "
        "each in a fresh process, taken in turns"
    )


def _lined_up(summary: Summary) -> list[str]:
    rows = [list(COLUMNS), *map(cells, summary.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        " | ".join(
            cell.ljust(wide) if at == 0 else cell.rjust(wide)
            for at, (cell, wide) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [lines[0], "-+-".join("-" * wide for wide in widths), *lines[1:]]


def _wrapped(sentence: str, indent: str = "") -> list[str]:
    further = indent + "  " if indent else ""
    return textwrap.wrap(sentence, WIDTH, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False)
