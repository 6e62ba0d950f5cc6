"""Compilation happens once for each shape, counted rather than timed."""

import numpy as np
import pytest
from sklearn.base import clone

from portanet import NeuralNet, layers
from portanet.updates import rmsprop

BATCH, ROWS = 19, 50


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3 * ROWS, 7)).astype("float32")
    return X, (X[:, 0] > X[:, 1]).astype(int)


@pytest.fixture(scope="module")
def rows(data):
    """Some of the data: two whole batches and a tail."""
    return tuple(part[:ROWS] for part in data)


def fitted(backend, rows, width=5):
    """A net after a fit and a prediction. Those of one width share what is compiled."""
    net = NeuralNet(
        layers=[("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
        hidden_num_units=width, update=rmsprop, update_learning_rate=0.01, batch_size=BATCH, max_epochs=2,
        train_split=None, random_state=0, verbose=0, backend=backend.name,
    )  # fmt: skip
    net.fit(*rows)
    net.predict(rows[0])
    assert net.record_["engine"] == backend.name
    return net


def count(net):
    return net._program.compilations


def test_later_epochs_and_predictions_compile_nothing(backend, rows):
    net = fitted(backend, rows)
    compiled = count(net)
    net.partial_fit(*rows, epochs=3)
    net.predict(rows[0])
    net.predict_proba(rows[0])
    net.score(*rows)
    assert count(net) == compiled


def test_a_second_fit_compiles_nothing(backend, rows):
    net = fitted(backend, rows)
    compiled = count(net)
    net.fit(*rows)
    net.predict(rows[0])
    assert count(net) == compiled


def test_a_clone_compiles_nothing(backend, rows):
    net = fitted(backend, rows)
    compiled = count(net)
    other = clone(net).set_params(random_state=1).fit(*rows)
    other.predict(rows[0])
    assert other._program is not net._program
    assert count(other) == compiled
    other.set_params(batch_size=23).partial_fit(*rows)
    assert count(net) == count(other), "what both share is counted once for both"


def test_another_learning_rate_compiles_nothing(backend, rows):
    net = fitted(backend, rows)
    compiled = count(net)
    net.set_params(update_learning_rate=lambda step, epoch: 0.1 / (1 + step)).fit(*rows)
    net.predict(rows[0])
    assert count(net) == compiled


def test_the_number_of_batches_compiles_nothing(backend, data, rows):
    """An engine may compile for the length of a data set and for a new tail, but not for how many batches there are."""
    net = fitted(backend, rows)
    compiled = count(net)
    net.partial_fit(*data)
    longer = count(net)
    assert longer - compiled <= 2
    net.partial_fit(*data, epochs=2)
    assert count(net) == longer


def test_a_new_batch_size_compiles_once(backend, rows):
    net = fitted(backend, rows, width=6)
    compiled = count(net)
    net.set_params(batch_size=25).partial_fit(*rows)
    more, takes_any = count(net), compiled == 0 or backend.name == "theano"  # whose functions know no batch size
    assert more == compiled if takes_any else more > compiled
    net.partial_fit(*rows, epochs=2)
    assert count(net) == more
