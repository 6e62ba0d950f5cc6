"""Cutting rows into batches, and changing them on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..exceptions import DataError


class BatchIterator:
    """Cuts data into batches of rows; a subclass may change each batch in `transform`.

    The last batch holds what is left, at its true size. Which rows come when is drawn from the net's `random_state`,
    in place of nolearn's `seed`; the data themselves are never moved.

    Parameters
    ----------
    batch_size : int
        Rows in a batch; -1 takes all.
    shuffle : bool
        Whether the net draws a new order for each epoch.

    Examples
    --------
    A batch iterator that flips half of the images:

    >>> import numpy as np
    >>> from portanet.data import BatchIterator
    >>> class Flipping(BatchIterator):
    ...     def transform(self, Xb, yb):
    ...         Xb[::2] = Xb[::2, :, :, ::-1].copy()
    ...         return Xb, yb
    >>> [len(Xb) for Xb, yb in Flipping(batch_size=4)(np.zeros((10, 1, 2, 2)), np.zeros(10))]
    [4, 4, 2]
    """

    def __init__(self, batch_size: int = 128, shuffle: bool = True):
        self.batch_size = batch_size
        self.shuffle = shuffle

    def transform(self, Xb: Any, yb: Any) -> tuple[Any, Any]:
        """The batch as the net shall see it; the arrays are copies, rows of a memory map in its own dtype."""
        return Xb, yb

    @property
    def transforms(self) -> bool:
        """Whether a subclass changes batches."""
        return type(self).transform is not BatchIterator.transform

    def rows(self, count: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Row numbers of each batch; in order unless `shuffle` and an `rng` is given."""
        size = self.batch_size
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or (size < 1 and size != -1):
            raise DataError(f"batch_size must be a positive whole number, or -1 for all rows, got {size!r}")
        size = max(count, 1) if size == -1 else int(size)
        order = rng.permutation(count) if rng is not None and self.shuffle else np.arange(count)
        return [order[at : at + size] for at in range(0, count, size)]

    def __call__(self, X: Any, y: Any = None) -> Iterator[tuple[Any, Any]]:
        """Batches of `X` (an array, or a dict of them) and `y`, in order, transformed."""
        count = len(next(iter(X.values())) if isinstance(X, dict) else X)
        for rows in self.rows(count):
            Xb = {name: array[rows] for name, array in X.items()} if isinstance(X, dict) else X[rows]
            yield self.transform(Xb, None if y is None else y[rows])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_size={self.batch_size}, shuffle={self.shuffle})"
