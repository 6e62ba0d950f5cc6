"""Where the time of training goes.

Shares of the seconds that a net's user waits, from `fit` to the end of the last epoch; compiling before it counts, what
hooks take does not. They add up to 1:

"compile"
    Tracing and placing the net before training; and in a call of `Program.train` during which the engine compiled,
    what it took longer for each batch than the calls without.
"input"
    Making batches: drawing their order, and transforming them where the batch iterator does.
"transfer"
    Handing things over: `Program.bind`, which puts the rows on the device or into the worker, `get_state` and
    `set_state` of each epoch; and for an engine in a worker an empty message there and back for each call of `train`.
"kernels"
    Inside `Program.train`, with a processor busy. Gathering the rows of a batch belongs here where the engine does it.
"waiting"
    Inside `Program.train`, while this process and its worker together kept less than one core busy: by the part of the
    core that was idle. With a GPU, the wait for it, unless its driver waits by spinning; on a machine that others use,
    the wait for a core.
"python"
    All the rest: portanet's own loop, checks of the data, means and history.

The methods of the `Program` are called a few times an epoch; each call is timed at the cost of some microseconds.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

SHARES = ("input", "transfer", "python", "compile", "kernels", "waiting")
HANDING_OVER = ("bind", "unbind", "get_state", "set_state")
ECHOES = 5


@dataclass
class _Call:
    """One call of `Program.train`."""

    batches: int
    seconds: float
    busy: float
    compilations: int


class Breakdown:
    """Watches a net's program while inside, as a context manager.

    Parameters
    ----------
    net : NeuralNet
        Placed already.
    compiled : float
        Seconds that tracing and placing it took.
    """

    def __init__(self, net: Any, compiled: float) -> None:
        self._net, self._program, self._compiled = net, net._running_program(), compiled
        self._seconds: dict[str, float] = defaultdict(float)
        self._calls: list[_Call] = []
        self._paused = False

    def __enter__(self) -> Breakdown:
        for name in HANDING_OVER:
            self._watch(self._program, name, "transfer")
        self._program.train = self._train(self._program.train)
        self._batches = self._net.batch_iterator_train
        self._net.batch_iterator_train = iterator = self._net._iterator(True)
        self._watch(iterator, "rows", "input")
        if iterator.transforms:
            self._watch(iterator, "transform", "input")
        self._watched, self._hooks = iterator, 0.0
        self._started = time.perf_counter()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._whole = time.perf_counter() - self._started - self._hooks
        for holder, names in ((self._program, [*HANDING_OVER, "train"]), (self._watched, ["rows", "transform"])):
            for name in names:
                vars(holder).pop(name, None)
        self._net.batch_iterator_train = self._batches
        if fault[0] is None:
            self._message = self._echo()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Inside, the clock stands."""
        started, self._paused = time.perf_counter(), True
        try:
            yield
        finally:
            self._paused = False
            self._hooks += time.perf_counter() - started

    def _watch(self, holder: Any, name: str, kind: str) -> None:
        call = getattr(holder, name)

        def timed(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                if not self._paused:
                    self._seconds[kind] += time.perf_counter() - started

        setattr(holder, name, timed)

    def _train(self, call: Callable) -> Callable:
        program, clocks = self._program, _clocks(self._program)

        def timed(name: str, batches: Sequence[Any], *rest: Any) -> Any:
            before, busy, started = _compilations(program), clocks(), time.perf_counter()
            losses = call(name, batches, *rest)
            seconds = time.perf_counter() - started
            self._calls.append(_Call(len(batches), seconds, clocks() - busy, _compilations(program) - before))
            return losses

        return timed

    def _echo(self) -> float:
        """Seconds of an empty message to the worker and back; 0 without one."""
        if not self._program.record.get("isolated"):
            return 0.0
        found = []
        for _ in range(ECHOES):
            started = time.perf_counter()
            _ = self._program.compilations
            found.append(time.perf_counter() - started)
        return median(found)

    def share(self) -> dict[str, float]:
        """By name in `SHARES`."""
        whole, seconds = self._whole + self._compiled, defaultdict(float, self._seconds)
        seconds["compile"] += self._compiled
        pace = _pace(self._calls)
        for one in self._calls:
            compiling = max(one.seconds - pace * one.batches, 0.0) if one.compilations else 0.0
            messages = min(self._message, one.seconds - compiling)
            rest = one.seconds - compiling - messages
            busy = min(one.busy / one.seconds, 1.0) if one.seconds else 1.0
            seconds["compile"] += compiling
            seconds["transfer"] += messages
            seconds["kernels"] += rest * busy
            seconds["waiting"] += rest * (1.0 - busy)
        seconds["python"] = max(whole - sum(seconds[name] for name in SHARES if name != "python"), 0.0)
        return {name: seconds[name] / whole for name in SHARES}


def _pace(calls: Sequence[_Call]) -> float:
    """Seconds a batch in calls that compiled nothing; where there is none, of the quickest call."""
    steady = [one.seconds / one.batches for one in calls if not one.compilations]
    return median(steady) if steady else min((one.seconds / one.batches for one in calls), default=0.0)


def _compilations(program: Any) -> int:
    """As last told: a worker is not asked anew."""
    told = vars(program).get("_compilations")
    return program.compilations if told is None else told


def _clocks(program: Any) -> Callable[[], float]:
    """A function that tells the processor seconds that this process and the program's worker have used.

    Linux has a clock for each process, whose number is made from the process's. Elsewhere a worker's use is not known,
    and it counts as one core kept busy.
    """
    pid = program.record.get("worker", {}).get("pid")
    if pid is None:
        return time.process_time
    if not sys.platform.startswith("linux"):
        return time.perf_counter
    clock = ~pid << 3 | 2
    return lambda: time.process_time() + time.clock_gettime(clock)
