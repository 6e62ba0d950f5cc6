import json
import os
import subprocess
import sys
import types

import pytest

import portanet
from portanet.cli import main
from portanet.exceptions import ConfigError
from portanet.runtime import registry


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for variable in [name for name in os.environ if name.startswith("PORTANET_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(portanet, "__version__", "0.1.0", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    registry.load.cache_clear()
    yield tmp_path
    registry.load.cache_clear()


@pytest.fixture
def demo(monkeypatch):
    """Stands in for the demo; records what the command line asks of it."""
    asked = []
    module = types.ModuleType("portanet.demo")
    module.main = asked.append
    monkeypatch.setitem(sys.modules, "portanet.demo", module)
    return asked


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "portanet 0.1.0\n"


def test_nothing_asked_prints_the_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("demo", "config", "devices", "doctor", "env", "parity", "--version"))


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "portanet", "config", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["backend"] == {"value": "numpy", "source": "default"}


def test_config_table_shows_values_and_sources(place, monkeypatch, capsys):
    (place / "portanet.toml").write_text("data_dir = 'sets'\n[options.torch]\nfuse = true")
    monkeypatch.setenv("PORTANET_DEVICE", "cpu")
    assert main(["config"]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["setting", "value", "source"]
    assert ["backend", "numpy", "default"] in rows
    assert ["device", "cpu", "environment PORTANET_DEVICE"] in rows
    assert ["data_dir", str(place / "sets"), f"project file {place / 'portanet.toml'}"] in rows
    assert ["options.torch.fuse", "True", f"project file {place / 'portanet.toml'}"] in rows


def test_config_json(monkeypatch, capsys):
    monkeypatch.setenv("PORTANET_DATA", "/sets")
    assert main(["config", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["data_dir"] == {"value": "/sets", "source": "environment PORTANET_DATA"}
    assert rows["threads"] == {"value": None, "source": "default"}


def test_an_error_is_one_sentence_and_status_2(monkeypatch, capsys):
    monkeypatch.setenv("PORTANET_BACKEND", "nunpy")
    assert main(["config"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("portanet: error: environment PORTANET_BACKEND: unknown backend 'nunpy'")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("argv", [["--traceback", "config"], ["config", "--traceback"]])
def test_the_traceback_is_shown_on_demand(monkeypatch, capsys, argv):
    monkeypatch.setenv("PORTANET_BACKEND", "nunpy")
    assert main(argv) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_import_prints_the_file_and_the_notes_apart(place, capsys):
    (place / ".theanorc").write_text("[global]\ndevice = cuda0\nopenmp = True")
    assert main(["config", "import", str(place / ".theanorc")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == 'device = "gpu:0"'
    assert "note: " in captured.err and "openmp" in captured.err


def test_import_writes_and_does_not_overwrite(place, capsys):
    (place / "keras.json").write_text('{"floatx": "float64"}')
    argv = ["config", "import", str(place / "keras.json"), "--output", "portanet.toml"]
    assert main(argv) == 0
    assert "wrote portanet.toml" in capsys.readouterr().out
    assert main(argv) == 2
    assert "exists already; replace it with --force" in capsys.readouterr().err
    assert main([*argv, "--force"]) == 0
    assert main(["config", "--json"]) == 0
    assert '"value": "float64"' in capsys.readouterr().out


def test_import_without_a_path_looks_in_the_usual_places(place, monkeypatch, capsys):
    monkeypatch.setenv("THEANORC", str(place / "mine"))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert main(["config", "import"]) == 2
    assert f"looked at {place / 'mine'}" in capsys.readouterr().err


def test_devices_lists_what_is_there_and_why_the_rest_is_not(monkeypatch, capsys):
    gpu = {
        "kind": "gpu",
        "code": "cupy-not-installed",
        "reason": "CuPy is not installed",
        "fix": "pip install cupy",
    }
    adapter = types.SimpleNamespace(
        name="numpy",
        version="2.4",
        devices=lambda kind=None: ([{"kind": "cpu", "index": 0, "name": "x86_64"}], [gpu]),
        compile=None,
    )
    module = types.SimpleNamespace(backend=lambda: adapter)
    monkeypatch.setitem(sys.modules, "portanet.engine.backends.numpy_backend", module)
    assert main(["devices"]) == 0
    rows = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert ["numpy", "2.4", "cpu", "x86_64"] in rows
    assert [
        "numpy",
        "2.4",
        "gpu",
        "absent (cupy-not-installed): CuPy is not installed; fix: pip install cupy",
    ] in rows
    assert any(row[0] == "cntk" and "portanet env create cntk" in row[3] for row in rows)


def test_demo_gets_its_options(demo):
    argv = ["demo", "--backend", "numpy", "--device", "cpu", "--epochs", "3", "--seed", "7"]
    assert main(argv) == 0
    assert (demo[0].backend, demo[0].device, demo[0].epochs, demo[0].seed) == ("numpy", "cpu", 3, 7)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigError("not so"), (2, "portanet: error: not so\n")),
        (KeyboardInterrupt(), (130, "portanet: interrupted\n")),
    ],
)
def test_what_ends_a_demo_is_told(demo, monkeypatch, capsys, error, told):
    def fail(args):
        raise error

    monkeypatch.setattr(sys.modules["portanet.demo"], "main", fail)
    assert (main(["demo"]), capsys.readouterr().err) == told


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train"])
    assert caught.value.code == 2
    assert "invalid choice: 'train'" in capsys.readouterr().err
