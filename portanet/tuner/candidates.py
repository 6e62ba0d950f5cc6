"""What could train a net on this machine, and what is to be expected of it before it is tried."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..benchmarks import work
from ..benchmarks.machine import matmul_peak
from ..engine import gpu_facts
from ..runtime import registry
from ..runtime.devices import DeviceSpec
from ..runtime.processors import physical_cores, usable_processors
from .halving import Entrant, Guess

__all__ = ["Absent", "Candidate", "Load", "field_of", "prior", "prior_costs", "thread_counts"]


@dataclass(frozen=True)
class Candidate:
    """One way of training: an engine, a device, and how many threads compute.

    Attributes
    ----------
    backend : str
    device : str
        ``"cpu"``, or ``"gpu"`` or ``"gpu:<index>"``.
    threads : int or None
        None leaves their number to the engine.
    options : dict
        Of the engine, as a net's `options`.

    Examples
    --------
    >>> str(Candidate("torch", "cpu", 2))
    'torch, cpu, 2 threads'
    """

    backend: str
    device: str = "cpu"
    threads: int | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        counted = {None: "", 1: ", 1 thread"}.get(self.threads, f", {self.threads} threads")
        return f"{self.backend}, {self.device}{counted}"


@dataclass(frozen=True)
class Absent:
    """An engine that is not a candidate, and why."""

    backend: str
    device: str
    reason: str


# Seconds to start an engine and to compile a small net, and the share of NumPy's speed at multiplying matrices at which
# it trains nets of matrix products and convolutional ones: guesses, from what small nets took on an x86-64 machine of 2
# cores. They decide what is tried first and what is not worth a try, no more; what was measured on this machine takes
# their place.
PRIORS = {
    "numpy": (0.0, 0.05, {"products": 0.48, "convolution": 0.14}),
    "torch": (1.7, 0.1, {"products": 0.46, "convolution": 0.33}),
    "jax": (0.8, 2.0, {"products": 0.53, "convolution": 0.2}),
    "tensorflow": (8.0, 2.0, {"products": 0.48, "convolution": 0.15}),
    "mxnet": (1.6, 0.3, {"products": 0.18, "convolution": 0.15}),
    "theano": (1.5, 35.0, {"products": 0.28, "convolution": 0.1}),
    "cntk": (1.4, 0.3, {"products": 0.14, "convolution": 0.09}),
}
MEASURED_WITH = {"theano": {"compile": "always"}}  # left to itself, it computes the first second in Python
UNKNOWN = (2.0, 1.0, {"products": 0.4, "convolution": 0.2})
GPU_START, GPU_SPEED = 3.0, {"products": 2.0, "convolution": 5.0}
WITH_GPU = ("numpy", "torch", "jax", "tensorflow")
FIXED_THREADS = ("jax", "tensorflow")
CONVOLUTIONS = ("Conv", "ConvTranspose")
OVERHEAD = 4e-4  # seconds of a batch besides its arithmetic
BANDWIDTH = 5e10  # bytes a second that no processor is expected to exceed by far


@dataclass(frozen=True)
class Load:
    """What a batch asks of an engine, which its speed is guessed from.

    Attributes
    ----------
    kind : str
        "convolution" where the training graph has one, else "products".
    flops, bytes : int
        Of training on a batch; see `portanet.benchmarks.work`.
    """

    kind: str
    flops: int
    bytes: int

    @classmethod
    def of(cls, plan: Any, batch_size: int) -> Load:
        ops = {node.op for node in plan.graphs["train"].nodes}
        kind = "convolution" if ops.intersection(CONVOLUTIONS) else "products"
        return cls(kind, *(batch_size * each(plan, batch_size) for each in (work.flops, work.bytes_moved)))

    def seconds(self, rate: float) -> float:
        """Of a batch, at so many floating-point operations a second, as far as memory allows."""
        return max(self.flops / rate, self.bytes / BANDWIDTH)


def prior(backend: str, device: str, load: Load) -> Guess:
    """What is expected of an engine that was never measured on this machine.

    Parameters
    ----------
    backend, device : str
    load : Load

    Examples
    --------
    >>> prior("theano", "cpu", Load("products", 10**8, 10**6)).compile > 10
    True
    """
    rate = PRIORS.get(backend, UNKNOWN)[2][load.kind] * multiplying_rate()
    if device != "cpu":
        rate *= GPU_SPEED[load.kind]
    return Guess(*prior_costs(backend, device), OVERHEAD + load.seconds(rate))


def prior_costs(backend: str, device: str) -> tuple[float, float]:
    """Seconds to start such an engine, and to compile, for which nothing need be measured.

    >>> prior_costs("theano", "cpu")
    (1.5, 35.0)
    """
    start, compiling, _ = PRIORS.get(backend, UNKNOWN)
    return start + (GPU_START if device != "cpu" else 0.0), compiling


@cache
def multiplying_rate() -> float:
    """Floating-point operations a second at which NumPy multiplies matrices here, from a moment's measurement.

    >>> multiplying_rate() > 1e6
    True
    """
    return 1e9 * matmul_peak(seconds=0.03, size=512)


def is_here(backend: str) -> bool:
    """Whether the engine runs in this process and is imported already, so that starting it takes nothing."""
    row = registry.ROWS.get(backend)
    return row is not None and (row.requires is None or row.requires in sys.modules)


def in_process(backend: str, isolate: bool) -> bool:
    return not isolate and registry.is_importable(backend)


def field_of(engines: Sequence[str], device: DeviceSpec, threads: int | None,
             options: dict[str, Any]) -> tuple[list[Candidate], list[Absent]]:  # fmt: skip
    """The candidates among those engines, one for each device, and the engines that can't be had.

    Parameters
    ----------
    engines : sequence of str
    device : DeviceSpec
        What the net asks for; "auto" takes part on the CPU and, where the machine has a card, on that.
    threads : int or None
        As the net or the configuration says.
    options : dict of str to dict
        Engines' own, by engine.
    """
    found, absent = [], []
    for backend in engines:
        reason = registry.why_absent(backend)
        for name in _devices(backend, device):
            if reason:
                absent.append(Absent(backend, name, reason))
            else:
                found.append(Candidate(backend, name, threads, options.get(backend, {})))
    return found, absent


def _devices(backend: str, device: DeviceSpec) -> list[str]:
    if device.kind != "auto":
        return [str(device)]
    able = backend in WITH_GPU or backend not in registry.ROWS
    return ["cpu", "gpu"] if able and has_card() else ["cpu"]


@cache
def has_card() -> bool:
    """Whether this machine shows a graphics card with a driver; no engine is asked."""
    facts = gpu_facts.this_machine()
    return bool(facts.get("cards"))


def thread_counts(candidate: Candidate, isolate: bool) -> list[int]:
    """Numbers of threads worth a try besides the engine's own choice, which mostly is one for each processor.

    None where the engine takes their number only once, or where it is asked for.
    """
    fixed = candidate.backend in FIXED_THREADS and in_process(candidate.backend, isolate)
    if candidate.device != "cpu" or candidate.threads is not None or fixed:
        return []
    most = physical_cores()
    return sorted({most, *(2**power for power in range(most.bit_length()))} - {len(usable_processors())})


def entrants(candidates: Sequence[Candidate], load: Load, remembered: Any) -> list[Entrant]:
    """Candidates with what is known or guessed of each.

    Parameters
    ----------
    candidates : sequence of Candidate
    load : Load
    remembered : Memory
        What this machine was found to take.
    """
    made = []
    for one in candidates:
        guess = remembered.guess(one) or prior(one.backend, one.device, load)
        here = is_here(one.backend)
        made.append(Entrant(one, guess.started() if here else guess, remembered.sample(one, here)))
    return made
