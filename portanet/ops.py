"""The namespace in which layers, nonlinearities, losses and update rules are written.

Every function takes and returns symbolic tensors and writes one node, or a few, into the graph being compiled. Numbers
and NumPy arrays may stand wherever a tensor may; they take the dtype of the tensor they meet. Axis 0 is the batch.
Arithmetic, comparison (``<``, ``>=``) and basic indexing work on tensors directly.

A nonlinearity of one's own is an ordinary function:

>>> from portanet import ops
>>> def swish(x):
...     return x * ops.sigmoid(x)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .engine.operators.windows import same_pads
from .engine.shapes import is_symbolic
from .engine.tracing import Expression, Tensor, call, current

__all__ = [
    "abs", "argmax", "argmin", "as_tensor", "assign", "average_pool", "batch_normalization", "bernoulli",
    "broadcast_to", "cast", "ceil", "celu", "clip", "concat", "conv", "conv_transpose", "cos", "dropout", "elu",
    "equal", "erf", "exp", "expand_dims", "flatten", "floor", "gelu", "global_average_pool", "global_max_pool",
    "hard_sigmoid", "hard_swish", "layer_normalization", "leaky_relu", "log", "log_softmax", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logsumexp", "matmul", "max", "max_pool", "maximum", "mean", "min",
    "minimum", "mish", "negative_log_likelihood", "not_equal", "one_hot", "pad", "prelu", "prod",
    "random_normal_like", "random_uniform_like", "reciprocal", "relu", "reshape", "selu", "sigmoid", "sign", "sin",
    "softmax", "softmax_cross_entropy", "softplus", "softsign", "sqrt", "square", "squeeze", "stop_gradient", "sum",
    "take", "take_along_axis", "tanh", "thresholded_relu", "transpose", "var", "where",
]  # fmt: skip

Axis = int | Sequence[int] | None


def as_tensor(value: Any, dtype: str | None = None) -> Tensor:
    """A tensor of the graph being compiled, from a number, an array, a layer's parameter or a tensor."""
    if isinstance(value, Expression):
        return current().tensor(value)
    return current().constant(value, dtype)


def assign(variable: Any, value: Any) -> None:
    """Let a layer's non-trainable parameter (a running statistic) take `value` after each training batch."""
    current().assign(variable, value)


def abs(x):
    """Absolute value."""
    return call("Abs", x)


def ceil(x):
    """Smallest whole number that is not below x; its gradient is zero."""
    return call("Ceil", x)


def cos(x):
    """Cosine of x, in radians."""
    return call("Cos", x)


def erf(x):
    """Gauss error function, 2/√π ∫₀ˣ exp(−t²) dt."""
    return call("Erf", x)


def exp(x):
    """eˣ."""
    return call("Exp", x)


def floor(x):
    """Largest whole number that is not above x; its gradient is zero."""
    return call("Floor", x)


def log(x):
    """Natural logarithm."""
    return call("Log", x)


def reciprocal(x):
    """1 / x."""
    return call("Reciprocal", x)


def relu(x):
    """max(x, 0); the gradient at 0 is 0."""
    return call("Relu", x)


def sigmoid(x):
    """1 / (1 + exp(−x)), computed without overflow."""
    return call("Sigmoid", x)


def sign(x):
    """−1, 0 or 1; its gradient is zero."""
    return call("Sign", x)


def sin(x):
    """Sine of x, in radians."""
    return call("Sin", x)


def softplus(x):
    """log(1 + exp(x)), computed without overflow."""
    return call("Softplus", x)


def sqrt(x):
    """√x."""
    return call("Sqrt", x)


def square(x):
    """x · x."""
    return call("Mul", x, x)


def tanh(x):
    """Hyperbolic tangent."""
    return call("Tanh", x)


def celu(x, alpha=1.0):
    """max(x, 0) + α (exp(min(x, 0) / α) − 1)."""
    return call("Celu", x, alpha=alpha)


def elu(x, alpha=1.0):
    """max(x, 0) + α (exp(min(x, 0)) − 1)."""
    return call("Elu", x, alpha=alpha)


def gelu(x, approximate="none"):
    """x Φ(x), Φ the normal distribution function; `approximate` "tanh" takes the tanh form."""
    return call("Gelu", x, approximate=approximate)


def hard_sigmoid(x, alpha=0.2, beta=0.5):
    """min(max(α x + β, 0), 1)."""
    return call("HardSigmoid", x, alpha=alpha, beta=beta)


def hard_swish(x):
    """x · min(max(x / 6 + 1/2, 0), 1)."""
    return call("HardSwish", x)


def leaky_relu(x, alpha=0.01):
    """x where positive, α x elsewhere."""
    return call("LeakyRelu", x, alpha=alpha)


def mish(x):
    """x · tanh(softplus(x))."""
    return call("Mish", x)


def prelu(x, slope):
    """x where positive, slope · x elsewhere; the slope may be a parameter."""
    return call("PRelu", x, slope)


def selu(x):
    """Scaled ELU with the constants of Klambauer et al. (2017)."""
    return call("Selu", x)


def softsign(x):
    """x / (1 + |x|)."""
    return call("Softsign", x)


def thresholded_relu(x, alpha=1.0):
    """x where above α, 0 elsewhere."""
    return call("ThresholdedRelu", x, alpha=alpha)


def maximum(a, b):
    """The larger of the two, place by place; where equal, the gradient goes to the first."""
    return call("Max", a, b)


def minimum(a, b):
    """The smaller of the two, place by place; where equal, the gradient goes to the first."""
    return call("Min", a, b)


def clip(x, low=None, high=None):
    """x kept within [low, high]; the gradient is zero outside."""
    return call("Clip", x, min=low, max=high)


def equal(a, b):
    """Whether a = b, place by place, as bool."""
    return call("Equal", a, b)


def not_equal(a, b):
    """Whether a ≠ b, place by place, as bool."""
    return call("Not", call("Equal", a, b))


def logical_and(a, b):
    """Both, of two bool tensors."""
    return call("And", a, b)


def logical_or(a, b):
    """Either, of two bool tensors."""
    return call("Or", a, b)


def logical_xor(a, b):
    """One but not both, of two bool tensors."""
    return call("Xor", a, b)


def logical_not(x):
    """The opposite of a bool tensor."""
    return call("Not", x)


def where(condition, a, b):
    """a where the condition holds, b elsewhere."""
    return call("Where", condition, a, b)


def cast(x, dtype):
    """x as another dtype; gradients pass between float types."""
    return call("Cast", x, to=dtype)


def stop_gradient(x):
    """x, through which no gradient flows."""
    return call("StopGradient", x)


def _axes(axis: Axis) -> list[int] | None:
    if axis is None:
        return None
    return [int(axis)] if isinstance(axis, int | np.integer) else [int(a) for a in axis]


def _reduce(op, x, axis: Axis, keepdims: bool):
    axes = _axes(axis)
    if axes == []:
        return as_tensor(x)
    return call(op, x, axes=axes, keepdims=int(keepdims))


def sum(x, axis: Axis = None, keepdims: bool = False):
    """Sum over `axis`: one axis, several, or all."""
    return _reduce("ReduceSum", x, axis, keepdims)


def mean(x, axis: Axis = None, keepdims: bool = False):
    """Mean over `axis`: one axis, several, or all."""
    return _reduce("ReduceMean", x, axis, keepdims)


def max(x, axis: Axis = None, keepdims: bool = False):
    """Largest value over `axis`; ties share the gradient equally."""
    return _reduce("ReduceMax", x, axis, keepdims)


def min(x, axis: Axis = None, keepdims: bool = False):
    """Smallest value over `axis`; ties share the gradient equally."""
    return _reduce("ReduceMin", x, axis, keepdims)


def prod(x, axis: Axis = None, keepdims: bool = False):
    """Product over `axis`."""
    return _reduce("ReduceProd", x, axis, keepdims)


def logsumexp(x, axis: Axis = None, keepdims: bool = False):
    """log Σ exp(x) over `axis`, computed without overflow."""
    return _reduce("ReduceLogSumExp", x, axis, keepdims)


def var(x, axis: Axis = None, keepdims: bool = False):
    """Biased variance over `axis`."""
    return mean(square(x - mean(x, axis, keepdims=True)), axis, keepdims)


def argmax(x, axis: int = -1, keepdims: bool = False):
    """Index of the first largest value along `axis`, int64."""
    return call("ArgMax", x, axis=axis, keepdims=int(keepdims))


def argmin(x, axis: int = -1, keepdims: bool = False):
    """Index of the first smallest value along `axis`, int64."""
    return call("ArgMin", x, axis=axis, keepdims=int(keepdims))


def matmul(a, b):
    """Matrix product over the last two axes, as `numpy.matmul`."""
    return call("MatMul", a, b)


def reshape(x, shape: Sequence[int]):
    """x in another shape; 0 keeps an axis as it is, one -1 is worked out. Write the batch axis as 0 or -1."""
    return call("Reshape", x, shape=[int(dim) for dim in shape])


def flatten(x, outdim: int = 2):
    """x with its trailing axes joined, so that `outdim` axes remain."""
    x = as_tensor(x)
    return reshape(x, [0] * (outdim - 1) + [-1]) if x.ndim > outdim else x


def transpose(x, axes: Sequence[int] | None = None):
    """x with its axes permuted, reversed by default."""
    return call("Transpose", x, perm=None if axes is None else [int(axis) for axis in axes])


def concat(tensors: Sequence[Any], axis: int = 1):
    """The tensors joined along `axis`."""
    return call("Concat", *tensors, axis=axis)


def pad(x, widths: Sequence[tuple[int, int]], value: float = 0.0, mode: str = "constant"):
    """x with ``(before, after)`` places added to each axis; `mode` is "constant", "reflect" or "edge"."""
    befores, afters = [int(w[0]) for w in widths], [int(w[1]) for w in widths]
    return call("Pad", x, pads=befores + afters, constant_value=value, mode=mode)


def squeeze(x, axis: Axis = None):
    """x without its axes of size 1, or without those named."""
    return call("Squeeze", x, axes=_axes(axis))


def expand_dims(x, axis: int | Sequence[int]):
    """x with axes of size 1 put in, so that they stand at `axis` in the result."""
    return call("Unsqueeze", x, axes=_axes(axis))


def broadcast_to(x, shape: Sequence[int]):
    """x repeated along its axes of size 1 to meet `shape`; a 1 in `shape` keeps the size there is."""
    return call("Expand", x, shape=list(shape))


def _indices(indices):
    return indices if isinstance(indices, Expression) else as_tensor(indices, "int32")


def take(x, indices, axis: int = 0):
    """Slices of x along `axis` at the given whole numbers; `take(table, words)` is an embedding."""
    return call("Gather", as_tensor(x), _indices(indices), axis=axis)


def take_along_axis(x, indices, axis: int):
    """One element of x for each index, as `numpy.take_along_axis`."""
    return call("GatherElements", as_tensor(x), _indices(indices), axis=axis)


def one_hot(indices, depth: int, dtype: str | None = None):
    """Rows of zeros with a one at each index."""
    return call("OneHot", indices, depth=int(depth), values=[0.0, 1.0], dtype=dtype or current().floatX)


def _per_axis(value, rank: int, name: str) -> list[int]:
    values = [value] * rank if isinstance(value, int | np.integer) else list(value)
    if len(values) != rank:
        raise ValueError(f"{name} must be one number or {rank} of them, got {value!r}")
    return [int(v) for v in values]


def window_pads(padding, spatial, kernel, stride, dilation) -> list[int]:
    """ONNX pads, all befores and then all afters, for "valid", "same", "full", a number or one for each axis."""
    if isinstance(padding, str):
        if padding == "valid":
            pairs = [(0, 0)] * len(kernel)
        elif padding == "full":
            pairs = [((k - 1) * d, (k - 1) * d) for k, d in zip(kernel, dilation, strict=True)]
        elif padding == "same" and not any(is_symbolic(size) for size in spatial):
            pairs = [same_pads(*sizes) for sizes in zip(spatial, kernel, stride, dilation, strict=True)]
        else:
            raise ValueError(f"unknown pad {padding!r}; allowed: 'valid', 'same', 'full', a number or a tuple")
    else:
        each = [padding] * len(kernel) if isinstance(padding, int | np.integer) else list(padding)
        pairs = [(p, p) if isinstance(p, int | np.integer) else tuple(p) for p in each]
        if len(pairs) != len(kernel):
            raise ValueError(f"pad must be one number or {len(kernel)} of them, got {padding!r}")
    return [int(before) for before, _ in pairs] + [int(after) for _, after in pairs]


def conv(x, W, b=None, stride=1, pad="valid", dilation=1, groups: int = 1):
    """Cross-correlation, ``(N, C, spatial...)`` with ``(out, C / groups, kernel...)``.

    `pad` is "valid", "same", "full", a number, or for each axis a number or ``(before, after)``.
    """
    x, W = as_tensor(x), as_tensor(W)
    rank, kernel = x.ndim - 2, [int(size) for size in W.shape[2:]]
    strides, dilations = _per_axis(stride, rank, "stride"), _per_axis(dilation, rank, "dilation")
    pads = window_pads(pad, x.shape[2:], kernel, strides, dilations)
    return call("Conv", x, W, b, strides=strides, pads=pads, dilations=dilations, group=groups)


def conv_transpose(x, W, b=None, stride=1, crop=0, dilation=1, groups: int = 1, output_padding=0):
    """The gradient of `conv` with respect to its input; weights ``(in, out / groups, kernel...)``."""
    x, W = as_tensor(x), as_tensor(W)
    rank, kernel = x.ndim - 2, [int(size) for size in W.shape[2:]]
    strides, dilations = _per_axis(stride, rank, "stride"), _per_axis(dilation, rank, "dilation")
    out_sizes = [(size - 1) * s + (k - 1) * d + 1
                 for size, s, k, d in zip(x.shape[2:], strides, kernel, dilations, strict=True)]  # fmt: skip
    pads = window_pads(crop, out_sizes, kernel, strides, dilations)
    extra = _per_axis(output_padding, rank, "output_padding")
    return call("ConvTranspose", x, W, b, strides=strides, pads=pads, dilations=dilations, group=groups,
                output_padding=extra)  # fmt: skip


def _pool(op, x, size, stride, pad, ignore_border, **attrs):
    x = as_tensor(x)
    rank = x.ndim - 2
    kernel = _per_axis(size, rank, "pool_size")
    strides = kernel if stride is None else _per_axis(stride, rank, "stride")
    pads = window_pads(pad, x.shape[2:], kernel, strides, [1] * rank)
    ceil_mode = int(not ignore_border)
    return call(op, x, kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=ceil_mode, **attrs)


def max_pool(x, size, stride=None, pad=0, ignore_border: bool = True):
    """Largest value in each window; `stride` defaults to `size`, padding counts as minus infinity."""
    return _pool("MaxPool", x, size, stride, pad, ignore_border)


def average_pool(x, size, stride=None, pad=0, ignore_border: bool = True, count_include_pad: bool = False):
    """Mean of each window; padding is left out of the mean unless `count_include_pad`."""
    return _pool("AveragePool", x, size, stride, pad, ignore_border, count_include_pad=int(count_include_pad))


def global_average_pool(x):
    """Mean over the spatial axes, which stay as size 1."""
    return call("GlobalAveragePool", x)


def global_max_pool(x):
    """Largest value over the spatial axes, which stay as size 1."""
    return call("GlobalMaxPool", x)


def softmax(x, axis: int = -1):
    """exp(x) / Σ exp(x) along `axis`."""
    return call("Softmax", x, axis=axis)


def log_softmax(x, axis: int = -1):
    """log(softmax(x)) without the detour."""
    return call("LogSoftmax", x, axis=axis)


def softmax_cross_entropy(scores, labels):
    """−log softmax(scores)[label] for each sample; scores ``(N, C)``, labels ``(N,)`` whole numbers."""
    return call("SoftmaxCrossEntropyLoss", scores, labels, reduction="none")[0]


def negative_log_likelihood(log_prob, labels):
    """−log_prob[label] for each sample; ``(N, C)`` and ``(N,)`` whole numbers."""
    return call("NegativeLogLikelihoodLoss", log_prob, labels, reduction="none")


def batch_normalization(x, scale, bias, mean, var, epsilon=1e-4, momentum=0.9, training=False):
    """(x − mean) / √(var + ε) · scale + bias along axis 1; gives the result and the new running mean and variance."""
    attrs = {"epsilon": epsilon, "momentum": momentum, "training_mode": int(training)}
    return call("BatchNormalization", x, scale, bias, mean, var, **attrs)


def layer_normalization(x, scale, bias=None, axis: int = -1, epsilon=1e-5):
    """(x − mean) / √(var + ε) · scale + bias over the axes from `axis` on."""
    return call("LayerNormalization", x, scale, bias, axis=axis, epsilon=epsilon)[0]


def dropout(x, ratio: float = 0.5):
    """x with each value set to zero with probability `ratio`, the others divided by 1 − ratio."""
    return call("Dropout", x, ratio=float(ratio), training_mode=1)


def random_uniform_like(x, low: float = 0.0, high: float = 1.0):
    """Uniform numbers from [low, high), anew for each batch, in the shape of x."""
    return call("RandomUniformLike", x, low=float(low), high=float(high))


def random_normal_like(x, mean: float = 0.0, scale: float = 1.0):
    """Normal numbers, anew for each batch, in the shape of x."""
    return call("RandomNormalLike", x, mean=float(mean), scale=float(scale))


def bernoulli(p):
    """Ones with probability p, else zeros, anew for each batch."""
    return call("Bernoulli", p)
