"""Nonlinearities under Lasagne's names: functions of one tensor, written over `portanet.ops`.

Those with a setting are classes whose objects are called like functions. One of your own is an ordinary
function; define it by ``def`` in a module, and the net can be pickled.

>>> from portanet import layers, nonlinearities
>>> layers.DenseLayer((None, 4), num_units=3, nonlinearity=nonlinearities.LeakyRectify(0.2)).nonlinearity
LeakyRectify(leakiness=0.2)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import ops
from .exceptions import did_you_mean

__all__ = [
    "SELU", "LeakyRectify", "ScaledTanH", "ScaledTanh", "as_nonlinearity", "elu", "gelu", "gelu_tanh",
    "hard_sigmoid", "identity", "leaky_rectify", "linear", "mish", "rectify", "selu", "sigmoid", "silu",
    "softmax", "softplus", "softsign", "swish", "tanh", "very_leaky_rectify",
]  # fmt: skip


def sigmoid(x):
    """1 / (1 + exp(-x)), between 0 and 1."""
    return ops.sigmoid(x)


def softmax(x):
    """exp(x) / Σ exp(x) along the last axis: positive numbers that sum to one.

    Over the channels of images, write a function of your own that returns ``ops.softmax(x, axis=1)``.
    """
    return ops.softmax(x, axis=-1)


def tanh(x):
    """Hyperbolic tangent, between -1 and 1."""
    return ops.tanh(x)


def rectify(x):
    """max(x, 0), the rectified linear unit; its gradient at 0 is 0."""
    return ops.relu(x)


def elu(x):
    """x where positive, exp(x) - 1 elsewhere.

    D.-A. Clevert, T. Unterthiner and S. Hochreiter (2015). arXiv:1511.07289.
    """
    return ops.elu(x)


def selu(x):
    """1.0507 x where positive, 1.0507 · 1.6733 (exp(x) - 1) elsewhere: keeps mean 0 and variance 1.

    G. Klambauer, T. Unterthiner, A. Mayr and S. Hochreiter (2017). arXiv:1706.02515.
    """
    return ops.selu(x)


def softplus(x):
    """log(1 + exp(x)), a smooth rectifier."""
    return ops.softplus(x)


def softsign(x):
    """x / (1 + |x|), between -1 and 1."""
    return ops.softsign(x)


def hard_sigmoid(x):
    """min(max(0.2 x + 0.5, 0), 1), a sigmoid in three straight lines."""
    return ops.hard_sigmoid(x)


def gelu(x):
    """x Φ(x), Φ the normal distribution function.

    D. Hendrycks and K. Gimpel (2016). arXiv:1606.08415.
    """
    return ops.gelu(x)


def gelu_tanh(x):
    """x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), within 0.001 of `gelu`."""
    return ops.gelu(x, approximate="tanh")


def swish(x):
    """x · sigmoid(x), also called `silu`.

    P. Ramachandran, B. Zoph and Q. V. Le (2017). arXiv:1710.05941.
    """
    return x * ops.sigmoid(x)


def mish(x):
    """x · tanh(softplus(x)).

    D. Misra (2019). arXiv:1908.08681.
    """
    return ops.mish(x)


def identity(x):
    """x, as it is; also called `linear`."""
    return x


silu = swish
linear = identity


class ScaledTanH:
    """scale_out · tanh(scale_in · x).

    Parameters
    ----------
    scale_in, scale_out : float
        LeCun et al. (1998), *Efficient BackProp*, take 2/3 and 1.7159, so that ±1 is mapped to ±1.

    Examples
    --------
    >>> from portanet.nonlinearities import ScaledTanH
    >>> ScaledTanH(scale_in=2 / 3, scale_out=1.7159)
    ScaledTanH(scale_in=0.6666666666666666, scale_out=1.7159)
    """

    def __init__(self, scale_in: float = 1.0, scale_out: float = 1.0):
        self.scale_in, self.scale_out = scale_in, scale_out

    def __call__(self, x):
        return ops.tanh(x * self.scale_in) * self.scale_out

    def __repr__(self) -> str:
        return f"ScaledTanH(scale_in={self.scale_in!r}, scale_out={self.scale_out!r})"


ScaledTanh = ScaledTanH


class LeakyRectify:
    """x where positive, leakiness · x elsewhere.

    Parameters
    ----------
    leakiness : float
        Slope for negative x: 0 gives `rectify`, 1 gives `linear`.

    References
    ----------
    A. L. Maas, A. Y. Hannun and A. Y. Ng (2013). Rectifier nonlinearities improve neural network acoustic
    models. ICML.

    Examples
    --------
    >>> from portanet.nonlinearities import very_leaky_rectify
    >>> very_leaky_rectify
    LeakyRectify(leakiness=0.3333333333333333)
    """

    def __init__(self, leakiness: float = 0.01):
        self.leakiness = leakiness

    def __call__(self, x):
        return ops.leaky_relu(x, alpha=float(self.leakiness))

    def __repr__(self) -> str:
        return f"LeakyRectify(leakiness={self.leakiness!r})"


leaky_rectify = LeakyRectify()
very_leaky_rectify = LeakyRectify(1.0 / 3.0)


class SELU:
    """scale · x where positive, scale · scale_neg · (exp(x) - 1) elsewhere.

    Parameters
    ----------
    scale, scale_neg : float
        With their defaults this is `elu`; `selu` has the constants of the paper.

    References
    ----------
    G. Klambauer, T. Unterthiner, A. Mayr and S. Hochreiter (2017). Self-normalizing neural networks.
    arXiv:1706.02515.

    Examples
    --------
    >>> from portanet.nonlinearities import SELU
    >>> SELU(scale=1.1, scale_neg=1.5)
    SELU(scale=1.1, scale_neg=1.5)
    """

    def __init__(self, scale: float = 1.0, scale_neg: float = 1.0):
        self.scale, self.scale_neg = scale, scale_neg

    def __call__(self, x):
        return ops.elu(x, alpha=float(self.scale_neg)) * self.scale

    def __repr__(self) -> str:
        return f"SELU(scale={self.scale!r}, scale_neg={self.scale_neg!r})"


_ELSEWHERE = {"relu": "rectify", "leaky_relu": "leaky_rectify", "none": "linear"}


def as_nonlinearity(value: Any) -> Callable[..., Any]:
    """What a layer's `nonlinearity` argument stands for: a function of one tensor, ``None`` being `identity`.

    Raises
    ------
    TypeError
        For a name instead of a function, or a class instead of an object.

    Examples
    --------
    >>> from portanet.nonlinearities import as_nonlinearity
    >>> as_nonlinearity("relu")
    Traceback (most recent call last):
    TypeError: nonlinearity must be a function of one tensor or None, got 'relu'; write nonlinearities.rectify
    """
    if value is None:
        return identity
    if isinstance(value, type):
        raise TypeError(f"nonlinearity must be an object, got the class {value.__name__}; write {value.__name__}()")
    if callable(value):
        return value
    raise TypeError(f"nonlinearity must be a function of one tensor or None, got {value!r}{_advice(value)}")


def _advice(value: Any) -> str:
    name = _ELSEWHERE.get(value.lower(), value) if isinstance(value, str) else None
    if name in __all__:
        return f"; write nonlinearities.{name}"
    return did_you_mean(name, __all__)
