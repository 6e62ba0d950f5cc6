"""Arithmetic that writes nodes."""

import numpy as np
import pytest

from portanet.engine import tracing
from portanet.engine.expansions import expand
from portanet.engine.graph import GraphError
from portanet.engine.kernels import FORWARD
from portanet.engine.kernels.tape import Tape
from portanet.engine.tracing import Expression, Tracer, call


def evaluate(function, *arrays):
    """Trace a function of tensors and run it on NumPy."""
    tracer = Tracer("f", "float64")
    tensors = [tracer.input(f"x{place}", str(x.dtype), x.shape) for place, x in enumerate(arrays)]
    result = function(*tensors)
    tracer.output("y", result)
    y = Tape(np, expand(tracer.graph, FORWARD)).run({f"x{place}": x for place, x in enumerate(arrays)})["y"]
    assert y.shape == result.shape and y.dtype == result.dtype
    return y


A, B = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([0.25, 4.0])


@pytest.mark.parametrize("function", [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: abs(a) ** b,
    lambda a, b: a @ a, lambda a, b: -a, lambda a, b: abs(a), lambda a, b: a < b, lambda a, b: a <= b,
    lambda a, b: a > b, lambda a, b: a >= b, lambda a, b: 2 + a, lambda a, b: 2 - a, lambda a, b: 2 * a,
    lambda a, b: 2 / a, lambda a, b: 2.0**a, lambda a, b: a + 2, lambda a, b: a - 0.5, lambda a, b: a**2,
    lambda a, b: a / 3, lambda a, b: 1 < a, lambda a, b: 0.5 >= a,  # noqa: SIM300
])  # fmt: skip
def test_arithmetic_is_numpys(function):
    np.testing.assert_allclose(evaluate(function, A, B), function(A, B), rtol=1e-14)


def test_arrays_on_the_left_become_constants():
    np.testing.assert_array_equal(evaluate(lambda a: B + a, A), B + A)


CUBE = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)


@pytest.mark.parametrize("key", [
    0, -1, slice(1, None), slice(None, -1), slice(None, None, -1), slice(2, 0, -1), slice(None, None, 2), ...,
    (0, 1, 2), (0, ..., -1), (..., 0), (slice(None), 1), (slice(None), slice(0, 2), slice(3, None, -2)),
    (None, 0), (0, None), (..., None), (None, ..., None, 1), (0, None, slice(1, 3), None), (slice(5, 9),),
    (slice(-2, None), ..., slice(None, -1)),
], ids=str)  # fmt: skip
def test_indexing_is_numpys(key):
    np.testing.assert_array_equal(evaluate(lambda x: x[key], CUBE), CUBE[key])


def test_too_many_indices_are_refused():
    with pytest.raises(GraphError, match="4 indices for <x0 float64"):
        evaluate(lambda x: x[0, 0, 0, 0], CUBE)


def test_the_batch_can_be_taken_whole_only():
    tracer = Tracer("f")
    x = tracer.input("x", "float32", ("N", 4))
    assert x[:, 1:].shape == ("N", 3) and x[0:, 2].shape == ("N",)
    with pytest.raises(GraphError, match="Slice: the batch axis can't be sliced"):
        x[1:]


def test_numbers_take_the_dtype_beside_them():
    tracer = Tracer("f", "float64")
    x, i = tracer.input("x", "float32", (2,)), tracer.input("i", "int32", (2,))
    assert (x * 2).dtype == "float32" and (i + 1).dtype == "int32"
    assert tracer.constant(1.5).dtype == "float64" and tracer.constant(3).dtype == "int32"
    assert tracer.constant(True).dtype == "bool" and tracer.constant(np.arange(2)).dtype == "int32"


def test_equal_numbers_are_written_once():
    tracer = Tracer("f")
    x = tracer.input("x", "float32", (2,))
    _ = x * 2.0 + 2.0
    assert list(tracer.graph.constants) == ["constant:0"]


def test_nodes_carry_the_layer_and_errors_name_it():
    tracer = Tracer("f")
    x = tracer.input("x", "float32", ("N", 3))
    with tracer.scope("outer"):
        with tracer.scope("inner"):
            call("Relu", x)
        call("Tanh", x)
        with pytest.raises(GraphError, match=r"layer 'outer': Add: shapes \(N, 3\) and \(2,\) do not broadcast"):
            x + np.ones(2)
    assert [node.layer for node in tracer.graph.nodes] == ["inner", "outer"]
    assert [node.outputs for node in tracer.graph.nodes] == [("inner/Relu:0",), ("outer/Tanh:0",)]


def test_an_input_is_declared_once():
    tracer = Tracer("f")
    first, second = (tracer.input("x", "float32", ("N", 3)) for _ in range(2))
    assert first.name == second.name == "x"
    with pytest.raises(GraphError, match=r"input 'x' is declared as float32\(N, 3\) and as float32\(N, 4\)"):
        tracer.input("x", "float32", ("N", 4))


def test_tensors_of_two_graphs_do_not_mix():
    x, y = (Tracer("f").input("x", "float32", (2,)) for _ in range(2))
    with pytest.raises(GraphError, match="belongs to another graph"):
        x + y


def test_a_tensor_is_no_condition_and_no_sequence():
    x = Tracer("f").input("x", "float32", (2,))
    with pytest.raises(TypeError, match=r"no truth value .* use ops\.where"):
        bool(x > 0)
    with pytest.raises(TypeError, match="can't be iterated over"):
        list(x)


def test_arithmetic_outside_of_a_trace_says_so():
    with pytest.raises(GraphError, match="there is none here"):
        call("Add", 1.0, 2.0)


def test_an_expression_joins_the_graph_being_traced():
    class Parameter(Expression):
        def trace(self, tracer):
            return tracer.input("p", "float32", (2,))

    tracer = Tracer("f")
    with tracing.tracing(tracer):
        y = Parameter() * 2.0
        tracer.assign(Parameter(), y)
    assert y.shape == (2,) and list(tracer.graph.inputs) == ["p"]
    assert tracer.assigned["p"].name == y.name


def test_the_innermost_trace_is_current_and_ends_with_its_block():
    outer, inner = Tracer("outer"), Tracer("inner")
    with tracing.tracing(outer):
        with tracing.tracing(inner):
            assert tracing.current() is inner
        assert tracing.current() is outer


def test_operators_of_several_results_give_them_all():
    tracer = Tracer("f")
    scores, labels = tracer.input("s", "float32", ("N", 3)), tracer.input("t", "int32", ("N",))
    loss, log_prob = call("SoftmaxCrossEntropyLoss", scores, labels)
    assert loss.shape == () and log_prob.shape == ("N", 3)
    assert len(tracer.graph.nodes[0].outputs) == 2


def test_a_fraction_beside_whole_numbers_is_refused():
    tracer = Tracer("graph")
    with tracing.tracing(tracer):
        n = tracer.input("n", "int32", ("N",))
        with pytest.raises(GraphError, match=r"0\.5 meets a tensor of int32; cast one explicitly"):
            call("Mul", n, 0.5)
        assert call("Mul", n, 2.0).dtype == "int32"


def test_array_at_tensor():
    tracer = Tracer("graph")
    with tracing.tracing(tracer):
        assert (np.ones((2, 3)) @ tracer.input("x", "float32", (3, 4))).shape == (2, 4)
