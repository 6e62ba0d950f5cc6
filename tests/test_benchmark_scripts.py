"""The scripts in `benchmarks/` start, and those that take turns do."""

import importlib.util
import re
import subprocess
import sys

import pytest
from watched_twin import BENCHMARKS

FIGURE = r"[\d,.]+"


def said_by(script, *arguments):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_a_script_says_what_it_takes(script):
    assert said_by(script, "--help").startswith("usage: ")


def test_portanet_and_a_loop_take_turns(missing):
    if importlib.util.find_spec("torch") is None:
        missing("torch", "it cannot be imported")
    told = said_by("turns.py", "torch", "p1", "--epochs", "3", "--threads", "1")
    assert re.match(rf"p1 torch +portanet +{FIGURE}/s, by hand +{FIGURE}/s; by hand / portanet by pairs {FIGURE}", told)


def test_a_worker_and_this_process_take_turns():
    told = said_by("workers.py", "numpy", "p1", "--epochs", "3")
    assert re.match(rf"p1 numpy +worker +{FIGURE}/s, in process +{FIGURE}/s; worker / in process by pairs", told)
