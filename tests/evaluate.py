"""A plain interpreter of graphs, for tests that must not depend on any engine."""

import numpy as np

from portanet.engine.expansions import expand
from portanet.engine.operators import complete
from portanet.engine.operators.reductions import reduced_axes

BY_UFUNC = {
    "Abs": np.abs, "Add": np.add, "Div": np.divide, "Equal": np.equal, "Exp": np.exp, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "Less": np.less, "LessOrEqual": np.less_equal, "Log": np.log,
    "Max": np.maximum, "Min": np.minimum, "Mul": np.multiply, "Neg": np.negative, "Not": np.logical_not,
    "Pow": np.power, "Sign": np.sign, "Sqrt": np.sqrt, "Sub": np.subtract, "Tanh": np.tanh,
}  # fmt: skip

OTHERWISE = {
    "ArgMax": lambda a, x: np.argmax(x, axis=a["axis"], keepdims=bool(a["keepdims"])),
    "Cast": lambda a, x: x.astype(a["to"]),
    "Clip": lambda a, x: np.clip(x, a["min"], a["max"]),
    "GatherElements": lambda a, x, indices: np.take_along_axis(x, indices, a["axis"]),
    "OneHot": lambda a, i: np.eye(a["depth"], dtype=a["dtype"])[i],
    "ReduceMax": lambda a, x: _reduce(np.max, a, x),
    "ReduceMean": lambda a, x: _reduce(np.mean, a, x),
    "ReduceSum": lambda a, x: _reduce(np.sum, a, x),
    "Relu": lambda a, x: np.maximum(x, 0),
    "Softplus": lambda a, x: np.logaddexp(x, 0),
    "Squeeze": lambda a, x: np.squeeze(x, axis=tuple(a["axes"])),
    "Transpose": lambda a, x: np.transpose(x, a["perm"]),
    "Unsqueeze": lambda a, x: np.expand_dims(x, tuple(a["axes"])),
    "Where": lambda a, condition, x, y: np.where(condition, x, y),
}


def _reduce(function, attrs, x):
    return function(x, axis=reduced_axes(attrs, x.ndim), keepdims=bool(attrs["keepdims"]))


def run_graph(graph, feeds):
    """Results by role; `feeds` must hold exactly the graph's inputs."""
    graph = expand(graph)
    assert set(feeds) == set(graph.inputs)
    values = {name: np.asarray(feeds[name], dtype=kind.dtype) for name, kind in graph.inputs.items()}
    values.update(graph.constants)
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        if node.op in BY_UFUNC:
            result = BY_UFUNC[node.op](*operands)
        else:
            result = OTHERWISE[node.op](complete(node.op, node.attrs), *operands)
        (name,) = node.outputs
        values[name] = np.asarray(result)
        assert values[name].dtype == graph.types[name].dtype, node
    return {role: values[name] for role, name in graph.outputs.items()}
