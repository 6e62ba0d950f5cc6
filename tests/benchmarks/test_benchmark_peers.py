"""Peers do the same work as portanet, whatever their own conventions; what they can't do, they say."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import portanet
from portanet import NeuralNet, layers, updates
from portanet.benchmarks import gate
from portanet.benchmarks.contestants import LIBRARIES, OtherWork, trainer
from portanet.benchmarks.peers.sklearn import hidden_layers
from portanet.benchmarks.peers.translation import (
    Activation,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pad,
    Pool,
    Untranslatable,
    channels_first,
    channels_last,
    pooled_first,
    translate,
)
from portanet.benchmarks.records import Contestant
from portanet.data import BatchIterator
from portanet.nonlinearities import elu, sigmoid, softmax, tanh
from portanet.schedules import CosineDecay, InverseTimeDecay

RNG = np.random.default_rng(0)
IMAGES, Y = RNG.random((120, 2, 9, 8), dtype=np.float32), np.arange(120) % 3
ROWS = IMAGES.reshape(120, -1)
HERE = ["skorch", "by_hand_torch", "by_hand_jax", "by_hand_tensorflow", "flax"]
RULES = {
    "sgd": (updates.sgd, 0.1), "momentum": (updates.momentum, InverseTimeDecay(0.05, 1e-5)),
    "nesterov": (updates.nesterov_momentum, 0.05), "rmsprop": (updates.rmsprop, 0.01), "adam": (updates.adam, 0.01),
}  # fmt: skip


def conv(rule="momentum", **changes):
    """Odd sizes, strides, padding, average pooling: wherever layouts and conventions part."""
    update, rate = RULES[rule]
    settings = dict(
        layers=[
            ("input", layers.InputLayer), ("conv1", layers.Conv2DLayer), ("pool1", layers.MaxPool2DLayer),
            ("conv2", layers.Conv2DLayer), ("pool2", layers.Pool2DLayer), ("drop", layers.DropoutLayer),
            ("hidden", layers.DenseLayer), ("output", layers.DenseLayer),
        ],
        conv1_num_filters=4, conv1_filter_size=(2, 3), conv1_pad=(1, 2), pool1_pool_size=(3, 2), pool1_stride=(2, 2),
        conv2_num_filters=3, conv2_filter_size=2, conv2_nonlinearity=tanh, conv2_b=None, pool2_pool_size=2,
        pool2_mode="average_exc_pad", pool2_stride=1, drop_p=0.3, hidden_num_units=6, output_nonlinearity=softmax,
        output_num_units=3, update=update, update_learning_rate=rate, batch_size=30, train_split=None, verbose=0,
        random_state=0,
    )  # fmt: skip
    return NeuralNet(**{**settings, **changes})


def dense(rule="nesterov", **changes):
    update, rate = RULES[rule]
    settings = dict(
        layers=[("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("middle", layers.DenseLayer),
                ("output", layers.DenseLayer)],
        hidden_num_units=6, middle_num_units=5, update=update, update_learning_rate=rate, batch_size=30,
        train_split=None, verbose=0, random_state=0,
    )  # fmt: skip
    return NeuralNet(**{**settings, **changes})


def peer(name):
    engine = LIBRARIES[name].engines[0]
    return Contestant(f"{name}-{engine}-cpu", name, "peer", engine, library=name)


def start(net, X):
    net.backend = "numpy"
    return net.initialize(X, Y)._values()


def look(contestant, net, X, weights):
    at_work = trainer(contestant, 1)
    at_work.load()
    return gate.look(at_work, net, X, Y, weights)


def judged(contestant, make, X):
    weights = start(make(), X)
    wanted, yardstick = (look(gate.REFERENCE, make(floatX=kind), X, weights) for kind in ("float64", "float32"))
    seen = look(contestant, make(), X, weights)
    for one in (wanted, yardstick, seen):
        one.pop("floatX")
    return gate.verdict(contestant.key, seen, wanted, yardstick)


@pytest.fixture
def library(request, missing, monkeypatch):
    """A peer that runs in this process, where its library and engine are."""
    name = request.param
    for module in (*LIBRARIES[name].engines, *LIBRARIES[name].modules):
        if importlib.util.find_spec(module) is None:
            missing(module, f"the peer {name} needs it")
    if "tensorflow" in LIBRARIES[name].engines:  # which takes their number once, and other tests came before
        import tensorflow as tf

        monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", lambda threads: None)
    return peer(name)


@pytest.mark.parametrize("library", ["skorch", "by_hand_torch"], indirect=True)
@pytest.mark.parametrize("rule", RULES)
def test_convolutions_by_every_rule(library, rule):
    found = judged(library, lambda **given: conv(rule, **given), IMAGES)
    assert (found.status, found.reason) == ("same", "")


@pytest.mark.parametrize("library", ["by_hand_jax", "by_hand_tensorflow", "flax"], indirect=True)
@pytest.mark.parametrize("rule", RULES)
def test_rules_of_engines_that_compile(library, rule):
    """On a net that is compiled quickly."""
    found = judged(library, lambda **given: dense(rule, **given), ROWS)
    assert (found.status, found.reason) == ("same", "")


@pytest.mark.parametrize("library", ["by_hand_jax", "by_hand_tensorflow", "flax"], indirect=True)
@pytest.mark.parametrize("rule", ["momentum"])
def test_convolutions_of_engines_that_compile(library, rule):
    found = judged(library, lambda **given: conv(rule, **given), IMAGES)
    assert (found.status, found.reason) == ("same", "")


@pytest.mark.parametrize("rule", ["sgd", "momentum", "nesterov", "adam"])
def test_scikit_learn(rule):
    def make(**given):
        return dense(rule, **{**({"update_learning_rate": 0.05} if rule == "momentum" else {}), **given})

    found = judged(peer("sklearn"), make, ROWS)
    assert (found.status, found.reason) == ("same", "")


@pytest.mark.parametrize("engine", ["jax"])
def test_keras(engine, missing):
    """In a process of its own, since Keras takes one engine for good."""
    for module in ("keras", engine):
        if importlib.util.find_spec(module) is None:
            missing(module, "the peer keras needs it")
    home = str(Path(portanet.__file__).parents[1])
    code = f"import test_benchmark_peers as tests; tests.keras_rules({engine!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([home, str(Path(__file__).parent)]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {rule: ["same", ""] for rule in RULES}


def keras_rules(engine):
    """What `test_keras` has a process do: convolutions by one rule, and dense layers by the others."""
    contestant = Contestant(f"keras-{engine}-cpu", "Keras", "peer", engine, library="keras")
    found = {}
    for rule in RULES:
        make, X = (conv, IMAGES) if rule == "momentum" else (dense, ROWS)
        one = judged(contestant, functools.partial(make, rule), X)
        found[rule] = [one.status, one.reason]
    print(json.dumps(found))


@pytest.mark.parametrize("library", [*HERE, "sklearn"], indirect=True)
def test_fit_tells_of_each_epoch_and_learns(library):
    at_work, told = trainer(library, 1), []
    labels = np.array(["a", "b", "c"])[(ROWS @ RNG.standard_normal((ROWS.shape[1], 3))).argmax(axis=1)]
    at_work.load()
    net = dense(update_learning_rate=0.1)
    net.backend = "numpy"
    weights = net.initialize(ROWS, labels)._values()
    at_work.build(dense(update_learning_rate=0.1), ROWS, labels, weights, seed=1)

    def after_epoch(seconds, loss):
        told.append((seconds, loss, at_work.probabilities(ROWS)))

    at_work.fit(6, after_epoch)
    assert [seconds > 0 for seconds, _, _ in told] == [True] * 6
    assert told[-1][1] < told[0][1]
    np.testing.assert_allclose(told[0][2].sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(at_work.initial_weights()["hidden.W"], weights["hidden.W"])
    assert not np.array_equal(at_work.weights()["hidden.W"], weights["hidden.W"])
    assert at_work.record["engine"] == library.engine
    assert at_work.record["version"]


def test_a_rate_outside_of_the_velocity_is_caught(missing):
    """PyTorch's momentum parts from portanet's where the rate falls fast."""
    if importlib.util.find_spec("torch") is None:
        missing("torch", "the peer by_hand_torch needs it")
    falling = InverseTimeDecay(0.05, 0.2)
    found = judged(peer("by_hand_torch"), lambda **given: conv(**{"update_learning_rate": falling, **given}), IMAGES)
    assert found.reason.startswith("its parameters differ after three steps")


def test_a_translation_names_everything():
    work = translate(conv(), IMAGES, Y)
    assert work.steps == (
        Pad("conv1_pad", 1, 2, 1, 2), Conv("conv1", 2, 4, (2, 3), (1, 1), True), Activation("conv1_relu", "relu"),
        Pool("pool1", (3, 2), (2, 2), "max"), Conv("conv2", 4, 3, (2, 2), (1, 1), False),
        Activation("conv2_tanh", "tanh"), Pool("pool2", (2, 2), (1, 1), "average"), Dropout("drop", 0.3),
        Flatten("hidden_flatten", (3, 2, 3)), Dense("hidden", 18, 6, True, (3, 2, 3)),
        Activation("hidden_relu", "relu"), Dense("output", 6, 3, True, None),
    )  # fmt: skip
    assert (work.batch_size, work.batches, work.shuffle) == (30, 4, True)
    assert work.rule.inverse_time() == (0.05, 1e-5)
    assert list(work.parameters) == ["conv1.W", "conv1.b", "conv2.W", "hidden.W", "hidden.b", "output.W", "output.b"]


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"conv1_num_groups": 2}, r"layer 'conv1' \(Conv2DLayer\) can't be translated .* groups"),
    ({"pool1_ignore_border": False}, r"layer 'pool1' \(MaxPool2DLayer\) .* reach past the image"),
    ({"drop_shared_axes": (2, 3)}, r"layer 'drop' .* shares its masks"),
    ({"hidden_nonlinearity": elu}, r"layer 'hidden' .* nonlinearity elu; translated are relu, tanh, sigmoid"),
    ({"output_nonlinearity": tanh}, r"layer 'output' .* does not end in softmax"),
    ({"update": updates.adamax, "update_learning_rate": 0.1}, "update rule 'adamax' has no counterpart"),
    ({"objective_l2": 1e-4}, "the objective has penalties"),
    ({"floatX": "float64"}, "floatX='float64'"),
    ({"grad_clipping": 1.0}, "grad_clipping=1.0 has no counterpart"),
    ({"train_split": 0.2}, "train_split=0.2 has no counterpart"),
    ({"class_weight": "balanced"}, "class_weight='balanced'"),
])  # fmt: skip
def test_what_has_no_counterpart_is_named(changes, sentence):
    with pytest.raises(Untranslatable, match=sentence):
        translate(conv(**changes), IMAGES, Y)


def test_a_layer_of_ones_own_is_named():
    class Doubled(layers.DenseLayer):
        def get_output_for(self, input, **kwargs):
            return 2.0 * super().get_output_for(input, **kwargs)

    declared = [("input", layers.InputLayer), ("mine", Doubled), ("output", layers.DenseLayer)]
    with pytest.raises(Untranslatable, match=r"layer 'mine' \(Doubled\) .* of a class that is not translated"):
        translate(NeuralNet(declared, mine_num_units=4, update_learning_rate=0.1, train_split=None), ROWS, Y)


def test_layers_that_branch_are_named():
    declared = [
        ("input", layers.InputLayer), ("left", layers.DenseLayer, {"num_units": 4}),
        ("right", layers.DenseLayer, {"num_units": 4, "incoming": "input"}),
        ("sum", layers.ElemwiseSumLayer, {"incomings": ["left", "right"]}), ("output", layers.DenseLayer),
    ]  # fmt: skip
    with pytest.raises(Untranslatable, match="layer 'right' .* does not follow the layer before it alone"):
        translate(NeuralNet(declared, update_learning_rate=0.1, train_split=None), ROWS, Y)


def test_one_unit_for_two_classes_is_refused():
    net = NeuralNet([layers.InputLayer, (layers.DenseLayer, {"num_units": 1, "nonlinearity": sigmoid})],
                    update_learning_rate=0.1, train_split=None)  # fmt: skip
    with pytest.raises(Untranslatable, match="targets are TwoClassesOneUnit"):
        translate(net, ROWS, np.arange(120) % 2)


def test_numbers_are_refused():
    with pytest.raises(Untranslatable, match="regression=True has no counterpart"):
        translate(dense(regression=True), ROWS, ROWS[:, 0])


def test_batches_that_are_changed_are_refused():
    class Shifted(BatchIterator):
        def transform(self, Xb, yb):
            return Xb + 1.0, yb

    with pytest.raises(Untranslatable, match="batch_iterator_train=Shifted"):
        translate(conv(batch_iterator_train=Shifted(30)), IMAGES, Y)


def test_a_schedule_without_a_counterpart_is_named():
    work = translate(conv(update_learning_rate=CosineDecay(0.1, 5)), IMAGES, Y)
    assert work.rate(0) == 0.1
    with pytest.raises(Untranslatable, match="update_learning_rate=CosineDecay.* changes while training"):
        work.rule.inverse_time()


@pytest.mark.parametrize("weights", [{}, {"hidden.W": np.zeros((3, 3))}])
def test_weights_of_another_net_are_told(weights):
    with pytest.raises(OtherWork, match=r"parameter 'hidden.W' has shape \(144, 6\)"):
        translate(dense(), ROWS, Y).start(weights)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"middle_nonlinearity": tanh}, "hidden layers of one activation"),
    ({"middle_nonlinearity": None}, "an activation between two of them"), ({"middle_b": None}, "layer 'middle'"),
])  # fmt: skip
def test_what_scikit_learn_lacks_is_named(changes, sentence):
    with pytest.raises(Untranslatable, match=sentence):
        hidden_layers(translate(dense(**changes), ROWS, Y))


def test_layouts_there_and_back():
    filters, flat = Conv("c", 2, 4, (2, 3), (1, 1), True), Dense("d", 24, 5, True, (2, 3, 4))
    for step, W in ((filters, RNG.random((4, 2, 2, 3))), (flat, RNG.random((24, 5)))):
        np.testing.assert_array_equal(channels_first(step, channels_last(step, W)), W)
    image = RNG.random((1, 2, 3, 4))
    W = RNG.random((24, 5))
    there = image.transpose(0, 2, 3, 1).reshape(1, -1) @ channels_last(flat, W)
    np.testing.assert_allclose(there, image.reshape(1, -1) @ W)


def test_only_rising_activations_go_behind_max_pooling():
    relu, tanh_ = Activation("a", "relu"), Activation("b", "tanh")
    most, mean = Pool("p", (2, 2), (2, 2), "max"), Pool("q", (2, 2), (2, 2), "average")
    assert pooled_first([relu, most, relu, mean, tanh_, most]) == [most, relu, relu, mean, tanh_, most]
