"""Checking what users hand in, and turning it into what programs are fed.

Large memory maps are checked a few megabytes at a time, and stay maps.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .engine.memory_maps import give_back_pages, is_large_map, pieces, slowest_axis
from .exceptions import DataError
from .layers.base import InputLayer, Layer


def check(net: Any, X: Any) -> dict[str | None, np.ndarray]:
    """`X` as a dict of arrays by input name; ``None`` stands for the only input.

    With ``net.check_input=False``, values may be NaN or infinite.
    """
    if _is_dict(X):
        return _check_dict(X, bool(net.check_input))
    return {None: _check_alone(net, X, reset=False)}


def check_both(net: Any, X: Any, y: Any, *, reset: bool) -> tuple[dict[str | None, np.ndarray], np.ndarray]:
    """`X` as `check` gives it, and `y` as an array of as many rows."""
    if _is_dict(X):
        arrays = _check_dict(X, bool(net.check_input))
    elif len(getattr(y, "shape", ())) > 2 or is_large_map(y) or (_is_plain(y, True) and len(y) == len(X)):
        arrays = {None: _check_alone(net, X, reset=reset)}
    else:
        from sklearn.utils.validation import validate_data

        options = {"multi_output": True, "y_numeric": bool(net.regression), **_array_options(net, X)}
        array, y = validate_data(net, X, y, reset=reset, **options)
        return {None: _check_map(array, bool(net.check_input), "X", type(net).__name__)}, y
    y = _check_target(net, y)
    _need_same_length(*arrays.values(), y)
    return arrays, y


def _is_plain(array: Any, finite: bool) -> bool:
    """Whether scikit-learn's checks would find nothing to say of an array of numbers, and change nothing.

    They are asked about everything else; importing them takes longer than many a fit.
    """
    if type(array) not in (np.ndarray, np.memmap) or array.dtype.kind not in "biuf" or not array.size:
        return False
    with np.errstate(all="ignore"):
        return not finite or array.dtype.kind != "f" or bool(np.isfinite(array.sum()))


def _is_dict(X: Any) -> bool:
    """Whether `X` holds arrays by name; some sparse matrices are mappings, too."""
    sparse = sys.modules.get("scipy.sparse")
    return isinstance(X, Mapping) and not (sparse and sparse.issparse(X))


def _array_options(net: Any, X: Any) -> dict[str, Any]:
    return {"dtype": "numeric", "allow_nd": True, "ensure_all_finite": bool(net.check_input) and not is_large_map(X)}


def _check_alone(net: Any, X: Any, *, reset: bool) -> np.ndarray:
    options = _array_options(net, X)
    known = reset or getattr(net, "n_features_in_", None)
    if (_is_plain(X, options["ensure_all_finite"]) and X.ndim > 1 and known in (True, X.shape[1])
            and not hasattr(net, "feature_names_in_")):  # fmt: skip
        net.n_features_in_, array = X.shape[1], np.asarray(X)
    else:
        from sklearn.utils.validation import validate_data

        array = validate_data(net, X, reset=reset, **options)
    return _check_map(array, bool(net.check_input), "X", type(net).__name__)


def _check_target(net: Any, y: Any) -> np.ndarray:
    finite = bool(net.check_input)
    y = _check_array(y, finite and not is_large_map(y), "y", ensure_2d=False,
                     dtype="numeric" if net.regression else None)  # fmt: skip
    y = _check_map(y, finite, "y")
    if net.regression or not is_large_map(y):
        return y
    labels = np.array(y)
    give_back_pages(y)
    return labels


def _check_array(array: Any, finite: bool, title: str, **options: Any) -> np.ndarray:
    if _is_plain(array, finite) and (array.ndim > 1 or not options.get("ensure_2d", True)):
        return np.asarray(array)
    from sklearn.utils.validation import check_array

    return check_array(array, allow_nd=True, ensure_all_finite=finite, input_name=title, **options)


def _need_same_length(*arrays: np.ndarray) -> None:
    if len({len(array) for array in arrays}) > 1:
        from sklearn.utils.validation import check_consistent_length

        check_consistent_length(*arrays)


def _check_dict(X: Mapping, finite: bool) -> dict[str | None, np.ndarray]:
    if not X:
        raise DataError("X is an empty dict; give {input layer's name: array}")
    arrays = {}
    for name, array in X.items():
        title, whole = f"X[{name!r}]", finite and not is_large_map(array)
        arrays[name] = _check_map(_check_array(array, whole, title), finite, title)
    _need_same_length(*arrays.values())
    return arrays


def _check_map(array: np.ndarray, finite: bool, title: str, who: str | None = None) -> np.ndarray:
    """The array; of a large memory map, what scikit-learn leaves to us: a look at every value, piece by piece."""
    if not is_large_map(array):
        return array
    if slowest_axis(array):
        warnings.warn(
            f"{title} is a memory map of shape {array.shape} in Fortran order, or cut across: every row lies scattered "
            "over the file, and all of it is read again and again; write it in C order (np.lib.format.open_memmap)",
            stacklevel=5,
        )
    if finite and array.dtype.kind == "f":
        for piece in pieces(array):
            if not np.isfinite(piece).all():
                from sklearn.utils import assert_all_finite

                assert_all_finite(piece, estimator_name=who, input_name=title)
    return array


def feeds(layers: Mapping[str, Layer], X: Mapping[str | None, np.ndarray], floatX: str) -> dict[str, np.ndarray]:
    """Arrays by input layer, in the dtypes of the net; a large memory map stays as it is."""
    check_shapes(layers, X)
    entries = {name: layer for name, layer in layers.items() if isinstance(layer, InputLayer)}
    given = {name: X[name if name in X else None] for name in entries}
    return {name: _as_dtype(array, entries[name].dtype_for(floatX)) for name, array in given.items()}


def _as_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    return array if is_large_map(array) else np.asarray(array, dtype=dtype)


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
