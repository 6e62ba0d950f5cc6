"""Operators that rearrange, cut and join."""

from ..graph import TensorType
from ..shapes import (
    ShapeError,
    add,
    broadcast,
    divide,
    is_symbolic,
    normalize_axes,
    normalize_axis,
    parse,
    product,
    show,
)  # fmt: skip
from .elementwise import need_same_dtype
from .registry import REQUIRED, operator

INDEX_DTYPES = ("int32", "int64")


@operator("Reshape", "data", {"shape": REQUIRED, "allowzero": 0}, static=("shape",))
def reshape(attrs, x):
    """0 keeps the size of that axis (unless ``allowzero``), one -1 is worked out."""
    target = list(attrs["shape"])
    if any(is_symbolic(dim) for dim in target):
        raise ShapeError("shape %s must hold whole numbers; the batch axis is written 0 or -1" % (target,))
    if target.count(-1) > 1 or any(dim < -1 for dim in target):
        raise ShapeError("shape %s must hold sizes, 0 for 'as before', and at most one -1" % (target,))
    for axis, dim in enumerate(target):
        if dim == 0 and not attrs["allowzero"]:
            if axis >= x.rank:
                raise ShapeError("shape %s copies axis %d, which %s lacks" % (target, axis, show(x.shape)))
            target[axis] = x.shape[axis]
    if -1 in target:
        at = target.index(-1)
        rest = list(x.shape)
        others = target[:at] + target[at + 1 :]
        for dim in list(others):
            if is_symbolic(dim) and dim in rest:
                rest.remove(dim)
                others.remove(dim)
        try:
            target[at] = divide(product(rest), product(others))
        except ShapeError:
            raise ShapeError("can't reshape %s into %s" % (show(x.shape), tuple(attrs["shape"])))
    elif parse(product(target)) != parse(product(x.shape)):
        raise ShapeError("can't reshape %s into %s" % (show(x.shape), tuple(attrs["shape"])))
    return TensorType(x.dtype, target)


@operator("Transpose", "data", {"perm": None})
def transpose(attrs, x):
    perm = attrs["perm"]
    if perm is None:
        perm = range(x.rank)[::-1]
    if sorted(perm) != list(range(x.rank)):
        raise ShapeError("perm %s is no permutation of the %d axes" % (list(perm), x.rank))
    return TensorType(x.dtype, [x.shape[axis] for axis in perm])


@operator("Concat", "inputs*", {"axis": REQUIRED})
def concat(attrs, *parts):
    dtype = need_same_dtype(*parts)
    axis = normalize_axis(attrs["axis"], parts[0].rank)
    rest = {kind.shape[:axis] + kind.shape[axis + 1 :] for kind in parts}
    if len({kind.rank for kind in parts}) > 1 or len(rest) > 1:
        shapes = " and ".join(show(kind.shape) for kind in parts)
        raise ShapeError("shapes %s differ elsewhere than on axis %d" % (shapes, axis))
    shape = list(parts[0].shape)
    shape[axis] = add([kind.shape[axis] for kind in parts])
    return TensorType(dtype, shape)


def slice_ranges(attrs, rank):
    """The ``slice`` for every axis that a Slice's attributes describe."""
    starts, ends = attrs["starts"], attrs["ends"]
    axes = attrs["axes"] if attrs["axes"] is not None else list(range(len(starts)))
    steps = attrs["steps"] if attrs["steps"] is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ShapeError("starts, ends, axes and steps must be of one length")
    ranges = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, normalize_axes(axes, rank), steps):
        if step == 0:
            raise ShapeError("a step of 0")
        ranges[axis] = slice(start, end, step)
    return ranges


@operator("Slice", "data", {"starts": REQUIRED, "ends": REQUIRED, "axes": None, "steps": None},
          static=("starts", "ends", "axes", "steps"))  # fmt: skip
def slice_(attrs, x):
    shape = []
    for dim, cut in zip(x.shape, slice_ranges(attrs, x.rank)):
        if not is_symbolic(dim):
            shape.append(len(range(*cut.indices(dim))))
        elif cut == slice(None) or (cut.start == 0 and cut.step == 1 and cut.stop >= (1 << 30)):
            shape.append(dim)
        else:
            raise ShapeError("the batch axis can't be sliced: its size is not known")
    return TensorType(x.dtype, shape)


PAD_MODES = ("constant", "reflect", "edge", "wrap")


def pad_widths(attrs, rank):
    """``[(before, after)]`` for every axis."""
    pads = list(attrs["pads"])
    axes = list(range(rank)) if attrs["axes"] is None else normalize_axes(attrs["axes"], rank)
    if len(pads) != 2 * len(axes):
        raise ShapeError("pads holds %d numbers, %d axes need %d" % (len(pads), len(axes), 2 * len(axes)))
    widths = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        widths[axis] = (pads[place], pads[place + len(axes)])
    return widths


@operator("Pad", "data", {"pads": REQUIRED, "constant_value": 0.0, "axes": None, "mode": "constant"},
          static=("pads", "constant_value", "axes"))  # fmt: skip
def pad(attrs, x):
    mode = attrs["mode"]
    if mode not in PAD_MODES:
        raise ShapeError("unknown mode %r; allowed: %s" % (mode, ", ".join(PAD_MODES)))
    shape = []
    for dim, (before, after) in zip(x.shape, pad_widths(attrs, x.rank)):
        if before < 0 or after < 0:
            raise ShapeError("negative pads %s; use Slice" % ((before, after),))
        if is_symbolic(dim) and (before or after):
            raise ShapeError("the batch axis can't be padded")
        least = {"reflect": max(before, after) + 1, "wrap": max(before, after), "edge": 1}.get(mode, 0)
        if (before or after) and dim < least:
            raise ShapeError("mode %s with pads %s needs a size of at least %d, got %d" % (
                mode, (before, after), least, dim))  # fmt: skip
        shape.append(dim if is_symbolic(dim) else dim + before + after)
    return TensorType(x.dtype, shape)


def squeezed_axes(attrs, shape):
    if attrs["axes"] is None:
        return tuple(axis for axis, dim in enumerate(shape) if dim == 1)
    return normalize_axes(attrs["axes"], len(shape))


@operator("Squeeze", "data", {"axes": None}, static=("axes",))
def squeeze(attrs, x):
    axes = squeezed_axes(attrs, x.shape)
    wrong = [axis for axis in axes if x.shape[axis] != 1]
    if wrong:
        raise ShapeError("axis %d of %s is not of size 1" % (wrong[0], show(x.shape)))
    return TensorType(x.dtype, [dim for axis, dim in enumerate(x.shape) if axis not in axes])


@operator("Unsqueeze", "data", {"axes": REQUIRED}, static=("axes",))
def unsqueeze(attrs, x):
    rank = x.rank + len(attrs["axes"])
    axes = normalize_axes(attrs["axes"], rank)
    left = iter(x.shape)
    return TensorType(x.dtype, [1 if axis in axes else next(left) for axis in range(rank)])


@operator("Expand", "input", {"shape": REQUIRED}, static=("shape",))
def expand(attrs, x):
    return TensorType(x.dtype, broadcast(x.shape, tuple(attrs["shape"])))


def _need_indices(kind):
    if kind.dtype not in INDEX_DTYPES:
        raise ShapeError("indices must be int32 or int64, got %s" % kind.dtype)


@operator("Gather", "data indices", {"axis": 0})
def gather(attrs, x, indices):
    _need_indices(indices)
    axis = normalize_axis(attrs["axis"], x.rank)
    return TensorType(x.dtype, x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@operator("GatherElements", "data indices", {"axis": 0})
def gather_elements(attrs, x, indices):
    _need_indices(indices)
    axis = normalize_axis(attrs["axis"], x.rank)
    if indices.rank != x.rank:
        raise ShapeError("data %s and indices %s differ in rank" % (show(x.shape), show(indices.shape)))
    for place, (have, wanted) in enumerate(zip(x.shape, indices.shape)):
        known = not (is_symbolic(have) or is_symbolic(wanted))
        if place != axis and (wanted > have if known else wanted != have):
            raise ShapeError("indices %s reach beyond data %s on axis %d" % (show(indices.shape), show(x.shape), place))
    return TensorType(x.dtype, indices.shape)


@operator("OneHot", "indices", {"depth": REQUIRED, "values": REQUIRED, "axis": -1, "dtype": "float32"},
          static=("depth", "values"))  # fmt: skip
def one_hot(attrs, indices):
    """`values` is the pair (off, on); `dtype` is theirs. Indices outside the depth give a row of `off`."""
    if len(attrs["values"]) != 2 or attrs["depth"] < 1:
        raise ShapeError("needs two values and a depth of at least 1, got %s and %s" % (
            list(attrs["values"]), attrs["depth"]))  # fmt: skip
    axis = normalize_axis(attrs["axis"], indices.rank + 1)
    return TensorType(attrs["dtype"], indices.shape[:axis] + (int(attrs["depth"]),) + indices.shape[axis:])
