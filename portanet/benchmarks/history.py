"""Earlier runs of the same net on the same data, whose folders lie beside this one."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from . import records, runs, summary
from .records import Header, Point


@dataclass
class Past:
    """What one run found of one contestant.

    Attributes
    ----------
    folder : str
        Its name.
    created, commit : str
    machine : str
        As in ``"Xeon E5, 2 threads"``.
    here : bool
        Whether that is the machine, and the number of threads, of the run at hand.
    contestant, tool : str
    point : dict
    rate : float or None
        Median of the steady samples a second.
    seconds, error : float or None
        Median of the whole fit, and mean error rate; None where it trained for another number of epochs.
    """

    folder: str
    created: str
    commit: str
    machine: str
    here: bool
    contestant: str
    tool: str
    point: Point
    rate: float | None
    seconds: float | None
    error: float | None


@dataclass
class History:
    """Runs of one net on one data set.

    Attributes
    ----------
    entries : list of Past
        By date; those of the run at hand among them. Empty where there is no other run.
    unread : list of str
        Folders beside it that hold a run which can't be read, and why.
    """

    entries: list[Past] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def collect(folder: str | os.PathLike[str]) -> History:
    """What the runs beside that folder found, of the same model, the same net and the same data.

    Parameters
    ----------
    folder : path
        Of a run.

    Returns
    -------
    History
    """
    own = Path(folder).resolve()
    mine, found = records.read(own / "run.json", Header), History()
    others = 0
    for path in sorted(own.parent.glob("*/run.json")):
        try:
            if path.parent != own and not _alike(records.read(path, Header), mine):
                continue
            found.entries += _entries(path.parent, mine)
        except (ValueError, json.JSONDecodeError) as error:
            found.unread.append(f"{path.parent.name}: {error}")
            continue
        others += path.parent != own
    found.entries.sort(key=lambda entry: entry.created)
    return found if others else History([], found.unread)


def machine(header: Header) -> str:
    """The machine of a run, as far as it decides how fast it is."""
    facts = [str(header.machine.get("cpu", "a machine unknown")), *map(str, header.machine.get("gpus") or ())]
    return ", ".join([*facts, f"{header.threads} thread{'' if header.threads == 1 else 's'}"])


def _alike(header: Header, mine: Header) -> bool:
    return header.model == mine.model and all(
        getattr(header, part).get("sha256") == getattr(mine, part).get("sha256") for part in ("spec", "data")
    )


def _entries(folder: Path, mine: Header) -> list[Past]:
    run = runs.read(folder)
    where, same_length = machine(run.header), run.header.epochs == mine.epochs
    return [
        Past(
            folder.name,
            run.header.created,
            str(run.header.machine.get("commit", "")),
            where,
            where == machine(mine),
            row.key,
            row.contestant.tool,
            row.point,
            row.rate.median if row.rate else None,
            row.time.median if row.time and same_length else None,
            row.error.mean if row.error and same_length else None,
        )
        for row in summary.ranking(run)
        if row.ok
    ]
