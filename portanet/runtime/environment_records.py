"""What is written about environments: a stamp in each that portanet made, and a register of the user's own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portanet.exceptions import BackendUnavailable
from portanet.runtime import config
from portanet.runtime.file_lock import held
from portanet.runtime.recipes import RECIPES
from portanet.runtime.whole_file import drafted
from portanet.runtime.worker_variables import worker_variables

__all__ = ["REGISTER", "STAMP", "Environment", "known", "made", "place_of", "register", "write_stamp"]

STAMP = "portanet-environment.json"
REGISTER = "environments.json"
_STAMPED = ("python", "site", "versions", "created", "recipe")


@dataclass(frozen=True)
class Environment:
    """Where an engine is installed, apart from this process.

    Attributes
    ----------
    engine : str
    python : str
        Absolute path of the interpreter to launch.
    managed : bool
        Whether portanet made it; else the user registered it.
    versions : dict of str to str
        Of ``"python"``, the engine and ``"numpy"``, as its self-test told them.
    site : str
        The folder of its packages.
    root : str
        Its own folder.
    created : str
        When it passed its self-test and was stamped or registered; ISO format, UTC.
    recipe : str
        Digest of the lock it was made from; empty for the user's own.
    fault : str
        Why it cannot be used, and what to do; empty where it can.
    """

    engine: str
    python: str
    managed: bool
    versions: dict[str, str]
    site: str
    root: str
    created: str = ""
    recipe: str = ""
    fault: str = ""

    @property
    def outdated(self) -> bool:
        """Whether it was made from another lock than this version of portanet brings."""
        return self.managed and self.recipe != RECIPES[self.engine].digest

    def variables(self, threads: int | None = None) -> dict[str, str]:
        """All environment variables of a worker: the user's, cleaned, and what the engine needs before its import.

        Parameters
        ----------
        threads : int, optional
            At most so many CPU threads; by default as the user's variables and the engine say.
        """
        return worker_variables(self.engine, self.python, self.site, threads)


def known(engine: str) -> Environment | None:
    """The environment of an engine, one the user registered before one portanet made; with its `fault`, if any."""
    row = _read_register().get(engine)
    if row is None:
        return made(engine)
    try:
        there = Environment(engine, managed=False, **row)
    except TypeError as error:
        raise _unreadable_register(error) from error
    return _with_interpreter(there, f"portanet env use {engine} /path/to/python")


def made(engine: str) -> Environment | None:
    """The environment at its place, whose stamp tells paths inside it relative to its folder."""
    root = place_of(engine)
    if engine not in RECIPES or not (root / STAMP).is_file():
        return None
    command = f"portanet env repair {engine}"
    try:
        row = json.loads((root / STAMP).read_text("utf-8"))
        row = {name: row[name] for name in _STAMPED}
        row.update(python=str(root / row["python"]), site=str(root / row["site"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        fault = f"environment of {engine!r}: {root / STAMP} cannot be read ({error!r}); run: {command}"
        return Environment(engine, str(root / "bin" / "python"), True, {}, str(root), str(root), fault=fault)
    return _with_interpreter(Environment(engine, managed=True, root=str(root), **row), command)


def _with_interpreter(there: Environment, command: str) -> Environment:
    if os.access(there.python, os.X_OK):
        return there
    fault = f"environment of {there.engine!r}: its interpreter {there.python} is gone or does not run; run: {command}"
    return replace(there, fault=fault)


def place_of(engine: str) -> Path:
    """Where portanet puts an engine's environment."""
    return config.home() / "envs" / engine


def _read_register() -> dict[str, dict[str, Any]]:
    path = config.home() / REGISTER
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable_register(error) from error


def _unreadable_register(error: Exception) -> BackendUnavailable:
    return BackendUnavailable(
        f"the list of registered environments {config.home() / REGISTER} cannot be read ({error}); remove it, and run "
        f"portanet env use again for what it held"
    )


def write_stamp(root: Path, **facts: Any) -> None:
    """Stamp the environment in a folder; paths are relative to it, so that it may be moved."""
    _write_json(root / STAMP, facts)


def register(engine: str, row: dict[str, Any] | None) -> None:
    """Note an environment of the user's own, or forget it."""
    with held(config.home() / "envs" / ".register.lock", lambda: None):
        rows = {name: kept for name, kept in _read_register().items() if name != engine}
        _write_json(config.home() / REGISTER, rows if row is None else {**rows, engine: row})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with drafted(path) as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
