"""A report as Markdown: what is on the HTML page, without its drawings."""

from __future__ import annotations

from collections.abc import Sequence

from ..summary import Summary
from . import answers
from .blocks import Section, Table


def render(summary: Summary, sections: Sequence[Section]) -> str:
    """The whole report.

    Parameters
    ----------
    summary : Summary
    sections : sequence of Section

    Returns
    -------
    str
    """
    header = summary.header
    blocks = [f"# {header.model}: {header.title}", header.question, f"**{answers.verdict(summary)}**"]
    for section in sections:
        blocks += _section(section)
    return "\n\n".join(filter(None, blocks)) + "\n"


def _section(section: Section) -> list[str]:
    blocks = [f"## {section.title}", *([_table(section.lead)] if section.lead else [])]
    blocks += [f"**{answer.question}** {answer.text}" for answer in section.questions]
    return [*blocks, *section.paragraphs, *map(_table, section.tables)]


def _table(table: Table) -> str:
    """
    >>> print(_table(Table("Two.", ("Tool", "Time"), [("a|b", "1.0")])))
    Two.
    <BLANKLINE>
    | Tool | Time |
    |:---|---:|
    | a\\|b | 1.0 |
    """
    rule = "|".join(":---" if at == 0 or at in table.words else "---:" for at in range(len(table.head)))
    return "\n".join([table.caption, "", _row(table.head), f"|{rule}|", *map(_row, table.rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
