"""What has to be on the machine before an environment is worth downloading: a compiler, libraries, space."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from portanet.exceptions import EnvironmentFault
from portanet.runtime.interpreters import Interpreter
from portanet.runtime.recipes import Recipe

__all__ = ["check", "no_space"]

_COMPILERS = ("g++", "clang++")


def check(wanted: Recipe, python: Interpreter, folder: Path) -> None:
    """Look for everything a recipe needs.

    Parameters
    ----------
    wanted : Recipe
    python : Interpreter
        Which loads the libraries, so that this process need not.
    folder : Path
        Where the environment will stand; it exists.

    Raises
    ------
    EnvironmentFault
        For what is missing first, with the commands that bring it.
    """
    if wanted.compiler:
        _need_compiler(wanted.engine)
        _need_plain_path(wanted.engine, folder)
    _need_libraries(wanted, python)
    free = shutil.disk_usage(folder).free
    if free < wanted.megabytes * 2**20:
        raise no_space(wanted, folder, f"{free // 2**20} MB are free")


def no_space(wanted: Recipe, folder: Path, told: str) -> EnvironmentFault:
    """The error where the disk is, or would be, full."""
    fix = "PORTANET_HOME=/a/larger/disk"
    return EnvironmentFault(
        f"engine {wanted.engine!r}: not enough disk space in {folder}: {told}, {wanted.megabytes} MB are needed; free "
        f"some (portanet env list shows the environments, uv cache clean empties uv's cache), or put the environments "
        f"elsewhere: {fix}",
        reason="disk", fix=fix,
    )  # fmt: skip


def _need_compiler(engine: str) -> None:
    if any(map(shutil.which, _COMPILERS)):
        return
    fix = "apt install g++"
    raise EnvironmentFault(
        f"engine {engine!r} compiles each net and needs a C++ compiler, and neither {' nor '.join(_COMPILERS)} is on "
        f"PATH; get one: {fix}  |  dnf install gcc-c++  |  conda install -c conda-forge gxx",
        reason="compiler", fix=fix,
    )  # fmt: skip


def _need_plain_path(engine: str, folder: Path) -> None:
    if any(character.isspace() for character in str(folder)):
        raise EnvironmentFault(
            f"engine {engine!r} cannot link against a library below {str(folder)!r}, whose path has a space in it; "
            f"choose another folder: PORTANET_HOME=/path/without/spaces",
            reason="path", fix="PORTANET_HOME=/path/without/spaces",
        )  # fmt: skip


def _need_libraries(wanted: Recipe, python: Interpreter) -> None:
    missing = [library for library in wanted.libraries if not _loads(library, python)]
    if not missing:
        return
    fix = "apt install libgomp1 libquadmath0"
    raise EnvironmentFault(
        f"engine {wanted.engine!r} links against {' and '.join(missing)}, which {python.path} cannot load; get "
        f"{'it' if len(missing) == 1 else 'them'}: {fix}  |  dnf install libgomp libquadmath",
        reason="libraries", fix=fix,
    )  # fmt: skip


def _loads(library: str, python: Interpreter) -> bool:
    command = [python.path, "-E", "-s", "-c", f"import ctypes; ctypes.CDLL({library!r})"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
