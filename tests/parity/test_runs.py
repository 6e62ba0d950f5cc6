"""20 steps of the published programs, narrowed, on real digits: every engine stays with NumPy in float64.

Each run has tail batches, dropout where the program has it, and NumPy's masks everywhere.
"""

import functools
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from reference import DTYPES, REFERENCE, SEED, assert_alike, drawing, flat, opened
from sklearn.datasets import load_digits
from tolerances import FORWARD, RUN

from portanet import layers
from portanet.nonlinearities import elu
from portanet.schedules import values_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROWS, BATCH, EPOCHS = 227, 24, 2
CUTS = (1, 6, 2, 8, 3)
NARROW = {
    "p1_cifar_dense": dict(hidden_num_units=15),
    "p2_cifar_convnet": dict(conv1_num_filters=3, conv2_num_filters=5, conv3_num_filters=6, hidden_num_units=13),
    "p5_mnist_mlp": dict(hidden1_num_units=25, hidden2_num_units=17),
    "p6_mnist_convnet": dict(conv1_num_filters=4, conv2_num_filters=3, hidden1_num_units=14, hidden2_num_units=9),
}
NORMALISED = "p6_with_batch_norm"
PROGRAMS = [*NARROW, NORMALISED]
RUNS = [*((name, "float32") for name in PROGRAMS), (NORMALISED, "float64")]


def with_batch_norm(net):
    """P6 with normalised layers, and smooth throughout.

    Normalising magnifies rounding; where a maximum then tips over to its neighbour, or a rectifier over its edge, two
    right runs part. The other programs have those.
    """
    declared, parameters = [], dict(hidden2_nonlinearity=elu)
    for name, kind in net.layers:
        declared.append((name, layers.Pool2DLayer if "pool" in name else kind))
        if "pool" in name:
            parameters[f"{name}_mode"] = "average_exc_pad"
        if name in ("conv1", "conv2", "hidden1"):
            declared += [(f"norm_{name}", layers.BatchNormLayer), (f"elu_{name}", layers.NonlinearityLayer)]
            parameters.update({f"{name}_b": None, f"{name}_nonlinearity": None, f"elu_{name}_nonlinearity": elu})
    return net.set_params(layers=declared).set_params(**parameters)


def build(name, narrow=True):
    """The program's net, with narrow layers or as it was published."""
    source = "p6_mnist_convnet" if name == NORMALISED else name
    spec = importlib.util.spec_from_file_location(source, EXAMPLES / f"{source}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.build(verbose=0, **(NARROW[source] if narrow else {}))
    return with_batch_norm(net) if name == NORMALISED else net


@functools.cache
def digits(name):
    """Real digits in the shape of the program's images, CIFAR's 32x32 or MNIST's 28x28."""
    images, labels = load_digits(return_X_y=True)
    images = np.kron(images[:ROWS].reshape(-1, 8, 8), np.ones((3, 3))) / 16
    border = 4 if "cifar" in name else 2
    images = np.pad(images, [(0, 0), (border, border), (border, border)]).astype("float32")
    flat_input = name in ("p1_cifar_dense", "p5_mnist_mlp")
    return images.reshape(ROWS, -1) if flat_input else images[:, None], labels[:ROWS]


@functools.cache
def plan_of(name, dtype, narrow=True):
    """What `fit` would compile, from initial values that float32 can hold, and the hyper-parameters of 20 steps."""
    net = build(name, narrow).set_params(floatX=dtype).initialize(*digits(name), backend="numpy")
    plan = net.plan_
    plan.arrays = {key: array.astype("float32").astype(dtype) for key, array in plan.arrays.items()}
    specs = {key: getattr(net, f"update_{key}", first) for key, first in plan.update.hyper.items()}
    return plan, {key: np.array(values_for(spec, 0, len(batches()), 0)) for key, spec in specs.items()}


@functools.cache
def batches():
    """Two epochs of rows in random order, the last batch of each smaller."""
    rng = np.random.default_rng(1)
    orders = [rng.permutation(ROWS) for _ in range(EPOCHS)]
    return [order[at : at + BATCH] for order in orders for at in range(0, ROWS, BATCH)]


def calls(cuts):
    """The steps in pieces of those lengths, over and over."""
    steps, at = len(batches()), 0
    for length in itertools.cycle(cuts):
        if at >= steps:
            return
        yield slice(at, at + length)
        at += length


def run(backend, name, dtype="float32", cuts=(20,), seed=SEED, reproducible=True, between=None):
    """Losses of 20 steps and the state afterwards; `between` is called with the program after each call of `train`."""
    plan, hyper = plan_of(name, dtype)
    X, y = digits(name)
    losses = []
    with opened(backend, plan, reproducible) as program:
        program.bind("data", {"input": X.astype(dtype), "target": y.astype("int32")})
        for part in calls(cuts):
            values = {key: array[part] for key, array in hyper.items()}
            losses.extend(program.train("data", batches()[part], values, seed))
            if between is not None:
                between(program)
        return np.array(losses), program.get_state()


@functools.cache
def straight(backend, name, dtype="float32", reproducible=True):
    """The run in one call."""
    return run(backend, name, dtype, reproducible=reproducible)


@functools.cache
def wanted(name, dtype):
    with drawing(dtype):
        return run(REFERENCE, name, "float64")


def assert_same_run(found, expected):
    """Bit for bit."""
    np.testing.assert_array_equal(found[0], expected[0], err_msg="losses")
    end = flat(found[1])
    for name, array in flat(expected[1]).items():
        np.testing.assert_array_equal(end[name], array, err_msg=name)


@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_runs_stay_together(backend, name, dtype):
    (losses, end), (curve, right) = straight(backend, name, dtype), wanted(name, dtype)
    assert curve[-1] < curve[0]
    assert_alike({"losses": losses}, {"losses": curve}, "float64", RUN[dtype])
    assert_alike(flat(end), flat(right), dtype, RUN[dtype])


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_not_matter_how_batches_are_cut_into_calls(backend, name):
    assert_same_run(run(backend, name, cuts=CUTS), straight(backend, name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_seed_gives_the_same_run(backend, name):
    assert_same_run(run(backend, name), straight(backend, name))


@pytest.mark.parametrize("name", ["p5_mnist_mlp", NORMALISED])
def test_looking_does_not_disturb(backend, name):
    """Neither evaluating nor predicting, nor asking for gradients, outputs or the state."""
    X, _ = digits(name)

    def look(program):
        program.evaluate("data", batches()[:2])
        program.predict({"input": X[:BATCH]})
        program.outputs({"input": X[:3]}, ["output"])
        program.gradients("data", batches()[0], SEED + 1)
        program.get_state()

    assert_same_run(run(backend, name, cuts=(7,), between=look), straight(backend, name))


@pytest.mark.parametrize("name", ["p2_cifar_convnet", "p6_mnist_convnet"])
def test_convolutions_as_wide_as_published(backend, name):
    """Channels that fill a processor's registers meet kernels of the engine that narrow nets do not."""

    def looks(engine, dtype):
        plan, hyper = plan_of(name, dtype, narrow=False)
        X, y = digits(name)
        with opened(engine, plan) as program:
            program.bind("data", {"input": X.astype(dtype), "target": y.astype("int32")})
            first = program.predict({"input": X[:BATCH].astype(dtype)})
            before = program.evaluate("data", batches()[:2])
            program.train("data", batches()[:1], {key: array[:1] for key, array in hyper.items()}, SEED)
            layer = program.outputs({"input": X[:BATCH].astype(dtype)}, ["pool1"])[0]
            return {"prediction": first, "scores": before, "layer": layer,
                    "prediction later": program.predict({"input": X[:BATCH].astype(dtype)})}  # fmt: skip

    found, right = looks(backend, "float32"), looks(REFERENCE, "float64")
    for what, array in right.items():
        np.testing.assert_allclose(found[what], array, rtol=RUN["float32"].rtol, atol=RUN["float32"].atol, err_msg=what)


def test_an_engine_s_own_noise_depends_on_seed_and_step_only(backend):
    name = "p5_mnist_mlp"
    expected = straight(backend, name, reproducible=False)
    assert_same_run(run(backend, name, cuts=CUTS, reproducible=False), expected)
    other, _ = run(backend, name, seed=SEED + 1, reproducible=False)
    assert np.all(other != expected[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_tail_batches(backend, dtype):
    """Loss and accuracy of each batch, and predictions for any number of rows, with running statistics in use."""
    X, y = digits(NORMALISED)
    seen = []
    for engine, own in ((backend, dtype), (REFERENCE, "float64")):
        with opened(engine, plan_of(NORMALISED, own)[0]) as program:
            program.set_state(straight(REFERENCE, NORMALISED)[1])
            program.bind("data", {"input": X.astype(own), "target": y.astype("int32")})
            scores = {"loss and accuracy": program.evaluate("data", batches()[:10])}
            counts = (BATCH, 11, 1)
            rows = {f"prediction of {count}": program.predict({"input": X[:count].astype(own)}) for count in counts}
            seen.append((scores, rows))
    (scores, rows), (scores_right, rows_right) = seen
    assert_alike(scores, scores_right, "float64", FORWARD[dtype])
    assert_alike(rows, rows_right, dtype, FORWARD[dtype])
