"""What every reader raises when a file cannot be used."""

from __future__ import annotations

import os

from ..exceptions import DataError


class DataFileError(DataError):
    """A data file that is missing, damaged, of another kind than its place says, or hostile.

    Parameters
    ----------
    path : str or path-like
        The file, or the folder that was searched.
    fault : str
        What was got, what is allowed, and what to do.

    Examples
    --------
    >>> error = DataFileError("digits.idx", "3 bytes, too short for an IDX header")
    >>> print(error)
    digits.idx: 3 bytes, too short for an IDX header
    >>> isinstance(error, ValueError)
    True
    """

    def __init__(self, path: str | os.PathLike[str], fault: str) -> None:
        super().__init__(os.fspath(path), fault)
        self.path = os.fspath(path)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}"
