"""Convolution over sequences and images, channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..init import Constant, GlorotUniform
from ..nonlinearities import as_nonlinearity, rectify
from .arguments import need_known, per_axis, whole_number
from .base import Layer
from .windows import resolve_pad, spatial_sizes, window_counts


class BaseConvLayer(Layer):
    """What convolutions of any rank share; a subclass sets `rank`, the number of spatial axes."""

    rank: int

    def __init__(self, incoming, num_filters: int, filter_size: int | Sequence[int],
                 stride: int | Sequence[int] = 1, pad: Any = 0, untie_biases: bool = False,
                 W: Any = GlorotUniform(), b: Any = Constant(0.0), nonlinearity: Any = rectify,
                 num_groups: int = 1, dilation: int | Sequence[int] = 1,
                 name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        spatial = spatial_sizes(self.input_shape, self.rank)
        self.num_filters = whole_number(num_filters, "num_filters")
        self.filter_size = per_axis(filter_size, self.rank, "filter_size")
        self.stride = per_axis(stride, self.rank, "stride")
        self.dilation = per_axis(dilation, self.rank, "dilation")
        self.pad = resolve_pad(pad, self.rank)
        self.untie_biases = bool(untie_biases)
        self.nonlinearity = as_nonlinearity(nonlinearity)
        self.num_groups = whole_number(num_groups, "num_groups")
        counts = window_counts("filter_size", spatial, self.filter_size, self.stride, self.pad, self.dilation)
        self.W = self.add_param(W, (self.num_filters, self._channels_a_group(), *self.filter_size), "W")
        places = (self.num_filters, *(counts if self.untie_biases else ()))
        self.b = None if b is None else self.add_param(b, places, "b", regularizable=False)

    def _channels_a_group(self) -> int:
        (channels,) = need_known(self.input_shape, [1])
        for name, size in (("the input's channels", channels), ("num_filters", self.num_filters)):
            if size % self.num_groups:
                raise ValueError(f"num_groups {self.num_groups} does not divide {name}, {size}; use a divisor of both")
        return channels // self.num_groups

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        tied = None if self.untie_biases else self.b
        conved = ops.conv(input, self.W, tied, stride=self.stride, pad=self.pad, dilation=self.dilation,
                          groups=self.num_groups)  # fmt: skip
        if self.untie_biases and self.b is not None:
            conved = conved + self.b
        return self.nonlinearity(conved)


class Conv1DLayer(BaseConvLayer):
    """Convolution over sequences, ``(N, C, length)`` to ``(N, num_filters, places)``.

    Parameters are those of `Conv2DLayer`, with one number where that takes two.

    Examples
    --------
    >>> from portanet.layers import Conv1DLayer
    >>> layer = Conv1DLayer((None, 50, 400), num_filters=64, filter_size=3, pad="same")
    >>> layer.output_shape, layer.W.shape
    ((None, 64, 400), (64, 50, 3))
    """

    rank = 1


class Conv2DLayer(BaseConvLayer):
    """Convolution over images, ``(N, C, H, W)`` to ``(N, num_filters, rows, columns)``.

    nonlinearity(b[o] + Σ W[o, c, u, v] x[n, c, i s + u d - pad, j s + v d - pad]) at place (i, j) of filter
    o, with stride s and dilation d. Filters are not flipped: this is cross-correlation. (Lasagne flips them
    unless told not to.)

    Parameters
    ----------
    incoming : Layer or tuple
    num_filters : int
    filter_size : int or (int, int)
        Height and width.
    stride : int or (int, int)
    pad : int, tuple, "valid", "same" or "full"
        Zeros around the input. "valid" is none; "same" gives ⌈size / stride⌉ places, an odd zero going after;
        "full" is ``filter_size - 1`` on each side. A tuple has for each axis a number or a pair ``(before,
        after)``.
    untie_biases : bool
        Whether each place has a bias of its own.
    W : Initializer, callable, number, array or Parameter
        Weights, ``(num_filters, C / num_groups, height, width)``.
    b : Initializer, callable, number, array, Parameter or None
        Biases, ``(num_filters,)``, or ``(num_filters, rows, columns)`` when untied; not regularised. None
        leaves them out.
    nonlinearity : callable or None
        From `portanet.nonlinearities`, or a function of one tensor; None is the identity.
    num_groups : int
        Channels and filters are split into so many groups that don't see each other.
    dilation : int or (int, int)
        Distance between the places a filter looks at.
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit; when the filter exceeds the padded input.

    Examples
    --------
    >>> from portanet.layers import Conv2DLayer
    >>> layer = Conv2DLayer((None, 1, 28, 28), num_filters=32, filter_size=5)
    >>> layer.output_shape, layer.W.shape, layer.b.shape
    ((None, 32, 24, 24), (32, 1, 5, 5), (32,))
    >>> Conv2DLayer(layer, num_filters=64, filter_size=(3, 4), stride=2, pad="same").output_shape
    (None, 64, 12, 12)
    """

    rank = 2
