"""What TensorFlow computes for each operator.

Images come channels-last, the only order its CPU kernels know. What they lack (groups, dilation, three dimensions,
16-bit floats) is done as slices and one matrix product.
"""

import functools

import numpy as np
import tensorflow as tf

from ..kernels.reductions import lowest
from ..lowering import Kernels
from ..operators.reductions import reduced_axes
from ..operators.shaping import pad_widths, slice_ranges, squeezed_axes
from ..operators.windows import Window, conv_window, pool_counts, pool_geometry, transposed_window
from ..shapes import normalize_axis

KERNELS = Kernels()
kernel = KERNELS.register


def _in_shape(x, shape):
    """A 16-bit operand spread out in 32 bits, so that its gradient is summed in them: TensorFlow rounds as it goes."""
    return tf.cast(tf.broadcast_to(tf.cast(x, tf.float32), shape), x.dtype)


def _spreading(function):
    def run(a, b):
        if a.dtype in (tf.bfloat16, tf.float16) and a.shape != b.shape:
            shape = tf.broadcast_dynamic_shape(tf.shape(a), tf.shape(b))
            a, b = (_in_shape(x, shape) for x in (a, b))
        return function(a, b)

    return run


_plus = _spreading(tf.add)
KERNELS.plain({
    "Abs": tf.abs, "Add": _plus, "And": tf.logical_and, "Ceil": tf.math.ceil, "Cos": tf.cos, "Equal": tf.equal,
    "Erf": tf.math.erf, "Exp": tf.exp, "Floor": tf.floor, "Greater": tf.greater, "GreaterOrEqual": tf.greater_equal,
    "Identity": lambda x: x, "Less": tf.less, "LessOrEqual": tf.less_equal, "Log": tf.math.log,
    "Mul": _spreading(tf.multiply), "Neg": tf.negative, "Not": tf.logical_not, "Or": tf.logical_or,
    "Reciprocal": tf.math.reciprocal, "Relu": tf.nn.relu, "Sigmoid": tf.sigmoid, "Sign": tf.sign, "Sin": tf.sin,
    "Softplus": tf.math.softplus, "Sqrt": tf.sqrt, "StopGradient": tf.stop_gradient, "Sub": _spreading(tf.subtract),
    "Tanh": tf.tanh, "Where": tf.where, "Xor": tf.math.logical_xor,
})  # fmt: skip


@kernel("Div")
def div(call, a, b):
    return a / b if a.dtype.is_floating else tf.truncatediv(a, b)


@kernel("Pow")
def pow_(call, a, b):
    if a.dtype.is_floating:
        return tf.pow(a, tf.cast(b, a.dtype))
    return tf.cast(tf.pow(tf.cast(a, tf.float64), tf.cast(b, tf.float64)), a.dtype)


@kernel("Max")
def max_(call, *xs):
    return functools.reduce(tf.maximum, xs)


@kernel("Min")
def min_(call, *xs):
    return functools.reduce(tf.minimum, xs)


@kernel("Clip")
def clip(call, x):
    """As two choices: the gradient is that of x up to the bounds themselves."""
    low, high = call.attrs["min"], call.attrs["max"]
    if low is not None:
        x = tf.where(x < tf.constant(low, x.dtype), tf.constant(low, x.dtype), x)
    if high is not None:
        x = tf.where(x > tf.constant(high, x.dtype), tf.constant(high, x.dtype), x)
    return x


@kernel("Cast")
def cast(call, x):
    return tf.cast(x, call.attrs["to"])


@kernel("MatMul")
def matmul(call, a, b):
    left = a[None] if len(a.shape) == 1 else a
    right = b[:, None] if len(b.shape) == 1 else b
    y = tf.matmul(left, right)
    y = tf.squeeze(y, -1) if len(b.shape) == 1 else y
    return tf.squeeze(y, -1 if len(b.shape) == 1 else -2) if len(a.shape) == 1 else y


@kernel("Gemm")
def gemm(call, a, b, c=None):
    attrs = call.attrs
    y = tf.matmul(a, b, bool(attrs["transA"]), bool(attrs["transB"]))
    if attrs["alpha"] != 1.0:
        y = y * tf.constant(attrs["alpha"], y.dtype)
    if c is None:
        return y
    return _plus(y, c if attrs["beta"] == 1.0 else c * tf.constant(attrs["beta"], c.dtype))


def _classes_last(x):
    rank = len(x.shape)
    return x if rank == 2 else tf.transpose(x, [0, *range(2, rank), 1])


def _weighed(call, loss, labels, weights):
    """The loss of each place, weighed and folded as the attributes say."""
    attrs = call.attrs
    factor = None
    if attrs["ignore_index"] is not None:
        factor = tf.cast(labels != tf.cast(attrs["ignore_index"], labels.dtype), loss.dtype)
    if weights is not None:
        own = tf.gather(tf.stop_gradient(weights), _own_class(call, labels))
        factor = own if factor is None else factor * own
    loss = loss if factor is None else loss * factor
    if attrs["reduction"] == "none":
        return loss
    if attrs["reduction"] == "mean" and factor is None:
        return tf.reduce_mean(loss)
    total = tf.reduce_sum(loss)
    return total / tf.reduce_sum(factor) if attrs["reduction"] == "mean" else total


def _own_class(call, labels):
    """Labels, with some class in place of what is ignored."""
    if call.attrs["ignore_index"] is None:
        return labels
    return tf.where(labels == tf.cast(call.attrs["ignore_index"], labels.dtype), tf.zeros_like(labels), labels)


@kernel("NegativeLogLikelihoodLoss")
def negative_log_likelihood(call, log_prob, labels, weights=None):
    rows = _classes_last(log_prob)
    loss = -tf.gather(rows, _own_class(call, labels), axis=-1, batch_dims=len(labels.shape))
    return _weighed(call, loss, labels, weights)


@kernel("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call, scores, labels, weights=None):
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(_own_class(call, labels), _classes_last(scores))
    return _weighed(call, loss, labels, weights), tf.nn.log_softmax(scores, 1)


@kernel("Softmax")
def softmax(call, x):
    return tf.nn.softmax(x, call.attrs["axis"])


@kernel("LogSoftmax")
def log_softmax(call, x):
    return tf.nn.log_softmax(x, call.attrs["axis"])


@kernel("Dropout")
def dropout(call, noise, x):
    ratio = call.attrs["ratio"]
    if not call.attrs["training_mode"] or ratio == 0.0:
        return x
    return tf.where(noise.mask(call, x), x * tf.constant(1.0 / (1.0 - ratio), x.dtype), tf.zeros((), x.dtype))


@kernel("RandomUniformLike")
def random_uniform_like(call, noise, x):
    low, high = call.attrs["low"], call.attrs["high"]
    return noise.uniform(call, x) * tf.constant(high - low, x.dtype) + tf.constant(low, x.dtype)


@kernel("RandomNormalLike")
def random_normal_like(call, noise, x):
    return noise.normal(call, x) * tf.constant(call.attrs["scale"], x.dtype) + tf.constant(call.attrs["mean"], x.dtype)


@kernel("Bernoulli")
def bernoulli(call, noise, p):
    return tf.cast(noise.uniform(call, p) < p, call.results[0].dtype)


REDUCE = {"ReduceSum": tf.reduce_sum, "ReduceMean": tf.reduce_mean, "ReduceMax": tf.reduce_max,
          "ReduceMin": tf.reduce_min, "ReduceProd": tf.reduce_prod}  # fmt: skip


@kernel(*REDUCE)
def reduce(call, x):
    axes = sorted(reduced_axes(call.attrs, len(x.shape)))
    if not axes:
        return x
    if x.dtype == tf.bool:
        return tf.cast(reduce(call, tf.cast(x, tf.uint8)), tf.bool)
    if 0 in axes and len(axes) > 1 and call.op in ("ReduceMean", "ReduceSum"):
        # one long sum over batch and places loses digits in float32: batch statistics would be off by 1e-5
        y = REDUCE[call.op](REDUCE[call.op](x, axes[1:], True), 0, True)
        return y if call.attrs["keepdims"] else tf.squeeze(y, axes)
    return REDUCE[call.op](x, axes, bool(call.attrs["keepdims"]))


@kernel("ArgMax", "ArgMin")
def arg_extreme(call, x):
    axis = normalize_axis(call.attrs["axis"], len(x.shape))
    find = tf.argmax if call.op == "ArgMax" else tf.argmin
    if call.attrs["select_last_index"]:
        found = tf.cast(tf.shape(x)[axis], tf.int64) - 1 - find(tf.reverse(x, [axis]), axis)
    else:
        found = find(x, axis)
    return tf.expand_dims(found, axis) if call.attrs["keepdims"] else found


@kernel("Reshape")
def reshape(call, x):
    target = list(call.attrs["shape"])
    if not call.attrs["allowzero"]:
        sizes = tf.shape(x)
        target = [sizes[axis] if size == 0 else size for axis, size in enumerate(target)]
    return tf.reshape(x, target)


@kernel("Flatten")
def flatten(call, x):
    axis = call.attrs["axis"] + (len(x.shape) if call.attrs["axis"] < 0 else 0)
    if axis == 1 and None not in x.shape[1:]:
        return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
    sizes = tf.shape(x)
    return tf.reshape(x, tf.stack([tf.reduce_prod(sizes[:axis]), tf.reduce_prod(sizes[axis:])]))


@kernel("Transpose")
def transpose(call, x):
    return tf.transpose(x, call.attrs["perm"])


@kernel("Concat")
def concat(call, *parts):
    return tf.concat(parts, call.attrs["axis"])


@kernel("Slice")
def slice_(call, x):
    return x[tuple(slice_ranges(call.attrs, len(x.shape)))]


@kernel("Pad")
def pad(call, x):
    widths, mode = pad_widths(call.attrs, len(x.shape)), call.attrs["mode"]
    if mode == "constant":
        return tf.pad(
            x, widths, constant_values=np.asarray(call.attrs["constant_value"]).astype(x.dtype.as_numpy_dtype)
        )
    for axis, pair in enumerate(widths):
        if any(pair):
            x = tf.gather(x, np.pad(np.arange(x.shape[axis]), pair, mode), axis=axis)
    return x


@kernel("Squeeze")
def squeeze(call, x):
    axes = squeezed_axes(call.attrs, call.kinds[0].shape)
    return tf.squeeze(x, axes) if axes else x


@kernel("Unsqueeze")
def unsqueeze(call, x):
    rank = len(x.shape) + len(call.attrs["axes"])
    for axis in sorted(axis % rank for axis in call.attrs["axes"]):
        x = tf.expand_dims(x, axis)
    return x


@kernel("Expand")
def expand(call, x):
    shape, have = call.attrs["shape"], tf.shape(x)
    rank = max(len(x.shape), len(shape))
    missing = rank - len(x.shape)
    wanted = [1] * (rank - len(shape)) + list(shape)
    sizes = [size if size != 1 or axis < missing else have[axis - missing] for axis, size in enumerate(wanted)]
    return tf.broadcast_to(x, sizes)


def _wrapped(indices, size):
    return tf.where(indices < 0, indices + tf.cast(size, indices.dtype), indices)


@kernel("Gather")
def gather(call, x, indices):
    axis = normalize_axis(call.attrs["axis"], len(x.shape))
    return tf.gather(x, _wrapped(indices, x.shape[axis]), axis=axis)


@kernel("GatherElements")
def gather_elements(call, x, indices):
    rank = len(x.shape)
    axis = normalize_axis(call.attrs["axis"], rank)
    sizes = tf.shape(indices)
    x = x[tuple(slice(None) if place == axis else slice(0, sizes[place]) for place in range(rank))]
    order = [place for place in range(rank) if place != axis] + [axis]
    found = tf.gather(tf.transpose(x, order), tf.transpose(_wrapped(indices, x.shape[axis]), order),
                      axis=-1, batch_dims=rank - 1)  # fmt: skip
    return tf.transpose(found, np.argsort(order))


@kernel("OneHot")
def one_hot(call, indices):
    attrs = call.attrs
    rank = len(indices.shape) + 1
    axis, depth = normalize_axis(attrs["axis"], rank), int(attrs["depth"])
    off, on = [tf.constant(value, attrs["dtype"]) for value in attrs["values"]]
    places = tf.cast(tf.range(depth), indices.dtype)
    places = tf.reshape(places, [-1 if place == axis else 1 for place in range(rank)])
    return tf.where(tf.expand_dims(_wrapped(indices, depth), axis) == places, on, off)


def _padded(x, pads, value=0):
    """(N, spatial..., C) with margins; negative ones cut."""
    if any(width < 0 for pair in pads for width in pair):
        cut = [slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in zip(pads, x.shape[1:-1])]
        x = x[tuple([slice(None)] + cut + [slice(None)])]
    pads = [(max(a, 0), max(b, 0)) for a, b in pads]
    if not any(width for pair in pads for width in pair):
        return x
    return tf.pad(x, [(0, 0)] + pads + [(0, 0)], constant_values=np.asarray(value).astype(x.dtype.as_numpy_dtype))


def _shifted(x, window, sizes):
    """The slices of a padded array that each place of the window sees."""
    for cut in window.cuts(sizes):
        yield x[(slice(None),) + cut + (slice(None),)]


def _columns_product(x, w, window, sizes):
    """Correlate (N, spatial..., C) with (out, C, kernel...): one product of the slices, side by side."""
    rank = len(sizes)
    columns = tf.concat(list(_shifted(x, window, sizes)), -1)
    matrix = tf.reshape(tf.transpose(w, [*range(2, rank + 2), 1, 0]), [-1, w.shape[0]])
    y = tf.matmul(tf.reshape(columns, [-1, matrix.shape[0]]), matrix)
    return tf.reshape(y, [-1, *sizes, w.shape[0]])


def _by_groups(function, x, w, group):
    if group == 1:
        return function(x, w)
    parts = zip(tf.split(x, group, axis=-1), tf.split(w, group, axis=0))
    return tf.concat([function(xs, ws) for xs, ws in parts], -1)


def _with_bias(y, b):
    return _plus(y, b) if b.dtype.size == 2 else tf.nn.bias_add(y, b)


@kernel("Conv")
def conv(call, x, w, b=None):
    window = conv_window(call.attrs, call.kinds[0].shape, tuple(w.shape))
    sizes = window.sizes(call.kinds[0].shape[2:])
    own = len(sizes) == 2 and set(window.dilations) == {1} and x.dtype in (tf.float32, tf.float64)
    if own:
        margins = [(0, 0), *window.pads, (0, 0)] if any(map(any, window.pads)) else "VALID"

        def correlate(xs, ws):
            return tf.nn.conv2d(xs, tf.transpose(ws, [2, 3, 1, 0]), window.strides, margins)
    else:
        x = _padded(x, window.pads)

        def correlate(xs, ws):
            return _columns_product(xs, ws, window, sizes)

    y = _by_groups(correlate, x, w, call.attrs["group"])
    return y if b is None else _with_bias(y, b)


def _spread(x, strides):
    """(N, spatial..., C) with zeros between the values along each spatial axis."""
    for axis, stride in enumerate(strides, 1):
        if stride > 1:
            size = x.shape[axis]
            margins = [(0, stride - 1 if place == axis + 1 else 0) for place in range(len(x.shape) + 1)]
            wide = tf.pad(tf.expand_dims(x, axis + 1), margins)
            shape = [-1 if place == 0 else s for place, s in enumerate(x.shape)]
            shape[axis] = size * stride
            x = tf.reshape(wide, shape)
            x = x[(slice(None),) * axis + (slice(0, (size - 1) * stride + 1),)]
    return x


@kernel("ConvTranspose")
def conv_transpose(call, x, w, b=None):
    """A convolution of the input with zeros between its values, by the kernel turned round."""
    window, sizes = transposed_window(call.attrs, call.kinds[0].shape, tuple(w.shape))
    full = [(dim - 1) * stride + extent for dim, stride, extent in zip(x.shape[1:-1], window.strides, window.extents)]
    wide = _padded(_spread(x, window.strides), [(extent - 1, extent - 1) for extent in window.extents])
    turned = tf.reverse(w, list(range(2, len(w.shape))))
    plain = Window({"strides": None, "pads": None, "auto_pad": "NOTSET", "dilations": window.dilations},
                   window.kernel, wide.shape[1:-1])  # fmt: skip
    swap = [1, 0, *range(2, len(w.shape))]
    y = _by_groups(lambda xs, ws: _columns_product(xs, tf.transpose(ws, swap), plain, full), wide, turned,
                   call.attrs["group"])  # fmt: skip
    y = _padded(y, [(-before, size + before - have) for have, size, (before, _) in zip(full, sizes, window.pads)])
    return y if b is None else _with_bias(y, b)


@kernel("MaxPool")
def max_pool(call, x):
    window, sizes, pads = pool_geometry(call.attrs, call.kinds[0].shape[2:])
    least = lowest(np.dtype(x.dtype.as_numpy_dtype)) if not x.dtype.is_floating else -np.inf
    x = _padded(x, pads, least)
    if len(sizes) == 2 and set(window.dilations) == {1} and x.dtype.is_floating:
        return tf.nn.max_pool2d(x, window.kernel, window.strides, "VALID")
    return functools.reduce(tf.maximum, _shifted(x, window, sizes))


@kernel("AveragePool")
def average_pool(call, x):
    spatial = call.kinds[0].shape[2:]
    window, sizes, pads = pool_geometry(call.attrs, spatial)
    shares = 1.0 / pool_counts(call.attrs, spatial)[..., None]
    return tf.add_n(list(_shifted(_padded(x, pads), window, sizes))) * tf.constant(shares, x.dtype)
