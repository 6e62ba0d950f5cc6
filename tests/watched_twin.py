"""A benchmark's twins, run in a process of their own on a few rows, dropout idle, and their losses shown.

    python watched_twin.py p1 p2 torch_twin keras_twin

prints a JSON object: for each twin and program the losses of an epoch, or their mean where that is all there is. Twins
themselves give only seconds, but those written by hand look at every loss with ``numpy.isfinite``, and Keras keeps a
history: that is where losses are read from.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ROWS = 5 * 128


def idle(program):
    """The layers of a program, nothing dropped."""
    return [(kind, 0.0) if kind == "dropout" else (kind, *sizes) for kind, *sizes in program["layers"]]


def rows():
    """The batches of the first epoch, as every twin draws them."""
    return np.random.default_rng(0).permutation(ROWS).reshape(-1, 128)


class Watching:
    """NumPy, for a module whose calls of `isfinite` are to be seen."""

    def __init__(self, seen):
        self._seen = seen

    def isfinite(self, losses):
        self._seen.append(np.asarray(losses).tolist())
        return np.isfinite(losses)

    def __getattr__(self, name):
        return getattr(np, name)


def watch(twin, seen):
    """Have a hand-written twin drop nothing, and `seen` get its losses."""
    twin.np = Watching(seen)
    twin.programs.kept = lambda rng, count, units: np.ones((count, 128, units), bool)


def watch_keras(programs, seen):
    """Have Keras start from the weights of the hand-written twins and take their rows; `seen` gets its mean loss."""
    import keras

    fit = keras.Sequential.fit

    def fit_and_tell(net, X, y, **settings):
        # A program is known by the shapes of its parameters, which no other has.
        shapes = sorted(array.shape for array in net.get_weights())
        (made,) = (
            made for made in map(for_keras, (programs.weights(name) for name in programs.PROGRAMS))
            if sorted(array.shape for array in made) == shapes
        )  # fmt: skip
        net.set_weights(made)
        if hasattr(net.optimizer, "epsilon"):
            net.optimizer.epsilon = 1e-6  # as the others have it; Keras's own is a tenth of that
        order = rows().ravel()
        history = fit(net, X[order], y[order], shuffle=False, **settings)
        seen.append(history.history["loss"])

    keras.Sequential.fit = fit_and_tell


def for_keras(weights):
    """Filters as (height, width, in, out), and every bias behind its weights."""
    pairs = zip(weights[::2], weights[1::2], strict=True)
    ordered = [array for pair in pairs for array in sorted(pair, key=np.ndim, reverse=True)]
    return [array.transpose(2, 3, 1, 0) if array.ndim == 4 else array for array in ordered]


def main(arguments):
    sys.path.insert(0, str(BENCHMARKS))
    programs = importlib.import_module("twins.programs")
    wanted, found = [name for name in arguments if name in programs.PROGRAMS], {}
    for program in wanted:
        programs.PROGRAMS[program]["layers"] = idle(programs.PROGRAMS[program])
    for name in arguments[len(wanted) :]:
        twin, seen = importlib.import_module(f"twins.{name}"), []
        if name == "keras_twin":
            watch_keras(programs, seen)
        else:
            watch(twin, seen)
        for program in wanted:
            seconds = twin.train(program, *programs.data(program, ROWS), 1, 1)
            assert len(seconds) == 1
        assert len(seen) == len(wanted)
        found[name] = dict(zip(wanted, seen))  # noqa: B905 - CNTK's twin runs under Python 3.6
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
