"""Weights to and from files: NumPy's ``.npz``, without pickle."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .exceptions import DataError
from .runtime.whole_file import drafted

Weights = dict[str, np.ndarray]


def save(path: str | os.PathLike, weights: Mapping[str, np.ndarray], private: bool = True) -> None:
    """Write arrays by name, all or nothing: an interrupted save leaves the old file as it was."""
    with drafted(Path(path), private=private) as draft, draft.open("wb") as file:
        # not allow_pickle, which NumPy 1 takes for one more array, as its stub takes each array for that setting
        np.savez(file, **weights)  # type: ignore[arg-type]


def load(path: str | os.PathLike) -> Weights:
    """Read what `save` wrote.

    Raises
    ------
    DataError
        When the file is no such file; nothing in it is ever run.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{os.fspath(path)} holds no saved weights: {error}") from error


def by_name(source: Mapping[str, Any], known: Mapping[str, list[str]]) -> Weights:
    """Weights by full name, from ``{"hidden.W": array}`` or nolearn's ``{"hidden": [W, b]}``."""
    weights: Weights = {}
    for name, value in source.items():
        if name in known:
            if len(value) != len(known[name]):
                raise DataError(f"layer '{name}' has {len(known[name])} parameters, got {len(value)}")
            weights.update(zip(known[name], value, strict=True))
        else:
            weights[name] = np.asarray(value)
    return weights


def check(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Every parameter of the net is there in its shape, and nothing else.

    Raises
    ------
    DataError
        Listing every parameter that does not fit.
    """
    faults = [f"'{name}' is missing" for name in shapes if name not in weights]
    faults += [f"'{name}' is no parameter of this net" for name in weights if name not in shapes]
    faults += [f"'{name}' has shape {np.shape(weights[name])}, the net's has {shape}"
               for name, shape in shapes.items() if name in weights and np.shape(weights[name]) != shape]  # fmt: skip
    if faults:
        raise DataError("these weights do not fit the net: " + "; ".join(faults))
