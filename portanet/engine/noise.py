"""The numbers the NumPy engine would draw, for engines that are to draw the same.

Every step has a stream of its own, decided by seed and step count; the random nodes of the training graph take from it
in their order.
"""

import numpy as np

from .lowering import RANDOM
from .operators import complete
from .shapes import bind


class Source:
    """The random numbers of one step after the other."""

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

    def mask(self, ratio, shape):
        """Booleans, true with probability ``1 - ratio``.

        Drawn as whole numbers of 16 bits: enough for a mask, at a quarter of the cost of floats.
        """
        size = int(np.prod(shape))
        words = self.generator.bit_generator.random_raw(-(-size // 4))
        threshold = np.uint16(min(round(ratio * 65536), 65535))
        return (words.view(np.uint16)[:size] >= threshold).reshape(shape)

    def uniform(self, shape, dtype):
        """Numbers in [0, 1)."""
        return self.generator.random(shape, dtype=np.dtype(dtype))

    def normal(self, shape, dtype):
        """Numbers of mean 0 and deviation 1."""
        return self.generator.standard_normal(shape, dtype=np.dtype(dtype))


class HostNoise:
    """Draws for the random nodes of a graph, made on the host.

    Parameters
    ----------
    calls : list of Call
        Of the lowered training graph.

    Attributes
    ----------
    calls : list of Call
        Those that draw.
    """

    def __init__(self, calls):
        self.calls = [call for call in calls if call.op in RANDOM and draws(call.op, call.attrs)]
        self._source = Source()

    def draw(self, seed, step, rows):
        """For one batch of that many rows, one array for each of `calls`: masks for Dropout, else floats."""
        self._source.start(seed, step)
        return [self._one(call, bind(call.kinds[0].shape, {"N": rows})) for call in self.calls]

    def _one(self, call, shape):
        if call.op == "Dropout":
            return self._source.mask(call.attrs["ratio"], shape)
        dtype = call.kinds[0].dtype if call.kinds[0].dtype == "float64" else "float32"
        return (self._source.normal if call.op == "RandomNormalLike" else self._source.uniform)(shape, dtype)


def draws(op, attrs):
    """Whether a random node takes any numbers: Dropout doesn't when it is idle."""
    attrs = complete(op, attrs)
    return op != "Dropout" or bool(attrs["training_mode"] and attrs["ratio"])
