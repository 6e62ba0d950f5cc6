"""Composites that NumPy does better than by their expansion."""

from ..lowering import to_first, to_last
from .cell import backward, forward


def _exp_shifted(cell, x, axis):
    """exp(x - max) along an axis, in this cell's buffer "y"."""
    xp = cell.xp
    y = xp.subtract(x, x.max(axis=axis, keepdims=True), out=cell.like("y", x))
    return xp.exp(y, out=y)


@forward("Softmax")
def softmax(cell, x):
    axis = cell.attrs["axis"]
    y = _exp_shifted(cell, x, axis)
    y /= cell.xp.add.reduce(y, axis=axis, keepdims=True)
    return y


@backward("Softmax")
def softmax_backward(cell, grad, inputs, y):
    weighted = cell.xp.multiply(grad, y, out=cell.like("dx", y))
    weighted -= y * cell.xp.add.reduce(weighted, axis=cell.attrs["axis"], keepdims=True)
    return (weighted,)


@forward("LogSoftmax")
def log_softmax(cell, x):
    xp, axis = cell.xp, cell.attrs["axis"]
    y = xp.subtract(x, x.max(axis=axis, keepdims=True), out=cell.like("y", x))
    e = xp.exp(y, out=cell.like("e", x))
    total = xp.add.reduce(e, axis=axis, keepdims=True)
    cell.softmax = xp.divide(e, total, out=e)
    y -= xp.log(total)
    return y


@backward("LogSoftmax")
def log_softmax_backward(cell, grad, inputs, y):
    xp = cell.xp
    total = xp.add.reduce(grad, axis=cell.attrs["axis"], keepdims=True)
    dx = xp.multiply(cell.softmax, total, out=cell.like("dx", y))
    return (xp.subtract(grad, dx, out=dx),)


@forward("Dropout")
def dropout(cell, x):
    ratio = cell.attrs["ratio"]
    if not cell.attrs["training_mode"] or ratio == 0.0:
        cell.kept = None
        return x
    cell.kept = cell.xp.asarray(cell.source.mask(cell.attrs["ratio"], x.shape))
    return _drop(cell, "y", x)


def _drop(cell, key, x):
    y = cell.xp.multiply(x, cell.kept, out=cell.like(key, x))
    y *= x.dtype.type(1.0 / (1.0 - cell.attrs["ratio"]))
    return y


@backward("Dropout")
def dropout_backward(cell, grad, inputs, y):
    return (grad if cell.kept is None else _drop(cell, "dx", grad),)


def _channel_shape(x):
    return (1, -1) + (1,) * (x.ndim - 2)


@forward("BatchNormalization")
def batch_normalization(cell, x, scale, bias, mean, var):
    xp, attrs, shape = cell.xp, cell.attrs, _channel_shape(x)
    running = mean, var
    y = cell.like("y", x)
    if attrs["training_mode"]:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        count = x.dtype.type(x.size // x.shape[1])
        mean = xp.add.reduce(x, axis=axes) / count
        centred = xp.subtract(x, mean.reshape(shape), out=cell.like("normal", x))
        var = xp.add.reduce(xp.multiply(centred, centred, out=y), axis=axes) / count
        share = x.dtype.type(attrs["momentum"])
        running = running[0] * share + mean * (1 - share), running[1] * share + var * (1 - share)
    else:
        centred = xp.subtract(x, mean.reshape(shape), out=cell.like("normal", x))
    cell.inverse = 1 / xp.sqrt(var + x.dtype.type(attrs["epsilon"]))
    centred *= cell.inverse.reshape(shape)
    xp.multiply(centred, scale.reshape(shape), out=y)
    y += bias.reshape(shape)
    return (y,) + running


@backward("BatchNormalization")
def batch_normalization_backward(cell, grads, inputs, outputs):
    if grads[0] is None:
        return [None] * 5
    xp, grad, (x, scale) = cell.xp, grads[0], inputs[:2]
    shape, normal = _channel_shape(x), cell.like("normal", x)
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    d_bias = xp.add.reduce(grad, axis=axes)
    scratch = xp.multiply(grad, normal, out=cell.like("dx", x))
    d_scale = xp.add.reduce(scratch, axis=axes)
    factor = scale * cell.inverse
    if not cell.attrs["training_mode"]:
        d_var = d_scale * scale * cell.inverse * cell.inverse * x.dtype.type(-0.5)
        return [
            xp.multiply(grad, factor.reshape(shape), out=scratch),
            d_scale,
            d_bias,
            -d_bias * factor,
            d_var,
        ]
    count = x.dtype.type(x.size // x.shape[1])
    dx = xp.multiply(normal, (-d_scale / count).reshape(shape), out=scratch)
    dx += grad
    dx -= (d_bias / count).reshape(shape)
    dx *= factor.reshape(shape)
    return [dx, d_scale, d_bias, None, None]


def _places(x):
    """(N, C, ...) as rows of classes, a view: ``(N, ..., C)``."""
    return x if x.ndim == 2 else x.transpose(to_last(x.ndim))


def _channels(rows):
    """The way back: (N, ..., C) as (N, C, ...)."""
    return rows if rows.ndim == 2 else rows.transpose(to_first(rows.ndim))


@forward("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(cell, scores, labels, weights=None):
    xp, attrs = cell.xp, cell.attrs
    log_prob = _log_softmax_rows(cell, scores)
    index = labels
    cell.factor = None
    if attrs["ignore_index"] is not None:
        ignored = labels == attrs["ignore_index"]
        index = xp.where(ignored, 0, labels)
        cell.factor = (~ignored).astype(scores.dtype)
    if weights is not None:
        own = weights[index]
        cell.factor = own if cell.factor is None else own * cell.factor
    cell.index = cell.grid(labels.shape) + (index,)  # the entry of each place's own class
    loss = -log_prob[cell.index]
    if cell.factor is not None:
        loss *= cell.factor
    if attrs["reduction"] != "none":
        cell.divisor = 1
        if attrs["reduction"] == "mean":
            cell.divisor = scores.dtype.type(labels.size) if cell.factor is None else cell.factor.sum()
        loss = xp.asarray(loss.sum() / cell.divisor, dtype=scores.dtype)
    return loss, _channels(log_prob)


def _log_softmax_rows(cell, scores):
    xp = cell.xp
    rows = _places(scores)
    y = xp.subtract(rows, rows.max(axis=-1, keepdims=True), out=cell.empty("y", rows.shape, rows.dtype))
    e = xp.exp(y, out=cell.empty("e", rows.shape, rows.dtype))
    total = xp.add.reduce(e, axis=-1, keepdims=True)
    cell.softmax = xp.divide(e, total, out=e)
    y -= xp.log(total)
    return y


@backward("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_backward(cell, grads, inputs, outputs):
    """(softmax - one-hot of the label) times what the loss of that place weighs."""
    xp, dtype = cell.xp, inputs[0].dtype
    dx = cell.empty("dx", cell.softmax.shape, dtype)
    if grads[0] is None:
        dx.fill(0)
    else:
        scale = grads[0] if cell.attrs["reduction"] == "none" else grads[0] / cell.divisor
        if cell.factor is not None:
            scale = scale * cell.factor
        scale = xp.asarray(scale, dtype=dtype)
        xp.multiply(cell.softmax, scale[..., None] if scale.ndim else scale, out=dx)
        dx[cell.index] -= scale
    if grads[1] is not None:
        pulled = _places(grads[1])
        dx += pulled - cell.softmax * xp.add.reduce(pulled, axis=-1, keepdims=True)
    return [_channels(dx), None, None]
