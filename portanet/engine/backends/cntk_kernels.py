"""What CNTK computes for each operator that works place by place, multiplies matrices or folds axes away."""

import functools
import math

import numpy as np

from ..kernels.elementwise import _ERF, _ERFC
from ..lowering import Kernels
from ..operators.reductions import reduced_axes
from ..shapes import normalize_axis
from .cntk_shaping import SHAPING, picked_places
from .cntk_start import cntk
from .cntk_values import Images, alike, carrier, constant, folding, number, result_shape, shaped, still, symbol, typed
from .cntk_windows import WINDOWS

OWN = Kernels()
kernel = OWN.register
WRAPPING = {"uint8": 1 << 8, "uint16": 1 << 16}


def _choose(condition, x, y):
    return cntk.element_select(typed(condition, x.dtype), x, y)


def _sign(x):
    zero = number(0, x)
    return cntk.greater(x, zero) - cntk.less(x, zero)


def _whole(x):
    """Without its fraction, towards zero."""
    return _choose(cntk.less(x, number(0, x)), cntk.ceil(x), cntk.floor(x))


def _log(x):
    """CNTK takes whatever is below 1e-37 for that; here small numbers are enlarged first, and zero has its infinity."""
    zero, small = number(0, x), cntk.less(x, number(1e-30, x))
    factor = 1e30 if x.dtype == np.float32 else 1e300
    logs = cntk.log(_choose(small, x * number(factor, x), x)) - small * number(math.log(factor), x)
    edge = _choose(cntk.equal(x, zero), number(-np.inf, x), number(np.nan, x))
    return _choose(cntk.greater(x, zero), logs, edge)


def _reciprocal(x):
    """CNTK gives 0 for 1 / 0."""
    return _choose(cntk.equal(x, number(0, x)), number(np.inf, x), cntk.reciprocal(x))


def _sqrt(x):
    """CNTK gives 0 for the root of a negative number."""
    return _choose(cntk.less(x, number(0, x)), number(np.nan, x), cntk.sqrt(x))


def _erfc(z):
    """For z >= 1: exp(-z*z) times a Chebyshev series, of fewer terms in float32."""
    terms = _ERFC if z.dtype == np.float64 else _ERFC[:14]
    t = 2.0 * cntk.reciprocal(z + 2.0)
    ty = 4.0 * t - 2.0
    d = dd = number(0, z)
    for c in terms[:0:-1]:
        d, dd = ty * d - dd + number(c, z), d
    return t * cntk.exp(0.5 * (number(terms[0], z) + ty * d) - z * z - dd)


def _erf(x):
    """By its Taylor series up to 1, and 1 - erfc beyond; the gradient is the exact one, not that of the series."""
    x = cntk.element_min(cntk.element_max(x, number(-7, x)), number(7, x))
    fixed = still(x)
    z = cntk.abs(fixed)
    near = cntk.element_min(z, number(1, x))
    square, terms = near * near, _ERF if x.dtype == np.float64 else _ERF[:12]
    total = functools.reduce(lambda total, c: total * square + number(c, x), terms[-2::-1], number(terms[-1], x))
    far = 1.0 - _erfc(cntk.element_max(z, number(1, x)))
    value = _sign(fixed) * _choose(cntk.greater(z, number(1, x)), far, total * near)
    slope = number(2.0 / math.sqrt(math.pi), x) * cntk.exp(-(fixed * fixed))
    return still(value) + still(slope) * (x - fixed)


UNARY = {
    "Abs": cntk.abs, "Ceil": cntk.ceil, "Cos": cntk.cos, "Erf": _erf, "Exp": cntk.exp, "Floor": cntk.floor,
    "Identity": lambda x: x, "Log": _log, "Neg": cntk.negate, "Not": lambda x: 1.0 - x, "Reciprocal": _reciprocal,
    "Relu": cntk.relu, "Sigmoid": cntk.sigmoid, "Sign": _sign, "Sin": cntk.sin, "Softplus": cntk.softplus,
    "Sqrt": _sqrt, "StopGradient": still, "Tanh": cntk.tanh,
}  # fmt: skip


def _register_unary(op, function):
    @kernel(op)
    def run(call, x):
        return x.map(function) if isinstance(x, Images) else function(x)


for _op, _function in UNARY.items():
    _register_unary(_op, _function)


def _wrapped(call, y):
    """Unsigned whole numbers go round; 32 and 64 bits are exact within 2**53 and do not."""
    size = WRAPPING.get(call.results[0].dtype)
    return y if size is None else y - float(size) * cntk.floor(y * (1.0 / size))


def _register_binary(op, function, wraps=False):
    @kernel(op)
    def run(call, a, b):
        y = function(*alike(symbol(a), symbol(b)))
        return _wrapped(call, y) if wraps else y


for _op, _function in {
    "Add": cntk.plus, "Sub": cntk.minus, "Mul": cntk.element_times,
}.items():  # fmt: skip
    _register_binary(_op, _function, True)
for _op, _function in {
    "And": cntk.element_times, "Equal": cntk.equal, "Greater": cntk.greater, "GreaterOrEqual": cntk.greater_equal,
    "Less": cntk.less, "LessOrEqual": cntk.less_equal, "Or": cntk.element_max, "Xor": cntk.not_equal,
}.items():  # fmt: skip
    _register_binary(_op, _function)


@kernel("Div")
def div(call, a, b):
    whole = call.results[0].dtype not in ("float32", "float64")
    if isinstance(b, np.ndarray) and not whole and b.all():
        return symbol(a) * symbol(1 / b)
    a, b = alike(symbol(a), symbol(b))
    if whole:  # half a unit keeps the quotient clear of the whole number below, whatever rounding does
        return _sign(a) * _sign(b) * cntk.floor((cntk.abs(a) + 0.5) * cntk.reciprocal(cntk.abs(b)))
    by_zero = cntk.equal(b, number(0, b))
    edge = still(a) * _choose(by_zero, number(np.inf, b), number(1, b))
    return _choose(by_zero, edge, a * cntk.reciprocal(b))


EASY_POWERS = {0.5: _sqrt, 1.0: lambda x: x, 2.0: lambda x: x * x, 3.0: lambda x: x * x * x}


@kernel("Pow")
def pow_(call, a, b):
    dtype = call.results[0].dtype
    if isinstance(b, np.ndarray) and b.size == 1 and b.ndim <= call.kinds[0].rank and float(b) in EASY_POWERS:
        y = EASY_POWERS[float(b)](symbol(a))
    elif dtype in ("float32", "float64"):
        a = symbol(a)
        y = cntk.pow(a, typed(symbol(b), a.dtype))
    else:
        y = cntk.pow(*[typed(symbol(x), np.float64) for x in (a, b)])
    if dtype in ("float32", "float64"):
        return y
    return _wrapped(call, typed(_whole(y), carrier(dtype)))


@kernel("Max", "Min")
def extreme(call, *xs):
    function = cntk.element_max if call.op == "Max" else cntk.element_min
    return functools.reduce(function, alike(*[symbol(x) for x in xs]))


@kernel("Where")
def where(call, condition, x, y):
    x, y = alike(symbol(x), symbol(y))
    return _choose(symbol(condition), x, y)


@kernel("Clip")
def clip(call, x):
    """As two choices: the gradient is that of x up to the bounds themselves."""
    x = symbol(x)
    low, high = call.attrs["min"], call.attrs["max"]
    if low is not None:
        x = _choose(cntk.less(x, number(low, x)), number(low, x), x)
    if high is not None:
        x = _choose(cntk.greater(x, number(high, x)), number(high, x), x)
    return x


@kernel("Cast")
def cast(call, x):
    before, after, x = call.kinds[0].dtype, call.attrs["to"], symbol(x)
    if after == "bool":
        return x if before == "bool" else cntk.not_equal(x, number(0, x))
    if after not in ("float32", "float64") and before in ("float32", "float64"):
        x = _whole(x)
    size = WRAPPING.get(after)
    if size is not None and before not in ("bool", "uint8", after):
        x = x - float(size) * cntk.floor(x * (1.0 / size))
    return typed(x, carrier(after))


def _product(a, b):
    """Of matrices, or of stacks of matrices as many as the other's."""
    if len(a.shape) == 2 and len(b.shape) == 2:
        return cntk.times(a, b)
    left, right = cntk.to_batch(a), cntk.to_batch(b)
    return cntk.reshape(cntk.unpack_batch(cntk.times(left, right)), (a.shape[0], a.shape[1], b.shape[2]))


def _stacked(x, lead):
    """The matrices of a stack of that shape in one row; `x` has fewer, or ones among them."""
    count = int(np.prod(lead))
    full = tuple(lead) + tuple(x.shape[-2:])
    if tuple(x.shape) != full:
        x = x + constant(np.zeros(full, x.dtype))
    return shaped(x, (count,) + full[-2:])


@kernel("MatMul")
def matmul(call, a, b):
    shape = result_shape(call, a, b)
    a, b = alike(symbol(a), symbol(b))
    a = shaped(a, (1,) + tuple(a.shape)) if len(a.shape) == 1 else a
    b = shaped(b, tuple(b.shape) + (1,)) if len(b.shape) == 1 else b
    if len(b.shape) == 2:
        y = cntk.times(shaped(a, (-1, a.shape[-1])) if len(a.shape) > 2 else a, b)
    else:
        lead = np.broadcast(np.empty(a.shape[:-2]), np.empty(b.shape[:-2])).shape
        y = _product(_stacked(a, lead), _stacked(b, lead))
    return shaped(y, shape)


@kernel("Gemm")
def gemm(call, a, b, c=None):
    attrs = call.attrs
    a, b = alike(symbol(a), symbol(b))
    a = cntk.transpose(a, (1, 0)) if attrs["transA"] else a
    y = cntk.times_transpose(a, b) if attrs["transB"] else cntk.times(a, b)
    if attrs["alpha"] != 1.0:
        y = y * number(attrs["alpha"], y)
    if c is None:
        return y
    c = typed(symbol(c), y.dtype)
    return y + (c if attrs["beta"] == 1.0 else c * number(attrs["beta"], c))


REDUCE = {"ReduceSum": cntk.reduce_sum, "ReduceMean": cntk.reduce_mean, "ReduceMax": cntk.reduce_max,
          "ReduceMin": cntk.reduce_min}  # fmt: skip


@kernel(*REDUCE)
def reduce(call, x):
    axes, x, shape = sorted(reduced_axes(call.attrs, call.kinds[0].rank)), symbol(x), result_shape(call, x)
    return shaped(REDUCE[call.op](x, axis=axes), shape) if axes else x


@kernel("ReduceProd")
def reduce_prod(call, x):
    """By halves; CNTK's own divides by what it multiplied, which may be zero."""
    shape, x = result_shape(call, x), symbol(x)
    for axis in reduced_axes(call.attrs, call.kinds[0].rank):
        while x.shape[axis] > 1:
            size = x.shape[axis]
            low, high = (cntk.slice(x, [axis], [at], [at + size // 2]) for at in (0, size // 2))
            rest = [cntk.slice(x, [axis], [size - 1], [size])] if size % 2 else []
            x = cntk.splice(low * high, *rest, axis=axis) if rest else low * high
    return _wrapped(call, shaped(x, shape))


@kernel("ArgMax", "ArgMin")
def arg_extreme(call, x):
    shape, x = result_shape(call, x), symbol(x)
    axis = normalize_axis(call.attrs["axis"], len(x.shape))
    best = cntk.reduce_max if call.op == "ArgMax" else cntk.reduce_min
    size = x.shape[axis]
    places = np.arange(size, dtype=x.dtype).reshape([-1 if at == axis else 1 for at in range(len(x.shape))])
    found = cntk.equal(x, best(x, axis=axis))
    if call.attrs["select_last_index"]:
        y = cntk.reduce_max(_choose(found, constant(places), number(-1, x)), axis=axis)
    else:
        y = cntk.reduce_min(_choose(found, constant(places), number(size, x)), axis=axis)
    return shaped(typed(y, np.float64), shape)


def _shifted(x, axis):
    """Values from the largest on, so that large ones lose no digits, and the log of the sum of their exponentials.

    The sum lies between 1 and their number, where CNTK's logarithm is right; its own function for both, which adds
    logarithms one by one, takes longer.
    """
    shifted = x - still(cntk.reduce_max(x, axis=axis))
    return shifted, cntk.log(cntk.reduce_sum(cntk.exp(shifted), axis=axis))


def _log_softmax(x, axis):
    shifted, top = _shifted(x, axis)
    return shifted - top


@kernel("LogSoftmax")
def log_softmax(call, x):
    x = symbol(x)
    return _log_softmax(x, normalize_axis(call.attrs["axis"], len(x.shape)))


@kernel("Softmax")
def softmax(call, x):
    x = symbol(x)
    return cntk.exp(_log_softmax(x, normalize_axis(call.attrs["axis"], len(x.shape))))


def _folded(call, loss, factor):
    """The loss of each place, weighed and folded as the attributes say."""
    loss = loss if factor is None else loss * factor
    axes = list(range(len(loss.shape)))
    if call.attrs["reduction"] == "none":
        return loss
    if call.attrs["reduction"] == "mean" and factor is None:
        return shaped(cntk.reduce_mean(loss, axis=axes), ())
    total = shaped(cntk.reduce_sum(loss, axis=axes), ())
    if call.attrs["reduction"] == "sum":
        return total
    return total * _reciprocal(shaped(cntk.reduce_sum(factor, axis=axes), ()))


def _likelihood(call, log_prob, labels, weights, top=None):
    """The loss of logarithms of probabilities, or of what lies that far above them (`top`); classes lie on axis 1."""
    classes, shape = log_prob.shape[1], tuple(labels.shape)
    factor = None
    if call.attrs["ignore_index"] is not None:
        ignored = cntk.equal(labels, number(call.attrs["ignore_index"], labels))
        factor = typed(1.0 - ignored, log_prob.dtype)
        labels = _choose(ignored, number(0, labels), labels)
    own = typed(picked_places(labels, classes, 1), log_prob.dtype)
    if weights is not None:
        column = shaped(still(symbol(weights)), (classes,) + (1,) * (len(shape) - 1))
        weighed = shaped(cntk.reduce_sum(own * column, axis=1), shape)
        factor = weighed if factor is None else weighed * factor
    found = cntk.reduce_sum(cntk.element_select(own, log_prob, number(0, log_prob)), axis=1)
    return _folded(call, shaped(cntk.negate(found) if top is None else top - found, shape), factor)


@kernel("NegativeLogLikelihoodLoss")
def negative_log_likelihood(call, log_prob, labels, weights=None):
    return _likelihood(call, symbol(log_prob), symbol(labels), weights)


@kernel("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call, scores, labels, weights=None):
    shifted, top = _shifted(symbol(scores), 1)
    return _likelihood(call, shifted, symbol(labels), weights, top), shifted - top


@kernel("Dropout")
def dropout(call, noise, x):
    """The draws are 0, or the factor of what is kept."""
    if not call.attrs["training_mode"] or call.attrs["ratio"] == 0.0:
        return x
    return symbol(x) * noise.of(call)


@kernel("RandomUniformLike")
def random_uniform_like(call, noise, x):
    low, high = call.attrs["low"], call.attrs["high"]
    draws = noise.of(call)
    return draws * number(high - low, draws) + number(low, draws)


@kernel("RandomNormalLike")
def random_normal_like(call, noise, x):
    draws = noise.of(call)
    return draws * number(call.attrs["scale"], draws) + number(call.attrs["mean"], draws)


@kernel("Bernoulli")
def bernoulli(call, noise, p):
    draws = cntk.less(*alike(noise.of(call), symbol(p)))
    return typed(draws, carrier(call.results[0].dtype))


KERNELS = Kernels({op: folding(op, function) for table in (OWN, SHAPING, WINDOWS) for op, function in table.items()})
