"""A run's records put together: rows, pairs, curves, and the runs beside it."""

import dataclasses

import made_run
import numpy as np
import pytest

from portanet.benchmarks import history, records, runs
from portanet.benchmarks.records import Contestant, Epoch, Measurement, Verdict
from portanet.benchmarks.summary import summarize

NUMPY, TORCH, TENSORFLOW = (made_run.contestant(engine) for engine in ("numpy", "torch", "tensorflow"))
THREE = [NUMPY, TORCH, TENSORFLOW]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All seven engines, five repeats."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    made_run.write(folder)
    return summarize(folder)


def row_of(summary, key):
    return next(row for row in summary.rows if row.key == key)


def test_times_of_a_measurement():
    epochs = [Epoch(4.0, 1.0, 0.5), Epoch(2.0, 0.5, 0.1), Epoch(3.0, 0.4, 0.1)]
    one = Measurement("torch-cpu", 0, {}, 0, "ok", rows=500, epochs=epochs, build=0.5, compile=1.5)
    assert runs.fit_seconds(one) == 11.0
    assert runs.steady_seconds(one) == 2.5
    assert runs.rate(one) == 200.0
    assert runs.target_seconds(one, 0.1) == 8.0
    assert runs.target_seconds(one, 0.05) is None


def test_rows_come_fastest_first_and_are_compared_with_best_and_tensorflow(whole):
    assert whole.rows[0].key == "torch-cpu"
    times = [row.time.median for row in whole.rows]
    assert times == sorted(times)
    tensorflow = row_of(whole, "tensorflow-cpu")
    assert whole.rows[0].vs_best == 1.0
    assert tensorflow.vs_reference == 1.0
    for row in whole.rows:
        assert row.vs_best == pytest.approx(row.time.median / times[0])
        assert row.vs_reference == pytest.approx(row.time.median / tensorflow.time.median)


def test_a_row_has_the_medians_of_its_measurements(whole):
    row = row_of(whole, "torch-cpu")
    assert (row.time.n, row.threads, row.version) == (5, 2, "2.5.0")
    assert row.rate.median * row.epoch.median == pytest.approx(made_run.ROWS, rel=0.01)
    assert row.gflops == pytest.approx(8_200_000 * row.rate.median / 1e9)
    assert row.peak_share == pytest.approx(row.gflops / 95.0)
    assert row.bandwidth == pytest.approx(1_450_000 * row.rate.median)
    assert (row.cpus, row.cpu1, row.busy, row.memory) == (2.0, 0.99, 1.9, 420 * 2**20)
    assert row.gpu is None
    assert row.reached == 5
    assert row.target.median < row.time.median
    assert row.again.low < row.time.mean < row.again.high


def test_without_tensorflow_there_is_nothing_to_compare_with(tmp_path):
    made_run.write(tmp_path, [NUMPY, TORCH], repeats=2, epochs=2)
    assert [row.vs_reference for row in summarize(tmp_path).rows] == [None, None]


def test_a_gpu_is_compared_with_tensorflow_on_a_gpu_only(tmp_path):
    made_run.write(tmp_path, [TENSORFLOW, made_run.contestant("torch", "gpu")], repeats=2, epochs=2)
    gpu = row_of(summarize(tmp_path), "torch-gpu")
    assert gpu.vs_reference is None
    assert (gpu.gpu, gpu.energy, gpu.peak_share) == (0.43, 900.0, None)


def test_who_has_no_figures_has_a_reason(tmp_path):
    gone = dataclasses.replace(NUMPY, absent="backend 'numpy' went missing; run: pip install numpy")
    other = Verdict("torch-cpu", "not the same work", "gradient of conv1.W differs by 3e-2")
    made_run.write(tmp_path, [gone, TORCH, TENSORFLOW], verdicts=[other], repeats=2, epochs=2)
    summary = summarize(tmp_path)
    told = {row.key: (row.status, row.reason) for row in summary.rows}
    assert told["numpy-cpu"] == ("absent", gone.absent)
    assert told["torch-cpu"] == ("not the same work", other.reason)
    assert told["tensorflow-cpu"] == ("ok", "")
    assert [row.key for row in summary.ranked] == ["tensorflow-cpu"]
    assert summary.rows[0].key == "tensorflow-cpu"


def test_figures_without_a_verdict_of_the_gate_do_not_count(tmp_path):
    made_run.write(tmp_path, THREE, repeats=2, epochs=2)
    (tmp_path / "gate" / "torch-cpu.json").unlink()
    assert row_of(summarize(tmp_path), "torch-cpu").status == "unchecked"


def test_an_interrupted_run_keeps_what_was_measured(tmp_path):
    made_run.write(tmp_path, THREE, repeats=3, epochs=2)
    for path in (tmp_path / "measurements").glob("*-2.json"):
        path.unlink()
    for path in (tmp_path / "measurements").glob("torch-*.json"):
        path.unlink()
    summary = summarize(tmp_path)
    assert row_of(summary, "torch-cpu").status == "unmeasured"
    assert row_of(summary, "numpy-cpu").time.n == 2
    assert [pair.time.n for pair in summary.comparisons] == [2]


@pytest.mark.parametrize("lost, status, n", [(1, "ok", 2), (3, "timeout", None)])
def test_failed_repeats_are_told_and_left_out(tmp_path, lost, status, n):
    made_run.write(tmp_path, THREE, repeats=3, epochs=2)
    for repeat in range(lost):
        failed = Measurement("torch-cpu", repeat, {}, repeat, "timeout", "took longer than 60 s")
        records.write(tmp_path / "measurements" / f"{failed.name}.json", failed)
    row = row_of(summarize(tmp_path), "torch-cpu")
    assert (row.status, row.time and row.time.n) == (status, n)
    assert "took longer than 60 s" in row.reason


def test_every_pair_is_compared_faster_first(whole):
    assert len(whole.comparisons) == 21
    for pair in whole.comparisons:
        assert pair.time.value >= 1
        assert row_of(whole, pair.first).time.mean <= row_of(whole, pair.second).time.mean * 1.01
        assert pair.time_p >= pair.time.p
        assert 0.99 < pair.agreement < 1
    assert sum(pair.faster for pair in whole.comparisons) >= 20


def test_the_same_errors_are_the_same_and_seeds_agree_less_than_engines(whole):
    assert {pair.errors for pair in whole.comparisons} == {"same"}
    assert all(row.seeds_agree < min(pair.agreement for pair in whole.comparisons) for row in whole.rows)


def change_errors(folder, key, shift):
    for path in (folder / "measurements").glob(f"{key}-*.json"):
        one = records.read(path, Measurement)
        one.test_error += shift
        records.write(path, one)


def test_another_error_rate_is_found(tmp_path):
    made_run.write(tmp_path, THREE, epochs=2, seed=3)
    change_errors(tmp_path, "torch-cpu", 0.01)
    found = {frozenset((pair.first, pair.second)): pair for pair in summarize(tmp_path).comparisons}
    worse = found[frozenset(("torch-cpu", "numpy-cpu"))]
    assert worse.errors == "different"
    assert abs(worse.error.value) == pytest.approx(0.01, rel=0.1)
    assert found[frozenset(("tensorflow-cpu", "numpy-cpu"))].errors == "same"


def test_one_repeat_decides_nothing(tmp_path):
    made_run.write(tmp_path, THREE, repeats=1, epochs=2)
    for pair in summarize(tmp_path).comparisons:
        assert (pair.faster, pair.errors) == (False, "undecided")


def test_seeds_that_differ_are_no_pair(tmp_path):
    made_run.write(tmp_path, [NUMPY, TORCH], repeats=3, epochs=2)
    for path in (tmp_path / "measurements").glob("torch-*.json"):
        one = records.read(path, Measurement)
        one.seed += 100
        records.write(path, one)
    [pair] = summarize(tmp_path).comparisons
    assert pair.time.n == 3
    assert (pair.error, pair.agreement) == (None, None)


def test_curves_are_medians_over_the_repeats(whole):
    curve = next(one for one in whole.curves if one.contestant == "theano-cpu")
    assert len(curve.seconds) == len(curve.train_loss) == len(curve.test_error) == 10
    assert np.all(np.diff(curve.seconds) > 0)
    assert curve.seconds[0] > 21
    assert curve.seconds[-1] == pytest.approx(row_of(whole, "theano-cpu").time.median)


def test_a_sweep_has_rows_by_point_and_crossovers_between_devices(tmp_path):
    points = [{"batch_size": size} for size in (16, 64, 256, 1024)]
    both = [made_run.contestant("torch", device) for device in ("cpu", "gpu")]
    made_run.write(tmp_path, both, points=points, repeats=2, epochs=2)
    summary = summarize(tmp_path)
    assert summary.sweep
    assert [row.point for row in summary.rows[::2]] == points
    assert [min(summary.at(point), key=lambda row: row.time.median).key for point in points][::3] == [
        "torch-cpu",
        "torch-gpu",
    ]
    [crossing] = summary.crossings
    assert (crossing.before, crossing.after, crossing.axis) == ("torch-cpu", "torch-gpu", "batch_size")
    assert 16 < crossing.at < 256


def test_points_with_nets_of_their_own_count_their_own_work(tmp_path):
    points = [{"width": 64}, {"width": 128}]
    head = made_run.header([NUMPY])
    spec = {
        **head.spec,
        "points": {"-width64": {"flops": 1000, "bytes": 10}, "-width128": {"flops": 4000, "bytes": 20}},
    }
    made_run.write(tmp_path, [NUMPY], points=points, spec=spec, repeats=2, epochs=2)
    narrow, wide = summarize(tmp_path).rows
    assert narrow.gflops == pytest.approx(1000 * narrow.rate.median / 1e9)
    assert wide.gflops == pytest.approx(4000 * wide.rate.median / 1e9)


def test_unstable_times_are_flagged(tmp_path):
    made_run.write(tmp_path, [NUMPY, TORCH], epochs=2)
    for path in sorted((tmp_path / "measurements").glob("torch-*.json"))[:2]:
        one = records.read(path, Measurement)
        one.build += 30
        records.write(path, one)
    summary = summarize(tmp_path)
    assert "spans" in row_of(summary, "torch-cpu").unstable
    assert row_of(summary, "numpy-cpu").unstable == ""


def test_a_machine_that_others_used_is_told(tmp_path):
    made_run.write(tmp_path, [NUMPY], repeats=2, epochs=2)
    path = tmp_path / "measurements" / "numpy-cpu-1.json"
    one = records.read(path, Measurement)
    one.usage.per_core = [1.0, 1.0]
    records.write(path, one)
    [row] = summarize(tmp_path).rows
    assert row.others == pytest.approx(0.4)
    assert row.unstable == "other processes kept up to 0.4 cores busy"


def test_a_net_for_numbers_has_no_error_rate(tmp_path):
    made_run.write(tmp_path, [NUMPY, TORCH], target_error=None, repeats=2, epochs=2)
    for path in (tmp_path / "measurements").glob("*.json"):
        one = records.read(path, Measurement)
        one.test_error = None
        for epoch in one.epochs:
            epoch.test_error = None
        records.write(path, one)
        path.with_name(f"{path.stem}.classes.npy").unlink()
    summary = summarize(tmp_path)
    assert [row.error for row in summary.rows] == [None, None]
    assert summary.comparisons[0].agreement is None
    assert summary.curves[0].test_error == [None, None]


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no run.json: give the folder of a run"):
        summarize(tmp_path)


def test_no_history_without_another_run(tmp_path):
    made_run.write(tmp_path / "one", [NUMPY], repeats=1, epochs=2)
    assert history.collect(tmp_path / "one") == history.History()


def test_history_holds_runs_of_the_same_net_by_date(tmp_path):
    commits = {"later": "2025-06-01", "now": "2025-05-01", "before": "2025-04-01"}
    for name, date in commits.items():
        machine = {**made_run.MACHINE, "commit": f"{name}000"}
        made_run.write(tmp_path / name, [NUMPY], repeats=2, epochs=3, created=f"{date}T00:00:00+00:00", machine=machine)
    made_run.write(tmp_path / "longer", [NUMPY], repeats=2, epochs=4, created="2025-03-01T00:00:00+00:00")
    made_run.write(tmp_path / "model", [NUMPY], repeats=1, epochs=2, model="P5")
    made_run.write(
        tmp_path / "net", [NUMPY], repeats=1, epochs=2, spec={"sha256": "another", "weights_sha256": "another"}
    )
    made_run.write(tmp_path / "elsewhere", [NUMPY], repeats=1, epochs=3, threads=8, created="2025-07-01T00:00:00+00:00")
    found = history.collect(tmp_path / "now").entries
    assert [entry.folder for entry in found] == ["longer", "before", "now", "later", "elsewhere"]
    assert [entry.here for entry in found] == [True, True, True, True, False]
    assert [entry.commit for entry in found][1:4] == ["before000", "now000", "later000"]
    assert (found[0].error, found[0].seconds) == (None, None)
    assert found[0].rate > 0


def test_a_folder_beside_that_cannot_be_read_is_named(tmp_path):
    made_run.write(tmp_path / "now", [NUMPY], repeats=1, epochs=2)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text('{"schema": 0}')
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{")
    found = history.collect(tmp_path / "now")
    assert found.entries == []
    assert [line.split(":")[0] for line in found.unread] == ["old", "torn"]


def test_contestants_in_the_gate_only_are_no_rows(tmp_path):
    made_run.write(tmp_path, [NUMPY], repeats=1, epochs=2)
    stranger = Contestant("stranger-cpu", "Stranger", "peer", "numpy")
    records.write(tmp_path / "gate" / "stranger-cpu.json", made_run.same(stranger))
    assert [row.key for row in summarize(tmp_path).rows] == ["numpy-cpu"]
