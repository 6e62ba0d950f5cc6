"""P1: a dense net on grey CIFAR-10 images, 1024-100-10."""

from ... import layers
from ...estimator import NeuralNet
from ...nonlinearities import softmax
from ...updates import nesterov_momentum
from .. import datasets
from . import Model


def build(**overrides):
    """The net of ``examples/p1_cifar_dense.py``, which holds a fifth out where this one trains on all rows."""
    declared = dict(
        layers=[
            ("input", layers.InputLayer),
            ("hidden", layers.DenseLayer),
            ("output", layers.DenseLayer),
        ],
        input_shape=(None, 1024),
        hidden_num_units=100,
        output_nonlinearity=softmax,
        output_num_units=10,
        update=nesterov_momentum,
        update_learning_rate=0.01,
        update_momentum=0.9,
        batch_size=128,
        train_split=None,
        max_epochs=50,
        random_state=0,
        verbose=0,
    )
    return NeuralNet(**{**declared, **overrides})


MODEL = Model(
    name="P1",
    title="one hidden layer of 100 units on grey CIFAR-10, 103,510 parameters",
    question="With so little to compute in a batch, what does each engine spend besides, and does a GPU pay?",
    build=build,
    load=datasets.cifar10,
    published=(
        {"who": "Domino", "tool": "nolearn, Lasagne and Theano on a GPU", "figure": "0.5 s an epoch of 40,000 rows"},
        {"who": "Domino", "tool": "nolearn, Lasagne and Theano on 32 cores", "figure": "1.3 s an epoch of 40,000 rows"},
        {"who": "Domino", "tool": "nolearn, Lasagne and Theano", "figure": "41 % test accuracy after 50 epochs"},
    ),
    epochs=50,
    target_error=0.59,
    axis="batch_size",
    values=(32, 128, 512, 2048),
    source="P1",
)
