"""What repeated measurements say, and how surely.

Contestants are measured in turns, so the first repeat of one is paired with the first of another: what slows the
machine for a while slows both. Ratios of times are therefore taken within a repeat, and averaged as logarithms [1]_,
with Student's *t* for the interval [2]_: five repeats are too few for a bootstrap, whose intervals are then too
narrow. Differences of error rates are taken within a seed in the same way. Where many pairs are compared, Holm's step
down [3]_ keeps the chance of even one false "they differ" at 5 %. That two error rates are "the same within noise" is
claimed only where the whole interval of their difference is smaller than what a seed makes (an equivalence test [4]_,
the margin being the repeatability limit of ISO 5725 [5]_); too few repeats prove nothing and are called undecided.

.. [1] P. J. Fleming, J. J. Wallace, "How not to lie with statistics: the correct way to summarize benchmark results",
   Communications of the ACM 29 (3), 1986.
.. [2] T. Kalibera, R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013.
.. [3] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
.. [4] D. Lakens, "Equivalence tests: a practical primer", Social Psychological and Personality Science 8 (4), 2017.
.. [5] ISO 5725-6:1994, "Accuracy of measurement methods and results: use in practice of accuracy values".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
WIDE = 0.10
FAR_BELOW = 0.80


@dataclass(frozen=True)
class Spread:
    """Of repeated measurements of one thing.

    Attributes
    ----------
    n : int
    median, low, high : float
        Median and quartiles, interpolated linearly.
    minimum, maximum, mean : float
    sd : float
        With n - 1; NaN where there is but one.
    """

    n: int
    median: float
    low: float
    high: float
    minimum: float
    maximum: float
    mean: float
    sd: float

    @property
    def iqr(self) -> float:
        """Between the quartiles lies the middle half."""
        return self.high - self.low

    @property
    def unstable(self) -> str:
        """Why another run may well show another figure; "" where nothing speaks for it.

        Quartiles further apart than a tenth of the median, or a minimum below four fifths of it: then something
        other than the contestant decided how long most repeats took.
        """
        if self.n < 2 or self.median <= 0:
            return ""
        if self.iqr > WIDE * self.median:
            return f"the middle half of {self.n} repeats spans {self.iqr / self.median:.0%} of their median"
        if self.minimum < FAR_BELOW * self.median:
            return f"the fastest of {self.n} repeats took {self.minimum / self.median:.0%} of the median"
        return ""


@dataclass(frozen=True)
class Interval:
    """An estimate, with the interval that holds the truth in 95 % of such experiments.

    Attributes
    ----------
    value, low, high : float
        `low` and `high` are infinite where there are too few pairs to tell.
    p : float
        Of the hypothesis that there is no difference (two-sided); 1 where there are too few pairs.
    n : int
        Pairs.
    """

    value: float
    low: float
    high: float
    p: float
    n: int

    def holds(self, value: float) -> bool:
        """Whether that value is within the interval."""
        return self.low <= value <= self.high


def spread(values: Sequence[float]) -> Spread | None:
    """Median, quartiles, minimum, mean and standard deviation; None of nothing.

    Parameters
    ----------
    values : sequence of float

    Examples
    --------
    >>> seen = spread([2.0, 1.0, 4.0, 3.0, 5.0])
    >>> seen.median, seen.low, seen.high, seen.minimum, round(seen.sd, 3)
    (3.0, 2.0, 4.0, 1.0, 1.581)
    >>> seen.unstable
    'the middle half of 5 repeats spans 67% of their median'
    """
    array = np.asarray(values, dtype=float)
    if not array.size:
        return None
    low, median, high = np.quantile(array, [0.25, 0.5, 0.75])
    sd = float(array.std(ddof=1)) if array.size > 1 else math.nan
    return Spread(array.size, float(median), float(low), float(high), float(array.min()), float(array.max()),
                  float(array.mean()), sd)  # fmt: skip


def ratio(numerator: Sequence[float], denominator: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Geometric mean of the ratios within each pair, and its confidence interval by Student's t on logarithms.

    Parameters
    ----------
    numerator, denominator : sequence of float
        Positive, of equal length: the i-th of each were measured in the same repeat.
    confidence : float

    Raises
    ------
    ValueError
        Where lengths differ, there is nothing, or a figure is not positive.

    Examples
    --------
    >>> slower = ratio([2.0, 2.2, 2.1], [1.0, 1.0, 1.0])
    >>> round(slower.value, 3), round(slower.low, 2), round(slower.high, 2)
    (2.098, 1.86, 2.36)
    """
    above, below = _paired(numerator, denominator)
    if min(above.min(), below.min()) <= 0:
        raise ValueError("a ratio is of positive figures; got one that is zero or below")
    logs = _mean(np.log(above) - np.log(below), confidence)
    return Interval(math.exp(logs.value), math.exp(logs.low), _exp(logs.high), logs.p, logs.n)


def difference(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean of `first` minus `second` within each pair, and its confidence interval by Student's t.

    Parameters
    ----------
    first, second : sequence of float
        The i-th of each were trained with the same seed.
    confidence : float

    Raises
    ------
    ValueError
        Where lengths differ or there is nothing.

    Examples
    --------
    >>> further = difference([0.011, 0.010, 0.012], [0.010, 0.010, 0.010])
    >>> round(further.value, 4), further.holds(0)
    (0.001, True)
    """
    left, right = _paired(first, second)
    return _mean(left - right, confidence)


def again(values: Sequence[float], runs: int | None = None, confidence: float = CONFIDENCE) -> Interval:
    """Where the geometric mean of another run of the same thing falls: a prediction interval on logarithms.

    Wider than the confidence interval, since the other run is as uncertain as this one. It knows nothing of what
    changes between the days: another machine, another load, another version.

    Parameters
    ----------
    values : sequence of float
        Positive.
    runs : int or None
        Repeats of the other run; None: as many as here.
    confidence : float

    Examples
    --------
    >>> expected = again([10.0, 10.2, 9.9, 10.1, 10.0])
    >>> round(expected.low, 2), round(expected.high, 2)
    (9.84, 10.24)
    """
    array = np.log(np.asarray(values, dtype=float))
    n, middle = array.size, float(array.mean())
    if n < 2:
        return Interval(math.exp(middle), 0.0, math.inf, 1.0, n)
    half = _quantile(n - 1, confidence) * float(array.std(ddof=1)) * math.sqrt(1 / n + 1 / (runs or n))
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half), 1.0, n)


def agreement(first: ArrayLike, second: ArrayLike) -> float:
    """Share of rows for which two contestants predict the same class.

    Parameters
    ----------
    first, second : array of int, shape (rows,)

    Raises
    ------
    ValueError
        Where the shapes differ, or there are no rows.

    Examples
    --------
    >>> agreement([1, 2, 3, 4], [1, 2, 3, 0])
    0.75
    """
    left, right = np.asarray(first), np.asarray(second)
    if left.shape != right.shape or not left.size:
        raise ValueError(f"classes predicted for the same rows are needed; got shapes {left.shape} and {right.shape}")
    return float(np.mean(left == right))


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down procedure, in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, worst = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        worst = max(worst, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = worst
    return adjusted


def repeatability(groups: Sequence[Sequence[float]]) -> float | None:
    """How far two runs of one contestant differ in 95 % of cases: 1.96 √2 times the pooled standard deviation.

    Parameters
    ----------
    groups : sequence of sequences of float
        The repeats of each contestant.

    Returns
    -------
    float or None
        None where no group has two members.

    Examples
    --------
    >>> round(repeatability([[1.0, 3.0], [5.0, 5.0]]), 3)
    2.772
    """
    usable = [np.asarray(group, dtype=float) for group in groups if len(group) > 1]
    if not usable:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in usable)
    return 1.96 * math.sqrt(2 * squares / sum(len(group) - 1 for group in usable))


def crossover(x: Sequence[float], first: Sequence[float], second: Sequence[float]) -> float | None:
    """From which x on the other curve stays ahead: the last crossing, by straight lines between logarithms.

    Parameters
    ----------
    x, first, second : sequence of float
        Positive, `x` rising.

    Returns
    -------
    float or None
        None where one curve is ahead, or level, throughout.

    Examples
    --------
    >>> round(crossover([1, 100], [10.0, 10.0], [1.0, 100.0]), 6)
    10.0
    >>> crossover([1, 100], [10.0, 10.0], [1.0, 9.0]) is None
    True
    """
    places = np.log(np.asarray(x, dtype=float))
    lead = np.log(np.asarray(first, dtype=float)) - np.log(np.asarray(second, dtype=float))
    decided = np.flatnonzero(lead)
    turns = [(a, b) for a, b in pairwise(decided) if lead[a] * lead[b] < 0]
    if not turns:
        return None
    a, b = turns[-1]
    at = places[a] + (places[b] - places[a]) * lead[a] / (lead[a] - lead[b])
    return math.exp(at)


def _paired(first: Sequence[float], second: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if left.shape != right.shape or left.ndim != 1 or not left.size:
        raise ValueError(f"pairs of repeats are needed; got {left.size} and {right.size} figures")
    return left, right


def _mean(values: np.ndarray, confidence: float) -> Interval:
    n, middle = values.size, float(values.mean())
    if n < 2:
        return Interval(middle, -math.inf, math.inf, 1.0, n)
    error = float(values.std(ddof=1)) / math.sqrt(n)
    half = _quantile(n - 1, confidence) * error
    return Interval(middle, middle - half, middle + half, _p(middle, error, n), n)


def _p(middle: float, error: float, n: int) -> float:
    if error == 0:
        return 1.0 if middle == 0 else 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(middle) / error))


def _quantile(degrees: int, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def _exp(value: float) -> float:
    return math.inf if math.isinf(value) else math.exp(value)
