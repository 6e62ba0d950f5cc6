"""Composites as each engine does them against their expansion into primitives."""

import gradient_cases
import numpy as np
import pytest
from gradient_cases import Case, Floats
from one_node import SCALE, contracted, cotangents, free, gradients, node_graph, run
from tolerances import GRADIENT, assert_near

from portanet.engine.expansions import EXPANSIONS, expand
from portanet.engine.plan import TRAIN
from portanet.engine.tracing import Tracer, call, tracing


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", sorted(set(EXPANSIONS) - set(gradient_cases.WITHOUT_CASES)))
def test_override_equals_expansion(backend, op, dtype):
    """Results and the gradients of all operands, those that are rarely wanted included."""
    found = gradient_cases.of(op)
    assert found, f"no case for {op}"
    for case in found:
        operands = case.arrays(dtype)
        graph = node_graph(op, operands, case.attrs)
        for got, wanted in zip(run(backend, graph, operands), run(backend, expand(graph), operands), strict=True):
            assert_near(got, wanted, what=case.name)
        scalar = contracted(op, operands, case.attrs, cotangents(op, operands, case.attrs))
        arrays = free(operands)
        wanted = gradients(backend, expand(scalar), arrays)
        for name, got in gradients(backend, scalar, arrays).items():
            assert_near(got, wanted[name], GRADIENT[dtype], f"{case.name}, gradient of {name}")


def test_class_weights_and_running_statistics_take_no_gradient(backend):
    for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"):
        for case in gradient_cases.of(op):
            operands = case.arrays()
            graph = contracted(op, operands, case.attrs, cotangents(op, operands, case.attrs))
            made = gradients(backend, graph, free(operands))
            assert not np.any(made.get("x2", 0.0)), case.name
    vectors = [Floats(3), Floats(3), Floats(3), Floats(3, positive=True)]
    case = Case("BatchNormalization", [Floats(4, 3), *vectors], {"training_mode": 1}, used=(1, 2))
    operands = case.arrays()
    graph = contracted(case.op, operands, case.attrs, cotangents(case.op, operands, case.attrs, case.used))
    for name, gradient in gradients(backend, graph, free(operands)).items():
        assert not gradient.any(), name


def half_square_of_dropout(x, ratio):
    """Training graph of ``sum(Dropout(x) ** 2) / 2``, whose gradient is ``x * mask / (1 - ratio) ** 2``."""
    tracer = Tracer(TRAIN, str(x.dtype))
    with tracing(tracer):
        kept = call("Dropout", tracer.input("x0", str(x.dtype), x.shape), ratio=ratio, training_mode=1)
        scale = call("ReduceMean", tracer.input(SCALE, tracer.floatX, ("N",)), keepdims=0)
        tracer.output("loss", call("ReduceSum", kept * kept, keepdims=0) * scale * 0.5)
    return tracer.graph


@pytest.mark.parametrize("version", ["kept", "expanded"])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_right_share_and_pulls_through_the_same_mask(backend, ratio, version):
    """With another mask on the way back, the share of gradients that aren't zero would be ``(1 - ratio) ** 2``."""
    x = np.linspace(1.0, 2.0, 40_000).reshape(200, 200)
    graph = half_square_of_dropout(x, ratio)
    graph = expand(graph) if version == "expanded" else graph
    first, again, other = (gradients(backend, graph, {"x0": x}, seed)["x0"] for seed in (3, 3, 4))
    mask = first != 0
    np.testing.assert_allclose(first[mask], x[mask] / (1 - ratio) ** 2, rtol=1e-12)
    deviation = np.sqrt(ratio * (1 - ratio) / x.size)
    assert abs(mask.mean() - (1 - ratio)) <= 5 * deviation
    assert np.all(np.abs(mask.mean(axis=0) - (1 - ratio)) <= 6 * np.sqrt(200) * deviation)
    assert np.all(np.abs(mask.mean(axis=1) - (1 - ratio)) <= 6 * np.sqrt(200) * deviation)
    np.testing.assert_array_equal(first, again)
    assert ratio == 0.0 or np.any(first != other)
