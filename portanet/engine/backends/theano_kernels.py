"""What Theano computes for each operator; convolution, pooling and what is chosen for C stand in `theano_tables`.

Axes of size 1 are declared as such in Theano's types, which is how it broadcasts.
"""

import functools

import numpy as np

from ..kernels.reductions import highest, lowest
from ..lowering import Kernels, UnsupportedOperator
from ..operators.reductions import reduced_axes
from ..operators.shaping import pad_widths, slice_ranges, squeezed_axes
from ..shapes import is_symbolic, normalize_axis
from .theano_start import theano
from .theano_where import where

tt = theano.tensor
KERNELS = Kernels()
kernel = KERNELS.register
LACKING = ("bfloat16",)


def constant(array):
    """Theano's constant of a NumPy array, in its own dtype.

    Raises
    ------
    UnsupportedOperator
        For a dtype that Theano lacks.
    """
    if str(array.dtype) in LACKING:
        raise UnsupportedOperator("theano has no %s; use float32" % array.dtype)
    return tt.constant(array)


def of(value, x):
    """A number in the dtype of a variable."""
    return tt.constant(np.asarray(value).astype(x.dtype))


def pattern(shape):
    """Which axes Theano is to know of as of size 1."""
    return tuple(size == 1 for size in shape)


def as_declared(y, kind):
    """The variable in the dtype of that type, with its axes of size 1 known."""
    if y.dtype != kind.dtype:
        y = tt.cast(y, kind.dtype)
    return y if y.broadcastable == pattern(kind.shape) else tt.patternbroadcast(y, pattern(kind.shape))


def sizes_of(x, kind):
    """Sizes of a variable: whole numbers where they are known."""
    return [x.shape[axis] if is_symbolic(size) else int(size) for axis, size in enumerate(kind.shape)]


def _product(sizes, x):
    """The product of sizes, some of them symbolic, in the dtype of `x`."""
    known = of(int(np.prod([size for size in sizes if isinstance(size, int)])), x)
    return functools.reduce(tt.mul, [tt.cast(size, x.dtype) for size in sizes if not isinstance(size, int)], known)


def _larger(a, b):
    return where(tt.ge(a, b), a, b)


def _smaller(a, b):
    return where(tt.le(a, b), a, b)


KERNELS.plain({
    "Abs": tt.abs_, "Add": tt.add, "And": tt.and_, "Ceil": tt.ceil, "Cos": tt.cos, "Equal": tt.eq,
    "Erf": tt.erf, "Exp": tt.exp, "Floor": tt.floor, "Greater": tt.gt, "GreaterOrEqual": tt.ge,
    "Identity": lambda x: x, "Less": tt.lt, "LessOrEqual": tt.le, "Log": tt.log,
    "Max": lambda *xs: functools.reduce(_larger, xs), "Min": lambda *xs: functools.reduce(_smaller, xs),
    "Mul": tt.mul, "Neg": tt.neg, "Not": lambda x: tt.eq(x, of(False, x)), "Or": tt.or_,
    "Reciprocal": lambda x: of(1, x) / x, "Relu": lambda x: where(tt.le(x, of(0, x)), of(0, x), x),
    "Sigmoid": lambda x: of(0.5, x) * tt.tanh(of(0.5, x) * x) + of(0.5, x), "Sign": tt.sgn, "Sin": tt.sin,
    "Softplus": tt.nnet.softplus, "Sqrt": tt.sqrt, "StopGradient": theano.gradient.disconnected_grad, "Sub": tt.sub,
    "Tanh": tt.tanh, "Where": where, "Xor": tt.neq,
})  # fmt: skip


def _is_float(x):
    return x.dtype.startswith("float")


@kernel("Div")
def div(call, a, b):
    if _is_float(a):
        return tt.true_div(a, b)
    if a.dtype.startswith("uint"):
        return tt.int_div(a, b)
    return tt.int_div(tt.abs_(a), tt.abs_(b)) * tt.sgn(a) * tt.sgn(b)


@kernel("Pow")
def pow_(call, a, b):
    if not _is_float(a):
        return tt.cast(tt.pow(tt.cast(a, "float64"), tt.cast(b, "float64")), a.dtype)
    return tt.pow(a, tt.cast(b, a.dtype))


@kernel("Clip")
def clip(call, x):
    """As two choices: the gradient is that of x up to the bounds themselves."""
    low, high = call.attrs["min"], call.attrs["max"]
    if low is not None:
        x = where(tt.lt(x, of(low, x)), of(low, x), x)
    if high is not None:
        x = where(tt.gt(x, of(high, x)), of(high, x), x)
    return x


@kernel("Cast")
def cast(call, x):
    to = call.attrs["to"]
    if to in LACKING:
        raise UnsupportedOperator("theano has no %s; use float32" % to, call.layer, call.op)
    return tt.neq(x, of(0, x)) if to == "bool" else tt.cast(x, to)


def _broadcast_batches(a, b, call):
    """Both operands as (batches, rows, columns), and the sizes of the batch axes of the result."""
    rank = max(a.ndim, b.ndim) - 2
    batch = []
    for axis in range(rank):
        own = [(x.shape[axis - rank + x.ndim - 2], x.broadcastable[axis - rank + x.ndim - 2])
               for x in (a, b) if axis - rank + x.ndim - 2 >= 0]  # fmt: skip
        wide = [size for size, single in own if not single]
        batch.append(wide[0] if wide else 1)
    flat = []
    for x in (a, b):
        whole = tt.alloc(x, *(batch + [x.shape[-2], x.shape[-1]]))
        flat.append(whole.reshape([-1, x.shape[-2], x.shape[-1]], ndim=3))
    return flat, batch


@kernel("MatMul")
def matmul(call, a, b):
    if a.ndim <= 2 and b.ndim <= 2:
        return tt.dot(a, b)
    if b.ndim == 2:
        return tt.dot(a.reshape([-1, a.shape[-1]], ndim=2), b).reshape(_leading(a) + [b.shape[1]], ndim=a.ndim)
    left = a.dimshuffle("x", 0) if a.ndim == 1 else a
    right = b.dimshuffle(0, "x") if b.ndim == 1 else b
    (flat_a, flat_b), batch = _broadcast_batches(left, right, call)
    y = tt.batched_dot(flat_a, flat_b)
    shape = batch + ([left.shape[-2]] if a.ndim > 1 else []) + ([right.shape[-1]] if b.ndim > 1 else [])
    return y.reshape(shape, ndim=len(shape))


def _leading(x):
    return [x.shape[axis] for axis in range(x.ndim - 1)]


@kernel("Gemm")
def gemm(call, a, b, c=None):
    attrs = call.attrs
    y = tt.dot(a.T if attrs["transA"] else a, b.T if attrs["transB"] else b)
    if attrs["alpha"] != 1.0:
        y = y * of(attrs["alpha"], y)
    if c is None:
        return y
    return y + (c if attrs["beta"] == 1.0 else c * of(attrs["beta"], c))


def as_rows(x, axis):
    """The variable as a matrix with that axis last, and a function that undoes it."""
    axis = normalize_axis(axis, x.ndim)
    order = [place for place in range(x.ndim) if place != axis] + [axis]
    moved = x.dimshuffle(order)

    def back(matrix):
        return matrix.reshape(moved.shape, ndim=x.ndim).dimshuffle([int(place) for place in np.argsort(order)])

    return moved.reshape([-1, moved.shape[-1]], ndim=2), back


@kernel("Softmax", "LogSoftmax")
def softmax(call, x):
    function = tt.nnet.softmax if call.op == "Softmax" else tt.nnet.logsoftmax
    if x.ndim == 2 and normalize_axis(call.attrs["axis"], 2) == 1:
        return function(x)
    rows, back = as_rows(x, call.attrs["axis"])
    return back(function(rows))


@kernel("Dropout")
def dropout(call, noise, x):
    ratio = call.attrs["ratio"]
    if not call.attrs["training_mode"] or ratio == 0.0:
        return x
    return where(noise.mask(call, x), x * of(1.0 / (1.0 - ratio), x), of(0, x))


@kernel("RandomUniformLike")
def random_uniform_like(call, noise, x):
    low, high = call.attrs["low"], call.attrs["high"]
    return noise.uniform(call, x) * of(high - low, x) + of(low, x)


@kernel("RandomNormalLike")
def random_normal_like(call, noise, x):
    return noise.normal(call, x) * of(call.attrs["scale"], x) + of(call.attrs["mean"], x)


@kernel("Bernoulli")
def bernoulli(call, noise, p):
    return tt.lt(noise.uniform(call, p), p)


class _SharingMax(theano.tensor.basic.Max):
    """A maximum whose gradient is shared equally by places that tie."""

    def L_op(self, inputs, outputs, gradients):  # noqa: N802 - Theano's name
        return [_shared(inputs[0], outputs[0], gradients[0], self.axis)]


class _SharingMin(theano.tensor.basic.Min):
    def L_op(self, inputs, outputs, gradients):  # noqa: N802 - Theano's name
        return [_shared(inputs[0], outputs[0], gradients[0], self.axis)]


def _shared(x, y, gradient, axes):
    def wide(folded):
        left = iter(range(folded.ndim))
        return folded.dimshuffle(["x" if axis in axes else next(left) for axis in range(x.ndim)])

    chosen = tt.cast(tt.eq(x, wide(y)), x.dtype)
    return chosen * wide(gradient / tt.sum(chosen, axis=axes))


@kernel("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
def reduce(call, x):
    axes = tuple(sorted(reduced_axes(call.attrs, x.ndim)))
    if not axes:
        return x
    kind = call.kinds[0]
    if call.op in ("ReduceMax", "ReduceMin"):
        if 0 in kind.shape:
            start = (lowest if call.op == "ReduceMax" else highest)(np.dtype(kind.dtype))
            return tt.alloc(of(start, x), *call.results[0].shape)
        find = _SharingMax if call.op == "ReduceMax" else _SharingMin
        y = tt.cast(find(axes)(tt.cast(x, "uint8")), "bool") if kind.dtype == "bool" else find(axes)(x)
    elif call.op == "ReduceProd":
        y = tt.prod(x, axis=axes, dtype=kind.dtype)
    else:
        y = tt.sum(x, axis=axes, dtype=kind.dtype)
        y = y / _product([sizes_of(x, kind)[axis] for axis in axes], x) if call.op == "ReduceMean" else y
    if not call.attrs["keepdims"]:
        return y
    left = iter(range(y.ndim))
    return y.dimshuffle(["x" if axis in axes else next(left) for axis in range(x.ndim)])


@kernel("ArgMax", "ArgMin")
def arg_extreme(call, x):
    axis = normalize_axis(call.attrs["axis"], x.ndim)
    find = tt.argmax if call.op == "ArgMax" else tt.argmin
    if call.attrs["select_last_index"]:
        found = x.shape[axis] - 1 - find(x[(slice(None),) * axis + (slice(None, None, -1),)], axis=axis)
    else:
        found = find(x, axis=axis)
    if not call.attrs["keepdims"]:
        return found
    return found.dimshuffle(list(range(axis)) + ["x"] + list(range(axis, x.ndim - 1)))


@kernel("Reshape")
def reshape(call, x):
    shape = call.results[0].shape
    if len([size for size in shape if is_symbolic(size)]) < 2 and 0 not in shape:
        target = [-1 if is_symbolic(size) else int(size) for size in shape]
    else:
        copied = not call.attrs["allowzero"]
        target = [x.shape[axis] if size == 0 and copied else int(size) for axis, size in enumerate(call.attrs["shape"])]
    return x.reshape(target, ndim=len(shape))


@kernel("Transpose")
def transpose(call, x):
    return x.dimshuffle(call.attrs["perm"] or list(range(x.ndim))[::-1])


@kernel("Concat")
def concat(call, *parts):
    return (
        parts[0] if len(parts) == 1 else tt.concatenate(parts, axis=normalize_axis(call.attrs["axis"], parts[0].ndim))
    )


@kernel("Slice")
def slice_(call, x):
    cuts = []
    for size, cut in zip(call.kinds[0].shape, slice_ranges(call.attrs, x.ndim)):
        if is_symbolic(size) or cut == slice(None):
            cuts.append(slice(None))
            continue
        start, stop, step = cut.indices(size)
        cuts.append(slice(start, None if stop < 0 else stop, step) if range(start, stop, step) else slice(0, 0))
    return x[tuple(cuts)]


def margined(x, sizes, widths, value=0):
    """The variable, of those sizes, with that value around it; negative widths cut."""
    if any(min(pair) < 0 for pair in widths):
        x = x[tuple(slice(max(-a, 0), None if b >= 0 else b) for a, b in widths)]
        sizes = [size + min(a, 0) + min(b, 0) if a < 0 or b < 0 else size for size, (a, b) in zip(sizes, widths)]
        widths = [(max(a, 0), max(b, 0)) for a, b in widths]
    if not any(map(any, widths)):
        return x
    wide = tt.alloc(of(value, x), *[size + a + b for size, (a, b) in zip(sizes, widths)])
    return tt.set_subtensor(wide[tuple(slice(a, a + size) if a or b else slice(None)
                                       for size, (a, b) in zip(sizes, widths))], x)  # fmt: skip


@kernel("Pad")
def pad(call, x):
    widths, mode = pad_widths(call.attrs, x.ndim), call.attrs["mode"]
    if mode == "constant":
        return margined(x, sizes_of(x, call.kinds[0]), widths, call.attrs["constant_value"])
    for axis, pair in enumerate(widths):
        if any(pair):
            places = np.pad(np.arange(call.kinds[0].shape[axis]), pair, mode)
            x = _taken(x, tt.constant(places.astype("int64")), axis)
    return x


def _taken(x, indices, axis):
    """Entries along an axis by a vector of indices, which Theano has in C for the first axis."""
    order = [axis] + [place for place in range(x.ndim) if place != axis]
    if axis == 0:
        return x[indices]
    return x.dimshuffle(order)[indices].dimshuffle([int(place) for place in np.argsort(order)])


@kernel("Squeeze")
def squeeze(call, x):
    axes = squeezed_axes(call.attrs, call.kinds[0].shape)
    return x.dimshuffle([axis for axis in range(x.ndim) if axis not in axes])


@kernel("Unsqueeze")
def unsqueeze(call, x):
    rank, left = x.ndim + len(call.attrs["axes"]), iter(range(x.ndim))
    axes = [axis % rank for axis in call.attrs["axes"]]
    return x.dimshuffle(["x" if axis in axes else next(left) for axis in range(rank)])


@kernel("Expand")
def expand(call, x):
    shape = call.results[0].shape
    missing = len(shape) - x.ndim
    return tt.alloc(
        x, *[x.shape[axis - missing] if is_symbolic(size) else int(size) for axis, size in enumerate(shape)]
    )


@kernel("Gather")
def gather(call, x, indices):
    axis = normalize_axis(call.attrs["axis"], x.ndim)
    found = _taken(x, tt.cast(indices.flatten(), "int64"), axis)
    if indices.ndim == 1:
        return found
    own, places = sizes_of(x, call.kinds[0]), sizes_of(indices, call.kinds[1])
    return found.reshape(own[:axis] + places + own[axis + 1 :], ndim=x.ndim - 1 + indices.ndim)


@kernel("GatherElements")
def gather_elements(call, x, indices):
    """By the numbers of the places in the flat operand."""
    axis = normalize_axis(call.attrs["axis"], x.ndim)
    own, sizes = sizes_of(x, call.kinds[0]), sizes_of(indices, call.kinds[1])
    indices = tt.cast(indices, "int64")
    size = own[axis] if is_symbolic(call.kinds[0].shape[axis]) else of(own[axis], indices)
    steps = [_product(own[place + 1 :], indices) for place in range(x.ndim)]
    at = where(tt.lt(indices, of(0, indices)), indices + size, indices) * steps[axis]
    for place in range(x.ndim):
        if place != axis and own[place] != 1:
            at = (
                at
                + _numbered(sizes[place]).dimshuffle([0 if a == place else "x" for a in range(x.ndim)]) * steps[place]
            )
    return x.flatten()[at.flatten()].reshape(sizes, ndim=x.ndim)


def _numbered(size):
    """The whole numbers below a size that may be symbolic."""
    return tt.constant(np.arange(size, dtype="int64")) if isinstance(size, int) else tt.arange(size, dtype="int64")


@kernel("OneHot")
def one_hot(call, indices):
    attrs, rank = call.attrs, indices.ndim + 1
    axis, depth = normalize_axis(attrs["axis"], rank), int(attrs["depth"])
    off, on = [tt.constant(np.asarray(value, attrs["dtype"])) for value in attrs["values"]]
    places = tt.constant(np.arange(depth).astype(indices.dtype))
    places = places.dimshuffle([0 if place == axis else "x" for place in range(rank)])
    wrapped = where(tt.lt(indices, of(0, indices)), indices + of(depth, indices), indices)
    left = iter(range(indices.ndim))
    wrapped = wrapped.dimshuffle(["x" if place == axis else next(left) for place in range(rank)])
    return where(tt.eq(wrapped, places), on, off)
