"""Nets that are built in a moment, and their programs, for tests of what is particular to one adapter."""

import contextlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from portanet import NeuralNet, layers
from portanet.updates import rmsprop

ROWS, BATCH, RATE = 40, 16, 0.01
CPU = {"kind": "cpu", "index": 0, "name": "CPU"}
TAIL = np.arange(2 * BATCH, ROWS)


def data(image=False):
    """Seeded numbers, as rows of 36 or as images of 6x6, and three classes to tell apart."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 1, 6, 6) if image else (ROWS, 36)).astype("float32")
    return X, X.reshape(ROWS, -1)[:, :3].argmax(axis=1).astype("int32")


def net_of(*kinds, **parameters):
    """A net with those layers, by name and class, between its input and its output."""
    declared = [("input", layers.InputLayer), *kinds, ("output", layers.DenseLayer)]
    settings = dict(update=rmsprop, update_learning_rate=RATE, batch_size=BATCH, max_epochs=2, train_split=None,
                    random_state=0, verbose=0, device="cpu")  # fmt: skip
    return NeuralNet(layers=declared, **{**settings, **parameters})


def dense(**parameters):
    return net_of(("hidden", layers.DenseLayer), **{"hidden_num_units": 5, **parameters})


def dropping(**parameters):
    settings = dict(hidden_num_units=5, dropout_p=0.3)
    return net_of(("hidden", layers.DenseLayer), ("dropout", layers.DropoutLayer), **{**settings, **parameters})


def convolution(**parameters):
    settings = dict(conv_num_filters=2, conv_filter_size=(3, 3), pool_pool_size=(2, 2))
    return net_of(("conv", layers.Conv2DLayer), ("pool", layers.MaxPool2DLayer), **{**settings, **parameters})


def plan_of(net):
    """What `fit` would compile; the same whatever engine it is for."""
    return net.initialize(*data("conv_num_filters" in net.get_params()), backend="numpy").plan_


widths = itertools.count(10)


def fresh(build=dense):
    """The plan of a net that no other test trains, so that nothing of it is compiled yet."""
    return plan_of(build(**{"conv_num_filters" if build is convolution else "hidden_num_units": next(widths)}))


@contextlib.contextmanager
def opened(backend, plan, **options):
    """A program on the CPU with the data bound as "data"; closed afterwards."""
    X, y = data(len(plan.inputs["input"].shape) == 4)
    program = backend.compile(plan, CPU, options)
    try:
        program.bind("data", {"input": X.astype(plan.floatX), "target": y})
        yield program
    finally:
        program.close()


def train(program, count=4, size=BATCH, rate=RATE, tail=False):
    """Losses of that many steps on the first rows, and of one on what is left over."""
    batches = [np.arange(size) + at % 3 for at in range(count)] + [TAIL] * tail
    hyper = {name: np.full(len(batches), first) for name, first in program.plan.update.hyper.items()}
    return program.train("data", batches, {**hyper, "learning_rate": np.full(len(batches), rate)}, 0)


def in_a_fresh_process(code):
    """What the code prints where no engine has started; it may say nothing on the error stream."""
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    made = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True,
                          check=False, timeout=120)  # fmt: skip
    assert made.returncode == 0 and not made.stderr, made.stderr
    return made.stdout
