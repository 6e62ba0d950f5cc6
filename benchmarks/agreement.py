"""Whole runs of the published programs on real data, on every engine: how far do they come apart?

    python benchmarks/agreement.py /path/to/mnist [--programs p1 p2 p5 p6] [--engines torch jax tensorflow] [--epochs 1]
                                   [--floatX float64]

Every engine starts from the same weights, takes the same batches and, by ``reproducible``, the same dropout masks; the
NumPy engine in float64 is the measure. In float32 engines come apart as far as rounding grows while a net learns; in
float64, where it has no time to, what is left would be a difference of the engines. The convolutions' and dense net's
CIFAR-10 images are stood in for by MNIST's with a black margin of two pixels, so that one small download does for all.
Printed are the training loss of the last epoch, its relative distance from the measure's, and on the 10,000 test
images: how many are classified otherwise, the largest distance between two probabilities, and the accuracy.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins.programs import PROGRAMS


def images(folder, program):
    """Training and test images in the shape that the program takes, and their labels."""
    from portanet.data import load_mnist

    shape = PROGRAMS[program]["shape"]
    margin = (2, 2) if np.prod(shape) == 1024 else (0, 0)

    def fitting(X):
        return np.pad(X.reshape(-1, 28, 28), [(0, 0), margin, margin]).reshape(-1, *shape)

    return [(fitting(X), y) for X, y in load_mnist(folder)]


def trained(program, epochs, X, y, **options):
    """A net after those epochs of the program."""
    from portanet.benchmarks import models

    return models.find(program).build(max_epochs=epochs, **options).fit(X, y)


def compare(program, engines, epochs, floatX, folder):
    """The rows of one program, printed as they come."""
    from portanet import config_context

    (X, y), (X_test, y_test) = images(folder, program)
    with config_context(reproducible=True, device="cpu"):
        right = trained(program, epochs, X, y, backend="numpy", floatX="float64")
        wanted, loss = right.predict_proba(X_test), right.train_history_[-1, "train_loss"]
        for engine in ["numpy64", "numpy", *engines]:
            net = right if engine == "numpy64" else trained(program, epochs, X, y, backend=engine, floatX=floatX)
            found, own = net.predict_proba(X_test), net.train_history_[-1, "train_loss"]
            otherwise = int((found.argmax(axis=1) != wanted.argmax(axis=1)).sum())
            accuracy = np.mean(found.argmax(axis=1) == y_test)
            print(f"{program:4} {engine:11} {own:10.7f} {abs(own - loss) / loss:10.1e} {otherwise:9} "
                  f"{abs(found - wanted).max():9.1e} {accuracy:9.2%}", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the four MNIST files")
    parser.add_argument("--programs", nargs="+", default=["p1", "p2", "p5", "p6"])
    parser.add_argument("--engines", nargs="+", default=["torch", "jax", "tensorflow"])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--floatX", default="float32", choices=["float32", "float64"])
    args = parser.parse_args()
    print(f"{'':4} {'engine':11} {'loss':>10} {'distance':>10} {'otherwise':>9} {'furthest':>9} {'accuracy':>9}")
    for program in args.programs:
        compare(program, args.engines, args.epochs, args.floatX, args.folder)


if __name__ == "__main__":
    main()
