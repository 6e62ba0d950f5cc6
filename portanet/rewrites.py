"""Rewrites that make the same function cheaper or safer, for every engine alike.

Each rule looks at one node and at what made its operands, and may write something else in its place. What nobody uses
afterwards is dropped.

=====================================  =============================  ==========================================
written                                becomes                        why
=====================================  =============================  ==========================================
``Log(Softmax(x))``                    ``LogSoftmax(x)``              no underflow
``NLLLoss(LogSoftmax(x), t)``          ``SoftmaxCrossEntropyLoss``    gradient in one step
``ReduceMean(loss of each place)``     ``loss, reduction="mean"``     one kernel
``Log(Sigmoid(x))``                    ``-Softplus(-x)``              no underflow
``Log(1 - Sigmoid(x))``                ``-Softplus(x)``               no cancellation
``MatMul(x, W) + b``                   ``Gemm(x, W, b)``              one kernel
``MaxPool(f(x))``, f never falling     ``f(MaxPool(x))``              f on a fraction of the values
``Identity(x)``, inactive ``Dropout``  ``x``                          nothing to do
=====================================  =============================  ==========================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from .engine.expansions import retrace
from .engine.graph import Graph, Node
from .engine.operators import complete
from .engine.tracing import Tensor, Tracer, call

NEVER_FALLING = ("Relu", "Sigmoid", "Softplus", "Tanh")


class Site:
    """What a rule may look at: the node, its new operands, and what made them."""

    def __init__(self, node: Node, operands: Sequence[Tensor | None], made: dict[str, tuple], uses: Counter):
        self.node, self.operands, self._made, self._uses = node, operands, made, uses
        self.attrs = complete(node.op, node.attrs, node.layer)

    def maker(self, tensor: Tensor | None, *ops: str) -> tuple[Node, Sequence[Tensor]] | None:
        """Node and operands of what made `tensor`, if it is one of those operators."""
        found = None if tensor is None else self._made.get(tensor.name)
        return found if found is not None and found[0].op in ops else None

    def only_use(self, place: int) -> bool:
        """Whether this node alone uses its operand number `place`."""
        return self._uses[self.node.inputs[place]] == 1

    def is_number(self, tensor: Tensor | None, number: float) -> bool:
        array = None if tensor is None else tensor.tracer.graph.constants.get(tensor.name)
        return array is not None and array.ndim == 0 and array == number


def log_of_softmax(site: Site):
    found = site.maker(site.operands[0], "Softmax") if site.node.op == "Log" else None
    if found:
        return call("LogSoftmax", found[1][0], axis=complete("Softmax", found[0].attrs)["axis"])
    return None


def log_of_sigmoid(site: Site):
    if site.node.op != "Log":
        return None
    found = site.maker(site.operands[0], "Sigmoid")
    if found:
        return -call("Softplus", -found[1][0])
    opposite = site.maker(site.operands[0], "Sub")
    if opposite and site.is_number(opposite[1][0], 1.0):
        found = site.maker(opposite[1][1], "Sigmoid")
        if found:
            return -call("Softplus", found[1][0])
    return None


def loss_of_log_softmax(site: Site):
    if site.node.op != "NegativeLogLikelihoodLoss":
        return None
    found = site.maker(site.operands[0], "LogSoftmax")
    if not found or complete("LogSoftmax", found[0].attrs)["axis"] % found[1][0].ndim != 1:
        return None
    return call("SoftmaxCrossEntropyLoss", found[1][0], *site.operands[1:], **site.node.attrs)[0]


def mean_of_losses(site: Site):
    if site.node.op != "ReduceMean" or not site.only_use(0) or site.attrs["axes"] or site.attrs["keepdims"]:
        return None
    found = site.maker(site.operands[0], "SoftmaxCrossEntropyLoss")
    if not found or found[0].attrs.get("reduction") != "none" or set(found[0].attrs) != {"reduction"}:
        return None
    scores, labels, *weights = found[1]
    return None if weights else call("SoftmaxCrossEntropyLoss", scores, labels, reduction="mean")[0]


def matmul_with_bias(site: Site):
    if site.node.op != "Add" or not site.only_use(0):
        return None
    product, bias = site.operands
    found = site.maker(product, "MatMul")
    if not found or bias is None or bias.ndim != 1 or any(operand.ndim != 2 for operand in found[1]):
        return None
    if bias.shape[0] != found[1][1].shape[1]:
        return None
    return call("Gemm", *found[1], bias)


def pool_before(site: Site):
    if site.node.op != "MaxPool" or not site.only_use(0):
        return None
    found = site.maker(site.operands[0], *NEVER_FALLING)
    return call(found[0].op, call("MaxPool", found[1][0], **site.node.attrs)) if found else None


def nothing_to_do(site: Site):
    idle = site.node.op == "Dropout" and (not site.attrs["training_mode"] or site.attrs["ratio"] == 0)
    return site.operands[0] if idle or site.node.op == "Identity" else None


Rule = Callable[[Site], Tensor | None]
RULES: tuple[Rule, ...] = (
    nothing_to_do, log_of_softmax, log_of_sigmoid, loss_of_log_softmax, mean_of_losses, matmul_with_bias,
    pool_before,
)  # fmt: skip


def rewrite(graph: Graph, rules: Sequence[Rule] = RULES) -> Graph:
    """The same function, written by `rules`; results keep their roles."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses.update(graph.outputs.values())
    made: dict[str, tuple] = {}

    def write(tracer: Tracer, node: Node, operands: Sequence[Tensor | None]):
        site, written = Site(node, operands, made, uses), len(tracer.graph.nodes)
        better = (result for rule in rules if (result := rule(site)) is not None)
        results = next(better, None)
        if results is None:
            results = tracer.emit(node.op, operands, node.attrs)
        for new in tracer.graph.nodes[written:]:
            sources = [Tensor(tracer, name) if name else None for name in new.inputs]
            made.update((name, (new, sources)) for name in new.outputs)
        return results

    return prune(retrace(graph, write))


def prune(graph: Graph) -> Graph:
    """The graph without nodes and constants that no result depends on."""
    needed = set(graph.outputs.values())
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.constants = {name: array for name, array in graph.constants.items() if name in needed}
    known = {*graph.inputs, *graph.constants, *(name for node in kept for name in node.outputs)}
    graph.types = {name: kind for name, kind in graph.types.items() if name in known}
    return graph
