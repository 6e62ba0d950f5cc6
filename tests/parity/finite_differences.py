"""Central finite differences of a scalar graph, in float64, on the NumPy engine."""

import numpy as np
from one_node import SCALE
from tolerances import FINITE_DIFFERENCE

from portanet.engine.expansions import expand
from portanet.engine.kernels import FORWARD
from portanet.engine.kernels.tape import Tape

STEP = 1e-5
FEW = 200


class Scalar:
    """The "loss" of a graph as a function of its float64 inputs."""

    def __init__(self, graph, arrays):
        self._tape = Tape(np, expand(graph, keep=FORWARD))
        self._arrays = dict(arrays, **{SCALE: np.ones(1)})

    def along(self, name, direction):
        """Derivative in the input `name` along `direction`."""
        x = self._arrays[name]
        ends = [float(self._tape.run(dict(self._arrays, **{name: x + step * direction}))["loss"])
                for step in (STEP, -STEP)]  # fmt: skip
        return (ends[0] - ends[1]) / (2 * STEP)

    def gradient(self, name):
        """Derivative by each value of the input."""
        shape = self._arrays[name].shape
        result = np.empty(shape)
        for place in np.ndindex(*shape):
            direction = np.zeros(shape)
            direction[place] = 1.0
            result[place] = self.along(name, direction)
        return result


def assert_gradients(graph, arrays, gradients, rng):
    """Check the gradient of each input: value by value where there are few, and along random directions."""
    function = Scalar(graph, arrays)
    for name, x in arrays.items():
        got = gradients[name]
        assert got.dtype == x.dtype and got.shape == x.shape, f"{name}: {got.dtype}{got.shape}"
        if x.size <= FEW:
            _assert_close(got, function.gradient(name), f"{graph.name}, gradient of {name}")
        for _ in range(3):
            direction = rng.standard_normal(x.shape)
            wanted = function.along(name, direction)
            _assert_close(np.sum(got * direction), wanted, f"{graph.name}, gradient of {name} along a direction")


def _assert_close(got, wanted, what):
    rtol, atol = FINITE_DIFFERENCE
    # the size of the whole gradient bounds how well a small entry of it can be known
    atol = atol + rtol * float(np.max(np.abs(wanted), initial=0.0))
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol, err_msg=what)
