import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet.layers import DropoutLayer, GaussianNoiseLayer

ONES = np.ones((200, 8, 5, 5))


@pytest.mark.parametrize("layer", [DropoutLayer((None, 3)), GaussianNoiseLayer((None, 3))], ids=repr)
def test_nothing_happens_when_predicting(layer):
    assert nodes(trace(layer, deterministic=True)) == []
    assert nodes(trace(layer, deterministic=False)) != []
    assert layer.output_shape == (None, 3)
    assert layer.params == []


@pytest.mark.parametrize("layer", [DropoutLayer((None, 3), p=0), GaussianNoiseLayer((None, 3), sigma=0)], ids=repr)
def test_no_noise_is_no_node(layer):
    assert nodes(trace(layer, deterministic=False)) == []


def test_plain_dropout_is_onnx_dropout():
    graph = trace(DropoutLayer((None, 3), p=0.3), deterministic=False)
    assert nodes(graph) == ["Dropout"]
    assert graph.nodes[0].attrs == {"ratio": 0.3, "training_mode": 1}


@pytest.mark.parametrize("shared_axes", [(), (2, 3), (-1,)])
def test_kept_values_are_rescaled(shared_axes):
    layer = DropoutLayer((None, 8, 5, 5), p=0.25, shared_axes=shared_axes)
    y = compute(layer, ONES, deterministic=False)["y"]
    np.testing.assert_allclose(np.unique(y), [0.0, 1 / 0.75])
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.03)


def test_kept_values_stay_without_rescale():
    y = compute(DropoutLayer((None, 8, 5, 5), p=0.25, rescale=False), ONES, deterministic=False)["y"]
    np.testing.assert_array_equal(np.unique(y), [0.0, 1.0])
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.03)


def test_shared_axes_drop_whole_channels():
    y = compute(DropoutLayer((None, 8, 5, 5), shared_axes=(2, 3)), ONES, deterministic=False)["y"]
    assert (y == y[:, :, :1, :1]).all()
    assert y[:, :, 0, 0].std() > 0


def test_gaussian_noise_has_its_sigma():
    y = compute(GaussianNoiseLayer((None, 8, 5, 5), sigma=0.3), ONES, deterministic=False)["y"]
    assert y.mean() == pytest.approx(1.0, abs=0.01)
    assert y.std() == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DropoutLayer((None, 3), p=1.0), ValueError, "p must be at least 0 and below 1, got 1.0"),
        (lambda: DropoutLayer((None, 3), p=-0.1), ValueError, "p must be at least 0 and below 1"),
        (lambda: DropoutLayer((None, 3), p="half"), TypeError, "p must be a number, got 'half'"),
        (lambda: DropoutLayer((None, 3), p=float("nan")), ValueError, "p must be finite"),
        (lambda: DropoutLayer((None, 3, 4), shared_axes=(0, 2)), ValueError, "must not hold 0"),
        (
            lambda: DropoutLayer((None, 3, 4), shared_axes=3),
            ValueError,
            "names axis 3, the input has axes 0 to 2",
        ),
        (lambda: DropoutLayer((None, 3, 4), shared_axes=(2, -1)), ValueError, "names one axis twice"),
        (
            lambda: DropoutLayer((None, 3, 4), shared_axes="auto"),
            TypeError,
            "must be an axis or a tuple of axes",
        ),
        (lambda: GaussianNoiseLayer((None, 3), sigma=-1), ValueError, "sigma must not be negative, got -1"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
