"""P6: two convolutions on MNIST, 65,402 parameters (the benchm-dl comparison of deep learning tools).

Published: error 0.7 to 1.0 % after 10 epochs. Needs the four MNIST files, gzipped or not:

    python examples/p6_mnist_convnet.py /path/to/mnist
"""

import argparse

from portanet import NeuralNet, layers
from portanet.data import load_mnist
from portanet.nonlinearities import softmax
from portanet.schedules import InverseTimeDecay
from portanet.updates import momentum


def build(**overrides):
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
        verbose=1,
    )  # fmt: skip
    return NeuralNet(**{**declared, **overrides})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="of the MNIST files (default: the data folder configured)")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args(argv)
    (X_train, y_train), (X_test, y_test) = load_mnist(args.folder, flatten=False)
    net = build(max_epochs=args.epochs).fit(X_train, y_train)
    print(f"test error {1 - net.score(X_test, y_test):.2%}")
    return net


if __name__ == "__main__":
    main()
