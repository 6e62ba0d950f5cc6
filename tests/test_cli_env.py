import json
import os
import shutil
import sys

import pytest
import tiny_engine

from portanet.cli import main
from portanet.runtime import doctor, environments, recipes, registry
from portanet.runtime.doctor import Finding
from portanet.runtime.environment_records import STAMP
from portanet.runtime.interpreters import Interpreter


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty PORTANET_HOME, the one engine "tiny", and no network."""
    for variable in [name for name in os.environ if name.startswith(("PORTANET_", "UV_", "PIP_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(recipes, "LOCKS", recipes.LOCKS)
    for name in list(recipes.RECIPES):
        monkeypatch.delitem(recipes.RECIPES, name)
    tiny_engine.install_recipe(tmp_path / "wheels")
    for variable, value in tiny_engine.settings(tmp_path / "wheels", tmp_path / "home").items():
        if not variable.startswith("PORTANET_PYTHON"):
            monkeypatch.setenv(variable, value)
    monkeypatch.setattr(environments, "choose", lambda *_: Interpreter(sys.executable, "3.99.1"))
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def told(capsys, *argv):
    """Exit status, output and errors."""
    status = main(list(argv))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_from_creation_to_removal(home, capsys):
    assert told(capsys, "env", "list") == (0, "no environments; make one: portanet env create NAME\n", "")
    status, out, _ = told(capsys, "env", "create", "tiny")
    assert status == 0 and "tiny: ready in" in out
    rows = [line.split() for line in told(capsys, "env", "list")[1].splitlines()]
    python = sys.version.split()[0]
    assert rows[0] == ["engine", "version", "python", "numpy", "from", "state", "folder"]
    assert rows[1] == ["tiny", "1.5", python, "0.1", "portanet", "ready", str(home / "envs" / "tiny")]
    facts = dict(line.split(maxsplit=1) for line in told(capsys, "env", "info", "tiny")[1].splitlines())
    assert facts["state"] == "ready" and facts["versions"] == f"numpy 0.1, python {python}, tiny 1.5"
    assert "passes its self-test" in told(capsys, "env", "repair", "tiny")[1]
    assert told(capsys, "env", "remove", "tiny") == (0, f"tiny: removed {home / 'envs' / 'tiny'}\n", "")
    status, _, err = told(capsys, "env", "info", "tiny")
    assert status == 2
    assert err == "portanet: error: engine 'tiny' has no environment; make it: portanet env create tiny\n"


def test_json(home, capsys):
    told(capsys, "env", "create", "--all")
    listed = json.loads(told(capsys, "env", "list", "--json")[1])
    info = json.loads(told(capsys, "env", "info", "tiny", "--json")[1])
    assert [row["engine"] for row in listed] == ["tiny"]
    assert info["python"] == listed[0]["python"] and info["state"] == "ready" and info["megabytes"] >= 0
    assert isinstance(info["variables"], dict) and "PATH" not in info["variables"]


def test_one_of_your_own(home, capsys, tmp_path):
    told(capsys, "env", "create", "tiny")
    shutil.copytree(home / "envs" / "tiny", tmp_path / "own", symlinks=True)
    status, out, _ = told(capsys, "env", "use", "tiny", str(tmp_path / "own" / "bin" / "python"))
    assert status == 0 and "is used from now on (tiny 1.5" in out
    assert told(capsys, "env", "list")[1].splitlines()[1].split()[4] == "you"
    assert told(capsys, "env", "remove", "tiny")[1] == f"tiny: no longer used: {tmp_path / 'own'}\n"


def test_broken_and_outdated_ones_are_marked(home, capsys):
    told(capsys, "env", "create", "tiny")
    with (home.parent / "wheels" / "tiny.txt").open("a") as lock:
        lock.write("# newer\n")
    assert told(capsys, "env", "list")[1].splitlines()[1].split()[5] == "outdated"
    (home / "envs" / "tiny" / "bin" / "python").unlink()
    assert told(capsys, "env", "list")[1].splitlines()[1].split()[5] == "broken"
    assert "is gone" in told(capsys, "env", "info", "tiny")[1]
    status, out, _ = told(capsys, "env", "repair", "tiny")
    assert status == 0 and "ready in" in out


def test_errors_are_one_sentence_and_status_2(home, capsys):
    for argv, sentence in [
        (["env", "create", "tinny"], "'tinny' (did you mean 'tiny'?)"),
        (["env", "create"], "name the engines to make environments for, or say --all: tiny"),
        (["env", "create", "tiny", "--all"], "name the engines"),
        (["env", "remove", "tiny"], "engine 'tiny' has no environment"),
        (["env", "use", "tiny", "/no/python"], "/no/python: there is no such file"),
    ]:
        status, _, err = told(capsys, *argv)
        assert status == 2 and err.startswith("portanet: error: ") and sentence in err
        assert len(err.splitlines()) == 1


def test_one_that_fails_does_not_keep_the_others_from_their_turn(home, capsys, monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "far", recipes.Recipe("far", ("3.6",), "tiny.txt", 10**9, ""))
    monkeypatch.setitem(recipes.RECIPES, "tiny", recipes.RECIPES.pop("tiny"))
    status, out, err = told(capsys, "env", "create", "--all")
    assert status == 2 and "tiny: ready in" in out
    assert "portanet: error: engine 'far': not enough disk space" in err and err.endswith("portanet: failed: far\n")


def test_env_alone_prints_its_help(capsys):
    status, out, _ = told(capsys, "env")
    assert status == 0 and all(word in out for word in ("create", "list", "info", "repair", "remove", "use"))


def test_doctor_on_a_healthy_engine(home, capsys):
    status, out, err = told(capsys, "doctor", "numpy")
    assert status == 0 and err == "numpy: passed\n"
    (row,) = json.loads(told(capsys, "doctor", "numpy", "--json")[1])
    assert out.splitlines()[1].split()[:2] == ["numpy", row["version"]]
    assert "passed" in out and out.rstrip().endswith("here")


def test_doctor_on_what_is_not_there(home, capsys):
    missing = "cntk: not installed; run: portanet env create cntk"
    status, out, _ = told(capsys, "doctor", "cntk")
    assert status == 0 and out.splitlines()[-1] == missing
    assert told(capsys, "doctor", "cntk", "--require", "cntk")[0] == 1
    status, _, err = told(capsys, "doctor", "cntk", "--require", "ctnk")
    assert status == 2 and "--require: unknown backend 'ctnk' (did you mean 'cntk'?)" in err
    assert told(capsys, "doctor", "ctnk")[0] == 2


@pytest.mark.parametrize(
    ("script", "complaint"),
    [("echo 'it burns' >&2; exit 3", "it burns"), ("kill -SEGV $$", "SIGSEGV")],
)
def test_doctor_on_a_broken_one(home, capsys, monkeypatch, script, complaint):
    place = home / "envs" / "cntk"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").write_text(f"#!/bin/sh\n{script}\n")
    (place / "bin" / "python").chmod(0o755)
    stamp = {"python": "bin/python", "site": "lib", "versions": {"cntk": "2.7"}, "created": "", "recipe": "x"}
    (place / STAMP).write_text(json.dumps(stamp))
    monkeypatch.setitem(recipes.RECIPES, "cntk", recipes.Recipe("cntk", ("3.6",), "tiny.txt", 1, ""))
    status, out, _ = told(capsys, "doctor", "cntk")
    assert status == 1 and "FAILED" in out
    assert complaint in out.splitlines()[-1] and out.rstrip().endswith("run: portanet env repair cntk")


def test_doctor_on_one_whose_interpreter_is_gone(home, capsys, monkeypatch):
    place = home / "envs" / "cntk"
    place.mkdir(parents=True)
    stamp = {"python": "bin/python", "site": "lib", "versions": {}, "created": "", "recipe": "x"}
    (place / STAMP).write_text(json.dumps(stamp))
    monkeypatch.setitem(recipes.RECIPES, "cntk", recipes.Recipe("cntk", ("3.6",), "tiny.txt", 1, ""))
    status, out, _ = told(capsys, "doctor", "cntk")
    assert status == 1 and out.rstrip().endswith("run: portanet env repair cntk")


def test_doctor_sees_a_wrong_loss(monkeypatch):
    losses = {"numpy": 1.0, "torch": 1.01}

    class Net:
        def __init__(self, name):
            self.history_, self.record_ = [{"train_loss": losses[name]}], {}

    monkeypatch.setattr(doctor, "_trained", Net)
    monkeypatch.setattr(registry, "load", lambda name: type("Engine", (), {"version": "1"}))
    answer = doctor._check("torch")
    assert not answer["passed"] and answer["told"] == "its loss after 5 epochs is 1.01, NumPy's 1"
    losses["torch"] = 1.0005
    assert doctor._check("torch")["passed"]


def test_a_hanging_engine_is_given_up(home, monkeypatch):
    found = next(iter(doctor.examine(["numpy"], timeout=0.01)))
    told = "it was not done after 0.01 s"
    assert found == Finding("numpy", "here", False, python=found.python, told=told, fix=found.fix)
    assert found.broken and doctor.exit_status([found]) == 1


@pytest.mark.parametrize("name", sorted(registry.ROWS))
def test_the_real_engines_are_well(name, missing):
    (found,) = doctor.examine([name])
    if found.where == "nowhere":
        missing(name, f"run: {found.fix}")
    assert found.passed, found
