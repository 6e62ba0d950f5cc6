"""What MXNet computes for each operator.

Kernels see symbols, and graphs in which every size is a number. MXNet's newer operators (``_npi``, ``_np``, ``_npx``)
know scalars, empty arrays and booleans; where they are slower or wrong, its older ones stand. What MXNet has no
operator for is composed of others.
"""

import functools
import math

import numpy as np

from ..kernels.reductions import highest, lowest
from ..lowering import Kernels, UnsupportedOperator
from ..operators.reductions import reduced_axes
from ..operators.shaping import pad_widths, slice_ranges
from ..shapes import broadcast, normalize_axis, product
from .mxnet_symbols import CARRIED, apply, constant, known

KERNELS = Kernels()
kernel = KERNELS.register

UNARY = {
    "Abs": "_npi_absolute", "Ceil": "_npi_ceil", "Cos": "_npi_cos", "Exp": "_npi_exp",
    "Floor": "_npi_floor", "Log": "_npi_log", "Neg": "_npi_negative", "Not": "_npi_logical_not",
    "Reciprocal": "_npi_reciprocal", "Relu": "relu", "Sigmoid": "sigmoid", "Sign": "_npi_sign", "Sin": "_npi_sin",
    "Sqrt": "_npi_sqrt", "StopGradient": "BlockGrad", "Tanh": "_npi_tanh",
}  # fmt: skip
BINARY = {
    "Add": "_npi_add", "Equal": "_npi_equal", "Greater": "_npi_greater",
    "GreaterOrEqual": "_npi_greater_equal", "Less": "_npi_less", "LessOrEqual": "_npi_less_equal",
    "Mul": "_npi_multiply", "Sub": "_npi_subtract", "Xor": "_npi_not_equal",
}  # fmt: skip
KERNELS.plain({op: functools.partial(apply, name) for op, name in dict(UNARY, **BINARY).items()})
KERNELS.plain({"Identity": lambda x: x})
MOST_AXES = 5  # that MXNet broadcasts over
LIMITS = (("Where", "broadcasting over more than %d axes" % MOST_AXES, "refused"),)


def _cast(x, dtype):
    wide = apply("_npi_cast", x, dtype=CARRIED.get(dtype, dtype))
    return apply("_npi_bitwise_and_scalar", wide, scalar=65535) if dtype == "uint16" else wide


def reshaped(x, shape):
    return apply("_np_reshape", x, newshape=tuple(shape))


def _scaled(x, factor):
    return x if factor == 1.0 else apply("_npi_multiply_scalar", x, scalar=float(factor))


def _shifted_by(x, term):
    return x if term == 0.0 else apply("_npi_add_scalar", x, scalar=float(term))


def is_float(kind):
    return kind.dtype.startswith("float")


def _zero_with_gradient(x, fixed, shape):
    """0 whose gradient is that of x; 0 without one where x is infinite."""
    flat = [reshaped(made, (-1,)) for made in (
        apply("_npi_isfinite", fixed), apply("_npi_subtract", x, fixed), apply("zeros_like", fixed))]  # fmt: skip
    return reshaped(apply("_npi_where", *flat), shape)


@kernel("Erf")
def erf(call, x):
    """In double precision with a derivative of our own: MXNet's has only seven digits."""
    if call.kinds[0].dtype != "float64":
        return apply("erf", x)
    fixed = apply("BlockGrad", x)
    slope = _scaled(apply("_npi_exp", apply("_npi_negative", apply("_npi_square", fixed))), 2.0 / math.sqrt(math.pi))
    nothing = apply("_npi_multiply", _zero_with_gradient(x, fixed, call.kinds[0].shape), slope)
    return apply("_npi_add", apply("erf", fixed), nothing)


@kernel("Softplus")
def softplus(call, x):
    """Through log1p up to 40, beyond which exp(-x) no longer counts in double precision."""
    bent = apply("log1p", apply("_npi_exp", apply("_npi_minimum_scalar", x, scalar=40.0)))
    return apply("_npi_where", apply("_npi_greater_scalar", x, scalar=40.0), x, bent)


@kernel("Div")
def div(call, a, b):
    if is_float(call.kinds[0]):
        return apply("_npi_true_divide", a, b)
    dtype = call.kinds[0].dtype
    first = _truncated_quotient(a, b, dtype)
    rest = apply("_npi_subtract", a, apply("_npi_multiply", first, b))
    return apply("_npi_add", first, _truncated_quotient(rest, b, dtype))


def _truncated_quotient(a, b, dtype):
    doubles = [apply("_npi_cast", x, dtype="float64") for x in (a, b)]
    return _cast(apply("_npi_trunc", apply("_npi_true_divide", *doubles)), dtype)


@kernel("Pow")
def pow_(call, a, b):
    exponent, kinds = known(b), call.kinds
    if exponent is not None and exponent.ndim == 0 and exponent == 2:
        return apply("_npi_square", a)
    if is_float(kinds[0]):
        return apply("_npi_power", a, b if kinds[1] == kinds[0] else _cast(b, kinds[0].dtype))
    if kinds[0].dtype == kinds[1].dtype:
        return apply("_npi_power", a, b)
    return _cast(apply("_npi_power", _cast(a, "float64"), _cast(b, "float64")), kinds[0].dtype)


@kernel("Max", "Min")
def extreme(call, *xs):
    name = "_npi_maximum" if call.op == "Max" else "_npi_minimum"
    return functools.reduce(functools.partial(apply, name), xs)


@kernel("And", "Or")
def both_or_either(call, a, b):
    name = "_npi_minimum" if call.op == "And" else "_npi_maximum"
    return _cast(apply(name, _cast(a, "uint8"), _cast(b, "uint8")), "bool")


@kernel("Where")
def where(call, condition, a, b):
    shape = call.results[0].shape
    if len(shape) <= MOST_AXES:
        return apply("_npi_where", condition, a, b)
    if any(kind.rank and kind.shape != shape for kind in call.kinds):
        raise UnsupportedOperator("mxnet broadcasts over at most %d axes, this result has %d; give it operands of "
                                  "one shape" % (MOST_AXES, len(shape)), call.layer, call.op)  # fmt: skip
    flat = [reshaped(x, (-1,)) if kind.rank else x for x, kind in zip((condition, a, b), call.kinds)]
    return reshaped(apply("_npi_where", *flat), shape)


@kernel("Clip")
def clip(call, x):
    for name, bound in (("_npi_maximum", call.attrs["min"]), ("_npi_minimum", call.attrs["max"])):
        if bound is not None:
            x = apply(name, x, constant(np.asarray(bound, call.kinds[0].dtype)))
    return x


@kernel("Cast")
def cast(call, x):
    return x if call.kinds[0].dtype == call.attrs["to"] else _cast(x, call.attrs["to"])


@kernel("MatMul")
def matmul(call, a, b):
    left, right = call.kinds
    if not is_float(left):
        return _integer_product(call, a, b)
    if right.rank <= 2:
        rows = a if left.rank == 2 else reshaped(a, (product(left.shape[:-1]), left.shape[-1]))
        columns = b if right.rank == 2 else reshaped(b, right.shape + (1,))
        y = apply("dot", rows, columns)
        return y if left.rank == right.rank == 2 else reshaped(y, call.results[0].shape)
    shape = left.shape if left.rank > 1 else (1,) + left.shape
    a = a if left.rank > 1 else reshaped(a, shape)
    stack = broadcast(shape[:-2], right.shape[:-2])
    a, b = (x if own[:-2] == stack else apply("_npi_broadcast_to", x, shape=stack + own[-2:])
            for x, own in ((a, shape), (b, right.shape)))  # fmt: skip
    return reshaped(apply("_npi_matmul", a, b), call.results[0].shape)


def _integer_product(call, a, b):
    left, right = call.kinds
    rows = a if left.rank > 1 else reshaped(a, (1,) + left.shape)
    columns = b if right.rank > 1 else reshaped(b, right.shape + (1,))
    terms = apply("_npi_multiply", apply("expand_dims", rows, axis=-1), apply("expand_dims", columns, axis=-3))
    return reshaped(apply("_np_sum", terms, axis=(-2,), dtype=left.dtype), call.results[0].shape)


@kernel("Gemm")
def gemm(call, a, b, c=None):
    attrs = call.attrs
    y = apply("dot", a, b, transpose_a=bool(attrs["transA"]), transpose_b=bool(attrs["transB"]))
    y = _scaled(y, attrs["alpha"])
    return y if c is None else apply("_npi_add", y, _scaled(c, attrs["beta"]))


@kernel("Softmax")
def softmax(call, x):
    return apply("softmax", x, axis=call.attrs["axis"])


@kernel("LogSoftmax")
def log_softmax(call, x):
    return _log_softmax(x, call.attrs["axis"])


def _log_softmax(x, axis):
    """With a temperature, which keeps oneDNN out: its logarithms are off by 3e-6."""
    return apply("log_softmax", x, axis=axis, temperature=1.0)


@kernel("NegativeLogLikelihoodLoss")
def negative_log_likelihood(call, log_prob, labels, weights=None):
    return _weighed(call, log_prob, labels, weights)


@kernel("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call, scores, labels, weights=None):
    log_prob = _log_softmax(scores, 1)
    return _weighed(call, log_prob, labels, weights), log_prob


def _weighed(call, log_prob, labels, weights):
    """The loss of each place, weighed and folded as the attributes say."""
    ignored, reduction, dtype = call.attrs["ignore_index"], call.attrs["reduction"], call.kinds[0].dtype
    factor = None
    if ignored is not None:
        counted = apply("_npi_not_equal_scalar", labels, scalar=ignored)
        labels = apply("_npi_multiply", labels, _cast(counted, call.kinds[1].dtype))
        factor = _cast(counted, dtype)
    if weights is not None:
        own = apply("take", apply("BlockGrad", weights), labels, axis=0, mode="wrap")
        factor = own if factor is None else apply("_npi_multiply", factor, own)
    loss = apply("_npi_negative", apply("pick", log_prob, labels, axis=1, mode="wrap"))
    if factor is not None:
        loss = apply("_npi_multiply", loss, factor)
    if reduction == "none":
        return loss
    if reduction == "mean" and factor is None:
        return apply("_npi_mean", loss)
    total = apply("_np_sum", loss)
    return apply("_npi_true_divide", total, apply("_np_sum", factor)) if reduction == "mean" else total


@kernel("Dropout")
def dropout(call, noise, x):
    ratio = call.attrs["ratio"]
    if not call.attrs["training_mode"] or ratio == 0.0:
        return x
    kept = apply("_npi_cast", noise.mask(call), dtype=call.kinds[0].dtype)
    return apply("_npi_multiply", x, _scaled(kept, 1.0 / (1.0 - ratio)))


@kernel("RandomUniformLike")
def random_uniform_like(call, noise, x):
    low, high = call.attrs["low"], call.attrs["high"]
    return _shifted_by(_scaled(noise.floats(call), high - low), low)


@kernel("RandomNormalLike")
def random_normal_like(call, noise, x):
    return _shifted_by(_scaled(noise.floats(call), call.attrs["scale"]), call.attrs["mean"])


@kernel("Bernoulli")
def bernoulli(call, noise, p):
    return _cast(apply("_npi_less", noise.floats(call), p), call.results[0].dtype)


def _folding(start):
    """For a reduction over `axes`: what it gives without any, and ``start(dtype, op)`` where there are no values."""

    def wrap(function):
        def run(call, x):
            kind = call.kinds[0]
            axes = tuple(sorted(reduced_axes(call.attrs, kind.rank)))
            if not axes:
                return x
            if 0 in kind.shape:
                first = start(np.dtype(kind.dtype), call.op)
                return constant(np.full(call.results[0].shape, first, kind.dtype))
            return function(call, x, axes)

        return run

    return wrap


@kernel("ReduceSum")
@_folding(lambda dtype, op: 0)
def reduce_sum(call, x, axes):
    return apply("_np_sum", x, axis=axes, keepdims=bool(call.attrs["keepdims"]), dtype=call.kinds[0].dtype)


@kernel("ReduceMean")
@_folding(lambda dtype, op: np.nan)
def reduce_mean(call, x, axes):
    """Places first, then the batch: one long sum over both loses digits in float32."""
    keep = bool(call.attrs["keepdims"])
    if axes[0] == 0 and len(axes) > 1:
        x = apply("_npi_mean", apply("_npi_mean", x, axis=axes[1:], keepdims=True), axis=(0,), keepdims=True)
        return x if keep else reshaped(x, call.results[0].shape)
    return apply("_npi_mean", x, axis=axes, keepdims=keep)


@kernel("ReduceMax", "ReduceMin")
@_folding(lambda dtype, op: lowest(dtype) if op == "ReduceMax" else highest(dtype))
def reduce_extreme(call, x, axes):
    """The largest or smallest; places that tie share the gradient equally, where MXNet would give each all of it."""
    kind, attrs = call.kinds[0], call.attrs
    name = "_np_max" if call.op == "ReduceMax" else "_np_min"
    if not is_float(kind):
        return apply(name, x, axis=axes, keepdims=bool(attrs["keepdims"]))
    fixed = apply("BlockGrad", x)
    found = apply(name, fixed, axis=axes, keepdims=True)
    tied = apply("_npi_cast", apply("_npi_equal", fixed, found), dtype=kind.dtype)
    share = apply("_npi_true_divide", tied, apply("_np_sum", tied, axis=axes, keepdims=True))
    nothing = apply("_npi_multiply", _zero_with_gradient(x, fixed, kind.shape), share)
    y = apply("_npi_add", found, apply("_np_sum", nothing, axis=axes, keepdims=True))
    return y if attrs["keepdims"] else reshaped(y, call.results[0].shape)


@kernel("ReduceProd")
@_folding(lambda dtype, op: 1)
def reduce_prod(call, x, axes):
    """By halves, so that the gradient is right where there are zeros: MXNet's divides by them."""
    shape = list(call.kinds[0].shape)
    for axis in axes:
        x = _halved(x, axis, shape)
    return reshaped(x, call.results[0].shape)


def _halved(x, axis, shape):
    """The product along one axis, which keeps size 1; `shape` is changed along."""
    while shape[axis] > 1:
        half = shape[axis] // 2
        y = apply("_npi_multiply", *[apply("slice_axis", x, axis=axis, begin=at, end=at + half) for at in (0, half)])
        if shape[axis] % 2:
            rest = apply("slice_axis", x, axis=axis, begin=2 * half, end=2 * half + 1)
            y = apply("_npi_concatenate", y, rest, num_args=2, axis=axis)
        x, shape[axis] = y, half + shape[axis] % 2
    return x


@kernel("ArgMax", "ArgMin")
def arg_extreme(call, x):
    kind, keep = call.kinds[0], bool(call.attrs["keepdims"])
    axis = normalize_axis(call.attrs["axis"], kind.rank)
    name = "_npi_argmax" if call.op == "ArgMax" else "_npi_argmin"
    if not is_float(kind):
        x = apply("_npi_cast", x, dtype="float64")
    if not call.attrs["select_last_index"]:
        return apply(name, x, axis=axis, keepdims=keep)
    found = apply(name, apply("_npi_flip", x, axis=(axis,)), axis=axis, keepdims=keep)
    return apply("_npi_subtract", constant(np.asarray(kind.shape[axis] - 1, "int64")), found)


@kernel("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(call, x):
    return reshaped(x, call.results[0].shape)


def _through_bytes(function):
    """For operators that MXNet has for numbers only: booleans go through them as bytes."""

    def run(call, *operands):
        if call.kinds[0].dtype != "bool":
            return function(call, *operands)
        return _cast(function(call, _cast(operands[0], "uint8"), *operands[1:]), "bool")

    return run


@kernel("Transpose")
@_through_bytes
def transpose(call, x):
    perm = call.attrs["perm"]
    rank = call.kinds[0].rank
    return apply("_np_transpose", x, axes=tuple(perm if perm is not None else range(rank)[::-1])) if rank > 1 else x


@kernel("Concat")
def concat(call, *parts):
    return apply("_npi_concatenate", *parts, num_args=len(parts), axis=call.attrs["axis"])


@kernel("Slice")
def slice_(call, x):
    if 0 in call.results[0].shape:
        return constant(np.zeros(call.results[0].shape, call.kinds[0].dtype))
    shape = call.kinds[0].shape
    cuts = [cut.indices(size) for cut, size in zip(slice_ranges(call.attrs, len(shape)), shape)]
    return sliced(x, [slice(start, stop if stop >= 0 else None, step) for start, stop, step in cuts])


def sliced(x, cuts):
    return apply("slice", x, begin=tuple(cut.start for cut in cuts), end=tuple(cut.stop for cut in cuts),
                 step=tuple(cut.step for cut in cuts)) if cuts else x  # fmt: skip


@kernel("Pad")
@_through_bytes
def pad(call, x):
    kind, widths = call.kinds[0], pad_widths(call.attrs, call.kinds[0].rank)
    if call.attrs["mode"] == "constant":
        return padded(x, kind.shape, widths, call.attrs["constant_value"], kind.dtype)
    for axis, pair in enumerate(widths):
        if any(pair):
            places = np.pad(np.arange(kind.shape[axis], dtype=np.int32), pair, call.attrs["mode"])
            x = apply("take", x, constant(places), axis=axis, mode="clip")
    return x


def padded(x, shape, widths, value, dtype):
    """`x` of that shape with margins of one value; negative ones cut."""
    shape = list(shape)
    for axis, (before, after) in enumerate(widths):
        if before < 0 or after < 0:
            x = apply("slice_axis", x, axis=axis, begin=max(-before, 0), end=shape[axis] - max(-after, 0))
            shape[axis] += min(before, 0) + min(after, 0)
        margins = [constant(np.full(shape[:axis] + [width] + shape[axis + 1 :], value).astype(_stored(dtype)))
                   if width > 0 else None for width in (before, after)]  # fmt: skip
        parts = [part for part in (margins[0], x, margins[1]) if part is not None]
        if len(parts) > 1:
            x = apply("_npi_concatenate", *parts, num_args=len(parts), axis=axis)
            shape[axis] += max(before, 0) + max(after, 0)
    return x


def _stored(dtype):
    return "uint8" if dtype == "bool" else dtype


@kernel("Expand")
@_through_bytes
def expand(call, x):
    return apply("_npi_broadcast_to", x, shape=tuple(call.results[0].shape))


@kernel("Gather")
def gather(call, x, indices):
    return apply("take", x, indices, axis=normalize_axis(call.attrs["axis"], call.kinds[0].rank), mode="wrap")


def _wrapped(indices, size, dtype):
    """Indices from the end as such from the beginning."""
    negative = _cast(apply("_npi_less_scalar", indices, scalar=0), dtype)
    return apply("_npi_add", indices, apply("_npi_multiply_scalar", negative, scalar=size))


@kernel("GatherElements")
def gather_elements(call, x, indices):
    """By numbers into the flat array."""
    shape, wanted = call.kinds[0].shape, call.kinds[1].shape
    axis = normalize_axis(call.attrs["axis"], len(shape))
    if 0 in wanted:
        return constant(np.zeros(wanted, call.kinds[0].dtype))
    strides = [int(np.prod(shape[place + 1 :])) for place in range(len(shape))]
    grids = np.ogrid[tuple(slice(size) for size in wanted)]
    others = sum(grid * stride for place, (grid, stride) in enumerate(zip(grids, strides)) if place != axis)
    others = np.broadcast_to(np.asarray(others, "int64"), wanted)
    wrapped = _wrapped(_cast(indices, "int64"), shape[axis], "int64")
    flat = apply("_npi_add", constant(others), apply("_npi_multiply_scalar", wrapped, scalar=strides[axis]))
    return apply("take", reshaped(x, (-1,)), flat, axis=0, mode="clip")


@kernel("OneHot")
def one_hot(call, indices):
    attrs, kind = call.attrs, call.kinds[0]
    depth = int(attrs["depth"])
    axis = normalize_axis(attrs["axis"], kind.rank + 1)
    off, on = [constant(np.asarray(value, attrs["dtype"])) for value in attrs["values"]]
    places = np.arange(depth).reshape([-1 if place == axis else 1 for place in range(kind.rank + 1)])
    wrapped = apply("expand_dims", _wrapped(indices, depth, kind.dtype), axis=axis)
    hot = apply("_npi_equal", wrapped, constant(places.astype(kind.dtype)))
    return apply("_npi_where", hot, on, off)


def _wrapping(function):
    """Whole numbers of 16 bits are carried in 32, and begin anew where they would leave their range."""

    def run(call, *operands):
        y = function(call, *operands)
        return _cast(y, "uint16") if call.results[0].dtype == "uint16" else y

    return run


for _op in ("Add", "Div", "Mul", "Neg", "Pow", "ReduceProd", "ReduceSum", "Sub"):
    KERNELS[_op] = _wrapping(KERNELS[_op])
