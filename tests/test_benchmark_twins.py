"""The benchmark compares like with like: a hand-written twin has portanet's parameters, and its losses."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_nets import CPU
from watched_twin import BENCHMARKS, ROWS, idle, rows

from portanet.engine.backends.numpy_backend import NumpyBackend
from portanet.exceptions import BackendUnavailable
from portanet.runtime import environments, registry
from portanet.schedules import values_for

NAMES = ("p1", "p2", "p5", "p6")
APART = ("theano", "mxnet", "cntk")
TWINS = ("torch", "jax", "tensorflow", *APART)


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@functools.cache
def programs():
    return module(BENCHMARKS / "twins" / "programs.py")


@functools.cache
def built(name):
    """portanet's net as the benchmark builds it, nothing dropped, and ready to train."""
    program, net = programs().PROGRAMS[name], programs().net(name)
    shares = {key: 0.0 for key, value in net.get_params().items() if key.endswith("_p") and value == 0.2}
    assert len(shares) == [kind for kind, *_ in program["layers"]].count("dropout")
    return net.set_params(**shares).initialize(*programs().data(name, ROWS), backend="numpy")


def by_layer(name, channels_last):
    """The twin's first weights under portanet's names."""
    left, found = iter(programs().weights(name)), {}
    parameters = iter(built(name).plan_.trainable)
    for kind, *_ in programs().PROGRAMS[name]["layers"]:
        if kind not in ("conv", "dense"):
            continue
        first, second = next(left), next(left)
        W, b = (first, second) if kind == "conv" else (second, first)
        found[next(parameters)], found[next(parameters)] = W, b
    assert next(left, None) is None and next(parameters, None) is None
    return reordered(name, found) if channels_last else found


def reordered(name, found):
    """A twin that flattens (height, width, channels) has the rows of the next weights in that order."""
    net = built(name).layers_
    before = {layer: one.input_layers[0].output_shape for layer, one in net.items() if one.input_layers}
    for layer, shape in before.items():
        if len(shape) == 4 and f"{layer}.W" in found and found[f"{layer}.W"].ndim == 2:
            _, channels, high, wide = shape
            W = found[f"{layer}.W"].reshape(high, wide, channels, -1)
            found[f"{layer}.W"] = W.transpose(2, 0, 1, 3).reshape(channels * high * wide, -1)
    return found


@functools.cache
def own_losses(name, channels_last):
    """portanet's losses of the same epoch from the same weights."""
    net, (X, y) = built(name), programs().data(name, ROWS)
    plan, batches = net.plan_, list(rows())
    specs = {key: getattr(net, f"update_{key}", first) for key, first in plan.update.hyper.items()}
    program = NumpyBackend().compile(plan, CPU, {})
    program.set_state({"parameters": by_layer(name, channels_last), "running": {}})
    program.bind("data", {"input": X, "target": y.astype("int32")})
    hyper = {key: np.array(values_for(spec, 0, len(batches), 0)) for key, spec in specs.items()}
    losses = program.train("data", batches, hyper, 0)
    program.close()
    return losses


@functools.cache
def twin_losses(engine, home):
    """By twin and program. Keras, which brings its own, takes its turn with TensorFlow."""
    script = Path(__file__).with_name("watched_twin.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": engine, "KERAS_HOME": str(home)}
    python, twins = sys.executable, [f"{engine}_twin"] + ["keras_twin"] * (engine == "tensorflow")
    if engine in APART:
        own = environments.find(engine)
        python, environment = own.python, own.variables(1)
    made = subprocess.run([python, str(script), *NAMES, *twins], env=environment, capture_output=True,
                          text=True, check=False, timeout=300)  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    return json.loads(made.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder for the settings that Keras writes."""
    return tmp_path_factory.mktemp("keras")


@pytest.fixture
def need(missing):
    """``need(engine)`` skips, or fails, where it is missing."""

    def load(engine):
        try:
            registry.load(engine)
        except BackendUnavailable as error:
            missing(engine, str(error))

    return load


@pytest.mark.parametrize("name", NAMES)
def test_a_twin_has_the_parameters_of_the_example(name):
    plan, own = built(name).plan_, by_layer(name, False)
    assert {key: array.shape for key, array in own.items()} == dict(plan.trainable) and not plan.running
    counted = {"p1": 103_510, "p2": 127_906, "p5": 669_706, "p6": 65_402}
    assert sum(array.size for array in own.values()) == counted[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_twin_has_the_layers_of_the_example(name):
    """In the order they are computed in, but for a ReLU, which may stand on either side of the pooling."""
    names = {"Conv2DLayer": "conv", "DenseLayer": "dense", "MaxPool2DLayer": "pool", "DropoutLayer": "dropout"}
    kinds = [names[type(one).__name__] for one in built(name).layers_.values() if one.input_layers]
    program = programs().PROGRAMS[name]
    assert [kind for kind, *_ in program["layers"] if kind not in ("relu", "flatten")] == kinds
    assert built(name).batch_size == programs().BATCH and program["rows"] % programs().BATCH == 0
    assert program["shape"] == built(name).plan_.inputs["input"].shape[1:]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", TWINS)
def test_a_twin_learns_as_portanet_does(engine, name, need, home):
    """Five batches from the same weights in the same order, dropout idle: the same loss before each."""
    need(engine)
    expected = own_losses(name, engine in ("jax", "tensorflow"))
    assert abs(expected - expected[0]).max() > 1e-3
    np.testing.assert_allclose(twin_losses(engine, home)[f"{engine}_twin"][name], expected, rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_keras_does_the_same_work(name, need, home):
    """Of its five losses Keras tells the mean."""
    need("tensorflow")
    (loss,) = twin_losses("tensorflow", home)["keras_twin"][name]
    np.testing.assert_allclose(loss, own_losses(name, True).mean(), rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_idle_for_the_comparison_only(name):
    layers = programs().PROGRAMS[name]["layers"]
    assert [kind for kind, *_ in idle(programs().PROGRAMS[name])] == [kind for kind, *_ in layers]
    assert all(sizes == [0.2] for kind, *sizes in layers if kind == "dropout")
