"""MXNet: cached operators for each size of batch, fused rules, and a process that is left as it was found.

What looks into MXNet itself runs where MXNet can be imported; all else through a worker as well.
"""

import sys
import threading

import numpy as np
import pytest
from small_nets import BATCH, CPU, convolution, data, dense, dropping, fresh, in_a_fresh_process, opened, plan_of, train

from portanet.engine.expansions import EXPANSIONS
from portanet.engine.graph import GraphError
from portanet.engine.operators import REGISTRY
from portanet.engine.plan import OUTPUTS, Plan
from portanet.engine.tracing import Tracer, call, tracing
from portanet.updates import adadelta, adam, adamax, adamw, momentum, nesterov_momentum, rmsprop, sgd

pytestmark = pytest.mark.parametrize("backend", ["mxnet"], indirect=True)


@pytest.fixture
def in_process(importable):
    importable("mxnet")


def outputs(backend, arrays, build):
    """What a small graph over arrays whose first axis is the batch gives."""
    tracer = Tracer(OUTPUTS)
    with tracing(tracer):
        made = build(*[tracer.input(name, str(x.dtype), ("N", *x.shape[1:])) for name, x in arrays.items()])
        tracer.output("layer:y", made)
    plan = Plan("float32", tracer.graph.inputs, {}, {}, {}, {OUTPUTS: tracer.graph}, [], None, {})
    program = backend.compile(plan, CPU, {})
    try:
        return program.outputs(arrays, ["y"])[0]
    finally:
        program.close()


def test_the_record(backend):
    with opened(backend, plan_of(convolution()), threads=1) as program:
        record = program.record
    assert record["engine"] == "mxnet" and record["version"] == backend.version and record["device"] == CPU
    assert record["threads"] == 1 and record["options"] == {} and record["compile_seconds"] >= 0
    assert record["kernels"]["update:rmsprop"] == "fused"
    assert record["kernels"]["SoftmaxCrossEntropyLoss"] == "fused"


@pytest.mark.parametrize(("rule", "way"), [
    (sgd, "fused"), (momentum, "fused"), (nesterov_momentum, "fused"), (rmsprop, "fused"), (adam, "fused"),
    (adadelta, "expanded"), (adamax, "expanded"), (adamw, "expanded"),
])  # fmt: skip
def test_rules_that_mxnet_fuses_serve_float32_only(backend, rule, way):
    for floatX, expected in (("float32", way), ("float64", "expanded")):
        with opened(backend, plan_of(dense(update=rule, floatX=floatX))) as program:
            assert program.record["kernels"]["update:" + rule.__name__] == expected
            assert np.isfinite(train(program, 3)).all()


def test_the_gpu_is_missing_for_a_reason(backend):
    found, (absent,) = backend.devices()
    assert found == [CPU]
    assert absent["kind"] == "gpu" and "mxnet" in absent["reason"] and absent["fix"]


def test_each_size_of_batch_is_compiled_once(backend):
    plan = fresh()
    with opened(backend, plan) as program:
        train(program, 3)
        first = program.compilations
        train(program, 3, rate=0.5)
        assert program.compilations == first
        train(program, 3, tail=True)
        assert program.compilations == first + 1
    with opened(backend, plan) as program:
        train(program, 3, tail=True)
        assert program.compilations == first + 1


def test_a_batch_of_one_is_not_squeezed_away(backend):
    for rows in (1, 3):
        x = np.arange(3.0 * rows, dtype="float32").reshape(rows, 1, 3)
        np.testing.assert_array_equal(outputs(backend, {"x": x}, lambda x: call("Squeeze", x)), x[:, 0])


def test_sixteen_bit_whole_numbers_begin_anew(backend):
    """MXNet has no such type; they are carried in 32 bits."""
    x = np.array([[65535, 3], [1, 2]], "uint16")
    for op, expected in (("Add", x + x), ("Mul", x * x), ("Sub", x - (x + x))):
        made = outputs(backend, {"x": x}, lambda x, op=op: call(op, x, x if op != "Sub" else call("Add", x, x)))
        assert made.dtype == np.uint16
        np.testing.assert_array_equal(made, expected)


def test_large_whole_numbers_divide_exactly(backend):
    a, b = np.array([2**62 + 1, -(2**62) - 1, 7, -7]), np.array([3, 3, -2, 2])
    made = outputs(backend, {"a": a, "b": b}, lambda a, b: call("Div", a, b))
    assert made.dtype == np.int64
    assert made.tolist() == [1537228672809129301, -1537228672809129301, -3, -3]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_refused_before_anything_runs(backend, dtype):
    with pytest.raises(GraphError, match=f"no products of {dtype} on the CPU; allowed: float32, float64"):
        outputs(backend, {"x": np.ones((2, 3), "float32")}, lambda x: call("Cast", x, to=dtype))


def test_what_broadcasts_over_too_many_axes_is_refused_with_the_reason(backend):
    x = np.ones((2, 1, 2, 1, 2, 1), "float32")
    with pytest.raises(GraphError, match="Where: mxnet broadcasts over at most 5 axes, this result has 6"):
        outputs(backend, {"x": x}, lambda x: call("Where", call("Greater", x, 0.0), x, np.ones((2, 1, 2, 1, 2), "f4")))


def test_infinite_values_keep_their_maximum(backend):
    x = np.array([[np.inf, 1.0], [-np.inf, -np.inf], [2.0, 2.0]], "float32")
    made = outputs(backend, {"x": x}, lambda x: call("ReduceMax", x, axes=[1], keepdims=0))
    assert made.tolist() == [np.inf, -np.inf, 2.0]


def test_results_do_not_depend_on_how_an_epoch_is_cut(backend):
    found = []
    for parts in ([6], [1, 5], [2, 2, 2]):
        with opened(backend, plan_of(dropping())) as program:
            batches = [np.arange(BATCH) + at for at in range(6)]
            hyper = program.plan.update.hyper
            losses, at = [], 0
            for size in parts:
                own = {name: np.full(size, value) for name, value in hyper.items()}
                losses += program.train("data", batches[at : at + size], own, 3).tolist()
                at += size
            found.append(losses)
    assert found[0] == found[1] == found[2]


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


@pytest.mark.usefixtures("in_process")
def test_every_primitive_has_a_kernel_and_every_kernel_an_operator(backend):
    from portanet.engine.backends.mxnet_windows import KERNELS

    assert set(REGISTRY) - set(EXPANSIONS) <= set(KERNELS) <= set(REGISTRY)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("build", [dense, convolution, dropping])
def test_a_fit_leaves_mxnet_s_settings_as_they_were(backend, build):
    import mxnet as mx

    from portanet.engine.backends.mxnet_threads import count_threads

    def settings():
        return (mx.util.is_np_shape(), mx.util.is_np_array(), mx.autograd.is_recording(), mx.autograd.is_training(),
                count_threads(), mx.context.current_context())  # fmt: skip

    before = settings()
    net = build(threads=count_threads() + 1).fit(*data(build is convolution), backend="mxnet")
    net.predict(data(build is convolution)[0])
    assert settings() == before
    with mx.autograd.record():
        net.partial_fit(*data(build is convolution))
        assert mx.autograd.is_recording()


@pytest.mark.usefixtures("in_process")
def test_the_import_is_silent_and_leaves_numpy_as_it_was(backend):
    code = """if True:
        import numpy as np
        from numpy import fft, random, testing, typing
        before = set(vars(np)) | {"_core"}
        import os
        kept = dict(os.environ)
        import portanet.engine.backends.mxnet_backend
        assert os.environ == kept
        assert set(vars(np)) <= before, set(vars(np)) - before
        print("quiet")
    """
    assert in_a_fresh_process(code).split() == ["quiet"]


@pytest.mark.usefixtures("in_process")
def test_an_engine_that_was_asked_for_is_taken(backend, monkeypatch):
    monkeypatch.setenv("MXNET_ENGINE_TYPE", "ThreadedEnginePerDevice")
    code = """if True:
        import numpy as np
        from small_nets import dense, data
        net = dense().fit(*data(), backend="mxnet")
        print(net.record_["engine"], np.isfinite(net.history_[-1]["train_loss"]))
    """
    assert in_a_fresh_process(code).split() == ["mxnet", "True"]


@pytest.mark.usefixtures("in_process")
def test_mxnet_imported_by_the_user_before_is_used_as_it_is(backend):
    code = """if True:
        import warnings
        from portanet.engine.backends import removed_numpy_names
        with warnings.catch_warnings(), removed_numpy_names.supplied():
            warnings.simplefilter("ignore")
            import mxnet
        from small_nets import dense, data
        print(dense().fit(*data(), backend="mxnet").record_["engine"])
    """
    assert in_a_fresh_process(code).split() == ["mxnet"]
    assert "mxnet" in sys.modules
