"""Single steps as layers: a nonlinearity, a bias, a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..init import Constant
from ..nonlinearities import as_nonlinearity, rectify
from .arguments import axes_of, need_known
from .base import Layer, Parameter


class NonlinearityLayer(Layer):
    """nonlinearity(x).

    Parameters
    ----------
    incoming : Layer or tuple
    nonlinearity : callable or None
        From `portanet.nonlinearities`, or a function of one tensor; None is the identity.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import NonlinearityLayer
    >>> from portanet.nonlinearities import tanh
    >>> NonlinearityLayer((None, 10), tanh).output_shape
    (None, 10)
    """

    def __init__(self, incoming, nonlinearity: Any = rectify, name: str | None = None):
        super().__init__(incoming, name)
        self.nonlinearity = as_nonlinearity(nonlinearity)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return self.nonlinearity(input)


class BiasLayer(Layer):
    """x + b.

    Parameters
    ----------
    incoming : Layer or tuple
    b : Initializer, callable, number, array, Parameter or None
        Biases, one for each place on the axes not shared; not regularised. None adds nothing.
    shared_axes : "auto" or tuple of int
        Axes along which one bias serves all; "auto" is all but axis 1.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import BiasLayer
    >>> BiasLayer((None, 3, 28, 28)).b.shape, BiasLayer((None, 3, 28, 28), shared_axes=0).b.shape
    ((3,), (3, 28, 28))
    """

    def __init__(self, incoming, b: Any = Constant(0.0), shared_axes: str | int | Sequence[int] = "auto",
                 name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        self.shared_axes = resolve_shared_axes(shared_axes, len(self.input_shape), "shared_axes")
        shape = unshared_shape(self.input_shape, self.shared_axes)
        self.b = None if b is None else self.add_param(b, shape, "b", regularizable=False)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return input if self.b is None else input + along(self.b, self.shared_axes, len(self.input_shape))


class ScaleLayer(Layer):
    """x · scales.

    Parameters
    ----------
    incoming : Layer or tuple
    scales : Initializer, callable, number, array or Parameter
        Factors, one for each place on the axes not shared; not regularised.
    shared_axes : "auto" or tuple of int
        Axes along which one factor serves all; "auto" is all but axis 1.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import ScaleLayer
    >>> ScaleLayer((None, 3, 28, 28)).scales.shape
    (3,)
    """

    def __init__(self, incoming, scales: Any = Constant(1.0), shared_axes: str | int | Sequence[int] = "auto",
                 name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        self.shared_axes = resolve_shared_axes(shared_axes, len(self.input_shape), "shared_axes")
        shape = unshared_shape(self.input_shape, self.shared_axes)
        self.scales = self.add_param(scales, shape, "scales", regularizable=False)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return input * along(self.scales, self.shared_axes, len(self.input_shape))


def resolve_shared_axes(given: Any, rank: int, name: str) -> tuple[int, ...]:
    """Axes along which one parameter serves all places, the batch always among them."""
    if isinstance(given, str):
        if given != "auto":
            raise ValueError(f"{name} must be 'auto', an axis or a tuple of axes, got {given!r}")
        return (0, *range(2, rank))
    axes = axes_of(given, rank, name)
    if 0 not in axes:
        raise ValueError(f"{name} must hold 0, the batch, whose size is not fixed; got {given!r}")
    return axes


def unshared_shape(shape: Sequence[int | None], shared_axes: Sequence[int]) -> list[int]:
    """Shape of a parameter that is spread over `shared_axes`."""
    return need_known(shape, [axis for axis in range(len(shape)) if axis not in shared_axes])


def along(parameter: Parameter, shared_axes: Sequence[int], rank: int) -> Any:
    """The parameter with axes of size 1 put in, so that it broadcasts over `shared_axes`."""
    first = next((axis for axis in range(rank) if axis not in shared_axes), rank)
    inserted = [axis - first for axis in shared_axes if axis > first]
    return ops.expand_dims(parameter, inserted) if inserted else parameter
