"""Mixed precision: what is written into the graphs, and what every engine makes of it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from traced import nodes

from portanet import NeuralNet, config_context, layers
from portanet.engine.plan import TRAIN
from portanet.engine.tracing import Tracer, call, tracing
from portanet.exceptions import DeclarationError
from portanet.init import Constant
from portanet.precision import LOSS_SCALE, mixed, unscaled
from portanet.runtime import registry
from portanet.updates import momentum

HALVES = ("bfloat16", "float16")


def small_net(x, w, bias):
    hidden = call("Relu", call("Gemm", x, w, bias) * 2.0)
    return call("Softmax", call("ReduceSum", hidden, axes=[1], keepdims=1) + hidden)


def graph_of(build, **shapes):
    tracer = Tracer("net")
    with tracing(tracer):
        tracer.output("y", build(*[tracer.input(name, "float32", shape) for name, shape in shapes.items()]))
    return tracer.graph


@pytest.mark.parametrize("half", HALVES)
def test_products_are_in_half_and_what_needs_its_digits_is_not(half):
    graph = mixed(graph_of(small_net, x=("N", 3), w=(3, 4), bias=(4,)), half)
    graph.validate()
    by_op = {node.op: graph.types[node.outputs[0]].dtype for node in graph.nodes if node.op != "Cast"}
    assert by_op == {"Gemm": half, "Mul": half, "Relu": half, "ReduceSum": "float32", "Add": "float32",
                     "Softmax": "float32"}  # fmt: skip
    assert graph.types[graph.outputs["y"]].dtype == "float32"


def test_a_value_is_cast_once():
    graph = mixed(graph_of(lambda x, w: call("MatMul", x, w) + call("MatMul", x, w), x=("N", 3), w=(3, 3)), "bfloat16")
    assert nodes(graph).count("Cast") == 3


def test_a_result_in_half_is_cast_back():
    graph = mixed(graph_of(lambda x, w: call("MatMul", x, w), x=("N", 3), w=(3, 4)), "float16")
    assert nodes(graph) == ["Cast", "Cast", "MatMul", "Cast"]
    assert graph.types[graph.outputs["y"]].dtype == "float32"


def test_whole_numbers_and_tables_stay_as_they_are():
    def words(x, table):
        return call("Gather", table, call("Cast", x, to="int32"))

    assert nodes(mixed(graph_of(words, x=("N", 5), table=(9, 4)), "float16")) == ["Cast", "Gather"]


def test_gradients_are_scaled_back_and_a_step_that_overflowed_moves_nothing():
    from evaluate import run_graph

    graph = graph_of(unscaled, grad=("P",))
    scaled = np.array([LOSS_SCALE, -2 * LOSS_SCALE], "float32")
    np.testing.assert_array_equal(run_graph(graph, {"grad": scaled})["y"], [1, -2])
    for bad in (np.inf, -np.inf, np.nan):
        with np.errstate(invalid="ignore"):
            moved = run_graph(graph, {"grad": np.array([1, bad], "float32")})["y"]
        np.testing.assert_array_equal(moved, [0, 0])


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:640] / 16).reshape(-1, 1, 8, 8).astype("float32"), y[:640]


def convnet(**overrides):
    return NeuralNet(
        layers=[
            ("input", layers.InputLayer), ("conv", layers.Conv2DLayer), ("norm", layers.BatchNormLayer),
            ("pool", layers.MaxPool2DLayer), ("dropout", layers.DropoutLayer), ("hidden", layers.DenseLayer),
            ("output", layers.DenseLayer),
        ],
        conv_num_filters=6, conv_filter_size=3, pool_pool_size=2, dropout_p=0.1, hidden_num_units=32, update=momentum,
        update_learning_rate=0.1, max_epochs=4, batch_size=64, train_split=None, random_state=0, **overrides,
    )  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
def test_training_in_half_stays_near_training_in_single(backend, digits, half):
    if half not in registry.ROWS[backend.name].float_types:
        with pytest.raises(DeclarationError, match=rf"floatX='{half}': backend '{backend.name}' computes in"):
            convnet(backend=backend.name, floatX=half).fit(*digits)
        return
    losses = {}
    with config_context(reproducible=True):
        for floatX in ("float32", half):
            net = convnet(backend=backend.name, floatX=floatX, device="cpu").fit(*digits)
            losses[floatX] = [row["train_loss"] for row in net.train_history_]
            assert net.record_["floatX"] == floatX
            assert net.predict_proba(digits[0][:5]).dtype == np.float32
            assert {array.dtype for array in net.get_state()["parameters"].values()} == {np.dtype("float32")}
    np.testing.assert_allclose(losses[half], losses["float32"], rtol=0.05, atol=0.02)
    assert losses[half] != losses["float32"]


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"], indirect=True)
@pytest.mark.parametrize("half", HALVES)
def test_gradients_of_what_is_spread_out_are_summed_in_single(backend, half):
    """Those of a bias have 48 * 20 * 20 terms of one sign: summed in 16 bits they would come to a stop on the way."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(0.5, 1, (48, 1, 22, 22)).astype("float32"), np.linspace(2, 3, 48, dtype="float32")
    found = {}
    for floatX in ("float32", half):
        net = NeuralNet(
            layers=[("input", layers.InputLayer), ("conv", layers.Conv2DLayer), ("bias", layers.BiasLayer),
                    ("pool", layers.GlobalPoolLayer), ("output", layers.DenseLayer)],
            conv_num_filters=3, conv_filter_size=3, conv_nonlinearity=None, output_W=Constant(0.5), regression=True,
            update_learning_rate=0.1, floatX=floatX, backend=backend.name, random_state=0,
        )  # fmt: skip
        plan = net.initialize(X, y).plan_
        program = backend.compile(plan, backend.devices("cpu")[0][0], {})
        program.bind("data", {"input": X, "target": y[:, None]})
        found[floatX] = program.gradients("data", np.arange(48), 0)
        program.close()
    scale = LOSS_SCALE if half == "float16" else 1.0
    for name in ("conv.b", "bias.b", "output.b"):
        np.testing.assert_allclose(found[half][name] / scale, found["float32"][name], rtol=0.03)


def test_the_loss_is_scaled_in_float16_only(digits):
    for floatX, roles in (("float16", {"objective", "loss"}), ("bfloat16", {"loss"}), ("float32", {"loss"})):
        net = convnet(backend="torch", floatX=floatX, device="cpu")
        net.initialize(*digits)
        assert {role for role in net.plan_.graphs[TRAIN].outputs if ":" not in role} == roles
        assert (net.plan_.update.gradient is not None) == (floatX == "float16")
