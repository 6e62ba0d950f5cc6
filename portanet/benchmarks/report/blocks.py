"""What a report is made of, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .answers import Answer


@dataclass
class Table:
    """Text in rows, the first column naming what the row is about.

    Attributes
    ----------
    caption : str
    head : sequence of str
    rows : sequence of sequence of str
    words : set of int
        Columns of words rather than figures, besides the first.
    best, faint : set of int
        Rows to stand out, and to stand back.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: set[int] = field(default_factory=set)
    best: set[int] = field(default_factory=set)
    faint: set[int] = field(default_factory=set)


@dataclass
class Figure:
    """A drawing as SVG.

    Attributes
    ----------
    name, caption, alt, svg : str
        `alt` says in words what the drawing shows.
    """

    name: str
    caption: str
    alt: str
    svg: str


@dataclass
class Section:
    """A heading; below it a leading table, questions with answers, paragraphs, figures and tables, in that order."""

    title: str
    questions: list[Answer] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    lead: Table | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing below the heading."""
        return not (self.lead or self.questions or self.paragraphs or self.figures or self.tables)
