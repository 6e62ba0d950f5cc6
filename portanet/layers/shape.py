"""Layers that rearrange, and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from .arguments import real_number, whole_number, written
from .base import Layer


class FlattenLayer(Layer):
    """Joins the trailing axes, so that `outdim` axes remain.

    Parameters
    ----------
    incoming : Layer or tuple
    outdim : int
        At least 2: the batch stays.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import FlattenLayer
    >>> FlattenLayer((None, 3, 4, 5)).output_shape, FlattenLayer((None, 3, 4, 5), outdim=3).output_shape
    ((None, 60), (None, 3, 20))
    """

    def __init__(self, incoming, outdim: int = 2, name: str | None = None):
        super().__init__(incoming, name)
        self.outdim = whole_number(outdim, "outdim", least=2)
        if self.outdim > len(self.input_shape):
            raise ValueError(f"outdim {outdim} exceeds the {len(self.input_shape)} axes of the input "
                             f"{written(self.input_shape)}; use a smaller one")  # fmt: skip

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return ops.flatten(input, self.outdim)


class ReshapeLayer(Layer):
    """The same values in another shape.

    Parameters
    ----------
    incoming : Layer or tuple
    shape : tuple
        For each axis a size, ``[i]`` for the size of the input's axis i, or -1 (once) for what remains. The
        first is the batch: ``[0]`` or -1.
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        When `shape` fixes the batch, or does not hold as many values as the input.

    Examples
    --------
    >>> from portanet.layers import ReshapeLayer
    >>> ReshapeLayer((None, 784), (-1, 1, 28, 28)).output_shape
    (None, 1, 28, 28)
    >>> ReshapeLayer((None, 20, 6, 6), ([0], [1], -1)).output_shape
    (None, 20, 36)
    """

    def __init__(self, incoming, shape: Sequence[int | list[int]], name: str | None = None):
        super().__init__(incoming, name)
        if not isinstance(shape, list | tuple) or not shape:
            raise TypeError(f"shape must be a tuple such as ([0], 1, 28, 28), got {shape!r}")
        self.shape = tuple(shape)
        self._target = [self._size(place, entry) for place, entry in enumerate(self.shape)]
        if self._target.count(-1) > 1:
            raise ValueError(f"shape {self.shape} holds -1 more than once")
        if self._target[0] > 0:
            raise ValueError(f"shape {self.shape} fixes the batch size; write [0] or -1 first")
        self._check_count()

    def _size(self, place: int, entry: Any) -> int:
        if isinstance(entry, list) and len(entry) == 1:
            axis = whole_number(entry[0], "an axis in shape", least=0)
            if axis >= len(self.input_shape):
                raise ValueError(f"shape {self.shape} copies axis {axis}, which the input "
                                 f"{written(self.input_shape)} lacks")  # fmt: skip
            if axis != 0:
                return whole_number(self.input_shape[axis], f"the size of axis {axis}")
            if place != 0:
                raise ValueError(f"shape {self.shape} moves the batch to axis {place}; [0] must come first")
            return 0
        size = whole_number(entry, "each entry of shape", least=-1)
        if size == 0:
            raise ValueError(f"shape {self.shape} holds 0; write [{place}] to keep that axis")
        return size

    def _check_count(self) -> None:
        have = int(np.prod([size for size in self.input_shape[1:] if size is not None]))
        want = int(np.prod([size for size in self._target[1:] if size > 0]))
        known = None not in self.input_shape[1:]
        if known and (have % want if -1 in self._target else have != want):
            raise ValueError(f"shape {self.shape} does not fit an input {written(self.input_shape)}, which "
                             f"has {have} values a sample")  # fmt: skip

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return ops.reshape(input, self._target)


class PadLayer(Layer):
    """Adds places around the input.

    Parameters
    ----------
    incoming : Layer or tuple
    width : int or tuple
        Places on each side of every axis after the first `batch_ndim`; or for each of those axes a number or
        a pair ``(before, after)``.
    val : float
        What they hold.
    batch_ndim : int
        Number of leading axes left alone; 2 are the batch and the channels.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import PadLayer
    >>> PadLayer((None, 3, 28, 28), width=[2, (0, 1)]).output_shape
    (None, 3, 32, 29)
    """

    def __init__(self, incoming, width: int | Sequence[int | tuple[int, int]], val: float = 0.0,
                 batch_ndim: int = 2, name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        self.val = real_number(val, "val")
        self.batch_ndim = whole_number(batch_ndim, "batch_ndim")
        padded = len(self.input_shape) - self.batch_ndim
        if padded < 1:
            raise ValueError(f"batch_ndim {batch_ndim} leaves no axis of the input {written(self.input_shape)} to pad")
        each = list(width) if isinstance(width, list | tuple) else [width] * padded
        if len(each) != padded:
            raise ValueError(f"width must be one number or {padded} of them, got {width!r}")
        self.width = [self._pair(entry) for entry in each]

    @staticmethod
    def _pair(entry: Any) -> tuple[int, int]:
        both = entry if isinstance(entry, list | tuple) else (entry, entry)
        if len(both) != 2:
            raise ValueError(f"width of one axis must be a number or a pair (before, after), got {entry!r}")
        return whole_number(both[0], "width", least=0), whole_number(both[1], "width", least=0)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return ops.pad(input, [(0, 0)] * self.batch_ndim + self.width, self.val)


class DimshuffleLayer(Layer):
    """Permutes axes, puts in axes of size 1, and leaves out such axes.

    Parameters
    ----------
    incoming : Layer or tuple
    pattern : tuple
        For each axis of the result the axis it comes from, or ``"x"`` for a new one of size 1. An axis left
        out must have size 1; the first must be 0, the batch.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import DimshuffleLayer
    >>> DimshuffleLayer((None, 28, 28, 3), (0, 3, 1, 2)).output_shape
    (None, 3, 28, 28)
    >>> DimshuffleLayer((None, 10), (0, "x", 1)).output_shape
    (None, 1, 10)
    """

    def __init__(self, incoming, pattern: Sequence[int | str], name: str | None = None):
        super().__init__(incoming, name)
        self.pattern = self._checked(pattern)

    def _checked(self, pattern: Any) -> tuple[int | str, ...]:
        rank = len(self.input_shape)
        if not isinstance(pattern, list | tuple) or any(
            entry != "x" and not isinstance(entry, int) for entry in pattern
        ):
            raise TypeError(f"pattern must be a tuple of axes and 'x', got {pattern!r}")
        taken = [entry for entry in pattern if entry != "x"]
        if any(not 0 <= axis < rank for axis in taken) or len(set(taken)) < len(taken):
            raise ValueError(f"pattern {tuple(pattern)} must name axes 0 to {rank - 1}, each at most once")
        if not pattern or pattern[0] != 0:
            raise ValueError(f"pattern {tuple(pattern)} moves the batch; its first entry must be 0")
        for axis in range(rank):
            if axis not in taken and self.input_shape[axis] != 1:
                raise ValueError(f"pattern {tuple(pattern)} leaves out axis {axis} of the input "
                                 f"{written(self.input_shape)}, which is not of size 1")  # fmt: skip
        return tuple(pattern)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        taken = [int(entry) for entry in self.pattern if entry != "x"]
        dropped = [axis for axis in range(input.ndim) if axis not in taken]
        if dropped:
            input = ops.squeeze(input, dropped)
            taken = [axis - sum(gone < axis for gone in dropped) for axis in taken]
        if taken != sorted(taken):
            input = ops.transpose(input, taken)
        added = [place for place, entry in enumerate(self.pattern) if entry == "x"]
        return ops.expand_dims(input, added) if added else input
