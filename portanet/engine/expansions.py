"""Composite operators: what each one means, written in primitives.

An adapter that has a fused kernel overrides the expansion; both pass the same tests.
"""

import math

from .operators.elementwise import need_float
from .operators.reductions import reduced_axes
from .operators.registry import complete, lookup, operator
from .shapes import ShapeError, normalize_axis, product, show
from .tracing import Tracer, call, tracing

EXPANSIONS = {}


def composite(name, inputs, attrs=None, static=(), elementwise=False, integers=False):
    """Register ``expand(attrs, *tensors)`` as the meaning of operator `name`; types follow from it.

    Unless it is for `integers` too, the first operand must be a float: constants would lose their fractions.
    """

    def register(expand):
        @operator(name, inputs, attrs, static, elementwise, composite=True)
        def infer(given, *kinds):
            if not integers:
                need_float(kinds[0], inputs.split()[0].rstrip("*"))
            tracer = Tracer(name, next(k.dtype for k in kinds if k is not None))
            with tracing(tracer):
                results = expand(given, *_operands(tracer, kinds))
            return tuple(r.type for r in results) if isinstance(results, tuple) else results.type

        EXPANSIONS[name] = expand
        return expand

    return register


def _operands(tracer, kinds):
    return [None if k is None else tracer.input("operand%d" % i, k.dtype, k.shape) for i, k in enumerate(kinds)]


def expand(graph, keep=()):
    """The same graph with every composite not named in `keep` written out in primitives.

    Parameters
    ----------
    graph : Graph
    keep : container of str
        Operators the adapter implements itself.

    Returns
    -------
    Graph
    """

    def write(tracer, node, operands):
        if node.op not in EXPANSIONS or node.op in keep:
            return tracer.emit(node.op, operands, node.attrs)
        missing = len(lookup(node.op).inputs) - len(operands)
        return EXPANSIONS[node.op](complete(node.op, node.attrs), *(operands + [None] * missing))

    while any(node.op in EXPANSIONS and node.op not in keep for node in graph.nodes):
        graph = retrace(graph, write)
    return graph


def retrace(graph, write, finish=None):
    """Trace `graph` anew; ``write(tracer, node, operands)`` says what becomes of each node.

    ``finish(role, tensor)``, if given, says what becomes of each result.
    """
    tracer = Tracer(graph.name)
    values = {"": None}
    for name, kind in graph.inputs.items():
        values[name] = tracer.input(name, kind.dtype, kind.shape)
    for name, array in graph.constants.items():
        values[name] = tracer.constant(array, str(array.dtype))
    with tracing(tracer):
        for node in graph.nodes:
            with tracer.scope(node.layer):
                results = write(tracer, node, [values[name] for name in node.inputs])
            values.update(zip(node.outputs, results if isinstance(results, tuple) else (results,)))
    for role, name in graph.outputs.items():
        tracer.output(role, finish(role, values[name]) if finish else values[name])
    return tracer.graph


def _one_minus(x):
    return call("Sub", 1.0, x)


def _exp_minus_one(x):
    """exp(x) - 1 where x is negative, else 0: never overflows, nor does its gradient."""
    return call("Exp", call("Min", x, 0.0)) - 1.0


@composite("LeakyRelu", "X", {"alpha": 0.01}, elementwise=True)
def leaky_relu(attrs, x):
    return call("Where", call("Less", x, 0.0), x * attrs["alpha"], x)


@composite("PRelu", "X slope", elementwise=True, integers=True)
def prelu(attrs, x, slope):
    return call("Where", call("Less", x, 0.0), x * slope, x)


@composite("ThresholdedRelu", "X", {"alpha": 1.0}, elementwise=True)
def thresholded_relu(attrs, x):
    return call("Where", call("Greater", x, attrs["alpha"]), x, call("Sub", x, x))


@composite("Elu", "X", {"alpha": 1.0}, elementwise=True)
def elu(attrs, x):
    return call("Relu", x) + attrs["alpha"] * _exp_minus_one(x)


@composite("Celu", "X", {"alpha": 1.0}, elementwise=True)
def celu(attrs, x):
    return call("Relu", x) + attrs["alpha"] * _exp_minus_one(x / attrs["alpha"])


@composite("Selu", "X", {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}, elementwise=True)
def selu(attrs, x):
    return attrs["gamma"] * (call("Relu", x) + attrs["alpha"] * _exp_minus_one(x))


@composite("HardSigmoid", "X", {"alpha": 0.2, "beta": 0.5}, elementwise=True)
def hard_sigmoid(attrs, x):
    return call("Clip", x * attrs["alpha"] + attrs["beta"], min=0.0, max=1.0)


@composite("HardSwish", "X", elementwise=True)
def hard_swish(attrs, x):
    return x * call("Clip", x / 6.0 + 0.5, min=0.0, max=1.0)


@composite("Softsign", "input", elementwise=True)
def softsign(attrs, x):
    return x / (abs(x) + 1.0)


@composite("Mish", "X", elementwise=True)
def mish(attrs, x):
    return x * call("Tanh", call("Softplus", x))


@composite("Gelu", "X", {"approximate": "none"}, elementwise=True)
def gelu(attrs, x):
    if attrs["approximate"] == "tanh":
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (call("Tanh", inner) + 1.0)
    return 0.5 * x * (call("Erf", x / math.sqrt(2.0)) + 1.0)


def _fold(op, tensors):
    total = tensors[0]
    for tensor in tensors[1:]:
        total = call(op, total, tensor)
    return total


@composite("Sum", "data*", elementwise=True, integers=True)
def sum_(attrs, *tensors):
    return call("Identity", tensors[0]) if len(tensors) == 1 else _fold("Add", tensors)


@composite("Mean", "data*", elementwise=True)
def mean(attrs, *tensors):
    return _fold("Add", tensors) / float(len(tensors))


REDUCTION = {"axes": None, "keepdims": 1, "noop_with_empty_axes": 0}


def _reduce(op, attrs, x):
    return call(op, x, **attrs)


@composite("ReduceL1", "data", REDUCTION, static=("axes",), integers=True)
def reduce_l1(attrs, x):
    return _reduce("ReduceSum", attrs, abs(x))


@composite("ReduceL2", "data", REDUCTION, static=("axes",))
def reduce_l2(attrs, x):
    return call("Sqrt", _reduce("ReduceSum", attrs, x * x))


@composite("ReduceSumSquare", "data", REDUCTION, static=("axes",), integers=True)
def reduce_sum_square(attrs, x):
    return _reduce("ReduceSum", attrs, x * x)


@composite("ReduceLogSum", "data", REDUCTION, static=("axes",))
def reduce_log_sum(attrs, x):
    return call("Log", _reduce("ReduceSum", attrs, x))


@composite("ReduceLogSumExp", "data", REDUCTION, static=("axes",))
def reduce_log_sum_exp(attrs, x):
    top = call("StopGradient", _reduce("ReduceMax", dict(attrs, keepdims=1), x))
    total = call("Log", _reduce("ReduceSum", dict(attrs, keepdims=1), call("Exp", x - top))) + top
    axes = reduced_axes(attrs, x.ndim)
    return total if attrs["keepdims"] or not axes else call("Squeeze", total, axes=list(axes))


def _shifted(x, axis):
    return x - call("StopGradient", call("ReduceMax", x, axes=[axis], keepdims=1))


@composite("Softmax", "input", {"axis": -1})
def softmax(attrs, x):
    axis = normalize_axis(attrs["axis"], x.ndim)
    e = call("Exp", _shifted(x, axis))
    return e / call("ReduceSum", e, axes=[axis], keepdims=1)


@composite("LogSoftmax", "input", {"axis": -1})
def log_softmax(attrs, x):
    axis = normalize_axis(attrs["axis"], x.ndim)
    shifted = _shifted(x, axis)
    return shifted - call("Log", call("ReduceSum", call("Exp", shifted), axes=[axis], keepdims=1))


LOSS = {"ignore_index": None, "reduction": "mean"}


def _pick(log_prob, target):
    """``log_prob[n, target[n, ...], ...]``: the entry of each place's own class (axis 1)."""
    picked = call("GatherElements", log_prob, call("Unsqueeze", target, axes=[1]), axis=1)
    return call("Squeeze", picked, axes=[1])


@composite("NegativeLogLikelihoodLoss", "input target weight?", LOSS)
def negative_log_likelihood(attrs, log_prob, target, weight):
    """`weight`, one for each class, is taken as given: no gradient flows to it."""
    if attrs["reduction"] not in ("mean", "sum", "none"):
        raise ShapeError("unknown reduction %r; allowed: mean, sum, none" % attrs["reduction"])
    if target.shape != log_prob.shape[:1] + log_prob.shape[2:]:
        raise ShapeError("targets %s do not fit predictions %s" % (show(target.shape), show(log_prob.shape)))
    factor = None
    if attrs["ignore_index"] is not None:
        ignored = call("Equal", target, attrs["ignore_index"])
        target = call("Where", ignored, call("Sub", target, target), target)
        factor = call("Cast", call("Not", ignored), to=log_prob.dtype)
    if weight is not None:
        own = call("Gather", call("StopGradient", weight), target, axis=0)
        factor = own if factor is None else own * factor
    loss = -_pick(log_prob, target)
    if factor is not None:
        loss = loss * factor
    if attrs["reduction"] == "none":
        return loss
    if attrs["reduction"] == "mean" and factor is None:
        return call("ReduceMean", loss, keepdims=0)
    total = call("ReduceSum", loss, keepdims=0)
    return total if attrs["reduction"] == "sum" else total / call("ReduceSum", factor, keepdims=0)


@composite("SoftmaxCrossEntropyLoss", "scores labels weights?", LOSS)
def softmax_cross_entropy(attrs, scores, labels, weights):
    log_prob = call("LogSoftmax", scores, axis=1)
    return call("NegativeLogLikelihoodLoss", log_prob, labels, weights, **attrs), log_prob


@composite("Dropout", "data", {"ratio": 0.5, "training_mode": 0, "seed": None}, static=("ratio", "training_mode"))
def dropout(attrs, x):
    """Inverted dropout: kept values are divided by 1 - ratio, so that inference is the identity."""
    if not 0.0 <= attrs["ratio"] < 1.0:
        raise ShapeError("ratio %g must be at least 0 and below 1" % attrs["ratio"])
    if not attrs["training_mode"] or attrs["ratio"] == 0.0:
        return call("Identity", x)
    kept = call("GreaterOrEqual", call("RandomUniformLike", x), attrs["ratio"])
    return x * (call("Cast", kept, to=x.dtype) / (1.0 - attrs["ratio"]))


def _along_channels(vector, rank):
    return call("Unsqueeze", vector, axes=[axis for axis in range(rank - 1) if axis != 0]) if rank > 2 else vector


@composite("BatchNormalization", "X scale B input_mean input_var",
           {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0})  # fmt: skip
def batch_normalization(attrs, x, scale, bias, mean, var):
    """``running = momentum * running + (1 - momentum) * batch``, with the biased batch variance.

    No gradient flows through the new running statistics.
    """
    running_mean, running_var = mean, var
    if attrs["training_mode"]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        kept = call("ReduceMean", x, axes=axes, keepdims=1)
        centred = x - kept
        mean = call("Squeeze", kept, axes=axes)
        var = call("ReduceMean", centred * centred, axes=axes, keepdims=0)
        share = attrs["momentum"]
        running_mean = running_mean * share + mean * (1.0 - share)
        running_var = running_var * share + var * (1.0 - share)
    else:
        centred = x - _along_channels(mean, x.ndim)
    factor = scale / call("Sqrt", var + attrs["epsilon"])
    y = centred * _along_channels(factor, x.ndim) + _along_channels(bias, x.ndim)
    return y, call("StopGradient", running_mean), call("StopGradient", running_var)


@composite("LayerNormalization", "X Scale B?", {"axis": -1, "epsilon": 1e-5, "stash_type": 1})
def layer_normalization(attrs, x, scale, bias):
    axes = list(range(normalize_axis(attrs["axis"], x.ndim), x.ndim))
    mean = call("ReduceMean", x, axes=axes, keepdims=1)
    centred = x - mean
    inverse = call("Reciprocal", call("Sqrt", call("ReduceMean", centred * centred, axes=axes) + attrs["epsilon"]))
    y = centred * inverse * scale
    return y if bias is None else y + bias, mean, inverse


@composite("Flatten", "input", {"axis": 1}, integers=True)
def flatten(attrs, x):
    axis = attrs["axis"] if attrs["axis"] >= 0 else attrs["axis"] + x.ndim
    if not 0 <= axis <= x.ndim:
        raise ShapeError("axis %d is out of range for rank %d" % (attrs["axis"], x.ndim))
    if axis == 0:
        return call("Reshape", x, shape=[1, -1])
    if axis == 1:
        return call("Reshape", x, shape=[0, product(x.shape[1:])])
    return call("Reshape", x, shape=[-1, product(x.shape[axis:])])


@composite("GlobalAveragePool", "X")
def global_average_pool(attrs, x):
    return call("ReduceMean", x, axes=list(range(2, x.ndim)), keepdims=1)


@composite("GlobalMaxPool", "X", integers=True)
def global_max_pool(attrs, x):
    return call("ReduceMax", x, axes=list(range(2, x.ndim)), keepdims=1)
