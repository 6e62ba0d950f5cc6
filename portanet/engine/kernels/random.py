"""Drawing numbers: every kernel takes them from the `Source` of its cell."""

from .cell import backward, forward


@forward("RandomUniformLike")
def random_uniform_like(cell, x):
    low, high = cell.attrs["low"], cell.attrs["high"]
    y = cell.empty("y", x.shape, x.dtype)
    y[...] = cell.xp.asarray(cell.source.uniform(x.shape, x.dtype))
    if (low, high) != (0.0, 1.0):
        y *= x.dtype.type(high - low)
        y += x.dtype.type(low)
    return y


@forward("RandomNormalLike")
def random_normal_like(cell, x):
    y = cell.empty("y", x.shape, x.dtype)
    y[...] = cell.xp.asarray(cell.source.normal(x.shape, x.dtype))
    y *= x.dtype.type(cell.attrs["scale"])
    y += x.dtype.type(cell.attrs["mean"])
    return y


@forward("Bernoulli")
def bernoulli(cell, p):
    draws = cell.xp.asarray(cell.source.uniform(p.shape, p.dtype))
    return (draws < p).astype(cell.attrs["dtype"] or p.dtype)


@backward("RandomUniformLike", "RandomNormalLike", "Bernoulli")
def random_backward(cell, grad, inputs, y):
    return (None,)
