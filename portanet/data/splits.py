"""What is held out to validate on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exceptions import DataError


class TrainSplit:
    """Hold out a part of the training data.

    Parameters
    ----------
    eval_size : float or int
        The share held out, above 0 and below 1, or a number of rows. 0 or None holds nothing out.
    stratify : bool
        Whether every class gives its share, in classification. A class of a single sample stays in training.
    shuffle : bool
        Whether rows are drawn, from the net's `random_state`; otherwise the last ones are held out.

    Notes
    -----
    nolearn holds out the first fold of an unshuffled, stratified k-fold; here rows are drawn unless ``shuffle=False``.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet.data import TrainSplit
    >>> train, valid = TrainSplit(eval_size=0.25, shuffle=False).rows(8)
    >>> train, valid
    (array([0, 1, 2, 3, 4, 5]), array([6, 7]))
    """

    def __init__(self, eval_size: Any = 0.2, stratify: bool = True, shuffle: bool = True):
        self.eval_size, self.stratify, self.shuffle = eval_size, stratify, shuffle

    def __repr__(self) -> str:
        return f"TrainSplit(eval_size={self.eval_size}, stratify={self.stratify}, shuffle={self.shuffle})"

    def rows(self, count: int, classes: np.ndarray | None = None, rng: np.random.Generator | None = None
             ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Row numbers to train on, and to validate on, each in ascending order.

        Parameters
        ----------
        count : int
            Rows there are.
        classes : ndarray of int, optional
            Class of each row, to stratify by.
        rng : numpy.random.Generator, optional
            Needed to shuffle.
        """
        held_out = self._share(count)
        if held_out == 0:
            return np.arange(count), np.arange(0)
        order = rng.permutation(count) if self.shuffle and rng is not None else np.arange(count)
        if classes is not None and self.stratify:
            valid = self._stratified(order, classes, held_out)
            if not len(valid):
                raise DataError(f"train_split can hold out none of n_samples = {count}: each class has a single one, "
                                "which stays in training; give more data, TrainSplit(stratify=False), or "
                                "train_split=None")  # fmt: skip
        else:
            valid = order[count - held_out :]
        chosen = np.zeros(count, bool)
        chosen[valid] = True
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)

    def _share(self, count: int) -> int:
        size = self.eval_size
        if size is None or size == 0:
            return 0
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not (isinstance(size, float | np.floating) and 0 < size < 1) and not (whole and size > 0):
            raise DataError(f"eval_size must be a share below 1, a number of rows, or 0, got {size!r}")
        held_out = round(size * count) if size < 1 else int(size)
        held_out = max(held_out, 1)
        if held_out >= count:
            raise DataError(f"train_split holds out {held_out} of n_samples = {count}, which leaves none to train on; "
                            "give more data, a smaller eval_size, or train_split=None")  # fmt: skip
        return held_out

    def _stratified(self, order: np.ndarray, classes: np.ndarray, held_out: int) -> np.ndarray:
        """The last rows of each class, each class's share rounded so that the total comes out as wished."""
        groups = [order[classes[order] == label] for label in np.unique(classes)]
        ideal = np.array([len(group) * held_out / len(order) for group in groups])
        spare = np.array([len(group) - 1 for group in groups])
        counts = np.minimum(np.floor(ideal).astype(int), spare)
        for place in np.argsort(counts - ideal, kind="stable"):
            if counts.sum() < held_out and counts[place] < spare[place]:
                counts[place] += 1
        return np.concatenate([group[len(group) - n :] for group, n in zip(groups, counts, strict=True)])


class PredefinedSplit:
    """Validate on data of their own.

    Parameters
    ----------
    X_valid, y_valid : array-like
        As for `fit`.
    """

    def __init__(self, X_valid: Any, y_valid: Any):
        self.X_valid, self.y_valid = X_valid, y_valid

    def __repr__(self) -> str:
        return f"PredefinedSplit({len(self.y_valid)} rows)"


def as_split(split: Any) -> TrainSplit | PredefinedSplit:
    """A number is an `eval_size`; None holds nothing out."""
    if isinstance(split, TrainSplit | PredefinedSplit):
        return split
    if split is None or isinstance(split, int | float | np.number):
        return TrainSplit(split)
    raise DataError(f"train_split must be a number, TrainSplit, PredefinedSplit or None, got {split!r}")
