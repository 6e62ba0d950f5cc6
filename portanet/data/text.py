"""From sentences to sequences of word numbers, all of one length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..exceptions import DataError
from .padding import is_whole, pad_sequences, side_faults

WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


class TextToSequences(TransformerMixin, BaseEstimator):
    """Number the words of sentences by how often they occur, and give the sentences as rows of these numbers.

    A word is a run of letters and digits, with apostrophes inside. The most frequent word of the training sentences
    gets the first number after the special ones, and so on; words of one frequency follow the alphabet.

    Parameters
    ----------
    num_words : int or None
        How many indices there are, the special ones included, so that all are below it, as the number of rows of an
        embedding must be; rarer words become `oov_index`. None numbers all words.
    maxlen : int or None
        Length of the rows; by default that of the longest training sentence, start mark included.
    padding, truncating : {"pre", "post"}
        Where short rows are filled, and where long sentences are cut (see `pad_sequences`).
    lower : bool
        Whether words that differ in case only are the same.
    start_index : int or None
        Marks the start of each sentence; None leaves it unmarked.
    oov_index : int or None
        Stands for words without a number of their own; None leaves them out.
    pad_index : int
        Fills short rows.

    Attributes
    ----------
    vocabulary_ : dict of str to int
        Index of each word.
    num_indices_ : int
        One more than the greatest index in use: the rows that an embedding needs.
    maxlen_ : int
        Length of the rows.

    Examples
    --------
    >>> reader = TextToSequences(maxlen=5)
    >>> reader.fit_transform(["A good film, a very good film", "Not good!"])
    array([[5, 4, 7, 3, 5],
           [0, 0, 1, 6, 3]], dtype=int32)
    >>> reader.transform(["a dull film"])
    array([[0, 1, 4, 2, 5]], dtype=int32)
    """

    def __init__(self, num_words: int | None = 5000, maxlen: int | None = None, padding: str = "pre",
                 truncating: str = "pre", lower: bool = True, start_index: int | None = 1, oov_index: int | None = 2,
                 pad_index: int = 0):  # fmt: skip
        self.num_words = num_words
        self.maxlen = maxlen
        self.padding = padding
        self.truncating = truncating
        self.lower = lower
        self.start_index = start_index
        self.oov_index = oov_index
        self.pad_index = pad_index

    def fit(self, X: Iterable[str], y: Any = None) -> TextToSequences:
        """Learn the vocabulary.

        Parameters
        ----------
        X : iterable of str
            The training sentences.
        y : ignored

        Raises
        ------
        DataError
            When parameters are out of range (all faults at once), `X` holds anything but strings, or no words.
        """
        first = self._check_parameters()
        sentences = self._split(X)
        counts = Counter(word for sentence in sentences for word in sentence)
        if not counts:
            raise DataError(f"empty vocabulary: none of the {len(sentences)} sentences has a word in it")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        kept = ranked if self.num_words is None else ranked[: int(self.num_words) - first]
        self.vocabulary_ = {word: index for index, word in enumerate(kept, first)}
        self.num_indices_ = first + len(kept)
        longest = max(len(self._number(sentence)) for sentence in sentences)
        self.maxlen_ = longest if self.maxlen is None else int(self.maxlen)
        return self

    def transform(self, X: Iterable[str]) -> np.ndarray:
        """The sentences as rows of indices.

        Parameters
        ----------
        X : iterable of str

        Returns
        -------
        ndarray of int32, shape (number of sentences, maxlen_)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        DataError
            When `X` holds anything but strings.
        """
        check_is_fitted(self)
        rows = [self._number(sentence) for sentence in self._split(X)]
        return pad_sequences(rows, self.maxlen_, "int32", self.padding, self.truncating, self.pad_index)

    def _check_parameters(self) -> int:
        """The first index that is free for words."""
        faults = [*side_faults("padding", self.padding), *side_faults("truncating", self.truncating)]
        for name, least in (
            ("num_words", 1),
            ("maxlen", 1),
            ("start_index", 0),
            ("oov_index", 0),
            ("pad_index", 0),
        ):
            value = getattr(self, name)
            if not is_whole(value, least) and (value is not None or name == "pad_index"):
                faults.append(f"{name} must be a whole number from {least}, got {value!r}")
        if faults:
            raise DataError("; ".join(faults))
        special = [i for i in (self.start_index, self.oov_index, self.pad_index) if i is not None]
        if len(set(special)) < len(special):
            raise DataError(f"start_index, oov_index and pad_index must differ, got {special}")
        first = max(special) + 1
        if self.num_words is not None and self.num_words <= first:
            raise DataError(f"num_words={self.num_words} leaves no index for words: the special ones "
                            f"take those below {first}; raise num_words")  # fmt: skip
        return first

    def _split(self, X: Iterable[str]) -> list[list[str]]:
        if isinstance(X, str | bytes):
            raise DataError("got one string where an iterable of sentences is due; put it in a list")
        sentences = []
        for number, sentence in enumerate(X):
            if not isinstance(sentence, str):
                raise DataError(f"sentence {number} is a {type(sentence).__name__}, where a string is due")
            sentences.append(WORD.findall(sentence.lower() if self.lower else sentence))
        return sentences

    def _number(self, words: Sequence[str]) -> list[int]:
        start = [] if self.start_index is None else [int(self.start_index)]
        indices = (self.vocabulary_.get(word, self.oov_index) for word in words)
        return start + [int(index) for index in indices if index is not None]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags
