import functools
import inspect

import numpy as np
import pytest
from evaluate import run_graph

from portanet import ops, updates
from portanet.engine.graph import TensorType
from portanet.exceptions import DeclarationError

SHAPES = {"hidden.W": (4, 3), "hidden.b": (3,)}
RATE = {"learning_rate": 0.05}


# The published formulas in plain NumPy: f(p, g, slots, t, **hyper) gives p and moves the slots.


def plain_sgd(p, g, s, t, *, learning_rate):
    return p - learning_rate * g


def plain_momentum(p, g, s, t, *, learning_rate, momentum):
    s["velocity"] = momentum * s["velocity"] - learning_rate * g
    return p + s["velocity"]


def plain_nesterov_momentum(p, g, s, t, *, learning_rate, momentum):
    s["velocity"] = momentum * s["velocity"] - learning_rate * g
    return p + momentum * s["velocity"] - learning_rate * g


def plain_adagrad(p, g, s, t, *, learning_rate, epsilon):
    s["accumulator"] = s["accumulator"] + g**2
    return p - learning_rate * g / np.sqrt(s["accumulator"] + epsilon)


def plain_rmsprop(p, g, s, t, *, learning_rate, rho, epsilon):
    s["accumulator"] = rho * s["accumulator"] + (1 - rho) * g**2
    return p - learning_rate * g / np.sqrt(s["accumulator"] + epsilon)


def plain_adadelta(p, g, s, t, *, learning_rate, rho, epsilon):
    s["accumulator"] = rho * s["accumulator"] + (1 - rho) * g**2
    stride = g * np.sqrt(s["delta"] + epsilon) / np.sqrt(s["accumulator"] + epsilon)
    s["delta"] = rho * s["delta"] + (1 - rho) * stride**2
    return p - learning_rate * stride


def _adam_moments(g, s, beta1, beta2):
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2


def plain_adam(p, g, s, t, *, learning_rate, beta1, beta2, epsilon):
    _adam_moments(g, s, beta1, beta2)
    rate = learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return p - rate * s["m"] / (np.sqrt(s["v"]) + epsilon)


def plain_adamax(p, g, s, t, *, learning_rate, beta1, beta2, epsilon):
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["u"] = np.maximum(beta2 * s["u"], np.abs(g))
    return p - learning_rate / (1 - beta1**t) * s["m"] / (s["u"] + epsilon)


def plain_amsgrad(p, g, s, t, *, learning_rate, beta1, beta2, epsilon):
    _adam_moments(g, s, beta1, beta2)
    s["vhat"] = np.maximum(s["vhat"], s["v"])
    rate = learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return p - rate * s["m"] / (np.sqrt(s["vhat"]) + epsilon)


def plain_adamw(p, g, s, t, *, learning_rate, beta1, beta2, epsilon, weight_decay):
    _adam_moments(g, s, beta1, beta2)
    corrected, square = s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t)
    return p - learning_rate * (corrected / (np.sqrt(square) + epsilon) + weight_decay * p)


def plain_nadam(p, g, s, t, *, learning_rate, beta1, beta2, epsilon):
    _adam_moments(g, s, beta1, beta2)
    ahead = beta1 * s["m"] / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
    return p - learning_rate * ahead / (np.sqrt(s["v"] / (1 - beta2**t)) + epsilon)


RULES = {name.removeprefix("plain_"): rule for name, rule in globals().items() if name.startswith("plain_")}
FAMILY = ["beta1", "beta2", "epsilon"]
EXPECTED = {
    "sgd": ([], {}),
    "momentum": (["momentum"], {"velocity"}),
    "nesterov_momentum": (["momentum"], {"velocity"}),
    "adagrad": (["epsilon"], {"accumulator"}),
    "rmsprop": (["rho", "epsilon"], {"accumulator"}),
    "adadelta": (["rho", "epsilon"], {"accumulator", "delta"}),
    "adam": (FAMILY, {"m", "v"}),
    "adamax": (FAMILY, {"m", "u"}),
    "amsgrad": (FAMILY, {"m", "v", "vhat"}),
    "adamw": ([*FAMILY, "weight_decay"], {"m", "v"}),
    "nadam": (FAMILY, {"m", "v"}),
}
LASAGNE = {
    "momentum": {"momentum": 0.9},
    "nesterov_momentum": {"momentum": 0.9},
    "adagrad": {"learning_rate": 1.0, "epsilon": 1e-6},
    "rmsprop": {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6},
    "adadelta": {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6},
    "adam": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "adamax": {"learning_rate": 0.002, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "amsgrad": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}


def run_updates(update, graph, start, gradients, hypers):
    """Parameter and slots after each gradient, through the graph."""
    param = np.array(start)
    slots = {name: np.full_like(param, first) for name, first in update.slots.items()}
    for step, (gradient, hyper) in enumerate(zip(gradients, hypers, strict=True), start=1):
        feeds = {"param": param, "grad": gradient, "step": step}
        feeds |= {f"slot:{name}": value for name, value in slots.items()}
        feeds |= {f"hyper:{name}": value for name, value in hyper.items()}
        results = run_graph(graph, {name: feeds[name] for name in graph.inputs})
        assert set(results) == {"param", *(f"slot:{name}" for name in slots)}
        param = results["param"]
        slots = {name: results[f"slot:{name}"] for name in slots}
    return param, slots


@pytest.mark.parametrize("name", RULES)
def test_rule_follows_its_published_formula(name):
    rng = np.random.default_rng(3)
    update = updates.trace_update(getattr(updates, name), {"learning_rate": 0.05}, SHAPES, "float64")
    start, gradients = rng.normal(size=7), rng.normal(size=(5, 7)) * [1e-3, 1e-2, 0.1, 1, 1, 10, 0]
    param, slots = run_updates(update, update.graphs["*"], start, gradients, [update.hyper] * 5)
    expected, remembered = start, {slot: np.zeros(7) for slot in update.slots}
    for t, gradient in enumerate(gradients, start=1):
        expected = RULES[name](expected, gradient, remembered, t, **update.hyper)
    np.testing.assert_allclose(param, expected, rtol=1e-12, atol=1e-15)
    for slot, value in remembered.items():
        np.testing.assert_allclose(slots[slot], value, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("name", RULES)
def test_rule_works_place_by_place_with_its_usual_slots(name):
    hypers, slots = EXPECTED[name]
    update = updates.trace_update(getattr(updates, name), RATE, SHAPES)
    graph = update.graphs["*"]
    assert update.rule == name
    assert list(update.graphs) == ["*"]
    assert list(update.hyper) == ["learning_rate", *hypers]
    assert update.slots == dict.fromkeys(slots, 0.0)
    assert graph.inputs["param"] == TensorType("float32", ("P",))
    assert all(graph.types[result] == TensorType("float32", ("P",)) for result in graph.outputs.values())


@pytest.mark.parametrize("name", LASAGNE)
def test_defaults_are_lasagnes(name):
    found = updates.hyperparameters(getattr(updates, name))
    assert {key: value for key, value in found.items() if value is not inspect.Parameter.empty} == LASAGNE[name]


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov_momentum"])
def test_plain_rules_need_a_learning_rate(name):
    rule = getattr(updates, name)
    assert updates.hyperparameters(rule)["learning_rate"] is inspect.Parameter.empty
    with pytest.raises(DeclarationError, match=f"'{name}' needs a value for learning_rate.*update_learning_rate"):
        updates.trace_update(rule, {}, SHAPES)


@pytest.mark.parametrize(
    ("name", "most"),
    [("sgd", 2), ("momentum", 4), ("nesterov_momentum", 6), ("adagrad", 7), ("adam", 12), ("adamw", 13)],
)
def test_rules_spend_few_operations_on_vectors(name, most):
    graph = updates.trace_update(getattr(updates, name), RATE, SHAPES).graphs["*"]
    assert sum(graph.types[node.outputs[0]].shape == ("P",) for node in graph.nodes) <= most


def test_adamw_agrees_with_pytorch():
    update = updates.trace_update(updates.adamw, {}, {"W": (2,)}, "float64")
    gradients = np.array([[0.1, -0.2], [0.3, 0.4], [0.0, 1e-6]])
    param, _ = run_updates(update, update.graphs["*"], [1.0, -2.0], gradients, [update.hyper] * 3)
    from_torch_2_13 = [0.9973428010736362, -1.999589121010129]
    np.testing.assert_allclose(param, from_torch_2_13, rtol=1e-14)


def test_hyperparameters_may_change_between_updates():
    update = updates.trace_update(updates.sgd, RATE, {"W": (2,)}, "float64")
    hypers = [{"learning_rate": rate} for rate in (1.0, 0.5, 0.0)]
    param, _ = run_updates(update, update.graphs["*"], [0.0, 1.0], np.ones((3, 2)), hypers)
    np.testing.assert_array_equal(param, [-1.5, -0.5])


def test_rules_keep_float32():
    update = updates.trace_update(updates.adam, {}, SHAPES)
    param, slots = run_updates(update, update.graphs["*"], np.ones(3, "f4"), np.ones((2, 3), "f4"), [update.hyper] * 2)
    assert {param.dtype, slots["m"].dtype} == {np.dtype("float32")}


def test_step_and_slots_are_inputs_only_where_they_are_read():
    assert set(updates.trace_update(updates.sgd, RATE, SHAPES).graphs["*"].inputs) == {
        "param", "grad", "hyper:learning_rate",
    }  # fmt: skip
    assert "step" in updates.trace_update(updates.adam, RATE, SHAPES).graphs["*"].inputs


def test_slot_may_start_elsewhere_and_is_read_back_after_writing():
    def rule(param, grad, state, learning_rate=0.1):
        state["scale"] = state.get("scale", 2.0) * 0.5
        return param - state["scale"] * grad

    update = updates.trace_update(rule, {}, {"W": (2,)}, "float64")
    assert update.slots == {"scale": 2.0}
    param, slots = run_updates(update, update.graphs["*"], [0.0, 0.0], np.ones((2, 2)), [update.hyper] * 2)
    np.testing.assert_array_equal(param, [-1.5, -1.5])
    np.testing.assert_array_equal(slots["scale"], [0.5, 0.5])


def lars(param, grad, state, learning_rate=0.1):
    norm = ops.sqrt(ops.sum(ops.square(param)))
    return param - learning_rate * norm * grad


def test_rule_over_whole_parameters_has_a_graph_for_each():
    update = updates.trace_update(lars, {}, SHAPES, "float64")
    assert not update.elementwise
    assert list(update.graphs) == ["hidden.W", "hidden.b"]
    assert update.graphs["hidden.W"].inputs["param"] == TensorType("float64", (4, 3))
    param, _ = run_updates(update, update.graphs["hidden.b"], [3.0, 4.0, 0.0], np.ones((1, 3)), [update.hyper])
    np.testing.assert_allclose(param, [2.5, 3.5, -0.5])


def test_rule_over_whole_parameters_is_seen_through_composites():
    def rule(param, grad, state, learning_rate=0.1):
        return param - learning_rate * ops.softmax(grad, axis=-1)

    assert not updates.trace_update(rule, {}, SHAPES).elementwise

    def gentle(param, grad, state, learning_rate=0.1):
        return param - learning_rate * ops.softsign(grad)

    assert updates.trace_update(gentle, {}, SHAPES).elementwise


def test_rule_that_looks_at_the_shape_is_not_joined():
    def no_momentum_for_biases(param, grad, state, learning_rate=0.1):
        if param.ndim == 1:
            return updates.sgd(param, grad, state, learning_rate)
        return updates.momentum(param, grad, state, learning_rate)

    update = updates.trace_update(no_momentum_for_biases, {}, SHAPES, "float64")
    assert set(update.graphs) == set(SHAPES)
    assert update.slots == {"velocity": 0.0}
    param, slots = run_updates(update, update.graphs["hidden.b"], np.zeros(3), np.ones((2, 3)), [update.hyper] * 2)
    np.testing.assert_allclose(param, np.full(3, -0.2))
    np.testing.assert_array_equal(slots["velocity"], np.zeros(3))


def test_rule_with_a_constant_that_depends_on_the_shape_is_not_joined():
    def rule(param, grad, state, learning_rate=0.1):
        return param - learning_rate / param.shape[0] * grad

    assert set(updates.trace_update(rule, {}, SHAPES).graphs) == set(SHAPES)


def test_rule_is_called_once_for_each_shape():
    seen = []

    def rule(param, grad, state, learning_rate=0.1):
        seen.append(param.shape)
        return param - learning_rate * grad

    updates.trace_update(rule, {}, {"a.W": (2, 2), "b.W": (2, 2), "b.b": (2,)})
    assert seen == [(2, 2), (2,)]


def test_nothing_to_train_gives_no_graphs():
    update = updates.trace_update(updates.adam, {}, {})
    assert (update.graphs, update.slots) == ({}, {})


def test_name_tells_ones_own_rules_from_the_known():
    def adam(param, grad, state, learning_rate=0.1):
        return param - learning_rate * grad

    assert updates.rule_name(updates.adam) == "adam"
    assert updates.rule_name(functools.partial(updates.adam, beta1=0.5)) == "adam"
    assert updates.rule_name(adam) != "adam"
    assert updates.rule_name(adam).endswith(".adam")


def test_partial_gives_other_defaults():
    update = updates.trace_update(functools.partial(updates.adam, beta1=0.5), {}, SHAPES)
    assert update.hyper["beta1"] == 0.5


def test_object_with_call_is_a_rule():
    class Scaled:
        def __call__(self, param, grad, state, learning_rate=0.1):
            return param - learning_rate * grad

    update = updates.trace_update(Scaled(), {}, SHAPES)
    assert update.rule.endswith("Scaled")
    assert update.hyper == {"learning_rate": 0.1}


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((4, 3), 0), ((3, 2, 4), (1, 2)), ((3, 2, 2, 2), (1, 2, 3)), ((3, 1, 2, 2, 2), (1, 2, 3, 4))],
)
def test_norm_constraint_limits_what_leads_into_each_unit(shape, axis):
    update = updates.trace_update(updates.sgd, RATE, {"W": shape, "b": (3,)}, "float64", constraint=1.5)
    assert update.rule == "sgd with norm_constraint"
    start = np.random.default_rng(1).normal(size=shape) * 2
    start[..., 0] *= 0.01
    param, _ = run_updates(update, update.graphs["W"], start, np.zeros((1, *shape)), [update.hyper])
    norms = np.sqrt((start**2).sum(axis=axis, keepdims=True))
    np.testing.assert_allclose(param, start * np.minimum(norms, 1.5) / (1e-7 + norms), rtol=1e-12)
    assert (norms > 1.5).any()


def test_norm_constraint_leaves_biases_alone():
    update = updates.trace_update(updates.sgd, RATE, SHAPES, "float64", constraint=0.1)
    param, _ = run_updates(update, update.graphs["hidden.b"], [3.0, 4.0, 5.0], np.zeros((1, 3)), [update.hyper])
    np.testing.assert_array_equal(param, [3.0, 4.0, 5.0])


def test_norm_constraint_needs_axes_for_a_vector():
    def rule(param, grad, state, learning_rate=0.1):
        return updates.norm_constraint(param - learning_rate * grad, 1.0)

    with pytest.raises(DeclarationError, match=r"on parameter 'b' .3,.*norm_constraint needs norm_axes.*2 to 5 dim"):
        updates.trace_update(rule, {}, {"b": (3,)})


def test_norm_constraint_along_given_axes():
    def rule(param, grad, state, learning_rate=0.1):
        return updates.norm_constraint(param - learning_rate * grad, 1.0, norm_axes=(0,))

    update = updates.trace_update(rule, {}, {"b": (2,)}, "float64")
    param, _ = run_updates(update, update.graphs["b"], [3.0, 4.0], np.zeros((1, 2)), [update.hyper])
    np.testing.assert_allclose(param, [0.6, 0.8], rtol=1e-6)


def test_gradient_graph_clips_first_and_limits_the_norm_then():
    graph = updates.trace_gradient(grad_clipping=4.0, total_norm_constraint=1.0, floatX="float64")
    assert graph.inputs == {"grad": TensorType("float64", ("P",))}
    found = run_graph(graph, {"grad": [3.0, -100.0]})["grad"]
    np.testing.assert_allclose(found, np.array([3.0, -4.0]) / (5.0 + 1e-7), rtol=1e-12)


def test_gradient_within_the_limits_stays():
    clipped = updates.trace_gradient(grad_clipping=4.0, floatX="float64")
    np.testing.assert_array_equal(run_graph(clipped, {"grad": [3.0, -4.0]})["grad"], [3.0, -4.0])
    limited = updates.trace_gradient(total_norm_constraint=6.0, floatX="float64")
    np.testing.assert_allclose(run_graph(limited, {"grad": [3.0, -4.0]})["grad"], [3.0, -4.0], rtol=1e-6)
    np.testing.assert_array_equal(run_graph(limited, {"grad": [0.0, 0.0]})["grad"], [0.0, 0.0])


def test_no_limit_no_gradient_graph():
    assert updates.trace_gradient() is None


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), True, "1"])
def test_limits_must_be_positive_numbers(limit):
    for name in ("grad_clipping", "total_norm_constraint"):
        with pytest.raises(DeclarationError, match=f"{name} must be a positive number"):
            updates.trace_gradient(**{name: limit})
    with pytest.raises(DeclarationError, match="norm_constraint must be a positive number"):
        updates.trace_update(updates.sgd, RATE, SHAPES, constraint=limit)


def test_hyperparameter_faults_are_told_together():
    with pytest.raises(DeclarationError) as error:
        updates.trace_update(updates.momentum, {"momentun": 0.9, "momentum": float("inf")}, SHAPES)
    assert error.value.faults == [
        "update rule 'momentum' has no 'momentun' (did you mean 'momentum'?); allowed: learning_rate, momentum",
        "update rule 'momentum' needs a value for learning_rate: write update_learning_rate=...",
        "update rule 'momentum': momentum must be a finite number, got inf",
    ]


def test_rule_must_take_a_learning_rate():
    def rule(param, grad, state):
        return param - grad

    with pytest.raises(DeclarationError, match="'rule' must have an argument learning_rate"):
        updates.trace_update(rule, {}, SHAPES)


@pytest.mark.parametrize("rule", ["adam", None, lambda param, grad: param, lambda *, param, grad, state: param])
def test_what_is_no_rule_is_refused(rule):
    with pytest.raises(DeclarationError, match=r"must be a function rule\(param, grad, state, learning_rate"):
        updates.hyperparameters(rule)


def test_rule_named_by_a_string_is_pointed_to_its_function():
    with pytest.raises(DeclarationError, match=r"write update=portanet\.updates\.adam"):
        updates.hyperparameters("adam")


def broken(body):
    def rule(param, grad, state, learning_rate=0.1):
        return body(param, grad, state)

    return rule


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            lambda p, g, s: None,
            r"returned None; it must be an expression over portanet.ops of type float32\(4, 3\)",
        ),
        (lambda p, g, s: 0.5, "returned 0.5"),
        (
            lambda p, g, s: ops.sum(p),
            r"returned a float32\(\); it must be a float32\(4, 3\), like the parameter",
        ),
        (lambda p, g, s: p > g, r"returned a bool\(4, 3\)"),
        (lambda p, g, s: p - ops.reshape(g, [3, 4]), "Sub: shapes .* do not broadcast"),
        (lambda p, g, s: p if p > 0 else g, "no truth value.*ops.where"),
        (
            lambda p, g, s: p - s["velocity"],
            "reads slot 'velocity' but never writes it, so it would stay 0.0",
        ),
        (lambda p, g, s: s.get("a", 1.0) + s.get("a", 2.0), "slot 'a' starts from 1.0 and from 2.0"),
        (lambda p, g, s: p - s["no name"], "a slot's name must be a word.*'no name'"),
    ],
)
def test_faulty_rule_is_named_with_its_parameter(body, message):
    with pytest.raises(DeclarationError, match=message) as error:
        updates.trace_update(broken(body), {}, SHAPES)
    assert str(error.value).startswith("update rule 'rule' on parameter 'hidden.W' (4, 3): ")


def test_misspelt_slot_is_suggested():
    def rule(param, grad, state, learning_rate=0.1):
        state["velocty"] = 0.9 * state["velocity"] - learning_rate * grad
        return param + state["velocty"]

    with pytest.raises(DeclarationError, match=r"reads slot 'velocity' but never.*did you mean 'velocty'"):
        updates.trace_update(rule, {}, SHAPES)


def test_slot_of_another_shape_is_refused():
    def rule(param, grad, state, learning_rate=0.1):
        state["norm"] = ops.sum(grad)
        return param - learning_rate * grad

    with pytest.raises(DeclarationError, match=r"wrote to slot 'norm' a float32\(\); it must be a float32\(4, 3\)"):
        updates.trace_update(rule, {}, SHAPES)


def test_slot_must_start_from_one_value_for_all_parameters():
    def rule(param, grad, state, learning_rate=0.1):
        state["scale"] = state.get("scale", float(param.ndim)) * 0.5
        return param - state["scale"] * grad

    with pytest.raises(DeclarationError, match=r"'scale' starts from 2.0 for one parameter and from 1.0 for another"):
        updates.trace_update(rule, {}, SHAPES)
