"""A run's records put together: a row for each contestant and point, every pair compared, learning curves."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np

from . import runs
from .comparisons import Comparison, Crossing, adjust, compare, crossings, seed_agreement
from .prepare import place
from .records import DISTURBED, Contestant, Header, Measurement, Point, Verdict
from .runs import Run
from .statistics import Interval, Spread, again, spread

REFERENCE = "tensorflow"


@dataclass
class Row:
    """What was found of one contestant at one point of a sweep.

    Attributes
    ----------
    contestant : Contestant
    point : dict
    status : str
        "ok"; "not the same work", "absent", "failed" or "timeout"; "unchecked" where the gate gave no verdict,
        "unmeasured" where the run was interrupted.
    reason : str
        Why it is not "ok", or why some of its repeats are not.
    version : str
        Of the engine, as the contestant tells.
    time : Spread or None
        Seconds of the whole fit: making the net, compiling, all epochs. The import of the engine and the reading of
        data, which other tools' published times leave out too, are in `process` only.
    again : Interval or None
        Where the mean time of another run of as many repeats is expected.
    process, imports, build, compile, first_epoch, epoch : Spread or None
        Seconds; `epoch` is the steady one, the median of all but the first.
    rate : Spread or None
        Steady training samples a second.
    target : Spread or None
        Seconds of the fit until the test error is at or below the header's target, over the repeats that get there.
    reached : int
        How many those are.
    error : Spread or None
        Test error rate after the last epoch.
    vs_best, vs_reference : float or None
        Median time over that of the fastest, and over that of portanet on TensorFlow on the same device.
    gpu : float or None
        Share of the time in which the card was busy.
    energy : float or None
        Joules of the card.
    gpu_memory : float or None
        Peak of the card, all processes together.
    cpus : float or None
        Cores kept busy for more than a tenth of the time.
    cpu1 : float or None
        Share of the time in which the busiest core of the machine was busy.
    busy : float or None
        Processor seconds of the tree of processes over seconds.
    memory : float or None
        Peak resident memory of the tree.
    gflops, peak_share, bandwidth : float or None
        10⁹ floating-point operations a second, as the model's arithmetic counts them and at the steady rate; their
        share of this machine's measured matrix product; bytes a second, counted alike.
    share : dict of str to float
        Where the seconds of training went.
    seeds_agree : float or None
        Share of the test rows for which two of its seeds predict the same class.
    others : float or None
        Cores that other processes of the machine kept busy meanwhile, in the worst repeat.
    load : float or None
        Highest load average before a repeat.
    threads : int or None
        As the contestant tells.
    unstable : str
        Why another run may well show another time: repeats that lie far apart (see `Spread.unstable`), or other
        processes that kept more than a quarter of a core busy meanwhile.
    """

    contestant: Contestant
    point: Point
    status: str
    reason: str = ""
    version: str = ""
    time: Spread | None = None
    again: Interval | None = None
    process: Spread | None = None
    imports: Spread | None = None
    build: Spread | None = None
    compile: Spread | None = None
    first_epoch: Spread | None = None
    epoch: Spread | None = None
    rate: Spread | None = None
    target: Spread | None = None
    reached: int = 0
    error: Spread | None = None
    vs_best: float | None = None
    vs_reference: float | None = None
    gpu: float | None = None
    energy: float | None = None
    gpu_memory: float | None = None
    cpus: float | None = None
    cpu1: float | None = None
    busy: float | None = None
    memory: float | None = None
    gflops: float | None = None
    peak_share: float | None = None
    bandwidth: float | None = None
    share: dict[str, float] = field(default_factory=dict)
    seeds_agree: float | None = None
    others: float | None = None
    load: float | None = None
    threads: int | None = None
    unstable: str = ""

    @property
    def ok(self) -> bool:
        """Whether it has figures that may be ranked."""
        return self.status == "ok"

    @property
    def key(self) -> str:
        """Of the contestant."""
        return self.contestant.key


@dataclass
class Curve:
    """How one contestant learned: medians over the repeats, after each epoch.

    Attributes
    ----------
    contestant : str
    point : dict
    seconds : list of float
        Of the fit so far, compiling included, the evaluation of the test error left out.
    train_loss : list of float
    test_error : list of float or None
    """

    contestant: str
    point: Point
    seconds: list[float]
    train_loss: list[float]
    test_error: list[float | None]


@dataclass
class Summary:
    """All that a report says of a run.

    Attributes
    ----------
    header : Header
    rows : list of Row
        Point by point, the fastest first, then those without figures.
    comparisons : list of Comparison
    crossings : list of Crossing
    curves : list of Curve
    verdicts : list of Verdict
    seeds : list of int
    """

    header: Header
    rows: list[Row]
    comparisons: list[Comparison]
    crossings: list[Crossing]
    curves: list[Curve]
    verdicts: list[Verdict]
    seeds: list[int]

    @property
    def ranked(self) -> list[Row]:
        """The rows with figures."""
        return [row for row in self.rows if row.ok]

    @property
    def sweep(self) -> bool:
        """Whether there is more than one point."""
        return len(self.header.points) > 1

    def at(self, point: Point) -> list[Row]:
        """The rows of that point."""
        return [row for row in self.rows if row.point == point]


def summarize(folder: str | os.PathLike[str]) -> Summary:
    """Put the records of a run together, however far it has come.

    Parameters
    ----------
    folder : path
        Of the run.

    Raises
    ------
    FileNotFoundError
        Where the folder holds no run.
    ValueError
        Where a record is of another version of portanet.
    """
    run = runs.read(folder)
    rows = ranking(run)
    ranked = [row for row in rows if row.ok]
    rates: dict[str, list[tuple[Point, float]]] = defaultdict(list)
    for row in ranked:
        if row.rate is not None:
            rates[row.key].append((row.point, row.rate.median))
        row.seeds_agree = seed_agreement(run, row.contestant, row.point)
    pairs = [
        pair
        for at in run.header.points
        for pair in compare(run, [row.contestant for row in ranked if row.point == at], at)
    ]
    adjust(pairs)
    return Summary(
        run.header, rows, pairs, crossings(rates),
        [_curve(row, run.good(row.key, row.point)) for row in ranked], run.verdicts,
        sorted({one.seed for one in run.measurements}),
    )  # fmt: skip


def ranking(run: Run) -> list[Row]:
    """A row for each contestant and point: point by point, the fastest first, then those without figures."""
    judged = {verdict.contestant: verdict for verdict in run.verdicts}
    rows: list[Row] = []
    for point in run.header.points:
        here = [_row(run, one, point, judged.get(one.key)) for one in run.header.contestants]
        _against(here)
        rows += sorted(here, key=lambda row: (not row.ok, row.time.median if row.time else 0.0))
    return rows


def _row(run: Run, contestant: Contestant, point: Point, verdict: Verdict | None) -> Row:
    status, reason = _standing(contestant, verdict)
    mine, good = run.of(contestant.key, point), run.good(contestant.key, point)
    lost = [one for one in mine if one not in good]
    if status == "ok" and not good:
        status = lost[0].status if lost else "unmeasured"
        reason = lost[0].reason if lost else "the run was interrupted before it; the same command goes on from there"
    elif status == "ok" and lost:
        reason = f"{len(lost)} of {len(mine)} repeats {lost[0].status}: {lost[0].reason}"
    row = Row(contestant, point, status, reason)
    if row.ok:
        _fill(row, run.header, good)
    return row


def _standing(contestant: Contestant, verdict: Verdict | None) -> tuple[str, str]:
    if contestant.absent:
        return "absent", contestant.absent
    if verdict is None:
        return "unchecked", "the gate gave no verdict; the same command goes on from there"
    return ("ok", "") if verdict.status == "same" else (verdict.status, verdict.reason)


def _fill(row: Row, header: Header, good: list[Measurement]) -> None:
    row.version = str(good[-1].record.get("version", ""))
    row.threads = good[-1].record.get("threads")
    seconds = [runs.fit_seconds(one) for one in good]
    row.time, row.again = spread(seconds), again(seconds)
    for name in ("process", "imports", "build", "compile"):
        setattr(row, name, spread([getattr(one, name) for one in good]))
    row.first_epoch = spread([one.epochs[0].seconds for one in good])
    row.epoch = spread([runs.steady_seconds(one) for one in good])
    row.rate = spread([runs.rate(one) for one in good])
    row.error = spread(_known(one.test_error for one in good))
    if header.target_error is not None:
        reached = _known(runs.target_seconds(one, header.target_error) for one in good)
        row.target, row.reached = spread(reached), len(reached)
    names = dict.fromkeys(name for one in good for name in one.share)
    row.share = {name: fmean(one.share.get(name, 0.0) for one in good) for name in names}
    row.load = max(one.load for one in good)
    _fill_usage(row, good)
    disturbed = row.others is not None and row.others > DISTURBED
    others = f"other processes kept up to {row.others:.1f} cores busy" if disturbed else ""
    row.unstable = "; ".join(filter(None, [row.time.unstable if row.time else "", others]))
    _fill_work(row, header)


def _fill_usage(row: Row, good: list[Measurement]) -> None:
    usages = [one.usage for one in good if one.usage is not None]
    cards = [usage.gpu for usage in usages if usage.gpu]
    row.cpus = _middle(usage.cpus for usage in usages)
    row.cpu1 = _middle(max(usage.per_core) for usage in usages if usage.per_core)
    row.busy = _middle(usage.busy_cores for usage in usages)
    row.others = max((usage.others for usage in usages if usage.per_core), default=None)
    row.memory = _middle(usage.peak_rss for usage in usages)
    percent = _middle(card.get("percent") for card in cards)
    row.gpu = percent / 100 if percent is not None else None
    row.energy = _middle(card.get("energy") for card in cards)
    row.gpu_memory = _middle(card.get("peak_memory") for card in cards)


def _fill_work(row: Row, header: Header) -> None:
    if row.rate is None:
        return
    spec = header.spec.get("points", {}).get(place(row.point), header.spec)
    flops, moved = spec.get("flops"), spec.get("bytes")
    row.gflops = flops * row.rate.median / 1e9 if flops else None
    row.bandwidth = moved * row.rate.median if moved else None
    peak = header.machine.get("peak_gflops")
    if row.gflops is not None and peak and row.contestant.device == "cpu":
        row.peak_share = row.gflops / peak


def _against(rows: list[Row]) -> None:
    times = {row.key: row.time.median for row in rows if row.time}
    best = min(times.values(), default=0.0)
    references = {row.contestant.device: times[row.key] for row in rows if row.time and _is_reference(row.contestant)}
    for row in rows:
        if row.time and best:
            row.vs_best = row.time.median / best
        if row.time and references.get(row.contestant.device):
            row.vs_reference = row.time.median / references[row.contestant.device]


def _is_reference(contestant: Contestant) -> bool:
    return contestant.kind == "portanet" and contestant.engine == REFERENCE


def _curve(row: Row, good: list[Measurement]) -> Curve:
    length = min(len(one.epochs) for one in good)
    spent = np.array([[epoch.seconds for epoch in one.epochs[:length]] for one in good]).cumsum(1)
    started = np.array([one.build + one.compile for one in good])
    losses = [median(one.epochs[at].train_loss for one in good) for at in range(length)]
    errors = [_middle(one.epochs[at].test_error for one in good) for at in range(length)]
    return Curve(row.key, row.point, np.median(spent + started[:, None], axis=0).tolist(), losses, errors)


def _known(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _middle(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return float(median(known)) if known else None
