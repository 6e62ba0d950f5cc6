"""What adapters share: blocks as long as Ctrl-C may wait, and errors of the device told with their cure."""

import numpy as np
import pytest

from portanet.engine.array_program import ArrayProgram, Recent
from portanet.engine.graph import TensorType
from portanet.engine.plan import Plan
from portanet.engine.program import DeviceFault


class Program(ArrayProgram):
    """Takes a second for each batch, or fails."""

    def __init__(self, clock, error=None):
        self.clock, self.error, self.sizes = clock, error, []
        self.record = {"engine": "toy"}
        super().__init__(Plan("float32", {"x": TensorType("float32", ("N", 2))}, {}, {}, {}, {}, [], None, {}))

    def _upload(self, array):
        return array

    def _train(self, arrays, rows, hyper, seed):
        if self.error:
            raise self.error
        self.sizes.append(len(rows))
        self.clock[0] += self.clock[1] * len(rows)
        return hyper["learning_rate"]


@pytest.fixture
def clock(monkeypatch):
    """The time, and how long a batch takes."""
    now = [0.0, 0.25]
    monkeypatch.setattr("portanet.engine.array_program.time.perf_counter", lambda: now[0])
    return now


def run(program, count):
    program.bind("train", {"x": np.zeros((4, 2), "float32")})
    return program.train("train", [np.arange(2)] * count, {"learning_rate": np.arange(count)}, 0)


def test_a_block_takes_about_a_second_at_most_once_the_pace_is_known(clock):
    program = Program(clock)
    np.testing.assert_array_equal(run(program, 300), np.arange(300))
    assert program.sizes == [128] + [4] * 43
    clock[1] = 1e-4
    program.sizes.clear()
    run(program, 300)
    assert program.sizes == [4, 128, 128, 40]


@pytest.mark.parametrize("text", ["CUDA out of memory. Tried to allocate 2 GiB", "RESOURCE_EXHAUSTED: 1 GiB"])
def test_a_gpu_without_memory_left_says_what_to_do(clock, text):
    program = Program(clock, RuntimeError(text))
    program.on_gpu = True
    with pytest.raises(DeviceFault, match=r"toy found too little memory .*; fix: use a smaller batch_size") as caught:
        run(program, 1)
    assert caught.value.row["code"] == "out-of-memory"


def test_other_errors_stay_what_they_are(clock):
    for on_gpu, text in ((True, "illegal instruction"), (False, "out of memory")):
        program = Program(clock, RuntimeError(text))
        program.on_gpu = on_gpu
        with pytest.raises(RuntimeError, match=text) as caught:
            run(program, 1)
        assert not isinstance(caught.value, DeviceFault)


def test_the_least_recent_is_forgotten_first():
    recent, made = Recent(2), []

    def get(key):
        return recent.get(key, lambda: made.append(key) or key)

    assert [get(key) for key in "abaca"] == list("abaca")
    assert made == list("abc")
    get("b")
    assert made == list("abcb")
