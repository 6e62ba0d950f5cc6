"""A half-trained net moves to another engine and goes on as if it had stayed."""

import functools
import itertools
import pickle

import numpy as np
import pytest
from reference import assert_alike, flat
from sklearn.datasets import load_digits
from tolerances import FORWARD, RUN

from portanet import NeuralNet, config_context, layers, updates
from portanet.exceptions import BackendUnavailable
from portanet.nonlinearities import tanh
from portanet.runtime import registry
from portanet.schedules import InverseTimeDecay

ROWS, HALF = 101, 2
RULES = {
    "adam": dict(update=updates.adam, update_learning_rate=0.02),
    "nesterov_momentum": dict(update=updates.nesterov_momentum, update_learning_rate=InverseTimeDecay(0.1, 0.05)),
}


@pytest.fixture(params=itertools.permutations(sorted(registry.ROWS), 2), ids="_to_".join)
def journey(request, missing):
    """Every ordered pair of engines, by name."""
    for name in request.param:
        try:
            registry.load(name)
        except BackendUnavailable as error:
            missing(name, str(error))
    return request.param


@pytest.fixture(autouse=True)
def same_noise():
    with config_context(reproducible=True):
        yield


@functools.cache
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:ROWS] / 16).astype("float32"), y[:ROWS]


def build(rule="adam", **parameters):
    """A net with all that must move: weights, running statistics, slots, and noise that depends on the step."""
    return NeuralNet(
        layers=[
            ("input", layers.InputLayer),
            ("hidden", layers.DenseLayer),
            ("norm", layers.BatchNormLayer),
            ("dropout", layers.DropoutLayer),
            ("output", layers.DenseLayer),
        ],
        hidden_num_units=11, hidden_nonlinearity=tanh, dropout_p=0.2,
        batch_size=24, random_state=3, verbose=0, train_split=None, **{**RULES[rule], **parameters},
    )  # fmt: skip


@functools.cache
def staying(engine, rule):
    """The net after both halves on one engine."""
    return build(rule).partial_fit(*digits(), epochs=2 * HALF, backend=engine)


def assert_went_on(net, engine, stayed):
    """The curve, the state and the predictions are those of the net that stayed."""
    assert net.record_["engine"] == engine
    curve, right = (np.array(each.train_history_[:, "train_loss"]) for each in (net, stayed))
    assert right[-1] < 0.7 * right[0]
    assert_alike({"losses": curve}, {"losses": right}, "float64", RUN["float32"])
    state, expected = flat(net.get_state()), flat(stayed.get_state())
    assert_alike(state, {name: expected[name] for name in state}, "float32", RUN["float32"])
    seen = {"probabilities": net.predict_proba(digits()[0])}
    assert_alike(seen, {"probabilities": stayed.predict_proba(digits()[0])}, "float32", RUN["float32"])


@pytest.mark.parametrize("rule", RULES)
def test_the_curve_goes_on(journey, rule):
    first, second = journey
    net = build(rule).partial_fit(*digits(), epochs=HALF, backend=first)
    assert net.record_["engine"] == first
    net.partial_fit(*digits(), epochs=HALF, backend=second)
    assert net.get_state()["step"] == staying(first, rule).get_state()["step"] == 20
    assert_went_on(net, second, staying(first, rule))


def test_nothing_is_lost_on_the_way(journey):
    """There and back again without training: bit for bit what it was."""
    first, second = journey
    net = build().partial_fit(*digits(), epochs=HALF, backend=first)
    before = flat(net.get_state())
    net.partial_fit(*digits(), epochs=0, backend=second)
    moved = flat(net.get_state())
    assert net.record_["engine"] == second
    for name, array in before.items():
        np.testing.assert_array_equal(moved[name], array, err_msg=name)
    there = net.predict_proba(digits()[0])
    net.partial_fit(*digits(), epochs=0, backend=first)
    assert_alike({"": there}, {"": net.predict_proba(digits()[0])}, "float32", FORWARD["float32"])


def test_a_pickled_net_goes_on_elsewhere(journey):
    first, second = journey
    net = pickle.loads(pickle.dumps(build().partial_fit(*digits(), epochs=HALF, backend=first)))
    assert_went_on(net.partial_fit(*digits(), epochs=HALF, backend=second), second, staying(first, "adam"))


def test_a_warm_start_goes_on_elsewhere(journey):
    first, second = journey
    net = build(warm_start=True).fit(*digits(), epochs=HALF, backend=first)
    assert_went_on(net.fit(*digits(), epochs=HALF, backend=second), second, staying(first, "adam"))


def test_a_cold_start_begins_anew_elsewhere(journey):
    first, second = journey
    net = build().fit(*digits(), epochs=HALF, backend=first)
    net.fit(*digits(), epochs=2 * HALF, backend=second)
    assert_went_on(net, second, staying(first, "adam"))


def test_two_nets_on_two_engines_take_turns(journey):
    """Bit for bit as each would go alone."""
    nets = {engine: build() for engine in journey}
    for _ in range(2 * HALF):
        for engine, net in nets.items():
            net.partial_fit(*digits(), backend=engine)
    for engine, net in nets.items():
        assert net.record_["engine"] == engine
        alone = staying(engine, "adam")
        assert net.train_history_[:, "train_loss"] == alone.train_history_[:, "train_loss"]
        end = flat(net.get_state())
        for name, array in flat(alone.get_state()).items():
            np.testing.assert_array_equal(end[name], array, err_msg=f"{engine}, {name}")


def test_the_engine_may_be_chosen_by_the_context(journey):
    first, second = journey
    with config_context(backend=first):
        net = build().partial_fit(*digits(), epochs=HALF)
    with config_context(backend=second):
        assert_went_on(net.partial_fit(*digits(), epochs=HALF), second, staying(first, "adam"))
