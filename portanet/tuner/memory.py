"""What was measured on this machine, kept for the next time: ``tuning.json`` under `portanet.runtime.config.home`.

For each net, by a digest of its plan, its batch size and all else that decides its speed, what every candidate took;
and for each engine what it takes to start and how fast it computes, which other nets are judged by. Entries of another
version of an engine are left out, with a note. The file is replaced as a whole, so that a reader never sees half of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..exceptions import BackendUnavailable, ConfigError
from ..runtime import config, environments, registry
from ..runtime.file_lock import held
from ..runtime.processors import processor_name, usable_processors
from ..runtime.whole_file import drafted
from .candidates import Candidate, Load, in_process, prior_costs
from .halving import Guess, Row, Sample

__all__ = ["Memory", "forget", "machine", "place_of_memory"]

SCHEMA = 2
NETS = 200  # the latest are kept
RECORDED = ("engine", "version", "device_name", "threads")
COLD = 0.1  # seconds: an engine that starts faster was there already
THREAD_VARIABLES = registry.THREAD_VARIABLES


def place_of_memory() -> Path:
    """The file's path; it need not exist."""
    return config.home() / "tuning.json"


def forget() -> str:
    """Remove everything that is remembered; says what was done."""
    path = place_of_memory()
    try:
        path.unlink()
    except FileNotFoundError:
        return f"nothing is remembered: there is no {path}"
    return f"forgot what was measured on this machine: removed {path}"


@cache
def machine() -> dict[str, Any]:
    """What decides how fast this machine is: processor, cores, limits on threads, graphics cards."""
    from ..engine import gpu_facts

    name, cores = processor_name(), len(usable_processors())
    cards = [str(card.get("name")) for card in gpu_facts.this_machine().get("cards") or []]
    limits = {name: os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)}
    return {"system": platform.system(), "processor": name, "cores": cores, "cards": cards, "limits": limits}


def engine_version(backend: str, isolate: bool = False) -> str:
    """Version of an engine as it is installed here, without importing it; "?" where nothing tells."""
    if backend == "numpy":
        return np.__version__
    row = registry.ROWS.get(backend)
    if row is None or in_process(backend, isolate):
        for name in (row.distributions or (row.requires or backend,)) if row else (backend,):
            with contextlib.suppress(PackageNotFoundError):
                return version(name)
        return "?"
    try:
        there = environments.find(backend)
    except (BackendUnavailable, ConfigError):
        return "?"
    return "?" if there is None else there.versions.get(backend, there.recipe or there.python)


class Memory:
    """What this machine remembers of one net, and of its engines.

    Parameters
    ----------
    fingerprint : str
        Of the plan.
    shape : tuple
        What else decides the speed of its batches.
    load : Load
        What a batch asks.
    isolate : bool

    Attributes
    ----------
    notes : list of str
        What could not be used, and why.
    """

    def __init__(self, fingerprint: str, shape: tuple, load: Load, isolate: bool = False) -> None:
        from .. import __version__

        self._load, self._isolate, self.notes = load, isolate, list[str]()
        self._machine = _digest(machine())
        self._key = _digest([fingerprint, list(shape), __version__, platform.python_version()])
        self._own = self._here(self._read())

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(place_of_memory().read_text("utf-8"))
            if data["schema"] != SCHEMA or not isinstance(data["machines"], dict):
                raise ValueError(f"schema {data['schema']}")
        except (FileNotFoundError, NotADirectoryError):
            return {"schema": SCHEMA, "machines": {}}
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.notes.append(f"what was remembered can't be read and is measured anew ({error})")
            return {"schema": SCHEMA, "machines": {}}
        return data

    def _here(self, data: dict[str, Any]) -> dict[str, Any]:
        """Of all data, those of this machine."""
        own = data["machines"].setdefault(self._machine, {})
        for name in ("engines", "nets"):
            own.setdefault(name, {})
        return own

    def sample(self, candidate: Candidate, here: bool = False) -> Sample | None:
        """What the candidate took at this net, if that is known; `here` tells that its engine is started already."""
        row = self._own["nets"].get(self._key, {}).get("rows", {}).get(_name(candidate))
        if row is None:
            return None
        now = engine_version(candidate.backend, self._isolate)
        if row.get("version") != now:
            note = f"{candidate}: measured anew, the engine was {row.get('version')} and is {now}"
            self.notes += [] if note in self.notes else [note]
            return None
        try:
            sample = Sample(float(row["start"]), float(row["compile"]), float(row["epoch"]),
                            tuple(map(float, row["runs"])), dict(row["record"]))  # fmt: skip
            return replace(sample, start=0.0) if here else sample
        except (KeyError, TypeError, ValueError) as error:
            self.notes.append(f"{candidate}: measured anew, what was remembered can't be read ({error!r})")
            return None

    def guess(self, candidate: Candidate) -> Guess | None:
        """What is expected after the last net of the same kind, whichever it was."""
        row, kind = self._own["engines"].get(_engine_name(candidate), {}), self._load.kind
        if row.get("version") != engine_version(candidate.backend, self._isolate) or kind not in row:
            return None
        try:
            return Guess(float(row["start"]), float(row[kind]["compile"]), self._load.seconds(row[kind]["rate"]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            self.notes.append(f"{candidate.backend}: what was remembered of it can't be read and is not used")
            return None

    def settled(self, epochs: int, candidates: Iterable[str]) -> dict[str, str] | None:
        """Why candidates were left out of the search for that many epochs that is remembered; None where there is none.

        One that did not know all of these candidates is no use.
        """
        reasons = self._own["nets"].get(self._key, {}).get("settled", {}).get(str(epochs))
        return reasons if isinstance(reasons, dict) and set(candidates) <= set(reasons) else None

    def store(self, rows: Sequence[Row], epochs: int | None) -> None:
        """Keep what was measured, or note why that can't be; `epochs` only where the search was not cut short."""
        try:
            self._store(rows, epochs)
        except (OSError, ConfigError) as error:
            self.notes.append(f"what was measured can't be remembered ({error})")

    def _store(self, rows: Sequence[Row], epochs: int | None) -> None:
        path = place_of_memory()
        with held(path.with_name(".tuning.lock"), lambda: None):
            data = self._read()
            own = self._own = self._here(data)
            net = own["nets"].setdefault(self._key, {"rows": {}, "settled": {}})
            self._put_rows(rows, net["rows"], own["engines"])
            if epochs is not None:
                net["settled"][str(epochs)] = {str(row.candidate): row.reason for row in rows}
            net["when"] = datetime.now(UTC).isoformat(timespec="seconds")
            latest = sorted(own["nets"], key=lambda key: own["nets"][key].get("when", ""))[-NETS:]
            own["nets"] = {key: own["nets"][key] for key in latest}
            own["machine"] = machine()
            with drafted(path, private=True) as draft:
                draft.write_text(json.dumps(data, indent=1), "utf-8")

    def _put_rows(self, rows: Sequence[Row], kept: dict[str, Any], engines: dict[str, Any]) -> None:
        kind = self._load.kind
        for row in rows:
            if row.sample is None or row.remembered:
                continue
            one, sample = row.candidate, row.sample
            engine = self._engine(engines, one, sample)
            compiling = sample.compile
            if sample.record.get("compiled_before"):
                compiling = engine.get(kind, {}).get("compile", prior_costs(one.backend, one.device)[1])
            if self._load.flops and one.threads is None:
                engine[kind] = {"compile": compiling, "rate": self._load.flops / sample.batch}
            kept[_name(one)] = {
                "start": engine["start"], "compile": compiling, "epoch": sample.epoch, "runs": list(sample.runs),
                "version": engine["version"], "record": {key: sample.record.get(key) for key in RECORDED},
            }  # fmt: skip

    def _engine(self, engines: dict[str, Any], one: Candidate, sample: Sample) -> dict[str, Any]:
        """The entry of an engine, with the seconds it takes to start where it is not there yet."""
        now, name = engine_version(one.backend, self._isolate), _engine_name(one)
        if engines.get(name, {}).get("version") != now:
            engines[name] = {"version": now}
        if sample.start > COLD:
            engines[name]["start"] = sample.start
        engines[name].setdefault("start", prior_costs(one.backend, one.device)[0])
        return engines[name]


def _engine_name(candidate: Candidate) -> str:
    return f"{candidate.backend} {candidate.device}"


def _name(candidate: Candidate) -> str:
    return json.dumps([candidate.backend, candidate.device, candidate.threads, candidate.options], sort_keys=True)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
