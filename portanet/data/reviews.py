"""Reviews as they lie in a file: word numbers and labels, checked, in two splits."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..exceptions import did_you_mean
from .errors import DataFileError
from .npz import Archive

SPLITS = ("train", "test")
LARGEST = 2**31 - 1
WORD_BYTES, REVIEW_BYTES = 4, 128  # of memory, once loaded


@dataclass(frozen=True)
class Reviews:
    """All words of all reviews one after another, the number of words in each review, and each one's label."""

    words: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


def read_reviews(path: Path, max_bytes: int) -> list[Reviews]:
    """The reviews to train on and those to test on, from any of the three forms that `load_imdb` describes."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataFileError(path, f"cannot be read: {error.strerror or error}") from error
    if size > max_bytes:
        raise DataFileError(path, f"{size} bytes, above the limit max_bytes={max_bytes}; if you trust the file, "
                            "raise the limit")  # fmt: skip
    return _read_archive(path, max_bytes) if zipped else _read_lines(path, max_bytes)


def _read_archive(path: Path, max_bytes: int) -> list[Reviews]:
    archive = Archive(path, max_bytes)
    splits = []
    for split in SPLITS:
        labels, content = archive.read(f"y_{split}"), archive.read(f"x_{split}")
        if isinstance(content, list):
            words, lengths = _flatten(path, f"x_{split}", content, max_bytes)
        else:
            counts = archive.read(f"x_{split}_lengths")
            _check_size(path, f"x_{split}", len(content), len(counts), max_bytes)
            words, lengths = _whole(path, f"x_{split}", content), _whole(path, f"x_{split}_lengths", counts)
        if isinstance(labels, list):
            labels = np.array(_whole_list(path, f"y_{split}", labels))
        splits.append(_check(path, split, words, lengths, _whole(path, f"y_{split}", labels)))
    return splits


def _read_lines(path: Path, max_bytes: int) -> list[Reviews]:
    tokens: dict[str, list] = {split: [] for split in SPLITS}
    labels: dict[str, list] = {split: [] for split in SPLITS}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                review = _parse_line(path, number, line)
                split = review.get("split", "train")
                tokens[split].append(review["tokens"])
                labels[split].append(review["label"])
    if not any(labels.values()):
        raise DataFileError(path, "holds no reviews")
    return [
        _check(
            path,
            split,
            *_flatten(path, "tokens", tokens[split], max_bytes),
            np.array(labels[split], np.int64),
        )
        for split in SPLITS
    ]


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    wanted = '{"tokens": [14, 22], "label": 1}, with "split": "train" or "test" if there is one'
    try:
        review = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f"line {number} is not JSON ({error}); each line is to be {wanted}") from error
    if not isinstance(review, dict) or not {"tokens", "label"} <= set(review) <= {"tokens", "label", "split"}:
        raise DataFileError(path, f"line {number} is not a review; each line is to be {wanted}")
    split = review.get("split", "train")
    if split not in SPLITS:
        raise DataFileError(path, f"line {number} is of an unknown split{did_you_mean(split, SPLITS)}; allowed: "
                            "train, test")  # fmt: skip
    _whole_list(path, f"label of line {number}", [review["label"]])
    if not isinstance(review["tokens"], list):
        raise DataFileError(path, f"tokens of line {number} are not a list, as in {wanted}")
    _whole_list(path, f"tokens of line {number}", review["tokens"])
    return review


def _flatten(path: Path, name: str, reviews: list, max_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and lengths of a list of lists, each checked."""
    _check_types(path, name, reviews, list, "list of word numbers")
    lengths = np.array([len(review) for review in reviews], np.int64)
    _check_size(path, name, int(lengths.sum()), len(reviews), max_bytes)
    words = _whole_list(path, name, list(itertools.chain.from_iterable(reviews)))
    return np.array(words, np.int64), lengths


def _whole_list(path: Path, name: str, values: list) -> list:
    _check_types(path, name, values, int, "whole number")
    if values and not (min(values) >= 0 and max(values) <= LARGEST):
        raise DataFileError(path, f"{name} has a number outside of the allowed 0 to {LARGEST}")
    return values


def _check_types(path: Path, name: str, values: list, allowed: type, due: str) -> None:
    wrong = sorted(kind.__name__ for kind in set(map(type, values)) - {allowed})
    if wrong:
        raise DataFileError(path, f"{name} has a {wrong[0]} where a {due} is due")


def _check_size(path: Path, name: str, words: int, reviews: int, max_bytes: int) -> None:
    needed = words * WORD_BYTES + reviews * REVIEW_BYTES
    if needed > max_bytes:
        raise DataFileError(path, f"{name} has {words} words in {reviews} reviews, {needed} bytes in memory, above the "
                            f"limit max_bytes={max_bytes}; if you trust the file, raise the limit")  # fmt: skip


def _whole(path: Path, name: str, values: Any) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iub":
        what = f"{values.ndim} dimensions of {values.dtype}" if isinstance(values, np.ndarray) else "objects"
        raise DataFileError(path, f"{name} holds {what}, where one dimension of whole numbers is due")
    if values.size and not (values.min() >= 0 and values.max() <= LARGEST):
        raise DataFileError(path, f"{name} has a number outside of the allowed 0 to {LARGEST}")
    return values.astype(np.int64)


def _check(path: Path, split: str, words: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Reviews:
    if len(lengths) != len(labels):
        raise DataFileError(path, f"{len(labels)} labels for {len(lengths)} reviews in {split}")
    if lengths.sum() != len(words):
        raise DataFileError(path, f"the lengths of {split} add up to {lengths.sum()} words, and there are {len(words)}")
    return Reviews(words, lengths, labels.astype(np.int32))
