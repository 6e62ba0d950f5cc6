"""The environment variables a worker starts with: the user's, cleaned, and what the engine needs before its import."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from portanet.exceptions import EnvironmentFault
from portanet.runtime import config
from portanet.runtime.recipes import RECIPES
from portanet.runtime.whole_file import drafted

__all__ = ["worker_variables"]

_PYTHON = re.compile(r"PYTHON(HOME|PATH|STARTUP|USERBASE|EXECUTABLE|PLATLIBDIR)|__PYVENV_LAUNCHER__|VIRTUAL_ENV.*")
_KEPT_THEANO_FLAGS = ("cxx", "gcc__cxxflags", "gcc.cxxflags")
_MPI_LIBRARY = "libmpi.so.12"


def worker_variables(
    engine: str,
    python: str,
    site: str,
    threads: int | None = None,
    cache: Path | None = None,
    user: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """All variables for a worker of an engine.

    Parameters
    ----------
    engine : str
    python : str
        The interpreter that will be launched.
    site : str
        Its folder of packages.
    threads : int, optional
        At most so many CPU threads; by default as the user's variables and the engine say.
    cache : Path, optional
        Where the engine may keep compiled files; by default ``cache/<engine>`` under :func:`config.home`.
    user : mapping of str to str, optional
        The user's variables; by default ``os.environ``.

    Returns
    -------
    dict of str to str
        Without the variables that would lead another interpreter astray (``PYTHONPATH``, ``VIRTUAL_ENV``, ...).

    Examples
    --------
    >>> found = worker_variables("cntk", "/env/bin/python", "/env/lib", 2, user={"PATH": "/bin", "PYTHONPATH": "/mine"})
    >>> found["OMP_THREAD_LIMIT"], found["PATH"], "PYTHONPATH" in found
    ('2', '/env/bin:/bin', False)
    """
    given = os.environ if user is None else user
    variables = {name: value for name, value in given.items() if not _PYTHON.fullmatch(name)}
    variables["PATH"] = os.pathsep.join([str(Path(python).parent), variables.get("PATH", os.defpath)])
    wanted = RECIPES.get(engine)
    if wanted is None:
        thread_variables: tuple[str, ...] = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    else:
        thread_variables = wanted.thread_variables
        variables = {**wanted.defaults, **variables, **wanted.fixed}
        if wanted.needs_mpi:
            _hide_other_mpi(variables)
    if threads is not None:
        variables.update(dict.fromkeys(thread_variables, str(threads)))
    if engine == "theano":
        _settle_theano(variables, Path(site), cache or config.home() / "cache" / "theano")
    return variables


def _hide_other_mpi(variables: dict[str, str]) -> None:
    """MPICH's library has the name of Open MPI 1.10's, and this path is searched before the engine's own folder."""
    folders = [folder for folder in variables.pop("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    kept = [folder for folder in folders if not Path(folder, _MPI_LIBRARY).exists()]
    if kept:
        variables["LD_LIBRARY_PATH"] = os.pathsep.join(kept)


def _settle_theano(variables: dict[str, str], site: Path, cache: Path) -> None:
    """A settings file of portanet's own: paths may hold commas and spaces, which ``THEANO_FLAGS`` cannot."""
    pairs = [pair.strip() for pair in variables.pop("THEANO_FLAGS", "").split(",")]
    kept = [pair for pair in pairs if pair.partition("=")[0] in _KEPT_THEANO_FLAGS]
    if kept:
        variables["THEANO_FLAGS"] = ",".join(kept)
    lines = ["[global]", "device = cpu", f"base_compiledir = {cache}"]
    blas = next(iter(sorted(site.glob("scipy.libs/libopenblas*.so*"))), None)
    if blas is not None:
        flags = f"-L{blas.parent} -l:{blas.name} -Wl,-rpath,{blas.parent}"
        lines += ["", "[blas]", f"ldflags = {flags.replace('%', '%%')}"]
    settings = cache / f"{hashlib.sha256(str(site).encode()).hexdigest()[:12]}.theanorc"
    _write_where_it_differs(settings, "\n".join(lines) + "\n")
    variables["THEANORC"] = str(settings)


def _write_where_it_differs(path: Path, text: str) -> None:
    if path.is_file() and path.read_text("utf-8") == text:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with drafted(path, private=True) as draft:
            draft.write_text(text, "utf-8")
    except OSError as error:
        raise EnvironmentFault(
            f"Theano compiles into {path.parent}, which cannot be written to: {error.strerror}; choose another folder: "
            f"PORTANET_HOME=/path",
            reason="path", fix="PORTANET_HOME=/path",
        ) from error  # fmt: skip
