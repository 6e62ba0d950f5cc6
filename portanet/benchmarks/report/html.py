"""A report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..summary import Summary
from . import answers
from .blocks import Figure, Section, Table
from .style import STYLE

LONG = 26


def render(summary: Summary, sections: Sequence[Section]) -> str:
    """The whole page.

    Parameters
    ----------
    summary : Summary
    sections : sequence of Section

    Returns
    -------
    str
    """
    header = summary.header
    title = f"{header.model}: {header.title}"
    links = "".join(f'<li><a href="#{_anchor(section)}">{escape(section.title)}</a></li>' for section in sections)
    body = "".join(map(_section, sections))
    made = f"Measured {escape(header.created[:10])} by portanet {escape(str(header.machine.get('portanet', '')))}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="kind">Benchmark</p>
<h1>{escape(title)}</h1>
<p class="question">{escape(header.question)}</p>
<p class="verdict">{escape(answers.verdict(summary))}</p>
<nav aria-label="Contents"><ul>{links}</ul></nav>
</header>
<main>{body}</main>
<footer><p>{made} on {escape(str(header.machine.get("cpu", "an unknown machine")))}.
All figures are in report.json beside this page.</p></footer>
</body>
</html>
"""


def _anchor(section: Section) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in section.title.lower()).split())


def _section(section: Section) -> str:
    anchor = _anchor(section)
    asked = "".join(f"<dt>{escape(one.question)}</dt><dd>{escape(one.text)}</dd>" for one in section.questions)
    blocks = [_table(section.lead, f"{anchor}-lead")] if section.lead else []
    blocks += [f"<dl>{asked}</dl>"] if asked else []
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in section.paragraphs)
    figures = "".join(map(_figure, section.figures))
    if len(section.figures) == 1:
        figures, paragraphs = f"{figures}<div>{paragraphs}</div>", ""
    blocks += [paragraphs, f'<div class="figures">{figures}</div>' if figures else ""]
    blocks += [_table(one, f"{anchor}-{number}") for number, one in enumerate(section.tables, 1)]
    return (
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{escape(section.title)}</h2>{"".join(blocks)}</section>'
    )


def _figure(figure: Figure) -> str:
    return (
        f'<figure><div role="img" aria-label="{escape(figure.alt)}">{figure.svg}</div>'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _table(table: Table, anchor: str) -> str:
    kinds = [_kind(table, column) for column in range(len(table.head))]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(cell)}</th>' for kind, cell in zip(kinds, table.head, strict=True)
    )
    rows = "".join(_row(table, at, row, kinds) for at, row in enumerate(table.rows))
    return (
        f'<p class="caption" id="{anchor}">{escape(table.caption)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{anchor}"><table aria-labelledby="{anchor}">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(table: Table, number: int, row: Sequence[str], kinds: Sequence[str]) -> str:
    stands = " class=best" if number in table.best else " class=faint" if number in table.faint else ""
    first, *others = (f'class="{kind}">{escape(cell)}' for kind, cell in zip(kinds, row, strict=True))
    cells = "".join(f"<td {cell}</td>" for cell in others)
    return f'<tr{stands}><th scope="row" {first}</th>{cells}</tr>'


def _kind(table: Table, column: int) -> str:
    """Figures stand to the right, words to the left; only text that is long may break."""
    if column and column not in table.words:
        return "figure"
    return "text" if max((len(row[column]) for row in table.rows), default=0) > LONG else "words"
