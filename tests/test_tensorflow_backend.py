"""TensorFlow: XLA by option, threads taken once, and a process left as it was found."""

import os

import numpy as np
import pytest
from small_nets import (
    CPU,
    convolution,
    data,
    dense,
    dropping,
    in_a_fresh_process,
    opened,
    plan_of,
    train,
)

pytestmark = pytest.mark.parametrize("backend", ["tensorflow"], indirect=True)


@pytest.fixture
def tf(backend):
    import tensorflow

    return tensorflow


def test_the_record(backend, tf):
    with opened(backend, plan_of(convolution()), allow_tf32=True) as program:
        record = program.record
    assert record["engine"] == "tensorflow" and record["version"] == tf.__version__ and record["device"] == CPU
    assert record["threads"] >= 1 and record["options"] == {"allow_tf32": True, "jit": "auto"}
    assert set(record["kernels"].values()) <= {"fused", "expanded"} and record["compile_seconds"] >= 0


@pytest.mark.parametrize(("build", "auto"), [(dense, True), (dropping, True), (convolution, False)])
def test_xla_changes_the_way_but_not_the_losses(backend, build, auto):
    plan, losses = plan_of(build()), {}
    for jit, wanted in (("off", False), ("on", True), ("auto", auto)):
        with opened(backend, plan, jit=jit) as program:
            assert program.record["jit"] is wanted and program.record["options"]["jit"] == jit
            losses[jit] = train(program, 5, tail=True)
    np.testing.assert_allclose(losses["on"], losses["off"], rtol=1e-5)
    np.testing.assert_array_equal(losses["auto"], losses["on" if auto else "off"])


def test_a_wrong_way_of_compiling_is_refused(backend):
    with pytest.raises(ValueError, match="'tensorflow': option jit is 'xla'; allowed: auto, on, off"):
        dense(options={"jit": "xla"}).fit(*data(), backend="tensorflow")


def test_an_option_of_another_type_is_refused(backend):
    with pytest.raises(ValueError, match="'tensorflow': option jit must be of type str, got True"):
        dense(options={"jit": True}).fit(*data(), backend="tensorflow")


def global_settings(tf):
    """What another part of the process may have set, and a fit must leave."""
    threading = tf.config.threading
    return {
        "soft placement": tf.config.get_soft_device_placement(),
        "placement logged": tf.debugging.get_log_device_placement(),
        "devices": [one.name for one in tf.config.get_visible_devices()],
        "eager": (tf.executing_eagerly(), tf.config.functions_run_eagerly()),
        "optimiser": (tf.config.optimizer.get_jit(), tf.config.optimizer.get_experimental_options()),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "threads": (threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()),
        "log level": os.environ.get("TF_CPP_MIN_LOG_LEVEL"),
        "flags": os.environ.get("XLA_FLAGS"),
        "a float": tf.constant(1.0).dtype.name,
        "a place": tf.constant(1.0).device,
    }


@pytest.mark.parametrize("build", [dense, convolution, dropping])
def test_a_fit_leaves_the_process_as_it_was(backend, tf, build):
    X, y = data(build is convolution)
    before = global_settings(tf)
    build(max_epochs=1).fit(X, y, backend="tensorflow").predict(X)
    assert global_settings(tf) == before


def test_a_fit_leaves_the_user_s_random_numbers_alone(backend, tf):
    drawn = []
    for fit in (False, True):
        tf.random.set_seed(7)
        first = tf.random.uniform([3]).numpy()
        if fit:
            dropping(max_epochs=1).fit(*data(), backend="tensorflow")
        drawn.append(np.concatenate([first, tf.random.uniform([3]).numpy()]))
    np.testing.assert_array_equal(*drawn)


def test_what_the_user_set_neither_harms_nor_is_harmed(backend, tf):
    plan = plan_of(dropping())
    with opened(backend, plan) as program:
        expected = train(program)
    soft = tf.config.get_soft_device_placement()
    tf.config.set_soft_device_placement(not soft)
    try:
        before = global_settings(tf)
        with opened(backend, plan) as program:
            np.testing.assert_array_equal(train(program), expected)
        assert global_settings(tf) == before
    finally:
        tf.config.set_soft_device_placement(soft)


def test_another_number_of_threads_is_refused(backend):
    threads = dense().fit(*data(), backend="tensorflow").record_["threads"]
    assert dense(threads=threads).fit(*data(), backend="tensorflow").record_["threads"] == threads
    message = (
        rf"'tensorflow' already runs with {threads} threads .* {threads + 1} are asked .*PORTANET_THREADS={threads + 1}"
    )
    with pytest.raises(ValueError, match=message):
        dense(threads=threads + 1).fit(*data(), backend="tensorflow")


def test_threads_that_the_user_set_are_taken(backend, tf, monkeypatch):
    """As if nothing had run yet, so that TensorFlow would still listen."""
    threading, said = tf.config.threading, []
    for kind, count in (("intra", 3), ("inter", 2)):
        monkeypatch.setattr(threading, f"get_{kind}_op_parallelism_threads", lambda count=count: count)
        monkeypatch.setattr(threading, f"set_{kind}_op_parallelism_threads", said.append)
    with opened(backend, plan_of(dense())) as program:
        assert program.record["threads"] == 3 and not said


FIRST = """
import os
os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
from portanet.runtime import registry
registry.load("tensorflow")
assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
import tensorflow as tf
tf.config.threading.set_inter_op_parallelism_threads(2)
from small_nets import data, dense
net = dense(threads=3, device="auto", options={"jit": "off"}).fit(*data(), backend="tensorflow")
assert net.record_["threads"] == tf.config.threading.get_intra_op_parallelism_threads() == 3
assert tf.config.threading.get_inter_op_parallelism_threads() == 2
try:
    dense(threads=2).fit(*data(), backend="tensorflow")
except ValueError as error:
    print(error)
"""


def test_the_first_fit_decides_the_threads(backend):
    assert "already runs with 3 threads in this process, 2 are asked for" in in_a_fresh_process(FIRST)
