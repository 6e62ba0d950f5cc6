"""An old interpreter, and engines that behave oddly in their workers."""

import os
import subprocess
import sys
import textwrap

import pytest
from uv import find_uv_bin

from portanet.exceptions import EnvironmentFault
from portanet.runtime import registry
from portanet.runtime.client import RemoteBackend
from portanet.runtime.interpreters import choose
from portanet.runtime.worker_pool import close_workers
from portanet.runtime.worker_process import Launch

SOURCE = """
import os, signal, sys, time
import numpy as np
from portanet.engine import wire
from portanet.engine.backends.numpy_backend import NumpyBackend, NumpyProgram

def once():
    done = os.path.exists(__file__ + ".done")
    open(__file__ + ".done", "w").close()
    return not done

class OddBackend(NumpyBackend):
    name, version = "odd", "1.0"
    def compile(self, plan, device, options):
        return Odd(plan, device, self.read_options(options))

class Odd(NumpyProgram):
    pass

def backend():
    return OddBackend()
"""


@pytest.fixture(scope="session")
def python36(tmp_path_factory, missing):
    """An environment of Python 3.6 with NumPy 1.19.5."""
    try:
        found = choose("cntk", ["3.6"]).path
    except EnvironmentFault as error:
        missing("Python 3.6", str(error))
    place = tmp_path_factory.mktemp("python36")
    python = place / "bin" / "python"
    for command in (["venv", "--quiet", "--clear", "--python", found, str(place)],
                    ["pip", "install", "--quiet", "--python", str(python), "numpy==1.19.5"]):  # fmt: skip
        made = subprocess.run([find_uv_bin(), *command], env=dict(os.environ, UV_PYTHON_DOWNLOADS="never"),
                              capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
        if made.returncode:
            missing("Python 3.6", f"uv {command[0]} failed: {made.stderr.strip()[-300:]}")
    return str(python)


@pytest.fixture
def launch(tmp_path):
    """``launch(source, **rest)``: how to start a worker of NumPy's engine with these lines of Python besides."""

    def write(source="", **rest):
        (tmp_path / "odd_engine.py.done").unlink(missing_ok=True)
        (tmp_path / "odd_engine.py").write_text(SOURCE + textwrap.dedent(source))
        variables = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        settings = {"python": sys.executable, "path": (str(tmp_path),), **rest}
        return Launch.of("odd", "odd_engine:backend", variables=variables, **settings)

    yield write
    close_workers()


@pytest.fixture
def odd(launch, monkeypatch):
    """``odd(source, **rest)`` makes that engine the backend "odd" of this test, always in a worker."""

    def install(source="", **rest):
        wanted = launch(source, **rest)
        engine = RemoteBackend("odd", lambda threads: wanted)
        row = registry.BackendRow("odd", "odd_backend", None, "", "", float_types=("float32", "float64"))
        monkeypatch.setitem(registry.ROWS, "odd", row)
        monkeypatch.setattr(registry, "load", lambda name, *rest: engine)
        return engine

    return install
