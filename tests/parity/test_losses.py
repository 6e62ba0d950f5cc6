"""Every loss, metric, way of averaging and penalty on every engine against NumPy in float64: value and gradients.

All share a net, since engines compile each net anew: each case has an output layer of its own, whose gradients are
those of its loss alone, and a metric that shows its value. The objective that `fit` takes by default comes last.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from reference import DTYPES, SEED, Net, assert_alike, on_reference, opened, plan_of
from tolerances import FORWARD, GRADIENT

from portanet import layers, objectives, ops, regularization
from portanet.compile import Task
from portanet.engine.graph import TensorType
from portanet.init import Normal
from portanet.nonlinearities import sigmoid, softmax

UNITS = 3
ROWS = np.array([4, 0, 8, 6, 2, 5, 3])
WEIGHTING = {"weighted": True, "unweighted": False}


class Case(NamedTuple):
    """What one output layer learns.

    Attributes
    ----------
    loss : callable
        ``loss(output, target)``.
    nonlinearity : callable or None
        Of the output layer.
    target : str
        Name in `TARGETS`.
    total : callable
        ``total(loss, weights, layer)``, one number.
    """

    loss: Callable
    nonlinearity: Callable | None = None
    target: str = "numbers"
    total: Callable = lambda loss, weights, layer: objectives.aggregate(loss, weights)


TARGETS = {
    "numbers": slice(0, 3),
    "classes": 3,
    "distribution": slice(4, 7),
    "flags": slice(7, 10),
    "sides": slice(10, 13),
}


def averaged(mode, weights_of=lambda loss, weights: weights):
    """Squared errors made one number in that way."""
    return Case(
        objectives.squared_error,
        total=lambda loss, weights, layer: objectives.aggregate(loss, weights_of(loss, weights), mode),
    )


def penalised(penalty):
    """Squared errors and a penalty on the layer."""
    return Case(
        objectives.squared_error,
        total=lambda loss, weights, layer: objectives.aggregate(loss, weights) + 0.3 * penalty(layer),
    )


def smooth_l1(x, sharpness):
    return ops.sum(ops.softplus(sharpness * x) + ops.softplus(-sharpness * x)) / sharpness


CASES = {
    "squared_error": Case(objectives.squared_error),
    "absolute_error": Case(objectives.absolute_error),
    "huber_loss": Case(functools.partial(objectives.huber_loss, delta=0.7)),
    "binary_crossentropy": Case(objectives.binary_crossentropy, sigmoid, "flags"),
    "binary_crossentropy_soft": Case(objectives.binary_crossentropy, sigmoid, "distribution"),
    "binary_hinge_loss": Case(objectives.binary_hinge_loss, None, "flags"),
    "binary_hinge_loss_of_sigmoid": Case(
        functools.partial(objectives.binary_hinge_loss, delta=0.5, log_odds=False, binary=False), sigmoid, "sides"
    ),
    "categorical_crossentropy": Case(objectives.categorical_crossentropy, softmax, "classes"),
    "categorical_crossentropy_soft": Case(objectives.categorical_crossentropy, softmax, "distribution"),
    "multiclass_hinge_loss": Case(objectives.multiclass_hinge_loss, None, "classes"),
    "multiclass_hinge_loss_soft": Case(
        functools.partial(objectives.multiclass_hinge_loss, delta=2.0), None, "distribution"
    ),
    "binary_accuracy": Case(objectives.binary_accuracy, sigmoid, "flags"),
    "categorical_accuracy": Case(objectives.categorical_accuracy, softmax, "classes"),
    "categorical_accuracy_soft": Case(objectives.categorical_accuracy, softmax, "distribution"),
    "categorical_accuracy_of_2": Case(functools.partial(objectives.categorical_accuracy, top_k=2), softmax, "classes"),
    "own": Case(lambda p, t: ops.softplus(p - t) + 0.1 * ops.square(p)),
    "aggregate_sum": averaged("sum"),
    "aggregate_normalized_sum": averaged("normalized_sum"),
    "aggregate_weight_of_each": averaged("normalized_sum", lambda loss, weights: ops.stop_gradient(loss) + 1.0),
    "l1": penalised(lambda layer: regularization.regularize_layer_params(layer, regularization.l1)),
    "l2": penalised(lambda layer: regularization.regularize_network_params(layer, regularization.l2)),
    "apply_penalty": penalised(lambda layer: regularization.apply_penalty(layer.params, smooth_l1, sharpness=3.0)),
    "regularize_layer_params_weighted": penalised(
        lambda layer: regularization.regularize_layer_params_weighted({layer: 1.5}, regularization.l2)
    ),
}
FLAT = {name for name in CASES if "accuracy" in name}


def value_of(case, layer, target, weights, deterministic):
    output = layers.get_output(layer, deterministic=deterministic)
    target = target[:, TARGETS[case.target]]
    if case.target == "classes":
        target = ops.cast(target, "int32")
    return case.total(case.loss(output, target), weights, layer)


def objective(layers, prediction, target, weights, loss_function, deterministic):
    parts = [value_of(case, layers[name], target, weights, deterministic) for name, case in CASES.items()]
    return functools.reduce(lambda a, b: a + b, parts)


@functools.cache
def heads():
    """An output layer for each case, on one input."""
    source = layers.InputLayer((None, 5), "input")
    return {
        name: layers.DenseLayer(source, UNITS, W=Normal(0.7), b=Normal(0.7), nonlinearity=case.nonlinearity, name=name)
        for name, case in CASES.items()
    }


def metric_of(name, weighted):
    """The value of a case as a metric: one number, spread over the batch, so that averaging leaves it as it is."""

    def metric(prediction, target):
        weights = target[:, -1] if weighted else None
        value = value_of(CASES[name], heads()[name], target, weights, deterministic=True)
        return value * (0.0 * target[:, 0] + 1.0)

    return metric


def net_of(weighted):
    """All cases side by side. The weights of the samples are also the last column of the target, for the metrics."""
    top = layers.ConcatLayer(list(heads().values()), name="output")

    def task(dtype):
        metrics = {name: metric_of(name, weighted) for name in CASES}
        return Task(
            TensorType(dtype, ("N", 14)), objectives.squared_error, objective, metrics=metrics, weighted=weighted
        )

    return Net(top, task)


def data(weighted):
    rng = np.random.default_rng(11)
    weight = rng.uniform(0.2, 2.0, 9).astype("float32")
    scores = rng.uniform(0.0, 1.0, (9, UNITS))
    flags = rng.integers(0, 2, (9, UNITS))
    columns = [rng.standard_normal((9, UNITS)), rng.integers(0, UNITS, (9, 1)), scores / scores.sum(1, keepdims=True),
               flags, 2 * flags - 1, weight[:, None]]  # fmt: skip
    arrays = {"input": rng.standard_normal((9, 5)), "target": np.hstack(columns)}
    return {**arrays, **({"weight": weight} if weighted else {})}


def observe(backend, net, dtype, arrays):
    """Evaluation loss and metrics, gradients by parameter, training loss."""
    plan = plan_of(net, dtype)
    kinds = {**plan.inputs, **plan.targets}
    arrays = {name: np.asarray(array, "float32").astype(kinds[name].dtype) for name, array in arrays.items()}
    with opened(backend, plan) as program:
        program.bind("data", arrays)
        scores = program.evaluate("data", [ROWS])[0]
        values = dict(zip(["evaluation loss", *plan.metrics], scores, strict=True))
        gradients = program.gradients("data", ROWS, SEED)
        values["training loss"] = program.train("data", [ROWS], {"learning_rate": [1.0]}, SEED)[0]
    return values, gradients


@functools.cache
def wanted(weighting, dtype):
    return on_reference(observe, net_of(WEIGHTING[weighting]), dtype, data(WEIGHTING[weighting]))


@functools.cache
def got(backend, weighting, dtype):
    return observe(backend, net_of(WEIGHTING[weighting]), dtype, data(WEIGHTING[weighting]))


def assert_values(seen, right, dtype, tolerance):
    """Losses and metrics are reported as float64, whatever the net computes in."""
    assert_alike(seen, {name: np.float64(value) for name, value in right.items()}, "float64", tolerance[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighting", WEIGHTING)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_of_a_loss(backend, name, weighting, dtype):
    (values, gradients), (right, slopes) = got(backend, weighting, dtype), wanted(weighting, dtype)
    assert_values({name: values[name]}, {name: right[name]}, dtype, FORWARD)
    own = [f"{name}.W", f"{name}.b"]
    assert_alike({key: gradients[key] for key in own}, {key: slopes[key] for key in own}, dtype, GRADIENT[dtype])
    assert all(slopes[key].any() != (name in FLAT) for key in own), "only accuracies have a gradient of zero"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighting", WEIGHTING)
def test_sum_of_all_losses(backend, weighting, dtype):
    totals = ["evaluation loss", "training loss"]
    values, right = got(backend, weighting, dtype)[0], wanted(weighting, dtype)[0]
    assert_values({name: values[name] for name in totals}, {name: right[name] for name in totals}, dtype, FORWARD)
    assert right["evaluation loss"] == pytest.approx(sum(right[name] for name in CASES), rel=1e-12)


def classifier(weighted):
    """Two layers under `objectives.objective` with both penalties, on class numbers as `fit` gives them."""
    hidden = layers.DenseLayer(layers.InputLayer((None, 5), "input"), 4, name="hidden")
    top = layers.DenseLayer(hidden, UNITS, W=Normal(0.7), nonlinearity=softmax, name="output")
    metrics = {"accuracy": objectives.categorical_accuracy}
    return Net(top, lambda dtype: Task(
        TensorType("int32", ("N",)), objectives.categorical_crossentropy, options={"l1": 0.01, "l2": 0.1},
        metrics=metrics, weighted=weighted))  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighting", WEIGHTING)
def test_objective(backend, weighting, dtype):
    """Penalties count when training, not when evaluating."""
    net, arrays = classifier(WEIGHTING[weighting]), data(WEIGHTING[weighting])
    arrays["target"] = arrays["target"][:, TARGETS["classes"]]
    right, slopes = on_reference(observe, net, dtype, arrays)
    values, gradients = observe(backend, net, dtype, arrays)
    assert_values(values, right, dtype, FORWARD)
    assert_alike(gradients, slopes, dtype, GRADIENT[dtype])
    assert right["training loss"] > right["evaluation loss"] + 0.1


def test_every_loss_has_a_case():
    public = {*objectives.__all__, *regularization.__all__} - {"objective", "aggregate"}
    tested = set(CASES) | {"regularize_layer_params", "regularize_network_params"}
    assert public <= tested
