import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet.layers import DimshuffleLayer, FlattenLayer, PadLayer, ReshapeLayer

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
INCOMING = (None, 3, 4, 5)


@pytest.mark.parametrize(("outdim", "shape"), [(2, (60,)), (3, (3, 20)), (4, (3, 4, 5))])
def test_flatten(outdim, shape):
    layer = FlattenLayer(INCOMING, outdim)
    assert layer.output_shape == (None, *shape)
    np.testing.assert_array_equal(compute(layer, X)["y"], X.reshape(2, *shape))


def test_flatten_of_a_matrix_does_nothing():
    assert nodes(trace(FlattenLayer((None, 7)))) == []


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((-1, 60), (60,)),
        (([0], -1), (60,)),
        (([0], 5, 12), (5, 12)),
        (([0], [1], -1), (3, 20)),
        (([0], [3], [2], [1]), (5, 4, 3)),
        (([0], -1, [3]), (12, 5)),
        (([0], [1], 2, 2, [3], 1), (3, 2, 2, 5, 1)),
        ((-1, 3, 4, 5), (3, 4, 5)),
    ],
)
def test_reshape(shape, result):
    layer = ReshapeLayer(INCOMING, shape)
    assert layer.output_shape == (None, *result)
    np.testing.assert_array_equal(compute(layer, X)["y"], X.reshape(2, *result))


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ((-1, 3, -1), ValueError, "holds -1 more than once"),
        ((64, 60), ValueError, r"fixes the batch size; write \[0\] or -1 first"),
        (([0], 61), ValueError, r"does not fit an input \(N, 3, 4, 5\), which has 60 values a sample"),
        ((-1, 7), ValueError, "does not fit"),
        (([0], 7, -1), ValueError, "does not fit"),
        (([0], [4]), ValueError, r"copies axis 4, which the input \(N, 3, 4, 5\) lacks"),
        ((60, [0]), ValueError, r"moves the batch to axis 1; \[0\] must come first"),
        (([0], 0, 60), ValueError, r"holds 0; write \[1\] to keep that axis"),
        (([0], "x"), TypeError, "each entry of shape must be a whole number, got 'x'"),
        (([0], -2), ValueError, "at least -1, got -2"),
        (60, TypeError, "shape must be a tuple such as"),
        ((), TypeError, "shape must be a tuple such as"),
    ],
)
def test_bad_reshape(shape, error, message):
    with pytest.raises(error, match=message):
        ReshapeLayer(INCOMING, shape)


@pytest.mark.parametrize(
    ("arguments", "widths"),
    [
        ({"width": 1}, [(1, 1), (1, 1)]),
        ({"width": (1, 2), "val": -1.0}, [(1, 1), (2, 2)]),
        ({"width": [(0, 2), 1], "val": 3}, [(0, 2), (1, 1)]),
        ({"width": 1, "batch_ndim": 3}, [(0, 0), (1, 1)]),
        ({"width": 0}, [(0, 0), (0, 0)]),
    ],
)
def test_pad(arguments, widths):
    layer = PadLayer(INCOMING, **arguments)
    wanted = np.pad(X, [(0, 0), (0, 0), *widths], constant_values=arguments.get("val", 0))
    assert layer.output_shape == (None, *wanted.shape[1:])
    np.testing.assert_array_equal(compute(layer, X)["y"], wanted)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"width": -1}, ValueError, "width must be at least 0, got -1"),
        ({"width": (1, 2, 3)}, ValueError, "width must be one number or 2 of them"),
        ({"width": [(1, 2, 3), 0]}, ValueError, r"a number or a pair \(before, after\)"),
        ({"width": 1, "batch_ndim": 4}, ValueError, "batch_ndim 4 leaves no axis"),
        ({"width": 1, "batch_ndim": 0}, ValueError, "batch_ndim must be at least 1"),
        ({"width": 1, "val": None}, TypeError, "val must be a number"),
    ],
)
def test_bad_pad(arguments, error, message):
    with pytest.raises(error, match=message):
        PadLayer(INCOMING, **arguments)


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ((0, 1, 2, 3), X),
        ((0, 3, 1, 2), X.transpose(0, 3, 1, 2)),
        ((0, "x", 2, 1, "x", 3), X.transpose(0, 2, 1, 3)[:, None, :, :, None]),
    ],
)
def test_dimshuffle(pattern, wanted):
    layer = DimshuffleLayer(INCOMING, pattern)
    assert layer.output_shape == (None, *wanted.shape[1:])
    np.testing.assert_array_equal(compute(layer, X)["y"], wanted)


def test_dimshuffle_leaves_out_axes_of_size_one():
    x = X[:, :, :1]
    layer = DimshuffleLayer((None, 3, 1, 5), (0, 3, "x", 1))
    assert layer.output_shape == (None, 5, 1, 3)
    np.testing.assert_array_equal(compute(layer, x)["y"], x[:, :, 0].transpose(0, 2, 1)[:, :, None])


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ((1, 0, 2, 3), ValueError, "moves the batch; its first entry must be 0"),
        (("x", 0, 1, 2, 3), ValueError, "moves the batch"),
        ((0, 1, 2), ValueError, r"leaves out axis 3 of the input \(N, 3, 4, 5\), which is not of size 1"),
        ((0, 1, 1, 2, 3), ValueError, "must name axes 0 to 3, each at most once"),
        ((0, 1, 2, 4), ValueError, "must name axes 0 to 3"),
        ((0, "y"), TypeError, "a tuple of axes and 'x'"),
        ("0x1", TypeError, "a tuple of axes and 'x', got '0x1'"),
    ],
)
def test_bad_dimshuffle(pattern, error, message):
    with pytest.raises(error, match=message):
        DimshuffleLayer(INCOMING, pattern)
