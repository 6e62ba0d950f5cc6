"""How much work training is, from the graph alone: products, and memory traffic.

Both figures are of a convention, the same for every engine, and not of what an engine really does: they turn seconds
into figures that can be held against what a machine can do.
"""

from __future__ import annotations

import math

import numpy as np

from ..engine.expansions import expand
from ..engine.graph import FLOATS, Graph, Node, TensorType
from ..engine.operators import complete
from ..engine.plan import TRAIN, Plan
from ..engine.shapes import bind
from ..precision import PRODUCTS

PASSES = 3  # forward, and backward as two of them
VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "StopGradient", "Unsqueeze")
LOOK_UPS = ("Gather", "GatherElements")


def flops(plan: Plan, batch_size: int = 128) -> int:
    """Floating-point operations of training on one sample: the matrix products and convolutions.

    A multiplication and the addition that follows count as two. A product ``A B`` is counted once forward, once for the
    gradient of A and once for that of B, each where there is one: none is made of the data. Composite operators are
    counted as what they are written out as. Everything that works place by place, reductions, normalisations,
    pooling and the update rule are left out: they cost time, and hardly any of these.

    Parameters
    ----------
    plan : Plan
        With a train graph.
    batch_size : int
        Rows of a batch; products that do not depend on the batch are shared among its samples.

    Returns
    -------
    int

    Examples
    --------
    >>> from portanet.benchmarks import models
    >>> import numpy as np
    >>> net = models.find("P1").build(backend="numpy")
    >>> net = net.initialize(np.zeros((10, 1024), "float32"), np.arange(10))
    >>> flops(net.plan_) == 2 * (2 * 1024 * 100 + 3 * 100 * 10)
    True
    """
    graph = expand(plan.graphs[TRAIN])
    moved = _with_gradient(graph, plan)
    total = 0
    for node in graph.nodes:
        if node.op in PRODUCTS:
            gradients = sum(name in moved for name in node.inputs[:2])
            total += 2 * _multiply_adds(graph, node, batch_size) * (1 + gradients)
    return round(total / batch_size)


def bytes_moved(plan: Plan, batch_size: int = 128) -> int:
    """Bytes that training on one sample reads and writes, were every operator to go through memory.

    The formula: three times (forward, and twice as much backward) the operands and results of every operator of the
    train graph, reshapes left out and of a table only the rows that are looked up; and for each step the update,
    which reads parameters, gradients and slots and writes parameters and slots. Weights are read once for each batch,
    so a larger one has less of them for each sample. Caches and joined operators save some of it: of a fast
    engine's true traffic this is an upper bound, not a measurement.

    Parameters
    ----------
    plan : Plan
        With a train graph.
    batch_size : int
        Rows of a batch.

    Returns
    -------
    int
    """
    graph = plan.graphs[TRAIN]
    forward = sum(_traffic(graph, node, batch_size) for node in graph.nodes if node.op not in VIEWS)
    own = sum(_bytes(TensorType(plan.floatX, shape), batch_size) for shape in plan.trainable.values())
    return round((PASSES * forward + own * (3 + 2 * len(plan.slots))) / batch_size)


def _with_gradient(graph: Graph, plan: Plan) -> set[str]:
    """Names of the values through which a gradient flows back to parameters."""
    moved = {name for name in graph.inputs if name in plan.trainable}
    for node in graph.nodes:
        if node.op != "StopGradient" and moved.intersection(node.inputs):
            moved.update(name for name in node.outputs if graph.types[name].dtype in FLOATS)
    return moved


def _multiply_adds(graph: Graph, node: Node, batch_size: int) -> int:
    first, second = (bind(graph.types[name].shape, {"N": batch_size}) for name in node.inputs[:2])
    result = math.prod(bind(graph.types[node.outputs[0]].shape, {"N": batch_size}))
    if node.op == "Conv":
        return result * math.prod(second[1:])
    if node.op == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    turned = node.op == "Gemm" and complete("Gemm", node.attrs)["transA"]
    return result * (first[0] if turned else first[-1])


def _traffic(graph: Graph, node: Node, batch_size: int) -> int:
    operands = (*node.inputs[1:], node.outputs[0]) if node.op in LOOK_UPS else node.inputs
    return sum(_bytes(graph.types[name], batch_size) for name in (*operands, *node.outputs) if name)


def _bytes(kind: TensorType, batch_size: int) -> int:
    width = 2 if kind.dtype == "bfloat16" else np.dtype(kind.dtype).itemsize
    return math.prod(bind(kind.shape, {"N": batch_size})) * width
