"""A graph as a function of CNTK for one batch size, over NumPy's memory."""

import numpy as np

from ..noise import HostNoise
from ..shapes import bind as bound
from .cntk_start import CPU, cntk
from .cntk_values import Memory, carrier, symbol


class FedDraws:
    """Noise that a function reads, by the node that asks for it."""

    def __init__(self, memories):
        self._memories = memories

    def of(self, call):
        return self._memories[call.number].parameter


class Function:
    """A graph for a certain batch size.

    Parameters
    ----------
    lowered : Lowered
    state : dict of str to Memory
        Parameters and running statistics.
    small : set of str
        Inputs of small whole numbers, which float32 holds.
    rows : int
    gradients : collection of (Memory, Memory)
        Parameters, and where `run` writes their gradients.

    Attributes
    ----------
    noise : HostNoise
    """

    def __init__(self, lowered, state, small, rows, gradients=()):
        self.noise, self._small, self._rows, self._gradients = HostNoise(lowered.calls), small, rows, gradients
        graph, sizes = lowered.graph, {"N": rows}
        self._own, self._empty = {}, {}
        for name, kind in graph.inputs.items():
            if name not in state:
                self._take_in(name, kind, bound(kind.shape, sizes))
        self._draws = {call.number: Memory.empty(bound(call.kinds[0].shape, sizes), carrier(call.kinds[0].dtype))
                       for call in self.noise.calls}  # fmt: skip
        used = [state[name] for name in graph.inputs if name in state]
        self._read = [each.parameter for each in used + list(self._own.values()) + list(self._draws.values())]
        feeds = {name: each.parameter for name, each in state.items()}
        feeds.update(self._empty, **{name: each.parameter for name, each in self._own.items()})
        self._build(lowered.run(feeds, FedDraws(self._draws)), graph)

    def _take_in(self, name, kind, shape):
        if 0 in shape:
            self._empty[name] = np.zeros(shape, kind.dtype)
        else:
            self._own[name] = Memory.empty(shape, np.float32 if name in self._small else carrier(kind.dtype))

    def _build(self, results, graph):
        self._known, self._outputs, self._dtypes = {}, {}, {}
        for role, value in results.items():
            self._dtypes[role] = graph.types[graph.outputs[role]].dtype
            if isinstance(value, np.ndarray):
                self._known[role] = value
            else:
                self._outputs[role] = cntk.alias(symbol(value))
        self._variables = {role: one.output for role, one in self._outputs.items()}
        self._results = {role: Memory.empty(one.shape, one.dtype) for role, one in self._outputs.items()}
        self._root = cntk.combine(list(self._outputs.values())) if self._outputs else None
        self._reached = {role: reached(one) for role, one in self._variables.items()}
        self._ways, self._ones = {}, []

    def feed(self, name, array, rows=None):
        """Put in the array of an input, or some rows of it."""
        if name not in self._own:
            return
        own = self._own[name].array
        if rows is None:
            own[...] = array
        elif array.dtype == own.dtype:
            array.take(rows, axis=0, out=own, mode="clip")
        else:
            own[...] = array[rows]

    def draw(self, seed, step):
        """Put in the noise of a step."""
        if not self.noise.calls:
            return
        for call, (drawn,) in zip(self.noise.calls, self.noise.stack(seed, step, 1, self._rows, 1)):
            own = self._draws[call.number].array
            if call.op == "Dropout":
                np.multiply(drawn, own.dtype.type(1.0 / (1.0 - call.attrs["ratio"])), out=own)
            else:
                own[...] = drawn

    def run(self, roles, pulled=None):
        """Compute results, which `result` then gives, and the gradients of one of them.

        Parameters
        ----------
        roles : list of str
        pulled : str, optional
            Role of the scalar that is differentiated.
        """
        key = pulled, tuple(roles)
        if key not in self._ways:
            self._ways[key] = self._way(roles, pulled)
        wanted, backward, others, untouched = self._ways[key]
        for parameter in self._read:
            parameter.record_value_update()
        if backward is not None:
            root, seed, pairs = backward
            self._root._backward(self._root._forward({}, wanted, CPU, root, others), seed, pairs)
        elif wanted:
            self._root._forward({}, wanted, CPU, set(), set())
        for array in untouched:
            array[...] = 0

    def _way(self, roles, pulled):
        """What CNTK is asked for: results; root, its gradient and those it gives; what is held; and arrays left at 0.

        Sorting parameters takes as long as a small layer, so it is done once.
        """
        roots = self._variables
        wanted = {roots[role]: self._results[role].value for role in roles if role in roots}
        if pulled is None:
            return wanted, None, None, ()
        through = self._reached.get(pulled, ())
        pairs = {one.parameter: grad.value for one, grad in self._gradients if one.parameter.uid in through}
        untouched = [grad.array for one, grad in self._gradients if one.parameter.uid not in through]
        if pulled in roots:
            wanted[roots[pulled]] = self._results[pulled].value
        if not pairs:
            return wanted, None, None, untouched
        root, mine = roots[pulled], {parameter.uid for parameter in pairs}
        others = {one for one in self._root.parameters if one.uid in through and one.uid not in mine}
        self._ones.append(Memory(np.ones((), root.dtype)))  # its value reads the array for as long as it is used
        return wanted, ({root}, {root: self._ones[-1].value}, pairs), others, untouched

    def result(self, role):
        """A fresh array of a result, in the dtype that the graph gives it."""
        value = self._known[role] if role in self._known else self._results[role].array
        return np.array(value != 0 if self._dtypes[role] == "bool" else value, dtype=self._dtypes[role])

    def scalar(self, role):
        """A result of one number."""
        return float(self._known[role] if role in self._known else self._results[role].array)


def reached(variable):
    """The uids of the parameters that a gradient of the variable flows to."""
    left, seen = [variable], set()
    while left:
        one = left.pop()
        if one.uid in seen:
            continue
        seen.add(one.uid)
        if one.is_output and one.owner.op_name != "StopGradient":
            left.extend(one.owner.inputs)
    return seen
