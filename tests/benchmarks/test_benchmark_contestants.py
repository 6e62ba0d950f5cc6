"""Who takes part, who can't and why; portanet's own nets at work; where their time goes."""

import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from portanet import NeuralNet, layers, updates
from portanet.benchmarks import contestants
from portanet.benchmarks.breakdown import SHARES, Breakdown, _Call, _clocks, _pace
from portanet.benchmarks.contestants import LIBRARIES, OtherWork, listed, trainer
from portanet.benchmarks.records import Contestant
from portanet.exceptions import BackendNotFound, DataError, DeviceNotFound
from portanet.runtime import environments, registry

RNG = np.random.default_rng(0)
X, Y = RNG.random((90, 6), dtype=np.float32), np.arange(90) % 3
NUMPY = Contestant("numpy-cpu", "portanet on NumPy", "portanet", "numpy")


def net(**changes):
    settings = dict(
        layers=[("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
        hidden_num_units=5, update=updates.momentum, update_learning_rate=0.1, batch_size=20, train_split=None,
        verbose=0, random_state=3,
    )  # fmt: skip
    return NeuralNet(**{**settings, **changes})


def weights(scale=0.1):
    rng = np.random.default_rng(1)
    shapes = {"hidden.W": (6, 5), "hidden.b": (5,), "output.W": (5, 3), "output.b": (3,)}
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def own():
    """portanet on NumPy, built."""
    made = trainer(NUMPY, 1)
    made.load()
    made.build(net(), X, Y, weights(), seed=3)
    return made


def test_all_engines_are_listed():
    found = listed()
    assert [one.engine for one in found] == list(registry.ROWS)
    assert all(one.kind == "portanet" and one.device == "cpu" for one in found)
    assert next(one for one in found if one.engine == "numpy").absent == ""


def test_keys_are_unique_and_good_as_names_of_files():
    found = listed(["numpy", "torch", "jax"], ["cpu"], ["keras", "skorch", "sklearn", "by_hand"])
    keys = [one.key for one in found]
    assert len(set(keys)) == len(keys)
    assert {"keras-torch-cpu", "keras-jax-cpu", "skorch-torch-cpu", "sklearn-numpy-cpu", "by_hand-torch-cpu"} <= {*keys}
    assert not any(set(key) & set("/: ") for key in keys)


def test_an_engine_that_is_not_installed_is_absent_with_its_command(monkeypatch):
    monkeypatch.setattr(registry, "is_importable", lambda name: name == "numpy")
    monkeypatch.setattr(environments, "find", lambda engine: None)
    (theano,) = listed(["theano"])
    assert theano.absent.endswith("run: portanet env create theano")


def test_a_peer_that_is_not_installed_is_absent_with_its_command(monkeypatch):
    find = contestants.importlib.util.find_spec
    monkeypatch.setattr(contestants.importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    (peer,) = [one for one in listed(["numpy"], peers=["sklearn"]) if one.kind == "peer"]
    assert peer.absent == "sklearn can't be imported here; run: pip install scikit-learn"


def test_a_peer_is_absent_where_its_engine_is(monkeypatch):
    monkeypatch.setattr(registry, "is_importable", lambda name: name == "numpy")
    monkeypatch.setattr(environments, "find", lambda engine: None)
    (own, peer) = listed(["jax"], peers=["keras"])
    assert peer.absent == own.absent == registry.ROWS["jax"].missing


def test_a_gpu_that_is_not_there_is_absent_with_its_code(monkeypatch):
    absent = [{"kind": "gpu", "code": "no-driver", "reason": "there is no driver", "fix": "install one"}]

    class Engine:
        def devices(self):
            return [{"kind": "cpu", "index": 0, "name": "x86"}], absent

    monkeypatch.setattr(registry, "load", lambda name, isolate=False, threads=None: Engine())
    cpu, gpu = listed(["numpy"], ["cpu", "gpu:1"])
    assert cpu.absent == ""
    assert gpu.key == "numpy-gpu1"
    assert gpu.absent.startswith("no-driver: device 'gpu:1' is not available")


def test_scikit_learn_is_absent_on_a_gpu(monkeypatch):
    monkeypatch.setattr(contestants, "_absence", lambda engine, device: "" if device == "cpu" else "no card")
    found = {one.key: one.absent for one in listed(["numpy"], ["cpu", "gpu"], ["sklearn"])}
    assert found["sklearn-numpy-cpu"] == ""
    assert found["sklearn-numpy-gpu"] == "scikit-learn computes on cpu only"


@pytest.mark.parametrize(("given", "error", "sentence"), [
    ({"engines": ["nunpy"]}, BackendNotFound, "did you mean 'numpy'"),
    ({"devices": ["cuda"]}, DeviceNotFound, "did you mean 'gpu'"),
    ({"peers": ["skorhc"]}, DataError, "did you mean 'skorch'"),
])  # fmt: skip
def test_a_misspelt_name_is_told(given, error, sentence):
    with pytest.raises(error, match=sentence):
        listed(**given)


def test_every_library_has_its_module():
    for name in LIBRARIES:
        made = trainer(Contestant(name, name, "peer", LIBRARIES[name].engines[0], library=name), 1)
        assert made.contestant.library == name


def test_an_unknown_library_is_told():
    with pytest.raises(DataError, match="no peer 'lasagne'"):
        trainer(Contestant("x", "x", "peer", "theano", library="lasagne"), 1)


def test_it_starts_from_the_weights_given(own):
    for name, array in own.initial_weights().items():
        np.testing.assert_array_equal(array, weights()[name])


def test_it_fits_as_a_user_would(own):
    seen = []
    own.fit(3, lambda seconds, loss: seen.append((seconds, loss)))
    plain = net(warm_start=True, backend="numpy", device="cpu").initialize(X, Y)
    plain.load_params_from(weights())
    plain.fit(X, Y, epochs=3)
    np.testing.assert_array_equal([loss for _, loss in seen], plain.train_history_[:, "train_loss"])
    np.testing.assert_array_equal(own.probabilities(X), plain.predict_proba(X))
    assert own.record["engine"] == "numpy"
    assert own.record["device"] == "cpu"


def test_initial_weights_are_still_known_after_training(own):
    own.fit(1, lambda *_: None)
    np.testing.assert_array_equal(own.initial_weights()["hidden.W"], weights()["hidden.W"])
    assert not np.array_equal(own.weights()["hidden.W"], weights()["hidden.W"])


def test_hooks_of_the_net_run_too():
    told = []
    made = trainer(NUMPY, 1)
    made.load()
    made.build(net(on_epoch_finished=lambda net, history: told.append("own")), X, Y, weights(), 0)
    made.fit(2, lambda *_: told.append("benchmark"))
    assert told == ["own", "benchmark"] * 2


def test_a_step_is_that_of_fit(own):
    order = np.random.default_rng(5).permutation(90)
    batches = [order[at : at + 20] for at in range(0, 80, 20)]
    losses = own.steps(batches)
    own.restart()
    assert own.steps(batches[:1])[0] == losses[0]
    assert losses.shape == (4,)


def test_later_steps_follow_the_schedule():
    made = trainer(NUMPY, 1)
    made.load()
    made.build(net(update_learning_rate=lambda step, epoch: 0.1 if step < 100 else 0.0), X, Y, weights(), 0)
    made.steps([np.arange(20)], first=100)
    np.testing.assert_array_equal(made.weights()["hidden.W"], weights()["hidden.W"])


@pytest.mark.parametrize("change", [{"hidden.W": np.zeros((6, 4))}, {"hidden.W": None}])
def test_weights_that_are_not_those_of_the_net_are_told(change):
    given = {name: array for name, array in {**weights(), **change}.items() if array is not None}
    made = trainer(NUMPY, 1)
    made.load()
    with pytest.raises(OtherWork, match=r"hidden\.W"):
        made.build(net(), X, Y, given, 0)


def test_shares_add_up_to_one(own):
    own.fit(3, lambda *_: None)
    assert set(own.share) == set(SHARES)
    assert sum(own.share.values()) == pytest.approx(1.0)
    assert all(share >= 0.0 for share in own.share.values())
    assert own.share["kernels"] > 0.0
    assert own.share["transfer"] > 0.0
    assert own.share["input"] > 0.0


def test_nothing_is_left_of_the_watch(own):
    program = own.net._running_program()
    own.fit(1, lambda *_: None)
    assert not {"train", "bind", "get_state"} & set(vars(program))
    assert own.net.batch_iterator_train is None


def test_what_hooks_take_is_not_counted(own, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    breakdown = Breakdown(own.net, 0.0)
    with breakdown:
        now[0] += 1.0
        with breakdown.stopped():
            now[0] += 5.0
    assert breakdown._whole == 1.0


def test_time_without_a_busy_processor_is_waiting(own):
    breakdown = Breakdown(own.net, 0.0)
    breakdown._whole, breakdown._message = 4.0, 0.0
    breakdown._calls = [_Call(10, 2.0, 0.5, 0), _Call(10, 1.0, 3.0, 0)]
    share = breakdown.share()
    assert share["kernels"] == pytest.approx((0.5 + 1.0) / 4.0)
    assert share["waiting"] == pytest.approx(1.5 / 4.0)
    assert share["python"] == pytest.approx(1.0 / 4.0)


def test_what_compiling_adds_to_a_call_is_compiling(own):
    breakdown = Breakdown(own.net, 1.0)
    breakdown._whole, breakdown._message = 4.0, 0.0
    breakdown._calls = [_Call(10, 3.0, 3.0, 1), _Call(10, 1.0, 1.0, 0)]
    assert breakdown.share()["compile"] == pytest.approx((1.0 + 2.0) / 5.0)


def test_messages_to_a_worker_are_transfer(own):
    breakdown = Breakdown(own.net, 0.0)
    breakdown._whole, breakdown._message = 2.0, 0.1
    breakdown._calls = [_Call(10, 1.0, 1.0, 0), _Call(10, 1.0, 1.0, 0)]
    assert breakdown.share()["transfer"] == pytest.approx(0.1)


def test_the_pace_is_that_of_calls_that_compiled_nothing():
    assert _pace([_Call(1, 9.0, 9.0, 1), _Call(2, 2.0, 2.0, 0)]) == 1.0
    assert _pace([]) == 0.0


def test_transformed_batches_are_input():
    from portanet.data import BatchIterator

    class Shifted(BatchIterator):
        def transform(self, Xb, yb):
            return Xb + 1.0, yb

    made = trainer(NUMPY, 1)
    made.load()
    iterator = Shifted(20)
    made.build(net(batch_iterator_train=iterator), X, Y, weights(), 0)
    made.fit(1, lambda *_: None)
    assert made.share["input"] > 0.0
    assert made.net.batch_iterator_train is iterator
    assert not {"rows", "transform"} & set(vars(iterator))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no clock for each process")
def test_a_workers_processor_seconds_count_too():
    clocks = _clocks(SimpleNamespace(record={"worker": {"pid": os.getpid()}}))
    before = 2 * time.process_time()
    told = clocks()
    assert before <= told <= 2 * time.process_time()
