import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import init
from portanet.layers import (
    BatchNormLayer,
    Conv2DLayer,
    DenseLayer,
    Layer,
    NonlinearityLayer,
    batch_norm,
    get_all_layers,
    get_all_params,
)
from portanet.nonlinearities import identity, rectify

X = 3.0 + 2.0 * np.random.default_rng(0).normal(size=(6, 3, 4, 5))
RANDOM = {
    "beta": init.Normal(1.0),
    "gamma": init.Normal(1.0),
    "mean": init.Normal(1.0),
    "var": init.Uniform((1, 2)),
}


def test_parameters():
    layer = BatchNormLayer((None, 3, 4, 5), name="bn")
    tags = {p.full_name: p.tags for p in layer.params}
    assert tags == {
        "bn.beta": {"trainable"},
        "bn.gamma": {"trainable", "regularizable"},
        "bn.mean": set(),
        "bn.var": set(),
    }
    assert (layer.epsilon, layer.alpha) == (1e-4, 0.1)


@pytest.mark.parametrize(
    ("incoming", "axes", "resolved", "shape"),
    [
        ((None, 7), "auto", (0,), (7,)),
        ((None, 3, 4, 5), "auto", (0, 2, 3), (3,)),
        ((None, 3, 4, 5), 0, (0,), (3, 4, 5)),
        ((None, 3, 4, 5), (0, 1), (0, 1), (4, 5)),
        ((None, 3, 4, 5), (-1, 0), (0, 3), (3, 4)),
    ],
)
def test_axes(incoming, axes, resolved, shape):
    layer = BatchNormLayer(incoming, axes=axes)
    assert layer.axes == resolved
    assert all(p.shape == shape for p in layer.params)
    assert layer.output_shape == incoming


@pytest.mark.parametrize("axes", ["auto", 0, (0, 1), (0, 3), (0, 2, 3)])
@pytest.mark.parametrize("left_out", [(), ("beta",), ("gamma",), ("beta", "gamma")])
@pytest.mark.parametrize("deterministic", [True, False])
def test_values(axes, left_out, deterministic):
    given = dict(RANDOM, **dict.fromkeys(left_out))
    layer = BatchNormLayer((None, 3, 4, 5), axes=axes, alpha=0.3, name="bn", **given)
    result = compute(layer, X, deterministic=deterministic)

    def spread(values):
        return np.expand_dims(values, layer.axes)

    mean, var = result["bn.mean"], result["bn.var"]
    if not deterministic:
        batch_mean, batch_var = X.mean(axis=layer.axes), X.var(axis=layer.axes)
        np.testing.assert_allclose(result["assign:bn.mean"], 0.7 * mean + 0.3 * batch_mean)
        np.testing.assert_allclose(result["assign:bn.var"], 0.7 * var + 0.3 * batch_var)
        mean, var = batch_mean, batch_var
    wanted = (X - spread(mean)) / np.sqrt(spread(var) + 1e-4)
    wanted = wanted * spread(result.get("bn.gamma", 1.0) * np.ones_like(mean))
    wanted = wanted + spread(result.get("bn.beta", 0.0) * np.ones_like(mean))
    np.testing.assert_allclose(result["y"], wanted)


def test_the_usual_axes_are_one_operator():
    for axes in ("auto", (0, 2, 3)):
        for deterministic in (True, False):
            graph = trace(BatchNormLayer((None, 3, 4, 5), axes=axes), deterministic)
            assert nodes(graph) == ["BatchNormalization"]
            assert graph.nodes[0].attrs["momentum"] == pytest.approx(0.9)
            assert graph.nodes[0].attrs["epsilon"] == 1e-4


def test_statistics_move_only_while_training():
    layer = BatchNormLayer((None, 7), name="bn")
    assert set(trace(layer, deterministic=False).outputs) == {"y", "assign:bn.mean", "assign:bn.var"}
    assert set(trace(layer, deterministic=True).outputs) == {"y"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"axes": (2, 3)}, ValueError, "axes must hold 0, the batch"),
        ({"axes": "all"}, ValueError, "axes must be 'auto'"),
        ({"axes": (0, 9)}, ValueError, "axes names axis 9"),
        ({"epsilon": 0}, ValueError, "epsilon must be above 0, got 0"),
        ({"alpha": 1.5}, ValueError, "alpha must lie within 0 and 1, got 1.5"),
        ({"alpha": "0.1"}, TypeError, "alpha must be a number, got '0.1'"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        BatchNormLayer((None, 3, 4, 5), **arguments)


def test_batch_norm_comes_between():
    conv = Conv2DLayer((None, 3, 8, 8), 4, 3, name="conv")
    top = batch_norm(conv, alpha=0.2)
    assert [type(layer) for layer in get_all_layers(top)][1:] == [
        Conv2DLayer,
        BatchNormLayer,
        NonlinearityLayer,
    ]
    assert (top.name, top.incoming.name) == ("conv_bn_nonlin", "conv_bn")
    assert top.incoming.alpha == 0.2
    assert top.nonlinearity is rectify
    assert conv.nonlinearity is identity
    assert conv.b is None
    assert [p.full_name for p in get_all_params(top, trainable=True)] == [
        "conv.W",
        "conv_bn.beta",
        "conv_bn.gamma",
    ]
    assert nodes(trace(top)) == ["Conv", "BatchNormalization", "Relu"]


def test_batch_norm_of_a_linear_layer_needs_no_nonlinearity():
    top = batch_norm(DenseLayer((None, 3), 4, nonlinearity=None), name="norm")
    assert type(top) is BatchNormLayer
    assert top.name == "norm"
    assert batch_norm(DenseLayer((None, 3), 4)).name is None


def test_batch_norm_leaves_another_layers_bias_alone():
    first = DenseLayer((None, 4), 4, name="first")
    second = DenseLayer(first, 4, b=first.b, name="second")
    batch_norm(second)
    assert second.b is None
    assert [p.name for p in first.params] == ["W", "b"]


def test_batch_norm_infers_the_shape_anew():
    def halves(x):
        return x[:, ::2]

    layer = DenseLayer((None, 4), 6, nonlinearity=halves)
    assert layer.output_shape == (None, 3)
    top = batch_norm(layer)
    assert top.input_shape == (None, 6)
    assert top.output_shape == (None, 3)


def test_batch_norm_of_any_layer():
    class Double(Layer):
        def get_output_for(self, input, **kwargs):
            return 2 * input

    assert type(batch_norm(Double((None, 3)))) is BatchNormLayer
    with pytest.raises(TypeError, match=r"takes a layer, got \(None, 3\)"):
        batch_norm((None, 3))
