"""The tables of docs/engines.md, made from what the rows of the engines and their adapters declare.

``python -m portanet.runtime.capabilities docs/engines.md`` writes them into the file anew; without a file they are
printed. An adapter may be here or in a worker; all must be installed, since each declares for itself.
"""

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from portanet.engine.graph import DTYPES

from .registry import ROWS, load

__all__ = ["HEADS", "rows", "tables", "updated"]

HEADS = {
    "dtypes": ("engine", *(f"`{dtype}`" for dtype in DTYPES), "`floatX`", "operators it lacks"),
    "composites": ("engine", "composites it has a kernel for"),
    "limits": ("engine", "operator", "dtype or attribute", "what becomes of it"),
    "options": ("engine", "option", "default", "meaning"),
}
"""The heads of the tables, by name."""


def rows(name: str, declared: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """What the tables say of one engine.

    Parameters
    ----------
    name : str
        One of `ROWS`.
    declared : mapping
        What its adapter's ``capabilities()`` gave.

    Returns
    -------
    dict of str to list of tuple of str
        By the table's name, cells in the order of `HEADS`.

    Examples
    --------
    >>> from portanet.runtime.registry import load
    >>> rows("torch", {**load("numpy").capabilities(), "carried": {"uint16": "int32"}})["dtypes"][0][7:9]
    ('yes', 'as int32')
    """
    own = f"`{name}`"
    return {
        "dtypes": [(
            own, *(_dtype(dtype, declared["carried"]) for dtype in DTYPES), ", ".join(ROWS[name].float_types),
            ", ".join(declared["lacks"]) or "none",
        )],
        "composites": [(own, ", ".join(declared["fused"]) or "none")],
        "limits": [(own, *row) for row in declared["limits"]],
        "options": [
            (own, f"`{option}`", f'`"{default}"`' if isinstance(default, str) else f"`{default}`", meaning)
            for option, (default, meaning) in declared["options"].items()
        ],
    }  # fmt: skip


def _dtype(dtype: str, carried: Mapping[str, str | None]) -> str:
    """What becomes of a dtype.

    >>> [_dtype(dtype, {"uint16": "int32", "float16": None}) for dtype in ("bool", "uint16", "float16")]
    ['yes', 'as int32', 'refused']
    """
    taken = carried.get(dtype, dtype)
    return "refused" if taken is None else "yes" if taken == dtype else f"as {taken}"


def tables(engines: Iterable[str] = tuple(ROWS)) -> dict[str, str]:
    """The tables in Markdown, by name, a line for each row.

    Raises
    ------
    BackendUnavailable
        When one of the engines is not installed.
    """
    found = [rows(name, load(name).capabilities()) for name in engines]
    made = {}
    for table, head in HEADS.items():
        cells = [head, ("---",) * len(head), *(row for each in found for row in each[table])]
        made[table] = "\n".join(map(line, cells))
    return made


def line(cells: Iterable[str]) -> str:
    """A row of a table.

    >>> line(["a", "b"])
    '| a | b |'
    """
    return f"| {' | '.join(cells)} |"


def between(table: str) -> re.Pattern[str]:
    """What stands between the marks of a table."""
    return re.compile(rf"(?<=<!-- table: {table} -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)


def updated(text: str, found: Mapping[str, str]) -> str:
    """A text with its tables made anew; they stand between ``<!-- table: name -->`` and ``<!-- end -->``.

    Raises
    ------
    ValueError
        When it has no place, or several, for one of them.

    Examples
    --------
    >>> print(updated("<!-- table: limits -->\\n\\nold\\n\\n<!-- end -->", {"limits": "new"}))
    <!-- table: limits -->
    <BLANKLINE>
    new
    <BLANKLINE>
    <!-- end -->
    """
    for table, made in found.items():
        places = list(between(table).finditer(text))
        if len(places) != 1:
            marks = f"<!-- table: {table} --> to <!-- end -->"
            raise ValueError(f"the table {table!r} must have one place, {marks}; got {len(places)}")
        text = text[: places[0].start()] + made + text[places[0].end() :]
    return text


def main(arguments: list[str] | None = None) -> None:
    """Print the tables, or write them into a file."""
    about = "Print the tables of docs/engines.md, made from what the engines declare."
    parser = argparse.ArgumentParser(prog="python -m portanet.runtime.capabilities", description=about)
    parser.add_argument("file", nargs="?", type=Path, help="a file whose tables are to be made anew")
    file = parser.parse_args(arguments).file
    found = tables()
    if file is None:
        print("\n\n".join(found.values()))
    else:
        file.write_text(updated(file.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
