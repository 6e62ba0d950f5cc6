"""What a tree of processes takes, seen from outside: processor time, memory, cores, and the GPU where there is one.

A thread of the process that watches looks about ten times a second. What it reads:

- processor seconds, as the kernel counts them, of every process of the tree; those of children that came and went
  between two looks are in their parent's count once it has waited for them;
- resident memory, summed over the tree: pages that two processes share count twice;
- how busy each core of the machine was, whoever kept it so;
- of a GPU, what its driver tells of the whole card: the share of time in which some kernel ran (which says nothing of
  how much of the card it filled), memory in use by all processes, and energy.
"""

from __future__ import annotations

import math
import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .records import Usage

INTERVAL = 0.1
SEARCH_SHARE, SEARCH_START = 1 / 300, 0.02
SLACK = 0.05


@dataclass(frozen=True)
class Look:
    """What one look saw; processor seconds and joules count up from some time before.

    Attributes
    ----------
    at : float
        As `time.monotonic` counts.
    processor : float
    rss : int
    cores : tuple of (float, float)
        Busy seconds and all seconds of each core.
    card : tuple of (float, int, float) or None
        Share of time with a kernel running, bytes in use, joules.
    """

    at: float
    processor: float
    rss: int
    cores: tuple[tuple[float, float], ...]
    card: tuple[float, int, float] | None = None


class Sampler:
    """Watches a process and all that come of it, from a thread of its own.

    Parameters
    ----------
    interval : float
        Seconds between two looks.
    device : str
        "gpu" or "gpu:<index>" to look at that card as well, where nvidia-ml-py is installed.

    Attributes
    ----------
    looks : list of Look

    Examples
    --------
    >>> import os, time
    >>> sampler = Sampler()
    >>> sampler.watch(os.getpid())
    >>> start = time.monotonic()
    >>> while time.monotonic() < start + 0.2: pass
    >>> sampler.stop()
    >>> usage = sampler.between(start, time.monotonic())
    >>> usage.busy_cores > 0, usage.peak_rss > 1_000_000
    (True, True)
    """

    def __init__(self, interval: float = INTERVAL, device: str = "cpu") -> None:
        self.interval, self.looks = interval, list[Look]()
        self._card = card(device)
        self._tree: _Tree | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None

    def watch(self, pid: int) -> None:
        """Begin to look at the process of that number and its descendants."""
        self._tree = _Tree(pid)
        self._ended.clear()
        self.looks.append(self._look())
        self._thread = threading.Thread(target=self._run, name="portanet-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what was seen is kept.

        Raises
        ------
        RuntimeError
            When a look failed; nothing was seen since.
        """
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._fault is not None:
            raise RuntimeError(f"sampling failed: {self._fault}") from self._fault

    def between(self, start: float, end: float) -> Usage:
        """What was taken in a span of time; its ends are interpolated between looks.

        Parameters
        ----------
        start, end : float
            As `time.monotonic` counts, which all processes of a machine share.

        Returns
        -------
        Usage

        Raises
        ------
        ValueError
            When the span is empty, or nobody looked around it.
        """
        looks = self._around(start, end)
        if not (start < end and len(looks) > 1):
            seen = f"{self.looks[0].at:.2f} to {self.looks[-1].at:.2f}" if self.looks else "never"
            raise ValueError(f"no usage from {start:.2f} to {end:.2f}: looked {seen}")
        busy_cores = _growth(looks, [look.processor for look in looks], start, end) / (end - start)
        return Usage(
            end - start, busy_cores, _per_core(looks, start, end), max(1, math.ceil(busy_cores - SLACK)),
            max(look.rss for look in looks), self._of_card(looks, start, end), len(looks),
        )  # fmt: skip

    def _around(self, start: float, end: float) -> list[Look]:
        """The looks within, the last one before and the first one after."""
        at = [look.at for look in self.looks]
        return self.looks[max(bisect_right(at, start) - 1, 0) : bisect_left(at, end) + 1]

    def _of_card(self, looks: list[Look], start: float, end: float) -> dict[str, Any] | None:
        if self._card is None:
            return None
        share, memory, energy = zip(*(look.card for look in looks if look.card is not None), strict=True)
        return {
            "percent": 100 * float(np.mean(share)), "peak_memory": max(memory),
            "energy": _growth(looks, energy, start, end), "name": self._card.name,
        }  # fmt: skip

    def _run(self) -> None:
        due, ended = time.monotonic(), False
        try:
            while not ended:
                due = max(due + self.interval, time.monotonic())
                ended = self._ended.wait(due - time.monotonic())
                self.looks.append(self._look())
        except Exception as error:  # told by `stop`, in the thread that can do something about it
            self._fault = error

    def _look(self) -> Look:
        import psutil

        assert self._tree is not None
        processor, rss = self._tree.look()
        times = psutil.cpu_times(percpu=True)
        cores = tuple((sum(core) - core.idle - getattr(core, "iowait", 0.0), sum(core)) for core in times)
        return Look(time.monotonic(), processor, rss, cores, None if self._card is None else self._card.look())


def _growth(looks: list[Look], counts: Any, start: float, end: float) -> float:
    """How much a count, which only grows, grew in a span."""
    before, after = np.interp([start, end], [look.at for look in looks], counts)
    return float(after - before)


def _per_core(looks: list[Look], start: float, end: float) -> list[float]:
    shares = []
    for busy, whole in np.array([look.cores for look in looks]).transpose(1, 2, 0):
        passed = _growth(looks, whole, start, end)
        shares.append(min(1.0, _growth(looks, busy, start, end) / passed) if passed > 0 else 0.0)
    return shares


@dataclass
class _Seen:
    """Of one process: its parent, its own processor seconds and those of children it has waited for."""

    parent: int
    own: float = 0.0
    waited: float = 0.0

    @property
    def total(self) -> float:
        return self.own + self.waited


class _Tree:
    """Counts the processor seconds of a process and its descendants, so that nothing is lost or counted twice.

    Searching a machine for new processes costs more than the rest of a look, so it is done as often as it may take a
    small share of the time; the seconds of those that nobody saw come by way of their parents.
    """

    def __init__(self, pid: int) -> None:
        import psutil

        self._gone = psutil.NoSuchProcess, psutil.AccessDenied
        self._root = psutil.Process(pid)
        self._known: dict[Any, _Seen] = {self._root: _Seen(os.getpid())}
        self._lost = 0.0
        self._began, self._searching = time.monotonic(), 0.0

    def look(self) -> tuple[float, int]:
        """Processor seconds so far, and bytes of resident memory now."""
        self._search()
        before, rss, vanished = {process.pid: seen.waited for process, seen in self._known.items()}, 0, []
        for process, seen in self._known.items():
            try:
                times, rss = process.cpu_times(), rss + process.memory_info().rss
            except self._gone:
                vanished.append(process)
            else:
                seen.own, seen.waited = times.user + times.system, times.children_user + times.children_system
        self._bury({process: self._known.pop(process) for process in vanished}, before)
        return self._lost + sum(seen.total for seen in self._known.values()), rss

    def _search(self) -> None:
        if self._searching > SEARCH_START + SEARCH_SHARE * (time.monotonic() - self._began):
            return
        started = time.perf_counter()
        try:
            for process in self._root.children(recursive=True):
                if process not in self._known:
                    self._known[process] = _Seen(process.ppid())
        except self._gone:
            pass  # `look` finds who is gone
        self._searching += time.perf_counter() - started

    def _bury(self, vanished: dict[Any, _Seen], before: dict[int, float]) -> None:
        """Keep the seconds of those that ended, unless a process that waited for them now has them in its count."""
        living = {process.pid: seen for process, seen in self._known.items()}
        parents = {process.pid: seen.parent for process, seen in vanished.items()}
        owed: dict[int, float] = {}
        for seen in vanished.values():
            heir = seen.parent
            while heir in parents:
                heir = parents[heir]
            owed[heir] = owed.get(heir, 0.0) + seen.total
        for heir, seconds in owed.items():
            inherited = living[heir].waited - before[heir] if heir in living else 0.0
            self._lost += max(0.0, seconds - inherited)


def card(device: str) -> _Card | None:
    """The card that a device names, or None: of a CPU, without nvidia-ml-py, or without a driver."""
    kind, _, index = device.partition(":")
    if kind != "gpu":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return _Card(pynvml, _handle(pynvml, int(index or 0)))
    except pynvml.NVMLError:
        return None


def _handle(nvml: Any, index: int) -> Any:
    """By the order in which this process sees the cards."""
    visible = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    name = visible[index] if index < len(visible) else str(index)
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)


class _Card:
    """A GPU, as NVIDIA's driver tells of it."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        name = nvml.nvmlDeviceGetName(handle)
        self.name = name.decode() if isinstance(name, bytes) else name
        self._joules, self._last = 0.0, time.monotonic()
        self._energy: Callable[[], float] = self._counted if self._counts() else self._summed

    def look(self) -> tuple[float, int, float]:
        """Share of time with a kernel running, bytes in use, joules so far."""
        rates = self._nvml.nvmlDeviceGetUtilizationRates(self._handle)
        return rates.gpu / 100, self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used, self._energy()

    def _counts(self) -> bool:
        try:
            self._counted()
        except self._nvml.NVMLError:  # cards older than Volta keep no count
            return False
        return True

    def _counted(self) -> float:
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000

    def _summed(self) -> float:
        now = time.monotonic()
        self._joules += self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000 * (now - self._last)
        self._last = now
        return self._joules
