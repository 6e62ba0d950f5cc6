"""Measuring a candidate: a few batches of the real net on the real data, as `fit` would train them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..engine.program import DeviceFault
from ..history import History
from ..runtime import config, registry
from ..runtime.devices import parse_device
from ..runtime.place import limited_threads, place, unavailable
from ..train import CHUNK, Arrays, Data, train
from .candidates import MEASURED_WITH, Candidate, in_process
from .halving import Sample, Work

__all__ = ["Bench", "stand_in"]

RUNS, FEWEST_RUNS = 4, 3
SETTLED = 0.9
SCORES = ("custom_scores", "scores_train", "scores_valid")
FITTED = ("_program", "_placed", "_state", "plan_", "record_")


class Bench:
    """A net and its data, ready to be trained for a moment by any candidate.

    All data are handed over, though few rows are trained on: engines compile for the size of the whole.

    Parameters
    ----------
    net : NeuralNet
        A `stand_in`, with its layers.
    X, y : dict of arrays, array
        Checked.
    sample_weight : array-like, optional
    epochs : int
    split : object
        As `train_split`.

    Attributes
    ----------
    plan : Plan
        What `fit` would compile.
    work : Work
        What is planned.
    shape : tuple
        What else decides the speed of a batch: its rows, and how batches reach the engine.
    isolate : bool
        Whether engines run in workers that can run here.
    """

    def __init__(self, net: Any, X: Any, y: Any, sample_weight: Any, epochs: int, split: Any) -> None:
        self.net, self.isolate = net, config.get("isolate", net.isolate)
        weight = net._weights(X, y, sample_weight)
        self.plan = net.plan_ = net._compile(weight is not None)
        run = net._run(SimpleNamespace(plan=self.plan), X, y, weight, epochs, split)
        sizes = [len(rows) for rows in run.batches.rows(len(run.train))]
        self.size, self.tail = sizes[0], sizes[-1] % sizes[0]
        self.test_sizes = [len(rows) for rows in run.test_batches.rows(len(run.valid))]
        self.work = Work(epochs, len(sizes))
        self.shape = (self.size, type(run.batches).__qualname__ if run.batches.transforms else "",
                      bool(run.hooks.get("on_batch_finished")), self.isolate, config.get("reproducible"))  # fmt: skip
        self.run = replace(run, epochs=1)
        self._open: dict[Candidate, _Lane] = {}
        self._starts: dict[str, float] = {}

    def measure(self, candidate: Candidate, seconds: float) -> Sample:
        """What the candidate takes, from about that many seconds of training.

        The first time, it is started and compiled besides. Later `fit` calls of the same net find both done.
        """
        lane = self._open.get(candidate)
        if lane is None:
            lane = self._open[candidate] = _Lane(self, candidate)
        try:
            return lane.sample(seconds)
        except DeviceFault as fault:
            raise unavailable(candidate.device, candidate.backend, fault) from fault

    def started(self, candidate: Candidate, seconds: float) -> float:
        """Seconds that starting an engine took; in this process it is started once for all its candidates."""
        if not in_process(candidate.backend, self.isolate):
            return seconds
        self._starts[candidate.backend] = self._starts.get(candidate.backend, 0.0) + seconds
        return self._starts[candidate.backend]

    def close(self) -> None:
        """Give back what was used for measuring; engines and what they compiled stay."""
        for lane in self._open.values():
            lane.close()
        self._open = {}


class _Lane:
    """One candidate on the bench."""

    def __init__(self, bench: Bench, candidate: Candidate) -> None:
        self._bench, self._candidate = bench, candidate
        self._program: Any = None
        self._start, self._compile, self._epoch = 0.0, 0.0, 0.0
        self._warm, self._warm_batches, self._record = False, 0, dict[str, bool]()

    def sample(self, seconds: float) -> Sample:
        with limited_threads(self._candidate.threads):
            if not self._warm:
                self._warm_up()
            runs = self._runs(seconds)
            epoch = self._rest_of_epoch()
        compiling = max(self._compile - self._warm_batches * min(runs), 0.0)
        return Sample(self._start, compiling, epoch, tuple(runs), {**self._program.record, **self._record})

    def _warm_up(self) -> None:
        """Start the engine, compile, and train and validate on one batch of each size that will come."""
        bench, candidate = self._bench, self._candidate
        began = time.perf_counter()
        engine = registry.load(candidate.backend, bench.isolate, candidate.threads)
        engine.devices("cpu") if parse_device(candidate.device).kind == "cpu" else engine.devices()
        self._start = bench.started(candidate, time.perf_counter() - began)
        began = time.perf_counter()
        options = {**MEASURED_WITH.get(candidate.backend, {}), **config.options(candidate.backend, candidate.options)}
        program = place(bench.plan, candidate.backend, candidate.device, options, candidate.threads,
                        bench.net._float_type(), bench.isolate)  # fmt: skip
        before = program.compilations
        self._program = _Bound(program)
        self._program.bind("train", bench.run.train.arrays)
        if len(bench.run.valid):
            self._program.bind("valid", bench.run.valid.arrays)
        self._train(bench.size + bench.tail)
        self._warm_batches = 1 + bool(bench.tail)
        for size in dict.fromkeys(bench.test_sizes):
            program.evaluate("valid", [bench.run.valid.rows[:size]])
        self._compile = time.perf_counter() - began
        self._record = {"compiled_before": 0 < before == program.compilations}
        self._warm = True

    def _train(self, rows: int) -> float:
        """Train on so many rows; seconds, without what an epoch takes besides its batches."""
        run, history = self._bench.run, History()
        chosen = run.rng.choice(run.train.rows, min(rows, len(run.train)), replace=False)
        part = replace(run, program=self._program, history=history, valid=_none_of(run.valid),
                       train=Data(run.train.arrays, chosen, run.train.truth))  # fmt: skip
        if train(part):
            raise KeyboardInterrupt
        return history[-1, "dur"] - self._program.state_seconds

    def _runs(self, seconds: float) -> list[float]:
        """Seconds a batch in some runs, as long together as wished, of at most as many batches as `fit` hands over."""
        size, most = self._bench.size, max(min(CHUNK, len(self._bench.run.train) // self._bench.size), 1)
        count, wished, found, began = 1, seconds / RUNS, list[float](), time.perf_counter()
        while len(found) < (RUNS if (spent := time.perf_counter() - began) < seconds else FEWEST_RUNS):
            took = max(self._train(count * size), 1e-9)
            each = took / count
            warming_up = len(found) == 1 and each < SETTLED * found[0] and spent < 2 * seconds
            if not found and count < most and took < wished / 2:  # too short to tell: a call itself costs something
                count = min(max(2 * count, int(count * wished / took)), most)
            elif warming_up:
                found = [each]
            else:
                found.append(each)
        return found

    def _rest_of_epoch(self) -> float:
        """Seconds of an epoch besides its batches."""
        bench = self._bench
        self._program.get_state()
        if not bench.test_sizes:
            return self._program.state_seconds
        batches = [bench.run.valid.rows[: bench.test_sizes[0]]] * min(2, len(bench.test_sizes))
        began = time.perf_counter()
        self._program.evaluate("valid", batches)
        each = (time.perf_counter() - began) / len(batches)
        return self._program.state_seconds + each * len(bench.test_sizes)

    def close(self) -> None:
        if self._program is not None:
            self._program.close()
            self._program = None


class _Bound:
    """A program whose data sets stay bound between runs, and that does not mind how losses turn out."""

    def __init__(self, program: Any) -> None:
        self._program, self.state_seconds = program, 0.0
        self._known: dict[str, Arrays] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def bind(self, name: str, arrays: Arrays) -> None:
        if name == "batch" or self._known.get(name) is not arrays:
            self._program.bind(name, arrays)
            self._known[name] = arrays

    def unbind(self, name: str) -> None:
        """Nothing: the next run needs them again."""

    def train(self, name: str, batches: Any, hyper: Mapping, seed: int) -> np.ndarray:
        return np.nan_to_num(self._program.train(name, batches, hyper, seed))

    def get_state(self) -> dict[str, Any]:
        began = time.perf_counter()
        state = self._program.get_state()
        self.state_seconds = time.perf_counter() - began
        return state


def stand_in(net: Any) -> Any:
    """A net of the same declaration, and layers if it has some, whose random numbers and history are its own.

    It has no hooks; one for every batch becomes one that does nothing, because batches then come one at a time.
    """
    other = object.__new__(type(net))
    other.__dict__.update({name: value for name, value in vars(net).items() if name not in FITTED})
    other.__dict__.update(_program=None, _placed=None, _state=None, random_state=0, verbose=0)
    other.on_batch_finished = _nothing if net._hooks()["on_batch_finished"] else None
    for name in ("callbacks", "on_training_started", "on_epoch_finished", "on_training_finished", *SCORES):
        setattr(other, name, None)
    other.random_, other.noise_seed_, other.train_history_ = np.random.default_rng(0), 0, History()
    return other


def _nothing(net: Any, history: Any) -> None:
    """A hook that is there, so that batches come one at a time."""


def _none_of(data: Data) -> Data:
    return Data(data.arrays, data.rows[:0], data.truth)
