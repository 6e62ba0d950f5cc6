"""History: columns, flags of the best epochs, and the ways in and out."""

import copy
import json
import pickle

import numpy as np
import pytest

from portanet import NeuralNetRegressor
from portanet.history import History


@pytest.fixture
def history():
    recorded = History()
    for epoch, (train, valid) in enumerate([(0.9, 0.8), (0.5, 0.9), (0.6, 0.7), (0.5, 0.7)], start=1):
        recorded.record({"epoch": epoch, "train_loss": train, "valid_loss": valid, "dur": 0.25})
    return recorded


@pytest.fixture(scope="module")
def fitted():
    X = np.linspace(-1, 1, 40).reshape(-1, 1)
    net = NeuralNetRegressor(max_epochs=3, train_split=0.25, random_state=0)
    return net.fit(X, X[:, 0] ** 2)


def test_a_row_a_cell_a_column_and_a_part_of_one(history):
    assert history[1]["train_loss"] == 0.5
    assert history[1, "train_loss"] == 0.5
    assert history[-1, "epoch"] == 4
    assert history[:, "valid_loss"] == [0.8, 0.9, 0.7, 0.7]
    assert history[1:3, "epoch"] == [2, 3]
    assert history[::-1, "epoch"] == [4, 3, 2, 1]


def test_unknown_column_and_row(history):
    with pytest.raises(KeyError, match="nothing"):
        history[:, "nothing"]
    with pytest.raises(IndexError):
        history[4, "epoch"]


def test_best_is_strictly_lower_than_all_before(history):
    assert history[:, "train_loss_best"] == [True, True, False, False]
    assert history[:, "valid_loss_best"] == [True, False, True, False]


def test_without_validation_nothing_is_said_of_it():
    history = History()
    history.record({"epoch": 1, "train_loss": 1.0})
    assert history == [{"epoch": 1, "train_loss": 1.0, "train_loss_best": True}]


def test_validation_that_begins_later_counts_from_there():
    history = History()
    history.record({"epoch": 1, "train_loss": 1.0})
    history.record({"epoch": 2, "train_loss": 2.0, "valid_loss": 3.0})
    history.record({"epoch": 3, "train_loss": 0.5, "valid_loss": 4.0})
    assert history[1:, "valid_loss_best"] == [True, False]
    assert history[:, "train_loss_best"] == [True, False, True]


def test_columns_in_the_order_of_their_coming(history):
    history.append({"epoch": 5, "score": 1.0})
    assert history.columns() == [
        "epoch", "train_loss", "valid_loss", "dur", "train_loss_best", "valid_loss_best", "score",
    ]  # fmt: skip
    assert History().columns() == []


def test_json_there_and_back(history):
    again = History.from_json(history.to_json())
    assert isinstance(again, History)
    assert again == history
    assert json.loads(history.to_json())[0]["train_loss"] == 0.9


def test_json_of_a_real_fit_loses_no_bit(fitted):
    again = History.from_json(fitted.train_history_.to_json())
    assert again == fitted.train_history_
    again.record({"epoch": 4, "train_loss": -1.0})
    assert again[-1, "train_loss_best"] is True


def test_data_frame(fitted):
    frame = fitted.train_history_.to_dataframe()
    assert list(frame["epoch"]) == [1, 2, 3]
    assert list(frame.columns) == fitted.train_history_.columns()
    assert list(frame["valid_loss"]) == fitted.train_history_[:, "valid_loss"]
    assert frame["train_loss_best"].dtype == bool


@pytest.mark.parametrize("again", [lambda h: pickle.loads(pickle.dumps(h)), copy.deepcopy])
def test_pickles_and_copies_are_equal_but_apart(history, again):
    other = again(history)
    assert isinstance(other, History) and other == history
    other[0]["train_loss"] = 7
    assert history[0, "train_loss"] == 0.9 and other != history


def test_equal_by_value(history):
    assert history == History([dict(row) for row in history])
    assert history == [dict(row) for row in history]
    assert history != History(history[:-1])


def test_what_a_fit_records(fitted):
    assert fitted.history_ is fitted.train_history_
    assert fitted.train_history_.columns() == [
        "epoch", "train_loss", "valid_loss", "dur", "train_loss_best", "valid_loss_best",
    ]  # fmt: skip
    for row in fitted.train_history_:
        assert {type(row[name]) for name in ("train_loss", "valid_loss", "dur")} == {float}
        assert {type(row[name]) for name in ("train_loss_best", "valid_loss_best")} == {bool}
        assert row["dur"] >= 0
