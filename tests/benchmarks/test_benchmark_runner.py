"""A run: who is let in, in which order, what is kept, and how one that was interrupted goes on."""

import json
import os
import signal
from pathlib import Path

import made_run
import numpy as np
import pytest

from portanet.benchmarks import gate, launch, records, runner
from portanet.benchmarks.records import Contestant, Measurement, Verdict

STATUSES = {"other_work": "not the same work"}


def contestant(behaviour, **fields):
    return Contestant(f"{behaviour}-cpu", behaviour, "portanet", behaviour, **fields)


class Bench:
    """A run's folder, with processes and a gate that only pretend."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.said, self.jobs, self.judged = folder, [], [], []
        self.interrupt_at = None
        monkeypatch.setattr(launch, "finish", self.finish)
        monkeypatch.setattr(gate, "judge", self.judge)
        monkeypatch.setattr(runner, "Sampler", Watched)

    def judge(self, header, folder, one):
        self.judged.append(one.key)
        return Verdict(one.key, STATUSES.get(one.engine, "same"), "by two pixels" if one.engine in STATUSES else "")

    def finish(self, job, timeout, sampler=None):
        if len(self.jobs) == self.interrupt_at:
            raise KeyboardInterrupt
        self.jobs.append(job)
        ending = {"process": 2.0, "cores": [0, 1]}
        behaviour = job["contestant"]["engine"]
        if behaviour == "fails":
            return {"status": "failed", "reason": "the engine is broken", **ending}
        if behaviour == "declines":
            return {"measurement": {"status": "failed", "reason": "no such layer here"}, **ending}
        if behaviour == "hangs":
            return {"status": "timeout", "reason": f"took longer than {timeout:g} s", **ending}
        out = Path(job["out"])
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out.with_suffix(".classes.npy"), np.array([1, 2]))
        epoch = {"seconds": 0.5, "train_loss": 1.0, "test_error": 0.125}
        told = {"status": "ok", "rows": 60, "epochs": [epoch, epoch], "test_error": 0.125, "seed": job["seed"]}
        out.write_text("{}")
        return {"measurement": told, "window": [1.0, 3.0], **ending}

    def run(self, *behaviours, timeout=60, **header):
        contestants = [one if isinstance(one, Contestant) else contestant(one) for one in behaviours]
        head = made_run.header(contestants, **{"repeats": 2, "epochs": 2, **header})
        records.write(self.folder / "run.json", head)
        runner.run(head, self.folder, self.said.append, timeout)

    def measurements(self):
        paths = sorted((self.folder / "measurements").glob("*.json"))
        return {path.stem: records.read(path, Measurement) for path in paths}

    def measured(self):
        """(Contestant's behaviour, repeat) of each process that was a measurement, in order."""
        return [(job["contestant"]["engine"], job["repeat"]) for job in self.jobs if "epochs" not in job]

    def warmed_up(self):
        return [job["contestant"]["engine"] for job in self.jobs if job.get("epochs") == 1]


class Watched:
    def __init__(self, device):
        self.device = device

    def between(self, start, end):
        return records.Usage(end - start, 1.5, [1.0, 0.9], 2, 1000, None, 20)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


def test_everyone_is_measured_in_every_repeat_with_the_repeats_seed(bench):
    bench.run("trains", "learns")
    found = bench.measurements()
    assert list(found) == ["learns-cpu-0", "learns-cpu-1", "trains-cpu-0", "trains-cpu-1"]
    one = found["learns-cpu-1"]
    assert (one.status, one.seed, one.repeat, one.process, one.rows) == ("ok", 1, 1, 2.0, 60)
    assert one.usage.busy_cores == 1.5
    assert one.record["cores"] == [0, 1]
    assert one.started
    assert [epoch.seconds for epoch in one.epochs] == [0.5, 0.5]


def test_classes_lie_beside_the_measurement_and_nothing_else_is_left(bench):
    bench.run("trains", repeats=1)
    assert sorted(path.name for path in bench.folder.rglob("*") if path.is_file()) == [
        "run.json", "trains-cpu-0.classes.npy", "trains-cpu-0.json", "trains-cpu.json"]  # fmt: skip
    assert np.load(bench.folder / "measurements" / "trains-cpu-0.classes.npy").tolist() == [1, 2]


def test_repeats_are_outermost_and_the_order_changes_between_them(bench):
    names = [f"engine{number}" for number in range(5)]
    bench.run(*names, repeats=3)
    orders = [[name for name, repeat in bench.measured() if repeat == which] for which in range(3)]
    assert [repeat for _, repeat in bench.measured()] == [0] * 5 + [1] * 5 + [2] * 5
    assert all(sorted(order) == names for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_a_sweep_measures_every_point_with_contestants_side_by_side(bench):
    bench.run("trains", "learns", repeats=1, points=[{"width": 8}, {"width": 16}])
    assert sorted(bench.measurements()) == [
        "learns-cpu-width16-0", "learns-cpu-width8-0", "trains-cpu-width16-0", "trains-cpu-width8-0"]  # fmt: skip
    widths = [job["point"]["width"] for job in bench.jobs]
    assert widths[0] == widths[1] != widths[2] == widths[3]


def test_who_does_other_work_or_is_absent_is_not_measured_and_says_why(bench):
    bench.run("trains", "other_work", contestant("away", absent="it needs Python 3.6"), repeats=1)
    assert list(bench.measurements()) == ["trains-cpu-0"]
    verdicts = {path.stem: records.read(path, Verdict) for path in (bench.folder / "gate").glob("*.json")}
    assert (verdicts["other_work-cpu"].status, verdicts["other_work-cpu"].reason) == (
        "not the same work",
        "by two pixels",
    )
    assert (verdicts["away-cpu"].status, verdicts["away-cpu"].reason) == ("absent", "it needs Python 3.6")
    assert "away-cpu" not in bench.judged


def test_a_failure_is_a_result_and_the_others_go_on(bench):
    bench.run("fails", "declines", "trains", repeats=1)
    found = bench.measurements()
    assert [(one.status, one.reason) for one in found.values()] == [
        ("failed", "no such layer here"), ("failed", "the engine is broken"), ("ok", "")]  # fmt: skip
    assert any("fails-cpu, repeat 1: failed: the engine is broken" in line for line in bench.said)


def test_who_takes_too_long_once_is_not_waited_for_again(bench):
    bench.run("hangs", "trains", timeout=5, repeats=3)
    assert bench.measured().count(("hangs", 0)) == 1
    assert [name for name, _ in bench.measured()].count("hangs") == 1
    reasons = [one.reason for name, one in bench.measurements().items() if name.startswith("hangs")]
    assert reasons == ["took longer than 5 s", *["not tried, since repeat 1 took longer than 5 s"] * 2]


def test_a_second_call_measures_nothing_anew_but_what_failed(bench):
    bench.run("trains", "fails")
    before, bench.jobs, bench.judged = bench.measurements()["trains-cpu-1"], [], []
    bench.run("trains", "fails")
    assert bench.measured() == [("fails", 0), ("fails", 1)]
    assert bench.measurements()["trains-cpu-1"] == before
    assert bench.judged == []
    assert "2 of 4 measurements are there already" in bench.said


def test_the_gate_judges_anew_who_was_turned_away(bench, monkeypatch):
    bench.run("other_work", contestant("trains", absent="not installed"), repeats=1)
    assert bench.measurements() == {}
    monkeypatch.setattr("test_benchmark_runner.STATUSES", {})
    bench.run("other_work", "trains", repeats=1)
    assert sorted(bench.measurements()) == ["other_work-cpu-0", "trains-cpu-0"]


def test_a_measurement_that_was_cut_off_is_made_anew(bench):
    bench.run("trains", repeats=1)
    (bench.folder / "measurements" / "trains-cpu-0.json").write_text('{"contestant": "trai')
    bench.run("trains", repeats=1)
    assert bench.measurements()["trains-cpu-0"].status == "ok"


def test_after_ctrl_c_all_is_kept_and_the_next_call_goes_on(bench):
    bench.interrupt_at = 5  # two to warm up, three measurements
    with pytest.raises(KeyboardInterrupt):
        bench.run("trains", "learns", repeats=3)
    kept = bench.measurements()
    assert len(kept) == 3
    assert f"interrupted; 3 measurements are kept. The same command with --out {bench.folder} goes on" in bench.said[-1]
    assert not (bench.folder / "work").exists()
    bench.interrupt_at, bench.jobs = None, []
    bench.run("trains", "learns", repeats=3)
    assert len(bench.measured()) == 3
    assert bench.warmed_up() == []
    assert kept.items() <= bench.measurements().items()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_end_is_heeded_as_ctrl_c_is(bench, monkeypatch, request, name):
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_DFL)  # a process started by nohup ignores one of them
    request.addfinalizer(lambda: signal.signal(number, before))

    def told_to_end(job, timeout, sampler=None):
        os.kill(os.getpid(), number)
        raise AssertionError("it was not heeded")

    monkeypatch.setattr(launch, "finish", told_to_end)
    with pytest.raises(KeyboardInterrupt):
        bench.run("trains")
    assert signal.getsignal(number) is signal.SIG_DFL


def test_everyone_warms_up_once_before_the_first_repeat(bench):
    bench.run("trains", "learns")
    assert sorted(bench.warmed_up()) == ["learns", "trains"]
    assert ["epochs" in job for job in bench.jobs] == [True, True, False, False, False, False]
    assert not list((bench.folder / "warm-up").glob("*.npy"))


def test_a_single_repeat_goes_without_a_warm_up(bench):
    bench.run("trains", repeats=1)
    assert bench.warmed_up() == []


def test_progress_tells_figures_disturbances_and_what_is_left(bench):
    bench.run("trains", repeats=2)
    lines = [line for line in bench.said if line.startswith("[")]
    told = "0.5 s an epoch, test error 12.50%, 1.5 cores busy, others kept 0.4 busy"
    assert lines == [f"[1/2] trains-cpu, repeat 1: {told}; about 2 s left", f"[2/2] trains-cpu, repeat 2: {told}"]


def test_with_real_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(launch, "MODULE", "stand_in_job")
    monkeypatch.setattr(gate, "judge", lambda header, folder, one: Verdict(one.key, "same"))
    head = made_run.header([contestant("trains"), contestant("fails")], repeats=1, epochs=2, threads=1)
    records.write(tmp_path / "run.json", head)
    runner.run(head, tmp_path, lambda line: None, 60)
    good, bad = (
        json.loads((tmp_path / "measurements" / f"{name}-cpu-0.json").read_text()) for name in ("trains", "fails")
    )
    assert good["usage"]["busy_cores"] > 0
    assert good["usage"]["peak_rss"] > 1_000_000
    assert "OSError: the engine is broken" in bad["reason"]
