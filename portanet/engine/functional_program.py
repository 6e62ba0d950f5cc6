"""What programs have in common whose state is a value: compiled functions take it, with many batches, and give it anew.

A function is compiled for shapes, so that whatever counts batches is padded to the most that a block may have.
"""

import numpy as np

from .array_program import ArrayProgram
from .data_sets import CAPACITY
from .lowering import composites, to_last
from .noise import HostNoise
from .plan import TRAIN


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


class LoweredPlan:
    """A plan's graphs and update rule as calls of an engine's functions, for what an adapter compiles of them.

    Parameters
    ----------
    plan : Plan
    lowered : callable
        Makes a `Lowered` of a graph.
    on_host : bool
        Whether draws come from the host.

    Attributes
    ----------
    count : int
        How often something was compiled.
    host : HostNoise or None
        Where draws come from the host.
    """

    def __init__(self, plan, lowered, on_host):
        self.plan, self.count = plan, 0
        self._graphs = {role: lowered(graph) for role, graph in plan.graphs.items()}
        update = plan.update
        self._rules = {} if update is None else {name: lowered(graph) for name, graph in update.graphs.items()}
        self._clip = None if update is None or update.gradient is None else lowered(update.gradient)
        self.host = HostNoise(self._graphs[TRAIN].calls) if TRAIN in plan.graphs and on_host else None

    def kernels(self):
        """Which composites are kept."""
        return composites(self.plan, self._graphs.get)

    def _cast(self, value, dtype):
        """The engine's array in that dtype, given by name."""
        raise NotImplementedError

    def _joined(self, arrays):
        """All values of some arrays as one vector."""
        raise NotImplementedError

    def _parted(self, flat, sizes):
        """The vector cut into parts of those sizes."""
        raise NotImplementedError

    def _reshaped(self, array, shape):
        raise NotImplementedError

    def moved(self, state, grads, hyper):
        """The state after the update rule."""
        grads = grads if self._clip is None else self._clipped(grads)
        scalars = {"hyper:" + key: self._cast(value, self.plan.floatX) for key, value in hyper.items()}
        scalars["step"] = self._cast(state["step"] + 1, self.plan.floatX)
        moved, slots = {}, {slot: {} for slot in state["slots"]}
        for name in self.plan.trainable:
            feeds = dict(scalars, param=state["parameters"][name], grad=grads[name])
            feeds.update(("slot:" + slot, own[name]) for slot, own in state["slots"].items())
            results = self._rules["*" if "*" in self._rules else name].run(feeds)
            moved[name] = results["param"]
            for slot, own in slots.items():
                own[name] = results["slot:" + slot]
        return {"parameters": moved, "running": state["running"], "slots": slots, "step": state["step"] + 1}

    def _clipped(self, grads):
        shapes = self.plan.trainable
        flat = self._clip.run({"grad": self._joined([grads[name] for name in shapes])})["grad"]
        parts = self._parted(flat, [int(np.prod(shape)) for shape in shapes.values()])
        return {name: self._reshaped(part, shape) for (name, shape), part in zip(shapes.items(), parts)}


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

    def _drawn(self, host, seed, count, rows, capacity=CAPACITY):
        """The noise of `count` steps of that many rows from the present one on, uploaded: one array for each node."""
        return [self._upload(array) for array in host.stack(seed, self.step, count, rows, capacity)]


def filled(values, dtype):
    """As many rows as a block may have, so that every count of batches runs the same function."""
    whole = np.zeros((CAPACITY,) + np.shape(values)[1:], dtype)
    whole[: len(values)] = values
    return whole


def to_numpy(array):
    """A NumPy array of its own, in C order."""
    return np.array(array, order="C")
