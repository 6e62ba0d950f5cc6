"""Drawing numbers. NumPy's draws are also what reproducible runs on other engines use."""

import numpy as np

from .cell import backward, forward


class Source:
    """The random numbers of a program: one stream for each step, drawn from by the nodes in order."""

    def __init__(self):
        self._generator = None
        self._key = None

    def start(self, seed, step):
        """Begin the stream of this step."""
        self._generator, self._key = None, (int(seed), int(step))

    @property
    def generator(self):
        if self._generator is None:
            self._generator = np.random.Generator(np.random.SFC64(list(self._key)))
        return self._generator

    def uint16(self, count):
        """Uniform 16-bit numbers: enough for a mask, at a quarter of the cost of floats."""
        words = self.generator.bit_generator.random_raw(-(-count // 4))
        return words.view(np.uint16)[:count]


@forward("RandomUniformLike")
def random_uniform_like(cell, x):
    low, high = cell.attrs["low"], cell.attrs["high"]
    y = cell.empty("y", x.shape, x.dtype)
    y[...] = cell.xp.asarray(cell.source.generator.random(x.shape, dtype=np.dtype(x.dtype)))
    if (low, high) != (0.0, 1.0):
        y *= x.dtype.type(high - low)
        y += x.dtype.type(low)
    return y


@forward("RandomNormalLike")
def random_normal_like(cell, x):
    y = cell.empty("y", x.shape, x.dtype)
    y[...] = cell.xp.asarray(cell.source.generator.standard_normal(x.shape, dtype=np.dtype(x.dtype)))
    y *= x.dtype.type(cell.attrs["scale"])
    y += x.dtype.type(cell.attrs["mean"])
    return y


@forward("Bernoulli")
def bernoulli(cell, p):
    draws = cell.xp.asarray(cell.source.generator.random(p.shape, dtype=np.dtype(p.dtype)))
    return (draws < p).astype(cell.attrs["dtype"] or p.dtype)


@backward("RandomUniformLike", "RandomNormalLike", "Bernoulli")
def random_backward(cell, grad, inputs, y):
    return (None,)
