"""``portanet benchmark``: what it refuses, what it lists, and one net of the user's own from command line to report."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import portanet
from portanet.benchmarks import command, contestants, launch, machine, models
from portanet.benchmarks.records import Contestant
from portanet.cli import main

NET = """
from portanet import NeuralNet, layers
net = NeuralNet([("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
                hidden_num_units=5, update_learning_rate=0.1, batch_size=16, max_epochs=3)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the user works, with a net and its data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORTANET_DATA", raising=False)
    monkeypatch.setattr(machine, "matmul_peak", lambda threads: 1.0)
    (tmp_path / "my_net.py").write_text(NET)
    rng = np.random.default_rng(0)
    np.save("X.npy", rng.normal(size=(60, 4)).astype("float32"))
    np.save("y.npy", rng.integers(0, 3, 60))
    return tmp_path


@pytest.fixture
def only_numpy(monkeypatch):
    """Of the engines only NumPy is there."""

    def listed(engines=None, devices=("cpu",), peers=()):
        names = engines or ["numpy", "torch"]
        return [Contestant(f"{name}-cpu", f"portanet on {name}", "portanet", name, "cpu", "",
                           "" if name == "numpy" else f"{name} is not installed") for name in names]  # fmt: skip

    monkeypatch.setattr(contestants, "listed", listed)


def told(capsys, *argv, status=2):
    """What the command says, on both streams."""
    assert main(["benchmark", *argv]) == status
    said = capsys.readouterr()
    return said.out + said.err


@pytest.mark.parametrize("argv, words", [
    (["P66"], "did you mean 'P6'"),
    (["P6", "--engines", "numpy,touch"], "unknown backend 'touch' (did you mean 'torch'?)"),
    (["P6", "--engines", "numpy", "--devices", "tpu"], "tpu"),
    (["P6", "--peers", "keas"], "did you mean 'keras'"),
    (["P6", "--engines", "numpy", "--points", "64,many"], "--points takes positive whole numbers"),
    (["P6", "--engines", "numpy", "--batch-sizes", "0"], "--batch-sizes takes positive whole numbers"),
    (["P6", "--engines", "numpy", "--epochs", "1"], "epochs must be at least 2"),
    (["P6", "--engines", "numpy", "--threads", "0"], "threads must be at least 1; got 0"),
    (["P6", "--timeout", "0"], "--timeout takes a positive number of seconds; got 0"),
    (["P6", "--data", "X.npy", "y.npy"], "P6 brings its own data"),
    (["my_net.py:net"], "needs its data"),
    (["my_net.py:nett", "--data", "X.npy", "y.npy"], "did you mean 'net'"),
    (["no_net.py:net", "--data", "X.npy", "y.npy"], "no_net.py"),
])  # fmt: skip
def test_bad_input_is_told_in_a_sentence(capsys, argv, words):
    assert words in told(capsys, *argv)


def test_a_model_file_that_fails_to_import(folder, capsys):
    (folder / "broken.py").write_text("import no_such_module")
    said = told(capsys, "broken.py:net", "--data", "X.npy", "y.npy", "--engines", "numpy")
    assert "No module named 'no_such_module'" in said
    assert not (folder / "benchmark-results").exists()


def test_arrays_that_do_not_match(capsys):
    np.save("y.npy", np.zeros(7, int))
    said = told(capsys, "my_net.py:net", "--data", "X.npy", "y.npy", "--engines", "numpy")
    assert "X has 60 rows, y has 7" in said


@pytest.mark.parametrize("missing", command.NEEDED)
def test_without_the_extra_it_says_what_to_install(missing, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    assert f"benchmarks need {missing}; run: pip install 'portanet[benchmark]'" in told(capsys, "P6")


def test_the_list_names_models_and_contestants(only_numpy, capsys):
    said = told(capsys, "--list", status=0)
    assert all(name in said for name in models.names())
    assert "torch is not installed" in said


@pytest.mark.parametrize("argv, points", [
    ([], [{}]), (["--points", "8,16,8"], [{"width": 8}, {"width": 16}]),
    (["--batch-sizes", "32"], [{"batch_size": 32}]),
    (["--points"], [{"width": value} for value in models.find("width").values]),
])  # fmt: skip
def test_a_sweep_goes_over_what_is_asked_for(argv, points, monkeypatch):
    from portanet.cli import _parser

    args = _parser().parse_args(["benchmark", "width", *argv])
    assert command.points(models.find("width"), args) == points


def test_ones_own_net_from_command_line_to_report(only_numpy, folder, capsys):
    argv = ["my_net.py:net", "--data", "X.npy", "y.npy", "--quick", "--threads", "1", "--out", "results"]
    said = told(capsys, *argv, status=0)
    assert "of the engines only NumPy can be used here" in said
    assert "no basis for claims" in said
    assert "gate: numpy-cpu: same" in said
    assert "gate: torch-cpu: absent: torch is not installed" in said
    assert "Tool" in said
    assert (folder / "results" / "report.html").is_file()
    again = told(capsys, *argv, status=0)
    assert "1 of 1 measurements are there already" in again
    assert "results holds another run: epochs: 2 there, 4 now" in told(capsys, *argv, "--epochs", "4")


def test_where_nobody_can_be_measured_the_status_says_so(only_numpy, capsys):
    argv = ["my_net.py:net", "--data", "X.npy", "y.npy", "--quick", "--engines", "torch", "--out", "results"]
    assert "torch is not installed" in told(capsys, *argv, status=1)


def test_ctrl_c_says_how_to_go_on(only_numpy, capsys, monkeypatch):
    def interrupted(job, timeout, sampler=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "finish", interrupted)
    argv = ["my_net.py:net", "--data", "X.npy", "y.npy", "--quick", "--out", "results"]
    assert "The same command with --out results goes on from there" in told(capsys, *argv, status=130)


def test_the_module_does_what_the_command_does():
    command = [sys.executable, "-m", "portanet.benchmarks", "P66"]
    path = str(Path(portanet.__file__).parents[1])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 2
    assert "did you mean 'P6'" in done.stderr
