"""The process of one measurement: what it writes, whatever happens in it."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import portanet
from portanet.benchmarks import gate, measure, records
from portanet.benchmarks.contestants import Trainer
from portanet.benchmarks.prepare import digest
from portanet.benchmarks.records import Contestant, Epoch, Header, Measurement, Usage
from portanet.exceptions import DataError

RNG = np.random.default_rng(0)
X, Y = RNG.random((60, 6), dtype=np.float32), (np.arange(60) % 3).astype(np.int32)
X_TEST, Y_TEST = RNG.random((9, 6), dtype=np.float32), (np.arange(9) % 3).astype(np.int32)
NUMPY = Contestant("numpy-cpu", "portanet on NumPy", "portanet", "numpy")
SCIKIT = Contestant("sklearn-numpy-cpu", "scikit-learn", "peer", "numpy", library="sklearn")
SOURCE = """
from portanet import NeuralNet, layers, updates

net = NeuralNet(
    [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
    hidden_num_units=5, update=updates.momentum, update_learning_rate=0.1, batch_size=20, train_split=None, verbose=0,
)
"""


@pytest.fixture
def job(tmp_path):
    """``job(**changes)``: one in a run's folder that holds what `prepare` puts there."""
    (tmp_path / "my_net.py").write_text(SOURCE)
    data = tmp_path / "data"
    data.mkdir()
    for name, array in (("X", X), ("y", Y), ("X_test", X_TEST), ("y_test", Y_TEST)):
        np.save(data / f"{name}.npy", array)
    rng = np.random.default_rng(1)
    for name, units in (("weights-0", 5), ("weights-4", 5), ("weights-0-hidden_num_units7", 7)):
        shapes = {"hidden.W": (6, units), "hidden.b": (units,), "output.W": (units, 3), "output.b": (3,)}
        weights = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
        np.savez(data / f"{name}.npz", **weights)
    header = Header(
        "mine", "mine", "?", f"{tmp_path / 'my_net.py'}:net", {}, [], {"name": "mine", "real": True}, {}, 3, 1, 1, [{}],
        None, [NUMPY], {}, "",
    )  # fmt: skip
    records.write(tmp_path / "run.json", header)

    def write(contestant=NUMPY, **changes):
        return {"task": "measure", "folder": str(tmp_path), "out": str(tmp_path / "work" / "out.json"), "repeat": 0,
                "point": {}, "seed": 0, "contestant": asdict(contestant), **changes}  # fmt: skip

    (tmp_path / "work").mkdir()
    return write


def run(job):
    """A job in a process of its own; the process and the result."""
    path = Path(job["folder"], "job.json")
    path.write_text(json.dumps(job))
    home = str(Path(portanet.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "portanet.benchmarks.measure", str(path)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": home, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    return done, json.loads(Path(job["out"]).read_text())


def test_a_process_measures_one_contestant(job):
    done, result = run(job())
    assert done.returncode == 0, done.stderr
    begin, end = result["window"]
    told = result["measurement"]
    assert told["status"] == "ok"
    assert 0 < sum(epoch["seconds"] for epoch in told["epochs"]) <= end - begin
    assert [set(epoch) for epoch in told["epochs"]] == [{"seconds", "train_loss", "test_error"}] * 3
    assert told["imports"] > 0
    assert told["rows"] == 60
    assert told["record"]["engine"] == "numpy"
    labels = np.load(Path(job()["out"]).with_suffix(".classes.npy"))
    assert told["test_error"] == told["epochs"][-1]["test_error"] == np.mean(labels != Y_TEST)


def test_a_measurement_can_be_made_of_it(job):
    told = measure.done(job())["measurement"]
    told["epochs"] = [Epoch(**epoch) for epoch in told["epochs"]]
    made = Measurement(**told, usage=Usage(1.0, 1.0, [1.0], 1, 1))
    assert (made.name, made.status, len(made.epochs)) == ("numpy-cpu-0", "ok", 3)


@pytest.mark.parametrize("contestant", [NUMPY, SCIKIT], ids=lambda one: one.key)
def test_it_reports_the_weights_it_started_from(job, contestant):
    with np.load(Path(job()["folder"], "data", "weights-4.npz")) as arrays:
        wanted = digest(dict(arrays))
    told = measure.done(job(contestant, seed=4))["measurement"]
    assert told["weights_sha256"] == wanted


def test_the_seed_decides_the_batches(job):
    first, again, other = (measure.done(job(seed=seed))["measurement"]["epochs"] for seed in (0, 0, 4))
    losses = [[epoch["train_loss"] for epoch in epochs] for epochs in (first, again, other)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_point_of_a_sweep_has_weights_of_its_own(job):
    told = measure.done(job(point={"hidden_num_units": 7}))["measurement"]
    assert (told["status"], told["point"]) == ("ok", {"hidden_num_units": 7})


def test_another_number_of_epochs_may_be_asked_for(job):
    assert len(measure.done(job(epochs=1))["measurement"]["epochs"]) == 1


def test_a_failure_is_a_result_with_one_line(job):
    done, result = run(job(Contestant("theano-gpu", "portanet on Theano", "portanet", "nothing")))
    assert done.returncode == 0
    assert result["measurement"]["status"] == "failed"
    assert result["measurement"]["reason"].startswith("unknown backend 'nothing'")
    assert "\n" not in result["measurement"]["reason"]
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("file", ["data/X.npy", "data/weights-0.npz", "run.json", "my_net.py"])
def test_what_is_missing_is_told(job, file):
    Path(job()["folder"], file).unlink()
    told = measure.done(job())["measurement"]
    assert told["status"] == "failed"
    assert Path(file).name in told["reason"]


def test_a_layer_that_a_peer_does_not_have_is_told(job):
    path = Path(job()["folder"], "my_net.py")
    path.write_text(SOURCE.replace('("hidden",', '("norm", layers.BatchNormLayer), ("hidden",'))
    told = measure.done(job(SCIKIT))["measurement"]
    assert told["reason"].startswith("layer 'norm' (BatchNormLayer) can't be translated for other libraries")


def test_without_a_job_it_says_how(capsys):
    assert measure.main([]) == 2
    assert "JOB.json" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "reason"), [
    (DataError("no rows;\n  give some"), "no rows; give some"), (KeyError("x"), "KeyError: 'x'"),
    (MemoryError(), "MemoryError"),
])  # fmt: skip
def test_reasons_are_one_line(error, reason):
    assert measure.reason_of(error) == reason


def test_the_gate_writes_what_it_saw(job):
    result = measure.done(job(task="gate"))
    with np.load(result["seen"]) as seen:
        assert {key.partition("/")[0] for key in seen} == {*gate.CHECKS, "floatX"} - {"schedule"}
        assert str(seen["floatX"]) == "float32"


def test_the_gate_computes_in_the_float_type_asked_for(job):
    result = measure.done(job(task="gate", floatX="float64"))
    with np.load(result["seen"]) as seen:
        assert seen["steps/hidden.W"].dtype == np.float64


def test_the_gate_tells_parameters_that_are_not_those_declared(job):
    folder = Path(job()["folder"], "data")
    os.replace(folder / "weights-0-hidden_num_units7.npz", folder / "weights-0.npz")
    assert "hidden.W" in measure.done(job(task="gate"))["different"]
    assert "hidden.W" in measure.done(job(SCIKIT, task="gate"))["different"]


def test_the_gate_and_a_run_work_hand_in_hand(job):
    header = records.read(Path(job()["folder"], "run.json"), Header)
    found = gate.judge(header, job()["folder"], SCIKIT, timeout=120)
    assert (found.status, found.reason) == ("same", "")


class Plain(Trainer):
    def probabilities(self, X):
        return np.eye(3)[[0, 1, 2] * 3]


def test_labels_are_those_of_the_data():
    from portanet.benchmarks.datasets import Dataset

    data = Dataset("x", True, X, Y, X_TEST, np.array([0, 1, 2] * 2 + [0, 0, 0], np.int32))
    watch = measure.Watch(Plain(NUMPY, 1), data)
    watch.after_epoch(1.5, 0.25)
    assert watch.epochs == [Epoch(1.5, 0.25, pytest.approx(2 / 9))]
    assert watch.labels.tolist() == [0, 1, 2] * 3


def test_numbers_have_no_error_rate():
    from portanet.benchmarks.datasets import Dataset

    watch = measure.Watch(Plain(NUMPY, 1), Dataset("x", True, X, X[:, 0], X_TEST, X_TEST[:, 0]))
    watch.after_epoch(1.5, 0.25)
    assert watch.epochs[0].test_error is None
    assert watch.labels is None


def test_nothing_heavy_is_imported_with_the_module():
    code = "import sys, portanet.benchmarks.measure; print({'numpy', 'sklearn', 'torch'} & set(sys.modules))"
    home = str(Path(portanet.__file__).parents[1])
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": home})  # fmt: skip
    assert told.stdout.strip() == "set()"
