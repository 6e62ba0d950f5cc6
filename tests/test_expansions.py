"""Composites written out in primitives."""

import numpy as np
import pytest

from portanet.engine.expansions import EXPANSIONS, expand, retrace
from portanet.engine.graph import GraphError, TensorType
from portanet.engine.kernels.tape import Tape
from portanet.engine.operators import REGISTRY, infer
from portanet.engine.tracing import Tracer, call, tracing


def loss_graph():
    tracer = Tracer("net", "float64")
    with tracing(tracer):
        x, labels = tracer.input("x", "float64", ("N", 3)), tracer.input("t", "int32", ("N",))
        with tracer.scope("act"):
            y = call("Elu", x * tracer.constant(2.0))
        with tracer.scope("loss"):
            tracer.output("loss", call("SoftmaxCrossEntropyLoss", y, labels)[0])
        tracer.output("layer:act", y)
    return tracer.graph


def ops(graph):
    return [node.op for node in graph.nodes]


def test_nothing_but_primitives_is_left():
    graph = expand(loss_graph())
    assert not set(ops(graph)) & set(EXPANSIONS)
    assert {node.layer for node in graph.nodes} == {"act", "loss"}
    assert set(graph.outputs) == {"loss", "layer:act"}
    assert list(graph.inputs) == ["x", "t"]


def test_what_an_engine_has_itself_is_kept():
    graph = loss_graph()
    assert ops(expand(graph, keep=EXPANSIONS)) == ops(graph) == ["Mul", "Elu", "SoftmaxCrossEntropyLoss"]
    assert expand(graph, keep=EXPANSIONS) is graph
    assert "LogSoftmax" in ops(expand(graph, keep=("LogSoftmax",)))
    assert "Elu" not in ops(expand(graph, keep=("SoftmaxCrossEntropyLoss",)))


def test_an_expanded_graph_is_valid_and_means_the_same():
    graph = loss_graph()
    feeds = {"x": np.random.default_rng(0).standard_normal((5, 3)), "t": np.array([0, 1, 2, 0, 1], "int32")}
    wanted = Tape(np, expand(graph, keep=("SoftmaxCrossEntropyLoss",))).run(feeds)["loss"]
    small = expand(graph)
    small.validate()
    np.testing.assert_allclose(Tape(np, small).run(feeds)["loss"], wanted, rtol=1e-14)


def test_retracing_keeps_types_constants_and_outputs():
    graph = loss_graph()
    again = retrace(graph, lambda tracer, node, operands: tracer.emit(node.op, operands, node.attrs))
    assert ops(again) == ops(graph) and list(again.types.values()) == list(graph.types.values())
    assert [array.tolist() for array in again.constants.values()] == [2.0]


@pytest.mark.parametrize("op", sorted(EXPANSIONS))
def test_a_composite_is_registered_as_one(op):
    assert REGISTRY[op].composite
    assert REGISTRY[op].elementwise == (op in {
        "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Celu", "Selu", "HardSigmoid", "HardSwish", "Softsign", "Mish",
        "Gelu", "Sum", "Mean",
    })  # fmt: skip


def test_omitted_operands_at_the_end_may_be_left_out_or_empty():
    tracer = Tracer("net")
    x, labels = tracer.input("x", "float32", ("N", 3)), tracer.input("t", "int32", ("N",))
    call("NegativeLogLikelihoodLoss", x, labels)
    call("NegativeLogLikelihoodLoss", x, labels, None)
    assert [node.inputs for node in tracer.graph.nodes] == [("x", "t"), ("x", "t", "")]
    assert not set(ops(expand(tracer.graph))) & set(EXPANSIONS)


def test_a_fault_within_an_expansion_names_the_users_layer():
    tracer = Tracer("net")
    x = tracer.input("x", "float32", ("N", 3))
    with tracer.scope("norm"), pytest.raises(GraphError) as caught:
        call("LayerNormalization", x, np.ones(4, "float32"))
    assert str(caught.value) == "layer 'norm': LayerNormalization: Mul: shapes (N, 3) and (4,) do not broadcast"


def test_types_come_from_the_expansion_in_any_float():
    for dtype in ("float32", "float64", "float16"):
        kinds = infer("Gelu", [TensorType(dtype, ("N", 2))], {})
        assert kinds == (TensorType(dtype, ("N", 2)),)


def test_inactive_dropout_is_the_identity():
    tracer = Tracer("net")
    x = tracer.input("x", "float32", ("N", 3))
    tracer.output("a", call("Dropout", x, ratio=0.5))
    tracer.output("b", call("Dropout", x, ratio=0.0, training_mode=1))
    assert ops(expand(tracer.graph)) == ["Identity", "Identity"]
