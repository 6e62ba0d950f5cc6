"""A graph as calls of an engine's functions: here NumPy's, few and naive, with every move of axes written down."""

import numpy as np
import pytest

from portanet.engine.expansions import expand
from portanet.engine.lowering import Lowered, UnsupportedOperator, moved, to_first, to_last
from portanet.engine.operators.reductions import reduced_axes
from portanet.engine.tracing import Tracer, call, tracing

IN, OUT = to_last(4), to_first(4)
RNG = np.random.default_rng(0)


def conv(call, x, w, b=None):
    """Convolution with a filter of one place, whatever the rank."""
    w = w.reshape(w.shape[:2])
    result = x @ w.T if call.last else np.moveaxis(np.moveaxis(x, 1, -1) @ w.T, -1, 1)
    if b is None:
        return result
    return result + (b if call.last else b.reshape((-1,) + (1,) * (x.ndim - 2)))


def max_pool(call, x):
    """The larger of two neighbours along the first axis of places."""
    axis = 1 if call.last else 2
    halves = [np.take(x, range(start, x.shape[axis], 2), axis) for start in (0, 1)]
    return np.maximum(*halves)


def batch_norm(call, x, scale, bias, mean, var):
    shape = (-1,) if call.last else (-1,) + (1,) * (x.ndim - 2)
    scale, bias, mean, var = (vector.reshape(shape) for vector in (scale, bias, mean, var))
    return (x - mean) / np.sqrt(var + call.attrs["epsilon"]) * scale + bias, mean.ravel() + 1, var.ravel() + 2


def drop(call, noise, x):
    return x * noise.mask(call, x)


def reduce_sum(call, x):
    return x.sum(axis=reduced_axes(call.attrs, x.ndim), keepdims=bool(call.attrs["keepdims"]))


KERNELS = {
    "Add": lambda call, a, b: a + b,
    "BatchNormalization": batch_norm,
    "Concat": lambda call, *parts: np.concatenate(parts, axis=call.attrs["axis"]),
    "Conv": conv,
    "Dropout": drop,
    "MaxPool": max_pool,
    "Mul": lambda call, a, b: a * b,
    "ReduceSum": reduce_sum,
    "Relu": lambda call, x: np.maximum(x, 0),
    "Reshape": lambda call, x: x.reshape([size or x.shape[axis] for axis, size in enumerate(call.attrs["shape"])]),
}


def graph_of(build, **shapes):
    """What `build` traces from inputs of those shapes; results are "y", or as named by a dict."""
    tracer = Tracer("net")
    with tracing(tracer):
        made = build(*[tracer.input(name, "float32", shape) for name, shape in shapes.items()])
        for role, tensor in (made if isinstance(made, dict) else {"y": made}).items():
            tracer.output(role, tensor)
    return tracer.graph


class Lowering:
    """A lowered graph, and the permutations that were asked for in its last run."""

    def __init__(self, graph, kernels=KERNELS, last=True):
        self.moves = []
        self.lowered = Lowered(graph, kernels, np.asarray, self._transpose if last else None, "toy")

    def _transpose(self, array, permutation):
        self.moves.append(permutation)
        return array.transpose(permutation)

    def run(self, feeds, noise=None):
        self.moves.clear()
        return self.lowered.run(feeds, noise)

    def last(self):
        """For each call, its operator and whether it is computed channels-last."""
        return [(call.op, call.last) for call in self.lowered.calls]


def feeds_for(graph, rows=4):
    return {
        name: RNG.standard_normal([rows if size == "N" else size for size in kind.shape]).astype("float32")
        for name, kind in graph.inputs.items()
    }


def check(graph, moves, noise=None):
    """Channels-last gives what channels-first gives, after those moves in one run."""
    feeds, own = feeds_for(graph), Lowering(graph)
    wanted = Lowering(graph, last=False).run(feeds, noise)
    found = own.run(feeds, noise)
    for role, array in wanted.items():
        assert found[role].shape == array.shape
        np.testing.assert_allclose(found[role], array, rtol=1e-5, atol=1e-6, err_msg=role)
    assert own.moves == moves
    return own


W, W2 = (5, 3, 1, 1), (2, 5, 1, 1)
IMAGE = ("N", 3, 4, 6)
POOL = dict(kernel_shape=[2, 1], strides=[2, 1])


@pytest.mark.parametrize(("rank", "first", "last"), [(3, (0, 2, 1), (0, 2, 1)), (4, (0, 3, 1, 2), (0, 2, 3, 1)),
                                                     (5, (0, 4, 1, 2, 3), (0, 2, 3, 4, 1))])  # fmt: skip
def test_permutations(rank, first, last):
    assert to_first(rank) == first and to_last(rank) == last
    array = np.empty(range(2, 2 + rank))
    assert array.transpose(last).transpose(first).shape == array.shape
    for axis in range(-rank, rank):
        assert array.transpose(last).shape[moved(axis, rank)] == array.shape[axis]


def test_axes_are_moved_at_the_edges_only():
    def net(x, w, b, w2):
        hidden = call("Relu", call("MaxPool", call("Conv", x, w, b), **POOL))
        return call("Conv", hidden * 2.0, w2)

    own = check(graph_of(net, x=IMAGE, w=W, b=(5,), w2=W2), [IN, OUT])
    assert all(last for _, last in own.last())


@pytest.mark.parametrize("places", [(4,), (4, 2), (4, 2, 3)])
def test_windows_of_every_rank(places):
    ones = (1,) * len(places)
    pool = dict(kernel_shape=[2, *ones[1:]], strides=[2, *ones[1:]])
    graph = graph_of(lambda x, w: call("MaxPool", call("Conv", x, w), **pool), x=("N", 3, *places), w=(5, 3, *ones))
    check(graph, [to_last(2 + len(places)), to_first(2 + len(places))])


def test_without_a_transpose_nothing_lies_channels_last():
    graph = graph_of(lambda x, w: call("Relu", call("Conv", x, w)), x=IMAGE, w=W)
    own = Lowering(graph, last=False)
    own.run(feeds_for(graph))
    assert own.last() == [("Conv", False), ("Relu", False)] and own.moves == []


def test_what_is_no_image_stays_as_it_is():
    graph = graph_of(lambda x, y: call("Relu", x + y), x=IMAGE, y=IMAGE)
    assert check(graph, []).last() == [("Add", False), ("Relu", False)]


def test_an_image_flattens_in_the_declared_order():
    """The weights of a dense layer after a convolution count channels first."""
    graph = graph_of(lambda x, w: call("Flatten", call("Conv", x, w)), x=IMAGE, w=W)
    own = check(graph, [IN, OUT])
    assert own.last()[-1] == ("Reshape", False)


def test_one_move_for_all_who_ask():
    def net(x, w, v):
        both = call("Conv", x, w) + call("Conv", x, v)
        return {"y": both, "again": both, "flat": call("Flatten", both), "doubled": call("Flatten", both * 2.0)}

    own = check(graph_of(net, x=IMAGE, w=W, v=W), [IN, OUT, OUT])
    assert own.last()[:4] == [("Conv", True), ("Conv", True), ("Add", True), ("Reshape", False)]


def test_a_branch_that_lies_otherwise_joins_the_image():
    graph = graph_of(lambda x, w, y: call("Relu", call("Conv", x, w) + y), x=IMAGE, w=W, y=("N", 5, 4, 6))
    assert check(graph, [IN, IN, OUT]).last() == [("Conv", True), ("Add", True), ("Relu", True)]


@pytest.mark.parametrize("shape", [(5, 1, 1), (5, 4, 6), (4, 6), (6,), (1, 5, 1, 1)])
def test_smaller_operands_still_broadcast(shape):
    graph = graph_of(lambda x, w, y: y + call("Conv", x, w), x=IMAGE, w=W, y=shape)
    assert check(graph, [IN, IN, OUT]).last()[-1] == ("Add", True)


def test_numbers_need_no_move():
    graph = graph_of(lambda x, w: 3.0 * call("Conv", x, w), x=IMAGE, w=W)
    check(graph, [IN, OUT])


@pytest.mark.parametrize("axes", [[1], [2, 3], [-1], [0, 1]])
def test_a_reduction_that_keeps_its_axes_keeps_the_order(axes):
    def net(x, w):
        y = call("Conv", x, w)
        return y + call("ReduceSum", y, axes=axes, keepdims=1)

    assert check(graph_of(net, x=IMAGE, w=W), [IN, OUT]).last()[1:] == [("ReduceSum", True), ("Add", True)]


@pytest.mark.parametrize("attrs", [dict(axes=[2, 3], keepdims=0), dict(keepdims=1)])
def test_other_reductions_see_channels_first(attrs):
    graph = graph_of(lambda x, w: call("ReduceSum", call("Conv", x, w), **attrs), x=IMAGE, w=W)
    assert check(graph, [IN, OUT]).last()[-1] == ("ReduceSum", False)


def test_what_works_along_an_axis_sees_channels_first():
    def net(x, w):
        y = call("Conv", x, w)
        return call("Conv", call("Concat", y, y, axis=1), np.ones((2, 10, 1, 1), "float32"))

    assert check(graph_of(net, x=IMAGE, w=W), [IN, OUT, IN, OUT]).last()[1] == ("Concat", False)


def test_a_filter_made_by_a_convolution_is_handed_over_as_declared():
    graph = graph_of(lambda x, w: call("Conv", x, call("Conv", w, w)), x=IMAGE, w=(3, 3, 1, 1))
    check(graph, [IN, IN, OUT, OUT])


def test_normalisation_follows_the_image_and_gives_all_its_results():
    def net(x, w, scale, bias, mean, var):
        y = call("BatchNormalization", call("Conv", x, w), scale, bias, mean, var, training_mode=1)
        return {"y": y[0], "mean": y[1], "var": y[2]}

    vectors = dict.fromkeys(("scale", "bias", "mean"), (5,))
    graph = graph_of(net, x=IMAGE, w=W, **vectors, var=(5,))
    feeds = feeds_for(graph)
    feeds["var"] = np.abs(feeds["var"])
    first, last = Lowering(graph, last=False), Lowering(graph)
    wanted, found = first.run(feeds), last.run(feeds)
    assert list(found) == ["y", "mean", "var"] and last.moves == [IN, OUT]
    for role, array in wanted.items():
        np.testing.assert_allclose(found[role], array, rtol=1e-5, atol=1e-6, err_msg=role)
    assert last.last() == [("Conv", True), ("BatchNormalization", True)]


def test_normalisation_of_what_is_no_image_does_not_move():
    def net(x, *vectors):
        return call("BatchNormalization", x, *vectors, training_mode=1)[0]

    vectors = dict.fromkeys(("scale", "bias", "mean", "var"), (3,))
    graph = graph_of(net, x=IMAGE, **vectors)
    own = Lowering(graph)
    own.run({**feeds_for(graph), "var": np.ones(3, "float32")})
    assert own.last() == [("BatchNormalization", False)] and own.moves == []


class Masks:
    """Noise that can be told apart, by node."""

    def __init__(self):
        self.asked = []

    def mask(self, call, x):
        self.asked.append((call.number, call.last, x.shape))
        scale = np.arange(1, 6, dtype="float32")
        return call.number + (scale if call.last else scale[:, None, None])


def test_random_nodes_get_the_noise_of_the_run():
    def net(x, w):
        dropped = call("Dropout", call("Conv", x, w), ratio=0.5, training_mode=1)
        return call("Dropout", dropped * 2.0, ratio=0.5, training_mode=1)

    graph, noise = graph_of(net, x=IMAGE, w=W), Masks()
    own, feeds = Lowering(graph), feeds_for(graph)
    found = own.run(feeds, noise)
    assert noise.asked == [(1, True, (4, 4, 6, 5)), (3, True, (4, 4, 6, 5))] and own.moves == [IN, OUT]
    wanted = Lowering(graph, last=False).run(feeds, Masks())
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-5)
    other = own.run(feeds, type("Zeros", (), {"mask": lambda self, call, x: 0.0})())
    assert not other["y"].any()


def test_composites_are_kept_where_there_is_a_kernel():
    def net(x):
        return call("Softsign", call("Elu", x))

    graph, kernels = graph_of(net, x=("N", 3)), {"Elu": lambda call, x: np.where(x > 0, x, np.expm1(x))}
    rest = {node.op for node in expand(graph).nodes} | {node.op for node in graph.nodes}
    kernels.update((op, KERNELS.get(op, lambda call, *x: x[0])) for op in rest - {"Elu", "Softsign"})
    lowered = Lowered(graph, kernels, np.asarray)
    assert lowered.kernels(graph) == {"Elu": "fused", "Softsign": "expanded"}
    assert "Softsign" not in {one.op for one in lowered.calls}


def test_primitives_are_not_among_the_kernels_told_of():
    graph = graph_of(lambda x: call("Relu", x), x=("N", 3))
    assert Lowered(graph, KERNELS, np.asarray).kernels(graph) == {}


def test_an_operator_without_a_kernel_is_refused_with_its_layer():
    tracer = Tracer("net")
    with tracing(tracer), tracer.scope("squash"):
        tracer.output("y", call("Tanh", tracer.input("x", "float32", ("N", 3))))
    with pytest.raises(UnsupportedOperator, match="layer 'squash': Tanh: toy can't compute this operator") as caught:
        Lowered(tracer.graph, KERNELS, np.asarray, engine="toy")
    assert (caught.value.layer, caught.value.op) == ("squash", "Tanh")


def test_a_composite_is_refused_by_the_primitive_that_is_missing():
    graph = graph_of(lambda x: call("Softplus", call("Mish", x)), x=("N", 3))
    with pytest.raises(UnsupportedOperator, match="toy can't compute this operator") as caught:
        Lowered(graph, {"Softplus": KERNELS["Relu"]}, np.asarray, engine="toy")
    assert caught.value.op not in ("Mish", "Softplus")


def test_kernels_see_types_channels_first_and_complete_attributes():
    own = Lowering(graph_of(lambda x, w: call("Relu", call("Conv", x, w)), x=IMAGE, w=W))
    first, second = own.lowered.calls
    assert [kind.shape for kind in first.kinds] == [IMAGE, W] and first.results[0].shape == ("N", 5, 4, 6)
    assert second.kinds[0].shape == ("N", 5, 4, 6)
    assert first.attrs["group"] == 1 and first.attrs["auto_pad"] == "NOTSET"
    assert [one.number for one in own.lowered.calls] == [0, 1]


def test_operands_left_out_are_none_but_not_at_the_end():
    seen = []

    def kernel(call, *operands):
        seen.append([operand is None for operand in operands])
        return operands[0]

    graph = graph_of(lambda x, w: call("Relu", call("Gemm", x, w, None)) + call("Gemm", x, w), x=("N", 3), w=(3, 3))
    Lowered(graph, dict(KERNELS, Gemm=kernel), np.asarray).run(feeds_for(graph))
    assert seen == [[False, False], [False, False]]


def test_what_a_kernel_remembers_lasts_from_run_to_run():
    def kernel(call, x):
        call.memory["runs"] = call.memory.get("runs", 0) + 1
        return x + call.memory["runs"]

    graph = graph_of(lambda x: call("Relu", x), x=("N", 1))
    lowered, feeds = Lowered(graph, {"Relu": kernel}, np.asarray), {"x": np.zeros((1, 1), "float32")}
    assert [lowered.run(feeds)["y"].item() for _ in range(2)] == [1.0, 2.0]


def test_constants_are_made_once_and_other_feeds_are_passed_over():
    made = []

    def constant(array):
        made.append(array.shape)
        return array

    graph = graph_of(lambda x: x + np.ones(3, "float32"), x=("N", 3))
    lowered, feeds = Lowered(graph, KERNELS, constant), {"x": np.zeros((2, 3), "float32"), "other": None}
    for _ in range(2):
        np.testing.assert_array_equal(lowered.run(feeds)["y"], 1)
    assert made == [(3,)]
