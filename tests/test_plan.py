"""Plans to JSON with arrays, and back."""

import json

import numpy as np
import pytest

from portanet.engine.backends.numpy_backend import backend
from portanet.engine.graph import GraphError, TensorType
from portanet.engine.plan import PREDICT, TRAIN, Plan, Update
from portanet.engine.tracing import Tracer, call, tracing

INPUTS = {"x": TensorType("float64", ("N", 3))}
TARGETS = {"target": TensorType("float64", ("N", 2))}


def graph(role):
    tracer = Tracer(role, "float64")
    with tracing(tracer):
        x, w = tracer.input("x", "float64", ("N", 3)), tracer.input("W", "float64", (3, 2))
        y = call("MatMul", x - tracer.input("mean", "float64", (3,)), w) * tracer.constant([1.0, 2.0])
        if role == PREDICT:
            tracer.output("prediction", y)
        else:
            error = y - tracer.input("target", "float64", ("N", 2))
            tracer.output("loss", call("ReduceMean", error * error, keepdims=0))
    return tracer.graph


def update(key, shape):
    tracer = Tracer("update", "float64")
    with tracing(tracer):
        param, grad, memory = (tracer.input(name, "float64", shape) for name in ("param", "grad", "slot:memory"))
        memory = memory * tracer.constant(0.5) + grad
        tracer.output("param", param - tracer.input("hyper:learning_rate", "float64", ()) * memory)
        tracer.output("slot:memory", memory)
    clip = Tracer("clip", "float64")
    with tracing(clip):
        clip.output("grad", call("Clip", clip.input("grad", "float64", ("P",)), min=-0.1, max=0.1))
    return Update("own", {"learning_rate": 0.1}, {"memory": 0.25}, {key: tracer.graph}, clip.graph)


def make(rule):
    arrays = {"W": np.arange(6.0).reshape(3, 2) / 10, "mean": np.array([0.5, 0.0, -0.5])}
    graphs = {TRAIN: graph(TRAIN), PREDICT: graph(PREDICT)}
    return Plan("float64", INPUTS, TARGETS, {"W": (3, 2)}, {"mean": (3,)}, graphs, [], rule, arrays)


RULES = {"none": None, "elementwise": update("*", ("P",)), "each": update("W", (3, 2))}


def through_json(plan):
    data, arrays = plan.to_json()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    return Plan.from_json(json.loads(json.dumps(data)), arrays)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_plan_comes_back_the_same(rule):
    plan = make(rule)
    again = through_json(plan)
    data, arrays = plan.to_json()
    new_data, new_arrays = again.to_json()
    assert json.dumps(new_data) == json.dumps(data)
    assert list(new_arrays) == list(arrays)
    for name, array in arrays.items():
        assert new_arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(new_arrays[name], array)
    assert again.inputs == INPUTS and again.targets == TARGETS
    assert again.trainable == {"W": (3, 2)} and again.running == {"mean": (3,)}
    if rule is not None:
        assert again.update.elementwise == rule.elementwise
        assert (again.update.hyper, again.update.slots) == (rule.hyper, rule.slots)


@pytest.mark.parametrize("rule", [RULES["elementwise"], RULES["each"]], ids=["elementwise", "each"])
def test_a_plan_that_travelled_trains_alike(rule):
    rng = np.random.default_rng(0)
    rows = {"x": rng.standard_normal((20, 3)), "target": rng.standard_normal((20, 2))}
    losses = []
    for plan in (make(rule), through_json(make(rule))):
        program = backend().compile(plan, {"kind": "cpu", "index": 0}, {})
        program.bind("rows", rows)
        losses.append(program.train("rows", [np.arange(20)] * 5, {"learning_rate": [0.1] * 5}, 0))
    np.testing.assert_array_equal(*losses)
    assert losses[0][-1] < losses[0][0]


def test_a_plan_that_was_tampered_with_is_refused():
    data, arrays = make(None).to_json()
    data["graphs"][TRAIN]["nodes"][1][0] = "MatMull"
    with pytest.raises(GraphError, match=r"unknown operator 'MatMull' \(did you mean 'MatMul'\?\)"):
        Plan.from_json(data, arrays)
