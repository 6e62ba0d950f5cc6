"""Layers that join several into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from .. import ops
from .arguments import axes_of, real_number, written
from .base import MergeLayer


class ConcatLayer(MergeLayer):
    """The incoming tensors side by side along one axis; their other axes must agree.

    Parameters
    ----------
    incomings : list of Layer or tuple
    axis : int
        1 joins channels or features.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import ConcatLayer
    >>> ConcatLayer([(None, 16, 8, 8), (None, 24, 8, 8)]).output_shape
    (None, 40, 8, 8)
    """

    def __init__(self, incomings, axis: int = 1, name: str | None = None):
        super().__init__(incomings, name)
        shapes = self.input_shapes
        need_one_rank(shapes)
        (self.axis,) = axes_of(axis, len(shapes[0]), "axis")
        rest = {shape[: self.axis] + shape[self.axis + 1 :] for shape in shapes}
        if len(rest) > 1:
            raise ValueError(f"incomings {listed(shapes)} differ on another axis than {self.axis}, "
                             "along which they are joined; make the other axes agree")  # fmt: skip

    def get_output_for(self, inputs, deterministic=False, **kwargs: Any) -> Any:  # type: ignore[override]
        return ops.concat(inputs, self.axis)


class ElemwiseMergeLayer(MergeLayer):
    """merge_function folded over the incoming tensors, place by place: f(f(a, b), c).

    Parameters
    ----------
    incomings : list of Layer or tuple
        Of one shape, or with axes of size 1 that are repeated to fit.
    merge_function : callable
        ``f(a, b)``: `ops.maximum`, `operator.mul`, or one of your own.
    name : str, optional

    Examples
    --------
    >>> from portanet import ops
    >>> from portanet.layers import ElemwiseMergeLayer
    >>> ElemwiseMergeLayer([(None, 16, 8, 8), (None, 16, 1, 1)], ops.maximum).output_shape
    (None, 16, 8, 8)
    """

    def __init__(self, incomings, merge_function: Callable[[Any, Any], Any], name: str | None = None):
        super().__init__(incomings, name)
        if not callable(merge_function):
            raise TypeError(f"merge_function must be a function f(a, b) such as ops.maximum, got {merge_function!r}")
        self.merge_function = merge_function
        need_one_rank(self.input_shapes)
        for axis, sizes in enumerate(zip(*self.input_shapes, strict=True)):
            if len(set(sizes) - {1}) > 1:
                raise ValueError(f"incomings {listed(self.input_shapes)} differ on axis {axis}; "
                                 "make their sizes equal, or 1")  # fmt: skip

    def get_output_for(self, inputs, deterministic=False, **kwargs: Any) -> Any:  # type: ignore[override]
        return reduce(self.merge_function, inputs)


class ElemwiseSumLayer(ElemwiseMergeLayer):
    """Σ coeffs[i] · input[i], place by place.

    Parameters
    ----------
    incomings : list of Layer or tuple
        Of one shape, or with axes of size 1 that are repeated to fit.
    coeffs : float or sequence of float
        One factor for all, or one for each.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import ElemwiseSumLayer
    >>> ElemwiseSumLayer([(None, 10), (None, 10)], coeffs=[1, -1]).output_shape
    (None, 10)
    """

    def __init__(self, incomings, coeffs: float | Sequence[float] = 1, name: str | None = None):
        super().__init__(incomings, _add, name)
        many = isinstance(coeffs, list | tuple)
        each = list(coeffs) if many else [coeffs] * len(self.incomings)  # type: ignore[arg-type]
        if len(each) != len(self.incomings):
            raise ValueError(f"coeffs must be one number or {len(self.incomings)} of them, got {coeffs!r}")
        self.coeffs = [real_number(value, "coeffs") for value in each]

    def get_output_for(self, inputs, deterministic=False, **kwargs: Any) -> Any:  # type: ignore[override]
        pairs = zip(inputs, self.coeffs, strict=True)
        weighted = [tensor if factor == 1.0 else tensor * factor for tensor, factor in pairs]
        return super().get_output_for(weighted, deterministic=deterministic, **kwargs)


def _add(a: Any, b: Any) -> Any:
    return a + b


def need_one_rank(shapes: Sequence[tuple]) -> None:
    """Refuse incoming shapes with different numbers of axes."""
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(f"incomings {listed(shapes)} differ in their number of axes; "
                         "put a ReshapeLayer or FlattenLayer before one")  # fmt: skip


def listed(shapes: Sequence[tuple]) -> str:
    """Shapes as people write them."""
    return " and ".join(written(shape) for shape in shapes)
