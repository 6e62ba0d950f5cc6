import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import init
from portanet.layers import DenseLayer, InputLayer
from portanet.nonlinearities import rectify, tanh


def test_parameters():
    layer = DenseLayer((None, 4), 3, name="hidden")
    assert [(p.full_name, p.shape) for p in layer.params] == [("hidden.W", (4, 3)), ("hidden.b", (3,))]
    assert layer.W.tags == {"trainable", "regularizable"}
    assert layer.b.tags == {"trainable"}
    assert isinstance(layer.W.spec, init.GlorotUniform)
    assert layer.nonlinearity is rectify


@pytest.mark.parametrize(
    ("incoming", "leading", "weights", "shape"),
    [
        ((None, 4), 1, (4, 3), (None, 3)),
        ((None, 2, 5, 5), 1, (50, 3), (None, 3)),
        ((None, 2, 5, 6), 2, (30, 3), (None, 2, 3)),
        ((None, 2, 5, 6), -1, (6, 3), (None, 2, 5, 3)),
        ((None, 2, 5, 6), -3, (60, 3), (None, 3)),
    ],
)
def test_shapes(incoming, leading, weights, shape):
    layer = DenseLayer(incoming, 3, num_leading_axes=leading)
    assert layer.W.shape == weights
    assert layer.output_shape == shape
    trace(layer)


def test_values():
    x = np.random.default_rng(1).normal(size=(6, 2, 3))
    result = compute(DenseLayer((None, 2, 3), 4, b=init.Normal(1.0), nonlinearity=tanh, name="d"), x)
    np.testing.assert_allclose(result["y"], np.tanh(x.reshape(6, 6) @ result["d.W"] + result["d.b"]))


def test_values_on_the_last_axis():
    x = np.random.default_rng(1).normal(size=(6, 2, 3))
    result = compute(DenseLayer((None, 2, 3), 4, num_leading_axes=-1, nonlinearity=None, name="d"), x)
    np.testing.assert_allclose(result["y"], x @ result["d.W"] + result["d.b"])


def test_without_bias_and_nonlinearity_it_is_a_product():
    layer = DenseLayer((None, 4), 3, b=None, nonlinearity=None)
    assert layer.b is None
    assert [p.name for p in layer.params] == ["W"]
    assert nodes(trace(layer)) == ["MatMul"]


@pytest.mark.parametrize(
    ("incoming", "arguments", "error", "message"),
    [
        ((None, 4), {"num_units": 0}, ValueError, "num_units must be at least 1, got 0"),
        ((None, 4), {"num_units": 2.5}, TypeError, "num_units must be a whole number, got 2.5"),
        ((None, 4), {"num_units": True}, TypeError, "num_units must be a whole number, got True"),
        ((None,), {"num_units": 3}, ValueError, r"features after the batch, got \(N,\)"),
        (
            (None, 4),
            {"num_units": 3, "num_leading_axes": 2},
            ValueError,
            r"must be 1 to 1, or -1 to -1.*\(N, 4\); got 2",
        ),
        ((None, 4, 5), {"num_units": 3, "num_leading_axes": 0}, ValueError, "must be 1 to 2, or -1 to -2"),
        ((None, 4, 5), {"num_units": 3, "num_leading_axes": -3}, ValueError, "must be at least -2, got -3"),
        ((None, 4), {"num_units": 3, "nonlinearity": "relu"}, TypeError, "write nonlinearities.rectify"),
        (7, {"num_units": 3}, TypeError, "a layer or a shape, got 7"),
    ],
)
def test_bad_arguments(incoming, arguments, error, message):
    with pytest.raises(error, match=message):
        DenseLayer(incoming, **arguments)


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"layer 'd': MatMul: operands of different dtypes"):
        DenseLayer(InputLayer((None, 4), dtype="int32"), 3, name="d").output_shape  # noqa: B018
