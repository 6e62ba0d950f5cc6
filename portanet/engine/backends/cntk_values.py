"""The values that CNTK's kernels take and give.

A value is a NumPy array where it is known when a function is built, else a CNTK variable whose axes are all static, the
batch's among them: CNTK's hidden batch axis exists only within convolution and pooling, as an `Images`.

CNTK computes in float32 and float64 alone. Whole numbers are carried by floats that hold them exactly, truth values as
0 and 1 in either type; the boundary gives them their own dtypes back.
"""

import numpy as np
from cntk.internal.swig_helper import map_if_possible

from ..expansions import expand
from ..graph import Graph, Node
from ..kernels import FORWARD
from ..kernels.tape import Tape
from ..lowering import RANDOM, UnsupportedOperator
from ..operators import infer
from .cntk_start import CPU, cntk

CARRIERS = {"float32": np.float32, "float64": np.float64, "int32": np.float64, "int64": np.float64,
            "uint8": np.float32, "uint16": np.float32, "bool": np.float32}  # fmt: skip
LIMITS = (
    ("any operator", "int32, int64", "exact up to 2**53, no wrap-around; larger data are refused"),
    ("Gather, GatherElements", "float32", "refused beyond 2**24 entries: CNTK takes indices in the type of the data"),
    ("Conv, ConvTranspose", "dilations", "CNTK has none on a CPU: done with zeros between the kernel's values, "
     "exact, but with as much work as a kernel of that extent"),
    ("MatMul", "stacks of matrices", "one product after the other: right, but slow"),
)  # fmt: skip
EXACT = {np.float32: 1 << 24, np.float64: 1 << 53}


class Images:
    """An array (N, C, spatial...) that lies under CNTK's batch axis.

    Parameters
    ----------
    batched : cntk.Function
        (C, spatial...) with the batch axis.
    count : int
        N.
    """

    def __init__(self, batched, count):
        self.batched, self.shape, self._plain = batched, (count,) + tuple(batched.shape), None

    @classmethod
    def of(cls, x):
        return x if isinstance(x, cls) else cls(cntk.to_batch(x), x.shape[0])

    @property
    def plain(self):
        """The same with all axes static."""
        if self._plain is None:
            self._plain = cntk.reshape(cntk.unpack_batch(self.batched), self.shape)
        return self._plain

    def map(self, function):
        """What a function of each place makes of it."""
        return Images(function(self.batched), self.shape[0])


class Memory:
    """A NumPy array that is at the same time a parameter of CNTK's functions, without a copy.

    Attributes
    ----------
    array : ndarray
    parameter : cntk.Parameter
    value : cntk.cntk_py.Value
        For results to be written into the array.
    """

    def __init__(self, array):
        self.array = array
        view = cntk.cntk_py.NDArrayView(array, CPU, False, True)
        self.value = cntk.cntk_py.Value(view)
        self.parameter = cntk.cntk_py.Parameter(view)
        map_if_possible(self.parameter)

    @classmethod
    def empty(cls, shape, dtype):
        return cls(np.zeros(shape, dtype))


def carrier(dtype, layer=None, op=None):
    """The type that CNTK computes values of that dtype in.

    Raises
    ------
    UnsupportedOperator
        For 16-bit floats.
    """
    if dtype not in CARRIERS:
        reason = "CNTK can't compute in %s on a CPU; use float32 or float64" % dtype
        raise UnsupportedOperator(reason, layer, op)
    return CARRIERS[dtype]


def symbol(x, dtype=None):
    """A CNTK variable of any value; what is known becomes a constant."""
    if isinstance(x, Images):
        return x.plain
    if isinstance(x, np.ndarray):
        return constant(np.asarray(x, dtype or carrier(str(x.dtype))))
    return x


def constant(array):
    """A constant in the array's own float type; CNTK's own function makes float32 of numbers."""
    made = cntk.cntk_py.Constant(cntk.cntk_py.NDArrayView(np.array(array, order="C"), CPU, True, False))
    map_if_possible(made)
    return made


def typed(x, dtype):
    """The same numbers in float32 or float64."""
    return x if x.dtype == dtype else cntk.cast(x, dtype)


def alike(*xs):
    """The operands in one type, the widest."""
    wide = np.float64 if any(x.dtype == np.float64 for x in xs) else np.float32
    return [typed(x, wide) for x in xs]


def number(value, like):
    """A constant scalar in the type of another value."""
    return constant(np.asarray(value, like.dtype))


def still(x):
    """The value without its gradient.

    CNTK can't differentiate a function where a sum is what is stopped ("Cannot find input"): a reshape stands between.
    """
    if not isinstance(x, cntk.Function) or x.root_function.op_name != "Plus":
        return cntk.stop_gradient(x)
    shape = tuple(x.shape)
    return cntk.reshape(cntk.stop_gradient(cntk.reshape(x, (1,) + shape)), shape)


def shaped(x, shape):
    """The value in that shape."""
    return x if tuple(x.shape) == tuple(shape) else cntk.reshape(x, tuple(shape))


def is_empty(x):
    return isinstance(x, np.ndarray) and x.size == 0


def folding(op, function):
    """The kernel of an operator, that computes with NumPy what is known, and never meets an array without values.

    The kernel itself gets CNTK variables, but for operands that are known: it makes constants of those it wants.
    """

    def run(call, *operands):
        if op in RANDOM:
            return function(call, *operands)
        if op == "Concat":
            operands = [x for x in operands if not is_empty(x)] or operands[:1]
        elif any(is_empty(x) for x in operands):
            operands = [_some(x, kind) for x, kind in zip(operands, call.kinds)]
        if all(x is None or isinstance(x, np.ndarray) for x in operands):
            return known(call, operands)
        return function(call, *operands)

    return run


def _some(x, kind):
    """Some array of the operand's type: next to an empty one its values decide nothing."""
    return x if x is None or isinstance(x, np.ndarray) else np.zeros(x.shape, kind.dtype)


def known(call, operands):
    """The results of a call by NumPy."""
    graph = Graph(call.op)
    names = ["" if x is None else "x%d" % place for place, x in enumerate(operands)]
    graph.constants = {name: x for name, x in zip(names, operands) if name}
    results = ["y%d" % place for place in range(len(call.results))]
    graph.nodes = [Node(call.op, names, results, dict(call.attrs), call.layer)]
    graph.outputs = {name: name for name in results}
    graph.validate()
    made = Tape(np, expand(graph, FORWARD)).run({})
    found = tuple(np.array(made[name]) for name in results)
    return found if len(found) > 1 else found[0]


def result_shape(call, *operands):
    """The shape of the first result, from those of the operands as they are now."""
    kinds = [None if x is None else type(kind)(kind.dtype, x.shape) for x, kind in zip(operands, call.kinds)]
    return infer(call.op, kinds, call.attrs, call.layer)[0].shape
