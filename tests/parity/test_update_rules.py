"""Every update rule on every engine against NumPy in float64: given gradients, and 20 steps of training."""

import functools
import inspect

import numpy as np
import pytest
from reference import DTYPES, SEED, Net, assert_alike, flat, on_reference, opened, plan_of
from tolerances import RUN, UPDATE

from portanet import layers, objectives, ops, updates
from portanet.compile import Task
from portanet.engine.graph import TensorType
from portanet.init import Normal
from portanet.nonlinearities import tanh

RATES = {"sgd": 0.3, "momentum": 0.1, "nesterov_momentum": 0.1, "adagrad": 0.1, "adadelta": 1.0}
LIMITS = {
    "plain": {},
    "grad_clipping": {"grad_clipping": 0.4},
    "total_norm_constraint": {"total_norm_constraint": 1.5},
    "norm_constraint": {"norm_constraint": 0.7},
    "all limits": {"grad_clipping": 0.8, "total_norm_constraint": 2.0, "norm_constraint": 0.9},
}
STEPS = 20


def place_by_place(param, grad, state, learning_rate, momentum=0.8, scale=0.5):
    """A rule of a user's own: steps that grow while the gradient keeps its sign, slots that start elsewhere."""
    gain = state.get("gain", 1.0)
    agrees = state["before"] * grad >= 0.0
    state["gain"] = ops.clip(ops.where(agrees, gain + 0.05, gain * scale), 0.1, 4.0)
    state["before"] = momentum * state["before"] + (1.0 - momentum) * grad
    return param - learning_rate / ops.sqrt(state.step) * state["gain"] * grad


def by_parameter(param, grad, state, learning_rate, decay=0.1):
    """Another, which looks at whole parameters, and has a slot for matrices and filters only."""
    if param.ndim == 1:
        return param - 2.0 * learning_rate * grad
    norms = [ops.sqrt(ops.sum(ops.square(x))) for x in (param, grad)]
    state["mean"] = (1.0 - decay) * state["mean"] + decay * grad
    return param - learning_rate * norms[0] / (norms[1] + 1e-3) * state["mean"]


def public_rules():
    found = {name: getattr(updates, name) for name in updates.__all__}
    takes = {name: list(inspect.signature(rule).parameters)[:3] for name, rule in found.items()}
    return {name: found[name] for name in found if takes[name] == ["param", "grad", "state"]}


RULES = {**public_rules(), "place_by_place": place_by_place, "by_parameter": by_parameter}
EACH_LIMIT = [("momentum", limit) for limit in LIMITS if limit != "plain"]
ALL_LIMITS = [(name, "all limits") for name in ("adam", "nesterov_momentum", "by_parameter")]
APPLIED = [
    *((name, "plain", dtype) for name in RULES for dtype in DTYPES),
    *((name, limit, "float64") for name, limit in EACH_LIMIT + ALL_LIMITS),
]
TRAINED = [(name, "plain") for name in RULES] + ALL_LIMITS


@functools.cache
def net_of(rule, limit):
    """Filters, a matrix and vectors."""
    source = layers.InputLayer((None, 2, 5, 4), "input")
    conv = layers.Conv2DLayer(source, num_filters=3, filter_size=2, W=Normal(0.5), nonlinearity=tanh, name="conv")
    top = layers.DenseLayer(conv, num_units=2, b=Normal(0.5), nonlinearity=None, name="output")
    hyper = {"learning_rate": RATES.get(rule, 0.02)}
    limits = dict(LIMITS[limit])
    constraint = limits.pop("norm_constraint", None)
    return Net(top, lambda dtype: Task(TensorType(dtype, ("N", 2)), objectives.squared_error), RULES[rule], hyper,
               constraint, limits)  # fmt: skip


def schedules(update, steps):
    """A value of each hyper-parameter for every step: the learning rate swings, the others drift towards zero."""
    drift = 1.0 - 0.01 * np.arange(steps) / steps
    values = {name: first * drift for name, first in update.hyper.items()}
    values["learning_rate"] = update.hyper["learning_rate"] * (1.0 + 0.5 * np.cos(np.arange(steps)))
    return values


def midway(plan, rng):
    """A state in the middle of training: slots that are not zero, steps taken."""
    state = plan.initial_state()
    signed = {"velocity", "m", "before", "mean"}
    for slot, arrays in state["slots"].items():
        for name, array in arrays.items():
            drawn = rng.standard_normal(array.shape, "float32")
            arrays[name] = (drawn if slot in signed else np.abs(drawn) + np.float32(0.1)).astype(array.dtype)
    return {**state, "step": 6}


def observe_updates(backend, net, dtype):
    """State after each of three updates by given gradients."""
    plan, rng = plan_of(net, dtype), np.random.default_rng(5)
    hyper = schedules(plan.update, 3)
    seen = {}
    with opened(backend, plan) as program:
        program.set_state(midway(plan, rng))
        for step in range(3):
            gradients = {name: rng.standard_normal(shape, "float32") for name, shape in plan.trainable.items()}
            program.apply(gradients, {name: float(values[step]) for name, values in hyper.items()})
            seen.update((f"{name} after update {step + 1}", array) for name, array in flat(program.get_state()).items())
    return seen


def data(dtype):
    rng = np.random.default_rng(2)
    arrays = {"input": rng.standard_normal((30, 2, 5, 4), "float32"), "target": rng.standard_normal((30, 2), "float32")}
    return {name: array.astype(dtype) for name, array in arrays.items()}


def batches(steps=STEPS):
    rng = np.random.default_rng(4)
    return [rng.permutation(30)[:7] for _ in range(steps)]


def observe_training(backend, net, dtype):
    """Losses of 20 steps with hyper-parameters that change at each, and the state afterwards."""
    plan = plan_of(net, dtype)
    with opened(backend, plan) as program:
        program.bind("data", data(dtype))
        losses = program.train("data", batches(), schedules(plan.update, STEPS), SEED)
        return {"losses": losses, **flat(program.get_state())}


@functools.cache
def wanted(observe, rule, limit, dtype):
    return on_reference(observe, net_of(rule, limit), dtype)


@pytest.mark.parametrize(("rule", "limit", "dtype"), APPLIED)
def test_updates_by_given_gradients(backend, rule, limit, dtype):
    seen = observe_updates(backend, net_of(rule, limit), dtype)
    assert_alike(seen, wanted(observe_updates, rule, limit, dtype), dtype, UPDATE[dtype])


@pytest.mark.parametrize(("rule", "limit"), TRAINED)
def test_twenty_steps_of_training(backend, rule, limit):
    seen, right = (
        observe_training(backend, net_of(rule, limit), "float32"),
        wanted(observe_training, rule, limit, "float32"),
    )
    assert_alike({"losses": seen.pop("losses")}, {"losses": right["losses"]}, "float64", RUN["float32"])
    assert_alike(seen, {name: array for name, array in right.items() if name != "losses"}, "float32", RUN["float32"])


@pytest.mark.parametrize(("rule", "limit"), EACH_LIMIT + ALL_LIMITS)
def test_the_limits_are_felt(rule, limit):
    """A limit that never applies would agree with anything that forgets it."""
    for observe in (observe_updates, observe_training):
        free, limited = (wanted(observe, rule, each, "float64") for each in ("plain", limit))
        change = [np.max(np.abs(free[name] - limited[name])) for name in free if name.startswith("conv.W")]
        assert max(change) > 0.01


@pytest.mark.parametrize("rule", ["adam", "nesterov_momentum", "place_by_place", "by_parameter"])
def test_a_state_goes_on_where_it_was_taken(backend, rule):
    """Bit for bit: the state is all there is."""
    plan = plan_of(net_of(rule, "plain"), "float32")
    hyper = schedules(plan.update, STEPS)
    first, rest = ({name: values[part] for name, values in hyper.items()} for part in (slice(8), slice(8, None)))
    with opened(backend, plan) as staying, opened(backend, plan) as moved:
        for program in (staying, moved):
            program.bind("data", data("float32"))
        staying.train("data", batches()[:8], first, SEED)
        state = staying.get_state()
        moved.set_state(state)
        losses = [program.train("data", batches()[8:], rest, SEED) for program in (staying, moved)]
        np.testing.assert_array_equal(losses[1], losses[0])
        ends = [flat(program.get_state()) for program in (staying, moved)]
        assert ends[0]["steps taken"] == STEPS
        for name, array in ends[0].items():
            np.testing.assert_array_equal(ends[1][name], array, err_msg=name)


@pytest.mark.parametrize("rule", ["adam", "place_by_place"])
def test_a_state_is_a_copy_and_slots_left_out_start_anew(backend, rule):
    plan = plan_of(net_of(rule, "plain"), "float32")
    with opened(backend, plan) as program:
        state = midway(plan, np.random.default_rng(5))
        kept = {name: np.array(array) for name, array in flat(state).items()}
        program.set_state(state)
        for taken in (state, program.get_state()):
            for arrays in (taken["parameters"], *taken["slots"].values()):
                for array in arrays.values():
                    array[...] = 7.0
        for name, array in flat(program.get_state()).items():
            np.testing.assert_array_equal(array, kept[name], err_msg=name)
        program.set_state({part: state[part] for part in ("parameters", "running")})
        anew = program.get_state()
        assert anew["step"] == 0
        for slot, arrays in anew["slots"].items():
            for array in arrays.values():
                np.testing.assert_array_equal(array, np.full_like(array, plan.update.slots[slot]))
