"""BatchIterator: which rows come when, and batches changed on their way into a net."""

import pickle

import numpy as np
import pytest

from portanet import NeuralNetClassifier, layers
from portanet.data import BatchIterator
from portanet.exceptions import DataError


class Doubling(BatchIterator):
    def transform(self, Xb, yb):
        return 2 * Xb, yb


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    return (rng.standard_normal((90, 4)) + 3 * np.eye(3, 4)[y]).astype("float32"), y


def net_of(**kwargs):
    return NeuralNetClassifier(**{**dict(hidden_num_units=8, batch_size=16, max_epochs=3, random_state=0), **kwargs})


def curve(net):
    return net.train_history_[:, "train_loss"]


@pytest.mark.parametrize(("size", "count", "sizes"), [
    (4, 10, [4, 4, 2]), (5, 10, [5, 5]), (1, 3, [1, 1, 1]), (128, 10, [10]), (-1, 10, [10]), (np.int64(3), 4, [3, 1]),
    (4, 0, []), (-1, 0, []),
])  # fmt: skip
def test_every_row_once_and_the_last_batch_at_its_true_size(size, count, sizes):
    batches = BatchIterator(size).rows(count)
    assert [len(rows) for rows in batches] == sizes
    assert [row for rows in batches for row in rows] == list(range(count))


@pytest.mark.parametrize("bad", [0, -2, 2.0, 1.5, True, "8", None])
def test_a_batch_size_that_is_none(bad):
    with pytest.raises(DataError, match=r"batch_size must be a positive whole number, or -1 .*, got") as caught:
        BatchIterator(bad).rows(10)
    assert repr(bad) in str(caught.value)


def test_a_bad_batch_size_of_a_net(blobs):
    with pytest.raises(ValueError, match="batch_size must be a positive whole number.*got 0"):
        net_of(batch_size=0).fit(*blobs)


def test_shuffling_is_drawn_from_the_generator_given():
    first, again, other = (BatchIterator(8).rows(50, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))
    np.testing.assert_array_equal(np.sort(np.concatenate(first)), np.arange(50))
    assert [len(rows) for rows in first] == [8] * 6 + [2]


def test_no_shuffling_without_generator_or_where_unwanted():
    for rows in (
        BatchIterator(8).rows(20),
        BatchIterator(8, shuffle=False).rows(20, np.random.default_rng(0)),
    ):
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(20))


def test_each_epoch_has_its_own_order():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(BatchIterator(8).rows(50, rng)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_called_on_arrays():
    X, y = np.arange(20).reshape(10, 2), np.arange(10)
    batches = list(BatchIterator(4)(X, y))
    assert [len(Xb) for Xb, _ in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([Xb for Xb, _ in batches]), X)
    np.testing.assert_array_equal(np.concatenate([yb for _, yb in batches]), y)


def test_called_without_targets():
    assert [yb for _, yb in BatchIterator(4)(np.zeros((6, 1)))] == [None, None]


def test_called_on_several_inputs():
    X = {"left": np.arange(5), "right": np.arange(10).reshape(5, 2)}
    batches = list(BatchIterator(3)(X, np.arange(5)))
    assert [sorted(Xb) for Xb, _ in batches] == [["left", "right"]] * 2
    np.testing.assert_array_equal(batches[1][0]["left"], [3, 4])
    np.testing.assert_array_equal(batches[1][0]["right"], [[6, 7], [8, 9]])


def test_called_with_a_transform_that_writes_into_what_it_is_given():
    class Zeroing(BatchIterator):
        def transform(self, Xb, yb):
            Xb[:] = 0
            return Xb, yb + 1

    X, y = np.ones((5, 2)), np.arange(5)
    batches = list(Zeroing(2)(X, y))
    assert sum(Xb.sum() for Xb, _ in batches) == 0
    np.testing.assert_array_equal(np.concatenate([yb for _, yb in batches]), y + 1)
    assert X.sum() == 10 and y[0] == 0


def test_whether_it_transforms():
    assert not BatchIterator().transforms
    assert Doubling().transforms


def test_says_what_it_is_and_pickles():
    assert repr(Doubling(16, shuffle=False)) == "Doubling(batch_size=16, shuffle=False)"
    assert pickle.loads(pickle.dumps(BatchIterator(7))).batch_size == 7


def test_a_net_s_iterator_goes_before_its_batch_size(blobs):
    given = net_of(batch_size=50, batch_iterator_train=BatchIterator(16)).fit(*blobs)
    assert curve(given) == curve(net_of().fit(*blobs))
    assert curve(given) != curve(net_of(batch_size=50).fit(*blobs))


def test_unshuffled_training_takes_the_rows_as_they_come(blobs):
    X, y = blobs
    seen = []

    class Watching(BatchIterator):
        def transform(self, Xb, yb):
            seen.append(Xb.copy())
            return Xb, yb

    net_of(batch_iterator_train=Watching(40, shuffle=False), max_epochs=2).fit(X, y)
    assert [len(Xb) for Xb in seen] == [40, 40, 10] * 2
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([X, X]))


def test_a_transform_that_changes_nothing_changes_nothing(blobs):
    class Same(BatchIterator):
        def transform(self, Xb, yb):
            return Xb.copy(), yb.copy()

    dropping = [("in", layers.InputLayer), ("drop", layers.DropoutLayer), ("out", layers.DenseLayer)]
    for options in ({}, {"layers": dropping, "train_split": 0.3}):
        declared = dict(batch_size=16, max_epochs=3, random_state=0)
        plain = NeuralNetClassifier(**declared, **options).fit(*blobs)
        same = NeuralNetClassifier(**declared, **options, batch_iterator_train=Same(16)).fit(*blobs)
        assert curve(same) == curve(plain)
        np.testing.assert_array_equal(same.predict_proba(blobs[0]), plain.predict_proba(blobs[0]))


def test_a_transform_reaches_the_net_and_not_the_user_s_arrays(blobs):
    class Doubled(BatchIterator):
        def transform(self, Xb, yb):
            Xb *= 2
            yb[:] = (yb + 1) % 3
            return Xb, yb

    X, y = blobs[0].copy(), blobs[1].copy()
    net = net_of(batch_iterator_train=Doubled(16)).fit(X, y)
    np.testing.assert_array_equal(X, blobs[0])
    np.testing.assert_array_equal(y, blobs[1])
    assert curve(net) == curve(net_of().fit(2 * X, (y + 1) % 3))
    assert curve(net) != curve(net_of().fit(X, y))


def test_a_transform_may_return_other_floats_and_lists(blobs):
    class Wide(BatchIterator):
        def transform(self, Xb, yb):
            return Xb.astype("float64"), yb.tolist()

    assert curve(net_of(batch_iterator_train=Wide(16)).fit(*blobs)) == curve(net_of().fit(*blobs))


def test_a_transform_may_add_rows(blobs):
    class Twice(BatchIterator):
        def transform(self, Xb, yb):
            return np.concatenate([Xb, Xb]), np.concatenate([yb, yb])

    twice, once = net_of(batch_iterator_train=Twice(16)).fit(*blobs), net_of().fit(*blobs)
    np.testing.assert_allclose(curve(twice), curve(once), rtol=1e-4)


def test_rows_that_a_transform_adds_count_in_the_epoch_s_loss(blobs):
    class OnlyFirst(BatchIterator):
        def transform(self, Xb, yb):
            keep = 60 if yb[0] == 1 else 30
            return Xb[:keep], yb[:keep]

    X = blobs[0]
    y = np.array([0] * 30 + [1] * 30 + [1] * 30)
    losses = []
    net = net_of(batch_iterator_train=OnlyFirst(-1, shuffle=False), max_epochs=1,
                 on_batch_finished=lambda net, history, loss: losses.append(loss)).fit(X, y)  # fmt: skip
    assert curve(net) == losses


@pytest.mark.parametrize("weighted", [False, True])
def test_a_transform_that_makes_rows_unequal(blobs, weighted):
    class Uneven(BatchIterator):
        def transform(self, Xb, yb):
            return np.concatenate([Xb, Xb]), np.concatenate([yb, yb]) if weighted else yb

    weight = np.ones(90) if weighted else None
    with pytest.raises(DataError, match="Uneven.transform made a batch of unequal rows: 32 of 'input', .* of 'target'"):
        net_of(batch_iterator_train=Uneven(16)).fit(*blobs, sample_weight=weight)


def test_a_transform_that_returns_nothing(blobs):
    class InPlace(BatchIterator):
        def transform(self, Xb, yb):
            Xb *= 2

    with pytest.raises(DataError, match="InPlace.transform must return Xb and yb, got NoneType"):
        net_of(batch_iterator_train=InPlace(16)).fit(*blobs)


def test_a_transform_that_leaves_no_rows(blobs):
    class Nobody(BatchIterator):
        def transform(self, Xb, yb):
            return Xb[:0], yb[:0]

    with pytest.raises(DataError, match="Nobody.transform made a batch without rows"):
        net_of(batch_iterator_train=Nobody(16)).fit(*blobs)


def test_a_transform_of_several_inputs(blobs):
    class Swapping(BatchIterator):
        def transform(self, Xb, yb):
            return {"left": Xb["right"], "right": Xb["left"]}, yb

    X, y = blobs
    declared = [("left", layers.InputLayer), ("right", layers.InputLayer),
                ("both", layers.ConcatLayer, {"incomings": ["left", "right"]}),
                ("output", layers.DenseLayer)]  # fmt: skip
    options = dict(layers=declared, batch_size=16, max_epochs=3, random_state=0)
    parts, swapped = {"left": X[:, :2], "right": X[:, 2:]}, {"left": X[:, 2:], "right": X[:, :2]}
    net = NeuralNetClassifier(**options, batch_iterator_train=Swapping(16)).fit(parts, y)
    assert curve(net) == curve(NeuralNetClassifier(**options).fit(swapped, y))


def test_the_transform_of_training_leaves_validation_alone(blobs):
    X, y = blobs
    seen = []

    class Watching(BatchIterator):
        def transform(self, Xb, yb):
            seen.append(len(Xb))
            return Xb, yb

    net_of(batch_iterator_train=Watching(32), train_split=0.5, max_epochs=1).fit(X, y).predict(X)
    assert seen == [32, 13]
