"""What a tree of processes takes: nothing is lost, nothing counted twice, and a GPU is read as its driver tells."""

import os
import subprocess
import sys
import types

import psutil
import pytest

from portanet.benchmarks import sampling
from portanet.benchmarks.sampling import Look, Sampler

BURN = "import time\ndef burn(s):\n    while time.process_time() < s: pass\n"


def looks(*rows):
    """Of (at, processor, rss), the second of two cores always busy."""
    return [Look(at, processor, rss, ((0.0, at), (at, at))) for at, processor, rss in rows]


def sampler_of(seen):
    sampler = Sampler()
    sampler.looks = seen
    return sampler


def test_a_span_is_interpolated_between_looks():
    usage = sampler_of(looks((0, 0, 10), (1, 2, 30), (2, 3, 20), (3, 3, 90))).between(0.5, 1.5)
    assert usage.seconds == pytest.approx(1.0)
    assert usage.busy_cores == pytest.approx(1.5)
    assert usage.per_core == pytest.approx([0.0, 1.0])
    assert (usage.cpus, usage.peak_rss, usage.looks, usage.gpu) == (2, 30, 3, None)


def test_a_core_busy_all_the_time_is_one_core():
    assert sampler_of(looks((0, 0, 1), (10, 10.2, 1))).between(1, 9).cpus == 1


@pytest.mark.parametrize("seen, start, end", [
    ([], 0, 1), (looks((0, 0, 1), (1, 1, 1)), 1, 1), (looks((0, 0, 1), (1, 1, 1)), 2, 3),
])  # fmt: skip
def test_a_span_that_nobody_saw_is_an_error(seen, start, end):
    with pytest.raises(ValueError, match="no usage from"):
        sampler_of(seen).between(start, end)


def test_a_process_and_its_short_lived_children_are_counted_once():
    """Each of two grandchildren takes 0.3 s of processor time, and is gone at the next look."""
    script = BURN + (
        "import subprocess, sys\nsys.stdin.readline()\n"
        "for _ in range(2): subprocess.run([sys.executable, '-S', '-c', sys.argv[1]])\n"
        "print('done', flush=True); sys.stdin.readline()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-S", "-c", script, BURN + "burn(0.3)"], **pipes) as process:
        tree = sampling._Tree(process.pid)
        before, rss = tree.look()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        after, _ = tree.look()
        process.communicate("\n")
    ended, none = tree.look()
    assert 0.58 <= after - before < 1.1
    assert ended == pytest.approx(after, abs=0.05)
    assert (rss > 0, none) == (True, 0)


class Process:
    """What the tree asks of a process, told by the test."""

    table: dict = {}

    def __init__(self, pid):
        self.pid = pid

    def __eq__(self, other):
        return self.pid == other.pid

    def __hash__(self):
        return self.pid

    def _row(self):
        if self.pid not in self.table:
            raise psutil.NoSuchProcess(self.pid)
        return self.table[self.pid]

    def ppid(self):
        return self._row()["parent"]

    def children(self, recursive):
        self._row()
        return [Process(pid) for pid in self.table if pid != self.pid]

    def cpu_times(self):
        row = self._row()
        return types.SimpleNamespace(user=row["own"], system=0.0, children_user=row["waited"], children_system=0.0)

    def memory_info(self):
        self._row()
        return types.SimpleNamespace(rss=100)


@pytest.fixture
def tree(monkeypatch):
    """Of process 1, with child 2 and its child 3; each has taken as many seconds as its number."""
    table = {pid: {"parent": pid - 1, "own": float(pid), "waited": 0.0} for pid in (1, 2, 3)}
    monkeypatch.setattr(Process, "table", table)
    monkeypatch.setattr(psutil, "Process", Process)
    tree = sampling._Tree(1)
    assert tree.look() == (6.0, 300)
    return tree, table


def test_what_a_parent_waited_for_is_not_counted_twice(tree):
    tree, table = tree
    del table[3]
    table[2]["waited"] = 3.5
    assert tree.look() == (6.5, 200)


def test_what_nobody_waited_for_is_not_lost(tree):
    tree, table = tree
    del table[3]
    assert tree.look() == (6.0, 200)
    table[1]["own"] = 2.0
    assert tree.look() == (7.0, 200)


def test_parent_and_child_that_end_between_two_looks(tree):
    tree, table = tree
    del table[2], table[3]
    table[1]["waited"] = 5.25
    assert tree.look() == (6.25, 100)


def test_a_child_outlives_its_parent(tree):
    tree, table = tree
    del table[1], table[2]
    table[3]["own"] = 4.0
    assert tree.look() == (7.0, 100)


def test_new_processes_are_searched_for_only_as_often_as_it_may_cost(tree):
    tree, table = tree
    tree._searching = 3600.0
    table[4] = {"parent": 1, "own": 8.0, "waited": 0.0}
    assert tree.look() == (6.0, 300)
    tree._searching = 0.0
    assert tree.look() == (14.0, 400)


def test_a_look_that_fails_is_told(monkeypatch):
    sampler = Sampler(interval=0.001)

    def fail():
        raise OSError("no /proc here")

    sampler.watch(os.getpid())
    monkeypatch.setattr(sampler._tree, "look", fail)
    with pytest.raises(RuntimeError, match="sampling failed: no /proc here"):
        sampler.stop()


class Nvml(types.ModuleType):
    """NVIDIA's library with two made-up cards."""

    class NVMLError(Exception):
        pass

    def __init__(self, counts=True, driver=True):
        super().__init__("pynvml")
        self.counts, self.driver, self.joules, self.share = counts, driver, 0, 0

    def nvmlInit(self):  # noqa: N802
        if not self.driver:
            raise self.NVMLError("driver not loaded")

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, name):  # noqa: N802
        return name

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"card {handle}".encode()

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        self.share += 20
        return types.SimpleNamespace(gpu=self.share)

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return types.SimpleNamespace(used=self.share * 1000)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if not self.counts:
            raise self.NVMLError("not supported")
        self.joules += 50_000
        return self.joules

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        return 100_000


@pytest.fixture
def nvml(monkeypatch):
    def install(**given):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setitem(sys.modules, "pynvml", Nvml(**given))

    return install


def test_a_gpu_is_read_as_its_driver_tells(nvml):
    nvml()
    sampler = Sampler(device="gpu")
    for at in range(3):
        sampler.looks.append(Look(at, at, 1, ((0.0, at),), sampler._card.look()))
    usage = sampler.between(0, 2)
    assert usage.gpu == {"percent": pytest.approx(40), "peak_memory": 60_000, "energy": 100.0, "name": "card 0"}


def test_the_energy_of_an_older_card_is_power_by_time(nvml, monkeypatch):
    nvml(counts=False)
    clock = iter([0.0, 2.0, 5.0])
    monkeypatch.setattr(sampling.time, "monotonic", lambda: next(clock))
    card = sampling.card("gpu")
    assert [card.look()[2], card.look()[2]] == [200.0, 500.0]


@pytest.mark.parametrize("visible, device, name", [
    (None, "gpu:1", "card 1"), ("1,0", "gpu", "card 1"), ("GPU-8f2a", "gpu:0", "card GPU-8f2a"),
])  # fmt: skip
def test_cards_are_numbered_as_this_process_sees_them(nvml, monkeypatch, visible, device, name):
    nvml()
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert sampling.card(device).name == name


def test_there_is_no_card_of_a_cpu_nor_without_library_or_driver(nvml, monkeypatch):
    nvml()
    assert sampling.card("cpu") is None
    nvml(driver=False)
    assert sampling.card("gpu") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert sampling.card("gpu") is None
