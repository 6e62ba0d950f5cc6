"""A graph made ready for an engine that has its own arrays and its own differentiation: a list of calls.

An engine gives one function for each operator, ``f(call, *operands)``. Engines that want images channels-last get them
so: convolution, pooling and what works place by place between them stay in that order, and axes are moved only at the
edges. Everything is decided here, once; running is a plain loop.
"""

from .expansions import EXPANSIONS, expand
from .graph import GraphError
from .operators import complete, infer, lookup
from .operators.reductions import REDUCTIONS
from .plan import EVALUATE, OUTPUTS, PREDICT, TRAIN
from .shapes import normalize_axis

WINDOWED = ("AveragePool", "Conv", "ConvTranspose", "MaxPool")
RANDOM = ("Bernoulli", "Dropout", "RandomNormalLike", "RandomUniformLike")
FOLLOWING = RANDOM + ("BatchNormalization",)


class UnsupportedOperator(GraphError):  # noqa: N818
    """The engine has no way to compute an operator; names engine, layer and operator."""


def need_dtypes(plan, missing, reason):
    """Refuse values of some dtypes anywhere in a plan, its update rule included.

    Parameters
    ----------
    plan : Plan
    missing : collection of str
    reason : str
        What is said, with ``%s`` for the dtype.

    Raises
    ------
    UnsupportedOperator
        Names the layer and the operator that gives such a value.
    """
    graphs = list(plan.graphs.values())
    if plan.update is not None:
        graphs += list(plan.update.graphs.values()) + ([plan.update.gradient] if plan.update.gradient else [])
    for graph in graphs:
        for node in graph.nodes:
            for name in node.outputs:
                if graph.types[name].dtype in missing:
                    raise UnsupportedOperator(reason % graph.types[name].dtype, node.layer, node.op)


class Kernels(dict):
    """An engine's functions by operator, put in where they are written.

    Examples
    --------
    >>> table = Kernels()
    >>> @table.register("Relu")
    ... def relu(call, x):
    ...     return max(x, 0)
    >>> table.plain({"Abs": abs})
    >>> table["Relu"](None, -2), table["Abs"](None, -2)
    (0, 2)
    """

    def register(self, *ops):
        """Take in ``f(call, *operands)`` for these operators."""

        def take(function):
            self.update((op, function) for op in ops)
            return function

        return take

    def plain(self, functions):
        """Take in functions of the operands alone."""
        for op, function in functions.items():
            self[op] = lambda call, *operands, function=function: function(*operands)


class Call:
    """One node, as a kernel sees it.

    Attributes
    ----------
    op, attrs, layer
        The node's, attributes completed with their defaults (axes moved along, where `last`).
    kinds : list of TensorType or None
        Of the operands, channels first.
    results : tuple of TensorType
        Of the results, channels first.
    last : bool
        Whether images come, and are given back, with their channels on the last axis.
    number : int
        Among the nodes of the graph; tells the draws of one node from those of another.
    memory : dict
        For what the kernel works out once.
    """

    def __init__(self, node, kinds, results, last, number):
        self.op, self.layer, self.kinds, self.results = node.op, node.layer, kinds, results
        self.attrs, self.last, self.number = complete(node.op, node.attrs, node.layer), last, number
        self.memory = {}
        if last and self.attrs.get("axes"):
            self.attrs["axes"] = [moved(axis, kinds[0].rank) for axis in self.attrs["axes"]]


def moved(axis, rank):
    """Where an axis of (N, C, ...) lies in (N, ..., C).

    >>> [moved(axis, 4) for axis in range(4)]
    [0, 3, 1, 2]
    """
    axis = normalize_axis(axis, rank)
    return axis if axis == 0 else rank - 1 if axis == 1 else axis - 1


def to_last(rank):
    """The permutation that moves channels to the end."""
    return (0,) + tuple(range(2, rank)) + (1,)


def to_first(rank):
    """The permutation that moves them back."""
    return (0, rank - 1) + tuple(range(1, rank - 1))


class Lowered:
    """A graph as calls of an engine's functions.

    Parameters
    ----------
    graph : Graph
    kernels : dict of str to callable
        ``f(call, *operands)`` gives the result, or a tuple where the operator has several; random operators get the
        run's noise first. Composites that have none are expanded.
    constant : callable
        Makes the engine's array of a NumPy array.
    transpose : callable, optional
        ``transpose(array, permutation)``; given where images are wanted channels-last.
    engine : str
        Named in errors.

    Attributes
    ----------
    graph : Graph
        As it is run.
    calls : list of Call

    Raises
    ------
    UnsupportedOperator
    """

    def __init__(self, graph, kernels, constant, transpose=None, engine="this engine"):
        self.graph = expand(graph, keep=kernels)
        self._transpose, self._last = transpose, transpose is not None
        self._start, self._steps, self.calls = [], [], []
        self._at, self._moved, self._native = {}, {}, set()
        for name in self.graph.inputs:
            self._at[name] = self._new()
        for name, array in self.graph.constants.items():
            self._at[name] = self._new(constant(array))
        self._inputs = {name: self._at[name] for name in self.graph.inputs}
        for number, node in enumerate(self.graph.nodes):
            if node.op not in kernels:
                raise UnsupportedOperator("%s can't compute this operator" % engine, node.layer, node.op)
            self._add(node, number, kernels[node.op])
        self._outputs = {role: self._first(name) for role, name in self.graph.outputs.items()}

    def _new(self, value=None):
        """The number of one more value."""
        self._start.append(value)
        return len(self._start) - 1

    def _first(self, name):
        """The number of a value with its channels first."""
        if name not in self._native:
            return self._at[name]
        return self._move(self._at[name], (name, "first"), to_first(self.graph.types[name].rank), 0)

    def _last_of(self, name, rank):
        """The number of a value with its channels last, as it broadcasts against one of that rank."""
        own = self.graph.types[name].rank
        if own == 0 or (own == rank and name in self._native):
            return self._at[name]
        return self._move(self._first(name), (name, rank), to_last(rank), rank - own)

    def _move(self, source, key, permutation, missing):
        """A step that permutes the axes, `missing` ones put before them; made once for each `key`."""
        if key not in self._moved:
            transpose = self._transpose

            def move(array):
                return transpose(array[(None,) * missing + (Ellipsis,)] if missing else array, permutation)

            self._moved[key] = self._new()
            self._steps.append((move, (source,), (self._moved[key],), None))
        return self._moved[key]

    def _add(self, node, number, kernel):
        kinds = [self.graph.types[name] if name else None for name in node.inputs]
        results = infer(node.op, kinds, node.attrs, node.layer)
        last = self._last and self._wants_last(node, kinds, results[0])
        call = Call(node, kinds, results, last, number)
        ins = [self._operand(node, place, last, results[0].rank) for place in range(len(node.inputs))]
        while ins and ins[-1] is None:
            ins.pop()
        names = list(node.outputs) + ["%s/unused:%d" % (node.outputs[0], place) for place in range(len(results))]
        for name, kind in zip(names, results):
            self._at[name] = self._new()
            if last and kind.rank > 2:
                self._native.add(name)
        self.calls.append(call)
        self._steps.append((kernel, tuple(ins), tuple(self._at[name] for name in names[: len(results)]), call))

    def _operand(self, node, place, last, rank):
        name = node.inputs[place]
        if not name:
            return None
        if last and lookup(node.op).elementwise:
            return self._last_of(name, rank)
        return self._last_of(name, self.graph.types[name].rank) if last and place == 0 else self._first(name)

    def _wants_last(self, node, kinds, result):
        """Whether a node is computed channels-last: it must be, or may be and what it reads lies so."""
        if node.op in WINDOWED:
            return True
        native = [kind.rank for name, kind in zip(node.inputs, kinds) if name in self._native]
        if not native or result.rank < 3:
            return False
        if node.op in REDUCTIONS:
            return bool(node.attrs.get("keepdims", 1)) and bool(node.attrs.get("axes"))
        if node.op in FOLLOWING:
            return node.inputs[0] in self._native
        return lookup(node.op).elementwise and set(native) == {result.rank}

    def run(self, feeds, noise=None):
        """Results by role.

        Parameters
        ----------
        feeds : dict of str to array
            Every input of the graph; more are passed over.
        noise : object, optional
            Handed to random operators.
        """
        values = list(self._start)
        for name, at in self._inputs.items():
            values[at] = feeds[name]
        for function, ins, outs, call in self._steps:
            operands = [None if i is None else values[i] for i in ins]
            if call is None:
                values[outs[0]] = function(*operands)
                continue
            result = function(call, noise, *operands) if call.op in RANDOM else function(call, *operands)
            if len(outs) == 1:
                values[outs[0]] = result
            else:
                for at, value in zip(outs, result):
                    values[at] = value
        return {role: values[at] for role, at in self._outputs.items()}

    def kernels(self, plan_graph):
        """For each composite of the graph as it was planned: "fused" where it was kept, else "expanded"."""
        kept = {node.op for node in self.graph.nodes}
        written = {node.op for node in plan_graph.nodes if node.op in EXPANSIONS}
        return {op: "fused" if op in kept else "expanded" for op in written}


def composites(plan, lowered):
    """For each composite of a plan: "fused" or "expanded", the training graph having the last word.

    Parameters
    ----------
    plan : Plan
    lowered : callable
        Gives the `Lowered` graph of that name.
    """
    found = {}
    for role in (OUTPUTS, PREDICT, EVALUATE, TRAIN):
        if role in plan.graphs:
            found.update(lowered(role).kernels(plan.graphs[role]))
    return found
