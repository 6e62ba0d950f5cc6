"""Operators that draw numbers. Which numbers is the engine's affair, unless a run is to be reproducible."""

from ..graph import TensorType
from .elementwise import need_float
from .registry import operator


@operator("RandomUniformLike", "input", {"low": 0.0, "high": 1.0})
def random_uniform_like(attrs, x):
    need_float(x, "input")
    return x


@operator("RandomNormalLike", "input", {"mean": 0.0, "scale": 1.0})
def random_normal_like(attrs, x):
    need_float(x, "input")
    return x


@operator("Bernoulli", "input", {"dtype": None})
def bernoulli(attrs, x):
    """Ones with the probability the input gives, else zeros."""
    need_float(x, "input")
    return TensorType(attrs["dtype"] or x.dtype, x.shape)
