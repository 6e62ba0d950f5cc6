"""The process that one measurement, or one look of the gate, takes place in.

    python -m portanet.benchmarks.measure JOB.json

The job says what to do, as JSON::

    {"task": "measure" or "gate", "folder": of the run, "out": where the result goes, "contestant": {...},
     "repeat": 0, "point": {}, "seed": 0}

"epochs" may stand in for those of the run, and "floatX" for the net's. The result is JSON at "out". A measurement gives
``{"measurement": {...}, "window": [begin, end]}``: what it knows of a `Measurement`, and `time.monotonic` as the first
epoch began and as the last one ended. The labels that it gives the test rows at the end lie beside "out" as
``.classes.npy``. The gate gives what it saw as ``.npz``, or ``{"different": why}``.

The number of threads is in the environment before this process starts (OMP_NUM_THREADS and its kin, see
`portanet.benchmarks.launch`), since engines read it as they are imported; contestants set it besides where their engine
has a call for it. Nothing heavy is imported before the contestant's own imports are timed. Whatever fails is a result
too, with the status "failed" and the reason; the exit status is 0 when a result was written.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import records
from .records import Contestant, Epoch, Header

if TYPE_CHECKING:
    import numpy as np

    from .contestants import Trainer
    from .datasets import Dataset


def main(argv: Sequence[str] | None = None) -> int:
    """Do the job that the first argument names; the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 1:
        print("usage: python -m portanet.benchmarks.measure JOB.json", file=sys.stderr)
        return 2
    job = json.loads(Path(arguments[0]).read_text("utf-8"))
    records.write(job["out"], done(job))
    return 0


def done(job: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a job, whatever comes of it.

    Parameters
    ----------
    job : mapping
        As this module's docstring says.

    Returns
    -------
    dict
        JSON-able.
    """
    try:
        return TASKS[job["task"]](job)
    except Exception as error:  # a contestant may fail in any way; the reader of the report is told
        traceback.print_exc()
        return {"measurement": {"status": "failed", "reason": reason_of(error)}}


def reason_of(error: BaseException) -> str:
    """One line for the reader of a report.

    >>> reason_of(ValueError("no such layer\\nat all"))
    'ValueError: no such layer at all'
    """
    from ..exceptions import PortanetError

    text = " ".join(str(error).split())
    return text if isinstance(error, PortanetError) and text else f"{type(error).__name__}: {text}".removesuffix(": ")


@dataclass
class Prepared:
    """A contestant that has imported what it needs, and what it is to train.

    Attributes
    ----------
    trainer : Trainer
    header : Header
    data : Dataset
    net : NeuralNet
        Not fitted.
    weights : dict of str to ndarray
        Where to start.
    imports : float
        Seconds that the library and its engine took to import.
    """

    trainer: Trainer
    header: Header
    data: Dataset
    net: Any
    weights: dict[str, np.ndarray]
    imports: float


def prepared(job: Mapping[str, Any], trainer: Trainer | None = None) -> Prepared:
    """Import what the job's contestant needs, then read what it is to do.

    Parameters
    ----------
    job : mapping
    trainer : Trainer, optional
        Instead of that of the contestant.
    """
    folder = Path(job["folder"])
    header = records.read(folder / "run.json", Header)
    started = time.perf_counter()
    if trainer is None:
        from .contestants import trainer as trainer_of

        trainer = trainer_of(Contestant(**job["contestant"]), header.threads)
    trainer.load()
    imports = time.perf_counter() - started
    from .. import persistence
    from . import datasets
    from .prepare import weights_path

    point = dict(job.get("point") or {})
    data = datasets.opened(folder / "data", header.data["name"], header.data["real"])
    net = _net(header, folder, point, job)
    weights = persistence.load(weights_path(folder, job["seed"], point))
    return Prepared(trainer, header, data, net, weights, imports)


def _net(header: Header, folder: Path, point: Mapping[str, int], job: Mapping[str, Any]) -> Any:
    """The declaration, at a point of the sweep."""
    from . import models

    arrays = [str(folder / "data" / f"{name}.npy") for name in ("X", "y")]
    model = models.find(header.source, None if header.source in models.MODULES else arrays)
    changes = {"floatX": job["floatX"]} if "floatX" in job else {}
    return model.build(**{**header.overrides, **point, "random_state": job["seed"], **changes})


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Train the contestant, and tell what it took."""
    import numpy as np

    from .prepare import digest

    given = prepared(job)
    trainer, data = given.trainer, given.data
    started = time.perf_counter()
    trainer.build(given.net, data.X, data.y, given.weights, job["seed"])
    building = time.perf_counter() - started
    watch = Watch(trainer, data)
    begin = time.monotonic()
    trainer.fit(job.get("epochs", given.header.epochs), watch.after_epoch)
    if watch.labels is not None:
        np.save(Path(job["out"]).with_suffix(".classes.npy"), watch.labels, allow_pickle=False)
    measurement = {
        "contestant": trainer.contestant.key, "repeat": job["repeat"], "point": job.get("point") or {},
        "seed": job["seed"], "status": "ok", "record": trainer.record, "rows": len(data.X),
        "epochs": [asdict(epoch) for epoch in watch.epochs], "imports": given.imports,
        "build": max(building - trainer.compile, 0.0), "compile": trainer.compile, "share": trainer.share,
        "test_error": watch.epochs[-1].test_error, "weights_sha256": digest(trainer.initial_weights()),
    }  # fmt: skip
    return {"measurement": measurement, "window": [begin, watch.end]}


class Watch:
    """What is looked at after each epoch, with the clock stopped.

    Attributes
    ----------
    epochs : list of Epoch
    labels : ndarray or None
        That the test rows were last given; None of a net for numbers or for several labels a row.
    end : float
        `time.monotonic` as the last epoch ended.
    """

    def __init__(self, trainer: Trainer, data: Dataset) -> None:
        self._trainer, self._data = trainer, data
        self.epochs: list[Epoch] = []
        self.labels: np.ndarray | None = None
        self.end = 0.0

    def after_epoch(self, seconds: float, train_loss: float) -> None:
        """Put down an epoch, and what share of the test rows is classified wrongly after it."""
        self.end = time.monotonic()
        self.epochs.append(Epoch(float(seconds), float(train_loss), self._test_error()))

    def _test_error(self) -> float | None:
        import numpy as np

        if self._data.classes is None:
            return None
        chosen = self._trainer.probabilities(self._data.X_test).argmax(axis=1)
        self.labels = np.unique(self._data.y)[chosen]
        return float(np.mean(self.labels != self._data.y_test))


def look(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the contestant computes on a few batches, noise off, for the gate to compare."""
    from .. import persistence
    from . import gate
    from .contestants import OtherWork

    given = prepared(job)
    try:
        seen = gate.look(given.trainer, given.net, given.data.X, given.data.y, given.weights, job["seed"])
    except OtherWork as error:
        return {"different": str(error)}
    path = Path(job["out"]).with_suffix(".npz")
    persistence.save(path, seen, private=False)
    return {"seen": str(path), "record": given.trainer.record}


TASKS = {"measure": measure, "gate": look}

if __name__ == "__main__":
    sys.exit(main())
