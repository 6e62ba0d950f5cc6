"""An engine in a worker process, behind the contract of an engine in this one."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.memory_maps import is_large_map, map_of
from ..engine.plan import Plan
from ..engine.program import Backend, Program
from .worker_pool import worker_for
from .worker_process import Launch, WorkerProcess

__all__ = ["RemoteBackend", "RemoteProgram"]

State = dict[str, Any]


class RemoteBackend(Backend):
    """An engine that runs in a worker, which is started when it is first needed.

    Parameters
    ----------
    name : str
    launch_for : callable
        ``launch_for(threads)`` gives the `Launch` for that many threads (None: as many as the engine likes).
    threads : int, optional
    """

    def __init__(self, name: str, launch_for: Callable[[int | None], Launch], threads: int | None = None) -> None:
        self.name, self._launch_for, self.threads = name, launch_for, threads

    def with_threads(self, threads: int | None) -> RemoteBackend:
        """The same engine in a worker that keeps to that many threads."""
        return RemoteBackend(self.name, self._launch_for, threads)

    def worker(self, threads: int | None = None) -> WorkerProcess:
        """Its running worker, started if need be.

        Raises
        ------
        BackendUnavailable
            When the engine does not come up there.
        """
        return worker_for(self._launch_for(self.threads if threads is None else threads))

    @property
    def version(self) -> str:  # type: ignore[override]
        return self.worker().about["version"]

    @property
    def options(self) -> dict[str, Any]:  # type: ignore[override]
        return self.worker().about["options"]

    def capabilities(self):
        return self.worker().ask("capabilities")[0]

    def devices(self, kind=None):
        return tuple(self.worker().ask("devices", kind=kind)[0])

    def compile(self, plan, device, options):
        return RemoteProgram(plan, device, options, lambda: self.worker(options.get("threads")))


class RemoteProgram(Program):
    """A program in a worker.

    Where the worker is gone, or belongs to the process this one was forked from, the next use starts a new one from the
    last state that was seen here: when training ended last, or when `get_state` or `set_state` was called last.

    Parameters
    ----------
    plan : Plan
    device, options : dict
    worker : callable
        Gives a running worker.
    """

    def __init__(self, plan: Plan, device: Mapping, options: Mapping, worker: Callable[[], WorkerProcess]) -> None:
        self.plan, self._device, self._options, self._find = plan, dict(device), dict(options), worker
        self._seen: State | None = None
        self._untold, self._bound = False, dict[str, dict[str, np.ndarray]]()
        self.record: dict[str, Any] = {}  # type: ignore[assignment]
        self._compilations = 0
        self._start()

    def _start(self) -> None:
        """Compile in a running worker, from the state that was last seen."""
        self._let_go()
        worker = self._worker = self._find()
        plan, arrays = self.plan.to_json()
        made, _ = worker.ask("compile", plan=plan, arrays=arrays, device=self._device, options=self._options)
        self._number = made["program"]
        worker.programs.add(self)
        self._discard = weakref.finalize(self, worker.discarded.append, self._number)
        self._discard.atexit = False
        self.record.update(isolated=True, worker=worker.about["worker"])
        self._take_news(made["news"])
        if self._seen is not None:
            self._ask("set_state", state=self._seen)

    def _take_news(self, news: Mapping[str, Any]) -> None:
        self._compilations = news.get("compilations", self._compilations)
        self.record.update(news.get("record", {}))

    @property
    def compilations(self) -> int:  # type: ignore[override]
        """As the worker counts now: what programs share is counted for all of them."""
        if self._lives:
            self._ask("news")
        return self._compilations

    @property
    def _lives(self) -> bool:
        return self._discard.alive and self._worker.usable

    def _ask(self, call: str, **arguments: Any) -> Any:
        if not self._lives:
            self._need_open()
            self._tell_of_loss(call)
            self._start()
        try:
            result, news = self._worker.ask(call, self._number, **arguments)
        except BaseException:
            if not self._worker.usable:
                self._let_go()
            raise
        self._take_news(news)
        return result

    def _tell_of_loss(self, call: str) -> None:
        """Raise, once, where the worker took something with it: what was bound, or steps nobody has seen the end of."""
        if self._bound or self._untold:
            self._let_go()
            raise self._worker.died(call)

    def _let_go(self) -> None:
        self._bound, self._untold = {}, False

    def _need_open(self) -> None:
        if not self._discard.alive:
            raise ValueError("the program is closed")

    def bind(self, name, arrays):
        sent = {key: self._way_of(np.asanyarray(array)) for key, array in arrays.items()}
        self._ask("bind", name=name, arrays=sent)
        self._bound[name] = dict(arrays)

    def _way_of(self, array: np.ndarray) -> dict[str, Any]:
        """How the worker comes by an array: it has it already, it maps the file, or it is sent."""
        if self._lives:
            for name, arrays in self._bound.items():
                for key, other in arrays.items():
                    if other is array:
                        return {"name": name, "key": key}
        file = _file_of(array) if is_large_map(array) else None
        return {"values": np.asarray(array)} if file is None else {"file": file}

    def unbind(self, name):
        known = self._bound.pop(name, None)
        if not self._lives or known is None:
            return
        if self._untold:
            self._see()
        self._ask("unbind", name=name)

    def train(self, name, batches, hyper, seed):
        self._untold = True
        values = {key: np.asarray(given, np.float64) for key, given in hyper.items()}
        return self._ask("train", name=name, **_joined(batches), hyper=values, seed=int(seed))

    def evaluate(self, name, batches):
        return self._ask("evaluate", name=name, **_joined(batches))

    def gradients(self, name, batch, seed):
        return self._ask("gradients", name=name, batch=np.asarray(batch), seed=int(seed))

    def apply(self, gradients, hyper):
        self._untold = True
        self._ask("apply", gradients=dict(gradients), hyper=dict(hyper))

    def predict(self, arrays):
        return self._ask("predict", arrays=_plain(arrays))

    def outputs(self, arrays, layers):
        return self._ask("outputs", arrays=_plain(arrays), layers=list(layers))

    def _see(self) -> State:
        self._seen = self._ask("get_state")
        self._untold = False
        return self._seen

    def get_state(self):
        self._need_open()
        if self._lives:
            return _copied(self._see())
        self._tell_of_loss("get_state")
        return _copied(self._seen or self.plan.initial_state())

    def set_state(self, state):
        self._need_open()
        seen = _copied(self.plan.complete_state(state))
        if self._lives:
            self._ask("set_state", state=seen)
        self._seen, self._untold = seen, False

    def close(self):
        if self._discard.detach() and self._worker.usable:
            self._worker.ask("close", self._number)
        self._worker.programs.discard(self)
        self._bound = {}


def _joined(batches: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Row numbers of all batches, and how many belong to each."""
    rows = np.concatenate(batches) if len(batches) else np.arange(0)
    return {"rows": rows, "sizes": np.array([len(batch) for batch in batches], np.int64)}


def _plain(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in arrays.items()}


def _copied(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _copied(part) for name, part in state.items()}
    return state.copy() if isinstance(state, np.ndarray) else state


def _file_of(array: np.ndarray) -> dict[str, Any] | None:
    """Where a memory map's values lie, so that another process can map them; None where no file holds all of them."""
    mapped, root = map_of(array), array
    while isinstance(root.base, np.ndarray):
        root = root.base
    path = getattr(root, "filename", None)
    if mapped is None or mapped.is_private or path is None or not os.path.exists(path):
        return None
    origin = root.offset + array.__array_interface__["data"][0] - root.__array_interface__["data"][0]  # type: ignore[attr-defined]
    spans = [step * (size - 1) for step, size in zip(array.strides, array.shape, strict=True)]
    return {
        "path": os.fspath(path), "offset": origin, "dtype": array.dtype.str, "shape": array.shape,
        "strides": array.strides, "low": origin + sum(span for span in spans if span < 0),
        "high": origin + sum(span for span in spans if span > 0) + array.itemsize,
    }  # fmt: skip
