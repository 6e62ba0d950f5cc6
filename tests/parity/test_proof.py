"""The checkers can fail: what is wrong by 0.1 % is found."""

import numpy as np
import pytest
import test_compilations
import test_layers
import test_losses
import test_moving_house
import test_runs
import test_update_rules
from finite_differences import assert_gradients
from gradient_cases import Case, Floats
from one_node import contracted, cotangents, free, gradients, node_graph, run
from reference import DTYPES, assert_alike, flat
from tolerances import FORWARD, GRADIENT, RUN, UPDATE, assert_near

from portanet import config_context
from portanet.engine import kernels
from portanet.engine.backends.numpy_backend import NumpyBackend, NumpyProgram
from portanet.engine.expansions import expand
from portanet.runtime import registry

CASE = Case("Softmax", [Floats(3, 5)], {"axis": 1})


@pytest.fixture
def numpy_backend():
    return registry.load("numpy")


def spoil(monkeypatch, table, op, place=...):
    """Make the kernel of `op` wrong by 0.1 %: everywhere, or at one place of its result."""
    right = table[op]

    def wrong(cell, *args):
        made = right(cell, *args)
        spoilt = np.array(made[0] if isinstance(made, tuple) else made)
        spoilt[place] *= 1.001
        return (spoilt,) if isinstance(made, tuple) else spoilt

    monkeypatch.setitem(table, op, wrong)


def check_gradient(backend):
    operands = CASE.arrays()
    graph = contracted(CASE.op, operands, CASE.attrs, cotangents(CASE.op, operands, CASE.attrs))
    arrays = free(operands)
    made = gradients(backend, graph, arrays)
    assert_gradients(graph, arrays, made, np.random.default_rng(0))
    assert_near(made["x0"], gradients(backend, expand(graph), arrays)["x0"], GRADIENT["float64"])


@pytest.mark.parametrize("place", [..., (1, 2)])
def test_a_gradient_wrong_by_a_thousandth_is_found(numpy_backend, monkeypatch, place):
    check_gradient(numpy_backend)
    spoil(monkeypatch, kernels.BACKWARD, CASE.op, place)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_gradient(numpy_backend)


@pytest.mark.parametrize("dtype", sorted(FORWARD))
def test_a_result_wrong_by_a_thousandth_is_found(numpy_backend, monkeypatch, dtype):
    operands = CASE.arrays(dtype)
    graph = node_graph(CASE.op, operands, CASE.attrs)
    (wanted,) = run(numpy_backend, expand(graph), operands)
    assert_near(run(numpy_backend, graph, operands)[0], wanted)
    spoil(monkeypatch, kernels.FORWARD, CASE.op)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_near(run(numpy_backend, graph, operands)[0], wanted)


def test_parity_of_gradients_finds_a_thousandth(numpy_backend):
    for dtype, tolerance in GRADIENT.items():
        wanted = np.linspace(0.5, 1.5, 7).astype(dtype)
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            assert_near(wanted * wanted.dtype.type(1.001), wanted, tolerance)


def test_another_dtype_or_shape_is_found():
    ones = np.ones((2, 1), "float32")
    with pytest.raises(AssertionError, match="dtype float64, not float32"):
        assert_near(ones.astype("float64"), ones)
    with pytest.raises(AssertionError, match=r"shape \(1, 2\), not \(2, 1\)"):
        assert_near(ones.T, ones)


def is_caught(check, *args):
    """Whether a check of parity fails; errors of other kinds are no proof."""
    try:
        check(*args)
    except AssertionError as error:
        assert "Not equal to tolerance" in str(error)
        return True
    return False


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_with_a_wrong_gradient_are_found_and_no_others(numpy_backend, monkeypatch, dtype):
    right = test_layers.wanted("pool", dtype)
    spoil(monkeypatch, kernels.BACKWARD, "AveragePool")
    found = test_layers.branches("pool")
    seen = test_layers.observe(numpy_backend, found, dtype)
    caught = {
        name for name, own in found.members.items() if is_caught(test_layers.assert_layer, seen, right, own, dtype)
    }
    assert caught == {"pool_average", "pool_average_padded", "pool_average_inc_pad", "pool_1d"}


def test_a_layer_with_a_wrong_result_is_named(numpy_backend, monkeypatch):
    right = test_layers.wanted("dense", "float32")
    spoil(monkeypatch, kernels.FORWARD, "Softplus")
    found = test_layers.branches("dense")
    seen = test_layers.observe(numpy_backend, found, "float32")
    with pytest.raises(AssertionError, match="layer 'nonlinearity_of_images', output"):
        test_layers.assert_layer(seen, right, found.members["nonlinearity_of_images"], "float32")


def test_losses_with_a_wrong_gradient_are_found_and_no_others(numpy_backend, monkeypatch):
    right = test_losses.wanted("weighted", "float32")[1]
    spoil(monkeypatch, kernels.BACKWARD, "Abs")
    seen = test_losses.observe(numpy_backend, test_losses.net_of(True), "float32", test_losses.data(True))[1]

    def check(name):
        key = f"{name}.W"
        assert_alike({key: seen[key]}, {key: right[key]}, "float32", GRADIENT["float32"])

    assert {name for name in test_losses.CASES if is_caught(check, name)} == {"absolute_error", "huber_loss", "l1"}


class Hasty(NumpyProgram):
    """Takes strides that are too long by 0.1 %."""

    def train(self, name, batches, hyper, seed):
        return super().train(name, batches, self._longer(hyper), seed)

    def apply(self, gradients, hyper):
        super().apply(gradients, self._longer(hyper))

    def _longer(self, hyper):
        return {**hyper, "learning_rate": 1.001 * np.asarray(hyper["learning_rate"])}


class HastyBackend(NumpyBackend):
    def compile(self, plan, device, options):
        return Hasty(plan, device, self.read_options(options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", test_update_rules.RULES)
def test_an_update_wrong_by_a_thousandth_is_found(rule, dtype):
    net = test_update_rules.net_of(rule, "plain")
    for observe, tolerance in (
        (test_update_rules.observe_updates, UPDATE[dtype]),
        (test_update_rules.observe_training, RUN[dtype]),
    ):
        seen, right = observe(HastyBackend(), net, dtype), test_update_rules.wanted(observe, rule, "plain", dtype)
        parameters = [name for name in right if name.startswith("output.W")]
        wrong, wanted = ({name: found[name] for name in parameters} for found in (seen, right))
        assert is_caught(assert_alike, wrong, wanted, dtype, tolerance)


@pytest.mark.parametrize("name", test_runs.PROGRAMS)
def test_a_run_wrong_by_a_thousandth_is_found(name):
    _, end = test_runs.run(HastyBackend(), name)
    right = flat(test_runs.wanted(name, "float32")[1])
    assert is_caught(assert_alike, flat(end), right, "float32", RUN["float32"])


@pytest.mark.parametrize("lost", ["slots", "step", "nothing"])
def test_a_move_that_loses_something_is_found(lost):
    """Noise depends on the count of steps, so that losing it shows, too."""
    with config_context(reproducible=True):
        net = test_moving_house.build().partial_fit(*test_moving_house.digits(), epochs=2, backend="numpy")
        stayed = test_moving_house.staying("numpy", "adam")
        state = {part: value for part, value in net.get_state().items() if part != lost}
        net.set_state(state)
        net.partial_fit(*test_moving_house.digits(), epochs=2, backend="numpy")
        assert is_caught(test_moving_house.assert_went_on, net, "numpy", stayed) == (lost != "nothing")


def test_compiling_at_every_call_is_found(monkeypatch, numpy_backend):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((50, 7)).astype("float32"), np.arange(50) % 2
    train = NumpyProgram.train

    def compiling(*args):
        NumpyProgram.compilations += 1
        return train(*args)

    monkeypatch.setattr(NumpyProgram, "compilations", 0)
    monkeypatch.setattr(NumpyProgram, "train", compiling)
    with pytest.raises(AssertionError, match="assert 4 == 2"):
        test_compilations.test_a_second_fit_compiles_nothing(numpy_backend, data)
