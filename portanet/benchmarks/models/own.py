"""A net of the user's own as a model: its file, its data, and a fifth of the rows to test on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.splits import TrainSplit
from ...estimator import NeuralNet
from ...exceptions import DataError
from ...inputs import check_both
from ...parity.command import find_net, importable, read_data
from ...precision import master_type
from ...runtime import config
from ..datasets import Dataset, Folder
from . import Model

HELD_OUT, SEED = 0.2, 0
WANTED = "give X.npy and y.npy, or one .npz with arrays X and y"


def is_named(text: str) -> bool:
    """Whether a text names a file or a module's attribute rather than a model.

    >>> is_named("net.py:net"), is_named("net.py"), is_named("P6")
    (True, True, False)
    """
    return ":" in text or os.sep in text or Path(text).suffix in (".py", ".pkl", ".joblib") or Path(text).is_file()


def model(text: str, data: Sequence[str] | None) -> Model:
    """The model that `find` makes of a net of one's own.

    Raises
    ------
    DataError
        When the net can't be had; what is wrong with the data is told when they are loaded.
    """
    if text.endswith(".py"):
        raise DataError(f"{text} names no net in it; write {text}:net, if it is called net")
    with importable(os.getcwd()):
        found = find_net(text)
    paths = [os.fspath(path) for path in data or ()]

    def build(**overrides: Any) -> NeuralNet:
        return _remade(found, overrides)

    def load(folder: Folder = None) -> Dataset:
        if not 1 <= len(paths) <= 2:
            raise DataError(f"{text} needs its data; {WANTED}{_got(paths)}")
        return _load(text, build(), [str(Path(folder or "", path)) for path in paths])

    return Model(
        name=Path(text.rpartition(":")[0] or text).stem,
        title=text + (f" on {' and '.join(Path(path).name for path in paths)}" if paths else ""),
        question="Which engine and which device train this net fastest, and do they all reach the same model?",
        build=build,
        load=load,
        published=(),
        epochs=found.max_epochs,
        target_error=None,
        axis="batch_size",
        values=(32, 128, 512, 2048),
        source=text,
    )


def _got(paths: Sequence[str]) -> str:
    return f"; got {' '.join(paths)}" if paths else ""


def _remade(given: NeuralNet, overrides: dict[str, Any]) -> NeuralNet:
    """A net with the same parameters but for those overridden, as if it had never been fitted."""
    return type(given)(**{**given.get_params(deep=False), "train_split": None, "verbose": 0, **overrides})


def _load(text: str, net: Any, paths: Sequence[str]) -> Dataset:
    where = " and ".join(paths)
    X, y = _arrays(paths)
    if len(X) != len(y):
        raise DataError(f"{where}: X has {len(X)} rows, y has {len(y)}; each row of X needs its target")
    try:
        feeds, y = check_both(net, X, y, reset=True)
        net._declare(feeds, y)
    except (ValueError, TypeError) as error:
        raise DataError(f"{text} with {where}: {error}") from error
    X, y = _as_trained(net, next(iter(feeds.values())), y)
    classes = y if y.ndim == 1 and y.dtype.kind == "i" else None
    train, test = TrainSplit(HELD_OUT).rows(len(y), classes, np.random.default_rng(SEED))
    note = f"{len(test)} of {len(y)} rows, drawn with seed {SEED}, are held out to test on"
    return Dataset(where, True, X[train], y[train], X[test], y[test], note)


def _arrays(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if len(paths) == 2:
        return _array(paths[0]), _array(paths[1])
    if Path(paths[0]).suffix != ".npz":
        raise DataError(f"no y: {WANTED}; got {paths[0]} alone")
    X, y = read_data(paths[0])
    if y is None:
        raise DataError(f"{paths[0]} holds no y; save it by numpy.savez(path, X=..., y=...)")
    if not isinstance(X, np.ndarray):
        raise DataError(f"{paths[0]} holds {', '.join(X)} besides y; a benchmark takes one array, X")
    return X, y


def _array(path: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}; {WANTED}") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} holds no array of numbers: {error}; {WANTED}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is an archive of several arrays; give it alone, or two .npy files")
    if array.ndim == 0:
        raise DataError(f"{path} holds a single number, no rows; {WANTED}")
    return array


def _as_trained(net: Any, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in the net's float type, labels numbered from 0 in their order."""
    wide = master_type(config.get("floatX", net.floatX))
    (entry,) = (layer for layer in net.layers_.values() if not layer.input_layers)
    X = np.ascontiguousarray(X, entry.dtype_for(wide))
    if net.regression or y.ndim > 1:
        return X, np.ascontiguousarray(y, wide)
    return X, np.searchsorted(net.classes_, y).astype(np.int32)
