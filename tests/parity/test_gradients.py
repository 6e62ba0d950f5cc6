"""Gradients of every differentiable operator against central finite differences, in float64."""

import gradient_cases
import numpy as np
import pytest
from finite_differences import assert_gradients
from one_node import contracted, cotangents, free, gradients


@pytest.mark.parametrize("op", gradient_cases.DIFFERENTIABLE)
def test_gradient_is_the_derivative(backend, op):
    found = gradient_cases.of(op)
    assert found, f"no case for {op}"
    rng = np.random.default_rng(7)
    for case in found:
        operands = case.arrays()
        weights = cotangents(op, operands, case.attrs, case.used, rng)
        graph = contracted(op, operands, case.attrs, weights, case.given)
        graph.name = case.name
        arrays = free(operands, case.given)
        assert_gradients(graph, arrays, gradients(backend, graph, arrays), rng)


def test_nothing_is_left_out_without_need():
    idle = [op for op in gradient_cases.WITHOUT_CASES if gradient_cases.of(op)]
    assert not idle, f"there are cases for {idle}"
