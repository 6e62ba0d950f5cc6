"""Graphs as data: what is refused, and the way to JSON and back."""

import json
import pickle

import numpy as np
import pytest

from portanet.engine.graph import Graph, GraphError, Node, TensorType
from portanet.engine.tracing import Tracer, call, tracing


def dense():
    """relu(x W + b) with a constant bias, in layers "hidden" and "act"."""
    tracer = Tracer("dense")
    with tracing(tracer):
        x, w = tracer.input("x", "float32", ("N", 3)), tracer.input("hidden.W", "float32", (3, 2))
        with tracer.scope("hidden"):
            y = call("Gemm", x, w, tracer.constant([0.5, 1.5]), transB=0)
        with tracer.scope("act"):
            tracer.output("prediction", call("Relu", y))
    return tracer.graph


def data():
    return dense().to_json()


def reload(changed):
    return Graph.from_json(changed, dense().constants)


def test_json_and_back_is_the_same_graph():
    graph = dense()
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())), graph.constants)
    assert again.to_json() == graph.to_json()
    assert again.types == graph.types
    assert again.types["hidden/Gemm:0"] == TensorType("float32", ("N", 2))
    assert [node.layer for node in again.nodes] == ["hidden", "act"]
    np.testing.assert_array_equal(again.constants["constant:0"], np.array([0.5, 1.5], "float32"))


def test_another_format_is_refused():
    with pytest.raises(GraphError, match="graph format 99; this version reads 1"):
        reload(dict(data(), format=99))


def test_a_missing_constant_is_refused():
    with pytest.raises(GraphError, match="graph 'dense' lacks the array of its constant 'constant:0'"):
        Graph.from_json(data(), {})


@pytest.mark.parametrize(("fields", "message"), [
    (["Rleu", ["x"], ["y"], {}, "act"], r"layer 'act': unknown operator 'Rleu' \(did you mean 'Relu'\?\)"),
    (["Relu", ["z"], ["y"], {}, "act"], "layer 'act': Relu: value 'z' is used before it is made"),
    (["Relu", ["x"], ["x"], {}, "act"], "layer 'act': Relu: value 'x' is made twice"),
    (["Relu", ["x"], ["y", "z"], {}, "act"], "layer 'act': Relu: has 1 results, not 2"),
    (["Relu", ["x"], ["y"], {"slope": 1}, "act"], "layer 'act': Relu: unknown attribute 'slope'; allowed: none"),
    (["Relu", ["x", "x"], ["y"], {}, "act"], r"layer 'act': Relu: takes 1 operands \(X\), got 2"),
    (["Add", ["x", "hidden.W"], ["y"], {}, "act"], r"layer 'act': Add: shapes \(N, 3\) and \(3, 2\) do not broadcast"),
])  # fmt: skip
def test_a_wrong_node_is_refused_and_names_its_layer(fields, message):
    changed = data()
    changed["nodes"].append(fields)
    with pytest.raises(GraphError, match=message):
        reload(changed)


def test_a_result_that_nothing_makes_is_refused():
    with pytest.raises(GraphError, match="graph 'dense': result 'prediction' names no value: 'gone'"):
        reload(dict(data(), outputs={"prediction": "gone"}))


def test_an_unknown_dtype_is_refused():
    with pytest.raises(GraphError, match="unknown dtype 'float31'; allowed: float32, float64"):
        TensorType("float31", (2,))


def test_types_compare_by_dtype_and_shape():
    kind = TensorType("float32", ["N", 3])
    assert kind == TensorType("float32", ("N", 3)) and hash(kind) == hash(TensorType("float32", ("N", 3)))
    assert kind != TensorType("float64", ("N", 3)) and kind != TensorType("float32", ("N",))
    assert kind != "float32(N, 3)" and repr(kind) == "float32(N, 3)" and kind.rank == 2


def test_nodes_read_as_calls():
    assert repr(Node("Add", ["a", "b"], ["c"])) == "c = Add(a, b)"


def test_an_error_survives_pickling_with_its_parts():
    error = pickle.loads(pickle.dumps(GraphError("too wide", "conv1", "Conv")))
    assert str(error) == "layer 'conv1': Conv: too wide"
    assert (error.layer, error.op, error.fault) == ("conv1", "Conv", "too wide")
