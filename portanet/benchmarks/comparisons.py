"""Every pair of contestants, measured in the same repeats: which is faster, and do they learn the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from .records import Contestant, Measurement, Point
from .runs import Run, fit_seconds, rate
from .statistics import Interval, agreement, crossover, difference, holm, ratio, repeatability

SURE = 0.05


@dataclass
class Comparison:
    """Two contestants at one point, the one with the shorter fit first.

    Attributes
    ----------
    first, second : str
        Keys of the contestants.
    point : dict
    time : Interval or None
        How many times as long the second's fit takes.
    rate : Interval or None
        How many times as many samples a second the first trains on when all is warm.
    time_p, rate_p, error_p : float
        Of "no difference", adjusted for the number of pairs in the run; 1 where it can't be told.
    error : Interval or None
        The second's error rate minus the first's.
    noise : float or None
        How far two runs of one contestant differ in 95 % of cases, since only the seed differs.
    errors : str
        "same" where the whole interval is smaller than the noise, "different" where zero is ruled out, or "undecided".
    agreement : float or None
        Share of the test rows for which both, from the same weights, predict the same class: the mean over the seeds.
    """

    first: str
    second: str
    point: Point
    time: Interval | None = None
    rate: Interval | None = None
    time_p: float = 1.0
    rate_p: float = 1.0
    error: Interval | None = None
    error_p: float = 1.0
    noise: float | None = None
    errors: str = "undecided"
    agreement: float | None = None

    @property
    def faster(self) -> bool:
        """Whether the first's fit is surely shorter."""
        return self.time is not None and self.time_p < SURE


@dataclass
class Crossing:
    """Where, along a sweep, one contestant comes to stay ahead of another.

    Attributes
    ----------
    before, after : str
        Keys of the one that trains faster below, and of the one that does from there on.
    axis : str
        As in ``"batch_size"``.
    at : float
        Between measured points by interpolation.
    """

    before: str
    after: str
    axis: str
    at: float


def compare(run: Run, contestants: Sequence[Contestant], point: Point) -> list[Comparison]:
    """All pairs at that point; see `adjust` for what else there is to do.

    Parameters
    ----------
    run : Run
    contestants : sequence of Contestant
        Those that may be compared.
    point : dict
    """
    good = {one.key: run.good(one.key, point) for one in contestants}
    noise = repeatability([_errors(runs) for runs in good.values()])
    pairs = [_pair(run, point, first, second, good) for first, second in combinations(good, 2)]
    for pair in pairs:
        pair.noise = noise
    return pairs


def adjust(pairs: Sequence[Comparison]) -> None:
    """Adjust the p-values for the number of pairs in the whole run, and tell from them which errors are the same."""
    for name in ("time", "rate", "error"):
        told = [pair for pair in pairs if getattr(pair, name) is not None]
        for pair, p in zip(told, holm([getattr(one, name).p for one in told]), strict=True):
            setattr(pair, f"{name}_p", p)
    for pair in pairs:
        pair.errors = _same(pair)


def seed_agreement(run: Run, contestant: Contestant, point: Point) -> float | None:
    """Share of test rows for which two seeds of one contestant predict the same class; None with a single seed."""
    found = [run.classes(one) for one in run.good(contestant.key, point)]
    pairs = [(a, b) for a, b in combinations(found, 2) if a is not None and b is not None]
    return fmean(agreement(a, b) for a, b in pairs) if pairs else None


def crossings(rates: dict[str, list[tuple[Point, float]]]) -> list[Crossing]:
    """Of every two curves of throughput along a sweep of one axis.

    Parameters
    ----------
    rates : dict of str to list of (point, float)
        Samples a second of each contestant.
    """
    curves: dict[str, dict[str, dict[int, float]]] = defaultdict(dict)
    for key, points in rates.items():
        for point, value in points:
            if len(point) == 1:
                [(axis, x)] = point.items()
                curves[axis].setdefault(key, {})[x] = value
    return [
        crossing
        for axis, lines in curves.items()
        for first, second in combinations(lines, 2)
        if (crossing := _crossing(axis, first, lines[first], second, lines[second])) is not None
    ]


def _crossing(axis: str, first: str, one: dict[int, float], second: str, other: dict[int, float]) -> Crossing | None:
    x = sorted(one.keys() & other.keys())
    at = crossover(x, [one[place] for place in x], [other[place] for place in x]) if len(x) > 1 else None
    if at is None:
        return None
    last = max(place for place in x if one[place] != other[place])
    winner, loser = (first, second) if one[last] > other[last] else (second, first)
    return Crossing(loser, winner, axis, at)


def _pair(run: Run, point: Point, first: str, second: str, good: dict[str, list[Measurement]]) -> Comparison:
    others = {other.repeat: other for other in good[second]}
    both = [(one, others[one.repeat]) for one in good[first] if one.repeat in others]
    pair = Comparison(first, second, point)
    if not both:
        return pair
    pair.time = ratio([fit_seconds(other) for _, other in both], [fit_seconds(one) for one, _ in both])
    if pair.time.value < 1:
        return _pair(run, point, second, first, good)
    pair.rate = ratio([rate(one) for one, _ in both], [rate(other) for _, other in both])
    seeded = [(one, other) for one, other in both if one.seed == other.seed]
    tested = [(one.test_error, other.test_error) for one, other in seeded]
    known = [(a, b) for a, b in tested if a is not None and b is not None]
    if known:
        pair.error = difference([b for _, b in known], [a for a, _ in known])
    classes = [(run.classes(one), run.classes(other)) for one, other in seeded]
    shared = [agreement(a, b) for a, b in classes if a is not None and b is not None]
    pair.agreement = fmean(shared) if shared else None
    return pair


def _same(pair: Comparison) -> str:
    if pair.error is None:
        return "undecided"
    if pair.error_p < SURE:
        return "different"
    within = pair.noise is not None and max(abs(pair.error.low), abs(pair.error.high)) <= pair.noise
    return "same" if within else "undecided"


def _errors(runs: list[Measurement]) -> list[float]:
    return [one.test_error for one in runs if one.test_error is not None]
