"""One resolver for every setting: what is its value, and who said so.

A setting is looked up in this order; the first place that has it wins:

1. the argument of the call;
2. the innermost :func:`config_context` that names it;
3. the environment (``PORTANET_BACKEND``, ``PORTANET_DEVICE``, ...; an empty variable counts as not set);
4. the project file: ``portanet.toml`` in the current folder or the nearest one above it, not farther up
   than the folder that holds ``.git``;
5. the user file: the one ``PORTANET_CONFIG`` names, else ``config.toml`` in the platform's configuration
   folder (``~/.config/portanet`` on Linux);
6. the default.

An engine's own options live in the table ``[options.<backend>]`` of a file, in
``PORTANET_OPTIONS_<BACKEND>=key=value,key=value`` and in ``config_context(options={"<backend>": {...}})``;
they are merged key by key along the same order. ``PORTANET_HOME`` moves the folder of the engines'
environments (:func:`home`), ``PORTANET_PYTHON_<BACKEND>`` names the interpreter that one is made with. Files are read
when a value is asked for, never at import, and read again when they change. Whatever is not understood is an error
that names the place and lists what is allowed. A relative ``data_dir`` in a file is relative to that file.
"""

import functools
import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portanet.exceptions import ConfigError, PortanetError, did_you_mean
from portanet.runtime import registry
from portanet.runtime.devices import parse_device

__all__ = [
    "FASTEST",
    "FLOAT_TYPES",
    "SETTINGS",
    "Resolved",
    "Setting",
    "config_context",
    "get",
    "home",
    "options",
    "resolve",
    "resolve_all",
]

FASTEST = "fastest"  # as a backend's name: the one that trains the net at hand soonest
FLOAT_TYPES = ("float32", "float64", "float16", "bfloat16")
PROJECT_FILE = "portanet.toml"
_TRUTH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True)
class Resolved:
    """A setting's value and the place it came from, such as ``"environment PORTANET_BACKEND"``."""

    value: Any
    source: str


@dataclass(frozen=True)
class Setting:
    """One setting: its default, its environment variable, and the function that reads its raw value."""

    name: str
    default: Any
    parse: Callable[[Any], Any]
    env: str
    help: str


Layer = dict[str, Resolved]  # settings by name, engine options as "options.<backend>.<key>"


def _read_backend(raw: Any) -> str:
    return raw if raw == FASTEST else registry.check(raw)


def _read_float_type(raw: Any) -> str:
    if isinstance(raw, str) and raw in FLOAT_TYPES:
        return raw
    raise ValueError(f"unknown floatX {raw!r}{did_you_mean(raw, FLOAT_TYPES)}; allowed: {', '.join(FLOAT_TYPES)}")


def _read_whole_number(raw: Any) -> int | None:
    if isinstance(raw, bool):
        return None
    try:
        return int(raw) if isinstance(raw, str) else operator.index(raw)
    except (TypeError, ValueError):
        return None


def _read_threads(raw: Any) -> int | None:
    if raw == "auto":
        return None
    number = _read_whole_number(raw)
    if number is None or number < 1:
        raise ValueError(f"threads {raw!r} is not a number of threads; allowed: 1, 2, 3, ... or 'auto'")
    return number


def _read_verbosity(raw: Any) -> int:
    number = _read_whole_number(raw)
    if number is None or number < 0:
        raise ValueError(f"verbosity {raw!r} is not a level; allowed: 0 (silent), 1, 2, ...")
    return number


def _read_seconds(raw: Any) -> float:
    try:
        seconds = float(raw)
    except (TypeError, ValueError):
        seconds = 0.0
    if isinstance(raw, bool) or not 0 < seconds < float("inf"):
        raise ValueError(f"worker_timeout {raw!r} is not a time; allowed: seconds, more than 0")
    return seconds


def _flag(name: str) -> Callable[[Any], bool]:
    def read(raw: Any) -> bool:
        if isinstance(raw, bool):
            return raw
        flag = _TRUTH.get(raw.lower()) if isinstance(raw, str) else None
        if flag is None:
            raise ValueError(f"{name} {raw!r} is neither yes nor no; allowed: true, false")
        return flag

    return read


def _read_folder(raw: Any) -> Path:
    if not isinstance(raw, str | os.PathLike) or not os.fspath(raw):
        raise ValueError(f"data_dir {raw!r} is not a folder's path; write it as text")
    return Path(raw).expanduser()


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "backend",
            "numpy",
            _read_backend,
            "PORTANET_BACKEND",
            "the engine that trains; 'fastest' measures which one trains the net at hand soonest",
        ),
        Setting(
            "device",
            "auto",
            lambda raw: str(parse_device(raw)),
            "PORTANET_DEVICE",
            "where it trains: auto, cpu, gpu or gpu:<index>",
        ),
        Setting("floatX", "float32", _read_float_type, "PORTANET_FLOATX", "the type that products are computed in"),
        Setting("threads", None, _read_threads, "PORTANET_THREADS", "CPU threads; 'auto' leaves it to the engine"),
        Setting("verbosity", 0, _read_verbosity, "PORTANET_VERBOSITY", "how much is printed while training"),
        Setting("data_dir", None, _read_folder, "PORTANET_DATA", "the folder that holds the data sets"),
        Setting(
            "reproducible",
            False,
            _flag("reproducible"),
            "PORTANET_REPRODUCIBLE",
            "the same random numbers on every engine, at some cost in speed",
        ),
        Setting(
            "isolate",
            False,
            _flag("isolate"),
            "PORTANET_ISOLATE",
            "run every engine in a worker process, also one that can be imported here",
        ),
        Setting(
            "worker_timeout",
            120.0,
            _read_seconds,
            "PORTANET_WORKER_TIMEOUT",
            "seconds that a worker process may take until its engine is imported",
        ),
    )
}
_OPTIONS_PREFIX = "PORTANET_OPTIONS_"
_PYTHON_PREFIX = "PORTANET_PYTHON_"
_OTHER_VARIABLES = ("PORTANET_CONFIG", "PORTANET_HOME")

_USER_FOLDERS = {
    "linux": {"config": ("XDG_CONFIG_HOME", ".config"), "data": ("XDG_DATA_HOME", ".local/share")},
    "win32": {"config": ("APPDATA", "AppData/Roaming"), "data": ("LOCALAPPDATA", "AppData/Local")},
    "darwin": {
        "config": ("XDG_CONFIG_HOME", "Library/Application Support"),
        "data": ("XDG_DATA_HOME", "Library/Application Support"),
    },
}

_context: ContextVar[Layer] = ContextVar("portanet_config", default={})  # noqa: B039 - replaced, never changed
_read_files: dict[tuple[str, Path], tuple[tuple[int, int], Layer]] = {}


def get(name: str, argument: Any = None) -> Any:
    """The value of a setting; :func:`resolve` also tells where it came from.

    Examples
    --------
    >>> get("floatX", "float64")
    'float64'
    """
    return resolve(name, argument).value


def resolve(name: str, argument: Any = None) -> Resolved:
    """Find a setting's value and its source.

    Parameters
    ----------
    name : str
        A key of :data:`SETTINGS`.
    argument : optional
        The value given in the call at hand; ``None`` means that none was given.

    Returns
    -------
    Resolved
        ``value`` and ``source``, the latter one of ``"argument"``, ``"config_context"``,
        ``"environment <variable>"``, ``"project file <path>"``, ``"user file <path>"`` and ``"default"``.

    Raises
    ------
    ConfigError
        When a place on the way holds an unknown setting or a value that is not allowed.
    BackendNotFound, DeviceNotFound
        When `argument` is not a backend's or a device's name.

    Examples
    --------
    >>> with config_context(device="cpu"):
    ...     resolve("device")
    Resolved(value='cpu', source='config_context')
    """
    setting = _setting(name, "portanet.runtime.config")
    if argument is not None:
        return Resolved(_parse(setting, argument, "argument"), "argument")
    for layer in _layers():
        if name in layer:
            return layer[name]
    return Resolved(setting.default, "default")


def resolve_all() -> dict[str, Resolved]:
    """Every setting with its source, then every engine option set somewhere, as ``options.<backend>.<key>``.

    Examples
    --------
    >>> with config_context(options={"numpy": {"block": 64}}):
    ...     resolve_all()["options.numpy.block"]
    Resolved(value=64, source='config_context')
    """
    merged = {name: Resolved(setting.default, "default") for name, setting in SETTINGS.items()}
    for layer in reversed(list(_layers())):
        merged.update(layer)
    return merged


def options(backend: str, argument: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options of one engine, merged key by key from every place.

    Parameters
    ----------
    backend : str
        The engine's name.
    argument : mapping of str to str, int, float or bool, optional
        Options given in the call at hand; they win.

    Returns
    -------
    dict

    Raises
    ------
    BackendNotFound
        When no engine has this name.
    ConfigError
        When an option's key or value is not allowed.

    Examples
    --------
    >>> with config_context(options={"numpy": {"block": 64, "fuse": True}}):
    ...     options("numpy", {"block": 32})
    {'block': 32, 'fuse': True}
    """
    table = {registry.check(backend): {} if argument is None else argument}
    merged = {**resolve_all(), **_options_layer(table, "argument")}
    parts = ((name.rpartition("."), resolved.value) for name, resolved in merged.items())
    return {key: value for (table_name, _, key), value in parts if table_name == f"options.{backend}"}


@contextmanager
def config_context(**settings: Any) -> Iterator[None]:
    """Settings for the calls inside a ``with`` block.

    Blocks nest, the inner one wins, and a setting given as ``None`` is left as it was. The settings hold in
    the thread (or asynchronous task) that opened the block; another thread or process does not see them.

    Parameters
    ----------
    **settings
        Any of :data:`SETTINGS`, and ``options``: ``{"<backend>": {"<key>": value}}``.

    Raises
    ------
    ConfigError
        When a setting is unknown or its value is not allowed.

    Examples
    --------
    >>> with config_context(floatX="float64", threads=2):
    ...     get("floatX"), get("threads")
    ('float64', 2)
    """
    for name in settings:
        if name != "options":
            _setting(name, "config_context")
    given = {name: value for name, value in settings.items() if value is not None}
    token = _context.set({**_context.get(), **_settings_layer(given, "config_context")})
    try:
        yield
    finally:
        _context.reset(token)


def home() -> Path:
    """The folder that holds the engines' environments and caches; it need not exist yet.

    ``PORTANET_HOME`` names it; by default it is ``portanet`` in the platform's folder for a user's data
    (``~/.local/share/portanet`` on Linux).

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    ConfigError
        When the variable is not set and the account has no home folder.
    """
    named = os.environ.get("PORTANET_HOME", "").strip()
    if named:
        return Path(named).expanduser().absolute()
    folder = _user_folder("data")
    if folder is None:
        raise ConfigError("this account has no home folder; name one for the engines with PORTANET_HOME=/path")
    return (folder / "portanet").absolute()


def _setting(name: str, where: str) -> Setting:
    if name not in SETTINGS:
        hint = did_you_mean(name, [*SETTINGS, "options"])
        raise ConfigError(f"{where}: unknown setting {name!r}{hint}; allowed: {', '.join(SETTINGS)}, options")
    return SETTINGS[name]


def _parse(setting: Setting, raw: Any, where: str) -> Any:
    try:
        return setting.parse(raw.strip() if isinstance(raw, str) else raw)
    except ValueError as error:
        if where == "argument" and isinstance(error, PortanetError):
            raise
        raise ConfigError(f"{where}: {error}") from None


def _layers() -> Iterator[Layer]:
    yield _context.get()
    yield _environment_layer(tuple(item for item in os.environ.items() if item[0].startswith("PORTANET_")))
    for label, path in (("project file", _project_file()), ("user file", _user_file())):
        if path is not None:
            yield _file_layer(path, label)


def _settings_layer(values: Mapping[str, Any], where: str) -> Layer:
    layer = {
        name: Resolved(_parse(_setting(name, where), raw, where), where)
        for name, raw in values.items()
        if name != "options"
    }
    return layer | _options_layer(values.get("options", {}), where)


def _options_layer(tables: Any, where: str) -> Layer:
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise ConfigError(f"{where}: options holds one table for each backend, as in [options.torch]; got {tables!r}")
    layer = {}
    for backend, table in tables.items():
        try:
            registry.check(backend)
        except ValueError as error:
            raise ConfigError(f"{where}: options: {error}") from None
        for key, value in table.items():
            _check_option(key, value, f"{where}: options of {backend!r}")
            layer[f"options.{backend}.{key}"] = Resolved(value, where)
    return layer


def _check_option(key: Any, value: Any, where: str) -> None:
    if not isinstance(key, str) or not key.isidentifier():
        raise ConfigError(f"{where}: {key!r} is not an option's name; allowed: letters, digits and _")
    if not isinstance(value, str | int | float | bool):
        raise ConfigError(f"{where}: {key} is of type {type(value).__name__}; allowed: text, a number, true or false")


@functools.lru_cache(maxsize=8)
def _environment_layer(variables: tuple[tuple[str, str], ...]) -> Layer:
    by_variable = {setting.env: setting for setting in SETTINGS.values()}
    layer: Layer = {}
    for variable, text in variables:
        where = f"environment {variable}"
        if variable in by_variable:
            if text.strip():
                setting = by_variable[variable]
                layer[setting.name] = Resolved(_parse(setting, text, where), where)
        elif variable.startswith(_OPTIONS_PREFIX):
            backend = _backend_of(variable, _OPTIONS_PREFIX)
            layer |= _options_layer({backend: _read_pairs(text, where)}, where)
        elif variable.startswith(_PYTHON_PREFIX):
            _backend_of(variable, _PYTHON_PREFIX)
        elif variable not in _OTHER_VARIABLES:
            raise _unknown_variable(variable)
    return layer


def _backend_of(variable: str, prefix: str) -> str:
    known = registry.known()
    for backend in known:
        if variable == prefix + backend.upper().replace("-", "_"):
            return backend
    raise ConfigError(
        f"environment {variable}: no backend has this name; allowed: {prefix} followed by one of "
        f"{', '.join(backend.upper().replace('-', '_') for backend in known)}"
    )


def _unknown_variable(variable: str) -> ConfigError:
    allowed = [*(setting.env for setting in SETTINGS.values()), *_OTHER_VARIABLES]
    return ConfigError(
        f"environment {variable}: unknown variable{did_you_mean(variable, allowed)}; "
        f"allowed: {', '.join(allowed)}, {_OPTIONS_PREFIX}<BACKEND>, {_PYTHON_PREFIX}<BACKEND>"
    )


def _read_pairs(text: str, where: str) -> dict[str, str | int | float | bool]:
    pairs: dict[str, str | int | float | bool] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{where}: {part!r} is not an option; write key=value,key=value")
        pairs[key.strip()] = _read_plain(value.strip())
    return pairs


def _read_plain(text: str) -> str | int | float | bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _project_file() -> Path | None:
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / PROJECT_FILE
        if path.is_file():
            return path
        if (folder / ".git").exists():
            return None
    return None


def _user_file() -> Path | None:
    named = os.environ.get("PORTANET_CONFIG", "").strip()
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"environment PORTANET_CONFIG: there is no file {path}; write it or unset the variable")
        return path
    folder = _user_folder()
    if folder is None:
        return None
    path = folder / "portanet" / "config.toml"
    return path if path.is_file() else None


def _user_folder(kind: str = "config") -> Path | None:
    """The platform's folder for a user's ``"config"`` or ``"data"``."""
    platform = sys.platform if sys.platform in _USER_FOLDERS else "linux"
    variable, usual = _USER_FOLDERS[platform][kind]
    named = os.environ.get(variable) if variable else None
    if named:
        return Path(named)
    try:
        return Path.home() / usual
    except RuntimeError:  # an account without a home folder has no user file
        return None


def _file_layer(path: Path, label: str) -> Layer:
    where = f"{label} {path}"
    try:
        state = path.stat()
        stamp = (state.st_mtime_ns, state.st_size)
        cached = _read_files.get((label, path))
        if cached is None or cached[0] != stamp:
            layer = _settings_layer(_read_toml(path, where), where)
            if "data_dir" in layer:
                layer["data_dir"] = Resolved(path.parent / layer["data_dir"].value, where)
            cached = _read_files[label, path] = (stamp, layer)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    return cached[1]


def _read_toml(path: Path, where: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from error
