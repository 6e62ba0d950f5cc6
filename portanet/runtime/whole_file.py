"""Files that are there whole or not at all: a reader sees what was there before, or all of what takes its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["drafted"]


@contextlib.contextmanager
def drafted(path: Path, private: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to inside; what was written takes its place at the end, unless an error is raised.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    private : bool
        Whether only this user may read and write the file; by default whoever the umask allows.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "settings"
    >>> with drafted(path) as draft:
    ...     _ = draft.write_text("whole")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('whole', 1)
    """
    draft = path.parent / f".{path.name}.{os.urandom(4).hex()}.part"
    try:
        if private:
            draft.touch(0o600, exist_ok=False)
        yield draft
        os.replace(draft, path)
    except BaseException:  # Ctrl-C and exit too: no draft is left, and the error goes on
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
