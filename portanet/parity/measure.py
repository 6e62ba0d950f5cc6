"""How far two results are apart, and how far they may be.

A relative error is ``|got - wanted| / max(|wanted|, rms(wanted))``, the largest in an array; for what a step changes,
it is that of the change, less what storing the number rounds off. Float32 has errors of its own, which grow with depth
and steps: NumPy's own float32 run against float64 is the yardstick, and `ALLOWED` times its error is fine, though in a
single step no more than `MOST`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..precision import HALVES
from .looks import Seen
from .report import TOLERANCES, Row
from .work import Work, moved, owner

ALLOWED = 10
MOST = 1e-2
UNITS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def errors(got: Any, wanted: Any, start: Any = None, floor: float = 0.0, rounding: float = 0.0,
           whole: bool = False) -> np.ndarray:  # fmt: skip
    """Relative error of each value.

    Parameters
    ----------
    got, wanted : array-like of one shape
    start : array-like, optional
        What both were before a step; errors are then relative to the change.
    floor : float
        Values smaller than this are measured against it.
    rounding : float
        The float type's unit; what storing the values rounds off is no error.
    whole : bool
        Scale the errors so that the largest is ``rms(got - wanted) / rms(wanted)``.

    Returns
    -------
    ndarray of float64
        Zero where both are NaN or the same infinity, infinite where only one is.

    Raises
    ------
    ValueError
        When the shapes differ.

    Examples
    --------
    >>> errors([1.0, 2.002], [1.0, 2.0]).round(6).tolist()
    [0.0, 0.001]
    >>> errors([5.001], [5.002], start=[5.0]).round(2).tolist()
    [0.5]
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    if got.shape != wanted.shape:
        raise ValueError(f"a result has shape {got.shape}, the reference's has {wanted.shape}")
    before = np.zeros_like(wanted) if start is None else np.asarray(start, np.float64)
    with np.errstate(all="ignore"):
        change, away = np.abs(wanted - before), np.abs(got - wanted)
        away = np.maximum(away - 2 * rounding * np.maximum(np.abs(before), np.abs(wanted)), 0.0)
        scale = np.maximum(change, max(_rms(change), floor))
        found = away / np.where(scale > 0, scale, 1.0)
    found = np.where(np.isnan(found), np.inf, found)
    found = np.where((got == wanted) | (np.isnan(got) & np.isnan(wanted)), 0.0, found)
    if not whole or not np.isfinite(found).all() or not found.any():
        return found
    return found * (_rms(got - wanted) / max(_rms(wanted), floor) / found.max())


def _rms(array: np.ndarray) -> float:
    finite = array[np.isfinite(array)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0


def compare_seen(engine: str, seen: Seen, wanted: Seen, yardstick: Seen | None, work: Work) -> list[Row]:
    """Everything that one engine computed, beside the reference.

    Parameters
    ----------
    engine : str
    seen, wanted : dict of str to dict of str to ndarray
        The engine's and the reference's, by check and name.
    yardstick : dict or None
        What NumPy computes in float32.
    work : Work

    Returns
    -------
    list of Row
    """
    rows: list[Row] = []
    measures = _measures(wanted, work)
    for check, found in wanted.items():
        for name, right in found.items():
            measure = measures.get((check, name), {})
            off = errors(seen[check][name], right, **measure)
            own = None if yardstick is None else errors(yardstick[check][name], right, **measure)
            rows.append(_row(engine, check, name, off, own, seen[check][name], right, rows, work))
    return rows


def _row(engine: str, check: str, name: str, off: np.ndarray, own: np.ndarray | None, got: Any, wanted: Any,
         rows: Sequence[Row], work: Work) -> Row:  # fmt: skip
    place, allowed = _judge(check, off, own, TOLERANCES[work.floatX][check])
    layer = owner(name) if owner(name) in work.layers else ""
    kind = type(work.layers[layer]).__name__ if layer else ""
    yardstick = None if own is None else float(own.max(initial=0.0))
    shown = tuple(int(index) + (check == "curve") for index in place)
    right, found = (float(np.asarray(array)[place]) if off.size else 0.0 for array in (wanted, got))
    return Row(engine, check, name, layer, kind, float(off.max(initial=0.0)), allowed, yardstick, shown, found, right,
               _inherits(check, layer, rows, work))  # fmt: skip


def _measures(wanted: Seen, work: Work) -> dict[tuple[str, str], dict[str, Any]]:
    """How errors of changes and of gradients are measured, by check and name."""
    rounding = 0.0 if work.floatX == "float64" else UNITS["float32"]
    measures: dict[tuple[str, str], dict[str, Any]] = {}
    for check, start in (("statistic", work.state["running"]), ("update", moved(work.state))):
        measures.update(((check, name), {"start": array, "rounding": rounding}) for name, array in start.items())
    sizes: dict[str, float] = {}
    for name, array in wanted["gradient"].items():
        sizes[owner(name)] = max(sizes.get(owner(name), 0.0), _rms(array))
    whole = work.floatX in HALVES  # where ReLUs lie on their other side, single elements tell nothing
    for name in wanted["gradient"]:
        # A bias before a batch normalisation has the gradient 0: what comes out is rounding, small beside the weights'.
        measures["gradient", name] = {"floor": 0.1 * sizes[owner(name)], "whole": whole}
    return measures


def _judge(check: str, off: np.ndarray, own: np.ndarray | None, tolerance: float) -> tuple[tuple, float]:
    """The place to show, and the error allowed there: of a curve the step at which it parts, else the worst."""
    if not off.size:
        return (), tolerance
    limits = np.full(off.shape, tolerance)
    if own is not None:
        grown = ALLOWED * np.maximum.accumulate(own) if check == "curve" else min(ALLOWED * own.max(), MOST)
        limits = np.maximum(limits, grown)
    parted = np.flatnonzero(off > limits)
    if check == "curve" and parted.size:
        return (parted[0],), float(limits[parted[0]])
    place = np.unravel_index(off.argmax(), off.shape)
    return place, float(limits[place])


def _inherits(check: str, layer: str, rows: Sequence[Row], work: Work) -> bool:
    """Whether what this row is computed from differs, to judge by the rows before it."""
    off = [row for row in rows if not row.agrees]
    here = {row.layer for row in off if row.check == check}
    if check == "output":
        return any(source.name in here for source in work.layers[layer].input_layers)
    if check == "update":
        return False
    return any(row.check != check for row in off) or (check == "gradient" and bool(here - {layer}))


def settled(row: Row, seen: Seen, wanted: Seen, shaken: Sequence[np.ndarray], floatX: str) -> Row:
    """The row of a curve judged anew, beside curves of the reference from weights that rounding has changed.

    Parameters
    ----------
    row : Row
    seen, wanted : dict of str to dict of str to ndarray
        The engine's and the reference's.
    shaken : sequence of ndarray
        Losses of the reference from changed weights.
    floatX : str

    Returns
    -------
    Row
    """
    right = wanted["curve"][""]
    off = errors(seen["curve"][""], right)
    own = np.max([errors(losses, right) for losses in shaken], axis=0)
    (at,), allowed = _judge("curve", off, own, TOLERANCES[floatX]["curve"])
    return replace(row, tolerance=max(allowed, row.tolerance), shaken=float(own.max()), index=(int(at) + 1,),
                   got=float(seen["curve"][""][at]), wanted=float(right[at]))  # fmt: skip
