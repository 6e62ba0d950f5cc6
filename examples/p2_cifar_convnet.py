"""P2: three convolutions on grey CIFAR-10 images (Domino's nolearn and Lasagne post).

Published: 61 % test accuracy after 5 epochs. Needs the CIFAR-10 files, binary or Python version:

    python examples/p2_cifar_convnet.py /path/to/cifar-10-batches-bin
"""

import argparse

from portanet import NeuralNet, layers
from portanet.data import load_cifar10
from portanet.nonlinearities import softmax
from portanet.updates import nesterov_momentum


def build(**overrides):
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
        train_split=0.2,
        max_epochs=5,
        random_state=0,
        verbose=2,
    )  # fmt: skip
    return NeuralNet(**{**declared, **overrides})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="of the CIFAR-10 files (default: the data folder configured)")
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args(argv)
    (X_train, y_train), (X_test, y_test) = load_cifar10(args.folder, grey=True)
    net = build(max_epochs=args.epochs).fit(X_train, y_train)
    print(f"test accuracy {net.score(X_test, y_test):.1%}")
    return net


if __name__ == "__main__":
    main()
