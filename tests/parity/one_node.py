"""Graphs of one operator, and running a graph on any engine."""

import numpy as np

from portanet.engine.expansions import expand
from portanet.engine.graph import Graph
from portanet.engine.kernels import FORWARD
from portanet.engine.kernels.tape import Tape
from portanet.engine.noise import Source
from portanet.engine.plan import OUTPUTS, TRAIN, Plan
from portanet.engine.tracing import Tracer, call, tracing

SCALE = "scale"


def node_graph(op, operands, attrs=None):
    """One node over inputs "x0", "x1", ... of the operands' types; results "layer:0", "layer:1", ...

    An operand is an array, or None where an optional one is omitted.
    """
    tracer = Tracer(op)
    with tracing(tracer):
        tensors = [None if array is None else tracer.input(f"x{place}", str(array.dtype), array.shape)
                   for place, array in enumerate(operands)]  # fmt: skip
        results = call(op, *tensors, **(attrs or {}))
    for place, tensor in enumerate(results if isinstance(results, tuple) else (results,)):
        tracer.output(f"layer:{place}", tensor)
    return tracer.graph


def feeds_of(operands):
    return {f"x{place}": array for place, array in enumerate(operands) if array is not None}


def run(backend, graph: Graph, operands):
    """The results of `node_graph` or of a rewriting of it."""
    plan = Plan("float32", graph.inputs, {}, {}, {}, {OUTPUTS: graph}, [], None, {})
    program = backend.compile(plan, backend.devices()[0][0], {})
    try:
        return program.outputs(feeds_of(operands), [role.partition(":")[2] for role in graph.outputs])
    finally:
        program.close()


def free(operands, given=()):
    """Names and arrays of the operands that have a gradient: floats, but for those at the places `given`."""
    return {f"x{place}": x for place, x in enumerate(operands)
            if x is not None and x.dtype.kind == "f" and place not in given}  # fmt: skip


def contracted(op, operands, attrs, cotangents, given=()):
    """The scalar ``sum(c * result)`` over all results, as a training graph over the `free` operands.

    The other operands are constants. The graph is fed one row of ones, "scale", since a batch must have rows.
    `cotangents` holds an array for each result, or None for one that takes no part.
    """
    inputs = free(operands, given)
    tracer = Tracer(TRAIN, str(next(iter(inputs.values())).dtype))
    with tracing(tracer):
        tensors = []
        for place, x in enumerate(operands):
            if f"x{place}" in inputs:
                tensors.append(tracer.input(f"x{place}", str(x.dtype), x.shape))
            else:
                tensors.append(None if x is None else tracer.constant(x, str(x.dtype)))
        results = call(op, *tensors, **(attrs or {}))
        scale = call("ReduceMean", tracer.input(SCALE, tracer.floatX, ("N",)), keepdims=0)
        loss = 0.0
        for c, result in zip(cotangents, results if isinstance(results, tuple) else (results,), strict=True):
            if c is not None:
                weighted = call("Cast", result * c, to=tracer.floatX)
                loss = call("ReduceSum", weighted, keepdims=0) * scale + loss
        tracer.output("loss", loss)
    return tracer.graph


def cotangents(op, operands, attrs, used=None, rng=None):
    """Random weights for the results at the places `used` (by default for all), of the operands' float type."""
    graph = node_graph(op, operands, attrs)
    rng = rng or np.random.default_rng(0)
    kinds = [graph.types[name] for name in graph.outputs.values()]
    return [rng.standard_normal(kind.shape).astype(kind.dtype) if used is None or place in used else None
            for place, kind in enumerate(kinds)]  # fmt: skip


def gradients(backend, graph, arrays, seed=0):
    """Gradients of a `contracted` graph at `arrays`, as the engine computes them."""
    floatX = str(next(iter(arrays.values())).dtype)
    shapes = {name: x.shape for name, x in arrays.items()}
    plan = Plan(floatX, {SCALE: graph.inputs[SCALE]}, {}, shapes, {}, {TRAIN: graph}, [], None, arrays)
    program = backend.compile(plan, backend.devices()[0][0], {})
    try:
        program.bind("rows", {SCALE: np.ones(1, floatX)})
        return program.gradients("rows", np.arange(1), seed)
    finally:
        program.close()


def tape_of(graph, wanted=None, keep=FORWARD):
    """NumPy's tape of a graph, with gradients written into the arrays `wanted`."""
    return Tape(np, expand(graph, keep=keep), Source(), wanted, "loss")


def run_and_pull(graph, arrays):
    """Loss of a `contracted` graph and its gradients, from a fresh tape."""
    made = {name: np.full(x.shape, np.nan, x.dtype) for name, x in arrays.items()}
    tape = tape_of(graph, made)
    loss = tape.run(dict(arrays, **{SCALE: np.ones(1, graph.inputs[SCALE].dtype)}))["loss"]
    tape.pull()
    return loss, made
