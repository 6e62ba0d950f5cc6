"""A graph made ready to run: its nodes in order, each with its kernel and cell; backwards for gradients."""

import numpy as np

from ..graph import GraphError
from ..operators import complete, infer
from .cell import BACKWARD, FORWARD, Cell


class Tape:
    """Runs one graph, forward and in reverse.

    Parameters
    ----------
    xp : module
        numpy or cupy.
    graph : Graph
        Holds only operators that have a kernel.
    source : Source, optional
        Of random numbers.
    wanted : dict of str to array
        Inputs whose gradient is wanted, and where to write it.
    loss : str, optional
        Role of the scalar output that is differentiated.
    kernels : pair of dict
        Forward and backward, by operator.
    """

    def __init__(self, xp, graph, source=None, wanted=None, loss=None, kernels=(FORWARD, BACKWARD)):
        self.xp, self.graph = xp, graph
        self._forward, self._backward = kernels
        self._at = {}
        self._values = []
        for name in graph.inputs:
            self._place(name)
        for name, array in graph.constants.items():
            self._values[self._place(name)] = xp.asarray(array)
        self._steps = [self._step(node, source) for node in graph.nodes]
        self.outputs = {role: self._at[name] for role, name in graph.outputs.items()}
        self._reverse, self._wanted = [], []
        if wanted:
            self._plan_reverse(wanted, self.outputs[loss])

    def _place(self, name):
        if name not in self._at:
            self._at[name] = len(self._values)
            self._values.append(None)
        return self._at[name]

    def _step(self, node, source):
        if node.op not in self._forward:
            raise GraphError("NumPy has no kernel for this operator", node.layer, node.op)
        kinds = [self.graph.types.get(name) for name in node.inputs]
        cell = Cell(self.xp, node.op, complete(node.op, node.attrs, node.layer), node.layer, kinds)
        cell.source = source
        cell.constants = [self.graph.constants.get(name) for name in node.inputs]
        ins = [self._at[name] if name else None for name in node.inputs]
        while ins and ins[-1] is None:
            ins.pop()
        outs = [self._place(name) for name in node.outputs]
        for _ in infer(node.op, kinds, node.attrs, node.layer)[len(outs) :]:
            outs.append(len(self._values))
            self._values.append(None)
        return self._forward[node.op], cell, ins, outs

    def _plan_reverse(self, wanted, loss):
        """Choose the nodes between the wanted inputs and the loss, and which gradients each must make."""
        reached = {self._at[name] for name in wanted}
        active = []
        for function, cell, ins, outs in self._steps:
            cell.needs = tuple(i in reached for i in ins)
            if cell.op in self._backward and any(cell.needs):
                reached.update(outs)
                active.append((function, cell, ins, outs))
        useful, uses = {loss}, {}
        for _, cell, ins, outs in reversed(active):
            if not useful.intersection(outs):
                continue
            useful.update(i for i, need in zip(ins, cell.needs) if need)
            for i, need in zip(ins, cell.needs):
                uses[i] = uses.get(i, 0) + bool(need)
            self._reverse.append((self._backward[cell.op], cell, ins, outs))
        self._wanted = [(self._at[name], target) for name, target in wanted.items()]
        alone = {at: target for at, target in self._wanted if uses.get(at) == 1}
        for _, cell, ins, _ in self._reverse:
            cell.targets = [alone.get(i) for i in ins]
        self._loss = loss

    @property
    def cells(self):
        return [cell for _, cell, _, _ in self._steps]

    def feed(self, feeds):
        """Set inputs by name; they stay until they are set anew. Names the graph lacks are passed over."""
        for name, array in feeds.items():
            at = self._at.get(name)
            if at is not None:
                self._values[at] = array

    def run(self, feeds):
        """Compute every value; returns the results by role, in buffers that the next run overwrites.

        Overflow and division by zero give infinities and NaN, without warnings, as on every other engine.

        Raises
        ------
        GraphError
            When an index is out of range; names the layer.
        """
        values = self._values
        self.feed(feeds)
        try:
            with np.errstate(all="ignore"):
                for function, cell, ins, outs in self._steps:
                    result = function(cell, *[None if i is None else values[i] for i in ins])
                    if len(outs) == 1:
                        values[outs[0]] = result
                    else:
                        for at, value in zip(outs, result):
                            values[at] = value
        except IndexError as error:
            raise GraphError(str(error), cell.layer, cell.op)
        return {role: values[at] for role, at in self.outputs.items()}

    def pull(self):
        """After `run`: write the gradient of the loss into the wanted arrays."""
        grads = [None] * len(self._values)
        grads[self._loss] = self.xp.ones((), self._values[self._loss].dtype)
        with np.errstate(all="ignore"):
            self._pull(grads)
        for at, target in self._wanted:
            grad = grads[at]
            if grad is None:
                target.fill(0)
            elif grad is not target:
                self.xp.copyto(target, grad)

    def _pull(self, grads):
        values = self._values
        for function, cell, ins, outs in self._reverse:
            pulled = [grads[at] for at in outs]
            if all(grad is None for grad in pulled):
                continue
            inputs = [None if i is None else values[i] for i in ins]
            if len(outs) == 1:
                made = function(cell, pulled[0], inputs, values[outs[0]])
            else:
                made = function(cell, pulled, inputs, [values[at] for at in outs])
            for at, need, grad in zip(ins, cell.needs, made):
                if need and grad is not None:
                    grads[at] = grad if grads[at] is None else grads[at] + grad
