import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import init
from portanet.layers import BiasLayer, NonlinearityLayer, ScaleLayer
from portanet.nonlinearities import rectify, tanh

X = np.random.default_rng(3).normal(size=(4, 3, 5, 6))
SHARED = [
    ("auto", (3,), (3, 1, 1)),
    (0, (3, 5, 6), (3, 5, 6)),
    ((0, 1), (5, 6), (5, 6)),
    ((0, 2), (3, 6), (3, 1, 6)),
    ((0, -1), (3, 5), (3, 5, 1)),
    ((0, 1, 2, 3), (), ()),
]


def test_nonlinearity():
    assert NonlinearityLayer((None, 4)).nonlinearity is rectify
    assert nodes(trace(NonlinearityLayer((None, 4), tanh))) == ["Tanh"]
    assert nodes(trace(NonlinearityLayer((None, 4), None))) == []


@pytest.mark.parametrize(("axes", "shape", "spread"), SHARED)
def test_bias_is_spread_over_the_shared_axes(axes, shape, spread):
    layer = BiasLayer((None, 3, 5, 6), b=init.Normal(1.0), shared_axes=axes, name="l")
    assert layer.b.shape == shape
    assert layer.output_shape == (None, 3, 5, 6)
    result = compute(layer, X)
    np.testing.assert_allclose(result["y"], X + result["l.b"].reshape(spread))


@pytest.mark.parametrize(("axes", "shape", "spread"), SHARED)
def test_scales_are_spread_over_the_shared_axes(axes, shape, spread):
    layer = ScaleLayer((None, 3, 5, 6), scales=init.Normal(1.0), shared_axes=axes, name="l")
    assert layer.scales.shape == shape
    result = compute(layer, X)
    np.testing.assert_allclose(result["y"], X * result["l.scales"].reshape(spread))


def test_two_axes():
    assert BiasLayer((None, 7)).b.shape == (7,)
    assert nodes(trace(BiasLayer((None, 7)))) == ["Add"]


def test_neither_is_regularised():
    assert BiasLayer((None, 7)).b.tags == {"trainable"}
    assert ScaleLayer((None, 7)).scales.tags == {"trainable"}


def test_without_bias_nothing_is_added():
    layer = BiasLayer((None, 7), b=None)
    assert layer.params == []
    assert nodes(trace(layer)) == []


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ("all", ValueError, "must be 'auto', an axis or a tuple of axes, got 'all'"),
        ((1, 2), ValueError, "must hold 0, the batch"),
        ((0, 7), ValueError, "names axis 7, the input has axes 0 to 3"),
        (None, TypeError, "an axis or a tuple of axes, got None"),
    ],
)
@pytest.mark.parametrize("kind", [BiasLayer, ScaleLayer])
def test_bad_shared_axes(kind, axes, error, message):
    with pytest.raises(error, match=f"shared_axes .*{message}"):
        kind((None, 3, 5, 6), shared_axes=axes)
