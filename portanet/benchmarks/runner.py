"""A run: the gate for every contestant, then measurements, interleaved, each in a fresh process.

Order. A repeat is finished before the next begins, and within it the contestants take turns in an order drawn for that
repeat, so that what changes slowly on a machine, such as its temperature or a neighbour's load, meets all alike.

Warm-up. Before the first repeat every contestant trains once with its figures thrown away. That fills the system's
cache of files and the caches of compiled code that engines keep on disk (Theano's): the first compilation ever is no
part of any measurement, a compilation with those caches filled is. A run of a single repeat goes without: there the
gate's process, which ran before, has to do. Within a measurement the first epoch is told apart from the later ones.

What goes wrong with one contestant is put down as its result, with the reason, and the others go on. Everything is
written at once: a run that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from . import launch, records
from .prepare import place
from .records import DISTURBED, Contestant, Epoch, Header, Measurement, Point, Verdict
from .sampling import Sampler

TIMEOUT = 3600.0


@dataclass(frozen=True)
class Turn:
    """One measurement that is due."""

    contestant: Contestant
    repeat: int
    point: Point

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        return Measurement(self.contestant.key, self.repeat, self.point, self.repeat, "").name


def run(header: Header, folder: str | os.PathLike[str], say: Callable[[str], object] = print,
        timeout: float = TIMEOUT) -> None:  # fmt: skip
    """Measure what the header says, and what of it the folder does not hold yet.

    Parameters
    ----------
    header : Header
    folder : path-like
        Where `prepare` put the data.
    say : callable
        Told a line after each step.
    timeout : float
        Seconds after which a process is ended.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, or when this process is told to end; what was measured before is kept.
    """
    course = _Course(header, Path(folder), say, timeout)
    try:
        with _ended_as_by_ctrl_c():
            able = course.let_in()
            course.warm_up(able)
            course.measure(able)
    except KeyboardInterrupt:
        kept = len(list(Path(folder, "measurements").glob("*.json")))
        say(f"interrupted; {kept} measurements are kept. The same command with --out {folder} goes on from there")
        raise
    finally:
        shutil.rmtree(Path(folder, "work"), ignore_errors=True)


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Inside, being told to end, or a terminal that closes, interrupts, so that no contestant outlives this process."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
        before = {number: signal.getsignal(number) for number in numbers if number is not None}
    ours = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def turns(contestants: Iterable[Contestant], points: Iterable[Point], repeats: int) -> Iterator[Turn]:
    """Every measurement, in the order in which they are made.

    Examples
    --------
    >>> three = [Contestant(name, name, "portanet", name) for name in ("numpy", "torch", "jax")]
    >>> order = list(turns(three, [{}], repeats=2))
    >>> [turn.repeat for turn in order], sorted(turn.contestant.key for turn in order[:3])
    ([0, 0, 0, 1, 1, 1], ['jax', 'numpy', 'torch'])
    """
    contestants, points = list(contestants), list(points)
    for repeat in range(repeats):
        rng = random.Random(repeat)
        for point in rng.sample(points, len(points)):
            for contestant in rng.sample(contestants, len(contestants)):
                yield Turn(contestant, repeat, point)


class _Course:
    """The steps of one call of `run`."""

    def __init__(self, header: Header, folder: Path, say: Callable[[str], object], timeout: float) -> None:
        self.header, self.folder, self.say, self.timeout = header, folder, say, timeout
        self._took: dict[tuple[str, str], list[float]] = {}

    def let_in(self) -> list[Contestant]:
        """Those that do the same work, judged anew unless they did before."""
        able = []
        for contestant in self.header.contestants:
            path = self.folder / "gate" / f"{contestant.key}.json"
            verdict = _kept(path, Verdict)
            if verdict is None or verdict.status != "same" or contestant.absent:
                verdict = self._judged(contestant)
                records.write(path, verdict)
                self.say(f"gate: {contestant.key}: {verdict.status}{': ' * bool(verdict.reason)}{verdict.reason}")
            if verdict.status == "same":
                able.append(contestant)
        return able

    def _judged(self, contestant: Contestant) -> Verdict:
        from . import gate

        if contestant.absent:
            return Verdict(contestant.key, "absent", contestant.absent)
        return gate.judge(self.header, self.folder, contestant)

    def warm_up(self, able: list[Contestant]) -> None:
        """Let everyone train once, unless it did before in this folder."""
        if self.header.repeats == 1:
            return
        for turn in turns(able, self.header.points, 1):
            out = self.folder / "warm-up" / f"{turn.name}.json"
            if out.is_file() or _is_done(self._path(turn)):
                continue
            result = launch.finish({**self._job(turn), "out": str(out), "epochs": 1}, self.timeout)
            out.with_suffix(".classes.npy").unlink(missing_ok=True)
            reason = result.get("reason", "")
            self.say(f"warm-up: {turn.contestant.key}{place(turn.point)}: {reason or _duration(result['process'])}")

    def measure(self, able: list[Contestant]) -> None:
        """Make every measurement that is not there yet, or failed."""
        every = list(turns(able, self.header.points, self.header.repeats))
        due = [turn for turn in every if not _is_done(self._path(turn))]
        if len(due) < len(every):
            self.say(f"{len(every) - len(due)} of {len(every)} measurements are there already")
        too_slow: dict[tuple[str, str], Turn] = {}
        for number, turn in enumerate(due, 1):
            case = turn.contestant.key, place(turn.point)
            if case in too_slow:
                found = self._not_tried(turn, too_slow[case])
            else:
                found = self._measured(turn)
                self._took.setdefault(case, []).append(found.process)
            if found.status == "timeout":
                too_slow.setdefault(case, turn)
            records.write(self._path(turn), found)
            at = len(every) - len(due) + number
            self.say(f"[{at}/{len(every)}] {_line(found)}{self._left(due[number:])}")

    def _measured(self, turn: Turn) -> Measurement:
        load, started = _load(), datetime.now(UTC).isoformat(timespec="seconds")
        sampler, out = Sampler(device=turn.contestant.device), self.folder / "work" / f"{turn.name}.json"
        result = launch.finish({**self._job(turn), "out": str(out)}, self.timeout, sampler)
        told = dict(result.get("measurement", {}))
        told.setdefault("status", result.get("status", "ok"))
        told.setdefault("reason", result.get("reason", ""))
        told["epochs"] = [Epoch(**epoch) for epoch in told.get("epochs", ())]
        told.update(contestant=turn.contestant.key, repeat=turn.repeat, point=turn.point, seed=turn.repeat,
                    process=result["process"], load=load, started=started)  # fmt: skip
        found = Measurement(**told)
        found.record["cores"] = result["cores"]
        if found.status == "ok":
            found.usage = sampler.between(*result["window"])
            self._keep_classes(out, turn)
        return found

    def _keep_classes(self, out: Path, turn: Turn) -> None:
        classes = out.with_suffix(".classes.npy")
        if classes.is_file():
            self._path(turn).parent.mkdir(parents=True, exist_ok=True)
            os.replace(classes, self._path(turn).with_name(f"{turn.name}.classes.npy"))

    def _not_tried(self, turn: Turn, slow: Turn) -> Measurement:
        reason = f"not tried, since repeat {slow.repeat + 1} took longer than {self.timeout:g} s"
        return Measurement(turn.contestant.key, turn.repeat, turn.point, turn.repeat, "timeout", reason)

    def _job(self, turn: Turn) -> dict[str, Any]:
        return {
            "task": "measure", "folder": str(self.folder), "contestant": asdict(turn.contestant),
            "repeat": turn.repeat, "point": turn.point, "seed": turn.repeat,
        }  # fmt: skip

    def _path(self, turn: Turn) -> Path:
        return self.folder / "measurements" / f"{turn.name}.json"

    def _left(self, due: list[Turn]) -> str:
        """How much longer it takes, by what the same and the other contestants took so far."""
        known = [seconds for took in self._took.values() for seconds in took]
        if not due or not known:
            return ""
        cases = ((turn.contestant.key, place(turn.point)) for turn in due)
        return f"; about {_duration(sum(fmean(self._took.get(case, known)) for case in cases))} left"


def _kept(path: Path, kind: type[Any]) -> Any:
    """A record of an earlier run, or None where there is none that can be read."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return records.read(path, kind)
    return None


def _is_done(path: Path) -> bool:
    found = _kept(path, Measurement)
    return found is not None and found.status == "ok"


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _line(found: Measurement) -> str:
    """One measurement for a reader."""
    who = f"{found.contestant}{place(found.point)}, repeat {found.repeat + 1}: "
    if found.status != "ok":
        return f"{who}{found.status}: {found.reason}"
    steady = median(epoch.seconds for epoch in found.epochs[1:] or found.epochs)
    parts = [f"{steady:.3g} s an epoch"]
    if found.test_error is not None:
        parts.append(f"test error {found.test_error:.2%}")
    if found.usage is not None:
        parts.append(f"{found.usage.busy_cores:.1f} cores busy")
        if found.usage.others > DISTURBED:
            parts.append(f"others kept {found.usage.others:.1f} busy")
    return who + ", ".join(parts)


def _duration(seconds: float) -> str:
    """Seconds as a reader would say it.

    >>> _duration(42.4), _duration(250), _duration(5000)
    ('42 s', '4 min', '1 h 23 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
