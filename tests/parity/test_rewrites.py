"""Every rewrite is made where it should be, left alone where it must be, and equal in value and gradient."""

import numpy as np
import pytest
from one_node import SCALE, gradients
from tolerances import GRADIENT, assert_near

from portanet.engine.plan import TRAIN
from portanet.engine.tracing import Tracer, call, tracing
from portanet.rewrites import prune, rewrite

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 4))
IMAGES = RNG.standard_normal((3, 2, 5, 5))
LABELS = np.array([0, 3, 1, 2, 2, 0], "int32")


def log_softmax(x):
    return call("Log", call("Softmax", x))


def cross_entropy(x):
    log_prob = call("Log", call("Softmax", x))
    return call("NegativeLogLikelihoodLoss", log_prob, x.tracer.constant(LABELS), reduction="none")


def mean_cross_entropy(x):
    return call("ReduceMean", cross_entropy(x), keepdims=0)


def log_sigmoid(x):
    return call("Log", call("Sigmoid", x))


def log_one_minus_sigmoid(x):
    return call("Log", 1.0 - call("Sigmoid", x))


def dense(x):
    return call("MatMul", x, x.tracer.constant(np.eye(4)[:, :3])) + np.arange(3.0)


def pool_of(f):
    def relu_then_pool(x):
        return call("MaxPool", call(f, x), kernel_shape=[2, 2], strides=[2, 2], pads=[1, 0, 1, 0])

    return relu_then_pool


def idle(x):
    return call("Dropout", call("Identity", x), ratio=0.5)


CASES = {
    "log of softmax": (log_softmax, X, ["LogSoftmax"]),
    "cross-entropy": (cross_entropy, X, ["SoftmaxCrossEntropyLoss"]),
    "mean cross-entropy": (mean_cross_entropy, X, ["SoftmaxCrossEntropyLoss"]),
    "log of sigmoid": (log_sigmoid, X, ["Neg", "Softplus", "Neg"]),
    "log of one minus sigmoid": (log_one_minus_sigmoid, X, ["Softplus", "Neg"]),
    "bias": (dense, X, ["Gemm"]),
    "relu before pooling": (pool_of("Relu"), IMAGES, ["MaxPool", "Relu"]),
    "tanh before pooling": (pool_of("Tanh"), IMAGES, ["MaxPool", "Tanh"]),
    "nothing to do": (idle, X, []),
}


def scalar_graph(build, x):
    """sum(c · build(x)) with a fixed c, as a training graph over x."""
    tracer = Tracer(TRAIN, "float64")
    with tracing(tracer):
        made = build(tracer.input("x0", "float64", x.shape))
        c = np.random.default_rng(1).standard_normal(made.shape)
        scale = call("ReduceMean", tracer.input(SCALE, "float64", ("N",)), keepdims=0)
        tracer.output("loss", call("ReduceSum", made * c, keepdims=0) * scale)
    return tracer.graph


def own_operators(graph):
    """Operators of the graph without those that `scalar_graph` adds."""
    names = [node.op for node in graph.nodes]
    assert names.count("ReduceMean") == 1, "only the mean of the scale is left"
    return [name for name in names if name not in ("Mul", "ReduceSum", "ReduceMean")]


@pytest.mark.parametrize("name", CASES)
def test_rewritten_graph_is_equal(backend, name):
    build, x, operators = CASES[name]
    written = scalar_graph(build, x)
    rewritten = rewrite(written)
    rewritten.validate()
    assert own_operators(rewritten) == operators
    assert [node.op for node in prune(written).nodes] != [node.op for node in rewritten.nodes]
    before, after = (gradients(backend, graph, {"x0": x})["x0"] for graph in (written, rewritten))
    assert_near(after, before, GRADIENT["float64"])


def test_large_logits_stay_finite(backend):
    x = np.array([[1000.0, -1000.0, 0.0, 0.0]] * 6)
    made = gradients(backend, rewrite(scalar_graph(cross_entropy, x)), {"x0": x})["x0"]
    assert np.isfinite(made).all()


def test_a_shared_activation_is_not_moved():
    def both(x):
        active = call("Relu", x)
        pooled = call("MaxPool", active, kernel_shape=[2, 2])
        return call("ReduceSum", pooled, keepdims=0) + call("ReduceSum", active, keepdims=0)

    graph = rewrite(scalar_graph(both, IMAGES))
    assert [node.op for node in graph.nodes].index("Relu") < [node.op for node in graph.nodes].index("MaxPool")


def test_active_dropout_is_kept():
    graph = rewrite(scalar_graph(lambda x: call("Dropout", x, ratio=0.5, training_mode=1), X))
    assert "Dropout" in own_operators(graph)


def test_bias_of_another_shape_is_not_folded():
    graph = rewrite(scalar_graph(lambda x: call("MatMul", x, np.eye(4)) + np.ones((6, 1)), X))
    assert own_operators(graph) == ["MatMul", "Add"]


def test_layers_keep_their_names_through_a_rewrite():
    tracer = Tracer("named")
    with tracing(tracer), tracer.scope("hidden"):
        x = tracer.input("x", "float32", ("N", 4))
        tracer.output("y", call("MatMul", x, np.eye(4, dtype="float32")) + np.ones(4))
    assert {node.layer for node in rewrite(tracer.graph).nodes} == {"hidden"}
