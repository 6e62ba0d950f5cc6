"""The machine a run was measured on: what must not change between two runs, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.gpu_facts import this_machine
from ..runtime.place import limited_threads
from ..runtime.processors import CPUINFO, facts_of_first, printed_by, processor_name, usable_processors

INSTRUCTIONS = {
    "avx2": "AVX2", "fma": "FMA", "avx512f": "AVX-512", "avx512_vnni": "AVX-512 VNNI", "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX BF16", "asimd": "NEON", "sve": "SVE",
}  # fmt: skip
SIZE = 1024
QUARTER = 2**28


def describe(threads: int | None = None) -> dict[str, Any]:
    """What this machine is, and its measured peak.

    Parameters
    ----------
    threads : int, optional
        For the peak; by default as many as the BLAS takes.

    Returns
    -------
    dict
        The keys of `identity`; "fingerprint", the same as one dict; "affinity" (logical cores this process may use);
        "threads"; and "peak_gflops", see `matmul_peak`.
    """
    fixed = identity()
    return {
        **fixed, "fingerprint": fixed, "affinity": sorted(usable_processors()), "threads": threads,
        "peak_gflops": matmul_peak(threads),
    }  # fmt: skip


def identity() -> dict[str, Any]:
    """What two runs must share to be comparable, besides what they measure.

    Returns
    -------
    dict
        "cpu" (model), "cores" (physical), "logical_cores", "instructions" (list of str), "memory" (see `memory`),
        "gpus" (list of names), "driver" (of the GPUs, or None), "os", "python", "numpy", "blas", "portanet", and
        "commit" (of a checkout, "+" behind it where files were changed since; "" where it is none).

    Examples
    --------
    >>> found = identity()
    >>> found["logical_cores"] >= 1, found["python"].startswith("3.")
    (True, True)
    """
    import psutil

    from portanet import __version__

    card = this_machine()
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu": processor_name(), "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "logical_cores": psutil.cpu_count(), "instructions": instructions(), "memory": memory(),
        "gpus": [one["name"] for one in card["cards"] or ()], "driver": card["driver"], "os": platform.platform(),
        "python": platform.python_version(), "numpy": np.__version__, "blas": f"{blas['name']} {blas['version']}",
        "portanet": __version__, "commit": commit(),
    }  # fmt: skip


def memory() -> int:
    """Bytes, to the nearest quarter of a GiB: what the system keeps for itself changes a little from boot to boot."""
    import psutil

    return round(psutil.virtual_memory().total / QUARTER) * QUARTER


def instructions(cpuinfo: str = CPUINFO) -> list[str]:
    """Sets of instructions for arithmetic on vectors and matrices; elsewhere than on Linux, by NumPy's names."""
    facts = facts_of_first(cpuinfo)
    flags = facts.get("flags", facts.get("Features", "")).split()
    if not flags:
        found = np.show_config(mode="dicts").get("SIMD Extensions", {})
        return [*found.get("baseline", ()), *found.get("found", ())]
    return [name for flag, name in INSTRUCTIONS.items() if flag in flags]


def commit(folder: str | None = None) -> str:
    """The git commit that portanet's own files are of, with "+" where they were changed since; "" outside a checkout.

    Parameters
    ----------
    folder : str, optional
        Where to look; by default portanet's own.
    """
    package = Path(__file__).parents[1] if folder is None else Path(folder)
    tracked = printed_by("git", "-C", str(package), "ls-files", "--", "__init__.py")
    found = printed_by("git", "-C", str(package), "rev-parse", "--short=12", "HEAD") if tracked else ""
    changed = found and printed_by("git", "-C", str(package), "status", "--porcelain", "--", ".")
    return found + "+" * bool(changed)


def matmul_peak(threads: int | None = None, seconds: float = 1.0, size: int = SIZE) -> float:
    """The best that NumPy's product of two square float32 matrices reaches here.

    Measured rather than read from a data sheet: what a net's products may reach at most with this BLAS, this many
    threads, and the clock this machine really runs at.

    Parameters
    ----------
    threads : int, optional
        By default as many as the BLAS takes.
    seconds : float
        How long to try.
    size : int
        Rows and columns.

    Returns
    -------
    float
        GFLOP/s, an addition and a multiplication being two.

    Examples
    --------
    >>> matmul_peak(1, seconds=0.01, size=64) > 0
    True
    """
    a = np.random.default_rng(0).random((size, size), np.float32)
    b, product = a.T.copy(), np.empty_like(a)
    best, deadline = float("inf"), time.perf_counter() + seconds
    with limited_threads(threads):
        np.matmul(a, b, out=product)
        while best == float("inf") or time.perf_counter() < deadline:
            started = time.perf_counter()
            np.matmul(a, b, out=product)
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9
