"""Tracing and running layers in tests, without the estimator."""

import numpy as np

from portanet import init
from portanet.engine.expansions import expand
from portanet.engine.kernels import FORWARD
from portanet.engine.kernels.tape import Tape
from portanet.engine.noise import Source
from portanet.engine.tracing import Tracer, tracing
from portanet.layers import get_all_layers, get_all_params, get_output


def trace(layer, deterministic=True, floatX="float32"):
    """The graph of a net, valid; its result is "y", running statistics are "assign:layer.name"."""
    for place, one in enumerate(get_all_layers(layer)):
        one.name = one.name or f"layer{place}"
    tracer = Tracer("test", floatX)
    with tracing(tracer):
        tracer.output("y", get_output(layer, deterministic=deterministic))
        for name, tensor in tracer.assigned.items():
            tracer.output(f"assign:{name}", tensor)
    tracer.graph.validate()
    assert tracer.graph.types[tracer.graph.outputs["y"]].shape == ("N", *layer.output_shape[1:])
    return tracer.graph


def compute(layer, *inputs, deterministic=True, seed=0):
    """Results by role in float64, and by full name the parameters, which are sampled with that seed."""
    graph = trace(layer, deterministic, "float64")
    rng = np.random.default_rng(seed)
    values = {p.full_name: init.sample(p.spec, p.shape, rng) for p in get_all_params(layer)}
    sources = [one.name for one in get_all_layers(layer) if not one.input_layers]
    source = Source()
    source.start(seed, 1)
    feeds = {**values, **dict(zip(sources, inputs, strict=True))}
    tape = Tape(np, expand(graph, keep=FORWARD), source)
    return {**values, **{role: array.copy() for role, array in tape.run(feeds).items()}}


def nodes(graph):
    """Operators of a graph, in order."""
    return [node.op for node in graph.nodes]
