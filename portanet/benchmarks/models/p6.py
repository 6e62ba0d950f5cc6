"""P6: two convolutions on MNIST, the benchm-dl comparison of deep learning tools."""

from ... import layers
from ...estimator import NeuralNet
from ...nonlinearities import softmax
from ...schedules import InverseTimeDecay
from ...updates import momentum
from .. import datasets
from . import Model


def build(**overrides):
    """The net of ``examples/p6_mnist_convnet.py``."""
    declared = dict(
        layers=[
            ("input", layers.InputLayer),
            ("conv1", layers.Conv2DLayer),
            ("pool1", layers.MaxPool2DLayer),
            ("conv2", layers.Conv2DLayer),
            ("pool2", layers.MaxPool2DLayer),
            ("dropout", layers.DropoutLayer),
            ("hidden1", layers.DenseLayer),
            ("hidden2", layers.DenseLayer),
            ("output", layers.DenseLayer),
        ],
        input_shape=(None, 1, 28, 28),
        conv1_num_filters=32, conv1_filter_size=(4, 4), pool1_pool_size=(2, 2),
        conv2_num_filters=16, conv2_filter_size=(3, 3), pool2_pool_size=(2, 2),
        dropout_p=0.2,
        hidden1_num_units=128,
        hidden2_num_units=64,
        output_nonlinearity=softmax,
        output_num_units=10,
        update=momentum,
        update_learning_rate=InverseTimeDecay(0.05, 1e-5),
        update_momentum=0.9,
        batch_size=128,
        train_split=None,
        max_epochs=10,
        random_state=0,
        verbose=0,
    )  # fmt: skip
    return NeuralNet(**{**declared, **overrides})


def load(folder=None):
    """MNIST as images, see `datasets.mnist`."""
    return datasets.mnist(folder, flatten=False)


MODEL = Model(
    name="P6",
    title="two convolutions on MNIST, 65,402 parameters",
    question="Tools were 5 times apart on this net, at work that was not the same: how far apart are they where it is?",
    build=build,
    load=load,
    published=(
        {"who": "benchm-dl", "tool": "neon on a K80", "figure": "25 s for 10 epochs"},
        {"who": "benchm-dl", "tool": "Keras on TensorFlow on a K80", "figure": "37 s for 10 epochs"},
        {"who": "benchm-dl", "tool": "MXNet on a K80", "figure": "50 s for 10 epochs"},
        {"who": "benchm-dl", "tool": "Keras on CNTK on a K80", "figure": "58 s for 10 epochs"},
        {"who": "benchm-dl", "tool": "Keras on Theano on a K80", "figure": "130 s for 10 epochs"},
        {"who": "benchm-dl", "tool": "4 cores", "figure": "326 s for 10 epochs"},
        {"who": "benchm-dl", "tool": "32 cores", "figure": "130 s for 10 epochs"},
        {"who": "benchm-dl", "tool": "all tools", "figure": "test error 0.7 to 1.0 % after 10 epochs"},
    ),
    epochs=10,
    target_error=0.012,
    axis="batch_size",
    values=(32, 128, 512, 2048),
    source="P6",
)
