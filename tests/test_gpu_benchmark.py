"""What of `benchmarks/gpu.py` needs no GPU: its figures, its tables, its refusal, and CuPy's hand-written twin."""

import doctest
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cupy_stand_in
import numpy as np
import pytest
import torch
from cupy_stand_in import counted
from torch.nn import functional as F  # noqa: N812

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def test_examples(gpu):
    failed, tried = doctest.testmod(gpu)
    assert tried and not failed


def test_what_counts_as_a_kernel(gpu):
    copies = [{"ph": "X", "cat": "gpu_memcpy", "ts": 0, "dur": 9}, {"ph": "X", "cat": "cpu_op", "ts": 0, "dur": 9}]
    assert gpu.torch_kernels([*copies, {"ph": "X", "cat": "kernel", "ts": 3, "dur": 4}]) == [(3, 4)]

    def name(kind, pid, text, **tid):
        return {"ph": "M", "name": kind, "pid": pid, "args": {"name": text}, **tid}

    def span(pid, tid, text, start):
        return {"ph": "X", "pid": pid, "tid": tid, "name": text, "ts": start, "dur": 2}

    events = [
        name("process_name", 1, "/device:GPU:0"), name("process_name", 2, "/host:CPU"),
        name("thread_name", 1, "Stream #14(Compute)", tid=5), name("thread_name", 1, "XLA Modules", tid=6),
        name("thread_name", 2, "Stream of thoughts", tid=5),
        span(1, 5, "gemm_fusion", 10), span(1, 5, "MemcpyD2D", 20), span(1, 6, "jit_run", 30), span(2, 5, "wait", 40),
    ]  # fmt: skip
    assert gpu.jax_kernels(events) == [(10, 2)]


def test_overlapping_kernels_count_once(gpu):
    assert gpu.covered([]) == 0
    assert gpu.covered([(5, 1), (0, 10), (2, 3), (20, 5)]) == 15


def test_no_share_is_made_up_where_nothing_sees_the_kernels(gpu, monkeypatch):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    row = gpu.share("numpy", "gpu", "p1", 512, 3, 1)
    assert list(row) == ["unknown"] and "PyTorch" in row["unknown"]
    (line,) = gpu.share_lines({"program": "p1", "engine": "numpy", **row})
    assert "not measured: CuPy has no profiler" in line


def test_the_first_width_at_which_the_gpu_is_faster(gpu):
    assert gpu.first_win([8, 16, 32], [3, 3, 3], [3, 4, 2]) == 16
    assert gpu.first_win([8, 16], [3, 3], [3, 3]) is None


def test_without_a_gpu_it_names_the_reason_of_each_engine_and_fails():
    made = subprocess.run([sys.executable, SCRIPT, "--threads", "1"], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=False)  # fmt: skip
    assert made.returncode == 1, made.stderr
    said = [line for line in made.stdout.splitlines() if "DeviceUnavailable" in line]
    assert len(said) == 3 and len(said) == len(made.stdout.splitlines())
    for engine, line in zip(("torch", "jax", "numpy"), said, strict=True):
        assert line.startswith(f"{engine}: DeviceUnavailable: device 'gpu' is not available to backend '{engine}': ")
        assert "; fix: " in line


class TestRehearsal:
    """The whole run, all of it in this process, on NumPy and the CPU."""

    @pytest.fixture
    def run(self, gpu, monkeypatch, capsys, tmp_path):
        def run(measure):
            path = tmp_path / "tables.json"
            given = "--device cpu --engines numpy --programs p1 --rows 512 --widths 8 16 --repeats 1 --epochs 3"
            monkeypatch.setattr(sys, "argv", [str(SCRIPT), *given.split(), "--threads", "1", "--json", str(path)])
            monkeypatch.setattr(gpu, "measure", measure)
            with pytest.raises(SystemExit) as caught:
                gpu.main()
            return caught.value.code, capsys.readouterr().out.splitlines(), json.loads(path.read_text())

        return run

    def test_tables(self, gpu, run):
        def measure(task, engine, device, threads, **given):
            return gpu.TASKS[task](engine=engine, device=device, threads=threads, **given), 2.5

        status, lines, made = run(measure)
        assert status == 0
        assert lines[0].startswith(f"numpy: numpy {np.__version__} on cpu")
        assert [len(rows) for rows in made.values()] == [1, 1, 1]
        (row,) = made["compare"]
        assert row["time ratio"] == 1 and row["whole s"] == 2.5 and row["samples/s"] > 0
        assert "p1   numpy     not measured: the profiler saw no kernel on a GPU" in lines
        (row,) = made["crossover"]
        assert row["widths"] == [8, 16] and len(row["on cpu"]) == len(row["on device"]) == 2
        assert lines[-1].startswith("numpy  the ")

    def test_what_fails_is_told_and_the_rest_goes_on(self, gpu, run):
        def measure(task, engine, device, threads, **given):
            if task != "check":
                raise gpu.TaskError(f"{task} broke")
            return {"ran": "there"}, 1.0

        status, lines, made = run(measure)
        assert status == 1
        assert [line for line in lines if "broke" in line] == ["contest broke", "share broke", "widths broke"]
        assert made == {"compare": [], "shares": [], "crossover": []}


class TestCupyTwin:
    """Over the stand-in."""

    @pytest.fixture
    def twins(self, gpu, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", cupy_stand_in.make())
        from twins import cupy_twin, torch_twin

        return cupy_twin, torch_twin

    @pytest.mark.parametrize("program", ["p1", "p2", "p5", "p6"])
    def test_gradients_are_those_of_autograd(self, gpu, twins, program):
        import cupy

        ours, theirs = twins
        layers = [layer for layer in gpu.programs.PROGRAMS[program]["layers"] if layer[0] != "dropout"]
        X, y = gpu.programs.data(program, 20)
        weights = gpu.programs.weights(program)
        P, G, _ = ours.buffers(cupy, weights)
        X_there, y_there = cupy.asarray(ours.channels_last(X)), cupy.asarray(y.astype("int32"))
        loss = ours.differentiate(cupy, layers, P, G, X_there, y_there, None)
        leaves = [torch.from_numpy(w).requires_grad_() for w in weights]
        a, own = torch.from_numpy(X), iter(leaves)
        for layer in layers:
            a = theirs.forward(layer, a, own, None)
        right = F.cross_entropy(a, torch.from_numpy(y))
        np.testing.assert_allclose(loss.get(), right.item(), rtol=1e-5)
        for found, grad in zip(G, torch.autograd.grad(right, leaves), strict=True):
            wanted = grad.numpy()
            if wanted.ndim == 4:
                wanted = wanted.transpose(2, 3, 1, 0).reshape(found.shape)
            np.testing.assert_allclose(found.get(), wanted, atol=1e-5 * abs(wanted).max())

    @pytest.mark.parametrize("program", ["p1", "p5", "p6"])
    def test_it_waits_once_an_epoch(self, gpu, twins, program):
        with counted() as counts:
            seconds = twins[0].train(program, *gpu.programs.data(program, 300), 2, 1)
        assert len(seconds) == 2
        assert (counts.waits, counts.fetches) == (0, 2)

    def test_it_has_no_cpu(self, gpu, twins):
        with pytest.raises(ValueError, match="GPUs only"):
            twins[0].train("p1", *gpu.programs.data("p1", 128), 1, 1, "cpu")
