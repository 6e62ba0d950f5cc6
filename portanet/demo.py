"""``portanet demo``: a small net on scikit-learn's 8×8 digits, from start to report in seconds."""

from __future__ import annotations

import time
from argparse import Namespace

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split

from . import layers
from .estimator import NeuralNet
from .nonlinearities import softmax
from .updates import nesterov_momentum

EPOCHS = 30


def build(seed: int = 0, **overrides) -> NeuralNet:
    """The demo's net: 64–128–10 with dropout, declared as nolearn would."""
    declared = {
        "layers": [
            ("input", layers.InputLayer),
            ("hidden", layers.DenseLayer),
            ("dropout", layers.DropoutLayer),
            ("output", layers.DenseLayer),
        ],
        "hidden_num_units": 128, "dropout_p": 0.2, "output_nonlinearity": softmax,
        "update": nesterov_momentum, "update_learning_rate": 0.05, "update_momentum": 0.9,
        "batch_size": 32, "max_epochs": EPOCHS, "random_state": seed, "verbose": 2,
    }  # fmt: skip
    return NeuralNet(**{**declared, **overrides})


def main(args: Namespace) -> int:
    """Train, then print test accuracy, a classification report, and where and how long it ran."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=args.seed)
    net = build(args.seed, backend=args.backend, device=args.device, max_epochs=args.epochs or EPOCHS)
    print(f"{len(X_train)} training and {len(X_test)} test images of handwritten digits, 8x8\n")
    started = time.perf_counter()
    net.fit(X_train, y_train)
    seconds = time.perf_counter() - started
    print(f"\n{classification_report(y_test, net.predict(X_test), digits=3)}")
    record = net.record_
    print(f"test accuracy  {net.score(X_test, y_test):.1%}")
    print(f"engine         {record['engine']} {record['version']} on {record['device']}")
    print(f"seconds        {record['compile_seconds']:.2f} compiling, {record['train_seconds']:.2f} training, "
          f"{seconds:.2f} in all")  # fmt: skip
    return 0
