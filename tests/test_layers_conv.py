import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import init
from portanet.layers import Conv1DLayer, Conv2DLayer, InputLayer


def convolve(x, W, stride, pads, dilation, groups):
    """Convolution of images, as one reads it in a book."""
    n, (filters, per_group, kh, kw) = len(x), W.shape
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    rows = (x.shape[2] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (x.shape[3] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    y = np.zeros((n, filters, rows, columns))
    for o in range(filters):
        first = o // (filters // groups) * per_group
        for i in range(rows):
            for j in range(columns):
                top, left = i * stride[0], j * stride[1]
                seen = x[:, first : first + per_group, top :: dilation[0], left :: dilation[1]][:, :, :kh, :kw]
                y[:, o, i, j] = (seen * W[o]).sum(axis=(1, 2, 3))
    return y


def test_parameters():
    layer = Conv2DLayer((None, 3, 8, 8), 16, (3, 5), name="conv")
    assert [(p.full_name, p.shape) for p in layer.params] == [("conv.W", (16, 3, 3, 5)), ("conv.b", (16,))]
    assert layer.W.tags == {"trainable", "regularizable"}
    assert layer.b.tags == {"trainable"}


@pytest.mark.parametrize(
    ("size", "arguments", "expected"),
    [
        ((28, 28), {"filter_size": 5}, (24, 24)),
        ((28, 28), {"filter_size": 5, "pad": "valid"}, (24, 24)),
        ((28, 28), {"filter_size": 5, "pad": "same"}, (28, 28)),
        ((28, 28), {"filter_size": 4, "pad": "same"}, (28, 28)),
        ((28, 28), {"filter_size": 5, "pad": "full"}, (32, 32)),
        ((28, 28), {"filter_size": 5, "pad": 2}, (28, 28)),
        ((28, 28), {"filter_size": 5, "pad": (2, 0)}, (28, 24)),
        ((28, 28), {"filter_size": 5, "pad": ((2, 1), 0)}, (27, 24)),
        ((7, 9), {"filter_size": 3, "stride": 2}, (3, 4)),
        ((8, 9), {"filter_size": 3, "stride": 2}, (3, 4)),
        ((7, 8), {"filter_size": 3, "stride": 2, "pad": "same"}, (4, 4)),
        ((7, 8), {"filter_size": 2, "stride": (2, 3), "pad": "same"}, (4, 3)),
        ((7, 8), {"filter_size": 1, "stride": 3, "pad": "same"}, (3, 3)),
        ((9, 9), {"filter_size": 3, "dilation": 2}, (5, 5)),
        ((9, 9), {"filter_size": (3, 2), "dilation": (4, 1), "pad": "same"}, (9, 9)),
        ((3, 3), {"filter_size": 3}, (1, 1)),
        ((2, 2), {"filter_size": 3, "pad": "same"}, (2, 2)),
    ],
)
def test_shapes(size, arguments, expected):
    layer = Conv2DLayer((None, 2, *size), 4, untie_biases=True, **arguments)
    assert layer.output_shape == (None, 4, *expected)
    assert layer.b.shape == (4, *expected)
    trace(layer)


@pytest.mark.parametrize(
    ("arguments", "pads"),
    [
        ({"filter_size": (3, 2)}, [(0, 0), (0, 0)]),
        ({"filter_size": 4, "pad": "same"}, [(1, 2), (1, 2)]),
        ({"filter_size": (4, 3), "pad": "same", "stride": 2}, [(1, 2), (0, 1)]),
        ({"filter_size": 3, "pad": "full", "num_groups": 2}, [(2, 2), (2, 2)]),
        ({"filter_size": 2, "pad": ((0, 1), 2), "dilation": (2, 3), "stride": (1, 2)}, [(0, 1), (2, 2)]),
    ],
)
@pytest.mark.parametrize("untied", [False, True])
def test_values(arguments, pads, untied):
    layer = Conv2DLayer((None, 4, 7, 8), 6, b=init.Normal(1.0), nonlinearity=None, untie_biases=untied,
                        name="c", **arguments)  # fmt: skip
    x = np.random.default_rng(2).normal(size=(3, 4, 7, 8))
    result = compute(layer, x)
    bias = result["c.b"] if untied else result["c.b"][:, None, None]
    wanted = convolve(x, result["c.W"], layer.stride, pads, layer.dilation, layer.num_groups) + bias
    np.testing.assert_allclose(result["y"], wanted, atol=1e-12)


def test_sequences():
    layer = Conv1DLayer((None, 50, 401), 8, 4, stride=3, pad="same", name="c")
    assert layer.W.shape == (8, 50, 4)
    assert layer.output_shape == (None, 8, 134)
    x = np.random.default_rng(2).normal(size=(2, 50, 401))
    result = compute(layer, x)
    wanted = convolve(x[:, :, None], result["c.W"][:, :, None], (1, 3), [(0, 0), (1, 1)], (1, 1), 1)[:, :, 0]
    np.testing.assert_allclose(result["y"], np.maximum(wanted, 0), atol=1e-12)


def test_tied_bias_rides_on_the_convolution():
    assert nodes(trace(Conv2DLayer((None, 1, 5, 5), 3, 3))) == ["Conv", "Relu"]
    assert nodes(trace(Conv2DLayer((None, 1, 5, 5), 3, 3, b=None, nonlinearity=None, untie_biases=True))) == ["Conv"]
    assert Conv2DLayer((None, 1, 5, 5), 3, 3, b=None).b is None


def test_groups_see_their_own_channels():
    layer = Conv2DLayer((None, 6, 5, 5), 9, 3, num_groups=3)
    assert layer.W.shape == (9, 2, 3, 3)


def test_the_error_of_a_layer_underneath_is_its_own():
    small = Conv2DLayer(InputLayer((None, 1, 6, 6)), 4, 5)
    with pytest.raises(ValueError, match=r"filter_size 3 exceeds the input's height 2; use filter_size <= 2"):
        Conv2DLayer(small, 4, 3)


@pytest.mark.parametrize(
    ("incoming", "arguments", "error", "message"),
    [
        (
            (None, 1, 5, 5),
            {"filter_size": 7},
            ValueError,
            r"^filter_size 7 exceeds the input's height 5; use filter_size <= 5 or pad='same'$",
        ),
        (
            (None, 1, 9, 5),
            {"filter_size": (3, 7), "pad": (0, 0)},
            ValueError,
            "filter_size 7 exceeds the input's width 5;",
        ),
        (
            (None, 1, 5, 5),
            {"filter_size": 9, "pad": 1},
            ValueError,
            r"height 5 \(7 with its padding\); use filter_size <= 7",
        ),
        (
            (None, 1, 5, 5),
            {"filter_size": 3, "dilation": 3},
            ValueError,
            r"with dilation 3 spans 7, which exceeds the input's height 5; use filter_size <= 2 or pad",
        ),
        (
            (None, 784),
            {"filter_size": 3},
            ValueError,
            r"incoming must be 4-D \(N, C, H, W\), got \(N, 784\); put a ReshapeLayer before it",
        ),
        (
            (None, 2, 1, 5, 5),
            {"filter_size": 3},
            ValueError,
            r"got \(N, 2, 1, 5, 5\); put a FlattenLayer or ReshapeLayer",
        ),
        ((None, 1, 5, 5), {"filter_size": 0}, ValueError, "filter_size must be at least 1, got 0"),
        (
            (None, 1, 5, 5),
            {"filter_size": (3, 3, 3)},
            ValueError,
            r"one number or 2 of them, got \(3, 3, 3\)",
        ),
        ((None, 1, 5, 5), {"filter_size": 3, "stride": 0}, ValueError, "stride must be at least 1"),
        (
            (None, 1, 5, 5),
            {"filter_size": 3, "pad": "smae"},
            ValueError,
            "unknown pad 'smae'.*'same'.*allowed: 'valid'",
        ),
        ((None, 1, 5, 5), {"filter_size": 3, "pad": -1}, ValueError, "pad must be at least 0, got -1"),
        ((None, 1, 5, 5), {"filter_size": 3, "pad": None}, TypeError, "pad must be a whole number, got None"),
        ((None, 1, 5, 5), {"filter_size": 3, "pad": (1, 1, 1)}, ValueError, "has 3 entries; allowed"),
        (
            (None, 1, 5, 5),
            {"filter_size": 3, "pad": ((1, 1, 1), 0)},
            ValueError,
            "is not understood; allowed",
        ),
        (
            (None, 4, 5, 5),
            {"filter_size": 3, "num_groups": 3},
            ValueError,
            "num_groups 3 does not divide the input's channels, 4",
        ),
        (
            (None, 5, 5, 5),
            {"filter_size": 3, "num_groups": 5},
            ValueError,
            "num_groups 5 does not divide num_filters, 4",
        ),
        (
            (None, 1, 5, 5),
            {"filter_size": 3, "nonlinearity": 1},
            TypeError,
            "nonlinearity must be a function",
        ),
    ],
)
def test_bad_arguments(incoming, arguments, error, message):
    with pytest.raises(error, match=message):
        Conv2DLayer(incoming, 4, **arguments)


def test_a_sequence_has_a_length():
    with pytest.raises(ValueError, match="filter_size 5 exceeds the input's length 4"):
        Conv1DLayer((None, 1, 4), 2, 5)
    with pytest.raises(ValueError, match=r"3-D \(N, C, length\)"):
        Conv1DLayer((None, 1, 4, 4), 2, 3)
