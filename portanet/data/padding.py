"""Sequences of different lengths as one array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..exceptions import DataError, did_you_mean

SIDES = ("pre", "post")


def pad_sequences(sequences: Iterable[Any], maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre",
                  truncating: str = "pre", value: float = 0) -> np.ndarray:  # fmt: skip
    """Sequences of any length as the rows of one array.

    Parameters
    ----------
    sequences : iterable of sequences of numbers
    maxlen : int, optional
        Length of the rows; by default that of the longest sequence.
    dtype : dtype
        Of the result. An integer type takes whole numbers in its range only.
    padding : {"pre", "post"}
        Whether `value` fills short rows before or after the sequence.
    truncating : {"pre", "post"}
        Whether long sequences lose their beginning or their end.
    value : number
        What fills.

    Returns
    -------
    ndarray of `dtype`, shape (number of sequences, maxlen)

    Raises
    ------
    DataError
        When a sequence is not a flat one of numbers, a number does not fit `dtype`, or an argument is not allowed.

    Examples
    --------
    >>> pad_sequences([[7], [1, 2, 3, 4]], maxlen=3)
    array([[0, 0, 7],
           [2, 3, 4]], dtype=int32)
    >>> pad_sequences([[7], [1, 2, 3, 4]], maxlen=3, padding="post", truncating="post")
    array([[7, 0, 0],
           [1, 2, 3]], dtype=int32)
    """
    faults = [*side_faults("padding", padding), *side_faults("truncating", truncating)]
    if maxlen is not None and not is_whole(maxlen, 1):
        faults.append(f"maxlen must be a whole number from 1 or None, got {maxlen!r}")
    if faults:
        raise DataError("; ".join(faults))
    wanted = np.dtype(dtype)
    rows = [_row(number, sequence, wanted) for number, sequence in enumerate(sequences)]
    width = max(map(len, rows), default=0) if maxlen is None else int(maxlen)
    padded = np.full((len(rows), width), _fitting("value", np.asarray(value), wanted), wanted)
    for target, row in zip(padded, rows, strict=True):
        kept = row[max(len(row) - width, 0) :] if truncating == "pre" else row[:width]
        start = width - len(kept) if padding == "pre" else 0
        target[start : start + len(kept)] = kept
    return padded


def _row(number: int, sequence: Any, dtype: np.dtype) -> np.ndarray:
    try:
        row = np.asarray(sequence)
    except ValueError:
        row = np.empty((0, 0))
    if row.ndim != 1 or isinstance(sequence, str):
        raise DataError(f"sequence {number} is not a flat list of numbers, got {type(sequence).__name__}")
    return _fitting(f"sequence {number}", row, dtype) if len(row) else row.astype(dtype)


def _fitting(where: str, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers in another type, if nothing is lost but float precision."""
    if numbers.dtype.kind not in "iubf":
        raise DataError(f"{where} holds {numbers.dtype}, where numbers are due; turn words into indices first "
                        "(TextToSequences)")  # fmt: skip
    if dtype.kind in "iu":
        if numbers.dtype.kind == "f" and not (numbers == np.floor(numbers)).all():
            raise DataError(f"{where} holds a number that is not whole, which dtype {dtype} cannot; use a float dtype")
        limits = np.iinfo(dtype)
        if numbers.min() < limits.min or numbers.max() > limits.max:
            raise DataError(f"{where} holds numbers from {numbers.min()} to {numbers.max()}, out of range for {dtype}: "
                            f"allowed are {limits.min} to {limits.max}")  # fmt: skip
    return numbers.astype(dtype)


def side_faults(name: str, value: Any) -> list[str]:
    return [] if value in SIDES else [f"{name} must be 'pre' or 'post', got {value!r}{did_you_mean(value, SIDES)}"]


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is an integer, of Python or NumPy, and not below `least`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)
