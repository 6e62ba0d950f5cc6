"""Convolution and pooling. Channels first, explicit pads, cross-correlation."""

import itertools

import numpy as np

from ..graph import TensorType
from ..shapes import ShapeError, is_symbolic, show
from .elementwise import need_float, need_same_dtype
from .registry import REQUIRED, operator

WINDOW = {"auto_pad": "NOTSET", "dilations": None, "pads": None, "strides": None}


def same_pads(size, kernel, stride, dilation=1, lower=False):
    """Pads that make the result ``ceil(size / stride)`` long; the odd one goes after, or before if `lower`.

    >>> same_pads(28, 4, 1), same_pads(7, 3, 2)
    ((1, 2), (1, 1))
    """
    extent = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    small = total // 2
    return (total - small, small) if lower else (small, total - small)


class Window:
    """Geometry of a convolution or pooling: one entry for each spatial axis, pads resolved.

    Attributes
    ----------
    kernel, strides, dilations : tuple of int
    pads : tuple of (int, int)
    """

    def __init__(self, attrs, kernel, spatial):
        rank = len(spatial)
        self.kernel = tuple(kernel)
        self.strides = tuple(attrs["strides"] or (1,) * rank)
        self.dilations = tuple(attrs["dilations"] or (1,) * rank)
        for name in ("kernel", "strides", "dilations"):
            values = getattr(self, name)
            if len(values) != rank or min(values, default=1) < 1:
                raise ShapeError("%s %s must hold %d positive numbers" % (name, list(values), rank))
        if any(is_symbolic(dim) for dim in spatial):
            raise ShapeError("spatial sizes must be known, got %s" % show(spatial))
        self.pads = self._pads(attrs, spatial)

    def _pads(self, attrs, spatial):
        mode, rank = attrs["auto_pad"], len(spatial)
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            geometry = zip(spatial, self.kernel, self.strides, self.dilations)
            return tuple(same_pads(*sizes, lower=mode == "SAME_LOWER") for sizes in geometry)
        if mode not in ("NOTSET", "VALID"):
            raise ShapeError("unknown auto_pad %r; allowed: NOTSET, VALID, SAME_UPPER, SAME_LOWER" % mode)
        pads = attrs["pads"] if attrs["pads"] is not None and mode == "NOTSET" else [0] * 2 * rank
        if len(pads) != 2 * rank or min(pads, default=0) < 0:
            raise ShapeError("pads %s must hold %d numbers, none negative" % (list(pads), 2 * rank))
        return tuple(zip(pads[:rank], pads[rank:]))

    @property
    def extents(self):
        return tuple((size - 1) * gap + 1 for size, gap in zip(self.kernel, self.dilations))

    def sizes(self, spatial, ceil_mode=False):
        """Spatial sizes of the result."""
        result = []
        for dim, extent, stride, (before, after) in zip(spatial, self.extents, self.strides, self.pads):
            room = dim + before + after - extent
            if room < 0:
                padded = " (%d with its padding)" % (dim + before + after) if before or after else ""
                raise ShapeError("a window of %d exceeds the input's %d%s; "
                                 "use a smaller one or pad='same'" % (extent, dim, padded))  # fmt: skip
            count = (-(-room // stride) if ceil_mode else room // stride) + 1
            if ceil_mode and (count - 1) * stride >= dim + before:
                count -= 1
            result.append(count)
        return tuple(result)

    def cuts(self, sizes):
        """For each place of the kernel, the slices of a padded array that it sees: one for each spatial axis.

        >>> window = Window({"strides": None, "dilations": None, "pads": None, "auto_pad": "NOTSET"}, [2], [5])
        >>> list(window.cuts([4]))
        [(slice(0, 4, 1),), (slice(1, 5, 1),)]
        """
        for place in itertools.product(*[range(size) for size in self.kernel]):
            starts = [at * gap for at, gap in zip(place, self.dilations)]
            yield tuple(slice(start, start + (size - 1) * stride + 1, stride)
                        for start, size, stride in zip(starts, sizes, self.strides))  # fmt: skip


def conv_window(attrs, x_shape, w_shape):
    kernel = attrs["kernel_shape"] or w_shape[2:]
    if tuple(kernel) != tuple(w_shape[2:]):
        raise ShapeError("kernel_shape %s differs from the weights' %s" % (list(kernel), show(w_shape[2:])))
    return Window(attrs, kernel, x_shape[2:])


@operator("Conv", "X W B?", dict(WINDOW, group=1, kernel_shape=None))
def conv(attrs, x, w, b):
    need_float(x)
    dtype = need_same_dtype(*[kind for kind in (x, w, b) if kind is not None])
    if x.rank < 3 or w.rank != x.rank:
        raise ShapeError("needs (N, C, spatial...) and (out, in, kernel...), got %s and %s" % (
            show(x.shape), show(w.shape)))  # fmt: skip
    group = attrs["group"]
    if x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise ShapeError("input %s has %s channels, weights %s in %d group(s) expect %d" % (
            show(x.shape), x.shape[1], show(w.shape), group, w.shape[1] * group))  # fmt: skip
    if b is not None and b.shape != w.shape[:1]:
        raise ShapeError("bias %s must be (%d,)" % (show(b.shape), w.shape[0]))
    spatial = conv_window(attrs, x.shape, w.shape).sizes(x.shape[2:])
    return TensorType(dtype, (x.shape[0], w.shape[0]) + spatial)


def transposed_window(attrs, x_shape, w_shape):
    """The window of the convolution whose gradient this is, and the sizes of the result."""
    spatial, kernel = x_shape[2:], tuple(attrs["kernel_shape"] or w_shape[2:])
    plain = Window(dict(attrs, auto_pad="NOTSET", pads=None), kernel, spatial)
    extra = tuple(attrs["output_padding"] or (0,) * len(spatial))
    full = [(dim - 1) * stride + extent + more
            for dim, stride, extent, more in zip(spatial, plain.strides, plain.extents, extra)]  # fmt: skip
    wanted = attrs["output_shape"]
    if wanted is None and attrs["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [dim * stride for dim, stride in zip(spatial, plain.strides)]
    if wanted is not None:
        totals = [max(have - want, 0) for have, want in zip(full, wanted)]
        lower = attrs["auto_pad"] != "SAME_UPPER"
        plain.pads = tuple((total - total // 2, total // 2) if lower else (total // 2, total - total // 2)
                           for total in totals)  # fmt: skip
        return plain, tuple(wanted)
    plain.pads = Window(attrs, kernel, spatial).pads
    sizes = tuple(have - before - after for have, (before, after) in zip(full, plain.pads))
    if min(sizes) < 1:
        raise ShapeError("pads %s leave nothing of %s" % (plain.pads, show(full)))
    return plain, sizes


@operator("ConvTranspose", "X W B?",
          dict(WINDOW, group=1, kernel_shape=None, output_padding=None, output_shape=None))  # fmt: skip
def conv_transpose(attrs, x, w, b):
    """The gradient of Conv with respect to its input; weights ``(in, out / group, kernel...)``."""
    need_float(x)
    dtype = need_same_dtype(*[kind for kind in (x, w, b) if kind is not None])
    if x.rank < 3 or w.rank != x.rank or x.shape[1] != w.shape[0] or w.shape[0] % attrs["group"]:
        raise ShapeError("input %s does not fit weights %s in %d group(s)" % (
            show(x.shape), show(w.shape), attrs["group"]))  # fmt: skip
    filters = w.shape[1] * attrs["group"]
    if b is not None and b.shape != (filters,):
        raise ShapeError("bias %s must be (%d,)" % (show(b.shape), filters))
    return TensorType(dtype, (x.shape[0], filters) + transposed_window(attrs, x.shape, w.shape)[1])


def pool_geometry(attrs, spatial):
    """Window, result sizes, and pads (none negative) that also hold what a last, partial window overhangs."""
    window = Window(attrs, attrs["kernel_shape"], spatial)
    sizes = window.sizes(spatial, bool(attrs["ceil_mode"]))
    needed = [(count - 1) * stride + extent - size - before for size, count, stride, extent, (before, _)
              in zip(spatial, sizes, window.strides, window.extents, window.pads)]  # fmt: skip
    return window, sizes, [(before, max(after, rest)) for (before, after), rest in zip(window.pads, needed)]


def pool_counts(attrs, spatial):
    """How many values the mean of each window is over: an array with one count for each result.

    >>> attrs = {"kernel_shape": [2], "strides": None, "dilations": None, "pads": [1, 0], "auto_pad": "NOTSET",
    ...          "ceil_mode": 0, "count_include_pad": 0}
    >>> pool_counts(attrs, (3,))
    array([1, 2, 2])
    """
    window, sizes, _ = pool_geometry(attrs, spatial)
    margins = window.pads if attrs["count_include_pad"] else ((0, 0),) * len(sizes)
    counts = np.ones((), dtype=int)
    for size, count, kernel, stride, gap, pad, margin in zip(
            spatial, sizes, window.kernel, window.strides, window.dilations, window.pads, margins):  # fmt: skip
        seen = stride * np.arange(count)[:, None] + gap * np.arange(kernel) - pad[0]
        counts = np.multiply.outer(counts, np.sum((seen >= -margin[0]) & (seen < size + margin[1]), axis=1))
    return counts


def _infer_pool(attrs, x):
    if x.rank < 3:
        raise ShapeError("needs (N, C, spatial...), got %s" % show(x.shape))
    window = Window(attrs, attrs["kernel_shape"], x.shape[2:])
    if any(max(pads) >= extent for pads, extent in zip(window.pads, window.extents)):
        raise ShapeError("pads %s must be smaller than the window %s" % (window.pads, list(window.extents)))
    return TensorType(x.dtype, x.shape[:2] + window.sizes(x.shape[2:], bool(attrs["ceil_mode"])))


POOL = dict(WINDOW, kernel_shape=REQUIRED, ceil_mode=0)


@operator("MaxPool", "X", POOL)
def max_pool(attrs, x):
    """Padding counts as minus infinity."""
    return _infer_pool(attrs, x)


@operator("AveragePool", "X", dict(POOL, count_include_pad=0))
def average_pool(attrs, x):
    need_float(x)
    return _infer_pool(attrs, x)
