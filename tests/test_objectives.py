import numpy as np
import pytest
from evaluate import run_graph

from portanet import objectives, ops
from portanet.engine.tracing import Tracer, tracing
from portanet.exceptions import DeclarationError
from portanet.layers.base import Layer
from portanet.rewrites import rewrite

RNG = np.random.default_rng(5)
NUMBERS = np.array([2, 0, 1, 1], dtype="int32")
ONE_HOT = np.eye(3)[NUMBERS]
SCORES = RNG.normal(size=(4, 3)) * 3
PROBABILITIES = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)


def trace(function, *arrays, floatX="float64"):
    """The graph of ``function(prediction, target, ...)`` for arrays whose first axis is the batch."""
    tracer = Tracer("loss", floatX)
    with tracing(tracer):
        dtypes = [floatX if array.dtype.kind == "f" else str(array.dtype) for array in arrays]
        inputs = [tracer.input(f"x{place}", dtype, ("N", *array.shape[1:]))
                  for place, (dtype, array) in enumerate(zip(dtypes, arrays, strict=True))]  # fmt: skip
        tracer.output("result", function(*inputs))
    return tracer.graph


def compute(function, *arrays, floatX="float64"):
    graph = trace(function, *arrays, floatX=floatX)
    feeds = {f"x{place}": array for place, array in enumerate(arrays)}
    return run_graph(graph, {name: feeds[name] for name in graph.inputs})["result"]


P, T = RNG.uniform(0.05, 0.95, size=(4, 2)), RNG.integers(0, 2, size=(4, 2)).astype(float)
A, B = RNG.normal(size=(4, 2)) * 2, RNG.normal(size=(4, 2))
HUBER = np.where(np.abs(A - B) <= 0.7, (A - B) ** 2 / 2, 0.7 * (np.abs(A - B) - 0.35))
WRONG = np.where(ONE_HOT > 0, -np.inf, SCORES).max(axis=1)
HINGE = np.maximum(0, WRONG - (SCORES * ONE_HOT).sum(axis=1) + 1.5)
CLOSED_FORMS = {
    "squared_error": (objectives.squared_error, A, B, (A - B) ** 2),
    "absolute_error": (objectives.absolute_error, A, B, np.abs(A - B)),
    "huber": (lambda p, t: objectives.huber_loss(p, t, delta=0.7), A, B, HUBER),
    "binary": (objectives.binary_crossentropy, P, T, -np.log(np.where(T == 1, P, 1 - P))),
    "binary, soft": (objectives.binary_crossentropy, P, T * 0.8,
                     -(0.8 * T * np.log(P) + (1 - 0.8 * T) * np.log(1 - P))),
    "hinge": (objectives.binary_hinge_loss, A, T, np.maximum(0, 1 - (2 * T - 1) * A)),
    "hinge, sides": (lambda p, t: objectives.binary_hinge_loss(p, t, binary=False, delta=2), A, 2 * T - 1,
                     np.maximum(0, 2 - (2 * T - 1) * A)),
    "hinge, sigmoid": (lambda p, t: objectives.binary_hinge_loss(p, t, log_odds=False), P, T,
                       np.maximum(0, 1 - (2 * T - 1) * np.log(P / (1 - P)))),
    "categorical": (objectives.categorical_crossentropy, PROBABILITIES, NUMBERS,
                    -np.log(PROBABILITIES[np.arange(4), NUMBERS])),
    "categorical, dense": (objectives.categorical_crossentropy, PROBABILITIES, ONE_HOT,
                           -np.log(PROBABILITIES[np.arange(4), NUMBERS])),
    "categorical, soft": (objectives.categorical_crossentropy, PROBABILITIES, PROBABILITIES,
                          -(PROBABILITIES * np.log(PROBABILITIES)).sum(axis=1)),
    "multiclass hinge": (lambda s, t: objectives.multiclass_hinge_loss(s, t, delta=1.5),
                         SCORES, NUMBERS, HINGE),
    "multiclass hinge, dense": (lambda s, t: objectives.multiclass_hinge_loss(s, t, delta=1.5),
                                SCORES, ONE_HOT, HINGE),
}  # fmt: skip


@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_loss_equals_its_closed_form(case):
    function, prediction, target, expected = CLOSED_FORMS[case]
    np.testing.assert_allclose(compute(function, prediction, target), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_loss_keeps_float32(case):
    function, prediction, target, expected = CLOSED_FORMS[case]
    found = compute(function, prediction, target, floatX="float32")
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_losses_of_maps_put_classes_on_axis_1():
    scores = RNG.uniform(size=(2, 3, 2, 2))
    numbers = RNG.integers(0, 3, size=(2, 2, 2)).astype("int32")
    own = np.take_along_axis(scores, numbers[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(compute(objectives.categorical_crossentropy, scores, numbers), -np.log(own))
    dense = np.moveaxis(np.eye(3)[numbers], -1, 1)
    np.testing.assert_allclose(
        compute(objectives.multiclass_hinge_loss, scores, numbers),
        compute(objectives.multiclass_hinge_loss, scores, dense),
    )


def test_whole_number_targets_are_cast():
    found = compute(objectives.squared_error, A, T.astype("int32"))
    np.testing.assert_array_equal(found, (A - T) ** 2)


def test_lone_number_stands_for_every_target():
    np.testing.assert_allclose(compute(lambda p: objectives.binary_crossentropy(p, 1.0), P), -np.log(P))


def ops_of(function, *arrays):
    return [node.op for node in rewrite(trace(function, *arrays)).nodes]


def test_logarithm_of_softmax_is_computed_from_scores():
    found = ops_of(lambda x, t: objectives.categorical_crossentropy(ops.softmax(x), t), SCORES, NUMBERS)
    assert found == ["SoftmaxCrossEntropyLoss"]
    found = ops_of(lambda x, t: objectives.categorical_crossentropy(ops.softmax(x), t), SCORES, ONE_HOT)
    assert "LogSoftmax" in found
    assert "Log" not in found


@pytest.mark.parametrize(
    "loss", [objectives.binary_crossentropy, lambda p, t: objectives.binary_hinge_loss(p, t, log_odds=False)]
)
def test_logarithms_of_sigmoid_are_computed_from_scores(loss):
    found = ops_of(lambda x, t: loss(ops.sigmoid(x), t), A, T)
    assert found.count("Softplus") == 2
    assert not {"Log", "Sigmoid"} & set(found)


def test_binary_accuracy_counts_what_lies_above_the_threshold():
    p, t = np.array([[0.5, 0.51, 0.9]]), np.array([[0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(compute(objectives.binary_accuracy, p, t), [[1, 1, 0]])
    found = compute(lambda p, t: objectives.binary_accuracy(p, t, threshold=0.95), p, t)
    np.testing.assert_array_equal(found, [[1, 0, 1]])


RANKED = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])


@pytest.mark.parametrize(("top_k", "hits"), [(1, [0, 1, 0]), (2, [1, 1, 0]), (3, [1, 1, 0]), (4, [1, 1, 1])])
@pytest.mark.parametrize("dense", [False, True])
def test_categorical_accuracy_counts_the_best(top_k, hits, dense):
    right = np.array([2, 0, 3], dtype="int32")
    target = np.eye(4)[right] if dense else right
    found = compute(lambda p, t: objectives.categorical_accuracy(p, t, top_k=top_k), RANKED, target)
    assert found.dtype == "float64"
    np.testing.assert_array_equal(found, hits)


def test_first_of_equal_scores_wins_as_in_predict():
    found = compute(objectives.categorical_accuracy, RANKED, np.array([3, 0, 0], dtype="int32"))
    np.testing.assert_array_equal(found, [1, 1, 1])


def test_nan_is_no_hit_among_the_best():
    p = np.array([[np.nan, np.nan, np.nan]])
    found = compute(lambda p, t: objectives.categorical_accuracy(p, t, top_k=2), p, NUMBERS[:1])
    np.testing.assert_array_equal(found, [0])


@pytest.mark.parametrize("top_k", [0, 5, 1.0])
def test_top_k_must_fit_the_classes(top_k):
    with pytest.raises(DeclarationError, match="top_k must be from 1 to the 4 classes, got"):
        trace(lambda p, t: objectives.categorical_accuracy(p, t, top_k=top_k), RANKED, NUMBERS[:3])


@pytest.mark.parametrize(
    ("loss", "prediction", "target", "message"),
    [
        (objectives.squared_error, (1,), np.zeros(4),
         r"squared_error: prediction \(N, 1\) against target \(N,\).*one column, y.reshape\(-1, 1\)"),
        (objectives.binary_crossentropy, (3,), NUMBERS, "class numbers go with categorical_crossentropy"),
        (objectives.huber_loss, (3,), np.zeros((4, 2)),
         r"huber_loss: prediction \(N, 3\) against target \(N, 2\).*num_units=2"),
        (objectives.absolute_error, (3,), np.zeros((4, 3, 1)), "both must have the same shape"),
        (objectives.binary_accuracy, (1,), np.zeros(4), r"binary_accuracy: .*y.reshape\(-1, 1\)"),
        (objectives.categorical_crossentropy, (1,), NUMBERS, "num_units=2 or more.*binary_crossentropy"),
        (objectives.categorical_crossentropy, (), NUMBERS, "one output a class"),
        (objectives.categorical_crossentropy, (3,), NUMBERS[:, None], r"class numbers \(N,\), .*ravel"),
        (objectives.categorical_crossentropy, (3,), np.zeros((4, 2)),
         r"a probability for each class \(N, 3\)"),
        (objectives.categorical_crossentropy, (3,), np.zeros(4), "must be int32, got float64; use y.astype"),
        (objectives.multiclass_hinge_loss, (3,), np.zeros(4), "multiclass_hinge_loss.*must be int32"),
        (objectives.categorical_accuracy, (3,), NUMBERS[:, None], "categorical_accuracy.*class numbers"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_told_with_a_fix(loss, prediction, target, message):
    with pytest.raises(DeclarationError, match=message):
        trace(loss, np.zeros((4, *prediction)), target)


LOSSES, WEIGHTS = RNG.uniform(size=(4, 2)), np.array([0.0, 1.0, 2.0, 5.0])
BY_MODE = {
    "mean": (np.mean(LOSSES), np.mean(LOSSES * WEIGHTS[:, None])),
    "sum": (np.sum(LOSSES), np.sum(LOSSES * WEIGHTS[:, None])),
    "normalized_sum": (np.mean(LOSSES), np.average(LOSSES.mean(axis=1), weights=WEIGHTS)),
}


@pytest.mark.parametrize("mode", BY_MODE)
def test_aggregate(mode):
    plain, weighted = BY_MODE[mode]
    assert compute(lambda x: objectives.aggregate(x, mode=mode), LOSSES) == pytest.approx(plain)
    by_sample = compute(lambda x, w: objectives.aggregate(x, w, mode), LOSSES, WEIGHTS)
    assert by_sample == pytest.approx(weighted)
    everywhere = np.broadcast_to(WEIGHTS[:, None], LOSSES.shape)
    assert compute(lambda x, w: objectives.aggregate(x, w, mode), LOSSES, everywhere) == pytest.approx(weighted)
    one = compute(lambda x, w: objectives.aggregate(x, w, mode), LOSSES[:, 0], WEIGHTS)
    assert one == pytest.approx(
        {"mean": np.mean, "sum": np.sum}.get(mode, lambda x: np.sum(x) / 8)(LOSSES[:, 0] * WEIGHTS)
    )


def test_aggregate_counts_bools():
    assert compute(lambda x: objectives.aggregate(x > 0.0), np.array([1.0, -1.0, 2.0, 3.0])) == 0.75


def test_aggregate_refuses_unknown_modes_and_other_shapes():
    with pytest.raises(DeclarationError, match=r"unknown mode 'men'.*did you mean 'mean'.*normalized_sum"):
        trace(lambda x: objectives.aggregate(x, mode="men"), LOSSES)
    with pytest.raises(DeclarationError, match=r"weights \(N, 3\) do not fit the loss \(N, 2\)"):
        trace(objectives.aggregate, LOSSES, np.zeros((4, 3)))
    with pytest.raises(DeclarationError, match=r"weights \(N,\) do not fit the loss \(\): .* each sample"):
        trace(lambda x, w: objectives.aggregate(ops.mean(x), w), LOSSES, WEIGHTS)


class Weighted(Layer):
    def __init__(self, incoming, name):
        super().__init__(incoming, name)
        self.W = self.add_param(0.0, (2,), "W")
        self.b = self.add_param(0.0, (2,), "b", regularizable=False)


def penalised(**options):
    layers = {"one": Weighted((None, 2), "one"), "two": Weighted((None, 2), "two")}
    return lambda p, t: objectives.objective(layers, p, t, **options)


def test_objective_adds_penalties_on_weights_when_training():
    feeds = {"one.W": [1.0, -2.0], "two.W": [0.5, 0.0], "x0": A, "x1": B}
    loss = np.mean((A - B) ** 2)
    found = run_graph(trace(penalised(l1=0.1, l2=0.01), A, B), feeds)["result"]
    assert found == pytest.approx(loss + 0.1 * 3.5 + 0.01 * 5.25)
    assert compute(penalised(l1=0.1, l2=0.01, deterministic=True), A, B) == pytest.approx(loss)
    assert compute(penalised(), A, B) == pytest.approx(loss)


def test_objective_weighs_samples_with_a_loss_of_ones_own():
    def cubed(prediction, target):
        return ops.abs(prediction - target) ** 3.0

    found = compute(lambda p, t, w: penalised(weights=w, loss_function=cubed)(p, t), A, B, WEIGHTS)
    assert found == pytest.approx(np.mean(np.abs(A - B) ** 3 * WEIGHTS[:, None]))


def test_loss_function_that_returns_nothing_is_named():
    def forgetful(prediction, target):
        ops.square(prediction - target)

    with pytest.raises(DeclarationError, match=r"loss function 'forgetful' returned None.*each sample"):
        trace(penalised(loss_function=forgetful), A, B)
