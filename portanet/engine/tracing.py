"""Recording a computation as a graph: symbolic tensors and the tracer that writes their nodes down."""

import contextlib

import numpy as np

from .graph import Graph, GraphError, Node, TensorType

INTEGERS = ("int32", "int64", "uint8")


class Expression:
    """Python's arithmetic on anything that a tracer can turn into a tensor."""

    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __add__(self, other):
        return call("Add", self, other)

    def __radd__(self, other):
        return call("Add", other, self)

    def __sub__(self, other):
        return call("Sub", self, other)

    def __rsub__(self, other):
        return call("Sub", other, self)

    def __mul__(self, other):
        return call("Mul", self, other)

    def __rmul__(self, other):
        return call("Mul", other, self)

    def __truediv__(self, other):
        return call("Div", self, other)

    def __rtruediv__(self, other):
        return call("Div", other, self)

    def __pow__(self, other):
        return call("Pow", self, other)

    def __rpow__(self, other):
        return call("Pow", other, self)

    def __matmul__(self, other):
        return call("MatMul", self, other)

    def __rmatmul__(self, other):
        return call("MatMul", other, self)

    def __neg__(self):
        return call("Neg", self)

    def __abs__(self):
        return call("Abs", self)

    def __lt__(self, other):
        return call("Less", self, other)

    def __le__(self, other):
        return call("LessOrEqual", self, other)

    def __gt__(self, other):
        return call("Greater", self, other)

    def __ge__(self, other):
        return call("GreaterOrEqual", self, other)

    def __getitem__(self, key):
        return cut(self, key)

    def __bool__(self):
        raise TypeError("a symbolic tensor has no truth value while the net is being traced; use ops.where")

    def __iter__(self):
        raise TypeError("a symbolic tensor can't be iterated over; slice it, or use ops.gather")


class Tensor(Expression):
    """A value of the graph being traced: its name, dtype and shape (the batch axis is ``"N"``)."""

    __slots__ = ("name", "tracer")

    def __init__(self, tracer, name):
        self.tracer, self.name = tracer, name

    @property
    def type(self):
        return self.tracer.graph.types[self.name]

    @property
    def dtype(self):
        return self.type.dtype

    @property
    def shape(self):
        return self.type.shape

    @property
    def ndim(self):
        return len(self.type.shape)

    def __repr__(self):
        return "<%s %r>" % (self.name, self.type)


class Tracer:
    """Writes nodes into a `Graph`, inferring the type of each result on the way.

    Parameters
    ----------
    name : str
        Of the graph.
    floatX : str
        The dtype that Python numbers and parameters take.
    """

    def __init__(self, name, floatX="float32"):
        self.graph = Graph(name)
        self.floatX = floatX
        self.layer = None
        self.assigned = {}
        self._counts = {}
        self._scalars = {}

    def _fresh(self, stem):
        count = self._counts[stem] = self._counts.get(stem, -1) + 1
        return "%s:%d" % (stem, count)

    @contextlib.contextmanager
    def scope(self, layer):
        """Nodes written inside belong to that layer; their errors name it."""
        before, self.layer = self.layer, layer
        try:
            yield self
        finally:
            self.layer = before

    def input(self, name, dtype, shape):
        """A value that is fed, or the one of that name if it is there already."""
        kind = TensorType(dtype, shape)
        known = self.graph.inputs.setdefault(name, kind)
        if known != kind:
            raise GraphError("input '%s' is declared as %r and as %r" % (name, known, kind), self.layer)
        self.graph.types[name] = kind
        return Tensor(self, name)

    def constant(self, value, dtype=None):
        """An array or number that is part of the graph."""
        array = np.asarray(value)
        if dtype == "bfloat16":  # which NumPy lacks
            return self.emit("Cast", [self.constant(value, "float32")], {"to": dtype})
        if dtype in INTEGERS and array.dtype.kind == "f" and (array != np.floor(array)).any():
            raise GraphError("%s meets a tensor of %s; cast one explicitly" % (value, dtype), self.layer)
        if dtype is None:
            dtype = self.floatX if array.dtype.kind == "f" else {"i": "int32", "u": "int32"}.get(array.dtype.kind)
        array = np.array(array, dtype=dtype)
        key = (str(array.dtype), array.tobytes()) if array.ndim == 0 else None
        if key in self._scalars:
            return Tensor(self, self._scalars[key])
        name = self._fresh("constant")
        self.graph.types[name] = TensorType(str(array.dtype), array.shape)
        self.graph.constants[name] = array
        if key is not None:
            self._scalars[key] = name
        return Tensor(self, name)

    def tensor(self, value, like=None):
        """Anything a user may write where a tensor stands, as a tensor of this graph."""
        if isinstance(value, Tensor):
            if value.tracer is not self:
                raise GraphError("%r belongs to another graph" % value, self.layer)
            return value
        if isinstance(value, Expression):
            return value.trace(self)
        return self.constant(value, like.dtype if like is not None else None)

    def emit(self, op, operands, attrs):
        """Write one node; returns its first result, or all if there are several."""
        typed = operands[1:] if op == "Where" else operands
        like = next((self.tensor(value) for value in typed if isinstance(value, Expression)), None)
        tensors = [None if value is None else self.tensor(value, like) for value in operands]
        return self._write(op, tensors, attrs)

    def _write(self, op, tensors, attrs):
        from .operators import infer  # the composites among them are themselves traced

        kinds = infer(op, [None if tensor is None else tensor.type for tensor in tensors], attrs, self.layer)
        stem = "%s/%s" % (self.layer, op) if self.layer else op
        names = [self._fresh(stem) for _ in kinds]
        self.graph.types.update(zip(names, kinds))
        inputs = ["" if tensor is None else tensor.name for tensor in tensors]
        self.graph.nodes.append(Node(op, inputs, names, attrs, self.layer))
        results = tuple(Tensor(self, name) for name in names)
        return results if len(results) > 1 else results[0]

    def assign(self, variable, value):
        """Record the value that a running statistic takes after this batch."""
        self.assigned[variable.trace(self).name] = self.tensor(value)

    def output(self, role, tensor):
        self.graph.outputs[role] = self.tensor(tensor).name


def cut(value, key):
    """NumPy's basic indexing: whole numbers, slices, ``...`` and ``None``, all known when the graph is made."""
    tensor = value if isinstance(value, Tensor) else current().tensor(value)
    keys = list(key) if isinstance(key, tuple) else [key]
    given = len([k for k in keys if k is not None and k is not Ellipsis])
    if given > tensor.ndim:
        raise GraphError("%d indices for %r" % (given, tensor), tensor.tracer.layer)
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    keys[at : at + 1] = [slice(None)] * (tensor.ndim - given)
    starts, ends, axes, steps, dropped, added, axis = [], [], [], [], [], [], 0
    for entry in keys:
        if entry is None:
            added.append(axis - len(dropped) + len(added))
            continue
        k = entry
        if not isinstance(entry, slice):
            dropped.append(axis)
            k = slice(int(entry), int(entry) + 1 or None)
        if k != slice(None):
            step = 1 if k.step is None else k.step
            far = (1 << 31) - 1
            axes.append(axis)
            steps.append(step)
            starts.append(k.start if k.start is not None else (0 if step > 0 else far))
            ends.append(k.stop if k.stop is not None else (far if step > 0 else -far))
        axis += 1
    result = call("Slice", tensor, starts=starts, ends=ends, axes=axes, steps=steps) if axes else tensor
    result = call("Squeeze", result, axes=dropped) if dropped else result
    return call("Unsqueeze", result, axes=added) if added else result


_active = []


@contextlib.contextmanager
def tracing(tracer):
    """Make `tracer` the one that expressions without a tensor among them are written to."""
    _active.append(tracer)
    try:
        yield tracer
    finally:
        _active.pop()


def current():
    """The tracer at work, or an error for arithmetic outside of any trace."""
    if not _active:
        raise GraphError("ops work on the symbolic tensors of a net being compiled; there is none here")
    return _active[-1]


def call(op, *operands, **attrs):
    """Apply an operator by its ONNX name; numbers and arrays among the operands become constants.

    An operand may be ``None`` where the operator's is optional. Attributes that are ``None`` are left out.
    """
    tracer = next((value.tracer for value in operands if isinstance(value, Tensor)), None) or current()
    given = {key: value for key, value in attrs.items() if value is not None}
    return tracer.emit(op, operands, given)
