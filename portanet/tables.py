"""Columns of text for the command line."""

from collections.abc import Sequence

__all__ = ["table"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, the columns lined up.

    >>> print(table([("engine", "version"), ("numpy", "2.4")]))
    engine  version
    numpy   2.4
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
