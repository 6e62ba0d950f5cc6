"""Mixed precision, written into the graphs: products in 16 bits, everything that needs its digits in 32.

``floatX="bfloat16"`` and ``"float16"`` leave parameters, statistics, losses and the update rule in float32. Matrix
products and convolutions take and give 16-bit values; what follows place by place, pooling and rearranging stay in
what comes to them; exponentials, logarithms, reductions, normalisations and losses are done in float32. Casts are
ordinary nodes, so that every engine computes the same, and `Plan` and update rule know nothing of it.

float16 has 5 bits of exponent: gradients below 6e-8 would vanish. There the loss is multiplied by `LOSS_SCALE` before
it is differentiated, gradients are divided by it afterwards, and a step whose gradients overflowed nevertheless moves
nothing (P. Micikevicius et al. (2018), Mixed precision training, ICLR, arXiv:1710.03740).
"""

from __future__ import annotations

from collections.abc import Sequence

from .engine.expansions import retrace
from .engine.graph import FLOATS, Graph, Node
from .engine.operators import lookup
from .engine.tracing import Tensor, Tracer, call
from .rewrites import prune

HALVES = ("float16", "bfloat16")
LOSS_SCALE = 1024.0
PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
CAREFUL = ("Celu", "Elu", "Erf", "Exp", "Gelu", "Log", "Mean", "Mish", "Pow", "Reciprocal", "Selu", "Softplus", "Sqrt",
           "Sum")  # fmt: skip
STAYING = ("AveragePool", "Concat", "Dropout", "Expand", "Flatten", "Gather", "MaxPool", "Pad", "Reshape", "Slice",
           "Squeeze", "Transpose", "Unsqueeze")  # fmt: skip


def master_type(floatX: str) -> str:
    """The dtype of parameters, statistics and losses.

    >>> master_type("bfloat16"), master_type("float64")
    ('float32', 'float64')
    """
    return "float32" if floatX in HALVES else floatX


def mixed(graph: Graph, half: str) -> Graph:
    """The same function with its products in `half`; inputs and results keep their dtypes.

    Parameters
    ----------
    graph : Graph
    half : str
        "float16" or "bfloat16".
    """
    cast: dict[tuple[str, str], Tensor] = {}

    def to(tensor: Tensor | None, dtype: str) -> Tensor | None:
        if tensor is None or tensor.dtype not in FLOATS or tensor.dtype == dtype:
            return tensor
        key = (tensor.name, dtype)
        if key not in cast:
            cast[key] = call("Cast", tensor, to=dtype)
        return cast[key]

    def write(tracer: Tracer, node: Node, operands: Sequence[Tensor | None]):
        dtype = _dtype_of(node, operands, half, tracer.graph)
        return tracer.emit(node.op, [to(tensor, dtype) if dtype else tensor for tensor in operands], node.attrs)

    def finish(role: str, tensor: Tensor) -> Tensor | None:
        return to(tensor, graph.types[graph.outputs[role]].dtype)

    return prune(retrace(graph, write, finish))


def _dtype_of(node: Node, operands: Sequence[Tensor | None], half: str, graph: Graph) -> str | None:
    """What the float operands of a node are cast to; None leaves them as they come."""
    if node.op in PRODUCTS:
        return half
    if node.op == "Cast":
        return None
    follows = node.op in STAYING or (lookup(node.op).elementwise and node.op not in CAREFUL)
    if not follows:
        return "float32"
    given = [tensor for tensor in operands if tensor is not None and tensor.dtype in FLOATS]
    made = [tensor for tensor in given if tensor.name not in graph.inputs and tensor.name not in graph.constants]
    halved = made and all(tensor.dtype == half for tensor in made)
    return half if halved else "float32"


def scaled(graph: Graph) -> Graph:
    """The training graph with one more result, "objective", to be differentiated: the loss times `LOSS_SCALE`."""
    tracer = Tracer(graph.name)
    tracer.graph = graph
    loss = Tensor(tracer, graph.outputs["loss"])
    tracer.output("objective", call("Mul", loss, LOSS_SCALE))
    return graph


def unscaled(grad: Tensor) -> Tensor:
    """All gradients of the scaled loss as one vector, to those of the loss; zeros where any has overflowed."""
    total = call("ReduceSum", abs(grad), keepdims=0)
    finite = call("Equal", total - total, 0.0)
    return call("Where", finite, grad * (1.0 / LOSS_SCALE), 0.0)
