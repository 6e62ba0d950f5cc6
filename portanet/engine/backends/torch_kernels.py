"""What PyTorch computes for each operator.

Images are channels-first in shape and channels-last in memory: convolutions keep the order their operands have.
"""

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from ..kernels.reductions import lowest
from ..lowering import Kernels
from ..operators.reductions import reduced_axes
from ..operators.shaping import pad_widths, slice_ranges, squeezed_axes
from ..operators.windows import conv_window, pool_counts, pool_geometry, transposed_window
from ..shapes import normalize_axis

DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64",
                                                  "uint8", "uint16", "bool")}  # fmt: skip
KERNELS = Kernels()
kernel = KERNELS.register


KERNELS.plain({
    "Abs": torch.abs, "Add": torch.add, "And": torch.logical_and, "Ceil": torch.ceil, "Cos": torch.cos,
    "Equal": torch.eq, "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor, "Greater": torch.gt,
    "GreaterOrEqual": torch.ge, "Identity": lambda x: x, "Less": torch.lt, "LessOrEqual": torch.le, "Log": torch.log,
    "MatMul": torch.matmul, "Mul": torch.mul, "Neg": torch.neg, "Not": torch.logical_not, "Or": torch.logical_or,
    "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin,
    "Sqrt": torch.sqrt, "StopGradient": torch.Tensor.detach, "Sub": torch.sub, "Tanh": torch.tanh,
    "Where": torch.where, "Xor": torch.logical_xor, "Softsign": F.softsign, "Mish": F.mish, "HardSwish": F.hardswish,
})  # fmt: skip


@kernel("Softplus")
def softplus(call, x):
    """Exact up to where exp(-x) no longer counts in double precision."""
    return F.softplus(x, threshold=40.0)


@kernel("Div")
def div(call, a, b):
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@kernel("Pow")
def pow_(call, a, b):
    return torch.pow(a, b).to(a.dtype)


@kernel("Max", "Min")
def extreme(call, *xs):
    function = torch.maximum if call.op == "Max" else torch.minimum
    y = xs[0]
    for x in xs[1:]:
        y = function(y, x)
    return y


@kernel("Clip")
def clip(call, x):
    low, high = call.attrs["min"], call.attrs["max"]
    return x if low is None and high is None else torch.clamp(x, low, high)


@kernel("Cast")
def cast(call, x):
    return x.to(DTYPES[call.attrs["to"]])


@kernel("LeakyRelu")
def leaky_relu(call, x):
    return F.leaky_relu(x, call.attrs["alpha"])


@kernel("Elu")
def elu(call, x):
    return F.elu(x, call.attrs["alpha"])


@kernel("Gelu")
def gelu(call, x):
    return F.gelu(x, approximate=call.attrs["approximate"])


@kernel("Softmax")
def softmax(call, x):
    return torch.softmax(x, call.attrs["axis"])


@kernel("LogSoftmax")
def log_softmax(call, x):
    return torch.log_softmax(x, call.attrs["axis"])


NO_LABEL = -(1 << 62)


@kernel("NegativeLogLikelihoodLoss")
def negative_log_likelihood(call, log_prob, target, weight=None):
    ignored = call.attrs["ignore_index"]
    weight = weight if weight is None else weight.detach()
    return F.nll_loss(log_prob, target.long(), weight, ignore_index=NO_LABEL if ignored is None else ignored,
                      reduction=call.attrs["reduction"])  # fmt: skip


@kernel("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call, scores, labels, weights=None):
    log_prob = torch.log_softmax(scores, 1)
    return negative_log_likelihood(call, log_prob, labels, weights), log_prob


@kernel("Dropout")
def dropout(call, noise, x):
    if not call.attrs["training_mode"] or call.attrs["ratio"] == 0.0:
        return x
    return x * noise.mask(call, x)


@kernel("RandomUniformLike")
def random_uniform_like(call, noise, x):
    low, high = call.attrs["low"], call.attrs["high"]
    return noise.uniform(call, x) * (high - low) + low


@kernel("RandomNormalLike")
def random_normal_like(call, noise, x):
    return noise.normal(call, x) * call.attrs["scale"] + call.attrs["mean"]


@kernel("Bernoulli")
def bernoulli(call, noise, p):
    return (noise.uniform(call, p) < p).to(DTYPES[call.results[0].dtype])


@kernel("Gemm")
def gemm(call, a, b, c=None):
    attrs = call.attrs
    a, b = a.t() if attrs["transA"] else a, b.t() if attrs["transB"] else b
    if c is None:
        y = torch.mm(a, b)
        return y if attrs["alpha"] == 1.0 else y * attrs["alpha"]
    return torch.addmm(c, a, b, beta=attrs["beta"], alpha=attrs["alpha"])


@kernel("ReduceSum")
def reduce_sum(call, x):
    axes = reduced_axes(call.attrs, x.ndim)
    return torch.sum(x, axes, bool(call.attrs["keepdims"]), dtype=x.dtype) if axes else x


@kernel("ReduceMean")
def reduce_mean(call, x):
    axes = reduced_axes(call.attrs, x.ndim)
    return torch.mean(x, axes, bool(call.attrs["keepdims"])) if axes else x


@kernel("ReduceMax", "ReduceMin")
def reduce_extreme(call, x):
    axes = reduced_axes(call.attrs, x.ndim)
    if not axes:
        return x
    highest = call.op == "ReduceMax"
    if 0 in [x.shape[axis] for axis in axes]:
        limits = {True: -np.inf, False: np.inf} if x.is_floating_point() else {True: False, False: True}
        full = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        y = x.new_full(full, limits[highest])
        return y if call.attrs["keepdims"] else y.reshape([s for axis, s in enumerate(full) if axis not in axes])
    return (torch.amax if highest else torch.amin)(x, axes, bool(call.attrs["keepdims"]))


@kernel("ReduceProd")
def reduce_prod(call, x):
    for axis in sorted(reduced_axes(call.attrs, x.ndim), reverse=True):
        x = torch.prod(x, axis, bool(call.attrs["keepdims"]), dtype=x.dtype)
    return x


@kernel("ArgMax", "ArgMin")
def arg_extreme(call, x):
    axis, keep = normalize_axis(call.attrs["axis"], x.ndim), bool(call.attrs["keepdims"])
    find = torch.argmax if call.op == "ArgMax" else torch.argmin
    if call.attrs["select_last_index"]:
        return x.shape[axis] - 1 - find(torch.flip(x, (axis,)), axis, keep)
    return find(x, axis, keep)


@kernel("Reshape")
def reshape(call, x):
    target = list(call.attrs["shape"])
    if not call.attrs["allowzero"]:
        target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return x.reshape(target)


@kernel("Flatten")
def flatten(call, x):
    axis = call.attrs["axis"] + (x.ndim if call.attrs["axis"] < 0 else 0)
    rows = int(np.prod(x.shape[:axis]))
    return x.reshape(rows, int(np.prod(x.shape[axis:])))


@kernel("Transpose")
def transpose(call, x):
    perm = call.attrs["perm"]
    return x.permute(perm if perm is not None else tuple(range(x.ndim))[::-1])


@kernel("Concat")
def concat(call, *parts):
    return torch.cat(parts, call.attrs["axis"])


@kernel("Slice")
def slice_(call, x):
    for axis, cut in enumerate(slice_ranges(call.attrs, x.ndim)):
        places = range(*cut.indices(x.shape[axis]))
        if len(places) == x.shape[axis] and places.step > 0:
            continue
        if places.step < 0:
            x = x.index_select(axis, torch.tensor(places, dtype=torch.long, device=x.device))
        else:
            x = x[(slice(None),) * axis + (slice(places.start, places.stop, places.step),)]
    return x


@kernel("Pad")
def pad(call, x):
    widths, mode = pad_widths(call.attrs, x.ndim), call.attrs["mode"]
    if mode == "constant":
        return F.pad(x, [width for pair in widths[::-1] for width in pair], value=call.attrs["constant_value"])
    for axis, pair in enumerate(widths):
        if any(pair):
            places = np.pad(np.arange(x.shape[axis]), pair, mode)
            x = x.index_select(axis, torch.from_numpy(places).to(x.device))
    return x


@kernel("Squeeze")
def squeeze(call, x):
    axes = squeezed_axes(call.attrs, call.kinds[0].shape)
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


@kernel("Unsqueeze")
def unsqueeze(call, x):
    rank = x.ndim + len(call.attrs["axes"])
    for axis in sorted(axis % rank for axis in call.attrs["axes"]):
        x = x.unsqueeze(axis)
    return x


@kernel("Expand")
def expand(call, x):
    shape = call.attrs["shape"]
    rank = max(x.ndim, len(shape))
    sizes = zip((1,) * (rank - x.ndim) + tuple(x.shape), [1] * (rank - len(shape)) + list(shape))
    return x.expand([have if want == 1 else want for have, want in sizes])


@kernel("Gather")
def gather(call, x, indices):
    axis = normalize_axis(call.attrs["axis"], x.ndim)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if axis == 0 and x.ndim == 2:
        return F.embedding(indices, x)
    taken = x.index_select(axis, indices.reshape(-1))
    return taken.reshape(tuple(x.shape[:axis]) + tuple(indices.shape) + tuple(x.shape[axis + 1 :]))


@kernel("GatherElements")
def gather_elements(call, x, indices):
    axis = call.attrs["axis"]
    indices = indices.long()
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


@kernel("OneHot")
def one_hot(call, indices):
    attrs = call.attrs
    axis, depth, dtype = normalize_axis(attrs["axis"], indices.ndim + 1), int(attrs["depth"]), DTYPES[attrs["dtype"]]
    off, on = [torch.tensor(value, dtype=dtype, device=indices.device) for value in attrs["values"]]
    indices = torch.where(indices < 0, indices + depth, indices)
    places = torch.arange(depth, device=indices.device)
    places = places.reshape([-1 if place == axis else 1 for place in range(indices.ndim + 1)])
    return torch.where(indices.unsqueeze(axis) == places, on, off)


CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _flat_pads(pads):
    return [width for pair in pads[::-1] for width in pair]


@kernel("Conv")
def conv(call, x, w, b=None):
    window = conv_window(call.attrs, call.kinds[0].shape, w.shape)
    even = all(before == after for before, after in window.pads)
    if not even:
        x = F.pad(x, _flat_pads(window.pads))
    margins = tuple(before for before, _ in window.pads) if even else 0
    return CONV[len(window.kernel)](x, w, b, window.strides, margins, window.dilations, call.attrs["group"])


@kernel("ConvTranspose")
def conv_transpose(call, x, w, b=None):
    window, sizes = transposed_window(call.attrs, tuple(x.shape), tuple(w.shape))
    y = CONV_TRANSPOSE[len(sizes)](x, w, None, window.strides, 0, 0, call.attrs["group"], window.dilations)
    margins = [(-before, size + before - have)
               for have, size, (before, _) in zip(y.shape[2:], sizes, window.pads)]  # fmt: skip
    if any(width for pair in margins for width in pair):
        y = F.pad(y, _flat_pads(margins))
    return y if b is None else y + b.reshape((-1,) + (1,) * len(sizes))


def _pool_geometry(call):
    """See `pool_geometry`; worked out once."""
    if "pool" not in call.memory:
        call.memory["pool"] = pool_geometry(call.attrs, call.kinds[0].shape[2:])
    return call.memory["pool"]


@kernel("MaxPool")
def max_pool(call, x):
    window, _, pads = _pool_geometry(call)
    if not x.is_floating_point():
        return _max_of_slices(call, x)
    if any(width for pair in pads for width in pair):
        x = F.pad(x, _flat_pads(pads), value=-np.inf)
    return MAX_POOL[len(window.kernel)](x, window.kernel, window.strides, 0, window.dilations)


def _shifted(call, x):
    """The slices of a padded array that each place of the window sees."""
    window, sizes, _ = _pool_geometry(call)
    for cut in window.cuts(sizes):
        yield x[(slice(None), slice(None)) + cut]


def _max_of_slices(call, x):
    least = lowest(np.dtype(call.kinds[0].dtype))
    slices = _shifted(call, F.pad(x, _flat_pads(_pool_geometry(call)[2]), value=least))
    y = next(slices)
    for other in slices:
        y = torch.maximum(y, other)
    return y


@kernel("AveragePool")
def average_pool(call, x):
    window, sizes, pads = _pool_geometry(call)
    plain = not any(width for pair in pads for width in pair)
    if plain and set(window.dilations) == {1}:
        return AVERAGE_POOL[len(sizes)](x, window.kernel, window.strides)
    total = sum(_shifted(call, F.pad(x, _flat_pads(pads))))
    key = ("counts", x.device, x.dtype)
    if key not in call.memory:
        counts = pool_counts(call.attrs, call.kinds[0].shape[2:])
        call.memory[key] = torch.as_tensor(counts, dtype=x.dtype, device=x.device)
    return total / call.memory[key]


class BatchNorm(torch.autograd.Function):
    """PyTorch's own kernels around statistics that are folded in two stages.

    On channels-last tensors `torch.native_batch_norm` adds up each channel in one long row: in float32 its means are
    off by 2e-5 where these are by 1e-7.
    """

    @staticmethod
    def forward(ctx, x, scale, bias, epsilon):
        mean = _mean_of_channels(x)
        var = _mean_of_channels((x - mean.reshape((-1,) + (1,) * (x.ndim - 2))).square_())
        ctx.save_for_backward(x, scale, mean, torch.rsqrt(var + epsilon))
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon), mean, var

    @staticmethod
    def backward(ctx, grad, *unused):
        x, scale, mean, inverse = ctx.saved_tensors
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, x, scale, None, None, mean, inverse, True, ctx.epsilon, [True, True, True])  # fmt: skip
        return grads + (None,)


def _mean_of_channels(x):
    return (x.mean(tuple(range(2, x.ndim))) if x.ndim > 2 else x).mean(0)


@kernel("BatchNormalization")
def batch_normalization(call, x, scale, bias, mean, var):
    attrs = call.attrs
    share, epsilon = attrs["momentum"], attrs["epsilon"]
    if attrs["training_mode"]:
        y, own_mean, own_var = BatchNorm.apply(x, scale, bias, epsilon)
        with torch.no_grad():
            return y, mean * share + own_mean * (1.0 - share), var * share + own_var * (1.0 - share)
    if mean.requires_grad or var.requires_grad:
        shape = (-1,) + (1,) * (x.ndim - 2)
        factor = scale / torch.sqrt(var + epsilon)
        y = (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)
    else:
        y = F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)
    return y, mean.detach(), var.detach()


def _through_int32(function):
    """PyTorch stores whole numbers of 16 bits without a sign, but does not compute with them."""

    def run(call, *operands):
        if call.kinds[0].dtype != "uint16":
            return function(call, *operands)
        return function(call, *[x.to(torch.int32) for x in operands]).to(DTYPES[call.results[0].dtype])

    return run


for _op in ("Add", "Div", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Sub"):
    KERNELS[_op] = _through_int32(KERNELS[_op])
