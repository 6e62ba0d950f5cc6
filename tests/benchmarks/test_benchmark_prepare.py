"""From a model to a run's folder: what is put down, and which folders are gone on with or refused."""

from dataclasses import replace

import numpy as np
import pytest

from portanet import NeuralNet, layers, persistence
from portanet.benchmarks import machine, prepare, records
from portanet.benchmarks.datasets import Dataset, opened
from portanet.benchmarks.models import Model
from portanet.benchmarks.records import Contestant, Header
from portanet.exceptions import ConfigError, DataError

NUMPY, TORCH = (Contestant(f"{name}-cpu", name, "portanet", name) for name in ("numpy", "torch"))


def build(width=4, **overrides):
    declared = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("norm", layers.BatchNormLayer),
                ("output", layers.DenseLayer)]  # fmt: skip
    usual = {"hidden_num_units": width, "update_learning_rate": 0.1, "batch_size": 8, "train_split": None, "verbose": 0}
    return NeuralNet(declared, **{**usual, **overrides})


def load(folder=None):
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 5), np.float32), np.arange(60, dtype=np.int32) // 20
    return Dataset("little", False, X[:40], y[:40] % 2, X[40:], y[40:] % 2, "seeded")


MODEL = Model("M", "little net", "why?", build, load, ({"who": "x", "tool": "y", "figure": "1 s"},), 3, 0.1, "width",
              (4, 8), "M")  # fmt: skip


@pytest.fixture(autouse=True)
def machine_of_the_moment(monkeypatch):
    """So that tests do not wait for a measured peak; changed by a test to be another machine."""
    facts = {"cpu": "one CPU", "memory": 2**30}
    monkeypatch.setattr(machine, "identity", lambda: dict(facts))
    monkeypatch.setattr(machine, "matmul_peak", lambda threads: 1.0)
    return facts


def prepared(folder, model=MODEL, contestants=(NUMPY,), **given):
    return prepare.prepare(model, folder, contestants=contestants, **{"repeats": 2, "threads": 2, **given})


def test_the_header_tells_everything_and_is_what_lies_in_the_folder(tmp_path):
    header = prepared(tmp_path / "new" / "run")
    assert records.read(tmp_path / "new" / "run" / "run.json", Header) == header
    assert (header.model, header.epochs, header.repeats, header.threads, header.points) == ("M", 3, 2, 2, [{}])
    assert (header.data["rows"], header.data["test_rows"], header.data["real"]) == (40, 20, False)
    assert header.spec["layers"] == 4
    assert header.spec["parameters"] == 5 * 4 + 4 + 4 + 4 + 4 * 2 + 2
    assert header.spec["flops"] > 0
    assert header.spec["bytes"] > 0
    assert (header.spec["batch_size"], header.spec["floatX"]) == (8, "float32")
    assert header.machine["fingerprint"] == {"cpu": "one CPU", "memory": 2**30}


def test_every_repeat_has_weights_that_its_seed_decides(tmp_path):
    header = prepared(tmp_path)
    first, second = (dict(np.load(prepare.weights_path(tmp_path, seed, {}))) for seed in (0, 1))
    assert {"hidden.W", "norm.gamma", "norm.mean", "output.b"} <= first.keys()
    assert not np.array_equal(first["hidden.W"], second["hidden.W"])
    assert prepare.digest(first) == header.spec["weights_sha256"]
    data = opened(tmp_path / "data")
    own = build(random_state=0, backend="numpy").initialize(data.X, data.y)
    np.testing.assert_array_equal(first["hidden.W"], own.get_state()["parameters"]["hidden.W"])


def test_weights_may_be_read_by_whoever_may_read_the_run(tmp_path):
    prepared(tmp_path)
    assert prepare.weights_path(tmp_path, 0, {}).stat().st_mode == (tmp_path / "run.json").stat().st_mode


def test_points_of_a_sweep_have_weights_and_figures_of_their_own(tmp_path):
    header = prepared(tmp_path, points=[{"width": 4}, {"width": 8}])
    shapes = [np.load(prepare.weights_path(tmp_path, 0, point))["hidden.W"].shape for point in header.points]
    assert shapes == [(5, 4), (5, 8)]
    small, large = (header.spec["points"][place] for place in ("-width4", "-width8"))
    assert small["flops"] < large["flops"]
    assert header.spec["sha256"] == small["sha256"]


def test_fewer_rows_are_the_first_ones_and_it_is_said(tmp_path):
    header = prepared(tmp_path, rows=30)
    data = opened(tmp_path / "data")
    np.testing.assert_array_equal(data.X, load().X[:30])
    assert len(data.X_test) == 20
    assert "the first 30 of 40 training rows" in header.data["note"]


def test_rows_that_leave_out_a_class_are_refused(tmp_path):
    with pytest.raises(DataError, match="first 10 rows of little do not hold every class"):
        prepared(tmp_path, rows=10)


@pytest.mark.parametrize("given, told", [
    ({"epochs": 1}, "epochs must be at least 2.*got 1"), ({"repeats": 0}, "repeats must be at least 1; got 0"),
    ({"threads": 0}, "threads must be at least 1"), ({"rows": -5}, "rows must be at least 1; got -5"),
])  # fmt: skip
def test_numbers_that_are_too_small_are_refused(tmp_path, given, told):
    with pytest.raises(ConfigError, match=told):
        prepared(tmp_path, **given)
    assert not any(tmp_path.iterdir())


def test_the_same_run_is_gone_on_with_and_its_files_stay(tmp_path):
    first = prepared(tmp_path)
    weights = prepare.weights_path(tmp_path, 0, {})
    weights.write_bytes(b"untouched")
    assert prepared(tmp_path) == first
    assert weights.read_bytes() == b"untouched"


def test_a_run_may_have_more_repeats_and_keeps_its_first_ones(tmp_path):
    first = prepared(tmp_path)
    weights = prepare.weights_path(tmp_path, 0, {})
    weights.write_bytes(b"untouched")
    more = prepared(tmp_path, repeats=first.repeats + 2)
    assert more == replace(first, repeats=first.repeats + 2) == records.read(tmp_path / "run.json", Header)
    assert weights.read_bytes() == b"untouched"
    alone = prepared(tmp_path / "alone", repeats=more.repeats)
    for seed in range(first.repeats, alone.repeats):
        found, expected = (
            persistence.load(prepare.weights_path(folder, seed, {})) for folder in (tmp_path, tmp_path / "alone")
        )
        assert prepare.digest(found) == prepare.digest(expected)


def test_who_was_absent_may_have_come_meanwhile(tmp_path):
    absent = replace(TORCH, absent="not installed")
    prepared(tmp_path, contestants=[NUMPY, absent])
    prepared(tmp_path, contestants=[NUMPY, TORCH])
    assert records.read(tmp_path / "run.json", Header).contestants == [NUMPY, TORCH]


@pytest.mark.parametrize("given, told", [
    ({"epochs": 5}, "epochs: 3 there, 5 now"),
    ({"repeats": 1}, "repeats: 2 there, 1 now"),
    ({"threads": 1}, "threads: 2 there, 1 now"),
    ({"contestants": [TORCH]}, "contestants: numpy-cpu there, torch-cpu now"),
    ({"overrides": {"batch_size": 16}}, "overrides batch_size: None there, 16 now"),
    ({"rows": 30}, "data rows: 40 there, 30 now"),
])  # fmt: skip
def test_another_run_is_refused_with_what_differs(tmp_path, given, told):
    prepared(tmp_path)
    with pytest.raises(ConfigError, match=rf"holds another run: .*{told}.*--out"):
        prepared(tmp_path, **given)


def test_another_net_of_the_same_name_is_refused(tmp_path):
    prepared(tmp_path)
    other = replace(MODEL, build=lambda **given: build(**{"width": 6, **given}))
    with pytest.raises(ConfigError, match="spec sha256"):
        prepared(tmp_path, other)


def test_another_machine_is_refused(tmp_path, machine_of_the_moment):
    prepared(tmp_path)
    machine_of_the_moment["cpu"] = "another CPU"
    with pytest.raises(ConfigError, match="machine cpu: one CPU there, another CPU now"):
        prepared(tmp_path)


def test_a_tuple_among_the_overrides_is_no_difference(tmp_path):
    given = {"overrides": {"input_shape": (None, 5)}}
    assert prepared(tmp_path, **given).created == prepared(tmp_path, **given).created


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"holds thesis\.tex but no run"):
        prepared(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        prepared(tmp_path / "thesis.tex")


def test_a_run_that_was_interrupted_while_its_data_were_written_begins_anew(tmp_path):
    prepared(tmp_path)
    (tmp_path / "run.json").unlink()
    assert prepared(tmp_path, epochs=4).epochs == 4


def test_a_header_of_another_version_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"schema": 0}')
    with pytest.raises(ConfigError, match="no record of this version"):
        prepared(tmp_path)
