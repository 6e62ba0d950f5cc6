"""Learning rates, and any other hyper-parameter, that change while training.

Wherever `NeuralNet` takes a hyper-parameter of the update rule, a schedule may stand, as may any ``f(step,
epoch)``:

>>> from portanet.schedules import Warmup, CosineDecay
>>> net_parameters = {
...     "update_learning_rate": Warmup(CosineDecay(0.1, epochs=30), steps=500),
...     "update_momentum": lambda step, epoch: 0.9 if epoch < 20 else 0.99,
... }

`step` counts the updates taken so far, `epoch` the passes over the data completed; both are 0 at first.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .exceptions import did_you_mean

__all__ = [
    "CosineDecay", "ExponentialDecay", "InverseTimeDecay", "Linear", "PiecewiseConstant", "Schedule",
    "StepDecay", "Warmup", "value_of", "values_for",
]  # fmt: skip

UNITS = ("epoch", "step")


class Schedule:
    """What all schedules are. One of one's own overrides `value`, and should be equal by value.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from portanet.schedules import Schedule, value_of
    >>> @dataclass(frozen=True)
    ... class Zigzag(Schedule):
    ...     low: float
    ...     high: float
    ...     def value(self, step, epoch):
    ...         return self.high if epoch % 2 else self.low
    >>> value_of(Zigzag(0.01, 0.1), step=0, epoch=3)
    0.1
    """

    def value(self, step: int, epoch: int) -> float:
        """The value for the update that comes after `step` others, in epoch number `epoch`, both from 0."""
        raise NotImplementedError(f"{type(self).__name__} must define value(self, step, epoch)")


Spec = float | Schedule | Callable[[int, int], float]


@dataclass(frozen=True)
class InverseTimeDecay(Schedule):
    """start / (1 + rate · step), the `decay` of Keras's first optimisers.

    >>> InverseTimeDecay(0.05, 1e-5).value(step=100_000, epoch=0)
    0.025
    """

    start: float
    rate: float

    def __post_init__(self) -> None:
        _need_numbers(self, "start", "rate")

    def value(self, step: int, epoch: int) -> float:
        return self.start / (1.0 + self.rate * step)


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """start · rate^(n / every), n counting epochs or, with ``unit="step"``, steps.

    >>> ExponentialDecay(0.3, 0.9).value(step=0, epoch=1)
    0.27
    """

    start: float
    rate: float
    every: int = 1
    unit: str = "epoch"

    def __post_init__(self) -> None:
        _need_numbers(self, "start", "rate")
        _need_counts(self, "every")
        _need_unit(self)

    def value(self, step: int, epoch: int) -> float:
        return self.start * self.rate ** (_count(self.unit, step, epoch) / self.every)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """start · factor^⌊n / every⌋, n counting epochs or, with ``unit="step"``, steps.

    >>> [StepDecay(0.5, 0.5, every=10).value(0, epoch) for epoch in (9, 10, 20)]
    [0.5, 0.25, 0.125]
    """

    start: float
    factor: float
    every: int
    unit: str = "epoch"

    def __post_init__(self) -> None:
        _need_numbers(self, "start", "factor")
        _need_counts(self, "every")
        _need_unit(self)

    def value(self, step: int, epoch: int) -> float:
        return self.start * self.factor ** (_count(self.unit, step, epoch) // self.every)


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """end + (start - end) (1 + cos(π n / epochs)) / 2 in epoch n, and `end` from epoch number `epochs` on.

    With `epochs` the number trained, the last one still takes a step: `end` would be reached in the next.

    >>> [round(CosineDecay(0.1, epochs=4).value(0, epoch), 3) for epoch in range(5)]
    [0.1, 0.085, 0.05, 0.015, 0.0]

    References
    ----------
    I. Loshchilov and F. Hutter (2017), SGDR: stochastic gradient descent with warm restarts, ICLR.
    """

    start: float
    epochs: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _need_numbers(self, "start", "end")
        _need_counts(self, "epochs")

    def value(self, step: int, epoch: int) -> float:
        if epoch >= self.epochs:
            return self.end
        return self.end + (self.start - self.end) * (1.0 + math.cos(math.pi * epoch / self.epochs)) / 2.0


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` in the first epoch to `stop` in epoch number `epochs` in equal strides; `stop` afterwards.

    The place of nolearn's AdjustVariable: with `epochs` the number trained, the last one runs at `stop`.

    >>> [Linear(1.0, 0.0, epochs=5).value(0, epoch) for epoch in (0, 1, 4, 9)]
    [1.0, 0.75, 0.0, 0.0]
    """

    start: float
    stop: float
    epochs: int

    def __post_init__(self) -> None:
        _need_numbers(self, "start", "stop")
        _need_counts(self, "epochs")

    def value(self, step: int, epoch: int) -> float:
        last = self.epochs - 1
        if epoch >= last:
            return self.start if epoch < 1 else self.stop
        return self.start + (self.stop - self.start) * epoch / last


@dataclass(frozen=True)
class PiecewiseConstant(Schedule):
    """values[i] after i of the boundaries are reached; counts epochs or, with ``unit="step"``, steps.

    >>> schedule = PiecewiseConstant(boundaries=[30, 60], values=[0.1, 0.01, 0.001])
    >>> [schedule.value(0, epoch) for epoch in (29, 30, 60)]
    [0.1, 0.01, 0.001]
    """

    boundaries: Sequence[int]
    values: Sequence[float]
    unit: str = "epoch"

    def __post_init__(self) -> None:
        for name in ("boundaries", "values"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(f"PiecewiseConstant: boundaries must rise, got {list(self.boundaries)}")
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"PiecewiseConstant: {len(self.boundaries)} boundaries part "
                f"{len(self.boundaries) + 1} values, got {len(self.values)}"
            )
        _need_unit(self)

    def value(self, step: int, epoch: int) -> float:
        return self.values[bisect_right(self.boundaries, _count(self.unit, step, epoch))]


@dataclass(frozen=True)
class Warmup(Schedule):
    """Another schedule, times (step + 1) / steps for the first so many steps.

    `schedule` may be a number, too.

    >>> [Warmup(0.1, steps=4).value(step, 0) for step in (0, 1, 3, 4)]
    [0.025, 0.05, 0.1, 0.1]

    References
    ----------
    P. Goyal et al. (2017), Accurate, large minibatch SGD, arXiv:1706.02677, section 2.2.
    """

    schedule: Spec
    steps: int

    def __post_init__(self) -> None:
        _need_counts(self, "steps")

    def value(self, step: int, epoch: int) -> float:
        return value_of(self.schedule, step, epoch) * min(1.0, (step + 1) / self.steps)


def value_of(spec: Any, step: int, epoch: int) -> float:
    """What a hyper-parameter is at one update.

    Parameters
    ----------
    spec : float, Schedule or callable
        A callable is called as ``f(step, epoch)``.
    step, epoch : int
        Updates taken and epochs completed so far.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        When `spec` is none of these, or does not give a number.
    ValueError
        When the number is not finite.

    Examples
    --------
    >>> from portanet.schedules import value_of
    >>> value_of(0.1, 0, 0), value_of(lambda step, epoch: 0.1 / (1 + epoch), 500, 1)
    (0.1, 0.05)
    """
    if isinstance(spec, Schedule):
        found = spec.value(step, epoch)
    elif callable(spec):
        found = spec(step, epoch)
    else:
        found = spec
    if not isinstance(found, Real) or isinstance(found, bool):
        if found is spec:
            raise TypeError(f"a hyper-parameter must be a number, a schedule or f(step, epoch), got {spec!r}")
        raise TypeError(f"schedule {spec!r} must give a number, gave {found!r} at step {step}, epoch {epoch}")
    if not math.isfinite(found):
        raise ValueError(f"hyper-parameter {spec!r} must be finite, is {found} at step {step}, epoch {epoch}")
    return float(found)


def values_for(spec: Any, first_step: int, count: int, epoch: int) -> list[float]:
    """What a hyper-parameter is at each of `count` updates within one epoch.

    Parameters
    ----------
    spec : float, Schedule or callable
    first_step : int
        Updates taken before the first of these.
    count, epoch : int

    Returns
    -------
    list of float

    Examples
    --------
    >>> from portanet.schedules import InverseTimeDecay, values_for
    >>> values_for(InverseTimeDecay(1.0, 1.0), first_step=0, count=3, epoch=0)
    [1.0, 0.5, 0.3333333333333333]
    """
    if not isinstance(spec, Schedule) and not callable(spec):
        return [value_of(spec, first_step, epoch)] * count
    return [value_of(spec, step, epoch) for step in range(first_step, first_step + count)]


def _count(unit: str, step: int, epoch: int) -> int:
    return epoch if unit == "epoch" else step


def _need_numbers(schedule: Schedule, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{type(schedule).__name__}: {name} must be a finite number, got {value!r}")


def _need_counts(schedule: Schedule, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{type(schedule).__name__}: {name} must be a whole number from 1 on, got {value!r}")


def _need_unit(schedule: Any) -> None:
    if schedule.unit not in UNITS:
        raise ValueError(
            f"{type(schedule).__name__}: unknown unit {schedule.unit!r}{did_you_mean(schedule.unit, UNITS)}; "
            f"allowed: {', '.join(UNITS)}"
        )
