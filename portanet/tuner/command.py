"""What ``portanet tune`` does: find the net and the data, and tune."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..exceptions import DataError, PortanetError
from ..parity.command import find_net, importable, read_data
from .tuning import Tuning, tune

__all__ = ["run"]


def run(net: str, data: Sequence[str], epochs: int | None = None, budget: float | None = None,
        engines: str | None = None, device: str | None = None) -> Tuning:  # fmt: skip
    """Tune the net that a command line names.

    Parameters
    ----------
    net : str
        See `portanet.parity.command.find_net`.
    data : sequence of str
        Paths of X and y as ``.npy`` files, or of one ``.npz`` file.
    epochs, budget, engines, device
        As for `tune`.

    Raises
    ------
    PortanetError
        Whatever goes wrong, code of the user's included.
    """
    with importable(os.getcwd()):
        found = find_net(net)
    X, y = arrays_of(data)
    try:
        return tune(found, X, y, epochs=epochs, budget=budget, engines=engines, device=device)
    except PortanetError:
        raise
    except Exception as error:
        raise DataError(f"the net can't be tuned: {type(error).__name__}: {error} (--traceback shows where)") from error


def arrays_of(paths: Sequence[str]) -> tuple[Any, np.ndarray]:
    """X and y of two ``.npy`` files, as memory maps, or of one ``.npz`` file.

    Raises
    ------
    DataError
        When a file is missing or is none, or when there is no y.
    """
    if len(paths) == 1 and not paths[0].endswith(".npy"):
        X, y = read_data(paths[0])
        if y is None:
            raise DataError(f"--data {paths[0]} holds no y; save it by numpy.savez(path, X=..., y=...)")
        return X, y
    if len(paths) != 2:
        raise DataError(f"--data takes X.npy and y.npy, or one .npz file with both; got {' '.join(paths)}")
    return _array(paths[0]), _array(paths[1])


def _array(path: str) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"--data {path}: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"--data {path} holds several arrays; give X.npy and y.npy, or the one .npz file alone")
    return array
