"""Operations and bytes, counted by hand for small nets and held against published figures."""

import numpy as np
import pytest

from portanet import NeuralNet, layers, ops
from portanet.benchmarks import models, work
from portanet.engine.operators import REGISTRY
from portanet.precision import mixed
from portanet.updates import momentum, sgd

SHAPES = {"P1": (1024,), "P2": (1, 32, 32), "P5": (784,), "P6": (1, 28, 28)}


def plan_of(net, *shape, classes=3, dtype="float32"):
    X, y = np.zeros((12, *shape), dtype), np.arange(12) % classes
    return net.initialize(X, y, backend="numpy").plan_


def net_of(*kinds, **parameters):
    declared = [("input", layers.InputLayer), *kinds, ("output", layers.DenseLayer)]
    return NeuralNet(layers=declared, **{"update": sgd, "update_learning_rate": 0.1, "train_split": None, **parameters})


@pytest.mark.parametrize(("name", "figure"), [("P1", 0.42), ("P2", 5.4), ("P5", 3.2), ("P6", 4.4)])
def test_operations_of_the_published_programs(name, figure):
    """Millions a sample, to two digits."""
    plan = plan_of(models.find(name).build(), *SHAPES[name], classes=10)
    assert float(f"{work.flops(plan) / 1e6:.2g}") == figure


def test_dense_layers():
    """7 x 5 twice, as the data have no gradient, and 5 x 3 three times."""
    plan = plan_of(net_of(("hidden", layers.DenseLayer, {"num_units": 5})), 7)
    assert work.flops(plan) == 2 * (2 * 7 * 5 + 3 * 5 * 3)


def test_the_size_of_a_batch_does_not_matter_to_products_of_samples():
    plan = plan_of(net_of(), 7)
    assert work.flops(plan, 1) == work.flops(plan, 512) == 2 * 2 * 7 * 3


def test_convolutions():
    """2 x 3 filters over 4 x 3 places and 2 channels, in groups or not; then the same the other way round."""
    for groups in (1, 2):
        filters = {"num_filters": 4, "filter_size": (2, 3), "num_groups": groups}
        plan = plan_of(net_of(("conv", layers.Conv2DLayer, filters)), 2, 5, 5)
        assert work.flops(plan) == 2 * (2 * (4 * 4 * 3) * (2 // groups * 2 * 3) + 3 * (4 * 4 * 3) * 3)


class TransposedLayer(layers.Layer):
    """2 channels of 3 places to 4 channels of 6."""

    def __init__(self, incoming, name=None):
        super().__init__(incoming, name)
        self.W = self.add_param(0.1, (2, 4, 2), "W")

    def get_output_for(self, input, **kwargs):
        return ops.conv_transpose(input, self.W, stride=2)


def test_transposed_convolutions():
    plan = plan_of(net_of(("up", TransposedLayer)), 2, 3)
    assert work.flops(plan) == 2 * (2 * (2 * 3) * (4 * 2) + 3 * (4 * 6) * 3)


class FrozenLayer(layers.Layer):
    """x times a matrix that is not trained, but for a square of weights, which no sample enters."""

    def __init__(self, incoming, name=None):
        super().__init__(incoming, name)
        self.fixed = self.add_param(0.1, (7, 7), "fixed", trainable=False)
        self.W = self.add_param(0.1, (7, 7), "W")

    def get_output_for(self, input, **kwargs):
        return ops.matmul(ops.matmul(input, self.fixed), ops.matmul(self.W, self.W))


def test_what_has_no_gradient_is_counted_once_and_what_has_no_batch_once_a_batch():
    plan = plan_of(net_of(("frozen", FrozenLayer)), 7)
    shared = 3 * 7 * 7 * 7
    assert work.flops(plan, 10) == round(2 * (7 * 7 + 2 * 7 * 7 + 3 * 7 * 3 + shared / 10))


def test_attention_is_counted_with_its_products_of_activations():
    """Width 8, 6 places: four projections, two products over places, a feed-forward net of 32, the output."""
    net = models.find("transformer").build(width=8, heads=2, length=6, words=30)
    plan = plan_of(net, 6, classes=2, dtype="int32")
    inside = 4 * 6 * 8 * 8 + 2 * 6 * 6 * 8 + 2 * 6 * 8 * 32 + 8 * 2
    assert work.flops(plan) == 2 * 3 * inside


def test_every_operator_that_multiplies_matrices_is_counted():
    """One that joins them must be given its count: primitives of those two families that the count does not know."""
    families = ("operators.matrix", "operators.windows")
    found = {name for name, one in REGISTRY.items() if one.infer.__module__.endswith(families) and not one.composite}
    assert found == {*work.PRODUCTS, "MaxPool", "AveragePool"}


def test_bytes_of_a_dense_net():
    """Counted by hand: a Gemm and the loss, three times; and the update of 24 parameters without slots."""
    plan = plan_of(net_of(), 7)
    batch, scores, labels, parameters = 10 * 7, 10 * 3, 10, 7 * 3 + 3
    assert [node.op for node in plan.graphs["train"].nodes] == ["Gemm", "SoftmaxCrossEntropyLoss"]
    results = sum(int(np.prod([10 if dim == "N" else dim for dim in plan.graphs["train"].types[name].shape]))
                  for name in plan.graphs["train"].nodes[1].outputs)  # fmt: skip
    forward = (batch + parameters + scores) + (scores + labels + results)
    assert work.bytes_moved(plan, 10) == round(4 * (3 * forward + 3 * parameters) / 10)


def test_slots_are_read_and_written():
    plain, slotted = (plan_of(net_of(update=rule), 7) for rule in (sgd, momentum))
    assert work.bytes_moved(slotted, 1) - work.bytes_moved(plain, 1) == 2 * 4 * (7 * 3 + 3)


def test_a_larger_batch_shares_the_weights_among_more():
    plan = plan_of(models.find("P5").build(), 784, classes=10)
    assert work.bytes_moved(plan, 32) > 2 * work.bytes_moved(plan, 512)


def test_wider_numbers_are_more_bytes_and_no_more_operations():
    narrow, wide = (plan_of(net_of(floatX=kind), 7) for kind in ("float32", "float64"))
    assert work.bytes_moved(wide) > 1.8 * work.bytes_moved(narrow)
    assert work.flops(wide) == work.flops(narrow)


def test_mixed_precision_is_the_same_operations():
    plan = plan_of(models.find("P6").build(), *SHAPES["P6"], classes=10)
    before = work.flops(plan), work.bytes_moved(plan)
    plan.graphs["train"] = mixed(plan.graphs["train"], "bfloat16")
    assert work.flops(plan) == before[0] and work.bytes_moved(plan) != before[1]


def test_of_a_table_only_the_rows_looked_up_are_read():
    def moved(words):
        rule = {"update": sgd, "update_learning_rate": 0.1}
        net = models.find("transformer").build(width=8, heads=2, length=6, words=words, **rule)
        plan = plan_of(net, 6, classes=2, dtype="int32")
        return work.bytes_moved(plan, 1) - 3 * 4 * words * 8

    assert moved(30) == moved(3000)
