"""The workers of this process: shared by programs of one launch, kept for the next fit, ended with the interpreter."""

from __future__ import annotations

import atexit
import os
import threading
import time

from .worker_process import END_SECONDS, Launch, WorkerProcess

__all__ = ["close_workers", "shared_threads", "worker_for"]

IDLE_SECONDS = 10.0


class WorkerPool:
    """Workers by launch."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Know of no workers, and hold no lock."""
        self._workers: dict[Launch, WorkerProcess] = {}
        self._lock = threading.Lock()

    def worker_for(self, launch: Launch) -> WorkerProcess:
        """The running worker, or a new one."""
        with self._lock:
            worker = self._workers.get(launch)
            if worker is None or not worker.usable:
                self._make_room(launch.engine)
                worker = self._workers[launch] = WorkerProcess(launch)
            worker.last_used = time.monotonic()
            return worker

    def _make_room(self, engine: str) -> None:
        """End workers of that engine that are dead, or that nobody has used for a while."""
        long_ago = time.monotonic() - IDLE_SECONDS
        for launch, worker in list(self._workers.items()):
            idle = not worker.programs and not worker.busy and worker.last_used <= long_ago
            if launch.engine == engine and (idle or not worker.usable):
                self._workers.pop(launch).end(END_SECONDS)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            ending = list(self._workers.values())
            self._workers.clear()
        for worker in ending:
            worker.end(END_SECONDS)

    def disown(self) -> None:
        """In a fork: leave the workers to the process that started them."""
        for worker in self._workers.values():
            worker.disown()
        self.start_anew()


_pool = WorkerPool()
atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.disown)


def worker_for(launch: Launch) -> WorkerProcess:
    """The worker of a launch: the running one, or a new one.

    Raises
    ------
    BackendUnavailable
        See `WorkerProcess`.
    """
    return _pool.worker_for(launch)


def close_workers() -> None:
    """End all workers, and give back the memory they hold; nets stay as they are, their next use starts new workers."""
    _pool.close()


def shared_threads(threads: int | None) -> int | None:
    """How many threads a worker may use where none are asked for: what ``OMP_NUM_THREADS`` says.

    joblib and dask set it in their processes, so that those together use each core once; and a user may have.
    """
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(told) if threads is None and told.isdecimal() and int(told) else threads
