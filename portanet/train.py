"""The training loop. It sees a `Program` and arrays; which engine runs is none of its business."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from .data.batches import BatchIterator
from .engine.memory_maps import rows_of
from .exceptions import DataError, NotFiniteLossError, WorkerDied
from .history import History
from .schedules import values_for

CHUNK = 100
CHUNK_BYTES = 16 << 20
Arrays = dict[str, np.ndarray]
Score = tuple[str, Callable[[Any, Any], float]]


@dataclass
class Data:
    """What a run trains or validates on.

    Attributes
    ----------
    arrays : dict of str to ndarray
        By input name, with "target" and, where samples are weighted, "weight".
    rows : ndarray of int
        Which rows of them count.
    truth : array
        All targets as the user gave them, for custom scores.
    """

    arrays: Arrays
    rows: np.ndarray
    truth: Any

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class Run:
    """One call of `fit`: the program, its data, and everything that decides how it goes.

    Attributes
    ----------
    net : object
        Handed to hooks.
    program : Program
    train, valid : Data
    epochs : int
    hyper : callable
        Gives ``{hyper-parameter: number, schedule or function}``, asked anew for each chunk of batches.
    history : History
    rng : numpy.random.Generator
    seed : int
        Of the noise.
    metrics : list of str
    batches, test_batches : BatchIterator
    hooks : dict of str to list of callable
    scores : dict of "train" or "valid" to list of (name, function)
    predict : callable
        ``predict(data)``, predictions as the user sees probabilities, for custom scores.
    """

    net: Any
    program: Any
    train: Data
    valid: Data
    epochs: int
    hyper: Callable[[], Mapping[str, Any]]
    history: History
    rng: np.random.Generator
    seed: int
    metrics: Sequence[str]
    batches: BatchIterator
    test_batches: BatchIterator
    hooks: Mapping[str, Sequence[Callable]]
    predict: Callable[[Data], Any]
    scores: Mapping[str, Sequence[Score]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._calls = {hook: [(f, _wanted(f)) for f in functions] for hook, functions in self.hooks.items()}

    def call(self, hook: str, **info: Any) -> None:
        """Call every function of a hook; if any raised StopIteration, raise it once all have run."""
        stop = False
        for function, wanted in self._calls.get(hook, ()):
            told = info if wanted is None else {key: value for key, value in info.items() if key in wanted}
            try:
                function(self.net, self.history, **told)
            except StopIteration:
                stop = True
        if stop:
            raise StopIteration


def _wanted(function: Callable) -> set[str] | None:
    """Names that a hook takes besides ``(net, history)``; None where it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY}


def train(run: Run) -> bool:
    """Train for `run.epochs` epochs, or until a hook raises StopIteration or somebody presses Ctrl-C.

    Unless an error ends it, the hooks ``on_training_finished`` run, and the parameters stay as they are then.

    Returns
    -------
    bool
        Whether it was interrupted from the keyboard.

    Raises
    ------
    NotFiniteLossError
        When a loss turns NaN or infinite; the program is as it was before that epoch.
    WorkerDied
        When the process the engine runs in is gone; the same.
    """
    interrupted = False
    run.program.bind("train", run.train.arrays)
    if len(run.valid):
        run.program.bind("valid", run.valid.arrays)
    try:
        run.call("on_training_started")
        for _ in range(run.epochs):
            run.history.record(_epoch(run))
            run.call("on_epoch_finished")
    except StopIteration:
        pass
    except KeyboardInterrupt:
        interrupted = True
    finally:
        for name in ("train", "batch", "valid"):
            run.program.unbind(name)
    with contextlib.suppress(StopIteration):  # training is over already
        run.call("on_training_finished", interrupted=interrupted)
    return interrupted


def _epoch(run: Run) -> dict[str, Any]:
    """One pass over the data; where the engine's process is lost on the way, the net stays as it was before."""
    started = time.perf_counter()
    before = run.program.get_state()
    try:
        return {**_pass(run, before), "dur": time.perf_counter() - started}
    except (WorkerDied, MemoryError):
        run.program.set_state(before)
        raise


def _pass(run: Run, before: dict[str, Any]) -> dict[str, Any]:
    losses: list[float] = []
    sizes: list[int] = []
    for name, batches, count in _chunks(run):
        first = int(before["step"]) + len(losses)
        epoch = len(run.history)
        hyper = {key: values_for(spec, first, len(batches), epoch) for key, spec in run.hyper().items()}
        found = np.asarray(run.program.train(name, batches, hyper, run.seed))
        _need_finite(run, before, found, len(losses), hyper)
        losses += found.tolist()
        sizes += count
        run.call("on_batch_finished", batch=len(losses), loss=losses[-1])
    row = {"epoch": len(run.history) + 1, "train_loss": float(np.average(losses, weights=sizes))}
    if len(run.valid):
        row.update(_validate(run))
    for part, data in (("train", run.train), ("valid", run.valid)):
        if run.scores.get(part) and len(data):
            truth, prediction = rows_of(data.truth, data.rows), run.predict(data)
            row.update((name, float(score(truth, prediction))) for name, score in run.scores[part])
    return row


def _chunks(run: Run) -> Iterator[tuple[str, list[np.ndarray], list[int]]]:
    """Name of a bound data set, row numbers of some batches of it, and their sizes.

    One batch at a time where a hook wants to see each, else as many as may pass before a Ctrl-C is heeded.
    """
    batches = [run.train.rows[rows] for rows in run.batches.rows(len(run.train), run.rng)]
    step = 1 if run.hooks.get("on_batch_finished") else _most_at_once(run, batches)
    for at in range(0, len(batches), step):
        chunk = batches[at : at + step]
        name = "batch" if run.batches.transforms else "train"
        chunk = _bind_transformed(run, chunk) if run.batches.transforms else chunk
        yield name, chunk, [len(rows) for rows in chunk]


def _most_at_once(run: Run, batches: Sequence[np.ndarray]) -> int:
    """How many batches go into a chunk; fewer where they are large and have to be copied."""
    if not run.batches.transforms:
        return CHUNK
    row = sum(array.size // len(array) * max(array.itemsize, 4) for array in run.train.arrays.values())  # once cast
    return min(max(CHUNK_BYTES // max(row * len(batches[0]), 1), 1), CHUNK)


def _bind_transformed(run: Run, chunk: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Transform copies of the rows of each batch, bind them together as "batch", and number their rows."""
    parts = [_transformed(run, rows) for rows in chunk]
    run.program.bind("batch", {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    ends = np.cumsum([0] + [len(part["target"]) for part in parts])
    return [np.arange(start, stop) for start, stop in pairwise(ends)]


def _transformed(run: Run, rows: np.ndarray) -> Arrays:
    feeds = {name: rows_of(array, rows) for name, array in run.train.arrays.items()}
    rest = {name: feeds.pop(name) for name in ("target", "weight") if name in feeds}
    alone = next(iter(feeds)) if len(feeds) == 1 else None
    made = run.batches.transform(feeds if alone is None else feeds[alone], rest.pop("target"))
    who = f"{type(run.batches).__name__}.transform"
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise DataError(f"{who} must return Xb and yb, got {type(made).__name__}")
    Xb, target = made
    changed = {**(Xb if alone is None else {alone: np.asarray(Xb)}), "target": np.asarray(target), **rest}
    counts = {name: len(array) for name, array in changed.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} of '{name}'" for name, count in counts.items())
        raise DataError(f"{who} made a batch of unequal rows: {found}; "
                        "return as many of each, and as many as were given where samples are weighted")  # fmt: skip
    if not len(changed["target"]):
        raise DataError(f"{who} made a batch without rows; return at least one")
    return changed


def _need_finite(run: Run, before: dict, losses: np.ndarray, done: int, hyper: Mapping[str, Sequence[float]]) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if not len(bad):
        return
    run.program.set_state(before)
    rate = hyper["learning_rate"][bad[0]]
    raise NotFiniteLossError(
        f"the training loss turned {losses[bad[0]]} in epoch {len(run.history) + 1}, batch {done + bad[0] + 1}, at "
        f"learning rate {rate:g}; the net is as it was before that epoch. Try a learning rate ten times smaller, "
        "total_norm_constraint=5 to clip gradients, or inputs scaled to about -1 to 1"
    )


def _validate(run: Run) -> dict[str, float]:
    """Scores of all held-out rows: mean loss, and metrics in which samples count by their weights."""
    batches = [run.valid.rows[rows] for rows in run.test_batches.rows(len(run.valid))]
    scores = np.asarray(run.program.evaluate("valid", batches))
    sizes = np.array([len(rows) for rows in batches])
    weight = run.valid.arrays.get("weight")
    heft = sizes if weight is None else np.array([weight[rows].sum() for rows in batches])
    row = {"valid_loss": float(np.average(scores[:, 0], weights=sizes))}
    counting = heft > 0  # the metrics of a batch that weighs nothing are 0 / 0
    for name, column in zip(run.metrics, scores.T[1:], strict=True):
        mean = np.average(column[counting], weights=heft[counting]) if counting.any() else np.nan
        row[f"valid_{name}"] = float(mean)
    return row
