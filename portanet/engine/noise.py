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

    def mask(self, ratio, shape, out=None):
        """Booleans, true with probability ``1 - ratio``.

        Drawn as whole numbers of 16 bits: enough for a mask, at a quarter of the cost of floats.
        """
        size = int(np.prod(shape))
        words = self.generator.bit_generator.random_raw(-(-size // 4))
        threshold = np.uint16(min(round(ratio * 65536), 65535))
        return np.greater_equal(words.view(np.uint16)[:size].reshape(shape), threshold, out=out)

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

    def stack(self, seed, step, count, rows, capacity):
        """For `count` steps of that many rows, from `step` on, one array for each of `calls`: masks, or else floats.

        Their first axis has `capacity` places, of which the first `count` are filled.
        """
        shapes = [bind(call.kinds[0].shape, {"N": rows}) for call in self.calls]
        kinds = ["bool" if call.op == "Dropout" else _wide(call) for call in self.calls]
        stacked = [np.zeros((capacity,) + tuple(shape), kind) for shape, kind in zip(shapes, kinds)]
        for place in range(count):
            self._source.start(seed, step + place)
            for call, whole in zip(self.calls, stacked):
                self._fill(call, whole[place])
        return stacked

    def _fill(self, call, out):
        if call.op == "Dropout":
            self._source.mask(call.attrs["ratio"], out.shape, out)
        else:
            draw = self._source.normal if call.op == "RandomNormalLike" else self._source.uniform
            out[...] = draw(out.shape, out.dtype)


def _wide(call):
    return call.kinds[0].dtype if call.kinds[0].dtype == "float64" else "float32"


def draws(op, attrs):
    """Whether a random node takes any numbers: Dropout doesn't when it is idle."""
    attrs = complete(op, attrs)
    return op != "Dropout" or bool(attrs["training_mode"] and attrs["ratio"])
