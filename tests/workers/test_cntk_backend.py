"""What is CNTK's own in its adapter; that it computes right is proven by tests/parity."""

import numpy as np
import pytest
from tolerances import assert_near

from portanet import NeuralNet, layers
from portanet.engine.graph import GraphError
from portanet.engine.lowering import UnsupportedOperator
from portanet.engine.plan import OUTPUTS, Plan
from portanet.engine.tracing import Tracer, call, tracing
from portanet.exceptions import BackendUnavailable
from portanet.runtime import registry
from portanet.updates import adam

CPU = {"kind": "cpu", "index": 0, "name": "CPU"}


@pytest.fixture(scope="module")
def engine(missing):
    try:
        return registry.load("cntk")
    except BackendUnavailable as error:
        missing("cntk", str(error))


def outputs(engine, write, **arrays):
    """Results of a graph that `write` makes of inputs of the arrays' types."""
    tracer = Tracer(OUTPUTS)
    with tracing(tracer):
        results = write(*[tracer.input(name, str(x.dtype), x.shape) for name, x in arrays.items()])
    for place, tensor in enumerate(results):
        tracer.output(f"layer:{place}", tensor)
    plan = Plan("float32", tracer.graph.inputs, {}, {}, {}, {OUTPUTS: tracer.graph}, [], None, {})
    program = engine.compile(plan, CPU, {})
    try:
        return program.outputs(arrays, [str(place) for place in range(len(results))])
    finally:
        program.close()


def net_of(**parameters):
    return NeuralNet(
        layers=[
            ("input", layers.InputLayer), ("conv", layers.Conv2DLayer), ("norm", layers.BatchNormLayer),
            ("output", layers.DenseLayer),
        ],
        input_shape=(None, 1, 6, 5), conv_num_filters=3, conv_filter_size=(3, 2), update=adam,
        update_learning_rate=0.01, batch_size=8, train_split=None, random_state=0, verbose=0, backend="cntk",
        **{"device": "cpu", "max_epochs": 2, **parameters},
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((20, 1, 6, 5)).astype("float32")
    return X, (X.mean((1, 2, 3)) > 0).astype(int)


def test_only_a_cpu_is_found(engine):
    found, absent = engine.devices()
    assert [row["kind"] for row in found] == ["cpu"] and [row["kind"] for row in absent] == ["gpu"]
    assert absent[0]["reason"] and absent[0]["fix"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_refused_when_compiling(engine, dtype):
    with pytest.raises(UnsupportedOperator, match=f"can't compute in {dtype}.*float32 or float64"):
        outputs(engine, lambda x: [call("Cast", x, to=dtype)], x=np.ones(3, "float32"))


def test_whole_numbers_that_a_double_cannot_hold_are_refused(engine):
    most = np.array([2**53, -(2**53)])
    (same,) = outputs(engine, lambda x: [call("Identity", x)], x=most)
    np.testing.assert_array_equal(same, most)
    with pytest.raises(ValueError, match=r"2\*\*53"):
        outputs(engine, lambda x: [call("Identity", x)], x=most * 2)


def test_whole_numbers_stay_exact(engine):
    a, b = np.array([2**52 - 1, -7, 49, 2**31]), np.array([3, 2, -49, 65537])
    total, quotient = outputs(engine, lambda a, b: [a + b, call("Div", a, b)], a=a, b=b)
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(quotient, [(2**52 - 1) // 3, -3, -1, 2**31 // 65537])


def test_unsigned_numbers_go_round(engine):
    a, b = np.array([250, 3, 16], "uint8"), np.array([10, 5, 16], "uint8")
    for got, wanted in zip(outputs(engine, lambda a, b: [a + b, a - b, a * b], a=a, b=b), (a + b, a - b, a * b),
                           strict=True):  # fmt: skip
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges_that_cntk_rounds_off(engine, dtype):
    """CNTK itself has log(0) = -85, 1 / 0 = 0 and sqrt(-1) = 0."""
    x = np.array([0.0, -1.0, 1e-37, 4.0], dtype)
    tiny = np.array([np.finfo(dtype).tiny * 4, 1e-30, 1.0, 3e37], dtype)
    one = np.ones(4, dtype)
    results = outputs(engine, lambda x, tiny, one: [call("Log", x), call("Sqrt", x), call("Reciprocal", x),
                                                    call("Div", one, x), call("Log", tiny)],
                      x=x, tiny=tiny, one=one)  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = [np.log(x), np.sqrt(x), 1 / x, one / x, np.log(tiny)]
    for got, right in zip(results, wanted, strict=True):
        assert_near(got, right)


def test_dilated_convolution_which_cntk_lacks(engine):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 2, 7, 8)), rng.standard_normal((3, 2, 2, 3))
    (got,) = outputs(engine, lambda x, w: [call("Conv", x, w, dilations=[3, 2])], x=x, w=w)
    wanted = sum(
        np.einsum("nchw,oc->nohw", x[:, :, 3 * i : 3 * i + 4, 2 * j : 2 * j + 4], w[:, :, i, j])
        for i in range(2)
        for j in range(3)
    )
    assert_near(got, wanted)


def test_gathering_from_too_many_entries_is_refused(engine):
    with pytest.raises((UnsupportedOperator, GraphError), match=r"2\*\*24"):
        outputs(engine, lambda x, at: [call("Gather", x, at)],
                x=np.zeros((2**24 + 1, 1), "float32"), at=np.array([0, 1]))  # fmt: skip


def test_programs_that_share_functions_keep_states_of_their_own(engine, data):
    first, second = net_of().fit(*data), net_of(max_epochs=1).fit(*data)
    before = first.predict_proba(data[0])
    second.partial_fit(*data)
    np.testing.assert_array_equal(first.predict_proba(data[0]), before)
    first.partial_fit(*data, epochs=1)
    second.partial_fit(*data, epochs=1)
    np.testing.assert_allclose(first.predict_proba(data[0]), second.predict_proba(data[0]), rtol=1e-5, atol=1e-6)


def test_the_record_says_what_ran(engine, data):
    record = net_of().fit(*data).record_
    assert (record["engine"], record["version"], record["device"]) == ("cntk", "2.7", "cpu")
    assert record["threads"] >= 1 and record["kernels"]["SoftmaxCrossEntropyLoss"] == "fused"
