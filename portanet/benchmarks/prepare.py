"""From a model and options to a run's folder: the data, initial weights for each repeat, and the header."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import persistence
from ..compile import compile_plan
from ..engine.plan import Plan
from ..exceptions import ConfigError, DataError
from ..inputs import check_both
from . import machine, records, work
from .records import Contestant, Header, Point

if TYPE_CHECKING:
    from .datasets import Dataset
    from .models import Model

BEYOND = ("created", "machine", "contestants", "repeats")  # compared apart


def prepare(model: Model, folder: str | os.PathLike[str], *, contestants: Sequence[Contestant], repeats: int = 5,
            epochs: int | None = None, threads: int = 1, points: Sequence[Point] = ({},),
            overrides: Mapping[str, Any] | None = None, rows: int | None = None) -> Header:  # fmt: skip
    """Put down what is to be measured, or find that it is what the folder already holds.

    Parameters
    ----------
    model : Model
    folder : path-like
        Made where it is missing. One that holds the same run is gone on with, and left as it is; with more repeats than
        before, the further ones are added.
    contestants : sequence of Contestant
    repeats, epochs, threads : int
        Of each measurement; as many epochs as the published program had by default.
    points : sequence of dict
        Those of a sweep.
    overrides : dict, optional
        Keyword parameters of the net besides its own.
    rows : int, optional
        Only the first so many training rows, and at most as many test rows.

    Returns
    -------
    Header

    Raises
    ------
    ConfigError
        When the folder holds another run, or things of another kind; says what differs. When a number is too small.
    DataError
        When the data do not fit the net.
    """
    folder, points, overrides = Path(folder), [dict(point) for point in points], dict(overrides or {})
    epochs = model.epochs if epochs is None else epochs
    _check_numbers(epochs, repeats, threads, rows)
    _check_folder(folder)
    data = _cut(model.load(), rows)
    plans = {place(point): _plan(model, {**overrides, **point}, data) for point in points}
    header = Header(
        model.name, model.title, model.question, model.source, overrides, [dict(row) for row in model.published],
        data.describe(), _spec(plans), epochs, repeats, threads, points, model.target_error, list(contestants),
        machine.identity(), datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    there = _there(folder, header) if (folder / "run.json").exists() else None
    if there is None:
        data.save(folder / "data")
    for seed in range(there.repeats if there else 0, repeats):
        for point in points:
            weights = initial_weights(_plan(model, {**overrides, **point, "random_state": seed}, data)[1])
            persistence.save(weights_path(folder, seed, point), weights, private=False)
    if there is None:
        header.machine = machine.describe(threads)
    else:
        header = dataclasses.replace(there, repeats=repeats, contestants=header.contestants)
    records.write(folder / "run.json", header)
    return header


def weights_path(folder: str | os.PathLike[str], seed: int, point: Point) -> Path:
    """Where the initial weights for a seed are, at a point of a sweep.

    >>> weights_path("run", 3, {}).as_posix(), weights_path("run", 3, {"width": 64}).as_posix()
    ('run/data/weights-3.npz', 'run/data/weights-3-width64.npz')
    """
    return Path(folder, "data", f"weights-{seed}{place(point)}.npz")


def place(point: Point) -> str:
    """A point as a part of a file's name, as in `Measurement.name`.

    >>> place({"width": 64}), place({})
    ('-width64', '')
    """
    return "".join(f"-{key}{value}" for key, value in point.items())


def initial_weights(plan: Plan) -> dict[str, np.ndarray]:
    """What training starts from, running statistics included, by portanet's parameter names."""
    return {name: plan.arrays[name] for name in (*plan.trainable, *plan.running)}


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, shapes and values, as float32, in the order of the names.

    >>> digest({"b": np.zeros(2), "a": np.ones(1)}) == digest({"a": np.ones(1, "float32"), "b": np.zeros(2)})
    True
    """
    sha = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], np.float32)
        sha.update(f"{name} {array.shape}\n".encode() + array.tobytes())
    return sha.hexdigest()


def _check_numbers(epochs: int, repeats: int, threads: int, rows: int | None) -> None:
    least = {"epochs": (epochs, 2, ", since the first is told apart from the others"), "repeats": (repeats, 1, ""),
             "threads": (threads, 1, ""), "rows": (1 if rows is None else rows, 1, "")}  # fmt: skip
    for name, (value, lowest, why) in least.items():
        if value < lowest:
            raise ConfigError(f"{name} must be at least {lowest}{why}; got {value}")


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder, new or of an earlier run")
    others = sorted(path.name for path in folder.iterdir() if path.name != "data") if folder.is_dir() else []
    if others and "run.json" not in others:
        raise ConfigError(
            f"{folder} holds {', '.join(others[:3])}{', ...' if len(others) > 3 else ''} but no run; give a new "
            "folder, or that of an earlier run"
        )


def _cut(data: Dataset, rows: int | None) -> Dataset:
    if rows is None or rows >= len(data.X):
        return data
    if data.classes is not None and len(np.unique(data.y[:rows])) < len(np.unique(data.y)):
        raise DataError(f"the first {rows} rows of {data.name} do not hold every class; take more rows")
    note = f"{data.note}; " if data.note else ""
    return dataclasses.replace(
        data, X=data.X[:rows], y=data.y[:rows], X_test=data.X_test[:rows], y_test=data.y_test[:rows],
        note=f"{note}the first {rows} of {len(data.X)} training rows",
    )  # fmt: skip


def _plan(model: Model, overrides: Mapping[str, Any], data: Dataset) -> tuple[Any, Plan]:
    """The net with its layers made, and its plan, in the net's float type."""
    net: Any = model.build(**{"random_state": 0, **overrides})
    feeds, y = check_both(net, data.X, data.y, reset=True)
    net._declare(feeds, y)
    draws = np.random.default_rng([net.noise_seed_, 0])  # what fit draws initial weights from
    weighted = net.class_weight is not None
    return net, compile_plan(net.layers_, net._task(weighted), net._trace_update(), net._float_type(), draws)


def _spec(plans: Mapping[str, tuple[Any, Plan]]) -> dict[str, Any]:
    """`Header.spec`, of the first point, and under "points" that of each by its `place`."""
    each = {where: _spec_of(*found) for where, found in plans.items()}
    return {**next(iter(each.values())), "points": each}


def _spec_of(net: Any, plan: Plan) -> dict[str, Any]:
    batch_size = int(net.batch_size)
    counted = batch_size if batch_size > 0 else 128
    return {
        "sha256": plan.fingerprint(), "layers": len(net.layers_),
        "parameters": sum(math.prod(shape) for shape in plan.trainable.values()),
        "weights_sha256": digest(initial_weights(plan)), "flops": work.flops(plan, counted),
        "bytes": work.bytes_moved(plan, counted), "batch_size": batch_size, "floatX": plan.floatX,
    }  # fmt: skip


def _there(folder: Path, header: Header) -> Header:
    """The header the folder holds, if it is the same but for who can take part by now, and for repeats to come."""
    try:
        there = records.read(folder / "run.json", Header)
    except ValueError as error:
        raise ConfigError(f"{error} (another --out)") from error
    different = list(differences(there, header))
    if different:
        raise ConfigError(
            f"{folder} holds another run: {'; '.join(different)}. Give another folder by --out, or the options of that "
            "run to go on with it"
        )
    return there


def differences(there: Header, now: Header) -> Iterator[str]:
    """What makes two runs incomparable, a phrase each; when they were made, who is absent and more repeats do not.

    Parameters
    ----------
    there : Header
        As it was read from a folder.
    now : Header
        As it was just made; its `machine` may be the `machine.identity` alone.

    Yields
    ------
    str
    """
    for one in dataclasses.fields(Header):
        if one.name not in BEYOND:
            yield from _parted(one.name, *(_read_back(getattr(header, one.name)) for header in (there, now)))
    if now.repeats < there.repeats:
        yield from _parted("repeats", there.repeats, now.repeats)
    yield from _parted("contestants", *([one.key for one in header.contestants] for header in (there, now)))
    fingerprint = now.machine.get("fingerprint", now.machine)
    yield from _parted("machine", there.machine["fingerprint"], fingerprint)


def _read_back(value: Any) -> Any:
    """As JSON keeps it: a tuple is a list."""
    return json.loads(json.dumps(value, default=str))


def _parted(name: str, there: Any, now: Any) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(now, dict):
        for key in sorted(there.keys() | now.keys()):
            yield from _parted(f"{name} {key}", there.get(key), now.get(key))
    elif there != now:
        yield f"{name}: {_short(there)} there, {_short(now)} now"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:28] + "..." + text[-28:]
