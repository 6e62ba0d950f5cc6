"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..init import Constant
from ..nonlinearities import identity
from .arguments import real_number
from .base import Layer
from .special import NonlinearityLayer, along, resolve_shared_axes, unshared_shape


class BatchNormLayer(Layer):
    """gamma · (x - mean) / √(var + ε) + beta.

    While training, mean and variance are those of the batch (the variance divides by the number of values,
    not one less), and the running ones move: ``running = (1 - alpha) · running + alpha · batch``. When
    predicting, the running ones are used. They are saved with the weights, but neither trained nor
    regularised.

    Parameters
    ----------
    incoming : Layer or tuple
    axes : "auto", int or tuple of int
        Axes to normalise over; "auto" is all but axis 1: the batch, and the places of an image.
    epsilon : float
        Added to the variance.
    alpha : float
        Share of the newest batch in the running mean and variance, 0 to 1.
    beta, gamma : Initializer, callable, number, array, Parameter or None
        Learnt shift and factor; None leaves them out. `beta` is not regularised.
    mean, var : Initializer, callable, number or array
        What the running mean and variance start from. (Lasagne keeps 1 / √(var + ε) as ``inv_std`` instead.)
    name : str, optional

    References
    ----------
    S. Ioffe and C. Szegedy (2015). Batch normalization. ICML. arXiv:1502.03167.

    Examples
    --------
    >>> from portanet.layers import BatchNormLayer
    >>> layer = BatchNormLayer((None, 32, 14, 14))
    >>> [(p.name, p.shape, p.trainable) for p in layer.params]
    [('beta', (32,), True), ('gamma', (32,), True), ('mean', (32,), False), ('var', (32,), False)]
    """

    def __init__(self, incoming, axes: str | int | Sequence[int] = "auto", epsilon: float = 1e-4,
                 alpha: float = 0.1, beta: Any = Constant(0.0), gamma: Any = Constant(1.0),
                 mean: Any = Constant(0.0), var: Any = Constant(1.0), name: str | None = None):  # fmt: skip
        super().__init__(incoming, name)
        rank = len(self.input_shape)
        self.axes = resolve_shared_axes(axes, rank, "axes")
        self.epsilon, self.alpha = real_number(epsilon, "epsilon"), real_number(alpha, "alpha")
        if self.epsilon <= 0.0:
            raise ValueError(f"epsilon must be above 0, got {epsilon!r}")
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha must lie within 0 and 1, got {alpha!r}")
        shape = unshared_shape(self.input_shape, self.axes)
        self.beta = None if beta is None else self.add_param(beta, shape, "beta", regularizable=False)
        self.gamma = None if gamma is None else self.add_param(gamma, shape, "gamma")
        self.mean = self.add_param(mean, shape, "mean", trainable=False, regularizable=False)
        self.var = self.add_param(var, shape, "var", trainable=False, regularizable=False)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        by_channel = input.ndim >= 2 and self.axes == (0, *range(2, input.ndim))
        normalise = self._by_channel if by_channel else self._over_axes
        output, mean, var = normalise(input, training=not deterministic)
        if not deterministic:
            ops.assign(self.mean, mean)
            ops.assign(self.var, var)
        return output

    def _by_channel(self, input: Any, training: bool) -> tuple[Any, Any, Any]:
        channels = self.mean.shape
        scale = np.ones(channels) if self.gamma is None else self.gamma
        shift = np.zeros(channels) if self.beta is None else self.beta
        return ops.batch_normalization(input, scale, shift, self.mean, self.var, epsilon=self.epsilon,
                                       momentum=1.0 - self.alpha, training=training)  # fmt: skip

    def _over_axes(self, input: Any, training: bool) -> tuple[Any, Any, Any]:
        def spread(vector: Any) -> Any:
            return along(vector, self.axes, input.ndim)

        mean, var = self.mean, self.var
        if training:
            mean, var = ops.mean(input, self.axes), ops.var(input, self.axes)
        output = (input - spread(mean)) / ops.sqrt(spread(var) + self.epsilon)
        if self.gamma is not None:
            output = output * spread(self.gamma)
        if self.beta is not None:
            output = output + spread(self.beta)
        share = 1.0 - self.alpha
        return output, self.mean * share + mean * self.alpha, self.var * share + var * self.alpha


def batch_norm(layer: Layer, **kwargs: Any) -> Layer:
    """Put a `BatchNormLayer` between a layer's linear part and its nonlinearity.

    The layer loses its bias, which `beta` makes needless, and its nonlinearity, which comes after the
    normalisation as a layer of its own.

    Parameters
    ----------
    layer : Layer
        Changed in place: make it for this call.
    **kwargs
        Arguments of `BatchNormLayer`.

    Returns
    -------
    Layer
        Feed this one to what comes next. Where `layer` has a name, the new ones are called ``name_bn`` and
        ``name_bn_nonlin``.

    Examples
    --------
    >>> from portanet.layers import Conv2DLayer, batch_norm, get_all_layers
    >>> top = batch_norm(Conv2DLayer((None, 3, 32, 32), num_filters=16, filter_size=3, name="conv"))
    >>> get_all_layers(top)
    [<InputLayer unnamed>, <Conv2DLayer conv>, <BatchNormLayer conv_bn>, <NonlinearityLayer conv_bn_nonlin>]
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"batch_norm takes a layer, got {layer!r}")
    nonlinearity = getattr(layer, "nonlinearity", None)
    if nonlinearity is not None:
        layer.nonlinearity = identity  # type: ignore[attr-defined]
    bias = getattr(layer, "b", None)
    if bias is not None:
        layer.params = [parameter for parameter in layer.params if parameter is not bias]
        layer.b = None  # type: ignore[attr-defined]
    vars(layer).pop("output_type", None)
    name = kwargs.pop("name", None) or (layer.name and f"{layer.name}_bn")
    normalised = BatchNormLayer(layer, name=name, **kwargs)
    if nonlinearity is None or nonlinearity is identity:
        return normalised
    return NonlinearityLayer(normalised, nonlinearity, name=name and f"{name}_nonlin")
