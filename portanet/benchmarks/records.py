"""What a benchmark puts on disk: the plan of a run, and one record for each measurement.

A run lives in a folder of its own::

    run.json                        a `Header`: what is measured, on what, by whom
    data/                           the arrays every contestant reads, and the initial weights, as .npy
    gate/<contestant>.json          a `Verdict`: whether it does the same work
    measurements/<name>.json        a `Measurement`: one fresh process
    report.json, report.md, report.html

Times are in seconds, memory in bytes, energy in joules, shares and errors between 0 and 1.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..runtime.whole_file import drafted

SCHEMA = 1
DISTURBED = 0.25  # cores kept busy by others, above which a measurement is disturbed
Point = dict[str, int]
Record = TypeVar("Record")


@dataclass
class Contestant:
    """A tool that trains the model.

    Attributes
    ----------
    key : str
        Unique in a run, and good as a file's name, as in ``"torch-cpu"`` or ``"keras-jax-cpu"``.
    tool : str
        For a reader, as in ``"portanet on PyTorch"`` or ``"Keras 3 on JAX"``.
    kind : str
        "portanet", or "peer" for another library or a loop by hand.
    engine : str
        Backend's name, as in ``"torch"``; of a peer, that of the engine it computes with.
    device : str
        "cpu", "gpu" or "gpu:<index>".
    library : str
        Module of the peer in `portanet.benchmarks.peers`; "" for portanet.
    absent : str
        Why it can't run here, with what to do; "" where it can.
    """

    key: str
    tool: str
    kind: str
    engine: str
    device: str = "cpu"
    library: str = ""
    absent: str = ""


@dataclass
class Header:
    """Everything that two runs must share to be comparable.

    Attributes
    ----------
    model, title, question : str
        As in ``"P6"``, what it is, and what is asked.
    source : str
        What was given on the command line: a model's name, or ``file.py:attribute``.
    overrides : dict
        Keyword parameters given to the net besides its own.
    published : list of dict
        Rows that others published: ``{"who", "tool", "figure"}``.
    data : dict
        ``{"name", "real", "rows", "test_rows", "shape", "classes", "sha256"}``; "real" is False for a seeded stand-in.
    spec : dict
        ``{"sha256", "layers", "parameters", "weights_sha256", "flops", "bytes", "batch_size", "floatX"}``; flops and
        bytes are of training on one sample.
    epochs, repeats, threads : int
        Of each measurement; `epochs` is at least 2.
    points : list of dict
        ``[{}]``, or those of a sweep, as in ``[{"width": 64}, {"width": 128}]`` or ``[{"batch_size": 32}, ...]``.
    target_error : float or None
        Error rate that "time to accuracy" runs to.
    contestants : list of Contestant
    machine : dict
        See `portanet.benchmarks.machine.describe`.
    created : str
        ISO 8601, UTC.
    """

    model: str
    title: str
    question: str
    source: str
    overrides: dict[str, Any]
    published: list[dict[str, str]]
    data: dict[str, Any]
    spec: dict[str, Any]
    epochs: int
    repeats: int
    threads: int
    points: list[Point]
    target_error: float | None
    contestants: list[Contestant]
    machine: dict[str, Any]
    created: str
    schema: int = SCHEMA


@dataclass
class Verdict:
    """Whether a contestant does the same work as the reference, NumPy in float64.

    Attributes
    ----------
    contestant : str
        Its key.
    status : str
        "same", "not the same work", "absent" or "failed".
    reason : str
        The first check that fails and by how much, or why there is none.
    errors : dict of str to float
        Relative error of each check: "weights", "logits", "loss", "gradient" or "update", "steps".
    allowed : dict of str to float
    """

    contestant: str
    status: str
    reason: str = ""
    errors: dict[str, float] = field(default_factory=dict)
    allowed: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass
class Epoch:
    """One pass over the training rows; the test error is found with the clock stopped."""

    seconds: float
    train_loss: float
    test_error: float | None = None


@dataclass
class Usage:
    """What the processes of a measurement took while it trained, seen from outside.

    Attributes
    ----------
    seconds : float
        Watched for, first to last epoch.
    busy_cores : float
        Processor seconds of the whole tree of processes over seconds.
    per_core : list of float
        Share of each core of the machine that was busy, whoever kept it so.
    cpus : int
        Cores that the tree kept busy for more than a tenth of the time, rounded up from `busy_cores` where unknown.
    peak_rss : int
        Largest sum of the resident memory of the tree.
    gpu : dict or None
        ``{"percent", "peak_memory", "energy", "name"}`` of the card, as its driver tells, all processes together.
    looks : int
        How often it was looked.
    """

    seconds: float
    busy_cores: float
    per_core: list[float]
    cpus: int
    peak_rss: int
    gpu: dict[str, Any] | None = None
    looks: int = 0

    @property
    def others(self) -> float:
        """Cores that processes outside of the tree kept busy.

        >>> Usage(2.0, 1.25, [1.0, 0.75], 2, 0).others
        0.5
        """
        return sum(self.per_core) - self.busy_cores


@dataclass
class Measurement:
    """One contestant, trained once in a fresh process.

    Attributes
    ----------
    contestant : str
        Its key.
    repeat : int
    point : dict
    seed : int
        Of initial weights' choice (paired over contestants) and batch order.
    status : str
        "ok", "failed" or "timeout".
    reason : str
    record : dict
        ``{"engine", "version", "device", "threads", "kernels", "isolated"}`` and what else the tool tells.
    rows : int
        Training rows in an epoch.
    epochs : list of Epoch
    process, imports, build, compile : float
        Whole process; engine's import; making the net and placing it, compiling left out; compiling.
    share : dict of str to float
        Where the seconds of training went: "input", "transfer", "python", "compile", "kernels", "waiting".
    usage : Usage or None
    load : float
        The machine's load average before it began.
    test_error : float or None
    weights_sha256 : str
        Of the initial weights it reports.
    started : str
        ISO 8601, UTC.
    """

    contestant: str
    repeat: int
    point: Point
    seed: int
    status: str
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    process: float = 0.0
    imports: float = 0.0
    build: float = 0.0
    compile: float = 0.0
    share: dict[str, float] = field(default_factory=dict)
    usage: Usage | None = None
    load: float = 0.0
    test_error: float | None = None
    weights_sha256: str = ""
    started: str = ""
    schema: int = SCHEMA

    @property
    def name(self) -> str:
        """Of its file, without the ending.

        >>> Measurement("torch-cpu", 2, {"width": 64}, 0, "ok").name
        'torch-cpu-width64-2'
        """
        place = "".join(f"-{key}{value}" for key, value in self.point.items())
        return f"{self.contestant}{place}-{self.repeat}"


_NESTED: dict[type, dict[str, type]] = {
    Header: {"contestants": Contestant}, Measurement: {"epochs": Epoch, "usage": Usage},
}  # fmt: skip


def write(path: str | os.PathLike[str], record: Any) -> None:
    """Put a record, or any JSON-able data, at that path; a reader sees all of it or what was there before."""
    data = asdict(record) if dataclasses.is_dataclass(record) and not isinstance(record, type) else record
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with drafted(path) as draft:
        draft.write_text(json.dumps(data, indent=1), "utf-8")


def read(path: str | os.PathLike[str], kind: type[Record]) -> Record:
    """The record at that path.

    Raises
    ------
    ValueError
        When it was written by another version of portanet, or is none.
    """
    data = json.loads(Path(path).read_text("utf-8"))
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no record of this version of portanet; measure anew into another folder")
    try:
        return _made(kind, data)
    except TypeError as error:
        raise ValueError(f"{path} holds no {kind.__name__}: {error}") from error


def _made(kind: type[Record], data: dict[str, Any]) -> Record:
    nested = _NESTED.get(kind, {})
    for name, inner in nested.items():
        value = data.get(name)
        if isinstance(value, list):
            data = {**data, name: [_made(inner, one) for one in value]}
        elif value is not None:
            data = {**data, name: _made(inner, value)}
    return kind(**data)
