"""The gate: does a contestant do the same work as portanet on NumPy in float64?

Before anything is timed, every contestant is built as for timing, in a process of its own, with dropout and other noise
off, and compared with the reference on a few batches:

"weights"
    The parameters it starts from.
"logits"
    Logarithms of the probabilities it gives the rows of a batch; of a net for numbers, the predictions.
"loss"
    On a batch, as a step tells it.
"gradient"
    Of the loss on a batch, where the contestant shows it.
"update"
    How one step changes the parameters.
"steps"
    How three steps change them, which tells a momentum apart from another.
"schedule"
    How one step changes them when 10,000 were taken before, where a hyper-parameter follows a schedule.

An error is that of a whole parameter: the root of the mean square of the difference, over that of the reference's value
or change; what float32 rounds off in storing a parameter is no error. Allowed is what `TOLERANCES` says, or ten times
the error that NumPy itself makes in float32, if that is more: it grows with a net's depth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import persistence
from ..declare import is_wired, read_layers
from ..layers import DropoutLayer, GaussianNoiseLayer, Layer, get_all_layers
from ..precision import HALVES
from ..runtime import config
from ..schedules import Schedule
from .contestants import OtherWork, Trainer
from .records import Contestant, Header, Verdict

Seen = dict[str, np.ndarray]

CHECKS = {
    "weights": "it starts from other weights",
    "logits": "its scores differ on the same weights",
    "loss": "its loss differs",
    "gradient": "its gradient differs",
    "update": "its first update differs",
    "steps": "its parameters differ after three steps",
    "schedule": "its update differs when 10,000 were taken before",
}
TOLERANCES = {
    "weights": 1e-6, "logits": 1e-4, "loss": 1e-5, "gradient": 1e-3, "update": 2e-3, "steps": 5e-3, "schedule": 2e-3,
}  # fmt: skip
# In 16 bits many a ReLU comes to lie on its other side; an update in the wrong direction or of half the size is seen.
HALF = {**dict.fromkeys(TOLERANCES, 0.4), "weights": 1e-6, "logits": 5e-2, "loss": 4e-2}
ALLOWED = 10
BATCHES, LATE, MOST_ROWS = 3, 10_000, 512
FLOAT32 = 2.0**-23
NOISE = {DropoutLayer: "p", GaussianNoiseLayer: "sigma"}
REFERENCE = Contestant("reference", "NumPy in float64", "portanet", "numpy")
TIMEOUT = 900.0


def judge(header: Header, folder: Any, contestant: Contestant, timeout: float = TIMEOUT) -> Verdict:
    """Let a contestant do a few steps in a process of its own, and compare them with the reference's.

    At the first point of a sweep. The reference is computed once for a run and kept in its folder.

    Parameters
    ----------
    header : Header
    folder : path-like
        Of the run.
    contestant : Contestant
    timeout : float
        Seconds for each process.

    Returns
    -------
    Verdict
    """
    if contestant.absent:
        return Verdict(contestant.key, "absent", contestant.absent)
    course = _Course(header, Path(folder), timeout)
    try:
        wanted, yardstick = course.kept("reference", "float64"), course.kept("yardstick", "float32")
    except RuntimeError as error:
        return Verdict(contestant.key, "failed", f"there is nothing to compare with: {error}")
    try:
        seen = course.seen(contestant)
    except OtherWork as error:
        return Verdict(contestant.key, "not the same work", str(error))
    except RuntimeError as error:
        return Verdict(contestant.key, "failed", str(error))
    halves = str(seen.pop("floatX", "")) in HALVES
    return verdict(contestant.key, seen, wanted, yardstick, HALF if halves else TOLERANCES)


@dataclass
class _Course:
    """The processes of one judgement."""

    header: Header
    folder: Path
    timeout: float

    def kept(self, name: str, floatX: str) -> Seen:
        """What NumPy computes, from the run's folder, or computed now and put there."""
        path = self.folder / "gate" / f"{name}.npz"
        if not path.is_file():
            seen = self.seen(REFERENCE, floatX=floatX)
            seen.pop("floatX")
            path.parent.mkdir(parents=True, exist_ok=True)
            persistence.save(path, seen, private=False)
        return persistence.load(path)

    def seen(self, contestant: Contestant, **changes: str) -> Seen:
        """What a contestant computes in a fresh process.

        Raises
        ------
        OtherWork
        RuntimeError
            When the process failed; says why.
        """
        from . import launch

        out = self.folder / "work" / f"gate-{contestant.key}.json"
        job = {
            "task": "gate", "folder": str(self.folder), "out": str(out), "contestant": asdict(contestant), "repeat": 0,
            "point": self.header.points[0], "seed": 0, **changes,
        }  # fmt: skip
        result = launch.finish(job, self.timeout)
        if "different" in result:
            raise OtherWork(result["different"])
        if "seen" not in result:
            raise RuntimeError(result.get("measurement", result)["reason"])
        path = Path(result["seen"])
        try:
            return persistence.load(path)
        finally:
            path.unlink()


def look(trainer: Trainer, net: Any, X: np.ndarray, y: np.ndarray, weights: Mapping[str, np.ndarray],
         seed: int = 0) -> Seen:  # fmt: skip
    """What a contestant computes on a few batches, noise off.

    Parameters
    ----------
    trainer : Trainer
        Loaded, not built.
    net : NeuralNet
        The declaration, whose noise is turned off.
    X, y : ndarray
        Training rows and targets.
    weights : mapping of str to ndarray
    seed : int

    Returns
    -------
    dict of str to ndarray
        By check, and by parameter as in ``"update/conv1.W"``; "floatX" is the net's, as text.

    Raises
    ------
    OtherWork
        When the contestant's parameters are not those of the declaration.
    """
    quieten(net)
    batches, rows = chosen_rows(y, net.batch_size)
    X, y = X[rows], y[rows]
    with _noise_of_numpy(net):
        trainer.build(net, X, y, weights, seed)
        seen = _by_name("weights", trainer.initial_weights())
        found = np.asarray(trainer.probabilities(X[batches[0]]), np.float64)
        seen["logits"] = found if net.regression else np.log(np.maximum(found, 1e-30))
        seen.update(_by_name("gradient", trainer.gradients(batches[0]) or {}))
        trainer.restart()
        trainer.steps(batches[:1])
        seen.update(_by_name("update", trainer.weights()))
        trainer.restart()
        seen["loss"] = np.asarray(trainer.steps(batches), np.float64)[:1]
        seen.update(_by_name("steps", trainer.weights()))
        if any(isinstance(value, Schedule) or callable(value) for value in net._hyper().values()):
            trainer.restart()
            trainer.steps(batches[:1], first=LATE)
            seen.update(_by_name("schedule", trainer.weights()))
    return {**seen, "floatX": np.array(config.get("floatX", net.floatX))}


def _by_name(check: str, arrays: Mapping[str, np.ndarray]) -> Seen:
    return {f"{check}/{name}": np.asarray(array) for name, array in arrays.items()}


def chosen_rows(y: np.ndarray, batch_size: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Three batches, as numbers into the rows that are returned second: theirs, and one of each class.

    Batches are of the net's size, at most `MOST_ROWS`; where there are too few rows, some come again.

    >>> batches, rows = chosen_rows(np.array([0, 1, 0, 1, 0, 0]), 2)
    >>> [len(batch) for batch in batches], sorted(rows.tolist()) == rows.tolist()
    ([2, 2, 2], True)
    """
    count = len(y)
    size = min(batch_size if batch_size > 0 else count, count, MOST_ROWS)
    drawn = np.resize(np.random.default_rng(0).permutation(count), BATCHES * size)
    firsts = np.unique(y, return_index=True)[1] if y.ndim == 1 and y.dtype.kind != "f" else drawn[:0]
    rows = np.union1d(drawn, firsts)
    return list(np.searchsorted(rows, drawn).reshape(BATCHES, size)), rows


def quieten(net: Any) -> None:
    """Turn off the dropout and the noise of a net's layers, before they are made.

    Examples
    --------
    >>> from portanet import NeuralNet, layers
    >>> net = NeuralNet([("input", layers.InputLayer), ("drop", layers.DropoutLayer), ("out", layers.DenseLayer)],
    ...                 drop_p=0.2)
    >>> quieten(net)
    >>> net.drop_p
    0.0
    """
    for kind, owner, prefix in _kinds(net):
        for noisy, name in NOISE.items():
            if issubclass(kind, noisy):
                setattr(owner, prefix + name, 0.0)


def _kinds(net: Any) -> list[tuple[type[Layer], Any, str]]:
    """The class of each layer, the object that has its parameters as attributes, and what their names begin with."""
    if is_wired(net.layers):
        return [(type(layer), layer, "") for layer in get_all_layers(net.layers)]
    return [(one.kind, net, f"{one.name}_") for one in read_layers(net.layers or [], [])]


@contextlib.contextmanager
def _noise_of_numpy(net: Any) -> Iterator[None]:
    """Where a layer of the user's own may draw noise that can't be turned off, let all engines draw NumPy's."""
    if all(kind.__module__.startswith("portanet.layers.") for kind, *_ in _kinds(net)):
        yield
        return
    with config.config_context(reproducible=True):
        yield


def verdict(key: str, seen: Seen, wanted: Seen, yardstick: Seen,
            tolerances: Mapping[str, float] = TOLERANCES) -> Verdict:  # fmt: skip
    """What `look` saw of a contestant, beside the reference's and beside NumPy's in float32."""
    try:
        off, own = differences(seen, wanted), differences(yardstick, wanted)
    except OtherWork as error:
        return Verdict(key, "not the same work", str(error))
    errors, allowed, reason = {}, {}, ""
    for check, phrase in CHECKS.items():
        found = {name: (error, max(tolerances[check], ALLOWED * own[check, name]))
                 for (kind, name), error in off.items() if kind == check}  # fmt: skip
        if not found:
            continue
        worst = max(found, key=lambda name: found[name][0] / found[name][1])
        errors[check], allowed[check] = found[worst]
        if errors[check] > allowed[check] and not reason:
            where = f", most of {worst}" if worst else ""
            reason = (f"{phrase}{where}: relative error {errors[check]:.2g}, allowed {allowed[check]:.1g}"
                      f"{_factor(check, worst, seen, wanted)}")  # fmt: skip
    return Verdict(key, "not the same work" if reason else "same", reason, errors, allowed)


def differences(seen: Seen, wanted: Seen) -> dict[tuple[str, str], float]:
    """Relative error of each check and parameter.

    Raises
    ------
    OtherWork
        When there are other parameters, or their shapes differ.
    """
    lacking = [key for key in wanted if key not in seen and not key.startswith("gradient/")]
    beyond = [key for key in seen if key not in wanted]
    if lacking or beyond:
        raise OtherWork(f"it has no {', '.join(lacking)}" if lacking else f"it has {', '.join(beyond)} besides")
    found = {}
    for key, right in wanted.items():
        if key not in seen:
            continue
        check, _, name = key.partition("/")
        if seen[key].shape != right.shape:
            raise OtherWork(f"{CHECKS[check]}: {name or check} has shape {seen[key].shape}, not {right.shape}")
        changes = check in ("update", "steps", "schedule")
        found[check, name] = error(seen[key], right, wanted[f"weights/{name}"] if changes else None)
    return found


def error(got: np.ndarray, wanted: np.ndarray, start: np.ndarray | None = None) -> float:
    """Size of a difference relative to that of the value, or of the change from `start`.

    >>> round(error(np.array([1.1, 2.2]), np.array([1.0, 2.0])), 6)
    0.1
    >>> round(error(np.array([1.2]), np.array([1.1]), np.array([1.0])), 4)
    1.0
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    if not (np.isfinite(got).all() and np.isfinite(wanted).all()):
        return 0.0 if np.array_equal(got, wanted, equal_nan=True) else float("inf")
    away = rms(got - wanted)
    if start is not None:
        away = max(away - FLOAT32 * rms(wanted), 0.0)
    size = rms(wanted if start is None else wanted - start)
    return away / size if size else float("inf") if away > FLOAT32 else 0.0


def rms(array: np.ndarray) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0


def _factor(check: str, name: str, seen: Seen, wanted: Seen) -> str:
    """By how much, where a change or a gradient is a multiple of the reference's: often a matter of learning rates."""
    key = f"{check}/{name}"
    if check not in ("gradient", "update", "steps", "schedule"):
        return ""
    start = 0.0 if check == "gradient" else wanted[f"weights/{name}"]
    got, right = (np.asarray(arrays[key] - start, np.float64).ravel() for arrays in (seen, wanted))
    size = right @ right
    if not size or not np.isfinite(got).all():
        return ""
    factor = got @ right / size
    left = rms(got - factor * right)
    return f"; it is {factor:.3g} times the reference's" if left < 0.05 * rms(got - right) else ""
