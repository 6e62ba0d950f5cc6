"""The Python interpreters of this machine: on PATH, in pyenv, conda, uv, the usual folders, or named by the user.

Nothing is downloaded. An interpreter counts when it runs and says it is CPython of a wanted version, 64-bit.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from portanet.exceptions import EnvironmentFault

__all__ = ["Interpreter", "choose", "found", "probe"]

_ASK = (
    "import json, platform, struct; "
    "print(json.dumps([platform.python_implementation(), platform.python_version(), struct.calcsize('P') * 8]))"
)
_CONDA_ROOTS = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".conda", "/opt/conda")
_USUAL_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
_VERSION_IN_NAME = re.compile(r"python(\d\.\d+)(?:\.exe)?")
_VERSION_IN_FOLDER = re.compile(r"(?:cpython-|Python)?(\d\.\d+)(?:\.\d+)?(?:-.*)?")


@dataclass(frozen=True)
class Interpreter:
    """A Python that runs.

    Attributes
    ----------
    path : str
        Absolute path of the executable.
    version : str
        As in ``"3.6.15"``.
    source : str
        Where it was found.
    """

    path: str
    version: str
    source: str = "named"

    @property
    def minor(self) -> str:
        """As in ``"3.6"``.

        >>> Interpreter("/usr/bin/python3", "3.10.13").minor
        '3.10'
        """
        return ".".join(self.version.split(".")[:2])

    @property
    def _order(self) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:3])


def choose(engine: str, versions: Sequence[str]) -> Interpreter:
    """The interpreter to make an engine's environment with.

    Parameters
    ----------
    engine : str
        ``PORTANET_PYTHON_<ENGINE>`` names its interpreter; no other is then looked for.
    versions : sequence of str
        Minor versions that will do, the preferred first.

    Returns
    -------
    Interpreter
        Of the first of the versions that is there, the newest.

    Raises
    ------
    EnvironmentFault
        When the named one will not do, or none is found; says where was looked and how people get one.
    """
    variable = variable_of(engine)
    wished = os.environ.get(variable, "").strip()
    if wished:
        return _named(engine, wished, variable, versions)
    there = found(versions)
    for version in versions:
        able = [one for one in there if one.minor == version]
        if able:
            return max(able, key=lambda one: one._order)
    raise _none_found(engine, versions, variable)


def variable_of(engine: str) -> str:
    """The environment variable that names an engine's interpreter.

    >>> variable_of("cntk")
    'PORTANET_PYTHON_CNTK'
    """
    return f"PORTANET_PYTHON_{engine.upper().replace('-', '_')}"


def found(versions: Sequence[str] | None = None) -> list[Interpreter]:
    """Every CPython of 64 bits on this machine, each once, in the order of looking.

    Parameters
    ----------
    versions : sequence of str, optional
        Minor versions; an executable whose name or folder tells another one is not run.
    """
    interpreters: dict[str, Interpreter] = {}
    for path, source in _candidates():
        told = _told_version(path)
        if versions is not None and told is not None and told not in versions:
            continue
        answer = probe(str(path))
        if isinstance(answer, Interpreter) and (versions is None or answer.minor in versions):
            base = os.path.realpath(path)
            interpreters.setdefault(base, Interpreter(str(path), answer.version, source))
    return list(interpreters.values())


@functools.lru_cache(maxsize=256)
def probe(path: str) -> Interpreter | str:
    """Run an interpreter to learn its version.

    Returns
    -------
    Interpreter or str
        The latter says why it will not do.

    Examples
    --------
    >>> import sys
    >>> probe(sys.executable).version == sys.version.split()[0]
    True
    >>> probe("/no/such/python")
    'there is no such file'
    """
    if not os.path.isfile(path):
        return "there is no such file"
    if not os.access(path, os.X_OK):
        return "it is not executable"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [path, "-E", "-s", "-S", "-c", _ASK], capture_output=True, text=True, timeout=20, env=clean, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        implementation, version, bits = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return "it did not answer within 20 s"
    except OSError as error:
        return f"it cannot be run: {error.strerror}"
    except ValueError:
        return f"it does not answer as Python does: {(done.stderr or done.stdout).strip()[-200:] or 'it says nothing'}"
    if implementation != "CPython" or bits != 64:
        return f"it is {implementation} {version} of {bits} bits; CPython of 64 bits is needed"
    return Interpreter(path, version)


def _named(engine: str, wished: str, variable: str, versions: Sequence[str]) -> Interpreter:
    path = os.path.abspath(os.path.expanduser(wished))
    answer = probe(path)
    allowed = " or ".join(versions)
    if isinstance(answer, str):
        problem = answer
    elif answer.minor not in versions:
        problem = f"it is Python {answer.version}"
    else:
        return Interpreter(path, answer.version, variable)
    raise EnvironmentFault(
        f"{variable}={wished}: {problem}; engine {engine!r} needs the path of a Python {allowed}; "
        f"name one, or unset the variable to have the machine searched",
        reason="interpreter", fix=f"{variable}=/path/to/python{versions[0]}",
    )  # fmt: skip


def _none_found(engine: str, versions: Sequence[str], variable: str) -> EnvironmentFault:
    others = sorted({one.minor for one in found()}, key=lambda minor: int(minor.partition(".")[2]))
    best, fix = versions[0], f"pyenv install {versions[0]}"
    return EnvironmentFault(
        f"engine {engine!r} needs Python {' or '.join(versions)}, and there is none on PATH, in {_pyenv_root()}, "
        f"in conda's or uv's folders, in /usr/bin or /usr/local/bin (found: {', '.join(others) or 'none'}); "
        f"get one: {fix}  |  conda create -n py{best.replace('.', '')} python={best}  |  from the deadsnakes PPA on "
        f"Ubuntu: apt install python{best} python{best}-distutils; or name one: {variable}=/path/to/python{best}",
        reason="interpreter", fix=fix,
    )  # fmt: skip


def _candidates() -> Iterator[tuple[Path, str]]:
    for folder in _path_folders():
        yield from ((path, "PATH") for path in _pythons_in(folder))
    for source, pattern, root in _installations():
        yield from ((path, source) for home in sorted(root.glob(pattern)) for path in _pythons_in(home))
    for prefix in _conda_prefixes():
        yield from ((path, "conda") for path in (*_pythons_in(prefix / "bin"), *_pythons_in(prefix)))
    for usual in _USUAL_FOLDERS:
        yield from ((path, usual) for path in _pythons_in(Path(usual)))
    if sys.platform == "win32":
        yield from ((path, "py launcher") for path in _launcher_pythons())


def _path_folders() -> Iterator[Path]:
    """Without pyenv's shims, which answer for the version that is switched on, and the store's placeholders."""
    for text in dict.fromkeys(os.environ.get("PATH", "").split(os.pathsep)):
        folder = Path(text)
        if folder.is_absolute() and folder.name != "shims" and "WindowsApps" not in folder.parts:
            yield folder


def _pyenv_root() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def _installations() -> list[tuple[str, str, Path]]:
    """Source, pattern and root of the tools that keep many Pythons."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    binaries = "" if sys.platform == "win32" else "/bin"
    return [
        ("pyenv", f"versions/*{binaries}", _pyenv_root()),
        ("pyenv", "pyenv-win/versions/*", _pyenv_root()),
        ("uv", f"*{binaries}", Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")),
        ("asdf", f"installs/python/*{binaries}", Path.home() / ".asdf"),
        ("python.org", "*/bin", Path("/Library/Frameworks/Python.framework/Versions")),
    ]


def _conda_prefixes() -> list[Path]:
    roots = [Path.home() / name for name in _CONDA_ROOTS]
    roots += [Path(os.environ[name]) for name in ("CONDA_PREFIX", "MAMBA_ROOT_PREFIX") if os.environ.get(name)]
    if os.environ.get("CONDA_EXE"):
        roots.append(Path(os.environ["CONDA_EXE"]).parent.parent)
    prefixes = [prefix for root in roots for prefix in (root, *sorted(root.glob("envs/*")))]
    noted = Path.home() / ".conda" / "environments.txt"
    if noted.is_file():
        prefixes += [Path(line) for line in noted.read_text("utf-8", "replace").split("\n") if line.strip()]
    return list(dict.fromkeys(prefixes))


def _pythons_in(folder: Path) -> list[Path]:
    """``python3.x`` and ``python3``, ``python`` of a folder, the exact names first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    exact = sorted(name for name in names if _VERSION_IN_NAME.fullmatch(name))
    loose = [name for name in ("python3", "python", "python.exe") if name in names]
    return [folder / name for name in (*exact, *loose)]


def _told_version(path: Path) -> str | None:
    """The minor version that the name of an executable, or of the folder it is installed in, tells.

    >>> _told_version(Path("/usr/bin/python3.9")), _told_version(Path("/root/.pyenv/versions/3.6.15/bin/python"))
    ('3.9', '3.6')
    >>> _told_version(Path("/usr/bin/python3")) is None
    True
    """
    by_name = _VERSION_IN_NAME.fullmatch(path.name)
    if by_name:
        return by_name[1]
    home = path.parent.parent if path.parent.name == "bin" else path.parent
    by_folder = _VERSION_IN_FOLDER.fullmatch(home.name)
    return by_folder[1] if by_folder else None


def _launcher_pythons() -> list[Path]:
    launcher = shutil.which("py")
    if launcher is None:
        return []
    done = subprocess.run([launcher, "-0p"], capture_output=True, text=True, timeout=20, check=False)
    return [Path(match) for match in re.findall(r"([A-Za-z]:\\.*?\.exe)\s*\*?$", done.stdout, re.MULTILINE)]
