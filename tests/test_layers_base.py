import copy
import pickle

import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import init, ops
from portanet import layers as ly


class Maxout(ly.Layer):
    """Largest of each pair of neighbours."""

    def get_output_for(self, input, **kwargs):
        pairs = ops.reshape(input, [0, -1, 2])
        return ops.max(pairs, axis=2)


class Quadratic(ly.Layer):
    def __init__(self, incoming, a=init.Constant(2.0), **kwargs):
        super().__init__(incoming, **kwargs)
        self.a = self.add_param(a, self.input_shape[1:], "a", slow=True)

    def get_output_for(self, input, deterministic=False, **kwargs):
        return self.a * input**2 if deterministic else self.a * input


class Gate(ly.MergeLayer):
    def get_output_for(self, inputs, **kwargs):
        signal, gate = inputs
        return signal * ops.sigmoid(gate)


def test_custom_layer_infers_its_shape():
    layer = Maxout((None, 6))
    assert layer.output_shape == (None, 3)
    x = np.array([[1.0, 5.0, -2.0, -3.0, 0.0, 0.5]])
    np.testing.assert_array_equal(compute(layer, x)["y"], [[5.0, -2.0, 0.5]])


def test_custom_layer_with_a_parameter_and_a_mode():
    layer = Quadratic((None, 3), name="q")
    assert [(p.full_name, p.shape) for p in layer.params] == [("q.a", (3,))]
    assert layer.a.tags == {"slow", "trainable", "regularizable"}
    x = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(compute(layer, x)["y"], 2 * x**2)
    np.testing.assert_array_equal(compute(layer, x, deterministic=False)["y"], 2 * x)


def test_custom_merge_layer():
    one, two = ly.InputLayer((None, 4)), ly.InputLayer((None, 4))
    layer = Gate([one, two])
    assert layer.output_shape == (None, 4)
    x, gate = np.ones((2, 4)), np.zeros((2, 4))
    np.testing.assert_array_equal(compute(layer, x, gate)["y"], 0.5 * x)


def test_custom_layer_between_others():
    net = ly.DenseLayer(Maxout(ly.DenseLayer((None, 5), 8)), 2)
    assert net.W.shape == (4, 2)
    assert nodes(trace(net)).count("ReduceMax") == 1


def test_shared_parameter():
    first = ly.DenseLayer((None, 4), 4, name="first")
    second = ly.DenseLayer(first, 4, W=first.W, name="second")
    assert second.W is first.W
    graph = trace(second)
    assert [name for name in graph.inputs if name.endswith("W")] == ["first.W"]


def test_layers_are_copied_and_pickled():
    net = ly.DenseLayer(ly.DropoutLayer(ly.InputLayer((None, 4), name="in"), name="drop"), 3, name="out")
    for same in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert same.output_shape == (None, 3)
        assert [p.full_name for p in same.params] == ["out.W", "out.b"]
        assert same.params[0].layer is same
        assert nodes(trace(same)) == nodes(trace(net))


def test_unknown_parameter_is_an_error():
    with pytest.raises(TypeError, match="flip_filters"):
        ly.Conv2DLayer((None, 1, 5, 5), 3, 3, flip_filters=True)


def test_public_names_exist():
    assert all(hasattr(ly, name) for name in ly.__all__)
    assert ly.__all__ == sorted(ly.__all__)
