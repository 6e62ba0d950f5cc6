"""Layers that disturb what passes through them while training, and nothing when predicting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from .arguments import axes_of, real_number
from .base import Layer


class DropoutLayer(Layer):
    """Sets each value to zero with probability `p` while training; does nothing when predicting.

    Parameters
    ----------
    incoming : Layer or tuple
    p : float
        From 0 (keep all) to below 1.
    rescale : bool
        Divide the values kept by 1 - p, so that the mean stays what it is when predicting.
    shared_axes : tuple of int
        Axes along which values are dropped together: ``(2, 3)`` drops whole channels of images. The batch
        axis can't be among them.
    name : str, optional

    References
    ----------
    N. Srivastava et al. (2014). Dropout: a simple way to prevent neural networks from overfitting. JMLR 15.

    Examples
    --------
    >>> from portanet.layers import DropoutLayer
    >>> DropoutLayer((None, 8, 16, 16), p=0.2, shared_axes=(2, 3)).output_shape
    (None, 8, 16, 16)
    """

    def __init__(self, incoming, p: float = 0.5, rescale: bool = True, shared_axes: Sequence[int] = (),
                 name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        self.p = real_number(p, "p")
        if not 0.0 <= self.p < 1.0:
            raise ValueError(f"p must be at least 0 and below 1, got {p!r}; it is the share of values to drop")
        self.rescale = bool(rescale)
        self.shared_axes = axes_of(shared_axes, len(self.input_shape), "shared_axes")
        if 0 in self.shared_axes:
            raise ValueError("shared_axes must not hold 0: each sample of the batch has its own mask")

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        if deterministic or self.p == 0.0:
            return input
        if self.rescale and not self.shared_axes:
            return ops.dropout(input, self.p)
        return input * self._mask(input)

    def _mask(self, input: Any) -> Any:
        corner = tuple(slice(0, 1) if axis in self.shared_axes else slice(None) for axis in range(input.ndim))
        kept = ops.random_uniform_like(input[corner] if self.shared_axes else input) >= self.p
        mask = ops.cast(kept, input.dtype)
        return mask / (1.0 - self.p) if self.rescale else mask


class GaussianNoiseLayer(Layer):
    """Adds normal numbers of mean zero while training; does nothing when predicting.

    Parameters
    ----------
    incoming : Layer or tuple
    sigma : float
        Standard deviation of the noise, in units of the input.
    name : str, optional

    Examples
    --------
    >>> from portanet.layers import GaussianNoiseLayer
    >>> GaussianNoiseLayer((None, 10), sigma=0.3).output_shape
    (None, 10)
    """

    def __init__(self, incoming, sigma: float = 0.1, name: str | None = None):
        super().__init__(incoming, name)
        self.sigma = real_number(sigma, "sigma")
        if self.sigma < 0.0:
            raise ValueError(f"sigma must not be negative, got {sigma!r}")

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        if deterministic or self.sigma == 0.0:
            return input
        return input + ops.random_normal_like(input, scale=self.sigma)
