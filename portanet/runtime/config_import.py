"""Read the settings of an earlier life: a ``.theanorc`` or a ``keras.json``, made a ``portanet.toml``.

What has a counterpart becomes a setting; everything else becomes a note that says why it has none, so that no
line of the old file is lost in silence.
"""

import configparser
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portanet.exceptions import BackendNotFound, ConfigError
from portanet.runtime import registry
from portanet.runtime.config import FLOAT_TYPES
from portanet.runtime.whole_file import drafted

__all__ = ["Imported", "import_config", "old_files", "write_config"]

_CHANNELS_FIRST = "data are always channels first, (N, C, H, W), so nothing has to change"
_CHANNELS_LAST = (
    "data are channels first, (N, C, H, W): pass X.transpose(0, 3, 1, 2); an engine that prefers channels "
    "last transposes by itself"
)
_LAYOUTS = {
    "channels_first": _CHANNELS_FIRST,
    "th": _CHANNELS_FIRST,
    "channels_last": _CHANNELS_LAST,
    "tf": _CHANNELS_LAST,
}
_LAYOUT_KEYS = ("image_data_format", "image_dim_ordering")
_OWN_MEMORY = "device memory is left to the engine; see its options"
_WHY_NOT = {
    "[global] openmp": "set threads = <number> to say how many CPU threads an engine may use",
    "[global] openmp_elemwise_minsize": "each engine decides when threads pay; threads caps their number",
    "[global] optimizer": "the compiler's rewrites are always on",
    "[global] mode": "a net is always compiled the same way",
    "[global] base_compiledir": "what Theano compiles lies in cache/theano under PORTANET_HOME",
    "[nvcc] fastmath": "float32 means float32; less exact arithmetic is opted into by name, engine by engine",
    "[blas] ldflags": "each engine brings its own linear algebra; nothing is linked at run time",
    "[cuda] root": "each engine finds the CUDA libraries it was installed with",
    "[lib] cnmem": _OWN_MEMORY,
    "[gpuarray] preallocate": _OWN_MEMORY,
    "epsilon": "each layer, objective and update rule has an epsilon parameter of its own",
}


@dataclass
class Imported:
    """What the old files say in portanet's words.

    Attributes
    ----------
    settings : dict of str to str
        The settings that have a counterpart.
    notes : list of str
        One sentence for each line that has none, or whose meaning changes.
    sources : list of Path
        The files read.
    """

    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)

    @property
    def toml(self) -> str:
        """The text of a ``portanet.toml``."""
        lines = [f"# imported from {json.dumps(str(source))}" for source in self.sources]
        lines += [f"{name} = {json.dumps(value)}" for name, value in self.settings.items()]
        return "\n".join(lines) + "\n"

    def _set(self, name: str, value: str) -> None:
        earlier = self.settings.get(name, value)
        if earlier != value:
            self._note(f"{name} = {value!r} replaces {earlier!r}, which an earlier file had")
        self.settings[name] = value

    def _note(self, sentence: str) -> None:
        self.notes.append(f"{self.sources[-1]}: {sentence}")


def import_config(path: str | os.PathLike | None = None) -> Imported:
    """Read an old configuration.

    Parameters
    ----------
    path : path-like, optional
        A ``.theanorc`` (INI), or a ``keras.json``, told apart by the ending ``.json``. Without it every file
        of :func:`old_files` is read; where two disagree, the later one wins and a note says so.

    Returns
    -------
    Imported

    Raises
    ------
    ConfigError
        When there is no such file, or it is malformed.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / ".theanorc").write_text("[global]\\ndevice = cuda0\\nfloatX = float32\\n")
    >>> import_config(folder / ".theanorc").settings
    {'device': 'gpu:0', 'floatX': 'float32'}
    """
    paths = old_files() if path is None else [Path(path).expanduser()]
    imported = Imported()
    for one in paths:
        imported.sources.append(one)
        text = _read_text(one)
        if one.suffix.lower() == ".json":
            _read_keras(text, imported)
        else:
            _read_theano(text, imported)
    return imported


def old_files() -> list[Path]:
    """The old files found where Theano (``$THEANORC``) and Keras (``$KERAS_HOME``) look for them.

    Raises
    ------
    ConfigError
        When there is none.
    """
    named = os.environ.get("THEANORC")
    texts = named.split(os.pathsep) if named else ["~/.theanorc", "~/.theanorc.txt"]
    texts.append(os.path.join(os.environ.get("KERAS_HOME") or "~/.keras", "keras.json"))
    places = [Path(text).expanduser() for text in texts if text]
    found = [place for place in places if place.is_file()]
    if not found:
        looked = ", ".join(map(str, places))
        raise ConfigError(f"config import: found neither a .theanorc nor a keras.json; looked at {looked}; name one")
    return found


def write_config(text: str, output: str | os.PathLike, force: bool = False) -> Path:
    """Write a configuration file whole or not at all.

    Parameters
    ----------
    text : str
        What to write.
    output : path-like
        The file; its folder must exist.
    force : bool
        Replace the file where there is one already.

    Raises
    ------
    ConfigError
        When the file exists and `force` is false, or the folder cannot be written to.
    """
    path = Path(output).expanduser()
    if path.exists() and not force:
        raise ConfigError(f"config import: {path} exists already; replace it with --force or choose another --output")
    try:
        with drafted(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"config import: cannot write {path}: {error.strerror}") from error
    return path


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8: {error}") from error


def _read_theano(text: str, imported: Imported) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text, source=str(imported.sources[-1]))
    except configparser.Error as error:
        raise ConfigError(f"{imported.sources[-1]}: not a .theanorc (INI): {error}") from error
    for section in parser.sections():
        for key, value in parser.items(section):
            if (section, key) == ("global", "device"):
                _theano_device(value, imported)
            elif (section, key) == ("global", "floatx"):
                _float_type(value, imported)
            else:
                _no_counterpart(f"[{section}] {key}", value, imported)
    imported._note("a .theanorc does not choose an engine, so the backend stays what it is")


def _theano_device(value: str, imported: Imported) -> None:
    match = re.fullmatch(r"(?:cuda|gpu):?([0-9]*)", value)
    if value == "cpu":
        imported._set("device", "cpu")
    elif match:
        imported._set("device", f"gpu:{int(match[1])}" if match[1] else "gpu")
    else:
        imported._note(f"device = {value} has no counterpart; the device stays what it is (cpu, gpu, gpu:<index>)")


def _float_type(value: str, imported: Imported) -> None:
    if value in FLOAT_TYPES:
        imported._set("floatX", value)
    else:
        imported._note(f"floatX = {value} is no float type; allowed: {', '.join(FLOAT_TYPES)}")


def _read_keras(text: str, imported: Imported) -> None:
    where = imported.sources[-1]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: a keras.json holds one object, got {type(values).__name__}")
    for key, value in values.items():
        if key not in ("backend", "floatx", *_LAYOUT_KEYS):
            _no_counterpart(key, value, imported)
        elif not isinstance(value, str):
            raise ConfigError(f"{where}: {key} must be text, got {value!r}")
        elif key == "backend":
            _keras_backend(value, imported)
        elif key == "floatx":
            _float_type(value, imported)
        else:
            imported._note(f"{key} = {value}: {_LAYOUTS.get(value, 'no such layout is known; ' + _CHANNELS_FIRST)}")


def _keras_backend(value: str, imported: Imported) -> None:
    try:
        registry.check(value)
    except BackendNotFound as error:
        imported._note(f"backend = {value} has no counterpart: {error}")
        return
    if value in registry.names():
        imported._set("backend", value)
    else:
        install = registry.ROWS[value].install if value in registry.ROWS else "see the package that brings it"
        imported._note(f"backend = {value} is not installed; the backend stays what it is; to install it: {install}")


def _no_counterpart(key: str, value: Any, imported: Imported) -> None:
    imported._note(f"{key} = {value} has no counterpart: {_WHY_NOT.get(key, 'portanet has no such setting')}")
