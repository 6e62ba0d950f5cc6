"""The checkers can fail: what is wrong by 0.1 % is found."""

import numpy as np
import pytest
from finite_differences import assert_gradients
from gradient_cases import Case, Floats
from one_node import contracted, cotangents, free, gradients, node_graph, run
from tolerances import FORWARD, GRADIENT, assert_near

from portanet.engine import kernels
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
