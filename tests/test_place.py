"""From plan to program: devices as asked for, what is refused, and what is put down."""

import json
import os
import types

import numpy as np
import pytest

from portanet import NeuralNet, NeuralNetClassifier, config_context, layers, ops
from portanet.engine.lowering import UnsupportedOperator
from portanet.engine.program import Backend, DeviceFault
from portanet.exceptions import DeclarationError, DeviceUnavailable
from portanet.runtime import registry
from portanet.runtime.worker_pool import close_workers

X = np.random.default_rng(0).standard_normal((24, 4)).astype("float32")
Y = np.arange(24) % 3


def small(**kwargs):
    return NeuralNetClassifier(hidden_num_units=5, max_epochs=2, random_state=0, **kwargs)


def test_a_gpu_that_is_not_there_is_refused_with_the_reason(backend):
    found, absent = backend.devices()
    if any(row["kind"] == "gpu" for row in found):
        assert small(backend=backend.name, device="gpu").fit(X, Y).record_["device"].startswith("gpu")
        return
    with pytest.raises(DeviceUnavailable, match=rf"'gpu' .* '{backend.name}': .*; fix: .*") as caught:
        small(backend=backend.name, device="gpu").fit(X, Y)
    assert caught.value.reason == absent[0]["code"] and caught.value.fix == absent[0]["fix"]


def test_auto_says_once_what_it_does_without(backend, capsys):
    net = small(backend=backend.name, device="auto", verbose=1).fit(X, Y).partial_fit(X, Y)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("device 'auto' is the CPU")]
    assert said == ([net.record_["note"]] if net.record_["note"] else [])
    assert bool(net.record_["note"]) == (net.record_["device"] == "cpu")
    assert small(backend=backend.name, device="cpu").fit(X, Y).record_["note"] == ""


def test_the_record_tells_what_ran(backend):
    record = small(backend=backend.name, device="cpu", threads=2).fit(X, Y).record_
    assert record["engine"] == record["backend"] == backend.name and record["version"] == backend.version
    assert record["device"] == record["asked_device"] == "cpu" and record["floatX"] == "float32"
    assert record["threads"] == 2 and record["compile_seconds"] >= 0 and record["train_seconds"] > 0
    assert set(record["kernels"].values()) <= {"fused", "expanded"}
    json.dumps(record)


class Words(layers.Layer):
    """A vector for each word."""

    def __init__(self, incoming, size, W=0.1, **kwargs):
        super().__init__(incoming, **kwargs)
        self.W = self.add_param(W, (size, 2), "W")

    def get_output_for(self, input, **kwargs):
        return ops.take(self.W, input, axis=0)


def words(size):
    return NeuralNet(
        [("input", layers.InputLayer), ("words", Words), ("output", layers.DenseLayer)],
        input_shape=(None, 3), input_dtype="int32", words_size=size,
        update_learning_rate=0.1, max_epochs=1, train_split=None, random_state=0,
    )  # fmt: skip


@pytest.mark.parametrize("wrong", [12, -13])
def test_an_index_out_of_range_names_the_layer(backend, wrong):
    with config_context(backend=backend.name, device="cpu"):
        good = np.random.default_rng(0).integers(0, 12, (24, 3))
        net, bad = words(12).fit(good, Y), good.copy()
        bad[17, 1] = wrong
        fault = rf"layer 'words': Gather: index {wrong} is out of bounds .* size 12"
        with pytest.raises(ValueError, match=fault):
            net.predict(bad)
        before = net.get_state()["parameters"]
        with pytest.raises(ValueError, match=fault):
            net.partial_fit(bad, Y)
        for name, array in net.get_state()["parameters"].items():
            np.testing.assert_array_equal(array, before[name])


def test_an_unknown_option_is_refused(backend):
    with pytest.raises(ValueError, match=rf"backend '{backend.name}' has no option 'thread'.*'threads'"):
        small(backend=backend.name, device="cpu", options={"thread": 2}).fit(X, Y)


class Toy(Backend):
    """An engine that refuses whatever it is told to."""

    name, version = "toy", "1"

    def __init__(self, error):
        self.error = error

    def devices(self, kind=None):
        return [{"kind": "cpu", "index": 0, "name": "toy"}, {"kind": "gpu", "index": 0, "name": "toy"}], []

    def compile(self, plan, device, options):
        raise self.error


@pytest.fixture
def toy(monkeypatch):
    """``toy(error)`` installs a backend "toy" that raises it."""
    registry.load.cache_clear()

    def install(error):
        row = registry.BackendRow("toy", "toy_backend", None, "pip install toy", ">=3.9", lacks=frozenset(["Erf"]))
        monkeypatch.setitem(registry.ROWS, "toy", row)
        module = types.SimpleNamespace(backend=lambda: Toy(error))
        monkeypatch.setitem(__import__("sys").modules, "portanet.engine.backends.toy_backend", module)

    yield install
    registry.load.cache_clear()


def test_an_operator_that_an_engine_lacks_names_layer_and_engines(toy):
    toy(UnsupportedOperator("toy can't compute this operator", "hidden", "Erf"))
    fault = r"layer 'hidden': backend 'toy' cannot compute Erf: .*; engines that can: numpy, .*torch.*backend="
    with pytest.raises(DeclarationError, match=fault):
        small(backend="toy").fit(X, Y)


def test_a_device_that_fails_its_probe_is_unavailable(toy):
    row = {"kind": "gpu", "code": "probe-failed", "reason": "the result lies on 'cpu'", "fix": "reinstall"}
    toy(DeviceFault(row))
    with pytest.raises(DeviceUnavailable, match="'gpu' failed on backend 'toy': the result lies on 'cpu'; fix: r"):
        small(backend="toy", device="gpu").fit(X, Y)


def test_isolate_is_asked_for_by_argument_or_configuration():
    here = small(backend="numpy", device="cpu").fit(X, Y)
    assert "worker" not in here.record_
    for isolate, context in ((True, {}), (None, {"isolate": True})):
        with config_context(**context):
            net = small(backend="numpy", device="cpu", isolate=isolate, threads=1).fit(X, Y)
        assert net.record_["isolated"] and net.record_["worker"]["pid"] != os.getpid()
        assert net.record_["backend"] == "numpy" and net.record_["threads"] == 1
        np.testing.assert_array_equal(net.predict_proba(X), here.predict_proba(X))
    with config_context(isolate=True):
        assert "worker" not in small(backend="numpy", device="cpu", isolate=False).fit(X, Y).record_
    close_workers()


def test_faults_of_an_isolated_engine_are_those_of_one_here():
    with pytest.raises(ValueError, match=r"backend 'numpy' has no option 'thread' \(did you mean 'threads'\?\)"):
        small(backend="numpy", isolate=True, options={"thread": 2}).fit(X, Y)
    with pytest.raises(DeviceUnavailable, match="'gpu' .* 'numpy': .*; fix: ") as caught:
        small(backend="numpy", isolate=True, device="gpu").fit(X, Y)
    assert caught.value.reason
    bad, good = np.full((24, 3), 12), np.zeros((24, 3), int)
    with config_context(isolate=True, device="cpu"), pytest.raises(ValueError, match="layer 'words': Gather: index 12"):
        words(12).fit(good, Y).predict(bad)
    close_workers()
