"""ONNX's own operator cases, as calls of our operators."""

import functools
import warnings
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from portanet.engine.operators import REGISTRY

LEFT_OUT = {
    "*_expanded": "the same case once more, written out in the function body that ONNX gives the operator",
    "*[_0-9]int8*": "8-bit signed integers aren't among our dtypes",
    "*_int16": "16-bit signed integers aren't among our dtypes",
    "*_uint32": "32-bit unsigned integers aren't among our dtypes",
    "*_uint64": "64-bit unsigned integers aren't among our dtypes",
    "test_equal_string*": "tensors of strings aren't trained on",
    "*float16*": "half precision is an engine's option, not the reference's",
    "test_cast_*FLOAT16*": "half precision is an engine's option, not the reference's",
    "test_cast_*FLOAT8*": "8-bit floats aren't among our dtypes",
    "test_cast_*FLOAT4*": "4-bit floats aren't among our dtypes",
    "test_cast_*INT4*": "4-bit integers aren't among our dtypes",
    "test_cast_*INT2*": "2-bit integers aren't among our dtypes",
    "test_identity_sequence": "sequences of tensors aren't values of our graphs",
    "test_identity_opt": "optional tensors aren't values of our graphs",
    "test_maxpool_with_argmax_*": "the result Indices serves unpooling, which isn't in the training subset",
    "test_dropout_*_mask*": "the result mask isn't given: what was dropped stays within the engine",
    "test_training_dropout_*mask": "the result mask isn't given: what was dropped stays within the engine",
    "test_training_dropout": "expects the draws of one particular generator",
    "test_training_dropout_default": "expects the draws of one particular generator",
    "test_bernoulli*": "expects the draws of one particular generator",
}
WITHOUT_CASES = {
    "Bernoulli": "its cases are draws of one particular generator",
    "RandomNormalLike": "ONNX has no cases for it",
    "RandomUniformLike": "ONNX has no cases for it",
    "StopGradient": "portanet's own",
}

ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": "its results are written with four digits"}


class Case(NamedTuple):
    name: str
    op: str
    operands: list
    attrs: dict[str, Any]
    expected: list


@functools.cache
def protos():
    """ONNX's test cases of one node, by operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = defaultdict(list)
        for case in collect_testcases(""):
            if len(case.model.graph.node) == 1:
                found[case.model.graph.node[0].op_type].append(case)
    return found


def read(proto):
    """The case as arrays and attributes; what is static for us is taken from its data."""
    node = proto.model.graph.node[0]
    fed, expected = proto.data_sets[0]
    values = dict(zip((value.name for value in proto.model.graph.input), map(_array, fed), strict=True))
    given = [values.get(name) for name in node.input]
    spec = REGISTRY[node.op_type]
    count = len(given) if spec.arity[1] is None else spec.arity[1]
    attrs = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    attrs.update((name, value.tolist())
                 for name, value in zip(spec.static, given[count:], strict=False) if value is not None)  # fmt: skip
    if node.op_type == "OneHot":
        attrs["dtype"] = str(given[2].dtype)
    return Case(proto.name, node.op_type, given[:count], attrs, [_array(value) for value in expected])


def _array(value):
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _attribute(attribute):
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if attribute.name in ("to", "dtype"):
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(value)))
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int | float) else list(value)
