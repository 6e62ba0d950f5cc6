"""The two tables of kernels that Theano runs a graph with.

With `KERNELS` a graph runs without a compiler, since every operator has a way in Python; with `COMPILED`, which differs
in convolutions and the softmax loss, it is meant to become C.
"""

import functools

import numpy as np

from ..kernels.reductions import lowest
from ..lowering import Kernels
from ..operators.windows import conv_window, pool_counts, pool_geometry, transposed_window
from .theano_kernels import KERNELS, as_declared, as_rows, margined, of, sizes_of
from .theano_start import theano
from .theano_where import where
from .theano_windows import Largest, Patches, Spread

tt = theano.tensor
kernel = KERNELS.register


def _padded(x, kind, pads, value=0):
    return margined(x, sizes_of(x, kind), [(0, 0), (0, 0)] + list(pads), value)


def _operator(make, window, spatial, sizes):
    return make(window.kernel, window.strides, window.dilations, spatial, sizes)


def _wide(spatial, pads):
    return tuple(size + before + after for size, (before, after) in zip(spatial, pads))


def _by_groups(product, group, x, w):
    """Of (C, places) and (out, C / group): for each group of channels its product, one under the other."""
    if group == 1:
        return product(x, w)
    inner, outer = x.shape[0] // group, w.shape[0] // group
    return tt.concatenate([product(x[i * inner : (i + 1) * inner], w[i * outer : (i + 1) * outer])
                           for i in range(group)], axis=0)  # fmt: skip


def _with_bias(y, b):
    return y if b is None else y + b.dimshuffle(["x", 0] + ["x"] * (y.ndim - 2))


@kernel("Conv")
def conv(call, x, w, b=None):
    """The patches of all images side by side, in one product."""
    kind, filters = call.kinds[0], call.kinds[1].shape
    window = conv_window(call.attrs, kind.shape, filters)
    sizes = window.sizes(kind.shape[2:])
    columns = _operator(Patches, window, _wide(kind.shape[2:], window.pads), sizes)(_padded(x, kind, window.pads))
    order = [1, 2, 0] + list(range(3, columns.ndim))
    columns = columns.dimshuffle(order).reshape([kind.shape[1] * int(np.prod(window.kernel)), -1], ndim=2)
    matrix = w.reshape([filters[0], int(np.prod(filters[1:]))], ndim=2)
    y = _by_groups(lambda xs, ws: tt.dot(ws, xs), call.attrs["group"], columns, matrix)
    y = y.reshape([filters[0], x.shape[0]] + list(sizes), ndim=x.ndim)
    return _with_bias(y.dimshuffle([1, 0] + list(range(2, x.ndim))), b)


def _cropped(y, call, window, full, sizes):
    """The part of a whole transposed convolution that is wanted; zeros where it reaches beyond."""
    margins = [(0, 0), (0, 0)] + [(-before, size + before - have)
                                  for have, size, (before, _) in zip(full, sizes, window.pads)]  # fmt: skip
    kind = call.results[0]
    return margined(y, [y.shape[0], kind.shape[1]] + list(full), margins)


def _full_sizes(spatial, window):
    return [(size - 1) * stride + extent for size, stride, extent in zip(spatial, window.strides, window.extents)]


@kernel("ConvTranspose")
def conv_transpose(call, x, w, b=None):
    """The way back of a convolution: one product, spread over the places its patches would come from."""
    kind, filters, group = call.kinds[0], call.kinds[1].shape, call.attrs["group"]
    window, sizes = transposed_window(call.attrs, kind.shape, filters)
    spatial, places = kind.shape[2:], int(np.prod(window.kernel))
    full = _full_sizes(spatial, window)
    flat = x.dimshuffle([1, 0] + list(range(2, x.ndim))).reshape([kind.shape[1], -1], ndim=2)
    matrix = w.reshape([filters[0], filters[1] * places], ndim=2)
    columns = _by_groups(lambda xs, ws: tt.dot(ws.T, xs), group, flat, matrix)
    columns = columns.reshape([group * filters[1], places, x.shape[0]] + list(spatial), ndim=x.ndim + 1)
    columns = columns.dimshuffle([2, 0, 1] + list(range(3, x.ndim + 1)))
    return _with_bias(_cropped(_operator(Spread, window, full, spatial)(columns), call, window, full, sizes), b)


@kernel("MaxPool")
def max_pool(call, x):
    kind = call.kinds[0]
    window, sizes, pads = pool_geometry(call.attrs, call.kinds[0].shape[2:])
    wide = _padded(x, kind, pads, lowest(np.dtype(kind.dtype)))
    return _operator(Largest, window, _wide(kind.shape[2:], pads), sizes)(wide)[0]


@kernel("AveragePool")
def average_pool(call, x):
    kind = call.kinds[0]
    window, sizes, pads = pool_geometry(call.attrs, call.kinds[0].shape[2:])
    wide = _wide(kind.shape[2:], pads)
    patches = _operator(Patches, window, wide, sizes)(_padded(x, kind, pads))
    return tt.sum(patches, axis=2) * of(1.0 / pool_counts(call.attrs, kind.shape[2:]), x)


COMPILED = Kernels(KERNELS)


def _images(x, spatial):
    """An image of one axis as one of two; Theano's C knows two or three."""
    return x.dimshuffle(0, 1, 2, "x") if spatial == 1 else x


def _in_c(window, group, pads=None):
    """Arguments of Theano's convolutions for that geometry."""
    one = len(window.kernel) == 1
    pads = list(window.pads if pads is None else pads) + [(0, 0)] * one
    return {"border_mode": tuple(pads) if any(map(any, pads)) else "valid", "filter_flip": False,
            "subsample": window.strides + (1,) * one, "filter_dilation": window.dilations + (1,) * one,
            "num_groups": group}  # fmt: skip


@COMPILED.register("Conv")
def conv_in_c(call, x, w, b=None):
    """Image by image: its patches, and their product with the filters."""
    kind, filters = call.kinds[0], call.kinds[1].shape
    rank, window = len(filters) - 2, conv_window(call.attrs, kind.shape, filters)
    function, settings = tt.nnet.conv2d, _in_c(window, call.attrs["group"])
    if rank > 3:
        return KERNELS["Conv"](call, x, w, b)
    if rank == 3:
        function, settings = tt.nnet.conv3d, _in_c(window, call.attrs["group"], ((0, 0),) * 3)
        x = _padded(x, kind, window.pads)
    y = function(_images(x, rank), _images(w, rank), **settings)
    return _with_bias(y[:, :, :, 0] if rank == 1 else y, b)


@COMPILED.register("ConvTranspose")
def conv_transpose_in_c(call, x, w, b=None):
    kind, filters, group = call.kinds[0], call.kinds[1].shape, call.attrs["group"]
    window, sizes = transposed_window(call.attrs, kind.shape, filters)
    rank, full = len(filters) - 2, _full_sizes(kind.shape[2:], window)
    if rank > 3:
        return KERNELS["ConvTranspose"](call, x, w, b)
    back = tt.nnet.abstract_conv.conv3d_grad_wrt_inputs if rank == 3 else tt.nnet.abstract_conv.conv2d_grad_wrt_inputs
    shape = (None, filters[1] * group) + tuple(full) + (1,) * (rank == 1)
    y = back(_images(x, rank), _images(w, rank), shape, **_in_c(window, group, ((0, 0),) * rank))
    return _with_bias(_cropped(y[:, :, :, 0] if rank == 1 else y, call, window, full, sizes), b)


def _own_class(call, labels):
    """Labels, with some class in place of what is ignored."""
    if call.attrs["ignore_index"] is None:
        return labels
    return where(tt.eq(labels, of(call.attrs["ignore_index"], labels)), of(0, labels), labels)


def _weighed(call, loss, labels, weights):
    """The loss of each place, weighed and folded as the attributes say."""
    factor = None
    if call.attrs["ignore_index"] is not None:
        factor = tt.cast(tt.neq(labels, of(call.attrs["ignore_index"], labels)), loss.dtype)
    if weights is not None:
        own = theano.gradient.disconnected_grad(weights)[tt.cast(_own_class(call, labels), "int64")]
        factor = own if factor is None else factor * own
    loss = loss if factor is None else loss * factor
    if call.attrs["reduction"] == "none":
        return loss
    total = tt.sum(loss)
    if call.attrs["reduction"] == "sum":
        return total
    return total / (tt.cast(loss.size, loss.dtype) if factor is None else tt.sum(factor))


@COMPILED.register("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call, scores, labels, weights=None):
    rows, back = as_rows(scores, 1)
    flat = tt.cast(labels.flatten(), "int64")
    size = of(call.kinds[0].shape[1], flat)
    own = _own_class(call, flat)
    loss, _ = tt.nnet.crossentropy_softmax_1hot(rows, where(tt.lt(own, of(0, own)), own + size, own))
    if call.attrs["reduction"] == "none":
        loss = _weighed(call, loss, flat, weights).reshape(sizes_of(labels, call.kinds[1]), ndim=labels.ndim)
        return loss, back(tt.nnet.logsoftmax(rows))
    return _weighed(call, loss, flat, weights), back(tt.nnet.logsoftmax(rows))


def _declaring(function):
    """The kernel, its results in the dtypes and with the axes of size 1 that were inferred."""

    @functools.wraps(function)
    def run(call, *operands):
        results = function(call, *operands)
        if isinstance(results, tuple):
            return tuple(as_declared(y, kind) for y, kind in zip(results, call.results))
        return as_declared(results, call.results[0])

    return run


for _table in (KERNELS, COMPILED):
    _table.update({op: _declaring(function) for op, function in _table.items()})
