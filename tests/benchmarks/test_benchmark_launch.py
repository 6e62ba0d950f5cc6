"""A job's process: equal variables and cores for all, and nothing of it is left, however it ends."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import made_run
import psutil
import pytest

from portanet.benchmarks import launch, records
from portanet.benchmarks.records import Contestant


@pytest.fixture
def job(tmp_path, monkeypatch):
    """``job(behaviour)``: of a contestant that does that; see `stand_in_job`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(launch, "MODULE", "stand_in_job")

    def make(behaviour, threads=1, **more):
        contestant = Contestant(f"{behaviour}-cpu", behaviour, "portanet", behaviour)
        records.write(tmp_path / "run.json", made_run.header([contestant], threads=threads))
        return {
            "task": "measure", "folder": str(tmp_path), "out": str(tmp_path / "work" / "one.json"), "repeat": 0,
            "contestant": asdict(contestant), "point": {}, "seed": 0, **more,
        }  # fmt: skip

    return make


class Heard:
    """A sampler that only says when it was called."""

    def __init__(self):
        self.calls = []

    def watch(self, pid):
        self.calls.append(("watch", psutil.pid_exists(pid)))

    def stop(self):
        self.calls.append(("stop", True))


def gone(folder):
    """Whether both processes that `hangs` told of have ended."""
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    living = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    return len(pids) == 2 and not living


def until_it_hangs(folder):
    deadline = time.monotonic() + 60
    while not ((folder / "pids").is_file() and (folder / "pids").read_text()):
        assert time.monotonic() < deadline, "the stand-in does not come up"
        time.sleep(0.02)


def test_the_result_is_what_the_job_wrote_and_how_long_it_took(job):
    sampler = Heard()
    result = launch.finish(job("trains"), 60, sampler)
    assert result["measurement"]["status"] == "ok"
    assert result["process"] >= result["window"][1] - result["window"][0]
    assert sampler.calls == [("watch", True), ("stop", True)]


def test_all_get_the_same_number_of_threads_and_no_gpu(job):
    variables = launch.finish(job("trains", threads=3), 60)["variables"]
    assert {name: variables[name] for name in launch.THREADS} == dict.fromkeys(launch.THREADS, "3")
    assert (variables["KERAS_BACKEND"], variables["CUDA_VISIBLE_DEVICES"], variables["PYTHONHASHSEED"]) == (
        "trains", "-1", "0")  # fmt: skip


def test_a_contestant_on_a_gpu_sees_what_the_user_sees():
    given = {"CUDA_VISIBLE_DEVICES": "1", "PYTHONPATH": "/mine"}
    found = launch.variables({"engine": "torch", "device": "gpu"}, 2, given)
    assert found["CUDA_VISIBLE_DEVICES"] == "1"
    assert "JAX_PLATFORMS" not in found
    assert found["PYTHONPATH"].split(os.pathsep)[1:] == ["/mine"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no process to cores")
def test_a_process_is_kept_to_as_many_cores_as_it_has_threads(job):
    assert len(launch.finish(job("trains", threads=1), 60)["cores"]) == 1
    allowed = sorted(os.sched_getaffinity(0))
    assert launch.finish(job("trains", threads=len(allowed) + 1), 60)["cores"] == allowed


def test_physical_cores_are_taken_before_their_second_threads(tmp_path):
    for core, shared in enumerate(["0-1", "0-1", "2-3", "2-3"]):
        path = tmp_path / f"cpu{core}" / "topology" / "thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(shared)
    assert launch.chosen_cores([0, 1, 2, 3], 2, str(tmp_path)) == [0, 2]
    assert launch.chosen_cores([0, 1, 2, 3], 3, str(tmp_path)) == [0, 1, 2]
    assert launch.chosen_cores([1, 2, 3], 1, str(tmp_path)) == [1]


def test_a_failure_tells_the_exit_status_and_the_last_lines(job):
    result = launch.finish(job("fails"), 60)
    assert result["status"] == "failed"
    assert "ended with exit status 3" in result["reason"]
    assert result["reason"].endswith("it last printed:\na line before\nOSError: the engine is broken")


def test_a_result_counts_though_the_process_crashes_as_it_ends(job):
    assert launch.finish(job("trains_and_crashes"), 60)["measurement"]["status"] == "ok"


def test_an_older_result_is_not_taken_for_a_new_one(job):
    given = job("fails")
    Path(given["out"]).parent.mkdir()
    Path(given["out"]).write_text(json.dumps({"measurement": {"status": "ok"}}))
    assert launch.finish(given, 60)["status"] == "failed"


def test_a_process_that_takes_too_long_is_ended_with_all_that_came_of_it(job, tmp_path):
    class Patient(Heard):
        def watch(self, pid):  # so that the time limit does not strike before it hangs
            until_it_hangs(tmp_path)

    result = launch.finish(job("hangs"), 0.2, Patient())
    assert result["status"] == "timeout"
    assert "took longer than 0.2 s" in result["reason"]
    assert "still compiling" in result["reason"]
    assert gone(tmp_path)


def test_ctrl_c_ends_the_process_and_all_that_came_of_it(job, tmp_path):
    class Interrupted(Heard):
        def watch(self, pid):
            until_it_hangs(tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.finish(job("hangs"), 60, Interrupted())
    assert gone(tmp_path)
