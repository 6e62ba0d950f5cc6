"""A lock between processes that the system gives back when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["held"]


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold the lock at `path` inside; `waiting` is called once where another process has it.

    Parameters
    ----------
    path : Path
        An empty file that is made, and left: removing it would let two processes lock two files of one name.
    waiting : callable

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, held(Path(folder, "lock"), lambda: print("waiting")):
    ...     print("held")
    held
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _taken(descriptor):
            waiting()
            while not _taken(descriptor):
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Take the lock unless someone else holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
