"""What the published programs are made of, for those who write them by hand."""

import numpy as np

BATCH = 128
PROGRAMS = {
    "p1": {
        "shape": (1024,), "rows": 25_600, "published": (50_000, 50), "rule": "nesterov",
        "layers": [("dense", 1024, 100), ("relu",), ("dense", 100, 10)],
    },
    "p2": {
        "shape": (1, 32, 32), "rows": 6_400, "published": (50_000, 5), "rule": "nesterov",
        "layers": [
            ("conv", 1, 16, 3), ("pool",), ("relu",), ("conv", 16, 32, 2), ("pool",), ("relu",),
            ("conv", 32, 64, 2), ("pool",), ("relu",), ("flatten",), ("dense", 576, 200), ("relu",), ("dense", 200, 10),
        ],
    },
    "p5": {
        "shape": (784,), "rows": 12_800, "published": (60_000, 20), "rule": "rmsprop", "dropped": [512, 512],
        "layers": [
            ("dense", 784, 512), ("relu",), ("dropout", 0.2), ("dense", 512, 512), ("relu",), ("dropout", 0.2),
            ("dense", 512, 10),
        ],
    },
    "p6": {
        "shape": (1, 28, 28), "rows": 6_400, "published": (60_000, 10), "rule": "momentum", "dropped": [400],
        "layers": [
            ("conv", 1, 32, 4), ("pool",), ("relu",), ("conv", 32, 16, 3), ("pool",), ("relu",), ("dropout", 0.2),
            ("flatten",), ("dense", 400, 128), ("relu",), ("dense", 128, 64), ("relu",), ("dense", 64, 10),
        ],
    },
}  # fmt: skip


def data(program, rows=None, seed=0):
    """Seeded pixels and random labels of the right shape: nothing to learn, so that gradients stay of ordinary size."""
    rng = np.random.default_rng(seed)
    rows = rows or PROGRAMS[program]["rows"]
    return rng.random((rows, *PROGRAMS[program]["shape"]), dtype=np.float32), rng.integers(0, 10, rows)


def weights(program, seed=0):
    """Initial weights: filters (out, in, 3, 3) or matrices (in, out), each with its bias, in the order of the layers.

    Dense layers yield the bias first, as the product takes it.
    """
    rng, made = np.random.default_rng(seed), []
    for kind, *sizes in PROGRAMS[program]["layers"]:
        if kind == "conv":
            channels, filters, size = sizes
            limit = np.sqrt(6 / ((channels + filters) * size * size))
            made += [rng.uniform(-limit, limit, (filters, channels, size, size)), np.zeros(filters)]
        elif kind == "dense":
            limit = np.sqrt(6 / sum(sizes))
            made += [np.zeros(sizes[1]), rng.uniform(-limit, limit, sizes)]
    return [array.astype(np.float32) for array in made]


def blocks(rng, rows):
    """Row numbers of an epoch in shuffled order: all full batches (count, BATCH), then what is left over (1, rest)."""
    order, full = rng.permutation(rows).astype(np.int32), rows // BATCH * BATCH
    return [part for part in (order[:full].reshape(-1, BATCH), order[None, full:]) if part.size]


def masks(program, count, rng, batch=BATCH):
    """What dropout keeps in that many batches: booleans (count, batch, units) for each of its layers."""
    return [kept(rng, count, units)[:, :batch] for units in PROGRAMS[program].get("dropped", [])]


def kept(rng, count, units):
    """One of `masks`, for full batches: true with probability 0.8."""
    words = rng.bit_generator.random_raw(count * BATCH * units // 4).view(np.uint16)
    return (words >= round(0.2 * 65536)).reshape(count, BATCH, units)


def net(program, **settings):
    """portanet's net of a program, with nothing held out and the rate that the loops by hand have."""
    from portanet.benchmarks import models

    rate = {} if program in ("p5", "p6") else {"update_learning_rate": 0.01}
    return models.find(program).build(**{**rate, **settings})
