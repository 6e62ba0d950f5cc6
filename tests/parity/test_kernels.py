"""NumPy's kernels: dtypes, memory layouts, and buffers that live longer than a batch."""

import math

import gradient_cases
import numpy as np
import pytest
from one_node import SCALE, contracted, cotangents, free, run_and_pull, tape_of
from tolerances import GRADIENT, assert_near

from portanet.engine import kernels
from portanet.engine.expansions import EXPANSIONS, expand
from portanet.engine.graph import Graph, GraphError
from portanet.engine.kernels.tape import Tape
from portanet.engine.noise import Source
from portanet.engine.operators import REGISTRY
from portanet.engine.shapes import bind
from portanet.engine.tracing import Tracer, call, tracing

ONE = {SCALE: np.ones(1, "float32")}


def scalar_graph(case, operands):
    weights = cotangents(case.op, operands, case.attrs, case.used)
    return contracted(case.op, operands, case.attrs, weights, case.given)


def test_every_primitive_has_a_kernel_and_every_kernel_an_operator():
    assert set(REGISTRY) - set(EXPANSIONS) <= set(kernels.FORWARD) <= set(REGISTRY)
    assert set(kernels.BACKWARD) <= set(kernels.FORWARD)


@pytest.mark.parametrize("keep", [kernels.FORWARD, ()], ids=["kept", "expanded"])
@pytest.mark.parametrize("op", gradient_cases.DIFFERENTIABLE)
def test_values_have_the_inferred_type_and_float32_stays_float32(op, keep):
    for case in gradient_cases.of(op):
        operands = case.arrays("float32")
        graph = expand(scalar_graph(case, operands), keep=keep)
        arrays = free(operands, case.given)
        tape = tape_of(graph, {name: np.empty_like(x) for name, x in arrays.items()}, keep)
        tape._reverse = [(watched(function), *rest) for function, *rest in tape._reverse]
        tape.run(dict(arrays, **ONE))
        for name, kind in graph.types.items():
            value = tape._values[tape._at[name]]
            shape = tuple(1 if dim == "N" else dim for dim in kind.shape)
            assert (str(value.dtype), value.shape) == (kind.dtype, shape), f"{case.name}: {name}"
        tape.pull()


def watched(function):
    """The same kernel; its gradients must have the dtypes and shapes of the operands."""

    def run(cell, grad, inputs, output):
        made = function(cell, grad, inputs, output)
        for x, dx, need in zip(inputs, made, cell.needs, strict=False):
            if need and dx is not None:
                assert (dx.dtype, dx.shape) == (x.dtype, x.shape), f"{cell.op}: {dx.dtype}{dx.shape}"
        return made

    return run


def transposed(x):
    """The same values, axes in memory the other way round."""
    return x.T.copy().T


def strided(x):
    """The same values, every second place of a larger array."""
    if x.ndim == 0:
        return x
    wide = np.full([2 * size for size in x.shape], np.nan if x.dtype.kind == "f" else 0, x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def reversed_in_memory(x):
    """The same values, the first axis running backwards in memory."""
    return x[::-1].copy()[::-1] if x.ndim else x


def batch_last(x):
    """The same values, the first axis innermost in memory, as the results of convolutions lie."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0) if x.ndim else x


@pytest.mark.parametrize("layout", [transposed, strided, reversed_in_memory, batch_last])
def test_memory_layout_changes_nothing(layout):
    for case in gradient_cases.CASES:
        operands = case.arrays()
        graph = scalar_graph(case, operands)
        arrays = free(operands, case.given)
        loss, wanted = run_and_pull(graph, arrays)
        other_loss, got = run_and_pull(graph, {name: layout(x) for name, x in arrays.items()})
        assert_near(other_loss, loss, what=case.name)
        for name, gradient in wanted.items():
            assert_near(got[name], gradient, GRADIENT["float64"], f"{case.name}, gradient of {name}")


def test_a_second_run_is_as_good_as_the_first():
    """Other values in between, in the same buffers."""
    for case in gradient_cases.CASES:
        operands = case.arrays()
        graph = scalar_graph(case, operands)
        arrays = free(operands, case.given)
        made = {name: np.empty_like(x) for name, x in arrays.items()}
        tape = tape_of(graph, made)
        ones = {SCALE: np.ones(1)}
        first = float(tape.run(dict(arrays, **ones))["loss"])
        tape.pull()
        wanted = {name: gradient.copy() for name, gradient in made.items()}
        tape.run(dict({name: x[::-1] + 0.01 if x.ndim else x + 0.01 for name, x in arrays.items()}, **ones))
        tape.pull()
        assert float(tape.run(dict(arrays, **ones))["loss"]) == first, case.name
        tape.pull()
        for name, gradient in wanted.items():
            np.testing.assert_array_equal(made[name], gradient, err_msg=f"{case.name}, gradient of {name}")


def convolutions(x, labels, w, b, v, u):
    """Padded, strided, grouped; pools that overlap, overhang and count their padding."""
    x = call("Relu", call("Conv", x, w, b, pads=[1, 0, 2, 1], strides=[2, 1]))
    x = call("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0], ceil_mode=1)
    x = call("Conv", x, v, group=2, auto_pad="SAME_UPPER")
    x = call("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1)
    x = call("MaxPool", call("Tanh", x), kernel_shape=[2, 2], strides=[1, 1])
    scores = call("Gemm", call("Flatten", x), u[:32])
    return call("SoftmaxCrossEntropyLoss", scores, labels, ignore_index=1)[0]


def transposed_convolutions(x, labels, w, b, v, u):
    x = call("Conv", x, w, b, dilations=[2, 3])
    x = call("ConvTranspose", x, v, group=2, strides=[2, 2], pads=[1, 0, 1, 1], output_padding=[1, 0])
    x = call("Pad", x, pads=[1, 2, 0, 1], axes=[2, 3], mode="reflect")
    x = call("AveragePool", x[:, ::-1, 1:, :-1], kernel_shape=[3, 3], strides=[2, 3])
    x = call("Concat", x, call("Sigmoid", x), axis=1)
    return call("ReduceMean", call("ReduceMax", x, axes=[2, 3]) * call("ReduceSum", u * u, keepdims=0), keepdims=0)


def normalizations(x, labels, w, b, v, u):
    x = call("Conv", x, w, b, pads=[1, 1, 1, 1])
    ones, zeros = [call("Expand", value, shape=[4]) for value in (b[:1] * b[:1] + 1.0, b[1:2])]
    x = call("BatchNormalization", x, ones, zeros, zeros, ones, training_mode=1)[0]
    x = call("Elu", x)
    x = call("BatchNormalization", x, ones, zeros, zeros, ones)[0]
    x = call("LayerNormalization", x, ones[:1])[0]
    x = call("LogSoftmax", call("GlobalMaxPool", x), axis=1)
    log_prob = call("Squeeze", x, axes=[2, 3]) + call("ReduceSum", v, keepdims=0) * call("ReduceSum", u, keepdims=0)
    return call("NegativeLogLikelihoodLoss", log_prob, labels, reduction="sum")


def rearranging(x, labels, w, b, v, u):
    """Views, gathers and products of more than two axes."""
    rows = call("Gather", call("Reshape", w, shape=[4, -1]), labels, axis=0)
    wide = call("Reshape", call("Transpose", x, perm=[2, 0, 3, 1]), shape=[9, -1, 16])
    x = call("Transpose", wide, perm=[1, 2, 0]) @ call("Pad", call("Reshape", u[:45], shape=[9, 15]), pads=[0, 1, 0, 0])
    x = call("Softmax", x, axis=1) * call("Unsqueeze", rows, axes=[2])[:, :1] + call("ReduceMean", b, keepdims=0)
    picked = call("GatherElements", x[:, 0], call("Unsqueeze", labels, axes=[1]), axis=1)
    loss = call("ReduceMean", call("Pow", picked, 2.0), keepdims=0) + call(
        "ReduceMean", call("Max", x, 0.1), keepdims=0
    )
    return loss * call("ReduceProd", call("Cos", v), keepdims=0)


SHAPES = {
    "x": ("N", 2, 9, 8),
    "labels": ("N",),
    "w": (4, 2, 3, 2),
    "b": (4,),
    "v": (4, 2, 2, 2),
    "u": (48, 3),
}


def traced(build):
    tracer = Tracer("net", "float64")
    with tracing(tracer):
        tensors = {name: tracer.input(name, "int32" if name == "labels" else "float64", shape)
                   for name, shape in SHAPES.items()}  # fmt: skip
        tracer.output("loss", build(**tensors))
    return tracer.graph


def batch(count):
    rng = np.random.default_rng(count)
    arrays = {name: rng.standard_normal([count if dim == "N" else dim for dim in shape])
              for name, shape in SHAPES.items()}  # fmt: skip
    labels = rng.integers(0, 3, count)
    labels[0] = 0
    return dict(arrays, labels=labels.astype("int32"))


@pytest.mark.parametrize("keep", [kernels.FORWARD, ()], ids=["kept", "expanded"])
@pytest.mark.parametrize("build", [convolutions, transposed_convolutions, normalizations, rearranging])
def test_batches_of_other_sizes_leave_nothing_behind(build, keep):
    graph = traced(build)

    def fresh():
        wanted = {name: np.full([7 if dim == "N" else dim for dim in shape], np.nan)
                  for name, shape in SHAPES.items() if "N" not in shape}  # fmt: skip
        return tape_of(graph, wanted, keep), wanted

    old, made = fresh()
    for count in (37, 128, 37, 1, 5, 128):
        new, wanted = fresh()
        losses = [tape.run(batch(count))["loss"] for tape in (old, new)]
        for name, kind in old.graph.types.items():
            assert old._values[old._at[name]].shape == bind(kind.shape, {"N": count}), name
        old.pull()
        new.pull()
        assert_near(*losses, what=f"loss of {count}")
        for name, gradient in wanted.items():
            assert np.all(np.isfinite(gradient)), name
            assert_near(made[name], gradient, GRADIENT["float64"], f"gradient of {name}, {count} rows")


def test_convolutions_cut_into_blocks_are_the_same(monkeypatch):
    for case in gradient_cases.of("Conv"):
        operands = case.arrays()
        graph = scalar_graph(case, operands)
        loss, wanted = run_and_pull(graph, free(operands))
        with monkeypatch.context() as patch:
            patch.setattr(kernels.windows, "COLUMN_BYTES", 1)
            small_loss, made = run_and_pull(graph, free(operands))
        assert_near(small_loss, loss, what=case.name)
        for name, gradient in wanted.items():
            assert_near(made[name], gradient, GRADIENT["float64"], f"{case.name}, gradient of {name}")


def test_what_is_used_twice_gets_both_gradients():
    """Shared weights: no kernel may write straight into a gradient that another adds to."""
    tracer = Tracer("shared", "float64")
    with tracing(tracer):
        x, w = tracer.input("x", "float64", (2, 3)), tracer.input("w", "float64", (3, 3))
        tracer.output("loss", call("ReduceSum", (x @ w) @ w + call("Gemm", x, w @ w), keepdims=0))
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((2, 3)), "w": rng.standard_normal((3, 3))}
    wanted = {name: np.empty_like(array) for name, array in arrays.items()}
    tape = tape_of(tracer.graph, wanted)
    tape.run(arrays)
    tape.pull()
    ones, (x, w) = np.ones((2, 3)), arrays.values()
    np.testing.assert_allclose(wanted["x"], 2 * ones @ (w @ w).T, rtol=1e-13)
    np.testing.assert_allclose(wanted["w"], 2 * (x.T @ ones @ w.T + (x @ w).T @ ones), rtol=1e-13)


def run_one(op, *operands, **attrs):
    tracer = Tracer(op)
    with tracing(tracer):
        tensors = [tracer.input(f"x{place}", str(x.dtype), x.shape) for place, x in enumerate(operands)]
        results = call(op, *tensors, **attrs)
    results = results if isinstance(results, tuple) else (results,)
    for place, result in enumerate(results):
        tracer.output(str(place), result)
    source = Source()
    source.start(5, 0)
    made = Tape(np, tracer.graph, source).run({f"x{place}": x for place, x in enumerate(operands)})
    return [made[str(place)] for place in range(len(results))]


def test_erf_is_the_standard_librarys():
    x = np.linspace(-6.0, 6.0, 20_001)
    (got,) = run_one("Erf", x)
    assert np.max(np.abs(got - [math.erf(value) for value in x])) <= 1e-15
    np.testing.assert_array_equal(run_one("Erf", -x)[0], -got)
    ends = np.array([np.inf, -np.inf, np.nan, 0.0, 1e200, -1e-300])
    np.testing.assert_allclose(run_one("Erf", ends)[0], [1.0, -1.0, np.nan, 0.0, 1.0, -math.erf(1e-300)], rtol=1e-12)


def test_extreme_operands_stay_finite_where_the_function_is():
    far = np.array([-1e4, -100.0, 100.0, 1e4], "float32")
    np.testing.assert_allclose(run_one("Sigmoid", far)[0], [0.0, 0.0, 1.0, 1.0], atol=1e-7)
    np.testing.assert_allclose(run_one("Softplus", far)[0], [0.0, 0.0, 100.0, 1e4], atol=1e-7)
    np.testing.assert_allclose(run_one("LogSoftmax", far)[0], far - far.max(), rtol=1e-6)
    np.testing.assert_allclose(run_one("Softmax", far)[0], [0.0, 0.0, 0.0, 1.0])


def test_division_by_zero_gives_infinity_without_a_warning():
    zero = np.zeros(2, "float32")
    np.testing.assert_array_equal(run_one("Log", zero)[0], [-np.inf, -np.inf])
    np.testing.assert_array_equal(run_one("Div", zero + 1, zero)[0], [np.inf, np.inf])
    np.testing.assert_array_equal(run_one("Exp", zero + 1000)[0], [np.inf, np.inf])


def test_whole_numbers_divide_towards_zero():
    quotient = run_one("Div", np.array([7, -7, 7, -7], "int32"), np.array([2, 2, -2, -2], "int32"))[0]
    assert quotient.dtype == np.int32 and quotient.tolist() == [3, -3, -3, 3]


def test_ties_give_the_gradient_away_once():
    tie = np.array([2.0, 2.0])
    for op, attrs in (("Max", {}), ("Min", {})):
        case = gradient_cases.Case(op, [gradient_cases.Value(tie), gradient_cases.Value(tie)], attrs)
        _, made = run_and_pull(contracted(op, case.arrays(), attrs, [np.ones(2)]), free(case.arrays()))
        assert (made["x0"] + made["x1"]).tolist() == [1.0, 1.0]
    for op, attrs in (("ReduceMax", {"keepdims": 0}), ("ReduceMin", {"keepdims": 0})):
        _, made = run_and_pull(contracted(op, [tie], attrs, [np.ones(())]), {"x0": tie})
        assert made["x0"].sum() == 1.0
    flat = np.ones((1, 1, 4, 4))
    attrs = {"kernel_shape": [3, 3], "strides": [1, 1]}
    _, made = run_and_pull(contracted("MaxPool", [flat], attrs, [np.ones((1, 1, 2, 2))]), {"x0": flat})
    assert made["x0"][0, 0, :2, :2].tolist() == [[1.0, 1.0], [1.0, 1.0]] and made["x0"].sum() == 4.0


def test_a_gradient_comes_back_through_a_cast_in_the_operands_dtype():
    x = np.linspace(-1.0, 1.0, 5)
    _, made = run_and_pull(contracted("Cast", [x], {"to": "float32"}, [np.arange(5, dtype="float32")]), {"x0": x})
    assert_near(made["x0"], np.arange(5.0))


def test_unused_results_may_be_left_out():
    tracer = Tracer("net", "float64")
    with tracing(tracer):
        x = tracer.input("x", "float64", ("N", 3))
        vectors = [tracer.input(name, "float64", (3,)) for name in ("scale", "bias", "mean", "var")]
        y = call("BatchNormalization", x, *vectors, training_mode=1)[0]
        tracer.output("loss", call("ReduceSum", y * y * y, keepdims=0))
    data = tracer.graph.to_json()
    data["nodes"][0][2] = data["nodes"][0][2][:1]
    arrays = {name: np.arange(1.0, 4.0) for name in ("scale", "bias", "mean", "var")}
    arrays["x"] = np.random.default_rng(0).standard_normal((5, 3))
    made = []
    for graph in (tracer.graph, Graph.from_json(data, tracer.graph.constants)):
        wanted = {name: np.empty_like(x) for name, x in arrays.items()}
        tape = Tape(np, graph, None, wanted, "loss")
        tape.run(arrays)
        tape.pull()
        made.append(wanted)
    for name, gradient in made[0].items():
        np.testing.assert_array_equal(made[1][name], gradient)


def test_a_batch_of_one_is_not_squeezed_away():
    tracer = Tracer("net")
    with tracing(tracer):
        tracer.output("y", call("Squeeze", tracer.input("x", "float32", ("N", 1, 3))))
    tape = Tape(np, tracer.graph)
    assert tape.run({"x": np.zeros((1, 1, 3), "float32")})["y"].shape == (1, 3)


def test_an_index_out_of_range_names_the_layer():
    tracer = Tracer("net")
    with tracing(tracer), tracer.scope("words"):
        table = tracer.input("table", "float32", (10, 4))
        tracer.output("y", call("Gather", table, tracer.input("x", "int32", ("N",))))
    with pytest.raises(GraphError, match=r"layer 'words': Gather: index 12 is out of bounds .* size 10"):
        Tape(np, tracer.graph).run({"table": np.zeros((10, 4), "float32"), "x": np.array([3, 12])})


def test_a_result_may_overwrite_any_of_its_operands():
    """As update rules do with "alias": the third operand of Max is still needed when the first two are done."""
    a, b, c = np.array([1.0, 5.0, 2.0]), np.array([4.0, 1.0, 0.0]), np.array([3.0, 9.0, 1.0])
    tracer = Tracer("max", "float64")
    with tracing(tracer):
        tracer.output("y", call("Max", *[tracer.input(name, "float64", (3,)) for name in "abc"]))
    for overwritten in "abc":
        feeds = {name: values.copy() for name, values in zip("abc", (a, b, c), strict=True)}
        tape = Tape(np, tracer.graph)
        tape.cells[0].alias = feeds[overwritten]
        assert tape.run(feeds)["y"].tolist() == [4.0, 9.0, 2.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_have_the_moments_asked_for(dtype):
    x = np.zeros((300, 200), dtype)
    (uniform,) = run_one("RandomUniformLike", x, low=-1.0, high=3.0)
    assert uniform.dtype == dtype and uniform.min() >= -1.0 and uniform.max() < 3.0
    assert abs(uniform.mean() - 1.0) < 0.03 and abs(uniform.std() - 4 / math.sqrt(12)) < 0.03
    (normal,) = run_one("RandomNormalLike", x, mean=2.0, scale=0.5)
    assert normal.dtype == dtype and abs(normal.mean() - 2.0) < 0.02 and abs(normal.std() - 0.5) < 0.02
    (ones,) = run_one("Bernoulli", x + x.dtype.type(0.3))
    assert ones.dtype == dtype and set(np.unique(ones)) == {0, 1} and abs(ones.mean() - 0.3) < 0.02


def test_streams_follow_seed_and_step():
    draws = []
    for seed, step in ((1, 0), (1, 0), (1, 1), (2, 0)):
        source = Source()
        source.start(seed, step)
        draws.append(source.mask(0.5, (70,)).tolist() + source.generator.random(3).tolist())
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3
