"""Folding axes away."""

import numpy as np

from ..operators.reductions import reduced_axes, reduced_shape
from .cell import backward, forward


@forward("ReduceSum", "ReduceProd")
def reduce_sum(cell, x):
    axes = reduced_axes(cell.attrs, x.ndim)
    if not axes:
        return x
    function = cell.xp.add if cell.op == "ReduceSum" else cell.xp.multiply
    return cell.xp.asarray(function.reduce(x, axis=axes, dtype=x.dtype, keepdims=bool(cell.attrs["keepdims"])))


@forward("ReduceMax", "ReduceMin")
def reduce_extreme(cell, x):
    axes, keepdims, is_max = reduced_axes(cell.attrs, x.ndim), bool(cell.attrs["keepdims"]), cell.op == "ReduceMax"
    if not axes:
        return x
    if x.size == 0:
        start = lowest(x.dtype) if is_max else highest(x.dtype)
        return cell.xp.full(reduced_shape(x.shape, axes, keepdims), start, x.dtype)
    return cell.xp.asarray((x.max if is_max else x.min)(axis=axes, keepdims=keepdims))


def lowest(dtype):
    """What a maximum starts from."""
    if dtype.kind == "f":
        return -np.inf
    return False if dtype.kind == "b" else np.iinfo(dtype).min


def highest(dtype):
    """What a minimum starts from."""
    if dtype.kind == "f":
        return np.inf
    return True if dtype.kind == "b" else np.iinfo(dtype).max


@forward("ReduceMean")
def reduce_mean(cell, x):
    axes = reduced_axes(cell.attrs, x.ndim)
    if not axes:
        return x
    total = cell.xp.asarray(cell.xp.add.reduce(x, axis=axes, keepdims=bool(cell.attrs["keepdims"])))
    return total * _share(x, total)


def _share(x, y):
    """One over the number of values that were folded into each of `y`."""
    return x.dtype.type(y.size / x.size if x.size else np.nan)


def _restored(cell, grad, x):
    """`grad` with the folded axes back, as size 1."""
    axes = reduced_axes(cell.attrs, x.ndim)
    return grad.reshape([1 if axis in axes else size for axis, size in enumerate(x.shape)]), axes


@backward("ReduceSum")
def reduce_sum_backward(cell, grad, inputs, y):
    x = inputs[0]
    return (cell.xp.broadcast_to(_restored(cell, grad, x)[0], x.shape),)


@backward("ReduceMean")
def reduce_mean_backward(cell, grad, inputs, y):
    x = inputs[0]
    full, _ = _restored(cell, grad, x)
    return (cell.xp.broadcast_to(full * _share(x, y), x.shape),)


@backward("ReduceMax", "ReduceMin")
def reduce_extreme_backward(cell, grad, inputs, y):
    """Places that tie share the gradient equally."""
    x = inputs[0]
    full, axes = _restored(cell, grad, x)
    if not axes:
        return (grad,)
    chosen = (x == _restored(cell, y, x)[0]).astype(x.dtype)
    return (chosen * (full / chosen.sum(axis=axes, keepdims=True)),)


@backward("ReduceProd")
def reduce_prod_backward(cell, grad, inputs, y):
    """Product of the others, from the products of all before and of all after; right with zeros among them."""
    xp, x = cell.xp, inputs[0]
    full, axes = _restored(cell, grad, x)
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    moved = x.transpose(rest + list(axes))
    flat = moved.reshape([x.shape[axis] for axis in rest] + [-1])
    ones = xp.ones(flat.shape[:-1] + (1,), x.dtype)
    before = xp.cumprod(xp.concatenate([ones, flat[..., :-1]], axis=-1), axis=-1)
    after = xp.cumprod(xp.concatenate([ones, flat[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    others = (before * after).reshape(moved.shape).transpose(np.argsort(rest + list(axes)).tolist())
    return (full * others,)


@forward("ArgMax", "ArgMin")
def arg_extreme(cell, x):
    xp, axis = cell.xp, cell.attrs["axis"] % x.ndim
    find = xp.argmax if cell.op == "ArgMax" else xp.argmin
    if cell.attrs["select_last_index"]:
        found = x.shape[axis] - 1 - find(xp.flip(x, axis), axis=axis)
    else:
        found = find(x, axis=axis)
    return xp.expand_dims(found, axis) if cell.attrs["keepdims"] else xp.asarray(found)
