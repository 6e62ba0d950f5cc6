"""P1: a dense net on grey CIFAR-10 images, 1024-100-10 (Domino's nolearn and Lasagne post).

Published: 41 % test accuracy after 50 epochs. Needs the CIFAR-10 files, binary or Python version:

    python examples/p1_cifar_dense.py /path/to/cifar-10-batches-bin
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
        train_split=0.2,
        max_epochs=50,
        random_state=0,
        verbose=1,
    )
    return NeuralNet(**{**declared, **overrides})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="of the CIFAR-10 files (default: the data folder configured)")
    parser.add_argument("--epochs", type=int, default=50)
    args = parser.parse_args(argv)
    (X_train, y_train), (X_test, y_test) = load_cifar10(args.folder, grey=True, flatten=True)
    net = build(max_epochs=args.epochs).fit(X_train, y_train)
    print(f"test accuracy {net.score(X_test, y_test):.1%}")
    return net


if __name__ == "__main__":
    main()
