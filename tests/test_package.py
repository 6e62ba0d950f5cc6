"""Importing portanet is light and silent; the demo does its job."""

import json
import subprocess
import sys

import pytest

import portanet

HEAVY = ("sklearn", "scipy", "matplotlib", "pandas", "torch", "jax", "tensorflow", "mxnet", "theano", "cntk", "cupy")
REPORT = "import sys, json; print(json.dumps([name for name in {!r} if name in sys.modules]))"


def python(*args):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True)


@pytest.mark.parametrize("statement", ["import portanet", "from portanet import layers, ops, updates, objectives"])
def test_import_is_silent_and_brings_nothing_heavy(statement):
    done = python("-W", "error", "-c", f"{statement}; {REPORT.format(HEAVY)}")
    assert json.loads(done.stdout) == []
    assert done.stderr == ""


def test_import_alone_does_not_even_bring_numpy():
    assert json.loads(python("-c", f"import portanet; {REPORT.format(('numpy',))}").stdout) == []


def test_public_names_are_there():
    for name in portanet.__all__:
        assert getattr(portanet, name) is not None
    assert set(portanet.__all__) <= set(dir(portanet))
    with pytest.raises(AttributeError, match="no attribute 'NeuralNets'"):
        portanet.NeuralNets  # noqa: B018


def test_demo_reaches_96_percent_on_digits():
    printed = python("-m", "portanet", "demo").stdout
    accuracy = float(printed.split("test accuracy")[1].split("%")[0])
    assert accuracy >= 96
    for part in ("train loss", "valid acc", "precision", "engine         numpy", "compiling", "training"):
        assert part in printed
