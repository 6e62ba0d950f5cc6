"""The gate lets through what does the same work, and tells of what does not which part differs."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from portanet import NeuralNet, layers, updates
from portanet.benchmarks import gate, launch
from portanet.benchmarks.contestants import OtherWork, trainer
from portanet.benchmarks.peers import sklearn as sklearn_peer
from portanet.benchmarks.records import Contestant
from portanet.engine.backends.numpy_backend import NumpyBackend, NumpyProgram
from portanet.nonlinearities import softmax
from portanet.runtime import registry
from portanet.schedules import InverseTimeDecay

RNG = np.random.default_rng(0)
IMAGES, Y = RNG.random((100, 1, 8, 8), dtype=np.float32), np.arange(100) % 3
ROWS = IMAGES.reshape(100, 64)
ODD = Contestant("odd-cpu", "an odd engine", "portanet", "odd")
SCIKIT = Contestant("sklearn-numpy-cpu", "scikit-learn", "peer", "numpy", library="sklearn")


def conv(**changes):
    """A net whose pooling gives 2 x 2 places of 5 x 5 at strides 2 and 3 alike."""
    settings = dict(
        layers=[
            ("input", layers.InputLayer), ("conv", layers.Conv2DLayer), ("pool", layers.MaxPool2DLayer),
            ("drop", layers.DropoutLayer), ("output", layers.DenseLayer),
        ],
        conv_num_filters=3, conv_filter_size=4, pool_pool_size=2, drop_p=0.5, output_nonlinearity=softmax,
        output_num_units=3, update=updates.momentum, update_learning_rate=InverseTimeDecay(0.05, 1e-5), batch_size=20,
        train_split=None, verbose=0, random_state=0,
    )  # fmt: skip
    return NeuralNet(**{**settings, **changes})


def dense(**changes):
    settings = dict(
        layers=[("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
        hidden_num_units=7, update=updates.nesterov_momentum, update_learning_rate=0.05, batch_size=20,
        train_split=None, verbose=0, random_state=0,
    )  # fmt: skip
    return NeuralNet(**{**settings, **changes})


def start(net, X):
    made = copy.copy(net).initialize(X, Y)
    return {name: array for arrays in [made._values()] for name, array in arrays.items()}


def judged(contestant, make, X, kind=None):
    """The verdict on a contestant, all in this process."""
    weights = start(make(backend="numpy"), X)

    def seen(who, **changes):
        at_work = trainer(who, 1) if kind is None or who is gate.REFERENCE else kind(who, 1)
        at_work.load()
        found = gate.look(at_work, make(**changes), X, Y, weights)
        found.pop("floatX")
        return found

    wanted, yardstick = seen(gate.REFERENCE, floatX="float64"), seen(gate.REFERENCE)
    return gate.verdict(contestant.key, seen(contestant), wanted, yardstick)


@pytest.fixture
def odd(monkeypatch):
    """``odd(**methods)``: an engine of a third party, NumPy's with another Program; ``plan`` changes the plan first."""

    def install(plan=lambda plan: None, **methods):
        program = type("OddProgram", (NumpyProgram,), methods)

        class OddBackend(NumpyBackend):
            name = "odd"

            def compile(self, given, device, options):
                given = copy.deepcopy(given)
                plan(given)
                return program(given, device, self.read_options(options))

        engine, real = OddBackend(), registry.load
        row = registry.BackendRow("odd", "odd_backend", None, "", "", float_types=("float32", "float64"))
        monkeypatch.setitem(registry.ROWS, "odd", row)
        monkeypatch.setattr(registry, "load", lambda name, *rest: engine if name == "odd" else real(name, *rest))
        return ODD

    return install


def with_attributes(op, **attributes):
    """A change of a plan: other attributes of every node of that kind."""

    def change(plan):
        for graph in plan.graphs.values():
            for node in graph.nodes:
                if node.op == op:
                    node.attrs.update(attributes)

    return change


def test_an_engine_that_does_the_same_passes(odd):
    found = judged(odd(), conv, IMAGES)
    assert (found.status, found.reason) == ("same", "")
    assert list(found.errors) == list(gate.CHECKS)
    assert all(found.errors[check] <= found.allowed[check] <= gate.TOLERANCES[check] for check in gate.CHECKS)


def test_another_pooling_stride_is_caught(odd):
    found = judged(odd(with_attributes("MaxPool", strides=[3, 3])), conv, IMAGES)
    assert found.status == "not the same work"
    assert found.reason.startswith("its scores differ on the same weights: relative error")
    assert found.errors["weights"] == 0.0
    assert found.errors["logits"] > 10 * found.allowed["logits"]


def test_another_padding_of_the_pooling_is_caught(odd):
    change = with_attributes("MaxPool", pads=[1, 1, 0, 0])
    found = judged(odd(change), lambda **given: conv(conv_filter_size=3, **given), IMAGES)
    assert found.reason.startswith("its scores differ")


def test_other_initial_weights_are_caught(odd):
    def set_state(self, state):
        hidden = {**state["parameters"], "conv.W": 1.01 * state["parameters"]["conv.W"]}
        NumpyProgram.set_state(self, {**state, "parameters": hidden})

    found = judged(odd(set_state=set_state), conv, IMAGES)
    assert found.status == "not the same work"
    assert found.reason.startswith("it starts from other weights, most of conv.W: relative error 0.01, allowed 1e-06")


def test_another_learning_rate_is_caught_with_its_factor(odd):
    def train(self, name, batches, hyper, seed):
        hyper = {**hyper, "learning_rate": 1.1 * np.asarray(hyper["learning_rate"])}
        return NumpyProgram.train(self, name, batches, hyper, seed)

    found = judged(odd(train=train), conv, IMAGES)
    assert found.reason.startswith("its first update differs, most of ")
    assert found.reason.endswith("it is 1.1 times the reference's")
    assert found.errors["gradient"] <= found.allowed["gradient"]


def test_a_decay_that_is_ignored_is_caught(odd):
    def train(self, name, batches, hyper, seed):
        return NumpyProgram.train(self, name, batches, {**hyper, "learning_rate": [0.05] * len(batches)}, seed)

    found = judged(odd(train=train), conv, IMAGES)
    assert found.reason.startswith("its update differs when 10,000 were taken before")
    assert found.reason.endswith("it is 1.1 times the reference's")
    assert found.errors["steps"] <= found.allowed["steps"]


def rate_outside(param, grad, state, learning_rate, momentum=0.9):
    """PyTorch's momentum: the rate multiplies the velocity, not the gradient in it."""
    velocity = state["velocity"] = momentum * state["velocity"] - grad
    return param + learning_rate * velocity


def with_rate_outside(plan):
    other = updates.trace_update(rate_outside, plan.update.hyper, plan.trainable, plan.floatX, None)
    plan.update.rule, plan.update.graphs = "of its own", other.graphs


def test_a_rate_outside_of_the_velocity_is_caught(odd):
    falling = InverseTimeDecay(0.05, 0.1)
    found = judged(odd(with_rate_outside), lambda **given: conv(update_learning_rate=falling, **given), IMAGES)
    assert found.reason.startswith("its parameters differ after three steps, most of")
    assert found.errors["update"] <= found.allowed["update"]


def test_a_rate_outside_of_the_velocity_is_the_same_where_it_does_not_change(odd):
    found = judged(odd(with_rate_outside), lambda **given: conv(update_learning_rate=0.05, **given), IMAGES)
    assert found.status == "same"


def test_another_momentum_is_caught(odd):
    def train(self, name, batches, hyper, seed):
        return NumpyProgram.train(self, name, batches, {**hyper, "momentum": [0.8] * len(batches)}, seed)

    found = judged(odd(train=train), conv, IMAGES)
    assert found.reason.startswith("its parameters differ after three steps")


def test_a_gradient_that_is_wrong_by_a_hundredth_is_caught(odd):
    def gradients(self, name, batch, seed):
        found = NumpyProgram.gradients(self, name, batch, seed)
        return {name: array * 1.01 if name == "output.b" else array for name, array in found.items()}

    found = judged(odd(gradients=gradients), conv, IMAGES)
    assert found.reason.startswith("its gradient differs, most of output.b: relative error 0.01")
    assert found.reason.endswith("it is 1.01 times the reference's")


def test_another_loss_is_caught(odd):
    def train(self, name, batches, hyper, seed):
        return 1.001 * NumpyProgram.train(self, name, batches, hyper, seed)

    assert judged(odd(train=train), conv, IMAGES).reason.startswith("its loss differs: relative error 0.001")


def test_a_peer_that_does_the_same_passes():
    found = judged(SCIKIT, dense, ROWS)
    assert (found.status, found.reason) == ("same", "")
    assert "gradient" not in found.errors


def test_a_peer_with_another_learning_rate_is_caught(monkeypatch):
    solver = sklearn_peer._solver
    monkeypatch.setattr(sklearn_peer, "_solver", lambda work: {**solver(work), "learning_rate_init": 0.025})
    found = judged(SCIKIT, dense, ROWS)
    assert found.reason.startswith("its first update differs")
    assert found.reason.endswith("it is 0.5 times the reference's")


def test_a_peer_without_nesterov_is_caught(monkeypatch):
    solver = sklearn_peer._solver
    monkeypatch.setattr(sklearn_peer, "_solver", lambda work: {**solver(work), "nesterovs_momentum": False})
    assert judged(SCIKIT, dense, ROWS).status == "not the same work"


def test_a_peer_that_decays_weights_is_caught():
    class Decaying(sklearn_peer.Peer):
        def make(self):
            super().make()
            self._net.set_params(alpha=0.5)

    assert judged(SCIKIT, dense, ROWS, Decaying).status == "not the same work"


def test_a_peer_that_starts_elsewhere_is_caught():
    class Elsewhere(sklearn_peer.Peer):
        def given(self):
            (hidden, (W, b)), output = super().given()
            return [(hidden, [W[::-1].copy(), b]), output]

    found = judged(SCIKIT, dense, ROWS, Elsewhere)
    assert found.reason.startswith("it starts from other weights, most of hidden.W")


def test_a_peer_without_a_parameter_is_caught():
    class Lacking(sklearn_peer.Peer):
        def weights(self):
            return {name: array for name, array in super().weights().items() if name != "hidden.b"}

    found = judged(SCIKIT, dense, ROWS, Lacking)
    assert found.status == "not the same work"
    assert "it has no weights/hidden.b" in found.reason


def test_a_deep_net_is_given_what_numpy_itself_is_off():
    wanted = {"weights/a.W": np.ones(4), "update/a.W": np.ones(4) + 1e-3, "logits": np.ones(2)}
    off = {**wanted, "update/a.W": np.ones(4) + 1.02e-3}
    rough = {**wanted, "update/a.W": np.ones(4) + 1.005e-3}
    assert gate.verdict("x", off, wanted, wanted).status == "not the same work"
    assert gate.verdict("x", off, wanted, rough).status == "same"


def test_numbers_that_are_not_finite_are_no_agreement():
    assert gate.error(np.array([np.nan, 1.0]), np.ones(2)) == float("inf")
    assert gate.error(np.array([np.inf]), np.array([np.inf])) == 0.0


def test_what_storing_rounds_off_is_no_error():
    start, wanted = np.array([1.0]), np.array([1.0 + 3e-6])
    assert gate.error(np.float32(wanted), wanted, start) == 0.0
    assert gate.error(np.array([1.0 + 4e-6]), wanted, start) > 0.2


@pytest.mark.parametrize("how", ["pairs", "dicts", "wired"])
def test_noise_is_turned_off_however_it_is_declared(how):
    wired = layers.DropoutLayer(layers.GaussianNoiseLayer((None, 4), sigma=0.2), p=0.3)
    declared = {
        "pairs": [("input", layers.InputLayer), ("noise", layers.GaussianNoiseLayer), ("drop", layers.DropoutLayer),
                  ("out", layers.DenseLayer)],
        "dicts": [layers.InputLayer, (layers.GaussianNoiseLayer, {"sigma": 0.2}), (layers.DropoutLayer, {"p": 0.3}),
                  layers.DenseLayer],
        "wired": layers.DenseLayer(wired, num_units=3, nonlinearity=softmax),
    }[how]  # fmt: skip
    net = NeuralNet(
        declared, verbose=0, backend="numpy", update_learning_rate=0.1, **({"drop_p": 0.3} if how == "pairs" else {})
    )
    gate.quieten(net)
    made = list(net.initialize(ROWS[:, :4], Y).layers_.values())
    assert [one.p for one in made if isinstance(one, layers.DropoutLayer)] == [0.0]
    assert [one.sigma for one in made if isinstance(one, layers.GaussianNoiseLayer)] == [0.0]


class NoisyLayer(layers.Layer):
    def get_output_for(self, input, deterministic=False, **kwargs):
        from portanet import ops

        return input if deterministic else ops.dropout(input, 0.5)


def test_noise_of_a_layer_of_ones_own_is_numpys_on_every_engine(odd):
    declared = [("input", layers.InputLayer), ("noisy", NoisyLayer), ("output", layers.DenseLayer)]
    assert judged(odd(), lambda **given: NeuralNet(declared, **{
        "batch_size": 20, "verbose": 0, "random_state": 0, "train_split": None, "update_learning_rate": 0.1, **given,
    }), ROWS).status == "same"  # fmt: skip


def test_batches_hold_every_class_and_no_more_rows_than_there_are():
    batches, rows = gate.chosen_rows(np.arange(30) // 10, 7)
    assert [len(batch) for batch in batches] == [7, 7, 7]
    assert set((np.arange(30) // 10)[rows]) == {0, 1, 2}
    batches, rows = gate.chosen_rows(np.zeros(5), -1)
    assert [len(batch) for batch in batches] == [5, 5, 5]
    assert len(rows) == 5


@pytest.fixture
def course(monkeypatch, tmp_path):
    """A run of `dense` whose processes are calls in this one; gives header, folder and the jobs that were done."""
    weights, jobs = start(dense(backend="numpy"), ROWS), []

    def finish(job, timeout, sampler=None):
        jobs.append(job)
        at_work = trainer(Contestant(**job["contestant"]), 1)
        at_work.load()
        changes = {"floatX": job["floatX"]} if "floatX" in job else {}
        seen = gate.look(at_work, dense(**changes), ROWS, Y, weights)
        path = tmp_path / "work" / "seen.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **seen)
        return json.loads(json.dumps({"seen": str(path), "process": 1.0}))

    monkeypatch.setattr(launch, "finish", finish)
    return SimpleNamespace(points=[{}], spec={}, overrides={}), tmp_path, jobs


def test_the_reference_is_computed_once(course):
    header, folder, jobs = course
    for _ in range(2):
        assert gate.judge(header, folder, SCIKIT).status == "same"
    assert [job.get("floatX") for job in jobs] == ["float64", "float32", None, None]
    assert {path.name for path in (folder / "gate").iterdir()} == {"reference.npz", "yardstick.npz"}
    assert not list((folder / "work").iterdir())


def test_someone_absent_is_not_tried(course):
    header, folder, jobs = course
    found = gate.judge(header, folder, dataclasses.replace(SCIKIT, absent="not here"))
    assert (found.status, found.reason, jobs) == ("absent", "not here", [])


@pytest.mark.parametrize(("result", "status", "reason"), [
    ({"different": "hidden.W has another shape"}, "not the same work", "hidden.W has another shape"),
    ({"measurement": {"status": "failed", "reason": "no memory"}}, "failed", "no memory"),
    ({"status": "timeout", "reason": "took too long"}, "failed", "took too long"),
])  # fmt: skip
def test_a_process_that_fails_is_told(course, monkeypatch, result, status, reason):
    header, folder, _ = course
    gate.judge(header, folder, SCIKIT)
    monkeypatch.setattr(launch, "finish", lambda *_: result)
    found = gate.judge(header, folder, SCIKIT)
    assert (found.status, found.reason) == (status, reason)


def test_without_a_reference_nobody_passes(course, monkeypatch):
    header, folder, _ = course
    monkeypatch.setattr(launch, "finish", lambda *_: {"status": "failed", "reason": "no memory"})
    found = gate.judge(header, folder, SCIKIT)
    assert (found.status, found.reason) == ("failed", "there is nothing to compare with: no memory")


def test_another_shape_is_told():
    with pytest.raises(OtherWork, match=r"its scores differ on the same weights: logits has shape \(3,\), not \(2,\)"):
        gate.differences({"logits": np.ones(3)}, {"logits": np.ones(2)})
