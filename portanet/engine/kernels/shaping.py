"""Rearranging, cutting and joining. What can be a view is one."""

import numpy as np

from ..operators.shaping import pad_widths, slice_ranges, squeezed_axes
from .cell import backward, forward
from .elementwise import unbroadcast


@forward("Reshape")
def reshape(cell, x):
    target = list(cell.attrs["shape"])
    if not cell.attrs["allowzero"]:
        target = [x.shape[axis] if dim == 0 else dim for axis, dim in enumerate(target)]
    if not x.flags.c_contiguous:
        plain = cell.empty("plain", x.shape, x.dtype)
        cell.xp.copyto(plain, x)
        x = plain
    return x.reshape(target)


@backward("Reshape", "Squeeze", "Unsqueeze")
def reshape_backward(cell, grad, inputs, y):
    return (grad.reshape(inputs[0].shape),)


@forward("Transpose")
def transpose(cell, x):
    return x.transpose(cell.attrs["perm"])


@backward("Transpose")
def transpose_backward(cell, grad, inputs, y):
    perm = cell.attrs["perm"]
    return (grad.transpose(None if perm is None else np.argsort(perm).tolist()),)


@forward("Concat")
def concat(cell, *parts):
    return cell.xp.concatenate(parts, axis=cell.attrs["axis"])


@backward("Concat")
def concat_backward(cell, grad, inputs, y):
    axis = cell.attrs["axis"] % grad.ndim
    ends = np.cumsum([part.shape[axis] for part in inputs])
    return cell.xp.split(grad, [int(end) for end in ends[:-1]], axis=axis)


@forward("Slice")
def slice_(cell, x):
    return x[tuple(slice_ranges(cell.attrs, x.ndim))]


@backward("Slice")
def slice_backward(cell, grad, inputs, y):
    whole = cell.like("dx", inputs[0])
    whole.fill(0)
    whole[tuple(slice_ranges(cell.attrs, whole.ndim))] = grad
    return (whole,)


@forward("Pad")
def pad(cell, x):
    widths, mode = pad_widths(cell.attrs, x.ndim), cell.attrs["mode"]
    if mode != "constant":
        return cell.xp.pad(x, widths, mode)
    shape = tuple(before + size + after for size, (before, after) in zip(x.shape, widths))
    y = cell.empty("y", shape, x.dtype)
    y.fill(cell.attrs["constant_value"])
    y[_inside(x.shape, widths)] = x
    return y


def _inside(shape, widths):
    return tuple(slice(before, before + size) for size, (before, _) in zip(shape, widths))


@backward("Pad")
def pad_backward(cell, grad, inputs, y):
    x, widths = inputs[0], pad_widths(cell.attrs, inputs[0].ndim)
    if cell.attrs["mode"] == "constant":
        return (grad[_inside(x.shape, widths)],)
    for axis, (before, after) in enumerate(widths):
        grad = _fold_back(cell, grad, axis, before, after, x.shape[axis])
    return (grad,)


def _fold_back(cell, grad, axis, before, after, size):
    """Add what was copied to the margins of one axis back to where it was copied from."""
    xp = cell.xp
    moved = xp.moveaxis(grad, axis, 0)
    inner = moved[before : before + size].copy()
    head, tail = moved[:before], moved[before + size :]
    if cell.attrs["mode"] == "edge":
        inner[0] += head.sum(axis=0)
        inner[-1] += tail.sum(axis=0)
    elif cell.attrs["mode"] == "wrap":
        inner[size - before :] += head
        inner[:after] += tail
    else:
        inner[1 : before + 1] += head[::-1]
        inner[size - 1 - after : size - 1] += tail[::-1]
    return xp.moveaxis(inner, 0, axis)


@forward("Squeeze")
def squeeze(cell, x):
    axes = squeezed_axes(cell.attrs, cell.kinds[0].shape)  # a batch that happens to be of one stays
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


@forward("Unsqueeze")
def unsqueeze(cell, x):
    rank = x.ndim + len(cell.attrs["axes"])
    axes, left = {axis % rank for axis in cell.attrs["axes"]}, iter(x.shape)
    return x.reshape([1 if axis in axes else next(left) for axis in range(rank)])


@forward("Expand")
def expand(cell, x):
    shape = cell.attrs["shape"]
    rank = max(x.ndim, len(shape))
    sizes = zip((1,) * (rank - x.ndim) + x.shape, [1] * (rank - len(shape)) + list(shape))
    return cell.xp.broadcast_to(x, [have if want == 1 else want for have, want in sizes])


@backward("Expand")
def expand_backward(cell, grad, inputs, y):
    return (unbroadcast(cell.xp, grad, inputs[0].shape),)


@forward("Gather")
def gather(cell, x, indices):
    return cell.xp.take(x, indices, axis=cell.attrs["axis"])


@backward("Gather")
def gather_backward(cell, grad, inputs, y, add=None):
    """The rows of the gradient added up where they were taken from, by ``add(target, indices, rows)``."""
    x, indices = inputs
    axis = cell.attrs["axis"] % x.ndim
    whole = cell.target(0, "dx", x.shape, x.dtype)
    whole.fill(0)
    front = cell.xp.moveaxis(whole, axis, 0)
    flat = indices.reshape(-1) % x.shape[axis]
    places = list(range(axis, axis + indices.ndim))
    rest = [place for place in range(grad.ndim) if place not in places]
    rows = grad.transpose(places + rest).reshape((flat.size,) + front.shape[1:])
    (add or _add_rows)(front, flat, rows)
    return (whole, None)


def _add_rows(target, indices, rows):
    """``target[indices] += rows`` with repeated indices summed: sort, then add up each run at once; NumPy only."""
    if indices.size == 0:
        return
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    starts = np.concatenate([np.zeros(1, ordered.dtype), np.nonzero(ordered[1:] != ordered[:-1])[0] + 1])
    target[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)


@forward("GatherElements")
def gather_elements(cell, x, indices):
    return x[_element_index(cell, x, indices)]


def _element_index(cell, x, indices):
    grids = list(cell.grid(indices.shape))
    grids[cell.attrs["axis"] % x.ndim] = indices
    return tuple(grids)


@backward("GatherElements")
def gather_elements_backward(cell, grad, inputs, y):
    x, indices = inputs
    whole = cell.like("dx", x)
    whole.fill(0)
    index = _element_index(cell, x, indices)
    if indices.shape[cell.attrs["axis"]] == 1:
        whole[index] = grad
    else:
        cell.xp.add.at(whole, index, grad)
    return (whole, None)


@forward("OneHot")
def one_hot(cell, indices):
    attrs, xp = cell.attrs, cell.xp
    axis, depth = attrs["axis"] % (indices.ndim + 1), int(attrs["depth"])
    off, on = [np.dtype(attrs["dtype"]).type(value) for value in attrs["values"]]
    wrapped = xp.where(indices < 0, indices + depth, indices)
    places = xp.arange(depth).reshape([-1 if place == axis else 1 for place in range(indices.ndim + 1)])
    hot = xp.expand_dims(wrapped, axis) == places
    return xp.where(hot, on, off)


@backward("OneHot")
def one_hot_backward(cell, grad, inputs, y):
    return (None,)
