"""PyTorch: `torch.compile`, threads, and a process that is left as it was found."""

import shutil
import threading

import numpy as np
import pytest
from small_nets import CPU, RATE, convolution, data, dense, dropping, net_of, opened, plan_of, train

from portanet import layers, ops

pytestmark = pytest.mark.parametrize("backend", ["torch"], indirect=True)


@pytest.fixture
def torch(backend):
    import torch

    return torch


@pytest.fixture
def kernel(backend, monkeypatch):
    """``kernel(op, look)`` has ``look(result, *operands)`` called whenever that operator is computed."""
    from portanet.engine.backends.torch_kernels import KERNELS

    def watch(op, look):
        own = KERNELS[op]

        def watched(call, *operands):
            result = own(call, *operands)
            look(result, *operands)
            return result

        monkeypatch.setitem(KERNELS, op, watched)

    return watch


def global_settings(torch):
    """What another part of the process may have set, and a fit must leave."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "threads between operators": torch.get_num_interop_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "gradients": torch.is_grad_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "random": torch.get_rng_state().tolist(),
        "seed": torch.initial_seed(),
        "cudnn": (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cudnn.enabled),
        "mkldnn": torch.backends.mkldnn.enabled,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "denormals": float(torch.tensor(1e-310, dtype=torch.float64) * 1.0),
    }


def fit(net, **parameters):
    return net.set_params(**parameters).fit(*data("conv_num_filters" in net.get_params()), backend="torch")


def test_the_record(backend, torch):
    plan = plan_of(convolution())
    with opened(backend, plan, threads=1, allow_tf32=True) as program:
        record = program.record
    assert record["engine"] == "torch" and record["version"] == torch.__version__ and record["device"] == CPU
    assert record["threads"] == 1 and record["options"] == {"allow_tf32": True, "compile": "off"}
    assert record["kernels"]["update:rmsprop"] == "fused"
    assert {"fused"} <= set(record["kernels"].values()) <= {"fused", "expanded"}
    assert record["compile_seconds"] >= 0 and program.compilations == 0


def test_the_record_names_the_threads_that_run_where_none_are_asked_for(backend, torch):
    with opened(backend, plan_of(dense())) as program:
        assert program.record["threads"] == torch.get_num_threads()


@pytest.mark.parametrize("build", [dense, convolution, dropping])
def test_a_fit_leaves_the_process_as_it_was(torch, build):
    before = global_settings(torch)
    net = fit(build())
    net.predict(data(build is convolution)[0])
    assert global_settings(torch) == before


@pytest.mark.parametrize("user", ["float64", "no gradients", "deterministic"])
def test_what_the_user_set_neither_harms_nor_is_harmed(torch, user):
    expected = fit(dense()).get_state()["parameters"]
    undo = {
        "float64": lambda: torch.set_default_dtype(torch.float32),
        "no gradients": lambda: torch.set_grad_enabled(True),
        "deterministic": lambda: torch.use_deterministic_algorithms(False),
    }[user]
    {
        "float64": lambda: torch.set_default_dtype(torch.float64),
        "no gradients": lambda: torch.set_grad_enabled(False),
        "deterministic": lambda: torch.use_deterministic_algorithms(True),
    }[user]()
    try:
        before = global_settings(torch)
        found = fit(dense()).get_state()["parameters"]
        assert global_settings(torch) == before
    finally:
        undo()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_precision_set_in_pytorch_s_newer_way_is_left_alone(torch):
    """PyTorch 2.9 and newer refuse to answer the older question once the newer setting was used."""
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this PyTorch has only the older setting")
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        fit(dense())
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_threads_hold_inside_a_fit_only(torch, kernel):
    seen, before = set(), torch.get_num_threads()
    kernel("Relu", lambda result, *operands: seen.add(torch.get_num_threads()))
    net = fit(dense(), threads=before + 1)
    net.predict(data()[0])
    net.score(*data())
    assert seen == {before + 1} and net.record_["threads"] == before + 1
    assert torch.get_num_threads() == before
    seen.clear()
    assert fit(net, threads=None).record_["threads"] == before
    assert seen == {before} == {torch.get_num_threads()}


def test_a_fit_that_fails_leaves_the_process_as_it_was(torch, kernel):
    def fail(result, *operands):
        raise RuntimeError("out of cheese")

    before = global_settings(torch)
    kernel("Relu", fail)
    with pytest.raises(RuntimeError, match="out of cheese"):
        fit(dense(), threads=before["threads"] + 1)
    assert global_settings(torch) == before


class Fixed(layers.Layer):
    """A dense layer that does not learn."""

    def __init__(self, incoming, **kwargs):
        super().__init__(incoming, **kwargs)
        self.W = self.add_param(0.1, (36, 5), "W", trainable=False)

    def get_output_for(self, input, **kwargs):
        return ops.relu(ops.matmul(input, self.W))


def test_gradients_of_what_does_not_learn_are_not_computed(kernel):
    """PyTorch keeps the way back only from what needs a gradient."""
    needed = []
    kernel("Relu", lambda result, *operands: needed.append(result.requires_grad))
    net = fit(net_of(("fixed", Fixed)))
    assert needed and not any(needed)
    np.testing.assert_array_equal(net.get_state()["running"]["fixed.W"], np.full((36, 5), 0.1, "float32"))
    needed.clear()
    fit(dense())
    assert needed and all(needed)


def test_evaluation_and_prediction_keep_no_way_back(backend, kernel):
    needed, X = [], data()[0]
    kernel("Relu", lambda result, *operands: needed.append(result.requires_grad))
    with opened(backend, plan_of(dense())) as program:
        program.evaluate("data", [np.arange(7)])
        program.predict({"input": X})
        program.outputs({"input": X}, ["hidden"])
    assert needed == [False] * 3


def test_filters_and_images_lie_channels_last(backend, torch, kernel):
    """The order that oneDNN and cuDNN are fast in, from the first step to the last, after a state was set too."""
    strides = []
    filters = dict(conv_num_filters=4, conv_filter_size=(3, 3))
    kernel("Conv", lambda result, x, w, *bias: strides.append([
        one.is_contiguous(memory_format=torch.channels_last) for one in (x, w, result)]))  # fmt: skip
    with opened(backend, plan_of(convolution(**filters))) as program:
        train(program, 2)
        program.set_state(program.get_state())
        train(program, 2)
    assert strides == [[True] * 3] * 4


def test_programs_in_two_threads_do_not_meet(backend):
    plan, found = plan_of(dropping()), {}

    def work(number):
        with opened(backend, plan) as program:
            found[number] = train(program, 30)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with opened(backend, plan) as program:
        expected = train(program, 30)
    for number in range(2):
        np.testing.assert_array_equal(found[number], expected)


@pytest.mark.parametrize("wrong", ["on", "max-autotune-no-cudagraphs", ""])
def test_a_wrong_way_of_compiling_is_refused(backend, wrong):
    with pytest.raises(ValueError, match=rf"'torch': option compile is '{wrong}'; allowed: off, default, reduce-over"):
        fit(dense(), options={"compile": wrong})


def test_an_option_of_another_type_is_refused(backend):
    with pytest.raises(ValueError, match="'torch': option compile must be of type str, got True"):
        fit(dense(), options={"compile": True})


@pytest.fixture
def compiler(missing, monkeypatch, tmp_path):
    """What `torch.compile` needs: a C++ compiler, and a folder for what it writes."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        missing("a C++ compiler", "torch.compile writes C++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # PyTorch's, of itself
def test_a_compiled_training_graph_gives_the_same_losses(backend, compiler):
    plan = plan_of(dropping())
    with opened(backend, plan) as program:
        expected, state = train(program, 5), program.get_state()
    with opened(backend, plan, compile="default") as program:
        assert program.compilations == 0
        np.testing.assert_allclose(train(program, 5), expected, rtol=1e-5)
        for name, array in program.get_state()["parameters"].items():
            np.testing.assert_allclose(array, state["parameters"][name], rtol=1e-4, atol=1e-6, err_msg=name)
        assert program.compilations == 1 and program.record["options"]["compile"] == "default"
        train(program, 2, rate=RATE / 2)
        assert program.compilations == 1
    with opened(backend, plan, compile="default") as program:
        np.testing.assert_allclose(train(program, 5), expected, rtol=1e-5)
        assert program.compilations == 1, "a second program of the plan compiles nothing"
