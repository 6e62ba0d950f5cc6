"""The process that measures: started with equal threads and cores, watched, and ended with all that came of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from ..runtime import processors
from . import records

MODULE = "portanet.benchmarks.measure"
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
    "NPROC", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
LINES, CHARACTERS = 12, 2000


class Watcher(Protocol):
    """What looks at a process while it runs; see `portanet.benchmarks.sampling.Sampler`."""

    def watch(self, pid: int) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


def finish(job: Mapping[str, Any], timeout: float, sampler: Watcher | None = None) -> dict[str, Any]:
    """Run a job in a fresh process, and wait for it.

    Parameters
    ----------
    job : dict
        "task", "folder" of the run, "out" (where the result is to be written), "contestant", "repeat", "point",
        "seed".
    timeout : float
        Seconds until it is ended.
    sampler : Watcher, optional
        Told of the process once it runs, and that it has ended.

    Returns
    -------
    dict
        What the job wrote to "out", with "process" (seconds it took in all) and "cores" (those it was kept to). Where
        it failed or took too long, ``{"status": "failed" or "timeout", "reason": ..., "process": ..., "cores": ...}``.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, once the process and all that came of it have been ended.
    """
    out = Path(job["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    threads = records.read(Path(job["folder"], "run.json"), records.Header).threads
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        path = Path(folder, "job.json")
        path.write_text(json.dumps(dict(job)), "utf-8")
        started = time.monotonic()
        process = _start(path, variables(job["contestant"], threads), said)
        try:
            cores = _keep_to(process.pid, threads)
            ending = _watched(process, timeout, sampler)
        finally:
            end_tree(process)
        seconds = time.monotonic() - started
        told = {"process": seconds, "cores": cores}
        return {**_result(out, ending, timeout, said), **told}


def _start(job: Path, environment: Mapping[str, str], said: IO[bytes]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", MODULE, str(job)], env=dict(environment),
        stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
    )  # fmt: skip


def _watched(process: subprocess.Popen, timeout: float, sampler: Watcher | None) -> int | None:
    """The process' exit status, or None where it took too long."""
    if sampler is not None:
        sampler.watch(process.pid)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if sampler is not None:
            sampler.stop()


def _result(out: Path, ending: int | None, timeout: float, said: IO[bytes]) -> dict[str, Any]:
    if ending is None:
        return {"status": "timeout", "reason": f"took longer than {timeout:g} s and was ended{_last_lines(said)}"}
    if out.is_file():  # an engine that only fails at exit has done its work
        return json.loads(out.read_text("utf-8"))
    return {"status": "failed", "reason": f"its process {_told(ending)}{_last_lines(said)}"}


def _told(ending: int) -> str:
    if ending >= 0:
        return f"ended with exit status {ending} and no result"
    name = signal.Signals(-ending).name if -ending in set(signal.Signals) else f"signal {-ending}"
    return f"was killed by {name}" + ", perhaps because memory ran out" * (name == "SIGKILL")


def _last_lines(said: IO[bytes]) -> str:
    """What the process printed last, as the end of a sentence."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(size - 4 * CHARACTERS, 0))
    lines = [line.rstrip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    text = "\n".join(lines[-LINES:])[-CHARACTERS:]
    return f"; it last printed:\n{text}" if text else ""


def variables(contestant: Mapping[str, Any], threads: int, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a contestant's process: the user's, with equal threads for all.

    Parameters
    ----------
    contestant : dict
        Fields of `Contestant`.
    threads : int
    given : mapping of str to str, optional
        The user's variables; by default ``os.environ``.

    Returns
    -------
    dict of str to str
        A contestant on the CPU does not see any GPU, which some engines else fill up even so.

    Examples
    --------
    >>> found = variables({"engine": "torch", "device": "cpu"}, 2, {"PATH": "/bin"})
    >>> found["OMP_NUM_THREADS"], found["KERAS_BACKEND"], found["CUDA_VISIBLE_DEVICES"], found["PATH"]
    ('2', 'torch', '-1', '/bin')
    """
    found = {**(os.environ if given is None else given), **dict.fromkeys(THREADS, str(threads))}
    found.update(KERAS_BACKEND=contestant["engine"], PYTHONHASHSEED="0", OMP_DYNAMIC="FALSE", TF_CPP_MIN_LOG_LEVEL="3")
    if contestant["device"] == "cpu":
        found.update(CUDA_VISIBLE_DEVICES="-1", JAX_PLATFORMS="cpu")
    home = str(Path(__file__).parents[2])
    found["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [found.get("PYTHONPATH")])])
    return found


def _keep_to(pid: int, threads: int) -> list[int]:
    """Keep a process that has just begun, and all that will come of it, to as many cores as it has threads."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(pid))
    if threads < len(allowed):
        os.sched_setaffinity(pid, chosen_cores(allowed, threads))
    return sorted(os.sched_getaffinity(pid))


def chosen_cores(allowed: Sequence[int], count: int, system: str = processors.SYSTEM) -> list[int]:
    """So many of the allowed logical cores, on physical cores of their own as long as there are any.

    Parameters
    ----------
    allowed : sequence of int
    count : int
    system : str
        Where Linux tells which logical cores share a physical one.

    Returns
    -------
    list of int

    Examples
    --------
    >>> chosen_cores([2, 3, 5], 2, system="/nowhere")
    [2, 3]
    """
    seen: dict[str, int] = {}
    turns = []
    for core in allowed:
        shared = processors.physical_core(core, system)
        seen[shared] = seen.get(shared, -1) + 1
        turns.append((seen[shared], core))
    return sorted(core for _, core in sorted(turns)[:count])


def end_tree(process: subprocess.Popen) -> None:
    """End a process of a session of its own, and all that came of it, at once."""
    import psutil

    left: list[psutil.Process] = []
    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            left = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    psutil.wait_procs(left, timeout=5)
