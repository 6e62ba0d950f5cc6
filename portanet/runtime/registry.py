"""The engines by name: the only place in portanet that knows them.

An engine is a row of :data:`ROWS`, or an entry point of the group ``portanet.backends`` that a third party's
package declares::

    [project.entry-points."portanet.backends"]
    myengine = "myengine.adapter:backend"

In both cases a function ``backend()`` returns the adapter: an object with ``name``, ``version``,
``devices()`` and ``compile(plan, device, options)``. A row of the table wins over an entry point of the same
name. Nothing is imported before it is asked for.

An engine that can be imported here is used here; any other runs in a worker process, under the interpreter of the
environment that `portanet.runtime.environments` has for it.
"""

import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portanet.exceptions import BackendNotFound, BackendUnavailable, ConfigError, DeclarationError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from .client import RemoteBackend
    from .worker_process import Launch

__all__ = [
    "GROUP", "ROWS", "BackendRow", "check", "is_importable", "known", "load", "names", "need_float_type", "why_absent",
]  # fmt: skip

GROUP = "portanet.backends"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_CONTRACT = ("name", "version", "devices", "compile")


@dataclass(frozen=True)
class BackendRow:
    """One engine that portanet brings an adapter for.

    Attributes
    ----------
    name : str
        What a user writes.
    module : str
        The adapter's module in ``portanet.engine.backends``.
    requires : str or None
        The package the adapter imports, where it needs one beside NumPy.
    install : str
        The command that brings that package, or the environment it lives in.
    python : str
        The Python versions the package runs on.
    minimum : str
        The oldest version of the package that will do.
    distributions : tuple of str
        Names under which the package is published, where they differ from `requires`.
    float_types : tuple of str
        What `floatX` may be.
    lacks : frozenset of str
        Operators that the engine cannot compute.
    own : str or None
        What it needs that few environments of today have, so that it lives in one of its own.
    """

    name: str
    module: str
    requires: str | None
    install: str
    python: str
    minimum: str = "0"
    distributions: tuple[str, ...] = ()
    float_types: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")
    lacks: frozenset[str] = frozenset()
    own: str | None = None

    @property
    def adapter(self) -> str:
        """Where the adapter is, as ``module:function``."""
        return f"portanet.engine.backends.{self.module}:backend"

    @property
    def missing(self) -> str:
        """What a user is told where it is not installed."""
        needs = f"the package {self.requires!r} (Python {self.python})"
        if self.own:
            needs = f"{self.own} in an environment of its own"
        return f"backend {self.name!r} is not installed: it needs {needs}; run: {self.install}"

    @property
    def renew(self) -> str:
        """How to install it anew, or a newer one, in this environment."""
        if not self.own:
            return f"{self.install} --upgrade --force-reinstall"
        return f"pip uninstall {(self.distributions or (self.requires,))[0]}; {self.install}"


ROWS = {
    row.name: row
    for row in (
        BackendRow("numpy", "numpy_backend", None, "pip install numpy", ">=3.6", float_types=("float32", "float64")),
        BackendRow("torch", "torch_backend", "torch", "pip install torch", ">=3.10", "2.4"),
        BackendRow("jax", "jax_backend", "jax", "pip install jax", ">=3.11", "0.7"),
        BackendRow(
            "tensorflow", "tensorflow_backend", "tensorflow", "pip install tensorflow", ">=3.10", "2.18",
            ("tensorflow", "tensorflow-cpu"),
        ),
        BackendRow(
            "mxnet", "mxnet_backend", "mxnet", "portanet env create mxnet", ">=3.6", "1.9",
            float_types=("float32", "float64"), own="NumPy before 1.24 (Python 3.6 to 3.11)",
        ),
        BackendRow(
            "theano", "theano_backend", "theano", "portanet env create theano", ">=3.6,<3.12", "1.1",
            ("theano-pymc",), ("float32", "float64"), own="NumPy before 1.24 (Python 3.6 to 3.10)",
        ),
        BackendRow(
            "cntk", "cntk_backend", "cntk", "portanet env create cntk", "==3.6.*", "2.7",
            ("cntk", "cntk-gpu"), ("float32", "float64"), own="Python 3.6",
        ),
    )
}  # fmt: skip


def known() -> list[str]:
    """Every name that means an engine, sorted: those with an adapter here, and those registered by a package.

    Examples
    --------
    >>> {"jax", "numpy", "tensorflow", "torch"} <= set(known())
    True
    """
    return sorted({*ROWS, *_entry_points()})


def names() -> list[str]:
    """The names of engines that are installed, here or in an environment of their own, sorted.

    Examples
    --------
    >>> "numpy" in names()
    True
    """
    return sorted({*(name for name in ROWS if not why_absent(name)), *_entry_points()})


def why_absent(name: str) -> str:
    """Why an engine can't be had, and what to do; "" where it is installed, here or in an environment of its own.

    Parameters
    ----------
    name : str
        One of `known`.

    Examples
    --------
    >>> why_absent("numpy")
    ''
    """
    if is_importable(name):
        return ""
    try:
        return ROWS[name].missing if _environment(name) is None else ""
    except (BackendUnavailable, ConfigError) as error:  # there is one, but broken; or no place for any
        return str(error)


def is_importable(name: str) -> bool:
    """Whether an engine can be imported in this process, without trying; what another package registers can.

    Examples
    --------
    >>> is_importable("numpy")
    True
    """
    row = ROWS.get(name)
    return row is None or row.requires is None or importlib.util.find_spec(row.requires) is not None


def check(name: str) -> str:
    """Return `name` unchanged when it means an engine.

    Raises
    ------
    BackendNotFound
        When it does not; the message lists the known names.

    Examples
    --------
    >>> check("nunpy")
    Traceback (most recent call last):
        ...
    portanet.exceptions.BackendNotFound: unknown backend 'nunpy' (did you mean 'numpy'?); known: ...
    """
    if isinstance(name, str) and name in ROWS:
        return name
    everything = known()
    if name not in everything:
        raise BackendNotFound(
            f"unknown backend {name!r}{did_you_mean(name, everything)}; known: {', '.join(everything)}"
        )
    return name


@functools.cache
def load(name: str, isolate: bool = False, threads: int | None = None) -> Any:
    """An engine's backend object; later calls return the same one.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    isolate : bool
        Run it in a worker process even where it can be imported here: in its environment, else under this interpreter.
    threads : int, optional
        How many threads a worker is started with; means nothing to an engine in this process.

    Returns
    -------
    object
        With ``name``, ``version``, ``devices()`` and ``compile(plan, device, options)``.

    Raises
    ------
    BackendNotFound
        When no engine has this name.
    BackendUnavailable
        When the engine is not installed, is too old, or fails to import.

    Examples
    --------
    >>> load("numpy").name
    'numpy'
    """
    if threads is not None:
        engine = load(name, True) if isolate else load(name)
        return engine.with_threads(threads) if hasattr(engine, "with_threads") else engine
    if name not in ROWS:
        points = _entry_points()[check(name)]
        return _isolated(name, _only(points).value) if isolate else _load_entry_point(points)
    return _isolated(name, ROWS[name].adapter) if isolate else _load_here_or_there(ROWS[name])


def _load_here_or_there(row: BackendRow) -> Any:
    """The engine in this process; where that can't be, in a worker."""
    if is_importable(row.name):
        try:
            return _load_row(row)
        except BackendUnavailable:
            if _environment(row.name) is None:
                raise
    elif _environment(row.name) is None:
        raise BackendUnavailable(row.missing)
    return _isolated(row.name, row.adapter)


def _isolated(name: str, adapter: str) -> "RemoteBackend":
    """The engine in a worker."""
    from .client import RemoteBackend

    if not is_importable(name) and _environment(name) is None:
        raise BackendUnavailable(ROWS[name].missing)
    return RemoteBackend(name, lambda threads: _launch(name, adapter, threads))


def _launch(name: str, adapter: str, threads: int | None) -> "Launch":
    """How a worker of the engine is started: in its environment as it is now, else under this interpreter."""
    from . import config
    from .worker_pool import shared_threads
    from .worker_process import Launch

    threads = shared_threads(threads)
    seconds = config.get("worker_timeout")
    own = _environment(name)
    if own is not None:
        return Launch.of(name, adapter, own.python, own.variables(threads), seconds=seconds)
    counts = dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads is not None else {}
    path = tuple(os.path.abspath(folder) for folder in sys.path)
    return Launch.of(name, adapter, sys.executable, {**os.environ, **counts}, path=path, seconds=seconds)


def _environment(name: str) -> Any:
    """The environment that was made or registered for an engine, or None."""
    from . import environments

    return environments.find(name)


def _load_row(row: BackendRow) -> Any:
    _need_version(row)
    try:
        factory = importlib.import_module(f"portanet.engine.backends.{row.module}").backend
    except Exception as error:  # a broken installation may fail in any way
        raise BackendUnavailable(
            f"backend {row.name!r} is installed but cannot be imported: {type(error).__name__}: {error}; "
            f"reinstall it: {row.renew}"
        ) from error
    return _made(factory, f"backend {row.name!r}")


def _need_version(row: BackendRow) -> None:
    from importlib.metadata import PackageNotFoundError, version

    for distribution in row.distributions or ((row.requires,) if row.requires else ()):
        try:
            found = version(distribution)
        except PackageNotFoundError:
            continue
        if _numbers(found) < _numbers(row.minimum):
            raise BackendUnavailable(
                f"backend {row.name!r} is too old: {distribution} {found} is installed, {row.minimum} or newer is "
                f"needed; run: {row.renew}"
            )
        return


def _numbers(version: str) -> tuple[int, ...]:
    """The leading whole numbers of a version.

    >>> _numbers("2.13.0+cpu"), _numbers("0.7rc1")
    ((2, 13, 0), (0, 7))
    """
    return tuple(map(int, re.findall(r"(?:^|(?<=\.))\d+", version.partition("+")[0])))


def need_float_type(name: str, floatX: str) -> None:
    """Refuse a float type that the engine does not compute in.

    Raises
    ------
    DeclarationError
        Names what the engine has, and the engines that have the type.

    Examples
    --------
    >>> need_float_type("numpy", "bfloat16")
    Traceback (most recent call last):
        ...
    portanet.exceptions.DeclarationError: floatX='bfloat16': backend 'numpy' computes in float32, float64; ...
    """
    row = ROWS.get(name)
    if row is None or floatX in row.float_types:
        return
    able = ", ".join(other.name for other in ROWS.values() if floatX in other.float_types) or "none"
    raise DeclarationError(
        f"floatX={floatX!r}: backend {name!r} computes in {', '.join(row.float_types)}; engines for {floatX}: {able}"
    )


def _entry_points() -> dict[str, list["EntryPoint"]]:
    from importlib.metadata import entry_points

    registered: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point not in registered.setdefault(point.name, []):
            registered[point.name].append(point)
    return registered


def _only(points: list["EntryPoint"]) -> "EntryPoint":
    if len(points) > 1:
        raise BackendUnavailable(
            f"backend {points[0].name!r} is registered by {_owners(points)}; uninstall all but one of these packages"
        )
    return points[0]


def _owners(points: list["EntryPoint"]) -> str:
    return " and ".join(f"'{point.dist.name if point.dist else 'unknown'}'" for point in points)


def _load_entry_point(points: list["EntryPoint"]) -> Any:
    point = _only(points)
    where = f"backend {point.name!r} (from the package {_owners(points)})"
    try:
        factory = point.load()
    except Exception as error:
        raise BackendUnavailable(
            f"{where} cannot be imported: {type(error).__name__}: {error}; reinstall that package"
        ) from error
    return _made(factory, where)


def _made(factory: Callable[[], Any], where: str) -> Any:
    try:
        backend = factory()
    except Exception as error:
        raise BackendUnavailable(f"{where} failed to start: {type(error).__name__}: {error}") from error
    missing = [attribute for attribute in _CONTRACT if not hasattr(backend, attribute)]
    if missing:
        raise BackendUnavailable(
            f"{where} breaks the adapter's contract: its backend() gave a {type(backend).__name__} "
            f"without {', '.join(missing)}"
        )
    return backend
