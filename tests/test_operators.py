"""Shape inference: what each operator gives for a symbolic batch, and what it refuses, in which words."""

import itertools
import re

import pytest

from portanet.engine.graph import GraphError, TensorType
from portanet.engine.operators import REGISTRY, REQUIRED, complete, infer
from portanet.engine.operators.windows import same_pads


def f32(*shape):
    return TensorType("float32", shape)


def i32(*shape):
    return TensorType("int32", shape)


def boolean(*shape):
    return TensorType("bool", shape)


def shapes_of(op, kinds, attrs):
    return [kind.shape for kind in infer(op, kinds, attrs)]


IMAGES = f32("N", 3, 32, 28)


@pytest.mark.parametrize(("op", "kinds", "attrs", "shape"), [
    ("Add", [f32("N", 10), f32(10)], {}, ("N", 10)),
    ("Where", [boolean("N", 1), f32(4), f32()], {}, ("N", 4)),
    ("MatMul", [f32("N", 5, 3), f32(3, 2)], {}, ("N", 5, 2)),
    ("MatMul", [f32(3), f32("N", 3, 2)], {}, ("N", 2)),
    ("MatMul", [f32("N", 3), f32(3)], {}, ("N",)),
    ("Gemm", [f32("N", 3), f32(4, 3), f32(4)], {"transB": 1}, ("N", 4)),
    ("Gemm", [f32("N", 3), f32("N", 4)], {"transA": 1}, (3, 4)),
    ("ReduceMean", [f32("N", 3, 4)], {"axes": [-1], "keepdims": 0}, ("N", 3)),
    ("ReduceSum", [f32("N", 3)], {}, (1, 1)),
    ("ReduceSum", [f32("N", 3)], {"axes": [], "noop_with_empty_axes": 1}, ("N", 3)),
    ("ArgMax", [f32("N", 3)], {"axis": 1, "keepdims": 0}, ("N",)),
    ("Reshape", [IMAGES], {"shape": [-1, 2688]}, ("N", 2688)),
    ("Reshape", [IMAGES], {"shape": [0, -1]}, ("N", 2688)),
    ("Reshape", [IMAGES], {"shape": [0, 3, -1, 2]}, ("N", 3, 448, 2)),
    ("Reshape", [IMAGES], {"shape": [-1, 28]}, ("96*N", 28)),
    ("Reshape", [f32("96*N", 28)], {"shape": [-1, 3, 32, 28]}, ("N", 3, 32, 28)),
    ("Reshape", [f32(0, 3)], {"shape": [3, 0], "allowzero": 1}, (3, 0)),
    ("Flatten", [IMAGES], {}, ("N", 2688)),
    ("Flatten", [IMAGES], {"axis": 0}, (1, "2688*N")),
    ("Flatten", [IMAGES], {"axis": -1}, ("96*N", 28)),
    ("Transpose", [IMAGES], {"perm": [0, 2, 3, 1]}, ("N", 32, 28, 3)),
    ("Transpose", [f32("N", 3)], {}, (3, "N")),
    ("Concat", [f32("N", 3), f32("N", 4)], {"axis": -1}, ("N", 7)),
    ("Concat", [f32("N", 3), f32("2*N", 3)], {"axis": 0}, ("3*N", 3)),
    ("Slice", [IMAGES], {"starts": [1, -1], "ends": [99, -99], "axes": [1, 3], "steps": [1, -2]}, ("N", 2, 32, 14)),
    ("Pad", [IMAGES], {"pads": [1, 2, 3, 4], "axes": [-2, -1]}, ("N", 3, 36, 34)),
    ("Squeeze", [f32("N", 1, 3, 1)], {}, ("N", 3)),
    ("Unsqueeze", [f32("N", 3)], {"axes": [-1, 1]}, ("N", 1, 3, 1)),
    ("Expand", [f32("N", 1)], {"shape": [1, 4]}, ("N", 4)),
    ("Gather", [f32(100, 8), i32("N", 20)], {}, ("N", 20, 8)),
    ("GatherElements", [f32("N", 8), i32("N", 1)], {"axis": 1}, ("N", 1)),
    ("OneHot", [i32("N")], {"depth": 10, "values": [0, 1]}, ("N", 10)),
    ("OneHot", [i32("N", 5)], {"depth": 10, "values": [0, 1], "axis": 1}, ("N", 10, 5)),
    ("Conv", [IMAGES, f32(8, 3, 5, 5)], {}, ("N", 8, 28, 24)),
    ("Conv", [IMAGES, f32(8, 3, 4, 4), f32(8)], {"auto_pad": "SAME_UPPER", "strides": [2, 3]}, ("N", 8, 16, 10)),
    ("Conv", [IMAGES, f32(6, 1, 3, 3)], {"group": 3, "dilations": [2, 2], "pads": [2, 2, 2, 2]}, ("N", 6, 32, 28)),
    ("ConvTranspose", [IMAGES, f32(3, 4, 4, 4)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}, ("N", 4, 64, 56)),
    ("ConvTranspose", [IMAGES, f32(3, 4, 3, 3)], {"strides": [2, 2], "output_shape": [64, 57]}, ("N", 4, 64, 57)),
    ("MaxPool", [IMAGES], {"kernel_shape": [3, 3], "strides": [2, 2]}, ("N", 3, 15, 13)),
    ("MaxPool", [IMAGES], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, ("N", 3, 16, 14)),
    ("AveragePool", [f32("N", 1, 4)], {"kernel_shape": [3], "strides": [3], "pads": [1, 1], "ceil_mode": 1},
     ("N", 1, 2)),
    ("GlobalAveragePool", [IMAGES], {}, ("N", 3, 1, 1)),
    ("Softmax", [f32("N", 10)], {}, ("N", 10)),
    ("NegativeLogLikelihoodLoss", [f32("N", 10), i32("N")], {}, ()),
    ("NegativeLogLikelihoodLoss", [f32("N", 10, 7), i32("N", 7)], {"reduction": "none"}, ("N", 7)),
])  # fmt: skip
def test_shapes_with_a_symbolic_batch(op, kinds, attrs, shape):
    assert shapes_of(op, kinds, attrs) == [shape]


def test_shapes_of_several_results():
    vectors = [f32(3)] * 4
    assert shapes_of("BatchNormalization", [IMAGES, *vectors], {"training_mode": 1}) == [
        IMAGES.shape,
        (3,),
        (3,),
    ]
    norm = shapes_of("LayerNormalization", [f32("N", 5, 4), f32(4)], {})
    assert norm == [("N", 5, 4), ("N", 5, 1), ("N", 5, 1)]
    assert shapes_of("SoftmaxCrossEntropyLoss", [f32("N", 9), i32("N")], {}) == [(), ("N", 9)]


@pytest.mark.parametrize(("op", "kinds", "attrs", "dtype"), [
    ("Greater", [f32("N"), f32()], {}, "bool"),
    ("Pow", [i32(2), f32(2)], {}, "int32"),
    ("Cast", [boolean("N")], {"to": "float32"}, "float32"),
    ("ArgMin", [f32("N", 3)], {}, "int64"),
    ("Gather", [i32(5), i32("N")], {}, "int32"),
    ("OneHot", [i32("N")], {"depth": 3, "values": [0, 1], "dtype": "float64"}, "float64"),
    ("Bernoulli", [f32("N")], {"dtype": "bool"}, "bool"),
    ("ReduceMax", [boolean("N")], {}, "bool"),
])  # fmt: skip
def test_dtypes(op, kinds, attrs, dtype):
    assert infer(op, kinds, attrs)[0].dtype == dtype


@pytest.mark.parametrize(("op", "kinds", "attrs", "message"), [
    ("Add", [f32(2), i32(2)], {}, "operands of different dtypes, float32 and int32; cast one explicitly"),
    ("Add", [f32("N", 3), f32("N", 4)], {}, "shapes (N, 3) and (N, 4) do not broadcast"),
    ("Add", [boolean(2), boolean(2)], {}, "operands must be numbers, got bool; cast them"),
    ("Add", [f32(2)], {}, "takes 2 operands (A, B), got 1"),
    ("Add", [f32(2), None], {}, "operand B is missing"),
    ("Sum", [f32(2), None], {}, "operand data* is missing"),
    ("Max", [], {}, "takes at least 1 operands (data*), got 0"),
    ("Exp", [i32(2)], {}, "operand input must be a float type, got int32"),
    ("ReduceMean", [i32(2)], {}, "operand data must be a float type, got int32"),
    ("HardSigmoid", [i32(2)], {}, "operand X must be a float type, got int32"),
    ("And", [f32(2), boolean(2)], {}, "operands must be bool, got float32"),
    ("Where", [f32(2), f32(2), f32(2)], {}, "operands must be bool, got float32"),
    ("Cast", [f32(2)], {"to": "int31"}, "unknown dtype 'int31'; allowed: float32"),
    ("Cast", [f32(2)], {}, "attribute 'to' is missing"),
    ("Softmax", [f32(2)], {"axsi": 0}, "unknown attribute 'axsi' (did you mean 'axis'?); allowed: axis"),
    ("Softmax", [f32("N", 3)], {"axis": 2}, "axis 2 is out of range for rank 2"),
    ("MatMul", [f32("N", 3), f32(4, 2)], {}, "inner sizes differ: 3 of (N, 3) against 4 of (4, 2)"),
    ("MatMul", [f32(), f32(4, 2)], {}, "a scalar has no matrix product"),
    ("Gemm", [f32("N", 2, 3), f32(3, 2)], {}, "needs matrices, got (N, 2, 3) and (3, 2)"),
    ("Gemm", [f32("N", 3), f32(3, 2), f32(3)], {}, "shapes (3,) and (N, 2) do not broadcast"),
    ("Gemm", [f32(1, 3), f32(3, 2), f32(5, 2)], {}, "C of shape (5, 2) does not broadcast to (1, 2)"),
    ("ReduceSum", [f32("N", 3)], {"axes": [0, -2]}, "axes (0, -2) name one axis twice"),
    ("Reshape", [f32("N", 6)], {"shape": [-1, 4]}, "can't reshape (N, 6) into (-1, 4)"),
    ("Reshape", [f32("N", 6)], {"shape": [5, 6]}, "can't reshape (N, 6) into (5, 6)"),
    ("Reshape", [f32("N", 6)], {"shape": ["N", 6]}, "the batch axis is written 0 or -1"),
    ("Reshape", [f32("N", 6)], {"shape": [-1, -1]}, "at most one -1"),
    ("Reshape", [f32(6)], {"shape": [2, 0]}, "shape [2, 0] copies axis 1, which (6,) lacks"),
    ("Flatten", [f32("N", 6)], {"axis": 3}, "axis 3 is out of range for rank 2"),
    ("Transpose", [f32("N", 6)], {"perm": [0, 0]}, "perm [0, 0] is no permutation of the 2 axes"),
    ("Concat", [f32("N", 3), f32("N", 4, 1)], {"axis": 1}, "differ elsewhere than on axis 1"),
    ("Concat", [f32(3), f32("N")], {"axis": 0}, "sizes (3, N) can't be added"),
    ("Slice", [f32("N", 6)], {"starts": [1], "ends": [3], "axes": [0]}, "the batch axis can't be sliced"),
    ("Slice", [f32("N", 6)], {"starts": [1], "ends": [3, 4]}, "starts, ends, axes and steps must be of one length"),
    ("Slice", [f32(6)], {"starts": [1], "ends": [3], "steps": [0]}, "a step of 0"),
    ("Pad", [f32("N", 6)], {"pads": [1, 1]}, "pads holds 2 numbers, 2 axes need 4"),
    ("Pad", [f32("N", 6)], {"pads": [1, 0, 0, 0]}, "the batch axis can't be padded"),
    ("Pad", [f32(6)], {"pads": [-1, 0]}, "negative pads (-1, 0); use Slice"),
    ("Pad", [f32(6)], {"pads": [6, 0], "mode": "reflect"},
     "mode reflect with pads (6, 0) needs a size of at least 7, got 6"),
    ("Pad", [f32(6)], {"pads": [1, 7], "mode": "wrap"}, "mode wrap with pads (1, 7) needs a size of at least 7, got 6"),
    ("Pad", [f32(6)], {"pads": [1, 0], "mode": "mirror"},
     "unknown mode 'mirror'; allowed: constant, reflect, edge, wrap"),
    ("Squeeze", [f32("N", 3)], {"axes": [1]}, "axis 1 of (N, 3) is not of size 1"),
    ("Gather", [f32(9, 3), f32("N")], {}, "indices must be int32 or int64, got float32"),
    ("GatherElements", [f32("N", 3), i32("N")], {}, "data (N, 3) and indices (N,) differ in rank"),
    ("GatherElements", [f32(2, 3), i32(4, 1)], {"axis": 1}, "indices (4, 1) reach beyond data (2, 3) on axis 0"),
    ("OneHot", [i32("N")], {"depth": 0, "values": [0, 1]}, "needs two values and a depth of at least 1"),
    ("Conv", [IMAGES, f32(8, 3, 33, 5)], {}, "a window of 33 exceeds the input's 32; use a smaller one or pad='same'"),
    ("Conv", [IMAGES, f32(8, 3, 40, 5)], {"pads": [2, 0, 2, 0]},
     "a window of 40 exceeds the input's 32 (36 with its padding)"),
    ("Conv", [IMAGES, f32(8, 1, 3, 3)], {},
     "input (N, 3, 32, 28) has 3 channels, weights (8, 1, 3, 3) in 1 group(s) expect 1"),
    ("Conv", [IMAGES, f32(8, 3, 3, 3), f32(3)], {}, "bias (3,) must be (8,)"),
    ("Conv", [IMAGES, f32(8, 3, 3)], {}, "needs (N, C, spatial...) and (out, in, kernel...)"),
    ("Conv", [IMAGES, f32(8, 3, 3, 3)], {"strides": [0, 1]}, "strides [0, 1] must hold 2 positive numbers"),
    ("Conv", [IMAGES, f32(8, 3, 3, 3)], {"pads": [1, 1]}, "pads [1, 1] must hold 4 numbers, none negative"),
    ("Conv", [IMAGES, f32(8, 3, 3, 3)], {"auto_pad": "SAME"}, "unknown auto_pad 'SAME'; allowed: NOTSET"),
    ("Conv", [IMAGES, f32(8, 3, 3, 3)], {"kernel_shape": [5, 5]},
     "kernel_shape [5, 5] differs from the weights' (3, 3)"),
    ("ConvTranspose", [IMAGES, f32(4, 4, 3, 3)], {},
     "input (N, 3, 32, 28) does not fit weights (4, 4, 3, 3) in 1 group(s)"),
    ("ConvTranspose", [f32("N", 3, 2, 2), f32(3, 4, 2, 2)], {"pads": [2, 2, 2, 2]}, "leave nothing of (3, 3)"),
    ("MaxPool", [f32("N", 3)], {"kernel_shape": [2]}, "needs (N, C, spatial...), got (N, 3)"),
    ("MaxPool", [IMAGES], {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, "must be smaller than the window [2, 2]"),
    ("MaxPool", [IMAGES], {}, "attribute 'kernel_shape' is missing"),
    ("AveragePool", [i32("N", 1, 4)], {"kernel_shape": [2]}, "operand X must be a float type, got int32"),
    ("Dropout", [f32("N", 3)], {"ratio": 1.0}, "ratio 1 must be at least 0 and below 1"),
    ("NegativeLogLikelihoodLoss", [f32("N", 3), i32("N", 1)], {}, "targets (N, 1) do not fit predictions (N, 3)"),
    ("SoftmaxCrossEntropyLoss", [f32("N", 3), i32("N")], {"reduction": "avg"},
     "NegativeLogLikelihoodLoss: unknown reduction 'avg'; allowed: mean, sum, none"),
    ("BatchNormalization", [f32("N", 3), f32(4), f32(3), f32(3), f32(3)], {},
     "Div: shapes (4,) and (3,) do not broadcast"),
    ("RandomNormalLike", [i32("N")], {}, "operand input must be a float type, got int32"),
])  # fmt: skip
def test_faults_name_layer_operator_and_reason(op, kinds, attrs, message):
    with pytest.raises(GraphError, match=re.escape(message)) as caught:
        infer(op, kinds, attrs, "conv1")
    assert str(caught.value).startswith(f"layer 'conv1': {op}: ")
    assert (caught.value.layer, caught.value.op) == ("conv1", op)


def test_an_unknown_operator_has_a_suggestion():
    with pytest.raises(GraphError, match=r"layer 'a': unknown operator 'Sofmax' \(did you mean 'Softmax'\?\)"):
        infer("Sofmax", [f32(2)], {}, "a")
    with pytest.raises(GraphError, match=r"unknown operator 'Xyzzy'$"):
        infer("Xyzzy", [f32(2)], {})


def test_attributes_are_completed_with_defaults():
    assert complete("Gemm", {"transB": 1}) == {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.name)
def test_the_table_is_consistent(spec):
    assert set(spec.static) <= set(spec.attrs)
    least, most = spec.arity
    assert least >= 1 and (most is None or most >= least)
    optional = [name.endswith("?") for name in spec.inputs]
    assert optional == sorted(optional), "optional operands come last"
    assert all(value is REQUIRED or value is None or isinstance(value, int | float | str | list)
               for value in spec.attrs.values())  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - {"StopGradient"}))
def test_names_and_defaults_are_onnxs(name):
    from onnx import defs, helper

    spec, schema = REGISTRY[name], defs.get_schema(name)
    tensors = [operand.rstrip("?").replace("data*", "data_0").rstrip("*") for operand in spec.inputs]
    assert [value.name for value in schema.inputs] == tensors + list(spec.static)
    for key, value in spec.attrs.items():
        if key not in schema.attributes or value is REQUIRED:
            continue
        default = schema.attributes[key].default_value
        if default.name:
            known = helper.get_attribute_value(default)
            known = known.decode() if isinstance(known, bytes) else known
            assert value == pytest.approx(known) if isinstance(known, float) else value == known, key
        else:
            assert value is None, f"{key} has no default in ONNX"


def test_same_pads_give_the_ceiling():
    for size, kernel, stride, dilation in itertools.product(range(1, 12), range(1, 6), (1, 2, 3), (1, 2)):
        before, after = same_pads(size, kernel, stride, dilation)
        assert 0 <= after - before <= 1 and same_pads(size, kernel, stride, dilation, lower=True) == (
            after,
            before,
        )
        count = (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
        assert count == -(-size // stride), (size, kernel, stride, dilation)
