"""Checking what users hand in, and turning it into what programs are fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from .exceptions import DataError
from .layers.base import InputLayer, Layer


def check(net: Any, X: Any) -> dict[str | None, np.ndarray]:
    """`X` as a dict of arrays by input name; ``None`` stands for the only input.

    With ``net.check_input=False``, values may be NaN or infinite.
    """
    if _is_dict(X):
        return _check_dict(X, bool(net.check_input))
    return {None: validate_data(net, X, reset=False, **_array_options(net))}


def check_both(net: Any, X: Any, y: Any, *, reset: bool) -> tuple[dict[str | None, np.ndarray], np.ndarray]:
    """`X` as `check` gives it, and `y` as an array of as many rows."""
    finite, numbers = bool(net.check_input), "numeric" if net.regression else None
    if _is_dict(X):
        arrays = _check_dict(X, finite)
        y = check_array(y, allow_nd=True, ensure_2d=False, dtype=numbers, ensure_all_finite=finite, input_name="y")
    elif len(getattr(y, "shape", ())) > 2:
        arrays = {None: validate_data(net, X, reset=reset, **_array_options(net))}
        y = check_array(y, allow_nd=True, dtype=numbers, ensure_all_finite=finite, input_name="y")
    else:
        options = {"multi_output": True, "y_numeric": bool(net.regression), **_array_options(net)}
        X, y = validate_data(net, X, y, reset=reset, **options)
        return {None: X}, y
    check_consistent_length(*arrays.values(), y)
    return arrays, y


def _is_dict(X: Any) -> bool:
    return isinstance(X, Mapping) and not issparse(X)  # some sparse matrices are mappings too


def _array_options(net: Any) -> dict[str, Any]:
    return {"dtype": "numeric", "allow_nd": True, "ensure_all_finite": bool(net.check_input)}


def _check_dict(X: Mapping, finite: bool) -> dict[str | None, np.ndarray]:
    if not X:
        raise DataError("X is an empty dict; give {input layer's name: array}")
    arrays = {name: check_array(array, allow_nd=True, ensure_all_finite=finite, input_name=f"X[{name!r}]")
              for name, array in X.items()}  # fmt: skip
    check_consistent_length(*arrays.values())
    return arrays


def feeds(layers: Mapping[str, Layer], X: Mapping[str | None, np.ndarray], floatX: str) -> dict[str, np.ndarray]:
    """Arrays by input layer, in the dtypes of the net; a memory map of another dtype stays as it is."""
    check_shapes(layers, X)
    entries = {name: layer for name, layer in layers.items() if isinstance(layer, InputLayer)}
    given = {name: X[name if name in X else None] for name in entries}
    return {name: _as_dtype(array, entries[name].dtype_for(floatX)) for name, array in given.items()}


def _as_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    return array if isinstance(array, np.memmap) else np.asarray(array, dtype=dtype)


def check_shapes(layers: Mapping[str, Layer], X: Mapping[str | None, np.ndarray]) -> None:
    """Each input layer has data of its shape, and there are no other data."""
    entries = {name: layer for name, layer in layers.items() if isinstance(layer, InputLayer)}
    if set(X) == {None} and len(entries) != 1:
        raise DataError(f"the net has {len(entries)} inputs, {', '.join(entries)}; give X as a dict of arrays by name")
    if None not in X and set(X) != set(entries):
        raise DataError(f"X holds {', '.join(map(str, X))}; the net's inputs are {', '.join(entries)}")
    for name, layer in entries.items():
        array = X[name if name in X else None]
        if array.shape[1:] != layer.output_shape[1:]:
            wanted = ", ".join(["n", *map(str, layer.output_shape[1:])])
            raise DataError(
                f"layer '{name}' (InputLayer): X has shape {array.shape}, the net takes ({wanted}); "
                f"reshape X, or change {name}_shape"
            )


def row_count(X: Mapping[Any, np.ndarray]) -> int:
    return len(next(iter(X.values())))
