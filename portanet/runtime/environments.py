"""The environments that engines live in: found, made, repaired, removed, and the user's own registered.

An engine that cannot share an environment with this process has one of its own, ``envs/<engine>`` under
:func:`portanet.runtime.config.home`. It is made beside its place, tested there, stamped, and only then renamed, so that
what stands at its place is whole; what a killed creation left behind is swept by the next one. A lock lets one
process at a time change an engine's environment. A folder without a stamp is no environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from portanet.exceptions import BackendUnavailable, EnvironmentFault
from portanet.runtime import config, installing, requirements
from portanet.runtime.environment_records import Environment, known, made, place_of, register, write_stamp
from portanet.runtime.file_lock import held
from portanet.runtime.interpreters import Interpreter, choose, probe
from portanet.runtime.mpi_stub import write_mpi_stubs
from portanet.runtime.recipes import RECIPES, Recipe, need_platform, recipe
from portanet.runtime.selftest import selftest
from portanet.runtime.worker_variables import worker_variables

__all__ = ["Environment", "create", "find", "listing", "remove", "repair", "use"]

Say = Callable[[str], object]


def find(engine: str) -> Environment | None:
    """The environment of an engine: the one the user registered, else the one portanet made, else None.

    Nothing is launched.

    Raises
    ------
    BackendUnavailable
        When there is one that cannot be used: its interpreter is gone, or what describes it cannot be read.

    Examples
    --------
    >>> find("no-such-engine") is None
    True
    """
    there = known(engine)
    if there is not None and there.fault:
        raise BackendUnavailable(there.fault)
    return there


def listing() -> list[Environment]:
    """Every environment by name, those with a `fault` too."""
    return [there for engine in sorted(RECIPES) if (there := known(engine)) is not None]


def create(engine: str, say: Say = lambda line: None, force: bool = False) -> Environment:
    """Make an engine's environment, or return the one that is there.

    Parameters
    ----------
    engine : str
        A key of :data:`portanet.runtime.recipes.RECIPES`.
    say : callable, optional
        Called with a line for each step.
    force : bool
        Make it anew where it is there.

    Returns
    -------
    Environment
        The one portanet made; a registered one goes before it until it is removed.

    Raises
    ------
    BackendNotFound
        When there is no recipe of this name.
    EnvironmentFault
        When it cannot be made; ``reason`` tells why in a word.
    """
    wanted = recipe(engine)
    with _one_at_a_time(engine, say):
        there = made(engine)
        if there is not None and not (there.fault or there.outdated or force):
            say(f"{engine}: there already, {there.root}")
            return there
        return _build(wanted, say)


def repair(engine: str, say: Say = lambda line: None) -> Environment:
    """Test an engine's environment and make it anew where it fails, is outdated or is missing.

    Raises
    ------
    EnvironmentFault
        Also when a registered environment fails, which is the user's to mend.
    """
    there = known(recipe(engine).engine)
    if there is None or there.fault or there.outdated:
        say(f"{engine}: {_what_ails(there)}")
    else:
        try:
            selftest(there.engine, there.python, there.variables())
        except EnvironmentFault as fault:
            if not there.managed:
                raise
            say(str(fault))
        else:
            say(f"{engine}: passes its self-test, {there.root}")
            return there
    if there is not None and not there.managed:
        raise EnvironmentFault(there.fault, reason="selftest", fix=f"portanet env use {engine} /path/to/python")
    return create(engine, say, force=True)


def remove(engine: str, say: Say = lambda line: None) -> Environment:
    """Forget the registered environment of an engine, or delete the one portanet made; the former goes first.

    Returns
    -------
    Environment
        What was removed.

    Raises
    ------
    EnvironmentFault
        When there is none.
    """
    wanted = recipe(engine)
    with _one_at_a_time(engine, say):
        there = known(wanted.engine)
        if there is None:
            able = ", ".join(one.engine for one in listing()) or "none"
            raise EnvironmentFault(f"engine {engine!r} has no environment; there are: {able}", reason="missing")
        if there.managed:
            _delete(Path(there.root))
            shutil.rmtree(config.home() / "cache" / engine, ignore_errors=True)
        else:
            register(engine, None)
    return there


def use(engine: str, python: str | os.PathLike, say: Say = lambda line: None) -> Environment:
    """Register an environment of the user's own for an engine, after its self-test.

    Parameters
    ----------
    engine : str
    python : str or path
        Its interpreter, of any version that the engine and portanet's adapter (Python 3.6 or newer, NumPy) run on.
    say : callable, optional

    Raises
    ------
    EnvironmentFault
        When the interpreter does not run, or cannot import the engine; says what it said.
    """
    wanted = recipe(engine)
    path = os.path.abspath(os.path.expanduser(os.fspath(python)))
    answer = probe(path)
    if isinstance(answer, str):
        raise EnvironmentFault(
            f"environment for {engine!r}: {python}: {answer}; give the path of a Python that has {engine} installed",
            reason="interpreter", fix=f"portanet env use {engine} /path/to/python",
        )  # fmt: skip
    site, root = installing.site_of(path)
    say(f"{engine}: testing {path} (Python {answer.version})")
    versions = selftest(wanted.engine, path, worker_variables(engine, path, site))
    with _one_at_a_time(engine, say):
        register(
            engine,
            {"python": path, "site": site, "root": root, "versions": versions, "created": _now(), "recipe": ""},
        )
    there = find(engine)
    assert there is not None
    return there


def _what_ails(there: Environment | None) -> str:
    if there is None:
        return "there is none yet"
    return there.fault or "it was made from an older list of packages"


def _build(wanted: Recipe, say: Say) -> Environment:
    engine, folder, began = wanted.engine, _folder(), time.monotonic()
    need_platform(wanted)
    for left in (*folder.glob(f".new-{engine}-*"), *folder.glob(f".old-{engine}-*")):
        say(f"{engine}: sweeping what an interrupted run left, {left}")
        shutil.rmtree(left, ignore_errors=True)  # an orphaned uv may still write there; then the next run sweeps it
    python = choose(engine, wanted.pythons)
    say(f"{engine}: Python {python.version} ({python.source}, {python.path})")
    requirements.check(wanted, python, folder)
    fresh = Path(tempfile.mkdtemp(prefix=f".new-{engine}-", dir=folder))
    fresh.chmod(0o755)
    try:
        versions = _fill(wanted, python, fresh, say)
        _swap(fresh, place_of(engine))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    there = made(engine)
    assert there is not None
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    say(f"{engine}: ready in {time.monotonic() - began:.0f} s ({told}), {there.root}")
    return there


def _fill(wanted: Recipe, python: Interpreter, fresh: Path, say: Say) -> dict[str, str]:
    """Install, test and stamp the environment in the folder `fresh`; its versions."""
    from portanet import __version__

    engine = wanted.engine
    installing.make_empty(wanted, python, fresh)
    say(f"{engine}: installing the packages of {wanted.lock}")
    installing.install(wanted, fresh)
    inside = str(installing.python_in(fresh))
    site, _ = installing.site_of(inside)
    if wanted.needs_mpi:
        write_mpi_stubs(Path(site, "cntk", "libs"))
    say(f"{engine}: testing")
    cache = fresh / "cache"
    versions = selftest(engine, inside, worker_variables(engine, inside, site, cache=cache))
    shutil.rmtree(cache, ignore_errors=True)
    write_stamp(
        fresh, engine=engine, python=os.path.relpath(inside, fresh), site=os.path.relpath(site, fresh),
        versions=versions, created=_now(), recipe=wanted.digest, base=python.path, portanet=__version__,
    )  # fmt: skip
    return versions


def _swap(fresh: Path, place: Path) -> None:
    if place.exists():
        _delete(place, then=lambda: fresh.rename(place))
    else:
        fresh.rename(place)


def _delete(place: Path, then: Callable[[], object] = lambda: None) -> None:
    """Take a folder away in one step; `then` happens before its content is deleted, which takes a while."""
    old = Path(tempfile.mkdtemp(prefix=f".old-{place.name}-", dir=place.parent))
    place.rename(old / place.name)
    then()
    shutil.rmtree(old)


def _folder() -> Path:
    folder = config.home() / "envs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"environments are kept in {folder}, which cannot be made: {error.strerror}; choose another folder: "
            f"PORTANET_HOME=/path",
            reason="path", fix="PORTANET_HOME=/path",
        ) from error  # fmt: skip
    return folder


@contextlib.contextmanager
def _one_at_a_time(engine: str, say: Say) -> Iterator[None]:
    with held(_folder() / f".{engine}.lock", lambda: say(f"{engine}: waiting for another process to finish")):
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
