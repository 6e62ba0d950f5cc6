"""What JAX computes for each operator.

Images come channels-last. On the CPU a convolution is slices and one matrix product, and pooling a maximum of slices:
XLA's own kernels for both, and for their gradients, are several times slower there.
"""

import functools
import itertools
import operator

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from ..kernels.reductions import highest, lowest
from ..lowering import Kernels
from ..operators.reductions import reduced_axes
from ..operators.shaping import pad_widths, slice_ranges, squeezed_axes
from ..operators.windows import Window, conv_window, pool_counts, pool_geometry, transposed_window
from ..shapes import normalize_axis

KERNELS = Kernels()
ON_GPU = Kernels()
kernel = KERNELS.register


def kernels(kind):
    """The table for a kind of device."""
    return dict(KERNELS, **ON_GPU) if kind == "gpu" else KERNELS


def dtype_of(name):
    """JAX's dtype of that name; 64 bits become 32 where they are switched off."""
    return jnp.dtype("bfloat16") if name == "bfloat16" else jax.dtypes.canonicalize_dtype(np.dtype(name))


def _spread(x, shape):
    """A 16-bit operand in the shape of the result, so that its gradient is summed in 32 bits: XLA rounds as it goes."""
    if x.shape == shape or not (jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize == 2):
        return x
    return jnp.broadcast_to(x.astype(jnp.float32), shape).astype(x.dtype)


def _spreading(function):
    def run(a, b):
        shape = jnp.broadcast_shapes(a.shape, b.shape)
        return function(_spread(a, shape), _spread(b, shape))

    return run


_plus = _spreading(jnp.add)
KERNELS.plain({
    "Abs": jnp.abs, "Add": _plus, "And": jnp.logical_and, "Ceil": jnp.ceil, "Cos": jnp.cos, "Equal": jnp.equal,
    "Erf": lax.erf, "Exp": jnp.exp, "Floor": jnp.floor, "Greater": jnp.greater, "GreaterOrEqual": jnp.greater_equal,
    "Identity": lambda x: x, "Less": jnp.less, "LessOrEqual": jnp.less_equal, "Log": jnp.log,
    "Mul": _spreading(jnp.multiply), "Neg": jnp.negative, "Not": jnp.logical_not, "Or": jnp.logical_or,
    "Sigmoid": jax.nn.sigmoid, "Sign": jnp.sign, "Sin": jnp.sin, "Softplus": jax.nn.softplus, "Sqrt": jnp.sqrt,
    "StopGradient": lax.stop_gradient, "Sub": _spreading(jnp.subtract), "Tanh": jnp.tanh, "Where": jnp.where,
    "Xor": jnp.logical_xor,
})  # fmt: skip


@kernel("Relu")
def relu(call, x):
    return jax.nn.relu(x) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.maximum(x, 0)


@kernel("Reciprocal")
def reciprocal(call, x):
    return jnp.ones((), x.dtype) / x


@kernel("Div")
def div(call, a, b):
    if jnp.issubdtype(a.dtype, jnp.floating):
        return a / b
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    return lax.div(jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape))


@kernel("Pow")
def pow_(call, a, b):
    return jnp.power(a, b.astype(a.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else b).astype(a.dtype)


@kernel("Max")
def max_(call, *xs):
    return functools.reduce(jnp.maximum, xs)


@kernel("Min")
def min_(call, *xs):
    return functools.reduce(jnp.minimum, xs)


@kernel("Clip")
def clip(call, x):
    """As two choices: the gradient is that of x up to the bounds themselves."""
    low, high = call.attrs["min"], call.attrs["max"]
    if low is not None:
        x = jnp.where(x < jnp.asarray(low, x.dtype), jnp.asarray(low, x.dtype), x)
    if high is not None:
        x = jnp.where(x > jnp.asarray(high, x.dtype), jnp.asarray(high, x.dtype), x)
    return x


@kernel("Cast")
def cast(call, x):
    return x.astype(dtype_of(call.attrs["to"]))


@kernel("MatMul")
def matmul(call, a, b):
    return jnp.matmul(a, b)


@kernel("Gemm")
def gemm(call, a, b, c=None):
    attrs = call.attrs
    y = jnp.matmul(a.T if attrs["transA"] else a, b.T if attrs["transB"] else b)
    if attrs["alpha"] != 1.0:
        y = y * jnp.asarray(attrs["alpha"], y.dtype)
    if c is None:
        return y
    return _plus(y, c if attrs["beta"] == 1.0 else c * jnp.asarray(attrs["beta"], c.dtype))


def _picked(call, log_prob, labels, weights):
    """The loss of NegativeLogLikelihoodLoss; each place's own class is chosen by comparing, which needs no scatter."""
    attrs = call.attrs
    places = jnp.arange(log_prob.shape[1], dtype=labels.dtype).reshape((1, -1) + (1,) * (log_prob.ndim - 2))
    own = jnp.expand_dims(labels, 1) == places
    zero = jnp.zeros((), log_prob.dtype)
    loss = -jnp.sum(jnp.where(own, log_prob, zero), axis=1)
    factor = None
    if attrs["ignore_index"] is not None:
        factor = (labels != attrs["ignore_index"]).astype(log_prob.dtype)
    if weights is not None:
        wide = lax.stop_gradient(weights).reshape((1, -1) + (1,) * (log_prob.ndim - 2))
        heft = jnp.sum(jnp.where(own, wide, zero), axis=1)
        factor = heft if factor is None else factor * heft
    if factor is not None:
        loss = loss * factor
    if attrs["reduction"] == "none":
        return loss
    if attrs["reduction"] == "mean" and factor is None:
        return jnp.mean(loss)
    return jnp.sum(loss) / (jnp.sum(factor) if attrs["reduction"] == "mean" else jnp.ones((), loss.dtype))


@kernel("NegativeLogLikelihoodLoss")
def negative_log_likelihood(call, log_prob, labels, weights=None):
    return _picked(call, log_prob, labels, weights)


@kernel("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call, scores, labels, weights=None):
    log_prob = jax.nn.log_softmax(scores, axis=1)
    return _picked(call, log_prob, labels, weights), log_prob


@kernel("Softmax")
def softmax(call, x):
    return jax.nn.softmax(x, axis=call.attrs["axis"])


@kernel("LogSoftmax")
def log_softmax(call, x):
    return jax.nn.log_softmax(x, axis=call.attrs["axis"])


@kernel("Dropout")
def dropout(call, noise, x):
    ratio = call.attrs["ratio"]
    if not call.attrs["training_mode"] or ratio == 0.0:
        return x
    return jnp.where(noise.mask(call, x), x * jnp.asarray(1.0 / (1.0 - ratio), x.dtype), jnp.zeros((), x.dtype))


@kernel("RandomUniformLike")
def random_uniform_like(call, noise, x):
    low, high = call.attrs["low"], call.attrs["high"]
    return noise.uniform(call, x) * jnp.asarray(high - low, x.dtype) + jnp.asarray(low, x.dtype)


@kernel("RandomNormalLike")
def random_normal_like(call, noise, x):
    scale, mean = jnp.asarray(call.attrs["scale"], x.dtype), jnp.asarray(call.attrs["mean"], x.dtype)
    return noise.normal(call, x) * scale + mean


@kernel("Bernoulli")
def bernoulli(call, noise, p):
    return (noise.uniform(call, p) < p).astype(dtype_of(call.results[0].dtype))


def _reduction(function, x, call, **start):
    axes = reduced_axes(call.attrs, x.ndim)
    return function(x, axis=axes, keepdims=bool(call.attrs["keepdims"]), **start) if axes else x


@kernel("ReduceSum")
def reduce_sum(call, x):
    return _reduction(jnp.sum, x, call, dtype=x.dtype)


@kernel("ReduceMean")
def reduce_mean(call, x):
    return _reduction(jnp.mean, x, call, dtype=x.dtype)


@kernel("ReduceProd")
def reduce_prod(call, x):
    return _reduction(jnp.prod, x, call, dtype=x.dtype)


@kernel("ReduceMax")
def reduce_max(call, x):
    return _reduction(jnp.max, x, call, **({"initial": lowest(np.dtype(x.dtype))} if x.size == 0 else {}))


@kernel("ReduceMin")
def reduce_min(call, x):
    return _reduction(jnp.min, x, call, **({"initial": highest(np.dtype(x.dtype))} if x.size == 0 else {}))


@kernel("ArgMax", "ArgMin")
def arg_extreme(call, x):
    axis, keep = normalize_axis(call.attrs["axis"], x.ndim), bool(call.attrs["keepdims"])
    find = jnp.argmax if call.op == "ArgMax" else jnp.argmin
    if call.attrs["select_last_index"]:
        return (x.shape[axis] - 1 - find(jnp.flip(x, axis), axis=axis, keepdims=keep)).astype(dtype_of("int64"))
    return find(x, axis=axis, keepdims=keep).astype(dtype_of("int64"))


@kernel("Reshape")
def reshape(call, x):
    target = list(call.attrs["shape"])
    if not call.attrs["allowzero"]:
        target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return x.reshape(target)


@kernel("Flatten")
def flatten(call, x):
    axis = call.attrs["axis"] + (x.ndim if call.attrs["axis"] < 0 else 0)
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


@kernel("Transpose")
def transpose(call, x):
    return jnp.transpose(x, call.attrs["perm"])


@kernel("Concat")
def concat(call, *parts):
    return jnp.concatenate(parts, axis=call.attrs["axis"])


@kernel("Slice")
def slice_(call, x):
    return x[tuple(slice_ranges(call.attrs, x.ndim))]


@kernel("Pad")
def pad(call, x):
    widths, mode = pad_widths(call.attrs, x.ndim), call.attrs["mode"]
    if mode == "constant":
        return jnp.pad(x, widths, constant_values=np.asarray(call.attrs["constant_value"], x.dtype))
    return jnp.pad(x, widths, mode)


@kernel("Squeeze")
def squeeze(call, x):
    return jnp.squeeze(x, squeezed_axes(call.attrs, call.kinds[0].shape))


@kernel("Unsqueeze")
def unsqueeze(call, x):
    return jnp.expand_dims(x, tuple(call.attrs["axes"]))


@kernel("Expand")
def expand(call, x):
    shape = call.attrs["shape"]
    rank = max(x.ndim, len(shape))
    sizes = zip((1,) * (rank - x.ndim) + x.shape, [1] * (rank - len(shape)) + list(shape))
    return jnp.broadcast_to(x, [have if want == 1 else want for have, want in sizes])


def _wrapped(indices, size):
    return jnp.where(indices < 0, indices + size, indices)


@kernel("Gather")
def gather(call, x, indices):
    axis = normalize_axis(call.attrs["axis"], x.ndim)
    return jnp.take(x, _wrapped(indices, x.shape[axis]), axis=axis, mode="clip")


@kernel("GatherElements")
def gather_elements(call, x, indices):
    axis = normalize_axis(call.attrs["axis"], x.ndim)
    kept = tuple(slice(None) if place == axis else slice(0, size) for place, size in enumerate(indices.shape))
    return jnp.take_along_axis(x[kept], _wrapped(indices, x.shape[axis]), axis=axis, mode="clip")


@kernel("OneHot")
def one_hot(call, indices):
    attrs = call.attrs
    axis, depth, dtype = normalize_axis(attrs["axis"], indices.ndim + 1), int(attrs["depth"]), dtype_of(attrs["dtype"])
    off, on = [jnp.asarray(value, dtype) for value in attrs["values"]]
    places = jnp.arange(depth, dtype=indices.dtype)
    places = places.reshape([-1 if place == axis else 1 for place in range(indices.ndim + 1)])
    return jnp.where(jnp.expand_dims(_wrapped(indices, depth), axis) == places, on, off)


def _padded(x, pads, value=0):
    """(N, spatial..., C) with margins; negative ones cut."""
    if not any(width for pair in pads for width in pair):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0)] + [(a, b, 0) for a, b in pads] + [(0, 0, 0)])


def _shifted(x, window, sizes):
    """The slices of a padded array that each place of the window sees."""
    for cut in window.cuts(sizes):
        starts, stops = [one.start for one in cut], [one.stop for one in cut]
        yield lax.slice(x, [0] + starts + [0], [x.shape[0]] + stops + [x.shape[-1]], (1,) + window.strides + (1,))


def _columns_product(x, w, window, sizes):
    """Correlate (N, spatial..., C) with (out, C, kernel...): one product of the slices, side by side."""
    rank = len(sizes)
    columns = jnp.concatenate(list(_shifted(x, window, sizes)), axis=-1)
    matrix = w.transpose(tuple(range(2, rank + 2)) + (1, 0)).reshape(-1, w.shape[0])
    y = jnp.matmul(columns.reshape(-1, matrix.shape[0]), matrix)
    return y.reshape(columns.shape[:-1] + (w.shape[0],))


def _by_groups(function, x, w, group):
    if group == 1:
        return function(x, w)
    parts = zip(jnp.split(x, group, axis=-1), jnp.split(w, group, axis=0))
    return jnp.concatenate([function(xs, ws) for xs, ws in parts], axis=-1)


@kernel("Conv")
def conv(call, x, w, b=None):
    window = conv_window(call.attrs, call.kinds[0].shape, w.shape)
    sizes = window.sizes(call.kinds[0].shape[2:])
    x = _padded(x, window.pads)
    y = _by_groups(lambda xs, ws: _columns_product(xs, ws, window, sizes), x, w, call.attrs["group"])
    return y if b is None else _plus(y, b)


@ON_GPU.register("Conv")
def conv_on_gpu(call, x, w, b=None):
    window = conv_window(call.attrs, call.kinds[0].shape, w.shape)
    spatial = "DHW"[-len(window.kernel) :]
    y = lax.conv_general_dilated(
        x, w, window.strides, window.pads, rhs_dilation=window.dilations, feature_group_count=call.attrs["group"],
        dimension_numbers=("N" + spatial + "C", "OI" + spatial, "N" + spatial + "C"))  # fmt: skip
    return y if b is None else _plus(y, b)


@kernel("ConvTranspose")
def conv_transpose(call, x, w, b=None):
    """A convolution of the input with zeros between its values, by the kernel turned round."""
    window, sizes = transposed_window(call.attrs, call.kinds[0].shape, w.shape)
    margins = [extent - 1 for extent in window.extents]
    full = [(dim - 1) * stride + extent for dim, stride, extent in zip(x.shape[1:-1], window.strides, window.extents)]
    config = [(0, 0, 0)] + [(edge, edge, stride - 1) for edge, stride in zip(margins, window.strides)] + [(0, 0, 0)]
    wide = lax.pad(x, jnp.zeros((), x.dtype), config)
    turned = jnp.flip(w, tuple(range(2, w.ndim)))
    plain = Window({"strides": None, "pads": None, "auto_pad": "NOTSET", "dilations": window.dilations},
                   window.kernel, wide.shape[1:-1])  # fmt: skip
    y = _by_groups(lambda xs, ws: _columns_product(xs, jnp.swapaxes(ws, 0, 1), plain, full), wide, turned,
                   call.attrs["group"])  # fmt: skip
    y = _padded(y, [(-before, size + before - have) for have, size, (before, _) in zip(full, sizes, window.pads)])
    return y if b is None else _plus(y, b)


@kernel("MaxPool")
def max_pool(call, x):
    window, sizes, pads = pool_geometry(call.attrs, call.kinds[0].shape[2:])
    apart = window.kernel == window.strides and set(window.dilations) == {1}
    if apart and not any(width for pair in pads for width in pair):
        return _tiled_max(x, window.kernel, sizes)
    return functools.reduce(jnp.maximum, _shifted(_padded(x, pads, lowest(np.dtype(x.dtype))), window, sizes))


def _tiles(x, kernel, sizes):
    """(N, size, kernel, size, kernel, ..., C): windows that do not overlap, as axes of their own."""
    whole = [count * size for count, size in zip(sizes, kernel)]
    x = lax.slice(x, [0] * x.ndim, [x.shape[0]] + whole + [x.shape[-1]])
    return x.reshape((x.shape[0],) + tuple(itertools.chain(*zip(sizes, kernel))) + (x.shape[-1],))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _tiled_max(x, kernel, sizes):
    return jnp.max(_tiles(x, kernel, sizes), axis=tuple(range(2, 2 * len(kernel) + 1, 2)))


def _tiled_max_forward(x, kernel, sizes):
    y = _tiled_max(x, kernel, sizes)
    return y, (x, y)


def _tiled_max_backward(kernel, sizes, kept, grad):
    """Where several are the largest, they share."""
    x, y = kept
    axes = tuple(range(2, 2 * len(kernel) + 1, 2))
    mine = (_tiles(x, kernel, sizes) == jnp.expand_dims(y, axes)).astype(grad.dtype)
    share = grad / jnp.sum(mine, axis=axes)
    whole = [count * size for count, size in zip(sizes, kernel)]
    dx = (mine * jnp.expand_dims(share, axes)).reshape((x.shape[0],) + tuple(whole) + (x.shape[-1],))
    return (_padded(dx, [(0, have - size) for have, size in zip(x.shape[1:-1], whole)]),)


_tiled_max.defvjp(_tiled_max_forward, _tiled_max_backward)


@kernel("AveragePool")
def average_pool(call, x):
    window, sizes, pads = pool_geometry(call.attrs, call.kinds[0].shape[2:])
    total = functools.reduce(operator.add, _shifted(_padded(x, pads), window, sizes))
    counts = pool_counts(call.attrs, call.kinds[0].shape[2:])
    return total * jnp.asarray(1.0 / counts[..., None], x.dtype)
