"""What programs have in common whose state is a value: compiled functions take it, with many batches, and give it anew.

A function is compiled for shapes, so that whatever counts batches is padded to the most that a block may have.
"""

import numpy as np

from .array_program import ArrayProgram
from .data_sets import CAPACITY
from .lowering import to_last


class FedDraws:
    """Noise drawn on the host, channels first, one array for each node.

    Parameters
    ----------
    calls : list of Call
    arrays : list of array
        The engine's.
    transpose, cast : callable
        The engine's functions of an array and an order of axes, and of an array and a dtype.
    """

    def __init__(self, calls, arrays, transpose, cast):
        self._made = {call.number: array for call, array in zip(calls, arrays)}
        self._transpose, self._cast = transpose, cast

    def mask(self, call, x):
        array = self._made[call.number]
        return self._transpose(array, to_last(len(array.shape))) if call.last else array

    def uniform(self, call, x):
        return self._cast(self.mask(call, x), x.dtype)

    normal = uniform


class FunctionalProgram(ArrayProgram):
    """A program whose `_state` is a dict of "parameters", "running", "slots" and "step", in the engine's arrays."""

    def _get(self):
        def named(arrays, names):
            return {name: to_numpy(arrays[name]) for name in names}

        trainable, state = self.plan.trainable, self._state
        return {
            "parameters": named(state["parameters"], trainable),
            "running": named(state["running"], self.plan.running),
            "slots": {slot: named(state["slots"][slot], trainable) for slot in self.plan.slots},
        }

    def _drawn(self, host, seed, count, rows):
        """The noise of `count` steps of that many rows from the present one on, uploaded: one array for each node."""
        stacked = host.stack(seed, self.step, count, rows, CAPACITY)
        return [self._upload(array) for array in stacked]


def filled(values, dtype):
    """As many rows as a block may have, so that every count of batches runs the same function."""
    whole = np.zeros((CAPACITY,) + np.shape(values)[1:], dtype)
    whole[: len(values)] = values
    return whole


def to_numpy(array):
    """A NumPy array of its own, in C order."""
    return np.array(array, order="C")
