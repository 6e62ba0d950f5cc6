"""Figures as a reader wants them: three digits that count, a unit, a dash where there is none."""

from __future__ import annotations

import math

from ..records import Point
from ..statistics import Interval, Spread

NONE = "\N{EN DASH}"


def seconds(value: float | None) -> str:
    """Three digits.

    >>> seconds(82.1367), seconds(0.01234), seconds(1234.5), seconds(None)
    ('82.1', '0.0123', '1,234', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    decimals = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(decimals, 0), 4)}f}"


def times(value: float | None) -> str:
    """
    >>> times(1.0), times(2.762), times(34.21)
    ('1.00x', '2.76x', '34.2x')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.2f}x" if value < 9.995 else f"{value:,.1f}x"


def percent(value: float | None, decimals: int = 0) -> str:
    """
    >>> percent(0.643), percent(0.00862, 2), percent(None)
    ('64', '0.86', '–')
    """
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:.{decimals}f}"


def error(value: Spread | None) -> str:
    """
    >>> from portanet.benchmarks.statistics import spread
    >>> error(spread([0.008, 0.009])), error(spread([0.008]))
    ('0.85 ± 0.07 %', '0.80 %')
    """
    if value is None:
        return NONE
    return f"{percent(value.mean, 2)} ± {percent(value.sd, 2)} %" if value.n > 1 else f"{percent(value.mean, 2)} %"


def count(value: float | None) -> str:
    """
    >>> count(7453.7)
    '7,454'
    """
    return NONE if value is None else f"{value:,.0f}"


def cores(value: float | None) -> str:
    """
    >>> cores(2.0), cores(1.65)
    ('2', '1.6')
    """
    return NONE if value is None else f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def size(value: float | None) -> str:
    """
    >>> size(420 * 2**20), size(9.4e9)
    ('420 MiB', '8.8 GiB')
    """
    if value is None:
        return NONE
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def between(interval: Interval | None, scale: float = 1, decimals: int = 2) -> str:
    """
    >>> between(Interval(1.1, 1.074, 1.12, 0.01, 5)), between(Interval(1.1, 0.0, float("inf"), 1.0, 1))
    ('1.07 to 1.12', '–')
    """
    if interval is None or math.isinf(interval.high):
        return NONE
    return f"{signed(scale * interval.low, decimals)} to {signed(scale * interval.high, decimals)}"


def signed(value: float, decimals: int = 2) -> str:
    """Without a sign at zero.

    >>> signed(-0.001), signed(-0.02)
    ('0.00', '-0.02')
    """
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def probability(value: float) -> str:
    """
    >>> probability(0.00001), probability(0.0312), probability(1.0)
    ('< 0.001', '0.031', '1')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}".rstrip("0").rstrip(".")


def place(point: Point) -> str:
    """A point of a sweep in words.

    >>> place({"batch_size": 32}), place({})
    ('batch size 32', '')
    """
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in point.items())


def plural(number: int, noun: str) -> str:
    """
    >>> plural(1, "pair"), plural(3, "pair")
    ('1 pair', '3 pairs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(words: list[str]) -> str:
    """
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
