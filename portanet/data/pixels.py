"""From the bytes of images to the numbers a net is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exceptions import DataError


def pixel_type(dtype: Any) -> np.dtype:
    """The type asked for, which must be uint8 (bytes as they are) or a float type (scaled)."""
    try:
        chosen = np.dtype(dtype)
    except TypeError:
        chosen = None
    if chosen is None or not (chosen == np.uint8 or chosen.kind == "f"):
        raise DataError(f"dtype {dtype!r} is not a type for pixels; use 'float32', 'float64' or another float "
                        "type, or 'uint8' for the bytes as they are")  # fmt: skip
    return chosen


def scale(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A new array: pixels / 255 in a float type, within [0, 1]; as they are in uint8."""
    return pixels.copy() if dtype == np.uint8 else np.divide(pixels, 255, dtype=dtype)
