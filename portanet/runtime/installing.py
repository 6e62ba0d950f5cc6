"""uv at work: an empty environment, then the packages of a lock; its failures in words that say what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from portanet.exceptions import EnvironmentFault
from portanet.runtime.interpreters import Interpreter
from portanet.runtime.recipes import Recipe, lock_text
from portanet.runtime.requirements import no_space

__all__ = ["install", "make_empty", "python_in", "site_of"]

# pip's settings that uv does not read, as uv's own
_FROM_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}
# where packages come from and how they are fetched is the user's business; what is installed is the lock's
_KEPT_UV = re.compile(
    r"UV_((DEFAULT_|EXTRA_)?INDEX(_.*)?|FIND_LINKS|CACHE_DIR|NO_CACHE|OFFLINE|HTTP_.*|NATIVE_TLS|SYSTEM_CERTS|"
    r"INSECURE_HOST|KEYRING_PROVIDER|LINK_MODE|CONCURRENT_.*|TORCH_BACKEND|REQUEST_TIMEOUT)"
)
_NO_SPACE = re.compile(r"no space left on device|os error 28|disk quota exceeded|not enough space on the disk", re.I)
_NO_NETWORK = re.compile(
    r"dns error|error sending request|connection refused|connection reset|network was disabled|network is unreachable|"
    r"failed to fetch|request failed after|timed out|could not connect",
    re.IGNORECASE,
)
_WRONG_HASH = re.compile(r"hash mismatch", re.IGNORECASE)


def python_in(root: Path) -> Path:
    """The interpreter of the environment at `root`."""
    return root / "Scripts" / "python.exe" if os.name == "nt" else root / "bin" / "python"


def site_of(python: str) -> tuple[str, str]:
    """The folder of an interpreter's packages, and the environment's own folder."""
    command = "import json, sys, sysconfig; print(json.dumps([sysconfig.get_path('purelib'), sys.prefix]))"
    done = subprocess.run([python, "-I", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    site, root = json.loads(done.stdout)
    return site, root


def make_empty(wanted: Recipe, python: Interpreter, root: Path) -> None:
    """Make an environment without packages, which may be moved afterwards."""
    options = ["--relocatable", "--no-project", "--allow-existing", "--python", python.path]
    _run(wanted, root, ["venv", *options, str(root)])


def install(wanted: Recipe, root: Path) -> None:
    """Install what the recipe's lock says, no more and no less, each file by its hash.

    Raises
    ------
    EnvironmentFault
        With ``reason`` ``"disk"``, ``"network"``, ``"hash"`` or ``"installer"``.
    """
    with tempfile.TemporaryDirectory() as folder:
        lock, tools = Path(folder, wanted.lock), Path(folder, "build.txt")
        lock.write_bytes(lock_text(wanted.lock))
        tools.write_bytes(lock_text("build.txt"))
        command = ["pip", "install", "--python", str(python_in(root)), "--require-hashes", "--no-deps", "--only-binary"]
        command += [":all:", *(part for name in wanted.built for part in ("--no-binary", name))]
        command += ["--build-constraints", str(tools), "--requirements", str(lock)]
        if wanted.local_index and not _offered_here(wanted.engine):
            command += ["--index", wanted.local_index]
        _run(wanted, root, command)


def _offered_here(package: str) -> bool:
    """Whether a folder of wheels that the user has named holds a build of this package.

    Then the index of such builds is not asked, which may be out of reach.
    """
    folders = _variables().get("UV_FIND_LINKS", "").replace(",", " ").split()
    return any(next(Path(folder).glob(f"{package}-*+cpu-*.whl"), None) for folder in folders)


def _variables() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("UV_", "PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX")) or _KEPT_UV.fullmatch(name)
    }  # fmt: skip
    for theirs, ours in _FROM_PIP.items():
        value = os.environ.get(theirs, "").strip()
        if value and ours not in kept:
            kept[ours] = ",".join(value.split()) if ours == "UV_FIND_LINKS" else value
    return kept | {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def _uv() -> str:
    try:
        from uv import find_uv_bin

        return os.fspath(find_uv_bin())
    except (ImportError, FileNotFoundError):
        program = shutil.which("uv")
    if program is None:
        raise EnvironmentFault(
            "environments are made with uv, which is not installed here; run: pip install uv",
            reason="installer", fix="pip install uv",
        )  # fmt: skip
    return program


def _run(wanted: Recipe, root: Path, command: Sequence[str]) -> None:
    # from a folder without a project of the user's, whose settings uv would read
    done = subprocess.run(
        [_uv(), *command], capture_output=True, text=True, errors="replace", env=_variables(), cwd=root, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise _fault(wanted, root.parent, done.stderr.strip() or done.stdout.strip())


def _fault(wanted: Recipe, folder: Path, told: str) -> EnvironmentFault:
    if _NO_SPACE.search(told):
        return no_space(wanted, folder, "it is full")
    where = f"engine {wanted.engine!r}"
    if _WRONG_HASH.search(told):
        fix = "unset UV_INDEX UV_DEFAULT_INDEX PIP_INDEX_URL PIP_EXTRA_INDEX_URL"
        return EnvironmentFault(
            f"{where}: a downloaded file is not the one that was tested: its hash differs from portanet's lock, and "
            f"nothing was installed; a mirror or proxy may have changed it; try without: {fix}\n{told}",
            reason="hash", fix=fix,
        )  # fmt: skip
    if _NO_NETWORK.search(told):
        return EnvironmentFault(
            f"{where}: the packages cannot be downloaded; check the network, or name a proxy (HTTPS_PROXY=...) or a "
            f"mirror (UV_DEFAULT_INDEX=...), and run the command again\n{told}",
            reason="network", fix="check the network",
        )  # fmt: skip
    return EnvironmentFault(f"{where}: uv could not install it\n{told}", reason="installer", fix="see uv's message")
