"""What CNTK computes for each operator that rearranges, cuts and joins."""

import numpy as np

from ..lowering import Kernels, UnsupportedOperator
from ..operators.shaping import pad_widths, slice_ranges
from ..shapes import normalize_axis
from .cntk_start import cntk
from .cntk_values import EXACT, alike, constant, number, result_shape, shaped, symbol, typed

SHAPING = Kernels()
kernel = SHAPING.register


@kernel("Expand")
def expand(call, x):
    shape = result_shape(call, x)
    if 0 in shape:
        return np.zeros(shape, call.results[0].dtype)
    x = symbol(x)
    return x if tuple(x.shape) == tuple(shape) else x + constant(np.zeros(shape, x.dtype))


@kernel("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(call, x):
    shape = result_shape(call, x)
    return shaped(symbol(x), shape)


@kernel("Transpose")
def transpose(call, x):
    x = symbol(x)
    perm = call.attrs["perm"] or tuple(range(len(x.shape)))[::-1]
    return x if list(perm) == list(range(len(x.shape))) else cntk.transpose(x, tuple(perm))


@kernel("Concat")
def concat(call, *parts):
    parts = alike(*[symbol(part) for part in parts])
    axis = normalize_axis(call.attrs["axis"], len(parts[0].shape))
    return cntk.splice(*parts, axis=axis) if len(parts) > 1 else parts[0]


def cut(x, ranges):
    """The places of a variable that slices, one for each axis, name; None where there are none."""
    for axis, (dim, wanted) in enumerate(zip(x.shape, ranges)):
        places = range(*wanted.indices(dim))
        if not places:
            return None
        if places == range(dim):
            continue
        low, high = min(places[0], places[-1]), max(places[0], places[-1])
        x = cntk.slice(x, [axis], [low], [high + 1], [places.step])
    return x


@kernel("Slice")
def slice_(call, x):
    shape = result_shape(call, x)
    y = cut(symbol(x), slice_ranges(call.attrs, len(shape)))
    return np.zeros(shape, call.results[0].dtype) if y is None else y


def _front(axis, rank):
    """The permutation that moves an axis to the front."""
    return (axis,) + tuple(at for at in range(rank) if at != axis)


def taken(x, indices, axis):
    """The entries of an axis at those indices, a variable of any shape, none negative."""
    if x.shape[axis] > EXACT[np.dtype(x.dtype).type]:
        raise UnsupportedOperator("CNTK gathers from at most 2**24 entries in float32, got %d" % x.shape[axis])
    rank, size = len(x.shape), tuple(indices.shape)
    order = _front(axis, rank)
    front = x if axis == 0 else cntk.transpose(x, order)
    count, rest = int(np.prod(size, dtype=int)), tuple(front.shape[1:])
    found = cntk.gather(shaped(front, (x.shape[axis], -1)), typed(shaped(indices, (count,)), x.dtype))
    found = shaped(found + number(0, x), (count,) + rest)  # behind a product or a reshape its gradient fails
    if axis:
        found = cntk.transpose(found, tuple(np.argsort(order).tolist()))
    return shaped(found, tuple(x.shape[:axis]) + size + tuple(x.shape[axis + 1 :]))


@kernel("Pad")
def pad(call, x):
    x = symbol(x)
    widths, mode = pad_widths(call.attrs, len(x.shape)), call.attrs["mode"]
    if mode == "constant":
        return padded(x, widths, call.attrs["constant_value"])
    for axis, pair in enumerate(widths):
        if any(pair):
            places = np.pad(np.arange(x.shape[axis], dtype=x.dtype), pair, mode)
            x = taken(x, constant(places), axis)
    return x


def padded(x, widths, value=0.0):
    """With margins of a value; negative ones cut."""
    if any(width < 0 for pair in widths for width in pair):
        x = cut(x, [slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in zip(widths, x.shape)])
    widths = [(max(a, 0), max(b, 0)) for a, b in widths]
    if not any(width for pair in widths for width in pair):
        return x
    return cntk.pad(x, widths, cntk.ops.CONSTANT_PAD, float(value))


def _wrapped(indices, size):
    """Indices counted from the end become plain."""
    if isinstance(indices, np.ndarray):
        return symbol(np.where(indices < 0, indices + size, indices))
    return indices + float(size) * cntk.less(indices, number(0, indices))


@kernel("Gather")
def gather(call, x, indices):
    x = symbol(x)
    axis = normalize_axis(call.attrs["axis"], len(x.shape))
    return taken(x, _wrapped(indices, x.shape[axis]), axis)


@kernel("GatherElements")
def gather_elements(call, x, indices):
    """From all values in one row, by their numbers in it."""
    x, rank = symbol(x), call.kinds[0].rank
    axis = normalize_axis(call.attrs["axis"], rank)
    size = x.shape[axis]
    indices = typed(_wrapped(indices, size), np.float64)
    x = cut(x, [slice(None) if at == axis else slice(0, width) for at, width in enumerate(indices.shape)])
    order = _front(axis, rank)
    x, indices = cntk.transpose(x, order), cntk.transpose(indices, order)
    rest = int(np.prod(x.shape[1:], dtype=int))
    columns = np.arange(rest, dtype=np.float64).reshape(tuple(x.shape[1:]))
    found = taken(shaped(x, (size * rest,)), indices * float(rest) + constant(columns), 0)
    return cntk.transpose(found, tuple(np.argsort(order).tolist()))


def picked_places(indices, depth, axis):
    """A new axis of 0 and 1, with 1 at the index; none where that lies outside."""
    rank = len(indices.shape) + 1
    places = np.arange(depth, dtype=indices.dtype).reshape([-1 if at == axis else 1 for at in range(rank)])
    wide = shaped(indices, tuple(indices.shape[:axis]) + (1,) + tuple(indices.shape[axis:]))
    return cntk.equal(wide, constant(places))


@kernel("OneHot")
def one_hot(call, indices):
    indices, attrs, depth = symbol(indices), call.attrs, int(call.attrs["depth"])
    axis = normalize_axis(attrs["axis"], len(indices.shape) + 1)
    own = picked_places(_wrapped(indices, depth), depth, axis)
    off, on = [symbol(np.asarray(value, attrs["dtype"])) for value in attrs["values"]]
    return cntk.element_select(typed(own, on.dtype), on, off)
