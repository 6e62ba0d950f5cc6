import numpy as np
import pytest
from evaluate import run_graph

from portanet import ops, regularization
from portanet.engine.tracing import Tracer, tracing
from portanet.layers.base import Layer


class Weighted(Layer):
    def __init__(self, incoming, name):
        super().__init__(incoming, name)
        self.W = self.add_param(0.0, (2, 2), "W")
        self.b = self.add_param(0.0, (2,), "b", regularizable=False)
        self.scale = self.add_param(0.0, (2,), "scale", special=True)


ONE = Weighted((None, 2), "one")
TWO = Weighted(ONE, "two")
VALUES = {
    "one.W": np.array([[1.0, -2.0], [0.0, 3.0]]),
    "one.b": np.array([10.0, -10.0]),
    "one.scale": np.array([1.0, 1.0]),
    "two.W": np.array([[0.5, 0.5], [0.5, 0.5]]),
    "two.b": np.array([7.0, 7.0]),
    "two.scale": np.array([2.0, 0.0]),
}


def compute(function):
    """Value of a penalty, and the parameters it saw."""
    tracer = Tracer("penalty", "float64")
    with tracing(tracer):
        tracer.output("penalty", function())
    feeds = {name: VALUES[name] for name in tracer.graph.inputs}
    return float(run_graph(tracer.graph, feeds)["penalty"]), set(feeds)


def test_l1_sums_absolute_values_and_l2_squares():
    assert compute(lambda: regularization.l1(ONE.W)) == (6.0, {"one.W"})
    assert compute(lambda: regularization.l2(ONE.W)) == (14.0, {"one.W"})


def test_apply_penalty_to_one_and_to_several():
    assert compute(lambda: regularization.apply_penalty(ONE.W, regularization.l1))[0] == 6.0
    both = compute(lambda: regularization.apply_penalty([ONE.W, TWO.W, ONE.b], regularization.l1))
    assert both == (28.0, {"one.W", "two.W", "one.b"})


def test_apply_penalty_passes_options_on():
    def huge(x, above):
        return ops.sum(ops.relu(ops.abs(x) - above))

    assert compute(lambda: regularization.apply_penalty([ONE.W, ONE.b], huge, above=2.0))[0] == 17.0


def test_no_parameters_cost_nothing():
    assert compute(lambda: regularization.apply_penalty([], regularization.l2)) == (0.0, set())
    assert compute(lambda: regularization.regularize_layer_params([], regularization.l2))[0] == 0.0


def test_layers_are_seen_through_their_regularizable_parameters():
    one = compute(lambda: regularization.regularize_layer_params(ONE, regularization.l1))
    assert one == (8.0, {"one.W", "one.scale"})
    both = compute(lambda: regularization.regularize_layer_params({"a": ONE, "b": TWO}.values(), regularization.l1))
    assert both == (12.0, {"one.W", "one.scale", "two.W", "two.scale"})


@pytest.mark.parametrize(
    ("tags", "seen"),
    [
        ({"regularizable": False}, {"one.b"}),
        ({"regularizable": True, "special": False}, {"one.W"}),
        ({"special": True}, {"one.scale"}),
        ({"trainable": True}, {"one.W", "one.b", "one.scale"}),
        ({}, {"one.W", "one.b", "one.scale"}),
    ],
)
def test_tags_choose_parameters(tags, seen):
    assert compute(lambda: regularization.regularize_layer_params(ONE, regularization.l2, tags=tags))[1] == seen


def test_layers_may_weigh_differently():
    found = compute(lambda: regularization.regularize_layer_params_weighted({ONE: 0.5, TWO: 2.0}, regularization.l1))
    assert found[0] == 0.5 * 8.0 + 2.0 * 4.0


def test_network_is_seen_whole():
    found = compute(lambda: regularization.regularize_network_params(TWO, regularization.l1))
    assert found == (12.0, {"one.W", "one.scale", "two.W", "two.scale"})
