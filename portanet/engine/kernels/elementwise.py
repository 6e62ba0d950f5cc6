"""Place by place, with broadcasting."""

import functools
import math

import numpy as np

from .cell import backward, forward


def unbroadcast(xp, grad, shape):
    """Sum a gradient over the axes along which its operand was repeated."""
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        axis + extra for axis, size in enumerate(shape) if size == 1 and grad.shape[axis + extra] != 1)  # fmt: skip
    return xp.add.reduce(grad, axis=axes, keepdims=True).reshape(shape)


def result_buffer(cell, key, dtype, *operands):
    """A buffer for the broadcast result of `operands`, laid out like the first that has its full shape."""
    if cell.alias is not None and key == "y":
        return cell.alias
    shape = broadcast(tuple([x.shape for x in operands]))
    for x in operands:
        if x.shape == shape:
            return cell.like(key, x, dtype)
    return cell.empty(key, shape, dtype)


@functools.lru_cache(maxsize=4096)
def broadcast(shapes):
    """Shape that the given ones broadcast to, all numbers."""
    rank = max(len(shape) for shape in shapes)
    full = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple([next((size for size in sizes if size != 1), 1) for sizes in zip(*full)])


def _register_ufunc(op, function, derivative=None):
    """`derivative(xp, grad, x, y)` is the gradient of the operand; None where it is zero everywhere."""

    @forward(op)
    def run(cell, x):
        return getattr(cell.xp, function)(x, out=cell.like("y", x))

    @backward(op)
    def pull(cell, grad, inputs, y):
        return (None if derivative is None else derivative(cell.xp, grad, inputs[0], y),)


_register_ufunc("Abs", "absolute", lambda xp, g, x, y: g * xp.sign(x))
_register_ufunc("Ceil", "ceil")
_register_ufunc("Cos", "cos", lambda xp, g, x, y: -g * xp.sin(x))
_register_ufunc("Exp", "exp", lambda xp, g, x, y: g * y)
_register_ufunc("Floor", "floor")
_register_ufunc("Log", "log", lambda xp, g, x, y: g / x)
_register_ufunc("Neg", "negative", lambda xp, g, x, y: -g)
_register_ufunc("Sign", "sign")
_register_ufunc("Sin", "sin", lambda xp, g, x, y: g * xp.cos(x))
_register_ufunc("Sqrt", "sqrt", lambda xp, g, x, y: g / (y + y))
_register_ufunc("Tanh", "tanh", lambda xp, g, x, y: g - g * y * y)


@forward("Reciprocal")
def reciprocal(cell, x):
    return cell.xp.divide(x.dtype.type(1), x, out=cell.like("y", x))


@backward("Reciprocal")
def reciprocal_backward(cell, grad, inputs, y):
    return (-grad * y * y,)


@forward("Relu")
def relu(cell, x):
    return cell.xp.maximum(x, x.dtype.type(0), out=cell.like("y", x))


@backward("Relu")
def relu_backward(cell, grad, inputs, y):
    # written as 0.0 and 1.0: multiplying by a mask of bools would convert it on the way, a block at a time
    positive = cell.xp.greater(y, y.dtype.type(0), out=cell.like("mask", y))
    return (cell.xp.multiply(grad, positive, out=cell.like("dx", grad)),)


@forward("Sigmoid")
def sigmoid(cell, x):
    """Through tanh, which neither overflows nor loses digits near zero: (1 + tanh(x / 2)) / 2."""
    half = x.dtype.type(0.5)
    y = cell.xp.multiply(x, half, out=cell.like("y", x))
    cell.xp.tanh(y, out=y)
    y *= half
    y += half
    return y


@backward("Sigmoid")
def sigmoid_backward(cell, grad, inputs, y):
    return (grad * (y - y * y),)


@forward("Softplus")
def softplus(cell, x):
    return cell.xp.logaddexp(x, x.dtype.type(0), out=cell.like("y", x))


@backward("Softplus")
def softplus_backward(cell, grad, inputs, y):
    half = inputs[0].dtype.type(0.5)
    return (grad * (half * cell.xp.tanh(half * inputs[0]) + half),)


def _erfc_coefficients(count=28):
    """Chebyshev coefficients of log(erfc(z) exp(z*z) / t), t = 2 / (2 + z), from the standard library's erfc."""
    nodes = [math.cos(math.pi * (k + 0.5) / 64) for k in range(64)]
    values = []
    for node in nodes:
        t = (node + 1) / 2
        z = 2 / t - 2
        scaled = math.erfc(z) * math.exp(z * z) if z < 25 else _scaled_tail(z)
        values.append(math.log(scaled / t))
    return [2 / 64 * sum(v * math.cos(j * math.pi * (k + 0.5) / 64) for k, v in enumerate(values))
            for j in range(count)]  # fmt: skip


def _scaled_tail(z):
    """erfc(z) exp(z*z) for large z, by its continued fraction."""
    value = z
    for k in range(60, 0, -1):
        value = z + k / 2 / value
    return 1 / (math.sqrt(math.pi) * value)


_ERFC = _erfc_coefficients()
_ERF = [2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(19)]


def _erfc(xp, z):
    """erfc(z) for z >= 1: exp(-z*z) times a Chebyshev series in (2 - t) / (2 + t)."""
    t = 2 / (2 + z)
    ty = 4 * t - 2
    d = dd = xp.zeros_like(z)
    for c in _ERFC[:0:-1]:
        d, dd = ty * d - dd + c, d
    return t * xp.exp(-z * z + 0.5 * (_ERFC[0] + ty * d) - dd)


@forward("Erf")
def erf(cell, x):
    """By its Taylor series up to 1, where that keeps every digit, and 1 - erfc beyond; in double precision."""
    xp, double = cell.xp, np.dtype(np.float64)
    z = xp.absolute(x, out=cell.like("z", x, double))
    square = xp.minimum(z, 1.0, out=cell.like("square", x, double))
    square *= square
    total = cell.like("total", x, double)
    total.fill(_ERF[-1])
    for c in _ERF[-2::-1]:
        total *= square
        total += c
    total *= z
    far = z > 1.0
    if far.any():
        total[far] = 1.0 - _erfc(xp, z[far])
    return xp.copysign(total, x, out=cell.like("y", x), casting="same_kind")


@backward("Erf")
def erf_backward(cell, grad, inputs, y):
    x = inputs[0]
    return (grad * x.dtype.type(2 / math.sqrt(math.pi)) * cell.xp.exp(-x * x),)


def _binary(op, function):
    @forward(op)
    def run(cell, a, b):
        return getattr(cell.xp, function)(a, b, out=result_buffer(cell, "y", a.dtype, a, b))


for _op, _function in (("Add", "add"), ("Sub", "subtract"), ("Mul", "multiply")):
    _binary(_op, _function)


@forward("Div")
def div(cell, a, b):
    if a.dtype.kind == "f":
        return cell.xp.divide(a, b, out=result_buffer(cell, "y", a.dtype, a, b))
    quotient = cell.xp.absolute(a) // cell.xp.absolute(b)
    return (quotient * cell.xp.sign(a) * cell.xp.sign(b)).astype(a.dtype)


def _both(cell, inputs, grad_a, grad_b):
    """Gradients of two operands, each made only if wanted, summed back to the operand's shape."""
    makers = zip(inputs, (grad_a, grad_b), cell.needs)
    return [unbroadcast(cell.xp, make(), x.shape) if need else None for x, make, need in makers]


@backward("Add")
def add_backward(cell, grad, inputs, y):
    return _both(cell, inputs, lambda: grad, lambda: grad)


@backward("Sub")
def sub_backward(cell, grad, inputs, y):
    return _both(cell, inputs, lambda: grad, lambda: -grad)


@backward("Mul")
def mul_backward(cell, grad, inputs, y):
    a, b = inputs
    return _both(cell, inputs, lambda: grad * b, lambda: grad * a)


@backward("Div")
def div_backward(cell, grad, inputs, y):
    b = inputs[1]
    return _both(cell, inputs, lambda: grad / b, lambda: -grad * y / b)


def _is_square(cell):
    exponent = cell.constants[1]
    return exponent is not None and exponent.ndim == 0 and exponent == 2


@forward("Pow")
def pow_(cell, a, b):
    if _is_square(cell):
        return cell.xp.multiply(a, a, out=cell.like("y", a))
    return cell.xp.asarray(cell.xp.power(a, b)).astype(a.dtype, copy=False)


@backward("Pow")
def pow_backward(cell, grad, inputs, y):
    xp, a = cell.xp, inputs[0]
    b = inputs[1].astype(a.dtype)

    def base():
        if _is_square(cell):
            return grad * (a + a)
        return grad * b * xp.power(a, b - b.dtype.type(1))

    def exponent():
        return grad * y * xp.log(xp.where(a > 0, a, a.dtype.type(1)))

    return _both(cell, inputs, base, exponent)


@forward("Max")
def max_(cell, *xs):
    return _variadic(cell, cell.xp.maximum, xs)


@forward("Min")
def min_(cell, *xs):
    return _variadic(cell, cell.xp.minimum, xs)


def _variadic(cell, function, xs):
    if len(xs) == 1:
        return xs[0]
    if len(xs) > 2:
        cell.alias = None  # the third operand may be what the result would overwrite
    y = function(xs[0], xs[1], out=result_buffer(cell, "y", xs[0].dtype, *xs))
    for x in xs[2:]:
        function(y, x, out=y)
    return y


@backward("Max", "Min")
def extreme_backward(cell, grad, inputs, y):
    """Where several operands are the extreme, the first takes the gradient."""
    grads, free = [], cell.xp.ones(y.shape, bool)
    for x, need in zip(inputs, cell.needs):
        mine = (x == y) & free
        free &= ~mine
        grads.append(unbroadcast(cell.xp, grad * mine, x.shape) if need else None)
    return grads


def _comparison(op, function):
    @forward(op)
    def run(cell, a, b):
        return getattr(cell.xp, function)(a, b, out=result_buffer(cell, "y", np.dtype(bool), a, b))


for _op, _function in (("Equal", "equal"), ("Greater", "greater"), ("GreaterOrEqual", "greater_equal"),
                       ("Less", "less"), ("LessOrEqual", "less_equal"), ("And", "logical_and"),
                       ("Or", "logical_or"), ("Xor", "logical_xor")):  # fmt: skip
    _comparison(_op, _function)


@forward("Not")
def not_(cell, x):
    return cell.xp.logical_not(x)


@forward("Where")
def where(cell, condition, a, b):
    return cell.xp.where(condition, a, b)


@backward("Where")
def where_backward(cell, grad, inputs, y):
    condition, a, b = inputs
    zero = grad.dtype.type(0)
    grads = [None]
    for x, chosen, need in ((a, condition, cell.needs[1]), (b, ~condition, cell.needs[2])):
        grads.append(unbroadcast(cell.xp, cell.xp.where(chosen, grad, zero), x.shape) if need else None)
    return grads


@forward("Clip")
def clip(cell, x):
    low, high = cell.attrs["min"], cell.attrs["max"]
    y = x
    if low is not None:
        y = cell.xp.maximum(y, x.dtype.type(low), out=cell.like("y", x))
    if high is not None:
        y = cell.xp.minimum(y, x.dtype.type(high), out=cell.like("y", x))
    return y


@backward("Clip")
def clip_backward(cell, grad, inputs, y):
    return (grad * (inputs[0] == y),)


@forward("Cast")
def cast(cell, x):
    return x.astype(np.dtype(cell.attrs["to"]))


@backward("Cast")
def cast_backward(cell, grad, inputs, y):
    return (grad.astype(inputs[0].dtype) if inputs[0].dtype.kind == "f" else None,)


@forward("Identity", "StopGradient")
def identity(cell, x):
    return x


@backward("Identity")
def identity_backward(cell, grad, inputs, y):
    return (grad,)


@backward("StopGradient")
def stop_gradient_backward(cell, grad, inputs, y):
    return (None,)
