"""JAX: donated state, threads taken once, and a process that is left as it was found."""

import os
import sys

import numpy as np
import pytest
from small_nets import (
    BATCH,
    CPU,
    ROWS,
    convolution,
    data,
    dense,
    dropping,
    in_a_fresh_process,
    opened,
    plan_of,
    train,
)

from portanet.engine.plan import OUTPUTS, Plan
from portanet.engine.tracing import Tracer, call, tracing
from portanet.updates import adam, sgd

pytestmark = pytest.mark.parametrize("backend", ["jax"], indirect=True)


@pytest.fixture
def jax(backend):
    import jax

    return jax


def test_the_record(backend, jax):
    with opened(backend, plan_of(convolution()), allow_tf32=True) as program:
        record = program.record
    assert record["engine"] == "jax" and record["version"] == jax.__version__ and record["device"] == CPU
    assert record["threads"] >= 1 and record["options"] == {"allow_tf32": True}
    assert set(record["kernels"].values()) <= {"fused", "expanded"} and record["compile_seconds"] >= 0


def leaves(jax, program):
    return jax.tree.leaves(program._state)


def test_the_memory_of_the_old_state_is_handed_on(backend, jax):
    with opened(backend, plan_of(dense(update=adam))) as program:
        before = leaves(jax, program)
        train(program, 2)
        after = leaves(jax, program)
        assert all(array.is_deleted() for array in before)
        assert not any(array.is_deleted() for array in after)
        addresses = {array.unsafe_buffer_pointer() for array in after}
        train(program, 2)
        assert all(array.is_deleted() for array in after)
        assert addresses & {array.unsafe_buffer_pointer() for array in leaves(jax, program)}


def test_looking_hands_nothing_on(backend, jax):
    with opened(backend, plan_of(dense(update=adam))) as program:
        before = leaves(jax, program)
        program.evaluate("data", [np.arange(5)])
        program.predict({"input": data()[0]})
        program.gradients("data", np.arange(5), 0)
        program.get_state()
        assert not any(array.is_deleted() for array in before)


def global_settings(jax):
    from jax import numpy as jnp

    return {
        **jax.config.values,
        "wide": jax.config.jax_enable_x64,
        "precision": jax.config.jax_default_matmul_precision,
        "device": jax.config.jax_default_device,
        "a float": str(jnp.asarray(1.0).dtype),
        "an integer": str(jnp.arange(3).dtype),
        "a place": str(jnp.zeros(3).devices()),
        "threads": os.environ.get("NPROC"),
        "flags": os.environ.get("XLA_FLAGS"),
    }


@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_a_fit_leaves_the_process_as_it_was(backend, jax, floatX):
    before = global_settings(jax)
    net = dropping(floatX=floatX).fit(*data(), backend="jax")
    net.predict(data()[0])
    assert global_settings(jax) == before


def test_what_the_user_set_neither_harms_nor_is_harmed(backend, jax):
    plan = plan_of(dropping())
    with opened(backend, plan) as program:
        expected, state = train(program), program.get_state()
    with jax.enable_x64(True), jax.default_matmul_precision("bfloat16"), opened(backend, plan) as program:
        before = global_settings(jax)
        found, own = train(program), program.get_state()
        assert global_settings(jax) == before
    np.testing.assert_array_equal(found, expected)
    for name, array in state["parameters"].items():
        assert own["parameters"][name].dtype == np.float32
        np.testing.assert_array_equal(own["parameters"][name], array, err_msg=name)


def test_a_net_in_double_precision_computes_in_it(backend):
    """A change of 1e-12, which float32 does not see, is seen in the loss, the state and the prediction."""
    plan, X = plan_of(dense(floatX="float64", update=sgd)), data()[0].astype("float64")
    seen = []
    for change in (0.0, 1e-12):
        with opened(backend, plan) as program:
            state = program.get_state()
            state["parameters"]["hidden.W"] += change
            program.set_state(state)
            seen.append(
                (train(program, 3), program.predict({"input": X}), program.get_state()["parameters"]["output.W"])
            )
    for at, (first, second) in enumerate(zip(*seen, strict=True)):
        assert first.dtype == second.dtype == np.float64
        difference = np.abs(second - first).max()
        assert 1e-14 < difference < 1e-9, at


def test_counts_stay_narrow_in_single_precision(backend, jax):
    """Whole numbers of 64 bits would cost JAX a second copy of all it does."""
    with opened(backend, plan_of(dense())) as program:
        train(program)
        assert {str(array.dtype) for array in leaves(jax, program)} == {"float32", "int32"}


def test_another_number_of_threads_is_refused(backend):
    threads = dense().fit(*data(), backend="jax").record_["threads"]
    assert dense(threads=threads).fit(*data(), backend="jax").record_["threads"] == threads
    message = (
        rf"'jax' already runs with {threads} threads .* {threads + 1} are asked for.*PORTANET_THREADS={threads + 1}"
    )
    with pytest.raises(ValueError, match=message):
        dense(threads=threads + 1).fit(*data(), backend="jax")


FIRST = """
import os
os.environ.pop("NPROC", None)
from small_nets import data, dense
net = dense(threads=1, device="auto").fit(*data(), backend="jax")
assert net.record_["threads"] == 1, net.record_["threads"]
assert "NPROC" not in os.environ
from pathlib import Path
pool = [task.read_text() for task in Path("/proc/self/task").glob("*/comm")]
assert len([name for name in pool if "XLAEigen" in name]) == 1, pool
try:
    dense(threads=2).fit(*data(), backend="jax")
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_the_first_fit_decides_the_threads(backend):
    said = in_a_fresh_process(FIRST)
    assert "already runs with 1 threads in this process, 2 are asked for" in said


def test_rows_that_are_left_out_do_not_count(backend):
    """A block is filled up to its capacity; what fills it must change nothing."""
    plan = plan_of(dropping())
    with opened(backend, plan) as program:
        one_by_one = np.concatenate([train(program, 1) for _ in range(3)])
    with opened(backend, plan) as program:
        rows = np.arange(BATCH)
        hyper = {name: np.full(3, first) for name, first in plan.update.hyper.items()}
        np.testing.assert_array_equal(program.train("data", [rows] * 3, hyper, 0), one_by_one)
        assert program.evaluate("data", [np.arange(ROWS)]).shape == (1, 1 + len(plan.metrics))


def test_int32_stands_for_int64_where_no_64_bits_are_fed(backend):
    tracer = Tracer("squared")
    with tracing(tracer):
        x = call("Cast", tracer.input("x", "int32", ("N",)), to="int64")
        tracer.output("layer:y", call("Mul", x, x))
    plan = Plan("float32", tracer.graph.inputs, {}, {}, {}, {OUTPUTS: tracer.graph}, [], None, {})
    program = backend.compile(plan, CPU, {})
    assert program.outputs({"x": np.array([2**30], "int32")}, ["y"])[0].tolist() == [0]
    program.close()
    assert ("any operator", "int64") in [row[:2] for row in backend.limits]
