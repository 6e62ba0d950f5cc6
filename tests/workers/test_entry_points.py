"""A third party's engine, installed for real: found by its entry point, run here and in a worker."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

import portanet

PACKAGE = Path(__file__).with_name("third_party")
HOUSE = Path(portanet.__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory, missing):
    """A folder of packages that holds it."""
    source, site = tmp_path_factory.mktemp("source") / "tiny", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    made = subprocess.run([find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(source)],
                          env=dict(os.environ, UV_PYTHON_DOWNLOADS="never", UV_PYTHON=sys.executable),
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    if made.returncode:
        missing("a third party's engine", f"uv could not install it: {made.stderr.strip()[-300:]}")
    return site


def run(site, script, **variables):
    """What a script prints as JSON in its last line, with the package at hand."""
    given = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HOUSE), str(site)]), PYTHONWARNINGS="error",
                 **variables)  # fmt: skip
    made = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True, text=True, timeout=120,
                          check=False)  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return json.loads(made.stdout.splitlines()[-1])


FIT = """
import json, os
import numpy as np
from portanet import NeuralNetClassifier
from portanet.exceptions import DeviceUnavailable
from portanet.runtime import registry

X = np.random.default_rng(0).standard_normal((40, 6)).astype("float32")
y = X[:, :3].argmax(axis=1)
found = {"known": registry.check("tiny") in registry.known(), "installed": "tiny" in registry.names()}
curves = []
for isolate in (False, True):
    net = NeuralNetClassifier(hidden_num_units=5, max_epochs=3, random_state=0, backend="tiny", isolate=isolate)
    curves.append([row["train_loss"] for row in net.fit(X, y).train_history_])
    found["isolated" if isolate else "here"] = [net.record_[key] for key in ("engine", "backend", "device_name")]
    found["pid" if isolate else "no pid"] = net.record_.get("worker", {}).get("pid")
    try:
        net.set_params(hidden_num_units=7, options={"units": 6}).fit(X, y)
    except DeviceUnavailable as error:
        found[f"fault {isolate}"] = [str(error), error.reason]
    try:
        net.set_params(options={"unit": 6}).fit(X, y)
    except ValueError as error:
        found[f"option {isolate}"] = str(error)
found["same"] = curves[0] == curves[1]
found["another process"] = found.pop("pid") != os.getpid()
print(json.dumps(found))
"""


def test_it_is_found_and_runs_here_and_in_a_worker(site):
    found = run(site, FIT)
    what = ["tiny", "tiny", "tiny"]
    full = "device 'auto' failed on backend 'tiny': tiny is full; fix: take fewer units"
    option = "backend 'tiny' has no option 'unit' (did you mean 'units'?); allowed: reproducible, threads, units"
    assert found == {
        "known": True, "installed": True, "here": what, "isolated": what, "no pid": None, "same": True,
        "another process": True, "fault False": [full, "tiny-full"], "fault True": [full, "tiny-full"],
        "option False": option, "option True": option,
    }  # fmt: skip


SEARCH = """
import json, os
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_validate
from portanet import NeuralNetClassifier

if __name__ == "__main__":
    X, y = load_iris(return_X_y=True)
    net = NeuralNetClassifier(hidden_num_units=8, max_epochs=5, random_state=0, backend="tiny")
    rates = {"update_learning_rate": [0.001, 0.02]}
    alone, both = (GridSearchCV(net, rates, cv=2, n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    made = cross_validate(net, X, y, cv=2, n_jobs=2, return_estimator=True, return_indices=True)
    tried, rows = made["estimator"], made["indices"]["test"]
    print(json.dumps({
        "same": np.array_equal(alone.cv_results_["mean_test_score"], both.cv_results_["mean_test_score"]),
        "best": both.best_params_, "threads": [net.record_["threads"] for net in tried], "score": both.score(X, y),
        "cores": os.cpu_count(), "isolated": all(net.record_["isolated"] for net in tried),
        "not here": os.getpid() not in {net.record_["worker"]["pid"] for net in tried},
        "usable": [net.score(X[part], y[part]) for net, part in zip(tried, rows)] == made["test_score"].tolist(),
    }))
"""


def test_a_grid_search_over_two_processes_shares_the_threads(site):
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    found = json.loads(subprocess.run(
        [sys.executable, "-W", "error", "-c", SEARCH], capture_output=True, text=True, timeout=120, check=True,
        env={**variables, "PYTHONPATH": os.pathsep.join([str(HOUSE), str(site)]), "PORTANET_ISOLATE": "1"},
    ).stdout)  # fmt: skip
    assert found["same"] and found["isolated"] and found["not here"] and found["usable"]
    assert found["best"] == {"update_learning_rate": 0.02}
    assert found["threads"] == [max(found["cores"] // 2, 1)] * 2
