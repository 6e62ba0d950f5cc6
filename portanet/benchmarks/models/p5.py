"""P5: two dense layers with dropout on MNIST, 784-512-512-10."""

from ... import layers
from ...estimator import NeuralNet
from ...nonlinearities import softmax
from ...updates import rmsprop
from .. import datasets
from . import Model


def build(**overrides):
    """The net of ``examples/p5_mnist_mlp.py``."""
    declared = dict(
        layers=[
            ("input", layers.InputLayer),
            ("hidden1", layers.DenseLayer),
            ("dropout1", layers.DropoutLayer),
            ("hidden2", layers.DenseLayer),
            ("dropout2", layers.DropoutLayer),
            ("output", layers.DenseLayer),
        ],
        input_shape=(None, 784),
        hidden1_num_units=512,
        dropout1_p=0.2,
        hidden2_num_units=512,
        dropout2_p=0.2,
        output_nonlinearity=softmax,
        output_num_units=10,
        update=rmsprop,
        update_learning_rate=0.001,
        update_rho=0.9,
        batch_size=128,
        train_split=None,
        max_epochs=20,
        random_state=0,
        verbose=0,
    )
    return NeuralNet(**{**declared, **overrides})


MODEL = Model(
    name="P5",
    title="two hidden layers of 512 units with dropout on MNIST, 669,706 parameters",
    question="Do engines differ in speed, by machine? Do they reach the same model? Can their design explain it?",
    build=build,
    load=datasets.mnist,
    published=({"who": "R244", "tool": "Keras on TensorFlow, Theano and CNTK", "figure": "asked, never measured"},),
    epochs=20,
    target_error=0.02,
    axis="batch_size",
    values=(32, 128, 512, 2048),
    source="P5",
)
