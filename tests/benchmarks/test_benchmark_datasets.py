"""Stand-ins say that they are, can be learnt though not by heart, and are the same for everyone."""

import json

import numpy as np
import pytest

from portanet import NeuralNet
from portanet.benchmarks import datasets
from portanet.benchmarks.datasets import Dataset
from portanet.data import DataFileError
from portanet.exceptions import DataError


@pytest.fixture
def nowhere(monkeypatch):
    monkeypatch.delenv("PORTANET_DATA", raising=False)


def idx(folder, part, rows, labels=None):
    """The two files of one part of MNIST, of 2x3 pixels."""
    count = np.array([rows, 2, 3], ">i4").tobytes()
    folder.joinpath(f"{part}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + count + bytes(range(6)) * rows)
    labels = bytes(rows) if labels is None else labels
    header = bytes([0, 0, 8, 1]) + np.array([len(labels)], ">i4").tobytes()
    folder.joinpath(f"{part}-labels-idx1-ubyte").write_bytes(header + labels)


STAND_INS = {"MNIST": (lambda: datasets.mnist(flatten=False), (60_000, 1, 28, 28), 0.0),
             "CIFAR-10": (datasets.cifar10, (50_000, 1024), -0.5)}  # fmt: skip


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_has_the_shape_of_the_real_data_and_says_what_it_is(name, nowhere):
    load, shape, low = STAND_INS[name]
    found = load()
    assert found.X.shape == shape and found.X_test.shape == (10_000, *shape[1:])
    assert found.X.dtype == np.float32 and found.y.dtype == np.int32 and found.classes == 10
    assert (found.X.min(), found.X.max()) == (low, low + 1)
    assert not found.real and found.name == f"stand-in for {name}"
    assert f"not {name} itself" in found.note and "set PORTANET_DATA" in found.note


def test_real_files_are_taken_from_the_folder_configured(tmp_path, monkeypatch):
    for part, rows in (("train", 4), ("t10k", 2)):
        idx(tmp_path, part, rows)
    monkeypatch.setenv("PORTANET_DATA", str(tmp_path))
    found = datasets.mnist(flatten=False)
    assert found.real and found.name == "MNIST" and found.X.shape == (4, 1, 2, 3) and found.note == ""
    assert datasets.mnist(tmp_path).X_test.shape == (2, 6)


def test_a_folder_that_was_given_is_never_replaced_by_a_stand_in(tmp_path):
    for load in (datasets.mnist, datasets.cifar10, datasets.reviews):
        with pytest.raises(DataFileError, match=r"no (MNIST|CIFAR-10|IMDB) files"):
            load(tmp_path)


def test_a_damaged_file_is_never_replaced_by_a_stand_in(tmp_path, monkeypatch):
    idx(tmp_path, "train", 4, labels=bytes(3))
    idx(tmp_path, "t10k", 2)
    monkeypatch.setenv("PORTANET_DATA", str(tmp_path))
    with pytest.raises(DataFileError, match="3 labels for the 4 images"):
        datasets.mnist()


def test_film_reviews_are_cut_to_their_last_words(tmp_path):
    line = {"tokens": list(range(4, 60)), "label": 1}
    short = {"tokens": [9000], "label": 0, "split": "test"}
    tmp_path.joinpath("imdb.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(short)}\n")
    found = datasets.reviews(tmp_path, words=40, length=30)
    assert found.real and found.X.shape == (1, 30) and found.X.dtype == np.int32
    assert found.X[0].max() < 40 and found.X_test[0].tolist() == [0] * 28 + [1, 2]


def test_seeds_decide_everything():
    def make(seed):
        return datasets.images(200, 50, 8, 0.4, 0.0, 1.0, seed), datasets.sequences(200, 50, 300, seed=seed)

    once, again, other = make(0), make(0), make(1)
    assert [data.sha256 for data in once] == [data.sha256 for data in again]
    assert all(a.sha256 != b.sha256 for a, b in zip(once, other, strict=True))


def test_images_can_be_learnt_though_a_tenth_of_the_labels_is_drawn():
    found = datasets.images(3000, 1000, 12, 0.3, 0.0, 1.0)
    net = NeuralNet(train_split=None, backend="numpy", verbose=0, random_state=0, update_learning_rate=0.05)
    net.fit(found.X, found.y, epochs=15)
    assert 1 - net.score(found.X_test, found.y_test) < 0.15 < net.train_history_[-1, "train_loss"]


def test_about_a_tenth_of_the_labels_is_drawn():
    rng = np.random.default_rng(0)
    y = np.zeros(20_000, np.int32)
    assert abs((datasets._doubted(rng, y, 10) != y).mean() - datasets.DOUBT * 0.9) < 0.01


def test_words_tell_classes_apart_and_their_order_tells_more():
    """A count of words for and against, and the same with those behind a negation turned."""
    found = datasets.sequences(4000, 100, 400)
    side = (found.X - datasets.NEGATION - 1) // datasets.TELLING
    vote = (side == 1).astype(int) - (side == 0)
    turned = np.pad(found.X[:, :-1] == datasets.NEGATION, [(0, 0), (1, 0)])
    counted = ((vote.sum(axis=1) > 0) == found.y).mean()
    heeded = ((np.where(turned, -vote, vote).sum(axis=1) > 0) == found.y).mean()
    assert 0.6 < counted < heeded - 0.05 < 0.95


def test_too_few_words_are_refused():
    with pytest.raises(DataError, match="words must be at least 83, got 50"):
        datasets.sequences(10, 10, words=50)


def test_what_is_saved_is_what_is_opened(tmp_path):
    found = datasets.sequences(30, 10, 200)
    found.save(tmp_path / "data")
    again = datasets.opened(tmp_path / "data", found.name, found.real, found.note)
    assert again.describe() == found.describe()
    assert json.loads(json.dumps(found.describe()))["shape"] == [32]


def test_a_missing_or_broken_array_is_told(tmp_path):
    datasets.sequences(30, 10, 200).save(tmp_path)
    tmp_path.joinpath("y.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"y\.npy can't be read as an array"):
        datasets.opened(tmp_path)
    tmp_path.joinpath("X.npy").unlink()
    with pytest.raises(DataError, match=r"X\.npy can't be read as an array: .*No such file"):
        datasets.opened(tmp_path)


def test_the_digest_sees_values_types_shapes_and_which_array_they_are_in():
    X, y = np.arange(6.0, dtype=np.float32).reshape(3, 2), np.arange(3, dtype=np.int32)
    digests = [Dataset("a", True, *arrays).sha256 for arrays in (
        (X, y, X, y), (X + 1, y, X, y), (X.reshape(2, 3), y, X, y), (X.view(np.int32), y, X, y),
        (X, y, X, y[::-1]), (X[:2], y, X, y),
    )]  # fmt: skip
    assert len(set(digests)) == len(digests)
    assert Dataset("b", False, np.asfortranarray(X), y, X, y).sha256 == digests[0]


def test_targets_of_a_regression_are_no_classes():
    X = np.zeros((4, 2), np.float32)
    assert Dataset("a", True, X, X[:, 0], X, X[:, 0]).classes is None
    assert Dataset("a", True, X, X.astype(np.int32), X, X.astype(np.int32)).classes is None
