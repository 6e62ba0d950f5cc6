"""Convolution and pooling in MXNet, which knows even pads and whole windows; margins are put on, or cut, beforehand."""

import functools

import numpy as np

from ..kernels.reductions import lowest
from ..operators.windows import Window, conv_window, pool_counts, pool_geometry, transposed_window
from .mxnet_kernels import KERNELS, is_float, padded, reshaped, sliced
from .mxnet_symbols import apply, constant

kernel = KERNELS.register


def _even(pads):
    return all(before == after for before, after in pads)


@kernel("Conv")
def conv(call, x, w, b=None):
    kind, filters = call.kinds[:2]
    window = conv_window(call.attrs, kind.shape, filters.shape)
    return _correlated(x, kind.shape, w, b, window, filters.shape[0], call.attrs["group"], kind.dtype)


def _correlated(x, shape, w, b, window, filters, group, dtype):
    pads = [before for before, _ in window.pads]
    if not _even(window.pads):
        x, pads = padded(x, shape, [(0, 0), (0, 0)] + list(window.pads), 0, dtype), [0] * len(pads)
    return apply("Convolution", *([x, w] if b is None else [x, w, b]), kernel=window.kernel, stride=window.strides,
                 dilate=window.dilations, pad=tuple(pads), num_filter=filters, num_group=group,
                 no_bias=b is None)  # fmt: skip


@kernel("ConvTranspose")
def conv_transpose(call, x, w, b=None):
    shape, filters, group = call.kinds[0].shape, call.kinds[1].shape, call.attrs["group"]
    window, sizes = transposed_window(call.attrs, shape, filters)
    full = [(dim - 1) * stride + extent for dim, stride, extent in zip(shape[2:], window.strides, window.extents)]
    count = filters[1] * group
    if len(sizes) <= 2:
        y = apply("Deconvolution", x, w, kernel=window.kernel, stride=window.strides, dilate=window.dilations,
                  num_filter=count, num_group=group, no_bias=True)  # fmt: skip
    else:
        y = _turned_correlation(call, x, w, window)
    crops = [(-before, size + before - have) for have, size, (before, _) in zip(full, sizes, window.pads)]
    y = padded(y, (shape[0], count) + tuple(full), [(0, 0), (0, 0)] + crops, 0, call.kinds[0].dtype)
    return y if b is None else apply("_npi_add", y, reshaped(b, (-1,) + (1,) * len(sizes)))


def _turned_correlation(call, x, w, window):
    """A convolution of the input with zeros between its values, by the kernel turned round."""
    kind, filters, group = call.kinds[0], call.kinds[1].shape, call.attrs["group"]
    shape = list(kind.shape)
    for axis, stride in enumerate(window.strides, 2):
        x = _spread(x, shape, axis, stride, kind.dtype)
    axes = tuple(range(2, len(filters)))
    parts = reshaped(w, (group, filters[0] // group) + tuple(filters[1:]))
    parts = apply("_np_transpose", parts, axes=(0, 2, 1) + tuple(axis + 1 for axis in axes))
    turned = apply("_npi_flip", reshaped(parts, (group * filters[1], filters[0] // group) + tuple(filters[2:])),
                   axis=axes)  # fmt: skip
    plain = Window({"strides": None, "auto_pad": "NOTSET", "dilations": window.dilations,
                    "pads": [extent - 1 for extent in window.extents] * 2}, window.kernel, shape[2:])  # fmt: skip
    return _correlated(x, shape, turned, None, plain, filters[1] * group, group, kind.dtype)


def _spread(x, shape, axis, stride, dtype):
    """Zeros between the values along one axis; `shape` is changed along."""
    if stride == 1:
        return x
    wide = shape[: axis + 1] + [1] + shape[axis + 1 :]
    margins = [(0, stride - 1 if place == axis + 1 else 0) for place in range(len(wide))]
    x = padded(reshaped(x, wide), wide, margins, 0, dtype)
    size = shape[axis]
    shape[axis] = size * stride
    x = apply("slice_axis", reshaped(x, shape), axis=axis, begin=0, end=(size - 1) * stride + 1)
    shape[axis] = (size - 1) * stride + 1
    return x


def _pooled(x, kind, window, pads, **attrs):
    return apply("Pooling", x, pool_type=kind, kernel=window.kernel, stride=window.strides, pad=tuple(pads),
                 pooling_convention="valid", **attrs)  # fmt: skip


def _shifted(x, window, sizes):
    """The slices of a padded array that each place of the window sees."""
    for cut in window.cuts(sizes):
        yield sliced(x, [slice(None)] * 2 + list(cut))


@kernel("MaxPool")
def max_pool(call, x):
    kind, (window, sizes, pads) = call.kinds[0], pool_geometry(call.attrs, call.kinds[0].shape[2:])
    least = lowest(np.dtype(kind.dtype))
    x = padded(x, kind.shape, [(0, 0), (0, 0)] + pads, least, kind.dtype)
    if is_float(kind) and set(window.dilations) == {1}:
        return _pooled(x, "max", window, [0] * len(sizes))
    return functools.reduce(functools.partial(apply, "_npi_maximum"), _shifted(x, window, sizes))


@kernel("AveragePool")
def average_pool(call, x):
    kind, (window, sizes, pads) = call.kinds[0], pool_geometry(call.attrs, call.kinds[0].shape[2:])
    counted_too = bool(call.attrs["count_include_pad"])
    if set(window.dilations) == {1} and _even(pads) and tuple(pads) == tuple(window.pads):
        return _pooled(x, "avg", window, [before for before, _ in pads], count_include_pad=counted_too)
    shares = 1.0 / pool_counts(call.attrs, kind.shape[2:])
    x = padded(x, kind.shape, [(0, 0), (0, 0)] + pads, 0, kind.dtype)
    total = functools.reduce(functools.partial(apply, "_npi_add"), _shifted(x, window, sizes))
    return apply("_npi_multiply", total, constant(shares.astype(kind.dtype)))
