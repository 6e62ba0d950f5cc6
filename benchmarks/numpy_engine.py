"""The NumPy engine against scikit-learn, hand-written NumPy and PyTorch eager: seconds an epoch, side by side.

    python benchmarks/numpy_engine.py [--repeats 7] [--threads 2]

Every line times the same work: same shapes, batch size 128, float32, same solver and step size, seeded data of the
right shape (values do not change the amount of work). The tools take turns, each fit is a whole ``fit`` call over
several epochs, and the medians are printed. PyTorch is left out, and said to be, where it is not installed.
"""

import argparse
import importlib.util
import itertools
import math
import statistics
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from portanet import NeuralNet, layers
from portanet.benchmarks import models
from portanet.nonlinearities import softmax
from portanet.updates import adam, nesterov_momentum

BATCH = 128
SOLVERS = {
    "sgd": (dict(update=nesterov_momentum, update_learning_rate=0.01, update_momentum=0.9),
            dict(solver="sgd", learning_rate_init=0.01, momentum=0.9, nesterovs_momentum=True)),
    "adam": (dict(update=adam, update_learning_rate=0.001), dict(solver="adam", learning_rate_init=0.001)),
}  # fmt: skip


def arrays(rows, shape, seed=0):
    """Seeded pixels and labels. Labels are random, so that gradients stay of ordinary size."""
    rng = np.random.default_rng(seed)
    return rng.random((rows, *shape), dtype=np.float32), rng.integers(0, 10, rows)


def dense_net(sizes, solver, epochs):
    hidden = [(f"hidden{i}", layers.DenseLayer, {"num_units": size}) for i, size in enumerate(sizes)]
    return NeuralNet(
        layers=[("input", layers.InputLayer), *hidden, ("output", layers.DenseLayer)],
        output_nonlinearity=softmax, max_epochs=epochs, train_split=None, batch_size=BATCH,
        random_state=0, verbose=0, **SOLVERS[solver][0],
    )  # fmt: skip


def sklearn_net(sizes, solver, epochs):
    return MLPClassifier(
        hidden_layer_sizes=sizes, batch_size=BATCH, max_iter=epochs, alpha=0.0, tol=0.0,
        n_iter_no_change=10**6, random_state=0, **SOLVERS[solver][1],
    )  # fmt: skip


def numpy_twin(sizes, X, y, epochs):
    """Seconds an epoch of the "sgd" line hand-written for these nets alone: no checks, every buffer made beforehand."""
    rng = np.random.default_rng(0)
    widths, y, rate, share = (X.shape[1], *sizes, 10), y.astype(np.int32), np.float32(0.01), np.float32(0.9)
    shapes = [shape for pair in itertools.pairwise(widths) for shape in (pair, pair[1:])]
    flat, grads, velocity, spare = np.zeros((4, sum(map(math.prod, shapes))), np.float32)
    P, G, at = [], [], 0
    for shape in shapes:
        part = slice(at, at + math.prod(shape))
        P.append(flat[part].reshape(shape))
        G.append(grads[part].reshape(shape))
        if len(shape) == 2:
            P[-1][...] = rng.uniform(-1, 1, shape) * math.sqrt(6 / sum(shape))
        at = part.stop
    hidden = [np.empty((BATCH, width), np.float32) for width in widths[1:]]
    deltas = [np.empty_like(h) for h in hidden]
    batch, target = np.empty((BATCH, widths[0]), np.float32), np.empty(BATCH, np.int32)
    rows, ones = np.arange(BATCH), np.ones((1, BATCH), np.float32)
    started = time.perf_counter()
    for _ in range(epochs):
        order = rng.permutation(len(X))
        for start in range(0, len(X), BATCH):
            X.take(order[start : start + BATCH], axis=0, out=batch, mode="clip")
            y.take(order[start : start + BATCH], out=target, mode="clip")
            below = batch
            for i, h in enumerate(hidden):
                np.matmul(below, P[2 * i], out=h)
                np.add(h, P[2 * i + 1], out=h)
                below = np.maximum(h, 0, out=h) if i < len(sizes) else h
            d = deltas[-1]
            np.subtract(below, below.max(axis=1, keepdims=True), out=d)
            np.exp(d, out=d)
            total = d.sum(axis=1, keepdims=True)
            d /= total
            loss = -np.log(d[rows, target]).mean()
            d[rows, target] -= 1
            d *= np.float32(1 / BATCH)
            for i in reversed(range(len(hidden))):
                below = hidden[i - 1] if i else batch
                np.matmul(below.T, deltas[i], out=G[2 * i])
                np.matmul(ones, deltas[i], out=G[2 * i + 1][None])
                if i:
                    np.matmul(deltas[i], P[2 * i].T, out=deltas[i - 1])
                    np.multiply(deltas[i - 1], below > 0, out=deltas[i - 1])
            np.multiply(grads, rate, out=grads)
            np.multiply(velocity, share, out=velocity)
            np.subtract(velocity, grads, out=velocity)
            np.subtract(flat, grads, out=flat)
            np.multiply(velocity, share, out=spare)
            np.add(flat, spare, out=flat)
    assert np.isfinite(loss)
    return (time.perf_counter() - started) / epochs


def torch_p6(X, y, epochs):
    """Seconds an epoch of P6 hand-written in plain eager PyTorch."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.2), nn.Flatten(), nn.Linear(400, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip
    rule = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    loss_function = nn.CrossEntropyLoss()
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    started = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(BATCH):
            rule.zero_grad()
            loss_function(net(X[rows]), y[rows]).backward()
            rule.step()
    return (time.perf_counter() - started) / epochs


def fit_seconds(net, X, y, epochs):
    started = time.perf_counter()
    net.fit(X, y)
    return (time.perf_counter() - started) / epochs


def compare(title, rows, contestants, repeats):
    """Take turns, then print samples a second and the ratio to the first."""
    seconds = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, run in contestants.items():
            taken = run()
            if repeat:
                seconds[name].append(taken)
    first = next(iter(seconds))
    for name, taken in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(seconds[first], taken, strict=True))
        print(f"{title:24} {name:14} {rows / statistics.median(taken):10,.0f} {ratio:10.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with_torch = importlib.util.find_spec("torch") is not None
    if with_torch:
        import torch

        torch.set_num_threads(args.threads)
    print(f"{'net':24} {'tool':14} {'samples/s':>10} {'time ratio':>10}")
    with threadpool_limits(args.threads):
        for features, sizes in ((1024, (100,)), (784, (512, 512))):
            X, y = arrays(25_600, (features,))
            for solver in SOLVERS:
                title = "-".join(map(str, (features, *sizes, 10))) + f" {solver}"
                contestants = {
                    "portanet": lambda: fit_seconds(dense_net(sizes, solver, 3), X, y, 3),  # noqa: B023
                    "scikit-learn": lambda: fit_seconds(sklearn_net(sizes, solver, 3), X, y, 3),  # noqa: B023
                }
                if solver == "sgd":
                    contestants["NumPy by hand"] = lambda: numpy_twin(sizes, X, y, 3)  # noqa: B023
                compare(title, len(X), contestants, args.repeats)
        X, y = arrays(6_400, (1, 28, 28))
        contestants = {"portanet": lambda: fit_seconds(models.find("P6").build(max_epochs=2), X, y, 2)}
        if with_torch:
            contestants["torch eager"] = lambda: torch_p6(X, y, 2)
        compare("P6", len(X), contestants, args.repeats)
    if not with_torch:
        print("torch is not installed: P6 has no twin beside it")


if __name__ == "__main__":
    main()
