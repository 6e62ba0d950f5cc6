"""Every layer on every engine against NumPy in float64: outputs, gradients, running statistics and one update.

Layers of a family share a net, since engines compile each net anew. Each stands on a branch of its own, behind a bias
for every value whose gradient is that of the layer's input. The loss is a weighted sum of all branches, so that what
one layer does wrong shows on its branch only.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from reference import DTYPES, SEED, Net, assert_alike, on_reference, opened, plan_of
from tolerances import FORWARD, GRADIENT

from portanet import layers, ops
from portanet.compile import Task
from portanet.engine.graph import TensorType
from portanet.init import Normal, Uniform
from portanet.nonlinearities import elu, gelu, sigmoid, softmax, softplus, tanh

ROWS = np.array([4, 0, 6, 2, 5])
TAIL = np.array([1, 3])
ABSTRACT = {"BaseConvLayer", "BasePoolLayer", "Layer", "MergeLayer"}
VECTOR, STEPS, SEQUENCE, IMAGE = (6,), (5, 3), (3, 9), (4, 7, 6)


class Case(NamedTuple):
    """A layer, or a few, over inputs of that shape; its layers are named after it."""

    shape: tuple[int, ...]
    build: Callable[[layers.Layer], layers.Layer]


def one(kind, shape, /, **arguments):
    return Case(shape, lambda x: kind(x, **arguments))


def shared_weights(x):
    """Two layers with one W: its gradient is the sum of both."""
    first = layers.DenseLayer(x, num_units=6, b=None, nonlinearity=tanh)
    return layers.DenseLayer(first, num_units=6, W=first.W, nonlinearity=None)


class Swish(layers.Layer):
    """A layer of a user's own: x · sigmoid(s x) over every other value."""

    def __init__(self, incoming, name=None):
        super().__init__(incoming, name)
        self.s = self.add_param(Normal(1.0), self.input_shape[1:], "s")

    def get_output_for(self, input, **kwargs):
        return (input * ops.sigmoid(self.s * input))[:, ::2]


def twice(x):
    """The layer, and something else of the same shape, for layers that join."""
    return [x, layers.ScaleLayer(x, scales=Normal(1.0))]


FAMILIES = {
    "dense": {
        "dense": one(layers.DenseLayer, VECTOR, num_units=4, b=Normal(0.5)),
        "dense_on_images": one(layers.DenseLayer, IMAGE, num_units=3, nonlinearity=sigmoid),
        "dense_on_last_axis": one(layers.DenseLayer, STEPS, num_units=2, num_leading_axes=-1, nonlinearity=gelu),
        "dense_shared": Case(VECTOR, shared_weights),
        "dense_without_bias": one(layers.DenseLayer, VECTOR, num_units=1, b=None, nonlinearity=None),
        "own": Case(STEPS, Swish),
        "nonlinearity": one(layers.NonlinearityLayer, VECTOR, nonlinearity=softmax),
        "nonlinearity_of_images": one(layers.NonlinearityLayer, IMAGE, nonlinearity=softplus),
        "bias": one(layers.BiasLayer, IMAGE, b=Normal(0.5)),
        "bias_by_row": one(layers.BiasLayer, IMAGE, b=Normal(0.5), shared_axes=(0, 1, 3)),
        "scale": one(layers.ScaleLayer, IMAGE, scales=Normal(1.0)),
        "scale_each": one(layers.ScaleLayer, STEPS, scales=Normal(1.0), shared_axes=0),
    },
    "conv": {
        "conv": one(layers.Conv2DLayer, IMAGE, num_filters=3, filter_size=3, b=Normal(0.5)),
        "conv_same_even": one(layers.Conv2DLayer, IMAGE, num_filters=5, filter_size=(2, 4), stride=2, pad="same"),
        "conv_full": one(layers.Conv2DLayer, IMAGE, num_filters=2, filter_size=(3, 2), pad="full", nonlinearity=tanh),
        "conv_stride": one(layers.Conv2DLayer, IMAGE, num_filters=3, filter_size=2, stride=(3, 2), pad=[(0, 1), 1]),
        "conv_groups": one(layers.Conv2DLayer, IMAGE, num_filters=6, filter_size=2, num_groups=2, b=None),
        "conv_depthwise": one(layers.Conv2DLayer, IMAGE, num_filters=4, filter_size=3, num_groups=4, pad="same"),
        "conv_dilated": one(layers.Conv2DLayer, IMAGE, num_filters=2, filter_size=(3, 2), dilation=(2, 3)),
        "conv_untied": one(layers.Conv2DLayer, IMAGE, num_filters=2, filter_size=4, untie_biases=True, b=Normal(0.5)),
        "conv_1x1": one(layers.Conv2DLayer, IMAGE, num_filters=3, filter_size=1, nonlinearity=elu),
        "conv1d": one(layers.Conv1DLayer, SEQUENCE, num_filters=4, filter_size=4, stride=2, pad="same"),
        "conv1d_dilated": one(layers.Conv1DLayer, SEQUENCE, num_filters=2, filter_size=3, dilation=2, b=Normal(0.5)),
    },
    "pool": {
        "max_pool": one(layers.MaxPool2DLayer, IMAGE, pool_size=2),
        "max_pool_overlapping": one(layers.MaxPool2DLayer, IMAGE, pool_size=3, stride=2, pad=1),
        "max_pool_border": one(layers.MaxPool2DLayer, IMAGE, pool_size=(2, 4), ignore_border=False),
        "max_pool_1d": one(layers.MaxPool1DLayer, SEQUENCE, pool_size=4, stride=2, ignore_border=False),
        "pool_average": one(layers.Pool2DLayer, IMAGE, pool_size=2, mode="average_exc_pad"),
        "pool_average_padded": one(
            layers.Pool2DLayer, IMAGE, pool_size=3, stride=2, pad=1, ignore_border=False, mode="average_exc_pad"
        ),
        "pool_average_inc_pad": one(
            layers.Pool2DLayer, IMAGE, pool_size=(2, 3), pad=(1, 2), stride=(1, 2), mode="average_inc_pad"
        ),
        "pool_1d": one(layers.Pool1DLayer, SEQUENCE, pool_size=3, stride=2, pad="same", mode="average_exc_pad"),
        "global_mean": one(layers.GlobalPoolLayer, IMAGE),
        "global_max": one(layers.GlobalPoolLayer, SEQUENCE, pool_function=ops.max),
    },
    "shape": {
        "flatten": one(layers.FlattenLayer, IMAGE, outdim=3),
        "reshape": one(layers.ReshapeLayer, IMAGE, shape=([0], 6, [2], -1)),
        "reshape_batch": one(layers.ReshapeLayer, STEPS, shape=(-1, 15)),
        "pad": one(layers.PadLayer, IMAGE, width=[2, (0, 1)], val=0.5),
        "pad_channels": one(layers.PadLayer, SEQUENCE, width=[(1, 0), 2], batch_ndim=1),
        "dimshuffle": one(layers.DimshuffleLayer, IMAGE, pattern=(0, 3, "x", 1, 2)),
        "dimshuffle_channels_last": one(layers.DimshuffleLayer, IMAGE, pattern=(0, 2, 3, 1)),
        "concat": Case(IMAGE, lambda x: layers.ConcatLayer(twice(x))),
        "concat_rows": Case(IMAGE, lambda x: layers.ConcatLayer([x, layers.PadLayer(x, width=[(1, 0), 0])], axis=-2)),
        "sum": Case(VECTOR, lambda x: layers.ElemwiseSumLayer([*twice(x), x], coeffs=[1, -2.5, 0.5])),
        "merge": Case(IMAGE, lambda x: layers.ElemwiseMergeLayer(twice(x), ops.maximum)),
        "merge_broadcast": Case(
            IMAGE,
            lambda x: layers.ElemwiseMergeLayer(
                [x, layers.ReshapeLayer(layers.GlobalPoolLayer(x), ([0], [1], 1, 1))], operator.mul
            ),
        ),
    },
    "training": {
        "batch_norm": one(layers.BatchNormLayer, IMAGE, mean=Normal(0.5), var=Uniform((0.5, 2.0)), gamma=Normal(1.0)),
        "batch_norm_vectors": one(layers.BatchNormLayer, VECTOR, alpha=0.3, epsilon=0.01, beta=Normal(0.5)),
        "batch_norm_each": one(layers.BatchNormLayer, STEPS, axes=0, gamma=Normal(1.0)),
        "batch_norm_plain": one(layers.BatchNormLayer, SEQUENCE, beta=None, gamma=None),
        "batch_norm_of_conv": Case(
            IMAGE, lambda x: layers.batch_norm(layers.Conv2DLayer(x, num_filters=3, filter_size=2))
        ),
        "dropout": one(layers.DropoutLayer, VECTOR, p=0.3),
        "dropout_images": one(layers.DropoutLayer, IMAGE),
        "dropout_channels": one(layers.DropoutLayer, IMAGE, p=0.4, shared_axes=(2, 3)),
        "dropout_unscaled": one(layers.DropoutLayer, SEQUENCE, p=0.2, rescale=False),
        "noise": one(layers.GaussianNoiseLayer, IMAGE, sigma=0.3),
        "dropout_after_noise": Case(VECTOR, lambda x: layers.DropoutLayer(layers.GaussianNoiseLayer(x, 0.5), p=0.6)),
    },
}  # fmt: skip
CASES = [(family, name) for family, cases in FAMILIES.items() for name in cases]


class Branches(NamedTuple):
    """The net of a family, its data, and the layers of each case by name."""

    net: Net
    arrays: dict[str, np.ndarray]
    members: dict[str, list[str]]


@functools.cache
def branches(family):
    sources, members, tops = {}, {}, []
    for name, case in FAMILIES[family].items():
        source = sources.setdefault(case.shape, layers.InputLayer((None, *case.shape), f"input{len(sources)}"))
        before = layers.BiasLayer(source, b=Normal(0.5), shared_axes=0, name=f"{name}_before")
        top = case.build(before)
        own = [layer for layer in layers.get_all_layers(top) if layer is not source and layer is not before]
        for place, layer in enumerate(own):
            layer.name = name if layer is top else f"{name}_{place}"
        members[name] = [before.name, *(layer.name for layer in own)]
        tops.append(layers.FlattenLayer(top, name=f"{name}_flat"))
    rng = np.random.default_rng(len(tops))
    net = layers.ConcatLayer(tops, name="output")
    arrays = {source.name: rng.standard_normal((7, *shape), "float32") for shape, source in sources.items()}
    arrays["target"] = rng.standard_normal((7, net.output_shape[1]), "float32")
    return Branches(Net(net, lambda dtype: Task(TensorType(dtype, ("N", net.output_shape[1])), weighted_sum)), arrays,
                    members)  # fmt: skip


def weighted_sum(prediction, target):
    return ops.sum(prediction * target, axis=1)


def observe(backend, found, dtype):
    """By layer, what can be seen of it; under "" what is seen of the net as a whole."""
    plan = plan_of(found.net, dtype)
    arrays = {name: array.astype(dtype) for name, array in found.arrays.items()}
    inputs = {name: array[TAIL] for name, array in arrays.items() if name != "target"}
    names = [name for own in found.members.values() for name in own]
    with opened(backend, plan) as program:
        program.bind("data", arrays)
        seen = {name: {"output": array} for name, array in zip(names, program.outputs(inputs, names), strict=True)}
        whole = {"prediction": program.predict(inputs)}
        whole["evaluation loss"] = program.evaluate("data", [ROWS])[0]
        for name, array in program.gradients("data", ROWS, SEED).items():
            seen[layer_of(name)][f"gradient of {name}"] = array
        whole["training loss"] = program.train("data", [ROWS], {"learning_rate": [1.0]}, SEED)
        state = program.get_state()
        for name, array in {**state["parameters"], **state["running"]}.items():
            seen[layer_of(name)][f"{name} after one update"] = array
    return {**seen, "": whole}


def layer_of(parameter):
    return parameter.rpartition(".")[0]


@functools.cache
def wanted(family, dtype):
    return on_reference(observe, branches(family), dtype)


@functools.cache
def got(backend, family, dtype):
    return observe(backend, branches(family), dtype)


def assert_layer(seen, right, members, dtype):
    """Outputs first: where they are wrong already, everything after them is."""
    for kind, tolerance in (("output", FORWARD), ("gradient", GRADIENT), ("", GRADIENT)):
        for layer in members:
            chosen = {what: array for what, array in right[layer].items() if kind in what}
            own = {what: array for what, array in seen[layer].items() if kind in what}
            assert_alike(own, chosen, dtype, tolerance[dtype], f"layer '{layer}', ")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("family", "name"), CASES)
def test_layer_is_the_same_everywhere(backend, family, name, dtype):
    seen, right = got(backend, family, dtype), wanted(family, dtype)
    assert_layer(seen, right, branches(family).members[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_prediction_of_the_whole_net(backend, family, dtype):
    """Losses come back as float64, whatever the net computes in."""
    seen, right = dict(got(backend, family, dtype)[""]), dict(wanted(family, dtype)[""])
    for loss in ("evaluation loss", "training loss"):
        assert_alike({loss: seen.pop(loss)}, {loss: right.pop(loss)}, "float64", GRADIENT[dtype])
    assert_alike(seen, right, dtype, FORWARD[dtype])


def test_every_layer_has_a_case():
    tested = {type(layer).__name__ for family in FAMILIES for layer in layers.get_all_layers(branches(family).net.top)}
    public = {name for name in layers.__all__ if isinstance(found := getattr(layers, name), type)
              and issubclass(found, layers.Layer)}  # fmt: skip
    assert public - ABSTRACT <= tested


def test_every_parameter_moves():
    """A gradient of zero would agree with anything that forgets it."""
    for family in FAMILIES:
        right = wanted(family, "float64")
        still = [
            what for seen in right.values() for what, array in seen.items() if "gradient" in what and not array.any()
        ]
        assert not still
