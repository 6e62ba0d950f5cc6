"""Operators that work place by place, with broadcasting."""

from ..graph import DTYPES, FLOATS, TensorType
from ..shapes import ShapeError, broadcast
from .registry import REQUIRED, operator

UNARY = ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Relu", "Sigmoid", "Sign", "Sin",
         "Softplus", "Sqrt", "Tanh")  # fmt: skip
ARITHMETIC = ("Add", "Sub", "Mul", "Div")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
ON_INTEGERS = ("Abs", "Neg", "Relu", "Sign")
CALLED_INPUT = ("Cos", "Erf", "Exp", "Log", "Sign", "Sin", "Tanh")


def need_same_dtype(*types):
    dtypes = sorted({kind.dtype for kind in types})
    if len(dtypes) > 1:
        raise ShapeError("operands of different dtypes, %s; cast one explicitly" % " and ".join(dtypes))
    return dtypes[0]


def need_float(kind, name="X"):
    if kind.dtype not in FLOATS:
        raise ShapeError("operand %s must be a float type, got %s" % (name, kind.dtype))


def need_number(*types):
    for kind in types:
        if kind.dtype == "bool":
            raise ShapeError("operands must be numbers, got bool; cast them")


def need_bool(*types):
    for kind in types:
        if kind.dtype != "bool":
            raise ShapeError("operands must be bool, got %s" % kind.dtype)


def _register_unary(name):
    operand = "input" if name in CALLED_INPUT else "X"

    @operator(name, operand, elementwise=True)
    def infer(attrs, x):
        if name in ON_INTEGERS:
            need_number(x)
        else:
            need_float(x, operand)
        return x


for _name in UNARY:
    _register_unary(_name)


def _register_binary(name, result_dtype=None):
    @operator(name, "A B", elementwise=True)
    def infer(attrs, a, b):
        dtype = need_same_dtype(a, b)
        if name != "Equal":
            need_number(a, b)
        return TensorType(result_dtype or dtype, broadcast(a.shape, b.shape))


for _name in ARITHMETIC:
    _register_binary(_name)
for _name in COMPARISONS:
    _register_binary(_name, "bool")


@operator("Pow", "X Y", elementwise=True)
def pow_(attrs, x, y):
    need_number(x, y)
    return TensorType(x.dtype, broadcast(x.shape, y.shape))


def _register_variadic(name):
    @operator(name, "data*", elementwise=True)
    def infer(attrs, *data):
        need_number(*data)
        return TensorType(need_same_dtype(*data), broadcast(*[kind.shape for kind in data]))


for _name in ("Max", "Min"):
    _register_variadic(_name)


def _register_logical(name):
    @operator(name, "A B", elementwise=True)
    def infer(attrs, a, b):
        need_bool(a, b)
        return TensorType("bool", broadcast(a.shape, b.shape))


for _name in ("And", "Or", "Xor"):
    _register_logical(_name)


@operator("Not", "X", elementwise=True)
def not_(attrs, x):
    need_bool(x)
    return x


@operator("Where", "condition X Y", elementwise=True)
def where(attrs, condition, x, y):
    need_bool(condition)
    return TensorType(need_same_dtype(x, y), broadcast(condition.shape, x.shape, y.shape))


@operator("Clip", "input", {"min": None, "max": None}, static=("min", "max"), elementwise=True)
def clip(attrs, x):
    need_number(x)
    return x


@operator("Cast", "input", {"to": REQUIRED}, elementwise=True)
def cast(attrs, x):
    if attrs["to"] not in DTYPES:
        raise ShapeError("unknown dtype %r; allowed: %s" % (attrs["to"], ", ".join(DTYPES)))
    return TensorType(attrs["to"], x.shape)


@operator("Identity", "input", elementwise=True)
def identity(attrs, x):
    return x


@operator("StopGradient", "input", elementwise=True)
def stop_gradient(attrs, x):
    """Identity forward, zero backward (not an ONNX operator: exported as Identity)."""
    return x
