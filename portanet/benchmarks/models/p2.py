"""P2: three convolutions on grey CIFAR-10 images."""

from ... import layers
from ...estimator import NeuralNet
from ...nonlinearities import softmax
from ...updates import nesterov_momentum
from .. import datasets
from . import Model


def build(**overrides):
    """The net of ``examples/p2_cifar_convnet.py``, which holds a fifth out where this one trains on all rows."""
    declared = dict(
        layers=[
            ("input", layers.InputLayer),
            ("conv1", layers.Conv2DLayer),
            ("pool1", layers.MaxPool2DLayer),
            ("conv2", layers.Conv2DLayer),
            ("pool2", layers.MaxPool2DLayer),
            ("conv3", layers.Conv2DLayer),
            ("pool3", layers.MaxPool2DLayer),
            ("hidden", layers.DenseLayer),
            ("output", layers.DenseLayer),
        ],
        input_shape=(None, 1, 32, 32),
        conv1_num_filters=16, conv1_filter_size=(3, 3), pool1_pool_size=(2, 2),
        conv2_num_filters=32, conv2_filter_size=(2, 2), pool2_pool_size=(2, 2),
        conv3_num_filters=64, conv3_filter_size=(2, 2), pool3_pool_size=(2, 2),
        hidden_num_units=200,
        output_nonlinearity=softmax,
        output_num_units=10,
        update=nesterov_momentum,
        update_learning_rate=0.015,
        update_momentum=0.9,
        batch_size=128,
        train_split=None,
        max_epochs=5,
        random_state=0,
        verbose=0,
    )  # fmt: skip
    return NeuralNet(**{**declared, **overrides})


def load(folder=None):
    """CIFAR-10 as images, see `datasets.cifar10`."""
    return datasets.cifar10(folder, flatten=False)


MODEL = Model(
    name="P2",
    title="three convolutions on grey CIFAR-10, 127,906 parameters",
    question="A GPU was 14 times as fast as 32 cores: is it the device, or how the processor was used?",
    build=build,
    load=load,
    published=(
        {"who": "Domino", "tool": "nolearn, Lasagne and Theano on a GPU", "figure": "12.8 s an epoch of 40,000 rows"},
        {"who": "Domino", "tool": "nolearn, Lasagne and Theano on 32 cores", "figure": "177 s an epoch of 40,000 rows"},
        {"who": "Domino", "tool": "nolearn, Lasagne and Theano", "figure": "61 % test accuracy after 5 epochs"},
    ),
    epochs=5,
    target_error=0.39,
    axis="batch_size",
    values=(32, 128, 512, 2048),
    source="P2",
)
