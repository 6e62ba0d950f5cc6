"""What a run found, for a reader: a table in the terminal, and JSON, Markdown and one HTML file in the run's folder."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...runtime.whole_file import drafted

__all__ = ["data", "write"]


def write(folder: str | os.PathLike[str]) -> list[Path]:
    """Report on the run in that folder, however far it has come.

    Parameters
    ----------
    folder : path
        Of the run; runs of the same net in folders beside it make its history.

    Returns
    -------
    list of Path
        ``report.json`` (every figure), ``report.md`` and ``report.html``, as written.

    Raises
    ------
    FileNotFoundError
        Where the folder holds no run.
    ValueError
        Where a record is of another version of portanet.
    """
    from .. import history, records
    from ..summary import summarize
    from . import html, markdown
    from .sections import sections

    folder = Path(folder)
    summary, past = summarize(folder), history.collect(folder)
    records.write(folder / "report.json", data(summary, past))
    found = sections(summary, past)
    for name, text in (("report.md", markdown.render(summary, found)), ("report.html", html.render(summary, found))):
        with drafted(folder / name) as draft:
            draft.write_text(text, "utf-8")
    return [folder / f"report.{ending}" for ending in ("json", "md", "html")]


def data(summary: Any, history: Any) -> dict[str, Any]:
    """All figures as JSON-able data; those that are not finite become None.

    Parameters
    ----------
    summary : Summary
    history : History

    Returns
    -------
    dict
        "verdict", "answers", "summary" and "history".
    """
    from . import answers

    asked = {answer.question: answer.text for answer in answers.answers(summary)}
    found = {
        "verdict": answers.verdict(summary),
        "answers": asked,
        "summary": asdict(summary),
        "history": asdict(history),
    }
    return _finite(found)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
