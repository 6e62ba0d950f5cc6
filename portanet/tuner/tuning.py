"""Which engine, device and number of threads train a net fastest, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, NoReturn

from .. import inputs
from ..exceptions import BackendNotFound, BackendUnavailable
from ..runtime import config, registry
from ..runtime.devices import parse_device
from ..tables import table
from .candidates import Absent, Candidate, Load, entrants, field_of, in_process, thread_counts
from .halving import Entrant, Guess, Outcome, Row, Work, search, told
from .memory import Memory
from .probe import Bench, stand_in

SAME = 1.1  # totals that differ by less, within the scatter of their runs, are told to be the same

__all__ = ["Tuning", "fastest", "tune"]


@dataclass(frozen=True)
class Tuning:
    """What a search for the fastest candidate found.

    Attributes
    ----------
    choice : Candidate
        The fastest: `backend`, `device`, `threads` and `options`.
    table : list of Row
        Every candidate, the fastest first: its `sample` (seconds to start, to compile, of a batch, of the rest of an
        epoch) and predicted `total`, or the `reason` why it was left out.
    work : Work
        Epochs that were planned, and batches in each.
    budget, spent, lost : float
        Seconds that might be lost, that measuring took, and that were lost: the fit needs the rest anyway.
    clear : bool
        Whether the best leads by more than the scatter of its runs.
    interrupted : bool
    notes : list of str
    """

    choice: Candidate
    table: list[Row]
    work: Work
    budget: float = 0.0
    spent: float = 0.0
    lost: float = 0.0
    clear: bool = True
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> Row:
        return self.table[0]

    @property
    def remembered(self) -> bool:
        """Whether nothing was measured."""
        return all(row.remembered for row in self.table if row.sample is not None)

    @property
    def worth_it(self) -> bool:
        """Whether more than one candidate was worth a measurement."""
        return sum(row.sample is not None or row.failed for row in self.table) > 1

    def explain(self) -> str:
        """The table, and why this one."""
        rows: list[tuple[str, ...]] = [("candidate", "start (s)", "compile (s)", "ms a batch", "total", "")]
        rows += [_told_row(row) for row in self.table]
        return "\n".join([table(rows), "", self.summary, self._told_cost(), *(f"note: {one}" for one in self.notes)])

    def __str__(self) -> str:
        return self.explain()

    def apply_to(self, net: Any) -> None:
        """Have the net train there: set its `backend`, `device` and `threads`.

        `options` that are for another engine are taken away.
        """
        choice = self.choice
        if net.options and config.get("backend", net.backend) not in (choice.backend, config.FASTEST):
            net.options = None
        net.backend, net.device, net.threads = choice.backend, choice.device, choice.threads
        net._tuned = {"device": choice.device, "threads": choice.threads}

    @property
    def summary(self) -> str:
        """One sentence: the choice, and by how much."""
        planned = f"{self.work.epochs} epoch{'s' * (self.work.epochs != 1)} of {self.work.batches} batches"
        said = f"{self.choice}: about {told(self.best.total or 0.0)} for {planned}"
        second = next((row for row in self.table[1:] if row.total is not None), None)
        if second is not None and second.total and self.best.total:
            near = not self.clear and second.total < SAME * self.best.total
            said += f"; {second.candidate} would take {told(second.total)}{', as good as the same' if near else ''}"
        return said + "."

    @property
    def alone(self) -> bool:
        """Whether no other engine could take part."""
        return not any(isinstance(row.candidate, Candidate) and row.candidate.backend != self.choice.backend
                       for row in self.table)  # fmt: skip

    def _told_cost(self) -> str:
        said = "No other engine can be had here. " if self.alone else ""
        if self.interrupted:
            return said + "The search was interrupted; this is the best so far."
        if self.remembered:
            return said + "Nothing was measured: this is what this machine remembers."
        if not self.worth_it:
            return (
                said or "A search is not worth it: to try another takes more than it could save, or than may be lost."
            )
        share = self.lost / (self.best.total or 1.0)
        said += f"Measuring took {told(self.spent)}, of which {told(self.lost)} are lost ({share:.1%} of the training)"
        return said + ("; the fit needs the rest anyway." if self.spent > self.lost else ".")


def _told_row(row: Row) -> tuple[str, ...]:
    if row.sample is None or row.total is None:
        guess = "-" if row.guess is None else f"{told(row.guess)}?"
        reason = f"{'failed: ' * row.failed}{row.reason}{', remembered' * row.remembered}"
        return str(row.candidate), "-", "-", "-", guess, " ".join(reason.split())
    sample, milliseconds = row.sample, row.sample.batch * 1e3
    batch = f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"
    return (str(row.candidate), f"{sample.start:.2f}", f"{sample.compile:.2f}", batch, told(row.total),
            "remembered" if row.remembered else "")  # fmt: skip


def tune(net: Any, X: Any, y: Any, sample_weight: Any = None, *, epochs: int | None = None,
         budget: float | None = None, engines: str | Iterable[str] | None = None,
         device: str | None = None) -> Tuning:  # fmt: skip
    """Find what trains a net fastest, and leave the net as it is; see `NeuralNet.tune`.

    Raises
    ------
    BackendNotFound, DeviceNotFound
        When a name means none.
    BackendUnavailable
        When no candidate can train the net; tells why each can't.
    """
    wanted = Wanted(named(engines), _epochs_of(net, epochs), _need_budget(budget), device)
    shadow = stand_in(net)
    X, y = inputs.check_both(shadow, X, y, reset=True)
    shadow._declare(X, y)
    return _tuned(net, Bench(shadow, X, y, sample_weight, wanted.epochs, net.train_split), wanted)


def fastest(net: Any, X: Any, y: Any, sample_weight: Any, epochs: int, split: Any, device: str | None) -> Candidate:
    """What ``backend="fastest"`` means for these data: as remembered, else by a search.

    Parameters
    ----------
    net : NeuralNet
        With its layers.
    X, y : dict of arrays, array
        Checked.
    sample_weight, epochs, split, device
        As `fit` has them.

    Raises
    ------
    KeyboardInterrupt
        When the search is interrupted; the net is as it was.
    """
    wanted = Wanted(named(None), max(epochs, 1), None, device)
    tuning = _tuned(net, Bench(stand_in(net), X, y, sample_weight, wanted.epochs, split), wanted)
    if tuning.interrupted:
        raise KeyboardInterrupt
    if config.get("verbosity", net.verbose):
        print(tuning.summary)
    return tuning.choice


@dataclass(frozen=True)
class Wanted:
    """What is asked of a search."""

    engines: list[str]
    epochs: int
    budget: float | None
    device: str | None


def named(engines: str | Iterable[str] | None) -> list[str]:
    """Names of engines, NumPy's first; all that portanet knows for None.

    Raises
    ------
    BackendNotFound

    Examples
    --------
    >>> named("torch, numpy")
    ['numpy', 'torch']
    >>> named(["troch"])
    Traceback (most recent call last):
        ...
    portanet.exceptions.BackendNotFound: unknown backend 'troch' (did you mean 'torch'?); known: ...
    """
    if engines is None:
        names = registry.known()
    else:
        names = [name.strip() for name in engines.split(",")] if isinstance(engines, str) else list(engines)
    if not names:
        raise BackendNotFound(f"engines={engines!r} names none; known: {', '.join(registry.known())}")
    return sorted({registry.check(name) for name in names}, key=lambda name: (name != "numpy", name))


def _epochs_of(net: Any, epochs: int | None) -> int:
    wished = net.max_epochs if epochs is None else epochs
    if isinstance(wished, bool) or not isinstance(wished, Integral) or wished < 1:
        raise ValueError(f"tune: epochs must be a whole number, at least 1, got {wished!r}; give those fit will train")
    return int(wished)


def _need_budget(budget: float | None) -> float | None:
    if budget is None:
        return None
    if isinstance(budget, bool) or not isinstance(budget, Real) or not 0 < budget < float("inf"):
        raise ValueError(f"tune: budget must be seconds, more than 0, got {budget!r}; "
                         "leave it out for 8 % of the planned training")  # fmt: skip
    return float(budget)


def _tuned(net: Any, bench: Bench, wanted: Wanted) -> Tuning:
    try:
        return _search(net, bench, wanted)
    finally:
        bench.close()


def _search(net: Any, bench: Bench, wanted: Wanted) -> Tuning:
    device = parse_device(config.get("device", wanted.device or _given(net, "device")))
    threads = config.get("threads", _given(net, "threads"))
    candidates, absent = field_of(wanted.engines, device, threads, _options_by_engine(net, wanted.engines))
    load = Load.of(bench.plan, bench.size)
    memory = Memory(bench.plan.fingerprint(), bench.shape, load, bench.isolate)
    names, waiting = [str(one) for one in candidates], entrants(candidates, load, memory)
    unknown = [one.candidate for one in waiting if one.known is None]
    settled = memory.settled(wanted.epochs, names) if wanted.budget is None else None
    if settled is None or not all(settled[str(one)] for one in unknown):  # there is one that was measured once
        settled, unknown = None, []
    waiting = [one for one in waiting if one.candidate not in unknown]

    def with_threads(candidate: Candidate, guess: Guess) -> list[Entrant]:
        here = in_process(candidate.backend, bench.isolate)  # where it has started and compiled for any number
        others = [replace(candidate, threads=count) for count in thread_counts(candidate, bench.isolate)]
        entering = [Entrant(one, guess.ready() if here else guess, memory.sample(one, here)) for one in others]
        return [one for one in entering if one.known is not None or settled is None]

    outcome = search(waiting, bench.measure, bench.work, wanted.budget, with_threads)
    if outcome.best is None:
        _raise_why(outcome, absent)
    rest = [Row(one, reason=(settled or {})[str(one)], remembered=True) for one in unknown]
    memory.store([*outcome.rows, *rest], None if outcome.interrupted else wanted.epochs)
    rest += [Row(f"{one.backend}, {one.device}", reason=one.reason) for one in absent]
    return Tuning(outcome.best.candidate, [*outcome.rows, *rest], bench.work, outcome.budget, outcome.spent,
                  outcome.lost, outcome.clear, outcome.interrupted, memory.notes)  # fmt: skip


def _raise_why(outcome: Outcome, absent: list[Absent]) -> NoReturn:
    """No candidate has a sample."""
    if outcome.interrupted:
        raise KeyboardInterrupt
    reasons = [f"{row.candidate}: {row.reason}" for row in outcome.rows]
    reasons += [f"{one.backend}, {one.device}: {one.reason}" for one in absent]
    raise BackendUnavailable("no engine that was asked for can train this net: " + "; ".join(reasons))


def _given(net: Any, name: str) -> Any:
    """A parameter of the net, unless an earlier `tune` set it."""
    value = getattr(net, name)
    return None if vars(net).get("_tuned", {}).get(name) == value else value


def _options_by_engine(net: Any, engines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The net's options are for its engine; for all of them where that is the fastest."""
    if not net.options:
        return {}
    backend = config.get("backend", net.backend)
    return {name: dict(net.options) for name in engines if backend in (name, config.FASTEST)}
