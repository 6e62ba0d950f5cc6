"""A run read back from its folder, and the times that one measurement tells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from . import records
from .records import Header, Measurement, Point, Verdict


@dataclass
class Run:
    """The records of a run.

    Attributes
    ----------
    folder : Path
    header : Header
    verdicts : list of Verdict
    measurements : list of Measurement
    """

    folder: Path
    header: Header
    verdicts: list[Verdict]
    measurements: list[Measurement]

    def of(self, contestant: str, point: Point) -> list[Measurement]:
        """The measurements of a contestant, by its key, in the order of the repeats."""
        mine = [one for one in self.measurements if one.contestant == contestant and one.point == point]
        return sorted(mine, key=lambda one: one.repeat)

    def good(self, contestant: str, point: Point) -> list[Measurement]:
        """Those of them that have figures."""
        return [one for one in self.of(contestant, point) if one.status == "ok" and one.epochs]

    def classes(self, measurement: Measurement) -> np.ndarray | None:
        """What it predicted for the test rows, or None where it left nothing."""
        path = self.folder / "measurements" / f"{measurement.name}.classes.npy"
        return np.load(path, allow_pickle=False) if path.is_file() else None


def read(folder: str | os.PathLike[str]) -> Run:
    """The run in that folder, however far it has come.

    Raises
    ------
    FileNotFoundError
        Where the folder holds no run.
    ValueError
        Where a record is of another version of portanet.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"{folder} holds no run.json: give the folder of a run of `portanet benchmark`")
    verdicts = [records.read(path, Verdict) for path in sorted((folder / "gate").glob("*.json"))]
    measurements = [records.read(path, Measurement) for path in sorted((folder / "measurements").glob("*.json"))]
    return Run(folder, records.read(folder / "run.json", Header), verdicts, measurements)


def fit_seconds(measurement: Measurement) -> float:
    """Of the whole fit: making the net, compiling, all epochs."""
    return measurement.build + measurement.compile + sum(epoch.seconds for epoch in measurement.epochs)


def steady_seconds(measurement: Measurement) -> float:
    """Of an epoch once all is warm: the median of all but the first."""
    return median(epoch.seconds for epoch in measurement.epochs[1:] or measurement.epochs)


def rate(measurement: Measurement) -> float:
    """Training samples a second once all is warm."""
    return measurement.rows / steady_seconds(measurement)


def target_seconds(measurement: Measurement, target: float) -> float | None:
    """Of the fit until the test error is at or below the target; None where it never is."""
    seconds = measurement.build + measurement.compile
    for epoch in measurement.epochs:
        seconds += epoch.seconds
        if epoch.test_error is not None and epoch.test_error <= target:
            return seconds
    return None
