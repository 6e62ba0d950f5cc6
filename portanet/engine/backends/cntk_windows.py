"""Convolution and pooling by CNTK, under its batch axis, with explicit margins and never its own padding."""

import functools

import numpy as np

from ..kernels.reductions import lowest
from ..lowering import Kernels
from ..operators.windows import conv_window, pool_counts, pool_geometry, transposed_window
from .cntk_shaping import padded
from .cntk_start import cntk
from .cntk_values import Images, constant, shaped, symbol

WINDOWS = Kernels()
kernel = WINDOWS.register
EXACTLY = [False]  # no padding of CNTK's


def _framed(x, pads, value=0.0):
    """Images with margins, or a variable with them."""
    if not any(width for pair in pads for width in pair):
        return Images.of(x)
    return Images.of(padded(symbol(x), [(0, 0), (0, 0)] + list(pads), value))


def _spread(w, gaps):
    """A kernel with zeros between its values: a dilated convolution, which CNTK lacks on a CPU, as an ordinary one."""
    for axis, gap in enumerate(gaps, 2):
        size = w.shape[axis]
        if gap > 1 and size > 1:
            shape = tuple(w.shape)
            wide = shaped(w, shape[: axis + 1] + (1,) + shape[axis + 1 :])
            wide = padded(wide, [(0, gap - 1 if at == axis + 1 else 0) for at in range(len(shape) + 1)])
            wide = shaped(wide, shape[:axis] + (size * gap,) + shape[axis + 1 :])
            w = cntk.slice(wide, [axis], [0], [(size - 1) * gap + 1])
    return w


def _with_bias(y, b):
    return y if b is None else y + shaped(symbol(b), tuple(b.shape) + (1,) * (len(y.shape) - 1))


@kernel("Conv")
def conv(call, x, w, b=None):
    window = conv_window(call.attrs, x.shape, tuple(w.shape))
    images, w = _framed(x, window.pads), _spread(symbol(w), window.dilations)
    y = cntk.convolution(w, images.batched, strides=window.strides, auto_padding=EXACTLY, groups=call.attrs["group"])
    return Images(_with_bias(y, b), x.shape[0])


@kernel("ConvTranspose")
def conv_transpose(call, x, w, b=None):
    window, sizes = transposed_window(call.attrs, x.shape, tuple(w.shape))
    images, w, group = Images.of(x), _spread(symbol(w), window.dilations), call.attrs["group"]
    width = w.shape[0] // group
    parts = []
    for at in range(0, w.shape[0], width):
        own = (images.batched, w) if group == 1 else [cntk.slice(each, [0], [at], [at + width])
                                                      for each in (images.batched, w)]  # fmt: skip
        parts.append(cntk.convolution_transpose(own[1], own[0], strides=window.strides, auto_padding=EXACTLY))
    y = Images(cntk.splice(*parts, axis=0) if group > 1 else parts[0], x.shape[0])
    full = y.shape[2:]
    crop = [(-before, size + before - have) for have, size, (before, _) in zip(full, sizes, window.pads)]
    if any(width for pair in crop for width in pair):
        y = Images.of(padded(y.plain, [(0, 0), (0, 0)] + crop))
    return y.map(lambda y: _with_bias(y, b))


def _shifted(x, window, sizes):
    """The slices of a padded variable that each place of the window sees."""
    axes = list(range(2, len(x.shape)))
    for cut in window.cuts(sizes):
        yield cntk.slice(x, axes, [one.start for one in cut], [one.stop for one in cut], list(window.strides))


def _pooled(kind, images, window, sizes, combine):
    if set(window.dilations) == {1}:
        return images.map(lambda x: cntk.pooling(x, kind, window.kernel, window.strides, EXACTLY))
    return functools.reduce(combine, _shifted(images.plain, window, sizes))


@kernel("MaxPool")
def max_pool(call, x):
    window, sizes, pads = pool_geometry(call.attrs, x.shape[2:])
    dtype = np.dtype(call.kinds[0].dtype)
    least = -np.inf if dtype.kind == "f" else lowest(dtype)
    return _pooled(cntk.MAX_POOLING, _framed(x, pads, least), window, sizes, cntk.element_max)


@kernel("AveragePool")
def average_pool(call, x):
    window, sizes, pads = pool_geometry(call.attrs, x.shape[2:])
    own = set(window.dilations) == {1}
    y = _pooled(cntk.AVG_POOLING, _framed(x, pads), window, sizes, cntk.plus)
    share = (np.prod(window.kernel) if own else 1.0) / pool_counts(call.attrs, x.shape[2:])
    if np.all(share == 1.0):
        return y
    share = share.astype(call.results[0].dtype)
    return y.map(lambda y: y * constant(share)) if own else y * constant(share)
