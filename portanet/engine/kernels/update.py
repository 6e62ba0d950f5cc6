"""The update rule over flat buffers, in place.

All parameters are one vector, and so are all gradients and each optimiser slot; their names are views. A rule that
works place by place then runs once over the vectors, and its intermediate results overwrite what is used up. What only
depends on hyper-parameters and step count is worked out by NumPy beforehand: a GPU is handed plain numbers.
"""

import numpy as np

from ..expansions import expand
from ..graph import Graph
from ..shapes import product
from .cell import BACKWARD, FORWARD
from .tape import Tape

BLOCK = 1 << 20
IN_PLACE = ("Abs", "Add", "Div", "Exp", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Sign", "Sqrt",
            "Sub", "Tanh")  # fmt: skip


class FlatArrays:
    """Named arrays that are views into one flat buffer."""

    def __init__(self, xp, shapes, dtype):
        sizes = {name: product(shape) for name, shape in shapes.items()}
        self.flat, self.views, at = xp.zeros(sum(sizes.values()), dtype), {}, 0
        for name, shape in shapes.items():
            self.views[name] = self.flat[at : at + sizes[name]].reshape(shape)
            at += sizes[name]

    def copy(self):
        return {name: view.copy() for name, view in self.views.items()}


def split_scalars(graph):
    """Cut the graph of a rule in two.

    Returns
    -------
    Graph
        What needs nothing but hyper-parameters, step count and constants. Its results have the names of its values.
    Graph
        The rest, with those results among its inputs.
    """
    first, rest = Graph(graph.name), Graph(graph.name)
    for name, kind in graph.inputs.items():
        (first if name == "step" or name.startswith("hyper:") else rest).inputs[name] = kind
    known = set(first.inputs)
    for node in graph.nodes:
        is_known = all(name in known or name in graph.constants for name in node.inputs if name)
        (first if is_known else rest).nodes.append(node)
        known.update(node.outputs if is_known else ())
    rest.outputs = graph.outputs
    for name in [name for node in rest.nodes for name in node.inputs] + list(rest.outputs.values()):
        if name in known:
            first.outputs[name], rest.inputs[name] = name, graph.types[name]
    for part in (first, rest):
        part.types, part.constants = graph.types, graph.constants
    return first, rest


class Rule:
    """The graph of an update rule, run in place on certain arrays of one shape.

    Parameters
    ----------
    xp : module
    graph : Graph
        The second that `split_scalars` gives, of kernels only.
    arrays : dict of str to array
        "param", "grad" and "slot:<name>".
    scratch : dict
        Memory for temporaries, shared between rules.
    kernels : pair of dict
    """

    def __init__(self, xp, graph, arrays, scratch, kernels):
        self.xp, self._arrays, self.tape = xp, arrays, Tape(xp, graph, kernels=kernels)
        self.tape.feed(arrays)
        like = arrays["grad"]
        for cell, place in zip(self.tape.cells, plan_places(self.tape.graph)):
            if place is not None and place not in arrays:
                if place not in scratch or scratch[place].size < like.size:
                    scratch[place] = xp.empty(like.size, like.dtype)
                cell.alias = scratch[place][: like.size].reshape(like.shape)
            elif place is not None:
                cell.alias = arrays[place]

    def run(self, scalars):
        """Apply the rule with these results of the graph's first part."""
        results = {role: value for role, value in self.tape.run(scalars).items() if value is not self._arrays[role]}
        for role, value in results.items():
            if any(self.xp.may_share_memory(value, own) for other, own in self._arrays.items() if other != role):
                results[role] = value.copy()  # takes what another held: read before that is overwritten
        for role, value in results.items():
            self.xp.copyto(self._arrays[role], value)


class Updater:
    """Applies an `Update`; the gradients are used up by it.

    Parameters
    ----------
    xp : module
        numpy or cupy.
    update : Update
    parameters, gradients : FlatArrays
    kernels : pair of dict, optional
        Forward and backward, by operator, where they are others than NumPy's.
    """

    def __init__(self, xp, update, parameters, gradients, kernels=(FORWARD, BACKWARD)):
        self.xp, self.parameters, self.gradients = xp, parameters, gradients
        shapes = {name: view.shape for name, view in parameters.views.items()}
        self.slots = {slot: FlatArrays(xp, shapes, parameters.flat.dtype) for slot in update.slots}
        self._clip = None
        if update.gradient is not None:
            self._clip = Tape(xp, expand(update.gradient, kernels[0]), kernels=kernels)
        self._rules, scratch = [], {}
        for name, graph in update.graphs.items():
            scalars, rest = split_scalars(expand(graph, kernels[0]))
            rules = [Rule(xp, rest, part, scratch, kernels) for part in self._parts(name)]
            self._rules.append((Tape(np, scalars) if scalars.nodes else None, rules))

    def _parts(self, name):
        """The arrays of one parameter, or of all of them in blocks."""
        if name != "*":
            return [self._each(lambda arrays: arrays.views[name])]
        size = self.gradients.flat.size
        block = BLOCK if self.xp is np else max(size, 1)
        return [self._block(slice(low, low + block)) for low in range(0, size, block)]

    def _block(self, place):
        return self._each(lambda arrays: arrays.flat[place])

    def _each(self, part):
        arrays = {"grad": part(self.gradients), "param": part(self.parameters)}
        arrays.update(("slot:" + slot, part(own)) for slot, own in self.slots.items())
        return arrays

    def apply(self, hyper, step):
        """Take one step with these hyper-parameters; `step` counts from 1."""
        flat = self.gradients.flat
        scalars = {"hyper:" + name: np.asarray(value, flat.dtype) for name, value in hyper.items()}
        scalars["step"] = np.asarray(step, flat.dtype)
        if self._clip is not None:
            self.xp.copyto(flat, self._clip.run({"grad": flat})["grad"])
        for first, rules in self._rules:
            given = scalars if first is None else first.run(scalars)
            if self.xp is not np:
                given = {
                    name: value[()] if value.ndim == 0 else self.xp.asarray(value) for name, value in given.items()
                }
            for rule in rules:
                rule.run(given)


def plan_places(graph):
    """For each node, the buffer its result goes to: an input's name, the number of a temporary, or None for its own.

    A buffer is taken when the value in it has had its last use, the node's own use included: all these operators read
    a place before they write it. What becomes the new value of an input goes to that input's buffer, if it is free.
    """
    kind = graph.inputs["param"]
    if any(node.op not in IN_PLACE for node in graph.nodes if graph.types[node.outputs[0]] == kind):
        return [None] * len(graph.nodes)
    last = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
    last.update((name, len(graph.nodes)) for name in graph.outputs.values())
    roles = {name: role for role, name in graph.outputs.items()}
    held = {name: name for name, own in graph.inputs.items() if own == kind}
    chosen = []
    for place, node in enumerate(graph.nodes):
        result = node.outputs[0]
        if graph.types[result] != kind:
            chosen.append(None)
            continue
        free = [buffer for buffer, value in held.items() if last.get(value, -1) <= place]
        own = roles.get(result)
        mine = [buffer for buffer in free if held[buffer] in node.inputs]
        spare = [buffer for buffer in free if isinstance(buffer, int) or buffer == "grad"]
        options = ([own] if own in free else spare) if own else mine + spare
        buffer = options[0] if options else len(held)
        held[buffer] = result
        chosen.append(buffer)
    return chosen
