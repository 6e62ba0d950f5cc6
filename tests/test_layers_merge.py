import operator

import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import ops
from portanet.layers import ConcatLayer, DenseLayer, ElemwiseMergeLayer, ElemwiseSumLayer, InputLayer

RNG = np.random.default_rng(0)


def inputs(*shapes):
    """Input layers of those shapes, and arrays for them."""
    return [InputLayer((None, *shape)) for shape in shapes], [RNG.normal(size=(2, *shape)) for shape in shapes]


@pytest.mark.parametrize(
    ("shapes", "axis", "result"),
    [
        ([(3,), (4,)], 1, (7,)),
        ([(3,), (4,), (1,)], -1, (8,)),
        ([(3, 4, 5), (2, 4, 5)], 1, (5, 4, 5)),
        ([(3, 4, 5), (3, 4, 1)], 3, (3, 4, 6)),
        ([(3, 4, 5)], 2, (3, 4, 5)),
    ],
)
def test_concat(shapes, axis, result):
    layers, arrays = inputs(*shapes)
    layer = ConcatLayer(layers, axis)
    assert layer.output_shape == (None, *result)
    np.testing.assert_array_equal(compute(layer, *arrays)["y"], np.concatenate(arrays, axis))


def test_concat_of_a_layer_with_itself():
    layer = InputLayer((None, 3))
    x = RNG.normal(size=(2, 3))
    np.testing.assert_array_equal(compute(ConcatLayer([layer, layer]), x)["y"], np.concatenate([x, x], 1))


def test_merge_folds_from_the_left():
    layers, arrays = inputs((3,), (3,), (3,))
    result = compute(ElemwiseMergeLayer(layers, operator.sub), *arrays)["y"]
    np.testing.assert_allclose(result, arrays[0] - arrays[1] - arrays[2])


def test_merge_repeats_axes_of_size_one():
    layers, arrays = inputs((3, 1, 1), (3, 4, 5))
    layer = ElemwiseMergeLayer(layers, operator.mul)
    assert layer.output_shape == (None, 3, 4, 5)
    np.testing.assert_allclose(compute(layer, *arrays)["y"], arrays[0] * arrays[1])
    assert nodes(trace(ElemwiseMergeLayer(layers, ops.maximum))) == ["Max"]


@pytest.mark.parametrize(
    ("coeffs", "factors"),
    [(1, [1, 1, 1]), (0.5, [0.5, 0.5, 0.5]), ([1, -1, 2], [1, -1, 2]), ((0, 0, 1), [0, 0, 1])],
)
def test_sum(coeffs, factors):
    layers, arrays = inputs((3, 4), (3, 4), (3, 4))
    result = compute(ElemwiseSumLayer(layers, coeffs), *arrays)["y"]
    np.testing.assert_allclose(result, sum(f * x for f, x in zip(factors, arrays, strict=True)))


def test_sum_multiplies_by_no_ones():
    layers, _ = inputs((3,), (3,))
    assert nodes(trace(ElemwiseSumLayer(layers))) == ["Add"]


def test_a_residual_block():
    start = InputLayer((None, 8))
    layer = ElemwiseSumLayer([start, DenseLayer(DenseLayer(start, 8), 8)])
    assert layer.output_shape == (None, 8)
    assert len(trace(layer).inputs) == 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ConcatLayer([(None, 3, 4), (None, 3, 5)]),
            ValueError,
            r"incomings \(N, 3, 4\) and \(N, 3, 5\) differ on another axis than 1",
        ),
        (
            lambda: ConcatLayer([(None, 3, 4), (None, 3)]),
            ValueError,
            "differ in their number of axes; put a ReshapeLayer",
        ),
        (
            lambda: ConcatLayer([(None, 3), (None, 3)], axis=2),
            ValueError,
            "axis names axis 2, the input has axes 0 to 1",
        ),
        (lambda: ConcatLayer([]), TypeError, "a list of layers"),
        (
            lambda: ElemwiseSumLayer([(None, 3), (None, 4)]),
            ValueError,
            r"incomings \(N, 3\) and \(N, 4\) differ on axis 1; make their sizes equal, or 1",
        ),
        (
            lambda: ElemwiseSumLayer([(None, 3), (None, 3)], coeffs=[1]),
            ValueError,
            "coeffs must be one number or 2",
        ),
        (
            lambda: ElemwiseSumLayer([(None, 3), (None, 3)], coeffs="2"),
            TypeError,
            "coeffs must be a number, got '2'",
        ),
        (
            lambda: ElemwiseMergeLayer([(None, 3), (None, 3)], "max"),
            TypeError,
            "such as ops.maximum, got 'max'",
        ),
        (lambda: ConcatLayer((None, 3)), TypeError, "must be a layer or a shape, got None"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
