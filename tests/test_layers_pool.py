import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import ops
from portanet.layers import GlobalPoolLayer, MaxPool1DLayer, MaxPool2DLayer, Pool1DLayer, Pool2DLayer


@pytest.mark.parametrize(
    ("size", "arguments", "expected"),
    [
        ((8, 8), {"pool_size": 2}, (4, 4)),
        ((7, 9), {"pool_size": 2}, (3, 4)),
        ((7, 9), {"pool_size": 2, "ignore_border": False}, (4, 5)),
        ((7, 8), {"pool_size": (3, 2), "stride": (2, 1)}, (3, 7)),
        ((8, 8), {"pool_size": 3, "stride": 2}, (3, 3)),
        ((8, 8), {"pool_size": 3, "stride": 2, "ignore_border": False}, (4, 4)),
        ((6, 5), {"pool_size": 2, "stride": 3, "ignore_border": False}, (2, 2)),
        ((7, 7), {"pool_size": 3, "stride": 2, "pad": 1}, (4, 4)),
        ((7, 8), {"pool_size": 2, "pad": "same"}, (4, 4)),
        ((7, 7), {"pool_size": 3, "stride": 1, "pad": "same"}, (7, 7)),
        ((2, 2), {"pool_size": 2}, (1, 1)),
    ],
)
@pytest.mark.parametrize("mode", ["max", "average_inc_pad", "average_exc_pad"])
def test_shapes(size, arguments, expected, mode):
    layer = Pool2DLayer((None, 3, *size), mode=mode, **arguments)
    assert layer.output_shape == (None, 3, *expected)
    assert layer.params == []
    trace(layer)


@pytest.mark.parametrize(
    ("layer", "op", "attrs"),
    [
        (MaxPool2DLayer((None, 3, 7, 7), 2), "MaxPool", {"ceil_mode": 0}),
        (MaxPool2DLayer((None, 3, 7, 7), 2, ignore_border=False), "MaxPool", {"ceil_mode": 1}),
        (Pool2DLayer((None, 3, 7, 7), 2, mode="average_inc_pad"), "AveragePool", {"count_include_pad": 1}),
        (Pool1DLayer((None, 3, 7), 2, mode="average_exc_pad"), "AveragePool", {"count_include_pad": 0}),
        (MaxPool1DLayer((None, 3, 7), 2, 1), "MaxPool", {"strides": [1]}),
    ],
)
def test_operators(layer, op, attrs):
    graph = trace(layer)
    assert nodes(graph) == [op]
    assert {key: graph.nodes[0].attrs[key] for key in attrs} == attrs


X = np.array([[[1.0, 2.0, -3.0, 4.0, 8.0]]])


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, [2, 4]),
        ({"ignore_border": False}, [2, 4, 8]),
        ({"pad": 1}, [1, 2, 8]),
        ({"pad": (1,), "mode": "average_inc_pad"}, [0.5, -0.5, 6]),
        ({"pad": 1, "mode": "average_exc_pad"}, [1, -0.5, 6]),
        ({"pad": ((0, 1),), "mode": "average_exc_pad"}, [1.5, 0.5, 8]),
        ({"ignore_border": False, "mode": "average_exc_pad"}, [1.5, 0.5, 8]),
    ],
)
def test_values(arguments, wanted):
    np.testing.assert_allclose(compute(Pool1DLayer((None, 1, 5), 2, **arguments), X)["y"], [[wanted]])


def test_padding_never_wins_a_maximum():
    assert compute(MaxPool1DLayer((None, 1, 5), 2, pad=1), -X - 10)["y"].max() < 0


def test_global_pool():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(compute(GlobalPoolLayer((None, 3, 4, 5)), x)["y"], x.mean(axis=(2, 3)))
    np.testing.assert_allclose(compute(GlobalPoolLayer((None, 3, 4, 5), ops.max), x)["y"], x.max(axis=(2, 3)))
    assert GlobalPoolLayer((None, 3, 9)).output_shape == (None, 3)


def test_global_pool_by_a_function_of_ones_own():
    def spread(x, axis):
        return ops.max(x, axis) - ops.min(x, axis)

    assert GlobalPoolLayer((None, 3, 4, 5), spread).output_shape == (None, 3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: MaxPool2DLayer((None, 3, 1, 4), 2),
            ValueError,
            r"^pool_size 2 exceeds the input's height 1; use pool_size <= 1 or pad='same'$",
        ),
        (lambda: MaxPool1DLayer((None, 3, 2), 4), ValueError, "pool_size 4 exceeds the input's length 2"),
        (
            lambda: MaxPool2DLayer((None, 3), 2),
            ValueError,
            r"incoming must be 4-D .*put a ReshapeLayer before it",
        ),
        (
            lambda: MaxPool2DLayer((None, 3, 8, 8), 2, pad=2),
            ValueError,
            "pad 2 must be smaller than pool_size 2",
        ),
        (lambda: MaxPool2DLayer((None, 3, 8, 8), 2, stride=0), ValueError, "stride must be at least 1"),
        (
            lambda: MaxPool2DLayer((None, 3, 8, 8), "2"),
            TypeError,
            "pool_size must be a whole number, got '2'",
        ),
        (
            lambda: Pool2DLayer((None, 3, 8, 8), 2, mode="avg"),
            ValueError,
            "unknown mode 'avg'.*allowed: max, average_inc",
        ),
        (
            lambda: Pool2DLayer((None, 3, 8, 8), 2, mode="average_exc"),
            ValueError,
            "did you mean 'average_exc_pad'",
        ),
        (lambda: MaxPool2DLayer((None, 3, 8, 8), 2, mode="max"), TypeError, "mode"),
        (lambda: GlobalPoolLayer((None, 3)), ValueError, r"axes after \(N, C\) to pool over, got \(N, 3\)"),
        (lambda: GlobalPoolLayer((None, 3, 4), "mean"), TypeError, "such as ops.mean, got 'mean'"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
