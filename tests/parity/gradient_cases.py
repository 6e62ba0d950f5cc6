"""Calls of differentiable operators: broadcasting both ways, odd sizes, strides, pads, groups, repeated indices.

Most historic bugs of such code hid behind right shapes, so that the sizes are small, odd and all different.
"""

import itertools
import zlib
from typing import Any, NamedTuple

import numpy as np

from portanet.engine.expansions import EXPANSIONS
from portanet.engine.kernels import BACKWARD
from portanet.engine.operators.elementwise import UNARY

WITHOUT_CASES = {
    "Bernoulli": "a draw has no gradient",
    "RandomNormalLike": "a draw has no gradient",
    "RandomUniformLike": "a draw has no gradient",
    "OneHot": "its operand is a whole number",
    "StopGradient": "its gradient is zero by decree",
}


class Case(NamedTuple):
    """`operands` are made by `arrays`; those at the places `given` are constants, without a gradient.

    `used` says which results take part; by default all.
    """

    op: str
    operands: list
    attrs: dict[str, Any]
    given: tuple[int, ...] = ()
    used: tuple[int, ...] | None = None

    @property
    def name(self):
        attrs = ",".join(f"{key}={value}" for key, value in self.attrs.items())
        operands = ",".join("none" if spec is None else str(spec) for spec in self.operands)
        return f"{self.op}({operands};{attrs})".replace(" ", "")

    def arrays(self, dtype="float64"):
        """The operands, the same at every call."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return [None if spec is None else spec.array(rng, dtype) for spec in self.operands]


class Floats:
    """Values that are all different and keep a distance from each other and from 0: away from every kink."""

    def __init__(self, *shape, positive=False, zeros=0):
        self.shape, self.positive, self.zeros = shape, positive, zeros

    def __repr__(self):
        return "x".join(map(str, self.shape)) + "+" * self.positive if self.shape else "scalar" + "+" * self.positive

    def array(self, rng, dtype):
        size = int(np.prod(self.shape))
        values = rng.permutation(np.linspace(0.153, 2.077, size)) + rng.uniform(0.0, 0.02)
        if not self.positive:
            values *= rng.choice([-1.0, 1.0], size)
        values[: self.zeros] = 0.0
        return values.reshape(self.shape).astype(dtype)


class Integers:
    """Whole numbers, repeated ones and both ends of the range among them."""

    def __init__(self, low, high, *shape, dtype="int32"):
        self.low, self.high, self.shape, self.dtype = low, high, shape, dtype

    def __repr__(self):
        return "x".join(map(str, self.shape)) + f"in{self.low}..{self.high - 1}"

    def array(self, rng, dtype):
        values = rng.integers(self.low, self.high, self.shape)
        values.reshape(-1)[:2] = (self.low, self.high - 1)[: values.size]
        return values.astype(self.dtype)


class Booleans:
    def __init__(self, *shape):
        self.shape = shape

    def __repr__(self):
        return "bool" + "x".join(map(str, self.shape))

    def array(self, rng, dtype):
        return rng.random(self.shape) < 0.5


class Value:
    """This very array, as a float or whole number."""

    def __init__(self, value):
        self.value = np.asarray(value)

    def __repr__(self):
        return str(self.value.tolist())

    def array(self, rng, dtype):
        return self.value.astype(dtype) if self.value.dtype.kind == "f" else self.value


def elementwise():
    for op in UNARY:
        positive = op in ("Log", "Sqrt")
        for shape in ((), (7,), (2, 3, 4)):
            yield Case(op, [Floats(*shape, positive=positive)], {})
    for op in ("Add", "Sub", "Mul", "Div", "PRelu"):
        pairs = [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((2, 3), ()), ((), ())]
        if op != "PRelu":
            pairs += [((4,), (2, 3, 4)), ((2, 1, 4), (3, 1)), ((), (2, 3)), ((1, 1), (2, 3))]
        for a, b in pairs:
            yield Case(op, [Floats(*a), Floats(*b)], {})
    for op in ("Max", "Min", "Sum", "Mean"):
        for shapes in ([(3,)], [(2, 3), (3,)], [(3,), (2, 1), (2, 3)], [(), (4,), (3, 1)]):
            yield Case(op, [Floats(*shape) for shape in shapes], {})
    for c, a, b in (((2, 3), (2, 3), (2, 3)), ((3,), (2, 1), ()), ((2, 1), (3,), (2, 3)), ((), (2,), (3, 1))):
        yield Case("Where", [Booleans(*c), Floats(*a), Floats(*b)], {})
    for bounds in ({}, {"min": -0.5}, {"max": 0.7}, {"min": -1.0, "max": 1.1}):
        yield Case("Clip", [Floats(3, 4)], bounds)
    yield Case("Cast", [Floats(2, 3)], {"to": "float64"})
    yield Case("Identity", [Floats(2, 3)], {})


def powers():
    for a, b in (((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 1)), ((2, 3), ()), ((), (2,))):
        yield Case("Pow", [Floats(*a, positive=True), Floats(*b)], {})
    for exponent in (2.0, 3.0, -1.0, 0.0, [1.0, 2.0, -3.0]):
        yield Case("Pow", [Floats(2, 3), Value(exponent)], {}, given=(1,))
    yield Case("Pow", [Floats(2, 3), Value([1, 2, 3])], {})


def activations():
    for op, attrs in (
        ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("ThresholdedRelu", {}), ("ThresholdedRelu", {"alpha": 0.5}),
        ("Elu", {}), ("Elu", {"alpha": 0.6}), ("Celu", {}), ("Celu", {"alpha": 0.6}), ("Selu", {}),
        ("Selu", {"alpha": 1.5, "gamma": 1.1}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.5, "beta": 0.4}),
        ("HardSwish", {}), ("Softsign", {}), ("Mish", {}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}),
        ("Dropout", {}),
    ):  # fmt: skip
        yield Case(op, [Floats(3, 5)], attrs)
        yield Case(op, [Floats()], attrs)
    for op, (shape, axis) in itertools.product(
        ("Softmax", "LogSoftmax"), (((5,), -1), ((3, 4), 1), ((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -1))
    ):
        yield Case(op, [Floats(*shape)], {"axis": axis})


def products():
    for a, b in (((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((4,), (2, 4, 3)), ((3, 4), (4,)), ((2, 3, 4), (4,)),
                 ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((1, 1), (1, 3))):  # fmt: skip
        yield Case("MatMul", [Floats(*a), Floats(*b)], {})
    for left, right in itertools.product((0, 1), (0, 1)):
        for bias in (None, (), (1,), (2,), (1, 2), (3, 1), (3, 2)):
            shapes = [(4, 3) if left else (3, 4), (2, 4) if right else (4, 2)]
            operands = [Floats(*shape) for shape in shapes] + [None if bias is None else Floats(*bias)]
            yield Case("Gemm", operands, {"transA": left, "transB": right})
            if bias == (2,):
                yield Case("Gemm", operands, {"transA": left, "transB": right, "alpha": 0.7, "beta": -1.3})


def reductions():
    foldings = [{}, {"axes": [0]}, {"axes": [1, -1]}, {"axes": [-2], "keepdims": 0}, {"keepdims": 0},
                {"axes": [], "noop_with_empty_axes": 1}, {"axes": [2, 0], "keepdims": 0}]  # fmt: skip
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
               "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"):  # fmt: skip
        for attrs in foldings:
            yield Case(op, [Floats(2, 3, 4, positive=op == "ReduceLogSum")], attrs)
        yield Case(op, [Floats(positive=op == "ReduceLogSum")], {})
    for zeros in (1, 2):
        yield Case("ReduceProd", [Floats(5, zeros=zeros)], {})


def shaping():
    for shape, target in (
        ((2, 4, 3), [4, -1]),
        ((2, 4, 3), [24]),
        ((3, 4, 1, 5), [0, 2, 2, -1]),
        ((), [1, 1]),
    ):
        yield Case("Reshape", [Floats(*shape)], {"shape": target})
    for axis in (0, 1, 2, 3, -1):
        yield Case("Flatten", [Floats(2, 3, 4)], {"axis": axis})
    for perm in (None, [0, 2, 1], [2, 0, 1]):
        yield Case("Transpose", [Floats(2, 3, 4)], {} if perm is None else {"perm": perm})
    for axis in (0, 2, -2):
        shapes = [[size if place != axis % 3 else width for place, size in enumerate((2, 3, 4))] for width in (1, 3, 2)]
        yield Case("Concat", [Floats(*shape) for shape in shapes], {"axis": axis})
    for starts, ends, axes, steps in (
        ([1], [4], [0], None), ([0, -3], [9, -1], [0, 1], None), ([4, 0], [-99, 7], [0, 1], [-2, 3]),
        ([1], [5], None, [2]), ([3], [3], [0], None),
    ):  # fmt: skip
        attrs = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
        yield Case("Slice", [Floats(5, 7)], {key: value for key, value in attrs.items() if value is not None})
    for mode in ("constant", "edge", "reflect", "wrap"):
        for attrs in ({"pads": [1, 0, 2, 3]}, {"pads": [2, 1], "axes": [-1]}, {"pads": [0, 0, 0, 0]}):
            yield Case("Pad", [Floats(3, 4)], dict(attrs, mode=mode))
    yield Case("Pad", [Floats(3, 4)], {"pads": [1, 0, 0, 1], "constant_value": 2.5})
    yield Case("Squeeze", [Floats(1, 3, 1)], {"axes": [0]})
    yield Case("Squeeze", [Floats(1, 3, 1)], {})
    yield Case("Unsqueeze", [Floats(3, 2)], {"axes": [0, -1]})
    for shape, target in (((3, 1), [2, 1, 4]), ((), [2, 3]), ((2, 3), [1, 1]), ((4,), [3, 4])):
        yield Case("Expand", [Floats(*shape)], {"shape": target})


def gathering():
    for axis, shape in itertools.product((0, 1, -1), ((), (7,), (2, 5))):
        yield Case("Gather", [Floats(3, 4, 2), Integers(-2, 2, *shape)], {"axis": axis})
    yield Case("Gather", [Floats(6, 3), Integers(0, 6, 11, dtype="int64")], {})
    for axis, shape in ((0, (5, 4, 2)), (1, (3, 6, 2)), (-1, (3, 4, 5)), (1, (3, 1, 2)), (1, (2, 3, 1))):
        yield Case("GatherElements", [Floats(3, 4, 2), Integers(-2, 2, *shape)], {"axis": axis})


def convolutions():
    for x, w, attrs in (
        ((2, 3, 5, 6), (4, 3, 3, 3), {}),
        ((2, 3, 5, 6), (4, 3, 2, 4), {"pads": [0, 1, 1, 2]}),
        ((3, 2, 7, 5), (3, 2, 3, 2), {"strides": [2, 3], "pads": [1, 0, 2, 1]}),
        ((2, 2, 8, 7), (3, 2, 3, 2), {"dilations": [2, 3], "pads": [1, 1, 1, 1], "strides": [1, 2]}),
        ((2, 4, 5, 5), (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ((2, 3, 4, 4), (6, 1, 2, 2), {"group": 3, "strides": [2, 2]}),
        ((1, 2, 6, 6), (3, 2, 1, 1), {}),
        ((2, 2, 5, 5), (2, 2, 5, 5), {}),
        ((2, 2, 6, 7), (3, 2, 4, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((2, 2, 6, 7), (3, 2, 4, 2), {"auto_pad": "SAME_LOWER"}),
        ((2, 2, 6, 7), (3, 2, 3, 3), {"auto_pad": "VALID", "kernel_shape": [3, 3]}),
        ((3, 2, 9), (4, 2, 3), {"strides": [2], "pads": [2, 1]}),
        ((2, 2, 4, 3, 4), (3, 2, 2, 2, 3), {"pads": [0, 1, 1, 1, 0, 1]}),
    ):
        yield Case("Conv", [Floats(*x), Floats(*w), None], attrs)
        yield Case("Conv", [Floats(*x), Floats(*w), Floats(w[0])], attrs)


def transposed_convolutions():
    for x, w, attrs in (
        ((2, 3, 4, 3), (3, 2, 3, 3), {}),
        ((2, 3, 4, 3), (3, 2, 2, 4), {"strides": [2, 3], "pads": [1, 0, 0, 2]}),
        ((2, 3, 3, 3), (3, 2, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ((2, 3, 3, 4), (3, 2, 2, 3), {"dilations": [2, 1], "strides": [1, 2]}),
        ((2, 4, 3, 3), (4, 2, 3, 2), {"group": 2, "strides": [2, 1]}),
        ((2, 3, 3, 3), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
        ((2, 3, 3, 4), (3, 2, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((2, 3, 3, 4), (3, 2, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
        ((3, 2, 5), (2, 3, 4), {"strides": [2], "pads": [1, 2]}),
        ((2, 2, 2, 3, 2), (2, 2, 2, 2, 3), {"strides": [1, 2, 1]}),
    ):
        filters = w[1] * attrs.get("group", 1)
        yield Case("ConvTranspose", [Floats(*x), Floats(*w), None], attrs)
        yield Case("ConvTranspose", [Floats(*x), Floats(*w), Floats(filters)], attrs)


def pools():
    for op, (shape, attrs) in itertools.product(("MaxPool", "AveragePool"), (
        ((2, 3, 6, 4), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ((2, 3, 7, 5), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ((2, 2, 7, 5), {"kernel_shape": [3, 2], "strides": [2, 1]}),
        ((2, 2, 7, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((2, 2, 7, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 2, 1], "ceil_mode": 1}),
        ((2, 2, 8, 8), {"kernel_shape": [3, 3], "strides": [3, 2], "ceil_mode": 1}),
        ((2, 2, 8, 7), {"kernel_shape": [2, 3], "dilations": [3, 2]}),
        ((2, 2, 8, 7), {"kernel_shape": [2, 2], "dilations": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((2, 2, 6, 7), {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((2, 2, 6, 7), {"kernel_shape": [2, 4], "auto_pad": "SAME_LOWER"}),
        ((2, 2, 4, 4), {"kernel_shape": [4, 4]}),
        ((3, 2, 9), {"kernel_shape": [3], "strides": [2], "pads": [1, 2]}),
        ((2, 1, 4, 3, 5), {"kernel_shape": [2, 2, 3], "strides": [2, 1, 2]}),
    )):  # fmt: skip
        yield Case(op, [Floats(*shape)], attrs)
        if op == "AveragePool" and ("pads" in attrs or "auto_pad" in attrs):
            yield Case(op, [Floats(*shape)], dict(attrs, count_include_pad=1))
    for op, shape in itertools.product(("GlobalAveragePool", "GlobalMaxPool"), ((2, 3, 4), (2, 3, 4, 5))):
        yield Case(op, [Floats(*shape)], {})


def losses():
    for op, reduction, weighted, ignore, extra in itertools.product(
            ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), ("mean", "sum", "none"),
            (False, True), (None, 2, -1), ((), (3,), (2, 3))):  # fmt: skip
        weights = Floats(4, positive=True) if weighted else None
        labels = Integers(min(0, ignore or 0), 4, 5, *extra, dtype="int64" if extra else "int32")
        attrs = {"reduction": reduction} if ignore is None else {"reduction": reduction, "ignore_index": ignore}
        yield Case(op, [Floats(5, 4, *extra), labels, weights], attrs, given=(2,))


def log_probability_results():
    for used in ((0,), (1,)):
        for reduction in ("mean", "none"):
            operands = [Floats(5, 4, 2), Integers(0, 4, 5, 2), None]
            yield Case("SoftmaxCrossEntropyLoss", operands, {"reduction": reduction}, used=used)


def normalizations():
    for shape in ((2, 3), (5, 3), (2, 3, 4), (3, 2, 4, 5)):
        vectors = [Floats(shape[1]), Floats(shape[1]), Floats(shape[1]), Floats(shape[1], positive=True)]
        for attrs in ({}, {"epsilon": 1e-2, "momentum": 0.7}):
            yield Case("BatchNormalization", [Floats(*shape), *vectors], dict(attrs, training_mode=1), (3, 4), (0,))
            yield Case("BatchNormalization", [Floats(*shape), *vectors], attrs, (), (0,))
    for axis, shape in ((-1, (4,)), (1, (3, 4)), (0, (2, 3, 4)), (-2, (3, 1))):
        for bias in (None, Floats(*shape)):
            yield Case("LayerNormalization", [Floats(2, 3, 4), Floats(*shape), bias], {"axis": axis})
    yield Case("LayerNormalization", [Floats(2, 3, 4), Floats(4), Floats(4)], {"epsilon": 0.1}, used=(0,))


FAMILIES = (elementwise, powers, activations, products, reductions, shaping, gathering, convolutions,
            transposed_convolutions, pools, losses, log_probability_results, normalizations)  # fmt: skip
CASES = [case for family in FAMILIES for case in family()]
DIFFERENTIABLE = sorted((set(BACKWARD) | set(EXPANSIONS)) - set(WITHOUT_CASES))


def of(op):
    return [case for case in CASES if case.op == op]
