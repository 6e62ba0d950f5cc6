"""A computation as data: nodes named after ONNX operators, constants, and typed inputs.

A graph is JSON plus named arrays, so that it can be written to a file, sent to a worker, or read by a person.
"""

import numpy as np

from .shapes import show

FORMAT = 1
FLOATS = ("float32", "float64", "float16", "bfloat16")
DTYPES = FLOATS + ("int32", "int64", "uint8", "uint16", "bool")


class GraphError(ValueError):
    """A graph that can't be right; names the layer the fault stems from."""

    def __init__(self, message, layer=None, op=None):
        self.layer, self.op, self.fault = layer, op, message
        where = "layer '%s': " % layer if layer else ""
        what = "%s: " % op if op else ""
        super().__init__(where + what + message)

    def __reduce__(self):
        return type(self), (self.fault, self.layer, self.op)


class TensorType:
    """Element type and shape of a value; the batch axis is the symbol ``"N"``."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype, shape):
        if dtype not in DTYPES:
            raise GraphError("unknown dtype %r; allowed: %s" % (dtype, ", ".join(DTYPES)))
        self.dtype, self.shape = dtype, tuple(shape)

    @property
    def rank(self):
        return len(self.shape)

    def __eq__(self, other):
        return isinstance(other, TensorType) and (self.dtype, self.shape) == (other.dtype, other.shape)

    def __hash__(self):
        return hash((self.dtype, self.shape))

    def __repr__(self):
        return "%s%s" % (self.dtype, show(self.shape))


class Node:
    """One operator applied to named values; an omitted optional input is the empty name."""

    __slots__ = ("attrs", "inputs", "layer", "op", "outputs")

    def __init__(self, op, inputs, outputs, attrs=None, layer=None):
        self.op, self.inputs, self.outputs = op, tuple(inputs), tuple(outputs)
        self.attrs, self.layer = dict(attrs or {}), layer

    def __repr__(self):
        return "%s = %s(%s)" % (", ".join(self.outputs), self.op, ", ".join(self.inputs))


class Graph:
    """Inputs, constants, nodes in an order that can be run, and the names of the results.

    Attributes
    ----------
    inputs : dict of str to TensorType
    constants : dict of str to numpy.ndarray
    nodes : list of Node
    outputs : dict of str to str
        Role of a result ("loss", "prediction") to the name of the value.
    types : dict of str to TensorType
        Type of every value, inputs and constants included.
    """

    def __init__(self, name):
        self.name = name
        self.inputs, self.constants, self.nodes, self.outputs, self.types = {}, {}, [], {}, {}

    def to_json(self):
        """The graph as JSON-able data, without the arrays of its constants."""
        return {
            "format": FORMAT,
            "name": self.name,
            "inputs": [[name, kind.dtype, list(kind.shape)] for name, kind in self.inputs.items()],
            "constants": sorted(self.constants),
            "nodes": [[n.op, list(n.inputs), list(n.outputs), n.attrs, n.layer] for n in self.nodes],
            "outputs": self.outputs,
        }

    @classmethod
    def from_json(cls, data, constants):
        """Rebuild a graph and check every node of it.

        Raises
        ------
        GraphError
            On another format, an unknown operator, a missing value, or shapes and dtypes that do not fit.
        """
        if data.get("format") != FORMAT:
            raise GraphError("graph format %r; this version reads %d" % (data.get("format"), FORMAT))
        graph = cls(data["name"])
        for name, dtype, shape in data["inputs"]:
            graph.inputs[name] = TensorType(dtype, shape)
        for name in data["constants"]:
            if name not in constants:
                raise GraphError("graph '%s' lacks the array of its constant '%s'" % (graph.name, name))
            graph.constants[name] = np.asarray(constants[name])
        graph.nodes = [Node(*fields) for fields in data["nodes"]]
        graph.outputs = dict(data["outputs"])
        graph.validate()
        return graph

    def validate(self):
        """Infer the type of every value anew, refusing what does not fit."""
        from .operators import infer

        self.types = dict(self.inputs)
        for name, array in self.constants.items():
            self.types[name] = TensorType(str(array.dtype), array.shape)
        for node in self.nodes:
            missing = [name for name in node.inputs if name and name not in self.types]
            if missing:
                raise GraphError("value '%s' is used before it is made" % missing[0], node.layer, node.op)
            kinds = infer(node.op, [self.types.get(name) for name in node.inputs], node.attrs, node.layer)
            if len(node.outputs) > len(kinds):
                raise GraphError("has %d results, not %d" % (len(kinds), len(node.outputs)), node.layer, node.op)
            for name, kind in zip(node.outputs, kinds):
                if name in self.types:
                    raise GraphError("value '%s' is made twice" % name, node.layer, node.op)
                self.types[name] = kind
        for role, name in self.outputs.items():
            if name not in self.types:
                raise GraphError("graph '%s': result '%s' names no value: '%s'" % (self.name, role, name))
