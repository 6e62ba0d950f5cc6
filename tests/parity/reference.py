"""Nets on any engine, beside the NumPy engine in float64: what both are asked, and whether they agree."""

import contextlib
from collections.abc import Callable, Mapping
from typing import NamedTuple
from unittest import mock

import numpy as np
from tolerances import assert_near

from portanet import layers, updates
from portanet.compile import Task, compile_plan, trainable_shapes
from portanet.engine.backends.numpy_backend import NumpyBackend
from portanet.engine.noise import Source

REFERENCE = NumpyBackend()
DTYPES = ("float32", "float64")
SEED = 3


class Net(NamedTuple):
    """A net as layer objects, what it is to learn for a float type, and how it is trained."""

    top: layers.Layer
    task: Callable[[str], Task]
    rule: Callable = updates.sgd
    hyper: Mapping[str, float] = {"learning_rate": 1.0}
    norm_constraint: float | None = None
    limits: Mapping[str, float] = {}


def plan_of(net, dtype):
    """The net compiled for `dtype`, with initial values that float32 can hold, so that all start from the same."""
    named = {one.name: one for one in layers.get_all_layers(net.top)}
    update = updates.trace_update(net.rule, net.hyper, trainable_shapes(named), dtype, net.norm_constraint)
    update.gradient = updates.trace_gradient(**net.limits, floatX=dtype)
    plan = compile_plan(named, net.task(dtype), update, dtype, np.random.default_rng(0))
    plan.arrays = {name: array.astype("float32").astype(dtype) for name, array in plan.arrays.items()}
    return plan


@contextlib.contextmanager
def opened(backend, plan, reproducible=True):
    """A program for the plan on the engine's first device; closed afterwards."""
    program = backend.compile(plan, backend.devices()[0][0], {"reproducible": reproducible})
    try:
        yield program
    finally:
        program.close()


@contextlib.contextmanager
def drawing(dtype):
    """Inside, NumPy's streams give numbers of `dtype` to whoever asks, as they do to an engine that computes in it."""
    uniform, normal = Source.uniform, Source.normal
    with (
        mock.patch.object(Source, "uniform", lambda self, shape, _: uniform(self, shape, dtype)),
        mock.patch.object(Source, "normal", lambda self, shape, _: normal(self, shape, dtype)),
    ):
        yield


def on_reference(observe, net, dtype, *args):
    """What `observe(backend, net, dtype, ...)` sees in float64, where an engine would be asked in `dtype`."""
    with drawing(dtype):
        return observe(REFERENCE, net, "float64", *args)


def flat(state):
    """A program's state as one dict of arrays: ``"W"``, ``"slot 'm' of W"``, ``"steps taken"``."""
    found = {**state["parameters"], **state["running"], "steps taken": np.int64(state["step"])}
    for slot, arrays in state["slots"].items():
        found.update((f"slot '{slot}' of {name}", array) for name, array in arrays.items())
    return found


def assert_alike(got, wanted, dtype, tolerance, where=""):
    """Two dicts of arrays by name; everything that is too far from what was wanted is reported, by name."""
    assert list(got) == list(wanted)
    faults = []
    for name, array in wanted.items():
        right = array if array.dtype.kind in "iub" else array.astype(dtype)
        try:
            assert_near(got[name], right, None if array.dtype.kind in "iub" else tolerance, f"{where}{name}")
        except AssertionError as fault:
            faults.append(str(fault).strip())
    assert not faults, "\n".join(faults)
