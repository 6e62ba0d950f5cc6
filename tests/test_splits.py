"""What is held out: shares, classes, and data of their own."""

import numpy as np
import pytest
from sklearn.base import clone

from portanet import NeuralNetClassifier, NeuralNetRegressor
from portanet.data import PredefinedSplit, TrainSplit
from portanet.data.splits import as_split
from portanet.exceptions import DataError


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def blobs():
    y = np.arange(90) % 3
    return (rng().standard_normal((90, 4)) + 3 * np.eye(3, 4)[y]).astype("float32"), y


@pytest.mark.parametrize(("size", "count", "held_out"), [
    (0.2, 100, 20), (0.25, 10, 2), (0.5, 7, 4), (0.01, 10, 1), (0.999, 10, None), (0.9, 10, 9),
    (np.float32(0.5), 10, 5),
    (1, 10, 1), (3, 10, 3), (9, 10, 9), (np.int64(4), 10, 4), (0, 10, 0), (0.0, 10, 0), (None, 10, 0),
])  # fmt: skip
@pytest.mark.parametrize("shuffle", [True, False])
def test_how_many_rows_are_held_out(size, count, held_out, shuffle):
    split = TrainSplit(size, shuffle=shuffle)
    if held_out is None:
        with pytest.raises(DataError, match="leaves none to train on"):
            split.rows(count, rng=rng())
        return
    train, valid = split.rows(count, rng=rng())
    assert len(valid) == held_out
    np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), np.arange(count))
    assert (np.diff(train) > 0).all() and (np.diff(valid) > 0).all()


@pytest.mark.parametrize("bad", [-0.2, -3, 1.0, 1.5, True, "half", float("nan"), float("inf"), [0.2]])
def test_a_size_that_is_none(bad):
    with pytest.raises(DataError, match="eval_size must be a share below 1, a number of rows, or 0, got") as caught:
        TrainSplit(bad).rows(10)
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize(("size", "count"), [(0.2, 1), (5, 5), (6, 5)])
def test_too_few_rows(size, count):
    with pytest.raises(DataError, match=rf"of n_samples = {count}, which leaves none to train on.*train_split=None"):
        TrainSplit(size).rows(count, rng=rng())


def test_drawn_from_the_generator_given():
    held_out = [tuple(TrainSplit(0.2).rows(100, rng=rng(seed))[1]) for seed in (0, 0, 1)]
    assert held_out[0] == held_out[1] != held_out[2]


def test_unshuffled_the_last_rows_are_held_out():
    train, valid = TrainSplit(3, shuffle=False).rows(10, rng=rng())
    np.testing.assert_array_equal(train, np.arange(7))
    np.testing.assert_array_equal(valid, [7, 8, 9])


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_class_gives_its_exact_share(shuffle):
    classes = rng(1).permutation(np.repeat([0, 1, 2], [50, 30, 20]))
    train, valid = TrainSplit(0.2, shuffle=shuffle).rows(100, classes, rng())
    assert np.bincount(classes[valid]).tolist() == [10, 6, 4]
    assert np.bincount(classes[train]).tolist() == [40, 24, 16]


def test_shares_that_are_no_whole_numbers_are_rounded_so_that_the_total_comes_out():
    classes = np.repeat([0, 1, 2], [7, 7, 6])
    for seed in range(5):
        _, valid = TrainSplit(5).rows(20, classes, rng(seed))
        counts = np.bincount(classes[valid], minlength=3)
        assert counts.sum() == 5
        assert (np.abs(counts - np.array([7, 7, 6]) * 5 / 20) < 1).all()


def test_unshuffled_and_stratified_the_last_of_each_class_are_held_out():
    classes = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(TrainSplit(4, shuffle=False).rows(8, classes)[1], [4, 5, 6, 7])
    grouped = np.sort(classes)
    np.testing.assert_array_equal(TrainSplit(4, shuffle=False).rows(8, grouped)[1], [2, 3, 6, 7])
    np.testing.assert_array_equal(TrainSplit(4, shuffle=False, stratify=False).rows(8, grouped)[1], [4, 5, 6, 7])


@pytest.mark.parametrize("size", [0.1, 0.25, 0.5])
def test_a_class_of_one_stays_in_training(size):
    classes = np.array([0] * 10 + [1] * 10 + [2])
    for seed in range(10):
        train, valid = TrainSplit(size).rows(21, classes, rng(seed))
        assert 20 in train
        assert set(classes[train]) == {0, 1, 2} and set(classes[valid]) <= {0, 1}
        assert len(valid) == round(size * 21)


def test_no_class_is_held_out_whole():
    classes = np.array([0] * 90 + [1] * 2 + [2] * 3)
    for seed in range(10):
        train, _ = TrainSplit(0.9).rows(95, classes, rng(seed))
        assert set(classes[train]) == {0, 1, 2}


def test_where_no_class_can_spare_a_sample():
    split = TrainSplit(0.2)
    with pytest.raises(DataError, match="none of n_samples = 10: each class has a single one.*stratify=False"):
        split.rows(10, np.arange(10), rng())
    assert len(TrainSplit(0.2, stratify=False).rows(10, np.arange(10), rng())[1]) == 2
    assert len(split.rows(10, rng=rng())[1]) == 2


def test_classes_need_not_be_numbers_from_zero():
    classes = np.array([10, -3] * 10)
    _, valid = TrainSplit(0.2).rows(20, classes, rng())
    assert sorted(classes[valid]) == [-3, -3, 10, 10]


def test_what_a_net_takes_for_a_split():
    own, given = TrainSplit(0.3), PredefinedSplit([[1.0]], [0])
    assert as_split(own) is own and as_split(given) is given
    assert as_split(0.1).eval_size == 0.1 and as_split(5).eval_size == 5
    assert as_split(np.float64(0.5)).eval_size == 0.5
    assert as_split(None).eval_size is None
    for bad in ("0.2", [0.2], (1, 2), TrainSplit):
        with pytest.raises(DataError, match="train_split must be a number, TrainSplit, PredefinedSplit or None, got"):
            as_split(bad)


def test_a_net_holds_out_what_it_is_told_to(blobs):
    X, y = blobs
    seen = {}

    def look(part):
        return lambda truth, prediction: seen.setdefault(part, truth.copy()).size

    net = NeuralNetClassifier(max_epochs=1, train_split=TrainSplit(0.2), random_state=0,
                    scores_train=[("n_train", look("train"))], scores_valid=[("n_valid", look("valid"))])  # fmt: skip
    net.fit(X, y)
    assert net.train_history_[0]["n_train"] == 72 and net.train_history_[0]["n_valid"] == 18
    assert np.bincount(seen["train"]).tolist() == [24] * 3 and np.bincount(seen["valid"]).tolist() == [6] * 3


def test_regression_is_not_stratified():
    X = np.arange(20.0).reshape(-1, 1)
    seen = []
    keeping = [("kept", lambda truth, prediction: seen.append(truth) or 0.0)]
    split = TrainSplit(4, shuffle=False)
    NeuralNetRegressor(max_epochs=1, train_split=split, scores_valid=keeping, random_state=0).fit(X, X[:, 0] % 2)
    np.testing.assert_array_equal(seen[0], [0, 1, 0, 1])


def test_too_few_rows_for_a_net(blobs):
    with pytest.raises(ValueError, match="train_split holds out 90 of n_samples = 90"):
        NeuralNetClassifier(train_split=90).fit(*blobs)


def test_nothing_held_out_means_no_validation(blobs):
    for nothing in (None, 0, TrainSplit(None)):
        net = NeuralNetClassifier(train_split=nothing, max_epochs=1, random_state=0).fit(*blobs)
        assert not [name for name in net.train_history_.columns() if name.startswith("valid")]


def test_data_of_their_own(blobs):
    X, y = blobs
    split = PredefinedSplit(X[60:], y[60:])
    net = NeuralNetClassifier(train_split=split, max_epochs=3, batch_size=16, hidden_num_units=8, random_state=0)
    net.fit(X[:60], y[:60])
    proba = net.predict_proba(X[60:])
    assert net.train_history_[-1, "valid_accuracy"] == pytest.approx(net.score(X[60:], y[60:]))
    np.testing.assert_allclose(
        net.train_history_[-1, "valid_loss"], -np.log(proba[np.arange(30), y[60:]]).mean(), rtol=1e-5
    )
    alone = NeuralNetClassifier(train_split=None, max_epochs=3, batch_size=16, hidden_num_units=8, random_state=0)
    alone.fit(X[:60], y[:60])
    assert net.train_history_[:, "train_loss"] == alone.train_history_[:, "train_loss"]


def test_data_of_their_own_with_labels_and_lists(blobs):
    X, y = blobs
    names = np.array(["cat", "dog", "eel"])[y]
    net = NeuralNetClassifier(
        train_split=PredefinedSplit(X[:9].tolist(), names[:9].tolist()), max_epochs=2, random_state=0
    )
    net.fit(X, names)
    assert net.train_history_[-1, "valid_accuracy"] == pytest.approx(net.score(X[:9], names[:9]))


def test_data_of_their_own_that_do_not_fit(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"labels the net was not fitted on: \[7\]"):
        NeuralNetClassifier(train_split=PredefinedSplit(X[:3], [0, 1, 7])).fit(X, y)
    with pytest.raises(ValueError, match="3 features"):
        NeuralNetClassifier(train_split=PredefinedSplit(X[:3, :3], y[:3])).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent"):
        NeuralNetClassifier(train_split=PredefinedSplit(X[:3], y[:2])).fit(X, y)


def test_nets_with_splits_can_be_cloned(blobs):
    X, y = blobs
    for split in (TrainSplit(0.4, stratify=False), PredefinedSplit(X[:30], y[:30])):
        net = NeuralNetClassifier(train_split=split, max_epochs=2, hidden_num_units=8, random_state=0)
        first, second = (clone(net).fit(X, y).train_history_[:, "valid_loss"] for _ in range(2))
        assert first == second
