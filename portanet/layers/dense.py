"""Fully connected layers."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..init import Constant, GlorotUniform
from ..nonlinearities import as_nonlinearity, rectify
from .arguments import need_known, whole_number, written
from .base import Layer


class DenseLayer(Layer):
    """nonlinearity(x W + b), every unit seeing every input.

    ``(N, a, b, ...)`` becomes ``(N, num_units)``: the axes after the batch are joined first.

    Parameters
    ----------
    incoming : Layer or tuple
    num_units : int
    W : Initializer, callable, number, array or Parameter
        Weights, ``(inputs, num_units)``.
    b : Initializer, callable, number, array, Parameter or None
        Biases, ``(num_units,)``; not regularised. None leaves them out.
    nonlinearity : callable or None
        From `portanet.nonlinearities`, or a function of one tensor; None is the identity.
    num_leading_axes : int
        How many axes are kept as they are; the others are joined. A negative number counts those joined: -1
        acts on the last axis only, at each time step of ``(N, T, features)``, say.
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit, or `num_leading_axes` leaves no axis to act on.

    Examples
    --------
    >>> from portanet.layers import DenseLayer
    >>> layer = DenseLayer((None, 1, 28, 28), num_units=100)
    >>> layer.output_shape, layer.W.shape
    ((None, 100), (784, 100))
    >>> DenseLayer((None, 20, 8), num_units=3, num_leading_axes=-1).output_shape
    (None, 20, 3)
    """

    def __init__(self, incoming, num_units: int, W: Any = GlorotUniform(), b: Any = Constant(0.0),
                 nonlinearity: Any = rectify, num_leading_axes: int = 1,
                 name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        self.num_units = whole_number(num_units, "num_units")
        self.nonlinearity = as_nonlinearity(nonlinearity)
        self.num_leading_axes = self._leading(num_leading_axes)
        joined = need_known(self.input_shape, range(self.num_leading_axes, len(self.input_shape)))
        self.W = self.add_param(W, (math.prod(joined), self.num_units), "W")
        self.b = None if b is None else self.add_param(b, (self.num_units,), "b", regularizable=False)

    def _leading(self, given: int) -> int:
        rank = len(self.input_shape)
        if rank < 2:
            raise ValueError(f"incoming must have features after the batch, got {written(self.input_shape)}")
        count = whole_number(given, "num_leading_axes", least=1 - rank)
        if count == 0 or count >= rank:
            raise ValueError(f"num_leading_axes must be 1 to {rank - 1}, or -1 to {1 - rank}, for an input "
                             f"{written(self.input_shape)}; got {given}")  # fmt: skip
        return count % rank

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        activation = ops.matmul(ops.flatten(input, self.num_leading_axes + 1), self.W)
        return self.nonlinearity(activation if self.b is None else activation + self.b)
