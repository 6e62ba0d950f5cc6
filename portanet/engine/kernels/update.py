"""The update rule over flat buffers, in place.

All parameters are one vector, and so are all gradients and each optimiser slot; their names are views. A rule that works
place by place then runs once over the vectors, and its intermediate results overwrite whatever is not needed any more.
"""

from ..expansions import expand
from ..shapes import product
from .cell import FORWARD
from .tape import Tape

BLOCK = 1 << 18
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


class Updater:
    """Applies an `Update`; the gradients are used up by it."""

    def __init__(self, xp, update, parameters, gradients):
        self.xp, self.update, self.parameters, self.gradients = xp, update, parameters, gradients
        shapes = {name: view.shape for name, view in parameters.views.items()}
        self.slots = {slot: FlatArrays(xp, shapes, parameters.flat.dtype) for slot in update.slots}
        self._clip = None if update.gradient is None else Tape(xp, expand(update.gradient, FORWARD))
        self._tapes = {key: Tape(xp, expand(graph, FORWARD)) for key, graph in update.graphs.items()}
        self._places = {key: plan_places(tape.graph) for key, tape in self._tapes.items()}
        self._scratch = {}

    def apply(self, hyper, step):
        """Take one step with these hyper-parameters; `step` counts from 1."""
        xp, flat = self.xp, self.gradients.flat
        scalars = {"hyper:" + name: xp.asarray(value, flat.dtype) for name, value in hyper.items()}
        scalars["step"] = xp.asarray(step, flat.dtype)
        if self._clip is not None:
            xp.copyto(flat, self._clip.run({"grad": flat})["grad"])
        if not self.update.elementwise:
            for name in self._tapes:
                self._apply(name, scalars, [arrays.views[name] for arrays in self._all()])
            return
        for start in range(0, flat.size, BLOCK):
            self._apply("*", scalars, [arrays.flat[start : start + BLOCK] for arrays in self._all()])

    def _all(self):
        return [self.gradients, self.parameters] + list(self.slots.values())

    def _apply(self, key, scalars, parts):
        feeds = dict(zip(["grad", "param"] + ["slot:" + slot for slot in self.slots], parts))
        tape = self._tapes[key]
        for cell, place in zip(tape.cells, self._places[key]):
            if place is not None:
                cell.alias = feeds[place] if place in feeds else self._temporary(place, parts[0])
        results = tape.run(dict(feeds, **scalars))
        for role, value in results.items():
            if any(self.xp.may_share_memory(value, array) for other, array in feeds.items() if other != role):
                results[role] = value.copy()  # takes what another held: read before that is overwritten
        for role, value in results.items():
            if value is not feeds[role]:
                self.xp.copyto(feeds[role], value)

    def _temporary(self, place, like):
        """Scratch memory number `place`, in the shape of `like`."""
        base = self._scratch.get(place)
        if base is None or base.size < like.size:
            base = self._scratch[place] = self.xp.empty(like.size, like.dtype)
        return base[: like.size].reshape(like.shape)


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
