"""IMDB-like reviews: sequences of word numbers, each with a label, prepared as Keras prepares them."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..exceptions import DataError
from .errors import DataFileError
from .folders import data_folder, locate
from .reviews import LARGEST, Reviews, read_reviews

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Preparation:
    """What is done to word numbers; `load_imdb` explains each."""

    num_words: int | None
    skip_top: int
    maxlen: int | None
    start_char: int | None
    oov_char: int | None
    index_from: int

    def __post_init__(self) -> None:
        least = {"num_words": 1, "maxlen": 1}
        for name, value in vars(self).items():
            optional = name not in ("skip_top", "index_from")
            if not ((value is None and optional) or _is_count(value, least.get(name, 0))):
                raise DataError(f"{name} must be a whole number from {least.get(name, 0)}"
                                f"{' or None' if optional else ''}, got {value!r}")  # fmt: skip

    def __call__(self, reviews: Reviews, order: np.ndarray) -> Arrays:
        words, lengths = reviews.words + self.index_from, reviews.lengths
        if self.start_char is not None:
            words = np.insert(words, np.cumsum(lengths) - lengths, self.start_char)
            lengths = lengths + 1
        if self.maxlen is not None:
            order = order[lengths[order] < self.maxlen]
            if len(lengths) and not len(order):
                raise DataError(f"maxlen={self.maxlen} leaves no review: it keeps those with fewer words, the start "
                                f"mark included, and the shortest has {lengths.min()}; raise maxlen")  # fmt: skip
        known = (words >= self.skip_top) & (words < (self.num_words or LARGEST + 1))
        if self.oov_char is not None:
            words = np.where(known, words, self.oov_char)
        else:
            owners = np.repeat(np.arange(len(lengths)), lengths)
            words, lengths = words[known], np.bincount(owners[known], minlength=len(lengths))
        return _ragged(words.astype(np.int32), lengths, order), reviews.labels[order]


def load_imdb(path: str | os.PathLike[str] | None = None, num_words: int | None = None, skip_top: int = 0,
              maxlen: int | None = None, start_char: int | None = 1, oov_char: int | None = 2, index_from: int = 3,
              seed: int = 113, max_bytes: int = 2**27) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Read IMDB's film reviews, or other texts in the same form, as Keras's ``imdb.load_data`` gives them.

    For the same file and arguments the sequences and their order are those of Keras, except that without
    `num_words` the last word is kept too. Three forms of file are told apart by what is in them:

    - ``imdb.npz`` as Keras publishes it: arrays ``x_train``, ``x_test`` of lists of word numbers, ``y_train``,
      ``y_test``. They are pickled; only lists of whole numbers are accepted, and nothing in them is run.
    - an ``.npz`` without pickles: ``x_train`` holds all word numbers one after another, ``x_train_lengths`` how many
      belong to each review, ``y_train`` the labels; likewise for ``test``.
    - JSON lines, one review each: ``{"tokens": [14, 22, 16], "label": 1, "split": "train"}``; a line without
      ``"split"`` belongs to training.

    Parameters
    ----------
    path : path-like, optional
        The file, or a folder that has ``imdb.npz`` or ``imdb.jsonl`` in it or in its subfolder ``imdb``; by default
        the configured ``data_dir`` (``PORTANET_DATA``).
    num_words : int, optional
        Word numbers from this on, counted after `index_from` is added, become `oov_char`.
    skip_top : int
        Numbers below this one, counted likewise (so the start mark too), become `oov_char`.
    maxlen : int, optional
        Only reviews with fewer words than this are kept, the start mark included; longer ones are left out, not cut.
    start_char : int or None
        Put before each review.
    oov_char : int or None
        Stands for the words left out; with None they leave no trace.
    index_from : int
        Added to each word number; 0, 1 and 2 are padding, start and left-out words by custom.
    seed : int
        Of the shuffling, the same as in Keras (NumPy's ``RandomState``).
    max_bytes : int
        A file that is larger, unpacks to more, or needs more as sequences, is refused before that happens.

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        X : object ndarray of shape (N,), each element an ndarray of int32 (see `pad_sequences`);
        y : ndarray of int32, shape (N,).

    Raises
    ------
    DataFileError
        When the file is missing, damaged, of another form, too large, or a pickle of anything but lists of numbers.
    DataError
        When an argument is out of its range, or `maxlen` leaves no review.

    References
    ----------
    Maas et al., "Learning word vectors for sentiment analysis", ACL 2011.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "imdb.jsonl")
    ...     _ = path.write_text('{"tokens": [4, 9, 1], "label": 1}')
    ...     (X_train, y_train), (X_test, y_test) = load_imdb(path, num_words=10)
    >>> X_train[0], y_train
    (array([1, 7, 2, 4], dtype=int32), array([1], dtype=int32))
    """
    prepare = _Preparation(num_words, skip_top, maxlen, start_char, oov_char, index_from)
    for name, value, most in ("seed", seed, 2**32 - 1), ("max_bytes", max_bytes, None):
        if not _is_count(value, 0, most):
            raise DataError(f"{name} must be a whole number from 0{f' to {most}' if most else ''}, got {value!r}")
    file = _find(path)
    random = np.random.RandomState(seed)
    prepared = []
    for reviews in read_reviews(file, max_bytes):
        if len(reviews.words) and int(reviews.words.max()) + index_from > LARGEST:
            raise DataFileError(file, f"the word number {reviews.words.max()} is too large for int32 indices")
        order = np.arange(len(reviews.labels))
        random.shuffle(order)
        prepared.append(prepare(reviews, order))
    return prepared[0], prepared[1]


def _is_count(value: Any, least: int, most: int | None = None) -> bool:
    try:
        number = operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool) and least <= number <= (LARGEST if most is None else most)


def _ragged(words: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    reviews = np.empty(len(order), object)
    ends = np.cumsum(lengths)
    for place, row in enumerate(order):
        reviews[place] = words[ends[row] - lengths[row] : ends[row]]
    return reviews


def _find(path: str | os.PathLike[str] | None) -> Path:
    given = None if path is None else Path(path).expanduser()
    if given is not None and given.is_file():
        return given
    layouts = {"npz": [("imdb.npz",)], "lines": [("imdb.jsonl",)]}
    return locate(data_folder(given, "IMDB"), ["imdb"], layouts, "IMDB")[1][0]
