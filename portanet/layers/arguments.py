"""What layers ask of their arguments, and the sentences that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.shapes import show

LAYOUTS = {2: "2-D (N, features)", 3: "3-D (N, C, length)", 4: "4-D (N, C, H, W)"}


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """`value` as an int that is not below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def real_number(value: Any, name: str) -> float:
    """`value` as a finite float."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return float(value)


def per_axis(value: Any, rank: int, name: str, least: int = 1) -> tuple[int, ...]:
    """One whole number for each of `rank` axes, from one for all or a tuple."""
    if not isinstance(value, list | tuple):
        return (whole_number(value, name, least),) * rank
    if len(value) != rank:
        raise ValueError(f"{name} must be one number or {rank} of them, got {value!r}")
    return tuple(whole_number(entry, name, least) for entry in value)


def axes_of(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """Axes in rising order, none negative, from one axis or several."""
    given = value if isinstance(value, list | tuple) else [value]
    for axis in given:
        if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
            raise TypeError(f"{name} must be an axis or a tuple of axes, got {value!r}")
        if not -rank <= axis < rank:
            raise ValueError(f"{name} names axis {axis}, the input has axes 0 to {rank - 1}")
    axes = sorted({int(axis) % rank for axis in given})
    if len(axes) < len(given):
        raise ValueError(f"{name} names one axis twice: {value!r}")
    return tuple(axes)


def need_rank(shape: Sequence[int | None], rank: int) -> None:
    """Refuse an incoming shape that has not `rank` axes."""
    if len(shape) != rank:
        advice = "put a ReshapeLayer before it" if len(shape) < rank else "put a FlattenLayer or ReshapeLayer before it"
        raise ValueError(f"incoming must be {LAYOUTS[rank]}, got {written(shape)}; {advice}")


def need_known(shape: Sequence[int | None], axes: Sequence[int]) -> list[int]:
    """Sizes of those axes, which must not depend on the batch."""
    sizes = []
    for axis in axes:
        size = shape[axis]
        if size is None:
            raise ValueError(f"the size of axis {axis} must be known, got {written(shape)}")
        sizes.append(size)
    return sizes


def written(shape: Sequence[int | None]) -> str:
    """A shape as people write it, the batch as N."""
    return show(tuple("N" if size is None else size for size in shape))
