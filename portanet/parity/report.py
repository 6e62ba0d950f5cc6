"""What was found, as data and as a text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

CHECKS = {
    "output": "output of {}", "prediction": "prediction", "loss": "training loss", "statistic": "statistic {}",
    "gradient": "gradient of {}", "update": "update of {}", "curve": "loss curve",
}  # fmt: skip
# Of 16 bits: update rules compute in float32; in gradients, many a ReLU has come to lie on its other side.
_HALF = {"gradient": 0.5, "update": 1e-4, "curve": 5e-2}
TOLERANCES = {
    "float64": {**dict.fromkeys(CHECKS, 1e-10), "curve": 1e-9},
    "float32": {**dict.fromkeys(CHECKS, 1e-5), "gradient": 2e-4, "update": 1e-4, "curve": 1e-4},
    "float16": {**dict.fromkeys(CHECKS, 5e-3), **_HALF},
    "bfloat16": {**dict.fromkeys(CHECKS, 4e-2), **_HALF},
}
LEGEND = {
    "!": "!    differs from the reference",
    "(!)": "(!)  differs, and so does what it is computed from",
}


@dataclass(frozen=True)
class Row:
    """One thing compared on one engine.

    Attributes
    ----------
    engine : str
    check : str
        A key of `CHECKS`.
    name : str
        Of the layer, the parameter (``"hidden.W"``) or the slot (``"hidden.W velocity"``); empty where there is one.
    layer, kind : str
        The layer it belongs to, and its class; empty where there is none.
    error, tolerance : float
        Largest relative error, and what is allowed.
    yardstick : float or None
        The error of NumPy's own run in float32, where the engine ran in float32.
    index : tuple of int
        Where the error is largest; for the curve, the step at which it parts, from 1.
    got, wanted : float
        The engine's and the reference's value there.
    inherited : bool
        Whether what it is computed from differs already.
    shaken : float or None
        Of a curve that parts though all else agrees: how far the reference's own moves when it starts from weights
        changed by one unit of the engine's float type. Ten times that is allowed, too.
    """

    engine: str
    check: str
    name: str
    layer: str
    kind: str
    error: float
    tolerance: float
    yardstick: float | None
    index: tuple[int, ...]
    got: float
    wanted: float
    inherited: bool = False
    shaken: float | None = None

    @property
    def agrees(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance

    @property
    def what(self) -> str:
        """The row's name for a reader."""
        return CHECKS[self.check].format(self.name)


@dataclass
class EngineReport:
    """What became of one engine.

    Attributes
    ----------
    name, version, device : str
    status : str
        "agrees", "differs", "missing" (not installed, or no such device), "unable" (lacks an operator or float type)
        or "failed" (an error broke the check off).
    message : str
        Where the first difference arises, why the engine is missing or unable, or the error.
    first : Row or None
        The first difference.
    operator : str
        The first operator whose result is off, where it could be told.
    """

    name: str
    version: str = ""
    device: str = ""
    status: str = "agrees"
    message: str = ""
    first: Row | None = None
    operator: str = ""


@dataclass
class ParityReport:
    """Every comparison as data; ``str(report)`` is a table and what to think of it.

    Attributes
    ----------
    net, data, reference, floatX : str
        What was compared, on which data, with what, in which float type.
    steps : int
        Length of the loss curve.
    engines : list of EngineReport
    rows : list of Row
        Engine by engine, in the order of the checks.
    """

    net: str
    data: str
    reference: str
    floatX: str  # noqa: N815
    steps: int
    engines: list[EngineReport] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether at least one engine was compared, and none differs or failed."""
        found = {engine.status for engine in self.engines}
        return "agrees" in found and not found & {"differs", "failed"}

    @property
    def exit_status(self) -> int:
        """Of the command: 0 all agree, 1 a difference, 2 nothing could be compared, or a check broke off."""
        found = {engine.status for engine in self.engines}
        return 0 if self.ok else 2 if "failed" in found or "differs" not in found else 1

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able data; numbers that are not finite become the texts "inf" and "nan"."""
        head = {name: getattr(self, name) for name in ("net", "data", "reference", "floatX", "steps", "ok")}
        engines = [{**asdict(one), "first": one.first and one.first.what} for one in self.engines]
        return _finite(
            {**head, "engines": engines, "rows": [{**asdict(row), "agrees": row.agrees} for row in self.rows]}
        )

    def __str__(self) -> str:
        head = f"{self.net}\ndata: {self.data}\nreference: {self.reference}; engines compute in {self.floatX}"
        table = [_table(self._lines())] if self.rows else []
        marks = {_mark(row) for row in self.rows}
        legend = "\n".join(text for mark, text in LEGEND.items() if mark in marks)
        curves = [_on_curve(one, self.rows) for one in self.engines]
        parts = [head, *table, legend, "\n".join(map(_verdict, self.engines)), "\n".join(filter(None, curves))]
        return "\n\n".join(filter(None, parts))

    def _lines(self) -> list[list[str]]:
        """Every layer's output; of other checks every row where one differs, else the worst."""
        ran = list(dict.fromkeys(row.engine for row in self.rows))
        by_place: dict[tuple[str, str], dict[str, Row]] = {}
        for row in self.rows:
            by_place.setdefault((row.check, row.name), {})[row.engine] = row
        lines = [["relative error", "layer", "allowed", "numpy float32", *(name + "    " for name in ran)]]
        for check in CHECKS:
            places = [found for (own, _), found in by_place.items() if own == check]
            off = [found for found in places if any(not row.agrees for row in found.values())]
            shown = places if len(places) < 2 or check == "output" or (off and check == "gradient") else off
            rest = [found for found in places if found not in shown]
            lines += [_line(found, ran) for found in shown]
            if rest:
                lines.append(_line(max(rest, key=_badness), ran, f"{check}s, worst of {len(rest)}: "))
        return lines


def _badness(found: Mapping[str, Row]) -> float:
    return max(row.error / row.tolerance for row in found.values())


def _line(found: Mapping[str, Row], engines: Sequence[str], title: str = "") -> list[str]:
    """One thing compared, with a cell for each engine."""
    row = next(iter(found.values()))
    yardstick = "" if row.yardstick is None else f"{row.yardstick:.1e}"
    cells = [f"{found[name].error:.1e} {_mark(found[name]):3}" if name in found else "" for name in engines]
    return [title + row.name if title else row.what, row.kind, f"{row.tolerance:.1e}", yardstick, *cells]


def _mark(row: Row) -> str:
    return "" if row.agrees else "(!)" if row.inherited else "!"


def _table(lines: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, names to the left and numbers to the right; columns without a number are left out."""
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    rows = [[cell.ljust(width) if place < 2 else cell.rjust(width)
             for place, (cell, width) in enumerate(zip(line, widths, strict=True))]
            for line in zip(*columns, strict=True)]  # fmt: skip
    return "\n".join("  ".join(row).rstrip() for row in rows)


def _verdict(one: EngineReport) -> str:
    name = " ".join(filter(None, [one.name, one.version, one.device and f"on {one.device}"]))
    if one.status == "differs":
        return f"{name}: differs. First difference: {one.message}"
    return f"{name}: {one.status}" + (f": {one.message}" if one.message else "")


def _on_curve(one: EngineReport, rows: Sequence[Row]) -> str:
    """What to think of an engine's loss curve."""
    row = next((row for row in rows if row.engine == one.name and row.check == "curve"), None)
    if row is None:
        return ""
    rounding = "" if row.yardstick is None else f"; NumPy's own float32 run stays within {row.yardstick:.1e}"
    if row.shaken is not None:
        rounding += f"; weights changed by rounding move the reference's own by up to {row.shaken:.1e}"
    if row.agrees:
        return f"{one.name}: the loss curve stays within {row.error:.1e} of the reference's{rounding}"
    values = f"{row.got:.7g} instead of {row.wanted:.7g}"
    where = f"{one.name}: the loss curve parts at step {row.index[0]}, {values}{rounding}"
    if one.first is not row:
        return f"{where}. It follows from the first difference above"
    return (f"{where}. Single steps agree and rounding does not explain it: look at what lives from step to step, "
            "slots, statistics and schedules")  # fmt: skip


def _finite(data: Any) -> Any:
    """The same data, JSON-able."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data
