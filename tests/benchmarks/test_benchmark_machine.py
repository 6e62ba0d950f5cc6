"""The machine: what a run says of it, and what two runs must share."""

import json
import shutil
import subprocess

import pytest

from portanet.benchmarks import machine
from portanet.runtime import processors

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.60GHz
flags\t\t: fpu sse2 avx2 fma avx512f

processor\t: 1
model name\t: Another CPU
flags\t\t: fpu
"""


@pytest.fixture
def cpuinfo(tmp_path):
    def write(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        return str(path)

    return write


def test_the_description_survives_json_and_holds_what_must_not_change(monkeypatch):
    monkeypatch.setattr(machine, "matmul_peak", lambda threads: 12.5 * threads)
    found = machine.describe(threads=2)
    assert json.loads(json.dumps(found)) == found
    assert (found["threads"], found["peak_gflops"]) == (2, 25.0)
    assert found["fingerprint"] == machine.identity()
    assert found["fingerprint"].keys() <= found.keys()
    assert found["memory"] > 2**26
    assert 1 <= found["cores"] <= found["logical_cores"]


def test_the_processor_is_read_from_its_first_entry(cpuinfo):
    path = cpuinfo(CPUINFO)
    assert processors.processor_name(path) == "Some CPU @ 2.60GHz"
    assert machine.instructions(path) == ["AVX2", "FMA", "AVX-512"]


def test_an_arm_processor_tells_features(cpuinfo):
    assert machine.instructions(cpuinfo("processor\t: 0\nFeatures\t: fp asimd sve\n")) == ["NEON", "SVE"]


def test_without_linux_there_are_other_sources(tmp_path):
    nowhere = str(tmp_path / "none")
    assert processors.processor_name(nowhere)
    assert machine.instructions(nowhere)


def test_the_peak_is_measured_at_least_once():
    assert machine.matmul_peak(1, seconds=0.0, size=32) > 0


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_checkout_tells_its_commit_and_whether_files_were_changed(tmp_path):
    def git(*command):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e", *command], check=True,
                       capture_output=True)  # fmt: skip

    git("init")
    (tmp_path / "__init__.py").write_text("")
    assert machine.commit(str(tmp_path)) == ""
    git("add", ".")
    git("commit", "-m", "first")
    clean = machine.commit(str(tmp_path))
    assert len(clean) == 12
    (tmp_path / "__init__.py").write_text("changed = True")
    assert machine.commit(str(tmp_path)) == clean + "+"
