"""Pooling over windows, and over all there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..exceptions import did_you_mean
from .arguments import per_axis, written
from .base import Layer
from .windows import resolve_pad, spatial_sizes, window_counts

MODES = ("max", "average_inc_pad", "average_exc_pad")


class BasePoolLayer(Layer):
    """What pooling of any rank shares; a subclass sets `rank`, the number of spatial axes."""

    rank: int

    def __init__(self, incoming, pool_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
                 pad: Any = 0, ignore_border: bool = True, mode: str = "max",
                 name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        spatial = spatial_sizes(self.input_shape, self.rank)
        self.pool_size = per_axis(pool_size, self.rank, "pool_size")
        self.stride = self.pool_size if stride is None else per_axis(stride, self.rank, "stride")
        self.pad = resolve_pad(pad, self.rank)
        self.ignore_border = bool(ignore_border)
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}{did_you_mean(mode, MODES)}; allowed: {', '.join(MODES)}")
        self.mode = mode
        window_counts("pool_size", spatial, self.pool_size, self.stride, self.pad, (1,) * self.rank)
        self._check_pads()

    def _check_pads(self) -> None:
        pairs = () if isinstance(self.pad, str) else self.pad
        for pair, size in zip(pairs, self.pool_size, strict=False):
            if max(pair) >= size:
                raise ValueError(f"pad {max(pair)} must be smaller than pool_size {size}, lest a window hold nothing")

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        if self.mode == "max":
            return ops.max_pool(input, self.pool_size, self.stride, self.pad, self.ignore_border)
        return ops.average_pool(input, self.pool_size, self.stride, self.pad, self.ignore_border,
                                count_include_pad=self.mode == "average_inc_pad")  # fmt: skip


class Pool1DLayer(BasePoolLayer):
    """Pooling over sequences, ``(N, C, length)`` to ``(N, C, places)``.

    Parameters are those of `Pool2DLayer`, with one number where that takes two.

    Examples
    --------
    >>> from portanet.layers import Pool1DLayer
    >>> Pool1DLayer((None, 8, 100), pool_size=3, stride=2, mode="average_exc_pad").output_shape
    (None, 8, 49)
    """

    rank = 1


class Pool2DLayer(BasePoolLayer):
    """Pooling over images, ``(N, C, H, W)`` to ``(N, C, rows, columns)``.

    Parameters
    ----------
    incoming : Layer or tuple
    pool_size : int or (int, int)
        Height and width of the window.
    stride : int, (int, int) or None
        Step between windows; None takes `pool_size`.
    pad : int, tuple, "valid" or "same"
        Places around the input, less than `pool_size`; a tuple has for each axis a number or a pair
        ``(before, after)``.
    ignore_border : bool
        Whether a window that reaches past the (padded) input is left out, or pools what it can see.
    mode : {"max", "average_inc_pad", "average_exc_pad"}
        Padding counts as minus infinity in a maximum; an average counts it as zeros, or not at all.
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit; when the window exceeds the padded input.

    Examples
    --------
    >>> from portanet.layers import Pool2DLayer
    >>> Pool2DLayer((None, 8, 7, 7), pool_size=2, mode="average_exc_pad").output_shape
    (None, 8, 3, 3)
    >>> Pool2DLayer((None, 8, 7, 7), pool_size=2, ignore_border=False).output_shape
    (None, 8, 4, 4)
    """

    rank = 2


class MaxPool1DLayer(Pool1DLayer):
    """Largest value in each window of a sequence, ``(N, C, length)`` to ``(N, C, places)``.

    Parameters are those of `Pool2DLayer` without `mode`, with one number where that takes two.

    Examples
    --------
    >>> from portanet.layers import MaxPool1DLayer
    >>> MaxPool1DLayer((None, 8, 100), pool_size=4).output_shape
    (None, 8, 25)
    """

    def __init__(self, incoming, pool_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
                 pad: Any = 0, ignore_border: bool = True, name: str | None = None):  # fmt: skip
        super().__init__(incoming, pool_size, stride, pad, ignore_border, "max", name)


class MaxPool2DLayer(Pool2DLayer):
    """Largest value in each window of an image, ``(N, C, H, W)`` to ``(N, C, rows, columns)``.

    Parameters are those of `Pool2DLayer` without `mode`.

    Examples
    --------
    >>> from portanet.layers import MaxPool2DLayer
    >>> MaxPool2DLayer((None, 32, 24, 24), pool_size=(2, 2)).output_shape
    (None, 32, 12, 12)
    """

    def __init__(self, incoming, pool_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
                 pad: Any = 0, ignore_border: bool = True, name: str | None = None):  # fmt: skip
        super().__init__(incoming, pool_size, stride, pad, ignore_border, "max", name)


class GlobalPoolLayer(Layer):
    """One number for each channel, ``(N, C, ...)`` to ``(N, C)``.

    Parameters
    ----------
    incoming : Layer or tuple
    pool_function : callable
        ``f(x, axis=axes)`` that folds those axes away: `ops.mean`, `ops.max`, or one of your own.
    name : str, optional

    Examples
    --------
    >>> from portanet import ops
    >>> from portanet.layers import GlobalPoolLayer
    >>> GlobalPoolLayer((None, 64, 7, 7), pool_function=ops.max).output_shape
    (None, 64)
    """

    def __init__(self, incoming, pool_function: Callable[..., Any] = ops.mean, name: str | None = None):
        super().__init__(incoming, name)
        if not callable(pool_function):
            raise TypeError(f"pool_function must be a function f(x, axis=...) such as ops.mean, got {pool_function!r}")
        if len(self.input_shape) < 3:
            raise ValueError(f"incoming must have axes after (N, C) to pool over, got {written(self.input_shape)}")
        self.pool_function = pool_function

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return self.pool_function(input, axis=tuple(range(2, input.ndim)))
