"""P5: two dense layers with dropout on MNIST, 784-512-512-10 (R244's comparison of Keras on three engines).

Needs the four MNIST files, gzipped or not:

    python examples/p5_mnist_mlp.py /path/to/mnist
"""

import argparse

from portanet import NeuralNet, layers
from portanet.data import load_mnist
from portanet.nonlinearities import softmax
from portanet.updates import rmsprop


def build(**overrides):
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
        verbose=1,
    )
    return NeuralNet(**{**declared, **overrides})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="of the MNIST files (default: the data folder configured)")
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args(argv)
    (X_train, y_train), (X_test, y_test) = load_mnist(args.folder)
    net = build(max_epochs=args.epochs).fit(X_train, y_train)
    print(f"test accuracy {net.score(X_test, y_test):.2%}")
    return net


if __name__ == "__main__":
    main()
