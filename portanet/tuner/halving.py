"""The search: which candidate is fastest, found out for little time.

Nothing here knows what a candidate is. `search` is given a way to measure one and a clock, and decides what is
measured, for how long, and when to stop.

What a candidate takes in all is predicted as

    start + compile + epochs * (batches * seconds of a batch + seconds of the rest of an epoch)

The first candidate, which costs nothing to start, is measured first. Every other comes with a guess. They are tried in
the order of their guessed totals. One is left out when even at twice the guessed speed it could not win, or when its
start and compiling would take more than what is left of the budget. The budget is for what is lost: starting and
compiling the winner is something that the training has to do anyway. So one that is expected to win by more than trying
it risks may cost more than the budget, the less likely so the more was lost on others that disappointed; but not more
than a budget that was given in seconds. And one that costs next to nothing beside the training is tried whatever its
guess says. Those that are close are then measured for longer and longer, the better half each time, until it is clear
which is best or the budget is spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..exceptions import DataError, PortanetError

__all__ = ["Entrant", "Guess", "Outcome", "Row", "Sample", "Work", "search"]

SHARE = 0.08  # of the planned training's time
CHEAP = 0.01  # of it
DOUBT = 2.0  # a guessed speed may be wrong by so much
RISK = 0.5  # times what trying costs, on top of the guess, where that is more than the budget
PENALTY = 3.0  # times what is lost already, likewise: those that disappointed tell that guesses are bad
CLOSE = 1.25  # of the best total: up to there, candidates are measured again
SHORTEST, LONGEST = 0.05, 2.0  # seconds of one measurement
ROUNDS = 4


@dataclass(frozen=True)
class Work:
    """What is planned: epochs, and batches in each."""

    epochs: int
    batches: int


@dataclass(frozen=True)
class Guess:
    """What is expected of a candidate: seconds to start, to compile, and of a batch."""

    start: float
    compile: float
    batch: float

    def started(self) -> Guess:
        """The same for one that is there already."""
        return replace(self, start=0.0)

    def ready(self) -> Guess:
        """The same for one that is there, and has compiled, already."""
        return replace(self, start=0.0, compile=0.0)


@dataclass(frozen=True)
class Sample:
    """What a candidate was found to take.

    Attributes
    ----------
    start, compile : float
        Seconds, once; compiling includes handing over the data.
    epoch : float
        Seconds of an epoch besides its batches: validation, and keeping a copy of the state.
    runs : tuple of float
        Seconds a batch in each of several short runs.
    record : dict
        What the program tells of itself.
    """

    start: float
    compile: float
    epoch: float
    runs: tuple[float, ...]
    record: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def batch(self) -> float:
        """Seconds a batch: the lower quartile of the runs, of up to four the least; others can only slow them down."""
        return sorted(self.runs)[(len(self.runs) - 1) // 4]

    @property
    def slow(self) -> float:
        """The median."""
        return sorted(self.runs)[len(self.runs) // 2]

    def total(self, work: Work, batch: float | None = None) -> float:
        """Predicted seconds of all that is planned.

        >>> Sample(1.0, 2.0, 0.5, (0.01,)).total(Work(epochs=10, batches=100))
        18.0
        """
        each = self.batch if batch is None else batch
        return self.start + self.compile + work.epochs * (work.batches * each + self.epoch)

    def joined(self, later: Sample) -> Sample:
        """With the runs of a later measurement."""
        return replace(self, runs=self.runs + later.runs, epoch=min(self.epoch, later.epoch))

    def replaced(self, later: Sample) -> Sample:
        """With those alone."""
        return replace(self, runs=later.runs, epoch=later.epoch)


@dataclass(frozen=True)
class Entrant:
    """A candidate, what is guessed of it, and what is known of it from an earlier search, if anything."""

    candidate: Hashable
    guess: Guess
    known: Sample | None = None


@dataclass
class Row:
    """A candidate after the search: a sample and the predicted total, or the reason why there is none.

    Attributes
    ----------
    guess : float or None
        Guessed total of one that was not tried, in seconds.
    failed : bool
        Whether it was tried and failed.
    remembered : bool
        Whether the sample comes from an earlier search.
    """

    candidate: Any
    sample: Sample | None = None
    total: float | None = None
    reason: str = ""
    guess: float | None = None
    failed: bool = False
    remembered: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a search went.

    Attributes
    ----------
    rows : list of Row
        Fastest first, then those without a sample.
    budget, spent, lost : float
        Seconds allowed, taken by the search, and taken for what the training can't use.
    clear : bool
        Whether the best one leads by more than the scatter of its runs.
    interrupted : bool
        Whether somebody pressed Ctrl-C.
    """

    rows: list[Row]
    budget: float
    spent: float
    lost: float
    clear: bool
    interrupted: bool

    @property
    def best(self) -> Row | None:
        return self.rows[0] if self.rows and self.rows[0].sample is not None else None


Measure = Callable[[Any, float], Sample]


def search(entrants: Sequence[Entrant], measure: Measure, work: Work, budget: float | None = None,
           variants: Callable[[Any, Guess], Iterable[Entrant]] = lambda candidate, guess: (),
           clock: Callable[[], float] = time.perf_counter) -> Outcome:  # fmt: skip
    """Find the fastest candidate.

    Parameters
    ----------
    entrants : sequence of Entrant
        The first is measured before anything is decided.
    measure : callable
        ``measure(candidate, seconds)`` gives a `Sample` from about so many seconds of training; at a candidate's first
        measurement it is started and compiled besides. An exception puts the candidate out, but for DataError.
    work : Work
    budget : float, optional
        Seconds that may be lost; by default 8 % of the predicted total of the best candidate so far.
    variants : callable, optional
        ``variants(candidate, guess)`` gives more entrants like a candidate that came close to the best; `guess` is what
        that one took.
    clock : callable, optional
        Seconds.

    Returns
    -------
    Outcome
        Also after Ctrl-C, with what was found so far.

    Examples
    --------
    >>> speeds = {"slow": Sample(0.0, 0.0, 0.0, (0.02,)), "quick": Sample(0.5, 0.5, 0.0, (0.005,))}
    >>> field = [Entrant("slow", Guess(0.0, 0.0, 0.02)), Entrant("quick", Guess(1.0, 1.0, 0.005))]
    >>> outcome = search(field, lambda name, seconds: speeds[name], Work(10, 100))
    >>> outcome.best.candidate, outcome.best.total
    ('quick', 6.0)
    """
    race = _Race(measure, work, budget, clock)
    interrupted = False
    try:
        race.try_all(entrants)
        race.try_all([new for row in race.leaders(CLOSE) for new in variants(row.candidate, race.found(row))])
        race.finals()
    except KeyboardInterrupt:
        interrupted = True
        race.leave_rest(entrants, "the search was interrupted before its turn")
    return race.outcome(interrupted)


class _Race:
    def __init__(self, measure: Measure, work: Work, budget: float | None, clock: Callable[[], float]) -> None:
        self._measure, self._work, self._given, self._clock = measure, work, budget, clock
        self._rows: dict[Any, Row] = {}
        self._began, self._failing = clock(), 0.0

    def try_all(self, entrants: Sequence[Entrant]) -> None:
        """Measure what is worth it, the most promising first."""
        for one in entrants:
            if one.known is not None:
                self._note(one, one.known, remembered=True)
        waiting = [one for one in entrants if one.known is None]
        while waiting:
            if self._rows:
                waiting.sort(key=self._guessed)
            one = waiting.pop(0)
            reason = self._why_not(one)
            if reason:
                self._rows[one.candidate] = Row(one.candidate, reason=reason, guess=self._guessed(one))
            else:
                self._try(one)

    def leave_rest(self, entrants: Iterable[Entrant], reason: str) -> None:
        for one in entrants:
            self._rows.setdefault(one.candidate, Row(one.candidate, reason=reason))

    def _try(self, one: Entrant) -> None:
        began = self._clock()
        try:
            sample = self._measure(one.candidate, self._seconds())
        except DataError:  # wrong for every candidate
            raise
        except Exception as error:  # an engine may fail in any way; the row tells
            reason = str(error) if isinstance(error, PortanetError) else f"{type(error).__name__}: {error}"
            self._rows[one.candidate] = Row(one.candidate, reason=reason, failed=True)
            self._failing += self._clock() - began
        else:
            first = not self._ranked()
            self._note(one, sample)
            if first and self._seconds() > 2 * SHORTEST:  # it was measured when nobody knew how long the training is
                self._again(self._rows[one.candidate], self._seconds(), Sample.replaced)

    def _note(self, one: Entrant, sample: Sample, remembered: bool = False) -> None:
        total = sample.total(self._work)
        self._rows[one.candidate] = Row(one.candidate, sample, total, remembered=remembered)

    def _guessed(self, one: Entrant, doubt: float = 1.0) -> float:
        """Total of one that was not tried; `doubt` is how much faster than guessed it may be."""
        steady = self._work.epochs * self._work.batches * one.guess.batch / doubt
        return one.guess.start + one.guess.compile + steady

    def _why_not(self, one: Entrant) -> str:
        """Why a candidate is not tried; empty where it is."""
        best = self._best()
        if best is None:
            return ""
        total, cost = best.total or 0.0, one.guess.start + one.guess.compile
        whole = f"the whole training takes {told(total)} on {best.candidate}"
        if cost >= total:
            return f"starting and compiling take about {told(cost)}, {whole}"
        if self._guessed(one, DOUBT) >= total and cost + self._seconds() > CHEAP * total:
            return f"expected to take {told(self._guessed(one))}, {whole}"
        left, lost = self._left(), self._lost() - self._failing
        likely = self._guessed(one) + RISK * cost + PENALTY * lost < total and (left > 0 or self._given is None)
        if likely or cost + self._seconds() <= left:
            return ""
        if left <= 0:
            return "what may be lost on the search is spent"
        return f"trying takes about {told(cost + self._seconds())}, {told(left)} are left for the search"

    def found(self, row: Row) -> Guess:
        """What a measured candidate took, as a guess for others like it."""
        if row.sample is None:
            raise ValueError(f"{row.candidate} was not measured")
        return Guess(row.sample.start, row.sample.compile, row.sample.batch)

    def leaders(self, within: float) -> list[Row]:
        """Rows with a sample whose total is at most so many times the best, best first."""
        rows = self._ranked()
        return [row for row in rows if (row.total or 0.0) <= within * (rows[0].total or 0.0)]

    def finals(self) -> None:
        """Measure those that are close again, twice as long each time, the better half."""
        seconds = self._seconds()
        for _ in range(ROUNDS):
            seconds = min(2 * seconds, LONGEST)
            field = [row for row in self.leaders(CLOSE) if not row.remembered]
            field = field[: max(2, (len(field) + 1) // 2)]
            if self._clear() or len(field) < 2:
                return
            for row in field:
                if seconds > self._left():
                    return
                self._again(row, seconds)

    def _again(self, row: Row, seconds: float, keep: Callable[[Sample, Sample], Sample] = Sample.joined) -> None:
        try:
            row.sample = keep(row.sample, self._measure(row.candidate, seconds)) if row.sample else None
        except Exception as error:  # as in `_try`
            row.sample, row.total, row.failed, row.reason = None, None, True, f"{type(error).__name__}: {error}"
        else:
            row.total = row.sample.total(self._work) if row.sample else None

    def _clear(self) -> bool:
        rows = self._ranked()
        if len(rows) < 2 or rows[0].sample is None:
            return True
        return rows[0].sample.total(self._work, rows[0].sample.slow) < (rows[1].total or 0.0)

    def _seconds(self) -> float:
        """How long a candidate is measured the first time: a sixth of what may be lost, within reason."""
        return min(max(self._budget() / 6, SHORTEST), LONGEST / 2)

    def _budget(self) -> float:
        if self._given is not None:
            return self._given
        best = self._best()
        return SHARE * (best.total or 0.0) if best else 0.0

    def _left(self) -> float:
        """What may still be lost; what failed is not held against the others."""
        return self._budget() - self._lost() + self._failing

    def _lost(self) -> float:
        """Seconds spent on what the training can't use: all but the start and the compiling of the best."""
        best = self._best()
        useful = best.sample.start + best.sample.compile if best and best.sample and not best.remembered else 0.0
        return self._clock() - self._began - useful

    def _best(self) -> Row | None:
        rows = self._ranked()
        return rows[0] if rows else None

    def _ranked(self) -> list[Row]:
        measured = [row for row in self._rows.values() if row.sample is not None]
        return sorted(measured, key=lambda row: row.total or 0.0)

    def outcome(self, interrupted: bool) -> Outcome:
        ranked = self._ranked()
        rest = [row for row in self._rows.values() if row.sample is None]
        spent = self._clock() - self._began
        return Outcome([*ranked, *rest], self._budget(), spent, max(self._lost(), 0.0), self._clear(), interrupted)


def told(seconds: float) -> str:
    """Seconds for a reader.

    >>> told(0.0042), told(0.31), told(12.34), told(300.0)
    ('4.2 ms', '0.31 s', '12.3 s', '5 min')
    """
    if seconds < 0.1:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.3g} min"
