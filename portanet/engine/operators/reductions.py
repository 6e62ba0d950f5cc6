"""Operators that fold axes away."""

from ..graph import TensorType
from ..shapes import normalize_axes, normalize_axis
from .elementwise import need_float, need_number
from .registry import operator

REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")


def reduced_axes(attrs, rank):
    """Axes a reduction folds: those given, or all, or (``noop_with_empty_axes``) none."""
    axes = attrs["axes"]
    if axes is None or len(axes) == 0:
        return () if attrs["noop_with_empty_axes"] else tuple(range(rank))
    return normalize_axes(axes, rank)


def reduced_shape(shape, axes, keepdims):
    if keepdims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def infer_reduction(attrs, x):
    return TensorType(x.dtype, reduced_shape(x.shape, reduced_axes(attrs, x.rank), attrs["keepdims"]))


def _register(name):
    @operator(name, "data", {"axes": None, "keepdims": 1, "noop_with_empty_axes": 0}, static=("axes",))
    def infer(attrs, x):
        if name == "ReduceMean":
            need_float(x, "data")
        elif name in ("ReduceSum", "ReduceProd"):
            need_number(x)
        return infer_reduction(attrs, x)


for _name in REDUCTIONS:
    _register(_name)


def _register_arg(name):
    @operator(name, "data", {"axis": 0, "keepdims": 1, "select_last_index": 0})
    def infer(attrs, x):
        axis = normalize_axis(attrs["axis"], x.rank)
        return TensorType("int64", reduced_shape(x.shape, (axis,), attrs["keepdims"]))


for _name in ("ArgMax", "ArgMin"):
    _register_arg(_name)
