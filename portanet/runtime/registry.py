"""The engines by name: the only place in portanet that knows them.

An engine is a row of :data:`ROWS`, or an entry point of the group ``portanet.backends`` that a third party's
package declares::

    [project.entry-points."portanet.backends"]
    myengine = "myengine.adapter:backend"

In both cases a function ``backend()`` returns the adapter: an object with ``name``, ``version``,
``devices()`` and ``compile(plan, device, options)``. A row of the table wins over an entry point of the same
name, an entry point over a name that is only planned. Nothing is imported before it is asked for.
"""

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portanet.exceptions import BackendNotFound, BackendUnavailable, DeclarationError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "PLANNED", "ROWS", "BackendRow", "check", "known", "load", "names", "need_float_type"]

GROUP = "portanet.backends"
PLANNED = ("cntk", "mxnet", "theano")
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
        The command that brings that package.
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
    )
}  # fmt: skip


def known() -> list[str]:
    """Every name that means an engine, sorted: with an adapter, registered by a package, or planned.

    Examples
    --------
    >>> {"jax", "numpy", "tensorflow", "torch"} <= set(known())
    True
    """
    return sorted({*ROWS, *PLANNED, *_entry_points()})


def names() -> list[str]:
    """The names :func:`load` has an adapter for here, sorted.

    Examples
    --------
    >>> "numpy" in names()
    True
    """
    installed = (name for name, row in ROWS.items() if _is_installed(row))
    return sorted({*installed, *_entry_points()})


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
    if isinstance(name, str) and (name in ROWS or name in PLANNED):
        return name
    everything = known()
    if name not in everything:
        raise BackendNotFound(
            f"unknown backend {name!r}{did_you_mean(name, everything)}; known: {', '.join(everything)}"
        )
    return name


@functools.cache
def load(name: str) -> Any:
    """Import an engine's adapter and return its backend object; later calls return the same one.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    object
        With ``name``, ``version``, ``devices()`` and ``compile(plan, device, options)``.

    Raises
    ------
    BackendNotFound
        When no engine has this name.
    BackendUnavailable
        When the engine is planned, is not installed, is too old, or fails to import.

    Examples
    --------
    >>> load("cntk")
    Traceback (most recent call last):
        ...
    portanet.exceptions.BackendUnavailable: backend 'cntk' has no adapter in this version (...)...
    """
    if name in ROWS:
        return _load_row(ROWS[name])
    registered = _entry_points().get(check(name))
    if registered:
        return _load_entry_point(registered)
    from portanet import __version__

    raise BackendUnavailable(
        f"backend {name!r} has no adapter in this version ({__version__}); available: {', '.join(names())}"
    )


def _is_installed(row: BackendRow) -> bool:
    return row.requires is None or importlib.util.find_spec(row.requires) is not None


def _load_row(row: BackendRow) -> Any:
    if not _is_installed(row):
        raise BackendUnavailable(
            f"backend {row.name!r} is not installed: it needs the package {row.requires!r} "
            f"(Python {row.python}); run: {row.install}"
        )
    _need_version(row)
    try:
        factory = importlib.import_module(f"portanet.engine.backends.{row.module}").backend
    except Exception as error:  # a broken installation may fail in any way
        raise BackendUnavailable(
            f"backend {row.name!r} is installed but cannot be imported: {type(error).__name__}: {error}; "
            f"reinstall it: {row.install} --force-reinstall"
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
                f"needed; run: {row.install} --upgrade"
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


def _load_entry_point(points: list["EntryPoint"]) -> Any:
    name = points[0].name
    owners = " and ".join(f"'{point.dist.name if point.dist else 'unknown'}'" for point in points)
    if len(points) > 1:
        raise BackendUnavailable(f"backend {name!r} is registered by {owners}; uninstall all but one of these packages")
    where = f"backend {name!r} (from the package {owners})"
    try:
        factory = points[0].load()
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
