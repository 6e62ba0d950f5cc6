"""CIFAR-10, in the two forms that its page offers: binary, and the "python version" in pickles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..exceptions import DataError
from .errors import DataFileError
from .folders import data_folder, locate
from .pixels import pixel_type, scale
from .unpickling import PickledArray, read_pickle

SUBFOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar10")
PICKLED = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
LAYOUTS = {"binary": [(f"{name}.bin",) for name in PICKLED], "pickled": [(name,) for name in PICKLED]}
PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS
CLASSES = 10
GREY = (0.299, 0.587, 0.114)

Arrays = tuple[np.ndarray, np.ndarray]


def load_cifar10(folder: str | os.PathLike[str] | None = None, dtype: Any = "float32", grey: bool = False,
                 flatten: bool = False) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Read CIFAR-10's small photographs.

    The five batches to train on and the one to test on are read in binary form (``data_batch_1.bin``, ...,
    ``test_batch.bin``: records of a label's byte and 3072 bytes of pixels) or from the pickles of the "python
    version" (``data_batch_1``, ..., ``test_batch``, of Python 2 or 3). The pickles go through an unpickler that
    builds arrays and nothing else, so that a hostile one is refused and runs nothing.

    Parameters
    ----------
    folder : path-like, optional
        Holds the files, itself or in its subfolder ``cifar-10-batches-bin``, ``cifar-10-batches-py`` or
        ``cifar10``; by default the configured ``data_dir`` (``PORTANET_DATA``).
    dtype : dtype
        A float type gives scaled pixels; ``"uint8"`` the bytes as they are, in colour only.
    grey : bool
        One channel of luminance, ``(0.299 R + 0.587 G + 0.114 B) / 255 - 0.5``, within [-0.5, 0.5]; otherwise three
        channels, red, green, blue, each pixel / 255, within [0, 1].
    flatten : bool
        Images as rows, channel by channel.

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        X : ndarray of `dtype`, shape (N, 3, 32, 32) or, grey, (N, 1, 32, 32); flattened (N, 3072) or (N, 1024).
        y : ndarray of int32, shape (N,), the classes 0 to 9: airplane, automobile, bird, cat, deer, dog, frog,
        horse, ship, truck.

    Raises
    ------
    DataFileError
        When batches are missing, truncated or damaged, a label is not within 0 to 9, or a pickle is refused.
    DataError
        When `dtype` is neither a float type nor uint8, or uint8 together with `grey`.

    References
    ----------
    Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in PICKLED:
    ...         _ = Path(folder, f"{name}.bin").write_bytes(bytes([7]) + bytes([255]) * 3072)
    ...     (X_train, y_train), (X_test, y_test) = load_cifar10(folder, grey=True)
    >>> X_train.shape, float(X_train.max()), y_train
    ((5, 1, 32, 32), 0.5, array([7, 7, 7, 7, 7], dtype=int32))
    """
    wanted = pixel_type(dtype)
    if grey and wanted == np.uint8:
        raise DataError("grey=True gives fractions from -0.5 to 0.5, which dtype 'uint8' cannot hold; "
                        "use a float type, or grey=False")  # fmt: skip
    layout, paths = locate(data_folder(folder, "CIFAR-10"), SUBFOLDERS, LAYOUTS, "CIFAR-10")
    read = {"binary": _read_binary, "pickled": _read_pickled}[layout]
    *train, test = [_check_labels(path, *read(path)) for path in paths]
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return _finish(images, labels, wanted, grey, flatten), _finish(*test, wanted, grey, flatten)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataFileError(path, f"cannot be read: {error.strerror or error}") from error


def _read_binary(path: Path) -> Arrays:
    data = _read_bytes(path)
    if not data or len(data) % RECORD:
        raise DataFileError(path, f"{len(data)} bytes are not a whole number of {RECORD}-byte records: truncated, or "
                            "another format; fetch the file again")  # fmt: skip
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    return records[:, 1:], records[:, 0].astype(np.int32)


def _read_pickled(path: Path) -> Arrays:
    content = read_pickle(_read_bytes(path), path)
    if not isinstance(content, dict):
        raise DataFileError(path, f"holds a {type(content).__name__}, where a batch is a dict of 'data' and 'labels'")
    parts = []
    for key in "data", "labels":
        part = content.get(key.encode(), content.get(key))
        if part is None:
            names = ", ".join(sorted(repr(name)[:40] for name in content if isinstance(name, str | bytes)))
            raise DataFileError(path, f"has no {key!r} among its keys ({names}): not a batch of CIFAR-10")
        parts.append(part)
    return _pickled_images(path, parts[0]), _pickled_labels(path, parts[1])


def _pickled_images(path: Path, data: Any) -> np.ndarray:
    if not isinstance(data, PickledArray):
        raise DataFileError(path, f"'data' is a {type(data).__name__}, where an array of uint8 is due")
    if data.dtype != np.uint8 or len(data.shape) != 2 or data.shape[1] != PIXELS:
        raise DataFileError(path, f"'data' has shape {data.shape} and dtype {data.dtype}; allowed: (N, {PIXELS}) of "
                            "uint8")  # fmt: skip
    return data.array()


def _pickled_labels(path: Path, labels: Any) -> np.ndarray:
    if not isinstance(labels, list) or not set(map(type, labels)) <= {int}:
        raise DataFileError(path, "'labels' is not a list of whole numbers, as in a batch of CIFAR-10")
    if not all(0 <= label < CLASSES for label in labels):
        raise DataFileError(path, f"a label is not one of the classes 0 to {CLASSES - 1}: another data set, or damaged")
    return np.array(labels, np.int32)


def _check_labels(path: Path, images: np.ndarray, labels: np.ndarray) -> Arrays:
    if len(images) != len(labels):
        raise DataFileError(path, f"{len(labels)} labels for {len(images)} images; fetch the file again")
    if len(labels) and labels.max() >= CLASSES:
        at = int(np.argmax(labels >= CLASSES))
        raise DataFileError(path, f"label {labels[at]} of image {at} is not one of the classes 0 to {CLASSES - 1}: "
                            "another data set, or damaged")  # fmt: skip
    return images, labels


def _finish(images: np.ndarray, labels: np.ndarray, dtype: np.dtype, grey: bool, flatten: bool) -> Arrays:
    channels = images.reshape(-1, 3, 32, 32)
    X = _luminance(channels, dtype) if grey else scale(channels, dtype)
    return X.reshape(len(X), -1) if flatten else X, labels


def _luminance(channels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    total = np.zeros((len(channels), 1, 32, 32), dtype)
    for channel, weight in enumerate(GREY):
        total[:, 0] += np.multiply(channels[:, channel], weight, dtype=dtype)
    return total / dtype.type(255) - dtype.type(0.5)
