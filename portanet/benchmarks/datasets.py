"""What the models are trained on: published data where their files are found, or seeded stand-ins that say so.

A stand-in has the shape of the published data and something to learn, but is no measure of how well a net learns
them. A tenth of its training labels are drawn at random: on data without a doubt gradients fade to denormal numbers,
which processors compute slowly. Labels of its test rows are right.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data import DataFileError, load_cifar10, load_imdb, load_mnist, pad_sequences
from ..exceptions import DataError

ARRAYS = ("X", "y", "X_test", "y_test")
CLASSES = 10
PROTOTYPES = 4  # of each class
GRID = 4  # pixels across one patch of a prototype
DOUBT = 0.1  # share of training labels drawn at random
BLOCK = 4096  # rows made at a time
NEGATION, TELLING = 1, 40  # a token that turns the next one's meaning; tokens that speak for each of two classes

Folder = str | os.PathLike[str] | None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to train on and rows to test on.

    Attributes
    ----------
    name : str
    real : bool
        False for a seeded stand-in.
    X, X_test : ndarray of shape (rows, ...)
    y, y_test : ndarray of shape (rows,) or (rows, outputs)
        Classes from 0 as int32; numbers or indicators in several columns, or of a float type.
    note : str
        What a reader should know of them; of a stand-in, how to get the real data.
    """

    name: str
    real: bool
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    note: str = ""

    @property
    def classes(self) -> int | None:
        """How many there are; None where `y` is not one class for each row."""
        labels = self.y.ndim == 1 and self.y.dtype.kind in "iu"
        return int(max(self.y.max(), self.y_test.max())) + 1 if labels else None

    @cached_property
    def sha256(self) -> str:
        """Digest of dtypes, shapes and values of all four arrays."""
        digest = hashlib.sha256()
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What `Header.data` says of them, as JSON-able data."""
        return {
            "name": self.name, "real": self.real, "note": self.note, "rows": len(self.X), "test_rows": len(self.X_test),
            "shape": list(self.X.shape[1:]), "classes": self.classes, "sha256": self.sha256,
        }  # fmt: skip

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``X.npy``, ``y.npy``, ``X_test.npy`` and ``y_test.npy`` into a folder, made where it is missing."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(Path(folder, f"{name}.npy"), getattr(self, name), allow_pickle=False)


def opened(folder: str | os.PathLike[str], name: str = "data", real: bool = True, note: str = "") -> Dataset:
    """What `Dataset.save` wrote, read into memory.

    Parameters
    ----------
    folder : path-like
    name, real, note
        As in `Dataset`; the arrays do not tell.

    Raises
    ------
    DataError
        When an array is missing or no array.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sequences(20, 10, length=6).save(folder)
    ...     opened(folder).X.shape
    (20, 6)
    """
    arrays = {}
    for array in ARRAYS:
        path = Path(folder, f"{array}.npy")
        try:
            arrays[array] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} can't be read as an array: {error}; make the data of this run anew") from error
    return Dataset(name, real, note=note, **arrays)


def mnist(folder: Folder = None, flatten: bool = True) -> Dataset:
    """MNIST's handwritten digits, pixels within 0 and 1, or a stand-in of 60,000 and 10,000 rows.

    Parameters
    ----------
    folder : path-like, optional
        As for `portanet.data.load_mnist`. A stand-in is made only where no folder is given, and the configured one
        has no such files.
    flatten : bool
        Rows of 784 pixels, or images of shape (1, 28, 28).

    Raises
    ------
    DataFileError
        When the folder that is given has no such files, or the files are damaged.
    """
    shape = (784,) if flatten else (1, 28, 28)
    return _read("MNIST", lambda: load_mnist(folder, flatten=flatten), folder,
                 lambda: images(60_000, 10_000, 28, spread=0.55, low=0.0, high=1.0), shape)  # fmt: skip


def cifar10(folder: Folder = None, flatten: bool = True) -> Dataset:
    """CIFAR-10's photographs in grey, within -0.5 and 0.5, or a stand-in of 50,000 and 10,000 rows.

    Parameters
    ----------
    folder : path-like, optional
        As for `mnist`.
    flatten : bool
        Rows of 1024 pixels, or images of shape (1, 32, 32).
    """
    shape = (1024,) if flatten else (1, 32, 32)
    return _read("CIFAR-10", lambda: load_cifar10(folder, grey=True, flatten=flatten), folder,
                 lambda: images(50_000, 10_000, 32, spread=1.0, low=-0.5, high=0.5), shape)  # fmt: skip


def reviews(folder: Folder = None, words: int = 1000, length: int = 32) -> Dataset:
    """The last words of IMDB's film reviews, or seeded sequences of 10,000 and 2,500 rows.

    Parameters
    ----------
    folder : path-like, optional
        As for `portanet.data.load_imdb`, a stand-in made under the conditions of `mnist`.
    words : int
        Word numbers that are told apart; from 0 to `words` - 1.
    length : int
        Words of each review; a shorter one is filled up with zeros before it.
    """

    def load() -> Any:
        return [(pad_sequences(X, maxlen=length), y) for X, y in load_imdb(folder, num_words=words)]

    return _read("IMDB", load, folder, lambda: sequences(10_000, 2_500, words, length), (length,))


def _read(name: str, load: Callable[[], Any], folder: Folder, stand_in: Callable[[], Dataset],
          shape: tuple[int, ...]) -> Dataset:  # fmt: skip
    try:
        (X, y), (X_test, y_test) = load()
    except DataFileError as error:
        if folder is not None or Path(error.path).is_file():
            raise
        made = stand_in()
        note = f"seeded numbers in the shape of {name}, not {name} itself, whose files were not found: {error}"
        return Dataset(f"stand-in for {name}", False, made.X.reshape(-1, *shape), made.y,
                       made.X_test.reshape(-1, *shape), made.y_test, note)  # fmt: skip
    return Dataset(name, True, X, y, X_test, y_test)


def images(rows: int, test_rows: int, size: int, spread: float, low: float, high: float, seed: int = 0) -> Dataset:
    """Square images of ten classes: each one of its class's prototypes, with noise upon it.

    Parameters
    ----------
    rows, test_rows : int
    size : int
        Pixels across, a multiple of 4.
    spread : float
        Standard deviation of each pixel's noise, which is even, before it is cut off; `low` and `high` are 1 apart.
    low, high : float
        What pixels are kept within.
    seed : int

    Returns
    -------
    Dataset
        X : float32 of shape (rows, size * size).

    Examples
    --------
    >>> data = images(100, 50, 8, spread=0.3, low=0.0, high=1.0)
    >>> data.X.shape, data.X_test.shape, data.classes
    ((100, 64), (50, 64), 10)
    """
    rng, patches = np.random.default_rng(seed), size // GRID
    coarse = rng.random((CLASSES * PROTOTYPES, patches, patches), np.float32)
    prototypes = np.kron(coarse, np.ones((1, GRID, GRID), np.float32)).reshape(len(coarse), -1)
    X, y = _noisy(rng, rows, prototypes, spread, low, high)
    X_test, y_test = _noisy(rng, test_rows, prototypes, spread, low, high)
    return Dataset("images", False, X, _doubted(rng, y, CLASSES), X_test, y_test, "seeded images")


def _noisy(rng: np.random.Generator, rows: int, prototypes: np.ndarray, spread: float, low: float, high: float
           ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Images and their classes. Prototype number p is of class p modulo `CLASSES`."""
    chosen, pixels = rng.integers(0, len(prototypes), rows), prototypes.shape[1]
    X, step = np.empty((rows, pixels), np.float32), np.float32(spread * math.sqrt(12.0) / 255.0)
    for start in range(0, rows, BLOCK):
        block = X[start : start + BLOCK]
        noise = rng.bit_generator.random_raw(block.size // 8).view(np.uint8).reshape(block.shape)
        np.multiply(noise, step, out=block)
        block += prototypes[chosen[start : start + BLOCK]] - np.float32(127.5) * step
        np.clip(block, 0.0, 1.0, out=block)
        block *= np.float32(high - low)
        block += np.float32(low)
    return X, (chosen % CLASSES).astype(np.int32)


def sequences(rows: int, test_rows: int, words: int = 1000, length: int = 32, seed: int = 0) -> Dataset:
    """Sequences of word numbers of two classes, told apart by a few words and by what stands before them.

    Two words in five speak for a class, four in five of them for that of their sequence. One in five of them stands
    behind a negation, word 1, and is turned into its opposite: counting words tells the classes apart, and heeding
    their order does so better. Of the other words those with small numbers are frequent.

    Returns
    -------
    Dataset
        X : int32 of shape (rows, length), from 1 to `words` - 1; y : 0 or 1.

    Examples
    --------
    >>> data = sequences(100, 50, words=200)
    >>> data.X.shape, data.X.dtype, int(data.X.max()) < 200, data.classes
    ((100, 32), dtype('int32'), True, 2)
    """
    if words < 2 * TELLING + 3:
        raise DataError(f"words must be at least {2 * TELLING + 3}, got {words}")
    rng = np.random.default_rng(seed)
    X, y = _told(rng, rows, words, length)
    X_test, y_test = _told(rng, test_rows, words, length)
    return Dataset("sequences", False, X, _doubted(rng, y, 2), X_test, y_test,
                   "seeded sequences with words for and against, and negations")  # fmt: skip


def _told(rng: np.random.Generator, rows: int, words: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    y, shape, first = rng.integers(0, 2, rows, np.int32), (rows, length), NEGATION + 1 + 2 * TELLING
    X = (first + (words - first) * rng.random(shape) ** 3).astype(np.int32)
    telling, turned = rng.random(shape) < 0.4, rng.random(shape) < 0.2
    turned[:, 0] = False
    turned &= telling
    side = y[:, None] ^ (rng.random(shape) < 0.2) ^ turned
    speaking = NEGATION + 1 + rng.integers(0, TELLING, shape, np.int32) + TELLING * side
    np.copyto(X, speaking, where=telling)
    X[:, :-1][turned[:, 1:]] = NEGATION
    return X, y


def _doubted(rng: np.random.Generator, y: np.ndarray, classes: int) -> np.ndarray:
    """The labels, `DOUBT` of them drawn anew."""
    drawn = rng.integers(0, classes, len(y), np.int32)
    return np.where(rng.random(len(y)) < DOUBT, drawn, y)
