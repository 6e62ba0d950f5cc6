"""An engine of two files, with a recipe, a lock and wheels that are made here: environments without a download."""

import base64
import hashlib
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

from portanet.runtime import recipes

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
SELFTEST = "import tiny, os\nassert tiny.answer == 42, 'a wrong answer'"


def write_wheel(folder, name, version, source):
    """A wheel with one module in it; its sha256."""
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}/__init__.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    path = Path(folder, f"{name}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as wheel:
        for inner, text in contents.items():
            wheel.writestr(zipfile.ZipInfo(inner), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def install_recipe(folder, **changes):
    """Write wheels and lock into a folder, once, and make "tiny" an engine that environments can be made for."""
    folder = Path(folder)
    if not folder.exists():
        folder.mkdir()
        rows = [
            ("tiny", "1.5", "answer, __version__ = 42, '1.5'\n"),
            ("numpy", "0.1", "__version__ = '0.1'\n"),
        ]
        hashes = [(name, version, write_wheel(folder, name, version, source)) for name, version, source in rows]
        lock = [f"{name}=={version} --hash=sha256:{digest}" for name, version, digest in hashes]
        (folder / "tiny.txt").write_text("\n".join(lock) + "\n")
        (folder / "build.txt").write_text("")
    recipes.LOCKS = folder
    row = recipes.Recipe("tiny", (HERE,), "tiny.txt", 1, SELFTEST)
    recipes.RECIPES["tiny"] = replace(row, **changes)


def settings(folder, home):
    """The environment variables of a machine without a network, where the wheels lie in `folder`."""
    return {
        "PORTANET_HOME": str(home),
        "PORTANET_PYTHON_TINY": sys.executable,
        "UV_FIND_LINKS": str(folder),
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": f"{folder}-cache",
    }


if __name__ == "__main__":
    # python tiny_engine.py FOLDER SELFTEST: make the environment, telling each step
    from portanet.runtime import environments

    install_recipe(sys.argv[1], selftest=sys.argv[2])
    made = environments.create("tiny", lambda line: print(line, flush=True))
    os.write(1, f"made {made.created}\n".encode())
