"""Initial values of parameters, under Lasagne's names and formulas.

An initialiser draws from the generator it is handed and from nothing else, so that one seed gives the same
net on every engine. Dense weights are ``(in, out)``, convolution weights ``(out, in, kernel...)``.

>>> import numpy as np
>>> from portanet import init
>>> init.GlorotUniform(gain="relu").sample((784, 100), np.random.default_rng(0)).shape
(784, 100)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from .exceptions import did_you_mean

__all__ = [
    "Constant", "Glorot", "GlorotNormal", "GlorotUniform", "He", "HeNormal", "HeUniform", "Initializer",
    "Normal", "Orthogonal", "Sparse", "Uniform", "sample",
]  # fmt: skip


class Initializer:
    """Base of all initialisers; one of your own overrides `sample`.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> class Identity(init.Initializer):
    ...     def sample(self, shape, rng):
    ...         return np.eye(*shape)
    >>> Identity().sample((2, 2), np.random.default_rng(0))
    array([[1., 0.],
           [0., 1.]])
    """

    def sample(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Values for a parameter.

        Parameters
        ----------
        shape : tuple of int
        rng : numpy.random.Generator

        Returns
        -------
        ndarray of float64
        """
        raise NotImplementedError(f"{type(self).__name__} must define sample(self, shape, rng)")

    def __repr__(self) -> str:
        stored = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        values = [(name, getattr(self, name)) for name in stored]
        shown = [f"{name}={value.__name__ if isinstance(value, type) else repr(value)}" for name, value in values]
        return f"{type(self).__name__}({', '.join(shown)})"


class Constant(Initializer):
    """Every value is `val`.

    Parameters
    ----------
    val : float

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> init.Constant(0.5).sample((3,), np.random.default_rng(0))
    array([0.5, 0.5, 0.5])
    """

    def __init__(self, val: float = 0.0):
        self.val = _number(val, "val")

    def sample(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        return np.full(shape, self.val, dtype=np.float64)


class Normal(Initializer):
    """Normal numbers.

    Parameters
    ----------
    std : float
        Standard deviation.
    mean : float

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> bool(abs(init.Normal(std=2.0).sample((100, 100), np.random.default_rng(0)).std() - 2.0) < 0.05)
    True
    """

    def __init__(self, std: float = 0.01, mean: float = 0.0):
        self.std, self.mean = _not_negative(std, "std"), _number(mean, "mean")

    def sample(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        return rng.normal(self.mean, self.std, size=shape)


class Uniform(Initializer):
    """Uniform numbers.

    Parameters
    ----------
    range : float or (float, float)
        One number r stands for [-r, r).
    std : float, optional
        Wanted standard deviation, in place of `range`: [mean - √3 std, mean + √3 std).
    mean : float
        Used with `std` only.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> values = init.Uniform((2.0, 3.0)).sample((100,), np.random.default_rng(0))
    >>> bool(values.min() >= 2.0 and values.max() < 3.0)
    True
    """

    def __init__(self, range: float | tuple[float, float] = 0.01, std: float | None = None, mean: float = 0.0):
        if std is not None:
            _not_negative(std, "std")
        self.range, self.std, self.mean = range, std, _number(mean, "mean")
        self._bounds()

    def _bounds(self) -> tuple[float, float]:
        if self.std is not None:
            reach = math.sqrt(3.0) * self.std
            return self.mean - reach, self.mean + reach
        if isinstance(self.range, Real):
            return -float(self.range), float(self.range)
        if not isinstance(self.range, list | tuple) or len(self.range) != 2:
            raise TypeError(f"range must be a number or a pair (low, high), got {self.range!r}")
        low, high = (_number(bound, "range") for bound in self.range)
        if low > high:
            raise ValueError(f"range {self.range!r} is upside down; write (low, high)")
        return low, high

    def sample(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        low, high = self._bounds()
        return low + (high - low) * rng.random(size=shape)


class _ScaledByFans(Initializer):
    """Another initialiser's numbers, with the standard deviation that a layer's fans ask for."""

    def __init__(self, initializer: Callable[..., Initializer], gain: float | str = 1.0):
        self.initializer, self.gain = initializer, gain
        _gain(gain)

    def _variance(self, shape: Sequence[int]) -> float:
        raise NotImplementedError

    def sample(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        _need_axes(self, shape, 2)
        std = _gain(self.gain) * math.sqrt(self._variance(shape))
        return self.initializer(std=std).sample(shape, rng)


class Glorot(_ScaledByFans):
    """Standard deviation gain · √(2 / ((n₁ + n₂) f)), with sizes n₁ and n₂ and f the product of the others.

    Keeps the variance of activations and of gradients alike from layer to layer.

    Parameters
    ----------
    initializer : class
        `Normal`, `Uniform` or another that takes ``std``.
    gain : float or "relu"
        "relu" is √2, for layers followed by rectifiers; 1 suits linear and sigmoid units.

    References
    ----------
    X. Glorot and Y. Bengio (2010). Understanding the difficulty of training deep feedforward neural networks.
    AISTATS.

    Examples
    --------
    >>> from portanet import init
    >>> init.Glorot(init.Normal, gain="relu")
    Glorot(initializer=Normal, gain='relu')
    """

    def _variance(self, shape: Sequence[int]) -> float:
        return 2.0 / ((shape[0] + shape[1]) * math.prod(shape[2:]))


class GlorotNormal(Glorot):
    """`Glorot` with normal numbers.

    Parameters
    ----------
    gain : float or "relu"

    Examples
    --------
    >>> from portanet import init
    >>> init.GlorotNormal()
    GlorotNormal(gain=1.0)
    """

    def __init__(self, gain: float | str = 1.0):
        super().__init__(Normal, gain)


class GlorotUniform(Glorot):
    """`Glorot` with uniform numbers: within ± gain · √(6 / ((n₁ + n₂) f)).

    Parameters
    ----------
    gain : float or "relu"

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> bool(abs(init.GlorotUniform().sample((200, 100), np.random.default_rng(0))).max() <= (6 / 300) ** 0.5)
    True
    """

    def __init__(self, gain: float | str = 1.0):
        super().__init__(Uniform, gain)


class He(_ScaledByFans):
    """Standard deviation gain · √(1 / fan_in).

    Fan in is the first size of a matrix ``(in, out)``; of ``(out, in, kernel...)``, the product of all but
    the first.

    Parameters
    ----------
    initializer : class
        `Normal`, `Uniform` or another that takes ``std``.
    gain : float or "relu"
        "relu" is √2, the value of the paper.

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun (2015). Delving deep into rectifiers. ICCV. arXiv:1502.01852.

    Examples
    --------
    >>> from portanet import init
    >>> init.He(init.Uniform, gain="relu")
    He(initializer=Uniform, gain='relu')
    """

    def _variance(self, shape: Sequence[int]) -> float:
        return 1.0 / (shape[0] if len(shape) == 2 else math.prod(shape[1:]))


class HeNormal(He):
    """`He` with normal numbers.

    Parameters
    ----------
    gain : float or "relu"

    Examples
    --------
    >>> from portanet import init
    >>> init.HeNormal(gain="relu")
    HeNormal(gain='relu')
    """

    def __init__(self, gain: float | str = 1.0):
        super().__init__(Normal, gain)


class HeUniform(He):
    """`He` with uniform numbers: within ± gain · √(3 / fan_in).

    Parameters
    ----------
    gain : float or "relu"

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> bool(abs(init.HeUniform().sample((75, 10), np.random.default_rng(0))).max() <= 0.2)
    True
    """

    def __init__(self, gain: float | str = 1.0):
        super().__init__(Uniform, gain)


class Orthogonal(Initializer):
    """gain times a matrix with orthonormal rows, or columns where it has fewer of those.

    More than two axes are treated as ``(first, product of the others)``.

    Parameters
    ----------
    gain : float or "relu"

    References
    ----------
    A. M. Saxe, J. L. McClelland and S. Ganguli (2013). Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks. arXiv:1312.6120.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> W = init.Orthogonal().sample((5, 3), np.random.default_rng(0))
    >>> bool(np.allclose(W.T @ W, np.eye(3)))
    True
    """

    def __init__(self, gain: float | str = 1.0):
        self.gain = gain
        _gain(gain)

    def sample(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        _need_axes(self, shape, 2)
        rows, columns = shape[0], math.prod(shape[1:])
        tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # a QR is unique, and uniform over rotations, up to these signs
        return _gain(self.gain) * (q if rows >= columns else q.T).reshape(shape)


class Sparse(Initializer):
    """Each unit sees only some of its inputs: ⌊sparsity · in⌋ normal numbers in each column, zeros elsewhere.

    Parameters
    ----------
    sparsity : float
        Share of values that are *not* zero, from 0 to 1.
    std : float
        Standard deviation of those.

    References
    ----------
    J. Martens (2010). Deep learning via Hessian-free optimization. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> W = init.Sparse(sparsity=0.1).sample((50, 4), np.random.default_rng(0))
    >>> np.count_nonzero(W, axis=0)
    array([5, 5, 5, 5])
    """

    def __init__(self, sparsity: float = 0.1, std: float = 0.01):
        if not 0.0 <= _number(sparsity, "sparsity") <= 1.0:
            raise ValueError(f"sparsity must lie within 0 and 1, got {sparsity!r}")
        self.sparsity, self.std = sparsity, _not_negative(std, "std")

    def sample(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Sparse is for matrices (in, out), got shape {tuple(shape)}; use Normal or GlorotUniform")
        kept = int(self.sparsity * shape[0])
        rank_in_column = rng.random(size=shape).argsort(axis=0).argsort(axis=0)
        return np.where(rank_in_column < kept, rng.normal(0.0, self.std, size=shape), 0.0)


def sample(spec: Any, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Initial values from whatever a user gave for a parameter.

    Parameters
    ----------
    spec : Initializer, callable, number or array
        A callable is called as ``spec(shape, rng)``; a number fills the parameter; an array must have its
        shape.
    shape : tuple of int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64
        A new array of that shape.

    Raises
    ------
    TypeError
        When `spec` is none of those.
    ValueError
        When the values have another shape, or are not all finite.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import init
    >>> init.sample(lambda shape, rng: np.ones(shape), (2,), np.random.default_rng(0))
    array([1., 1.])
    >>> init.sample([1, 2, 3], (2,), np.random.default_rng(0))
    Traceback (most recent call last):
    ValueError: the initial values have shape (3,), the parameter has (2,)
    """
    shape = tuple(int(size) for size in shape)
    if isinstance(spec, type):
        raise TypeError(f"an initialiser must be an object, got the class {spec.__name__}; write {spec.__name__}()")
    if callable(getattr(spec, "sample", None)) and not hasattr(spec, "__array__"):
        values, source = spec.sample(shape, rng), repr(spec)
    elif callable(spec):
        values, source = spec(shape, rng), f"{getattr(spec, '__name__', repr(spec))}(shape, rng)"
    else:
        values, source = spec, ""
    return _as_values(values, source, shape, fill=isinstance(values, Real))


def _as_values(values: Any, source: str, shape: tuple[int, ...], fill: bool) -> np.ndarray:
    array = None if isinstance(values, str) or values is None else np.asarray(values)
    if array is None or array.dtype.kind not in "biuf":
        given = f"{source} gave {values!r}" if source else f"got {values!r}{did_you_mean(values, __all__)}"
        raise TypeError(f"initial values must come from an initialiser such as GlorotUniform(), a callable "
                        f"f(shape, rng), a number or an array; {given}")  # fmt: skip
    given = f"the values of {source}" if source else "the initial values"
    if array.shape != shape and not fill:
        raise ValueError(f"{given} have shape {array.shape}, the parameter has {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{given} must be finite; {np.count_nonzero(~np.isfinite(array))} of them are not")
    return np.array(np.broadcast_to(array, shape), dtype=np.float64, order="C")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise TypeError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _not_negative(value: Any, name: str) -> float:
    if _number(value, name) < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")
    return float(value)


def _gain(value: float | str) -> float:
    if value == "relu":
        return math.sqrt(2.0)
    if isinstance(value, str):
        raise ValueError(f"gain must be a number or 'relu', got {value!r}{did_you_mean(value, ['relu'])}")
    return _number(value, "gain")


def _need_axes(owner: Initializer, shape: Sequence[int], least: int) -> None:
    if len(shape) < least:
        raise ValueError(f"{type(owner).__name__} needs a shape of at least {least} axes, got "
                         f"{tuple(shape)}; use Constant, Normal or Uniform")  # fmt: skip
