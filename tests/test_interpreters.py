import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from portanet.exceptions import EnvironmentFault
from portanet.runtime import interpreters
from portanet.runtime.interpreters import Interpreter, choose, found, probe

pytestmark = pytest.mark.skipif(os.name == "nt", reason="stands shell scripts in for interpreters")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine without a Python but what a test puts there."""
    for variable in list(os.environ):
        if variable.startswith(("PORTANET_", "PYENV", "CONDA", "MAMBA", "UV_", "XDG_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(interpreters, "_USUAL_FOLDERS", ())
    monkeypatch.setattr(interpreters, "_CONDA_ROOTS", ("miniconda3",))
    probe.cache_clear()
    yield tmp_path
    probe.cache_clear()


def put(path, version, implementation="CPython", bits=64):
    """A stand-in that answers as that Python would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps([implementation, version, bits])
    path.write_text(f"#!/bin/sh\necho ran >> {path}.log\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def runs(path):
    log = Path(f"{path}.log")
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_the_preferred_version_and_the_newest_of_it(machine):
    put(machine / "bin" / "python3.9", "3.9.18")
    put(machine / ".pyenv" / "versions" / "3.10.2" / "bin" / "python", "3.10.2")
    newest = put(machine / ".pyenv" / "versions" / "3.10.13" / "bin" / "python", "3.10.13")
    assert choose("theano", ["3.10", "3.9"]) == Interpreter(str(newest), "3.10.13", "pyenv")
    assert choose("theano", ["3.9", "3.10"]).source == "PATH"


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("bin/python3", "PATH"),
        (".pyenv/versions/3.6.15/bin/python", "pyenv"),
        ("miniconda3/bin/python", "conda"),
        ("miniconda3/envs/old/bin/python", "conda"),
        ("elsewhere/bin/python3.6", "conda"),
        (".local/share/uv/python/cpython-3.6.15-linux-x86_64-gnu/bin/python3.6", "uv"),
        (".asdf/installs/python/3.6.15/bin/python", "asdf"),
    ],
)
def test_where_is_looked(machine, place, source):
    path = put(machine / place, "3.6.15")
    (machine / ".conda").mkdir()
    (machine / ".conda" / "environments.txt").write_text(f"{machine / 'elsewhere'}\n{machine / 'gone'}\n")
    assert found(["3.6"]) == [Interpreter(str(path), "3.6.15", source)]


def test_pyenv_and_conda_may_be_elsewhere(machine, monkeypatch):
    put(machine / "p" / "versions" / "3.6.15" / "bin" / "python", "3.6.15")
    put(machine / "c" / "envs" / "old" / "bin" / "python", "3.6.14")
    monkeypatch.setenv("PYENV_ROOT", str(machine / "p"))
    monkeypatch.setenv("CONDA_EXE", str(machine / "c" / "bin" / "conda"))
    assert {one.source: one.version for one in found()} == {"pyenv": "3.6.15", "conda": "3.6.14"}


def test_one_interpreter_with_many_names_counts_once(machine):
    path = put(machine / "bin" / "python3.6", "3.6.15")
    (machine / "bin" / "python3").symlink_to(path)
    (machine / "bin" / "python").symlink_to("python3")
    assert [one.path for one in found()] == [str(path)]


def test_what_its_name_rules_out_is_not_run(machine):
    other = put(machine / "bin" / "python3.12", "3.12.1")
    put(machine / ".pyenv" / "versions" / "3.6.15" / "bin" / "python", "3.6.15")
    assert choose("cntk", ["3.6"]).version == "3.6.15"
    assert runs(other) == 0


def test_shims_are_passed_over(machine, monkeypatch):
    shim = put(machine / ".pyenv" / "shims" / "python3.6", "3.6.15")
    monkeypatch.setenv("PATH", str(shim.parent))
    assert found() == [] and runs(shim) == 0


def test_none_found_tells_what_would_do_where_was_looked_and_how_to_get_one(machine):
    put(machine / "bin" / "python3.12", "3.12.1")
    put(machine / "bin" / "python3", "3.9.1", implementation="PyPy")
    with pytest.raises(EnvironmentFault) as caught:
        choose("cntk", ["3.6"])
    message = str(caught.value)
    assert caught.value.reason == "interpreter" and caught.value.fix == "pyenv install 3.6"
    for part in ("'cntk' needs Python 3.6", f"{machine}/.pyenv", "found: 3.12)", "conda create -n py36 python=3.6",
                 "deadsnakes", "PORTANET_PYTHON_CNTK=/path/to/python3.6"):  # fmt: skip
        assert part in message


def test_the_named_interpreter_is_the_one(machine, monkeypatch):
    put(machine / "bin" / "python3.6", "3.6.15")
    mine = put(machine / "mine" / "py", "3.6.9")
    monkeypatch.setenv("PORTANET_PYTHON_CNTK", "~/mine/py")
    assert choose("cntk", ["3.6"]) == Interpreter(str(mine), "3.6.9", "PORTANET_PYTHON_CNTK")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no such file"),
        ("", "it is not executable"),
        ("#!/no/such/shell", "it cannot be run: No such file or directory"),
        ("#!/bin/sh\necho nonsense; echo 'bad libc' >&2", "it does not answer as Python does: bad libc"),
        ('#!/bin/sh\necho \'["CPython", "3.12.1", 64]\'', "it is Python 3.12.1"),
        ('#!/bin/sh\necho \'["PyPy", "3.6.9", 64]\'', "it is PyPy 3.6.9 of 64 bits; CPython of 64 bits is needed"),
        ('#!/bin/sh\necho \'["CPython", "3.6.9", 32]\'', "it is CPython 3.6.9 of 32 bits"),
    ],
)
def test_a_named_interpreter_that_will_not_do(machine, monkeypatch, content, problem):
    mine = machine / "mine"
    if content is not None:
        mine.write_text(content)
        mine.chmod(0o755 if content else 0o644)
    put(machine / "bin" / "python3.6", "3.6.15")
    monkeypatch.setenv("PORTANET_PYTHON_CNTK", str(mine))
    with pytest.raises(EnvironmentFault) as caught:
        choose("cntk", ["3.6"])
    assert str(caught.value).startswith(f"PORTANET_PYTHON_CNTK={mine}: {problem}")
    assert "needs the path of a Python 3.6" in str(caught.value)


def test_the_real_thing(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert probe(sys.executable) == Interpreter(sys.executable, sys.version.split()[0])


def test_the_launcher_of_windows(monkeypatch):
    listed = " -V:3.11 *        C:\\Python 311\\python.exe\n -V:3.6          C:\\Old\\python.exe *\nnothing\n"
    monkeypatch.setattr(interpreters.shutil, "which", lambda name: "C:\\Windows\\py.exe")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout=listed))
    assert list(map(str, interpreters._launcher_pythons())) == ["C:\\Python 311\\python.exe", "C:\\Old\\python.exe"]
