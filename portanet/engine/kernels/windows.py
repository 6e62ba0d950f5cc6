"""Convolution and pooling.

Shapes are channels-first everywhere, but the arrays made here lie in memory as (C, H, W, N), batch innermost: then
a window's shifted slices are long contiguous runs, the column matrix of a convolution feeds one large matrix product
whose result already has that order, and pooling is a maximum of slices at full vector width. NumPy's elementwise
functions keep the order, so a stack of convolutions never transposes.
"""

import itertools

import numpy as np

from ..operators.windows import conv_window, pool_counts, pool_geometry, transposed_window
from .cell import backward, forward, memory_order
from .reductions import lowest

COLUMN_BYTES = 1 << 20  # stays in the cache while the product reads it
DEVICE_COLUMN_BYTES = 1 << 28  # few, large products keep a GPU busy


def batch_last(x):
    """View of (N, C, ...) as (C, ..., N)."""
    return x.transpose(tuple(range(1, x.ndim)) + (0,))


def batch_first(x):
    """View of (C, ..., N) as (N, C, ...)."""
    return x.transpose((x.ndim - 1,) + tuple(range(x.ndim - 1)))


def padded(cell, key, x, pads, value=0):
    """(C, spatial..., N) with margins of `value`; the array itself, if contiguous, where there are none."""
    if not any(before or after for before, after in pads):
        if x.flags.c_contiguous:
            return x
        plain = cell.empty(key, x.shape, x.dtype)
        cell.xp.copyto(plain, x)
        return plain
    shape = (x.shape[0],) + tuple(before + size + after for size, (before, after) in zip(x.shape[1:], pads))
    wide = cell.empty(key, shape + x.shape[-1:], x.dtype)
    if getattr(cell, key + "_filled", None) != wide.shape:
        wide.fill(value)
        setattr(cell, key + "_filled", wide.shape)
    wide[_core(x.shape, pads)] = x
    return wide


def _core(shape, pads):
    inner = tuple(slice(before, before + size) for size, (before, _) in zip(shape[1:], pads))
    return (slice(None),) + inner


class Shifts:
    """The slices of a padded (C, spatial..., N) array that one place of the kernel sees, for every place.

    Rows are those of the first spatial axis of the result, so that work can be cut into blocks that stay in the cache.
    """

    def __init__(self, window, sizes):
        self.window, self.sizes = window, tuple(sizes)

    def __iter__(self):
        return iter(self.rows(0, self.sizes[0]))

    def rows(self, start, stop):
        window = self.window
        for place in itertools.product(*[range(size) for size in window.kernel]):
            cut = [slice(None)]
            ranges = [(start, stop)] + [(0, size) for size in self.sizes[1:]]
            for at, gap, stride, (low, high) in zip(place, window.dilations, window.strides, ranges):
                offset = at * gap
                cut.append(slice(offset + low * stride, offset + (high - 1) * stride + 1, stride))
            yield place, tuple(cut)

    def blocks(self, xp, bytes_each_row):
        """Row ranges whose columns take about as many bytes as suits the machine."""
        limit = COLUMN_BYTES if xp is np else DEVICE_COLUMN_BYTES
        count = max(1, min(self.sizes[0], limit // max(bytes_each_row, 1)))
        for start in range(0, self.sizes[0], count):
            yield start, min(start + count, self.sizes[0])


def _columns(cell, source, shifts, start, stop):
    """The column matrix of some rows: ``(C * kernel, rows * ... * N)``."""
    window = shifts.window
    inner = (stop - start,) + shifts.sizes[1:] + source.shape[-1:]
    shape = source.shape[:1] + window.kernel + inner
    columns = cell.empty("columns", shape, source.dtype)
    for place, cut in shifts.rows(start, stop):
        cell.xp.copyto(columns[(slice(None),) + place], source[cut])
    return columns.reshape(source.shape[0] * int(np.prod(window.kernel)), -1)


def _scatter(target, columns, shifts, start, stop):
    """Add the columns of some rows back to where they were taken from."""
    inner = (stop - start,) + shifts.sizes[1:] + target.shape[-1:]
    laid = columns.reshape(target.shape[:1] + shifts.window.kernel + inner)
    for place, cut in shifts.rows(start, stop):
        target[cut] += laid[(slice(None),) + place]


def _groups(count, *arrays):
    """Equal parts of each array along its first axis."""
    if count == 1:
        return [arrays]
    return zip(*[[array[i * len(array) // count : (i + 1) * len(array) // count] for i in range(count)]
                 for array in arrays])  # fmt: skip


def _row_cost(cell, source, shifts):
    sizes = shifts.sizes[1:] + source.shape[:1] + shifts.window.kernel + source.shape[-1:]
    return int(np.prod(sizes)) * source.dtype.itemsize


@forward("Conv")
def conv(cell, x, w, b=None):
    window = conv_window(cell.attrs, x.shape, w.shape)
    sizes, group = window.sizes(x.shape[2:]), cell.attrs["group"]
    source = padded(cell, "padded", batch_last(x), window.pads)
    out = cell.empty("y", (w.shape[0],) + sizes + x.shape[:1], x.dtype)
    for xs, ws, ys in _groups(group, source, w, out):
        _correlate(cell, xs, ws, ys, Shifts(window, sizes))
    if b is not None:
        out += b.reshape((-1,) + (1,) * (out.ndim - 1))
    return batch_first(out)


def _correlate(cell, source, w, out, shifts):
    flat = w.reshape(w.shape[0], -1)
    for start, stop in shifts.blocks(cell.xp, _row_cost(cell, source, shifts)):
        columns = _columns(cell, source, shifts, start, stop)
        rows = out[:, start:stop]
        cell.xp.matmul(flat, columns, out=rows.reshape(w.shape[0], -1))


def _rows(cell, key, array, start, stop):
    """Rows of a (C, spatial..., N) array as a matrix, a view where memory allows it."""
    part = array[:, start:stop]
    return part.reshape(array.shape[0], -1)


@backward("Conv")
def conv_backward(cell, grad, inputs, y):
    x, w = inputs[:2]
    window = conv_window(cell.attrs, x.shape, w.shape)
    sizes, group = window.sizes(x.shape[2:]), cell.attrs["group"]
    shifts = Shifts(window, sizes)
    pulled = padded(cell, "grad", batch_last(grad), ((0, 0),) * len(sizes))
    source = padded(cell, "padded", batch_last(x), window.pads)
    dw = cell.target(1, "dw", w.shape, w.dtype)
    dx = None
    if cell.needs[0]:
        dx = cell.empty("dx", source.shape, x.dtype)
        dx.fill(0)
    places = [slice(i * (len(array) // group), (i + 1) * (len(array) // group))
              for array in (source, w) for i in range(group)]  # fmt: skip
    for own, filters in zip(places[:group], places[group:]):
        part = None if dx is None else dx[own]
        _correlate_backward(cell, source[own], w[filters], pulled[filters], dw[filters], part, shifts)
    grads = [None if dx is None else batch_first(dx[_core(batch_last(x).shape, window.pads)])]
    grads.append(dw if cell.needs[1] else None)
    if len(inputs) > 2 and inputs[2] is not None:
        grads.append(_bias_gradient(cell, pulled) if cell.needs[2] else None)
    return grads


def _correlate_backward(cell, source, w, grad, dw, dx, shifts):
    xp, filters = cell.xp, w.shape[0]
    flat = w.reshape(filters, -1)
    total = dw.reshape(filters, -1)
    for start, stop in shifts.blocks(xp, _row_cost(cell, source, shifts)):
        rows = _rows(cell, "rows", grad, start, stop)
        if cell.needs[1]:
            columns = _columns(cell, source, shifts, start, stop)
            if start == 0:
                xp.matmul(rows, columns.T, out=total)
            else:
                total += xp.matmul(rows, columns.T, out=cell.empty("part", total.shape, total.dtype))
        if dx is not None:
            back = cell.empty("back", (flat.shape[1], rows.shape[1]), w.dtype)
            _scatter(dx, xp.matmul(flat.T, rows, out=back), shifts, start, stop)


def _bias_gradient(cell, grad):
    """Sum over places and batch: a product with ones, which the BLAS does faster than a reduction."""
    flat = grad.reshape(grad.shape[0], -1)
    ones = cell.empty("ones", (flat.shape[1],), flat.dtype)
    ones.fill(1)
    total = cell.target(2, "db", (grad.shape[0],), grad.dtype)
    return cell.xp.matmul(flat, ones, out=total)


def _transposed_geometry(cell, x, w):
    window, sizes = transposed_window(cell.attrs, x.shape, w.shape)
    full = tuple(max((dim - 1) * stride + extent, before + size) for dim, stride, extent, (before, _), size
                 in zip(x.shape[2:], window.strides, window.extents, window.pads, sizes))  # fmt: skip
    return window, sizes, full


@forward("ConvTranspose")
def conv_transpose(cell, x, w, b=None):
    window, sizes, full = _transposed_geometry(cell, x, w)
    group = cell.attrs["group"]
    shifts = Shifts(window, x.shape[2:])
    source = padded(cell, "plain", batch_last(x), ((0, 0),) * len(sizes))
    wide = cell.empty("wide", (w.shape[1] * group,) + full + x.shape[:1], x.dtype)
    wide.fill(0)
    for xs, ws, ys in _groups(group, source, w, wide):
        columns = cell.xp.matmul(ws.reshape(len(ws), -1).T, xs.reshape(len(xs), -1))
        _scatter(ys, columns, shifts, 0, shifts.sizes[0])
    out = wide[(slice(None),) + tuple(slice(pad[0], pad[0] + size) for pad, size in zip(window.pads, sizes))]
    if b is not None:
        out = out + b.reshape((-1,) + (1,) * (out.ndim - 1))
    return batch_first(out)


@backward("ConvTranspose")
def conv_transpose_backward(cell, grad, inputs, y):
    x, w = inputs[:2]
    window, sizes, full = _transposed_geometry(cell, x, w)
    group, shifts = cell.attrs["group"], Shifts(window, x.shape[2:])
    margins = [(pad[0], whole - pad[0] - size) for pad, whole, size in zip(window.pads, full, sizes)]
    wide = padded(cell, "grad", batch_last(grad), margins)
    source = padded(cell, "plain", batch_last(x), ((0, 0),) * len(sizes))
    dx, dw = cell.empty("dx", source.shape, x.dtype), cell.target(1, "dw", w.shape, w.dtype)
    for xs, ws, gs, dxs, dws in _groups(group, source, w, wide, dx, dw):
        columns = _columns(cell, gs, shifts, 0, shifts.sizes[0])
        cell.xp.matmul(ws.reshape(len(ws), -1), columns, out=dxs.reshape(len(xs), -1))
        cell.xp.matmul(xs.reshape(len(xs), -1), columns.T, out=dws.reshape(len(ws), -1))
    grads = [batch_first(dx), dw]
    if len(inputs) > 2 and inputs[2] is not None:
        grads.append(cell.xp.add.reduce(grad, axis=tuple(axis for axis in range(grad.ndim) if axis != 1)))
    return grads


def _pool_source(cell, x, pads, value):
    """(C, spatial..., N): a view in whatever order `x` lies, padded only where a window needs it."""
    view = batch_last(x)
    return padded(cell, "padded", view, pads, value) if any(b or a > 0 for b, a in pads) else view


@forward("MaxPool")
def max_pool(cell, x):
    window, sizes, pads = pool_geometry(cell.attrs, x.shape[2:])
    source = _pool_source(cell, x, pads, lowest(x.dtype))
    y = cell.empty("y", source.shape[:1] + sizes + source.shape[-1:], x.dtype, tuple(memory_order(source)))
    for place, cut in Shifts(window, sizes):
        if any(place):
            cell.xp.maximum(y, source[cut], out=y)
        else:
            cell.xp.copyto(y, source[cut])
    return batch_first(y)


@backward("MaxPool")
def max_pool_backward(cell, grad, inputs, output):
    """The first of the largest in each window takes the gradient."""
    xp, x = cell.xp, inputs[0]
    window, sizes, pads = pool_geometry(cell.attrs, x.shape[2:])
    source, y, pulled = _pool_source(cell, x, pads, lowest(x.dtype)), batch_last(output), batch_last(grad)
    order = tuple(memory_order(source))
    dx = cell.empty("dx", source.shape, x.dtype, order)
    dx.fill(0)
    apart = all(stride >= extent for stride, extent in zip(window.strides, window.extents))
    free = cell.empty("free", y.shape, np.dtype(bool), order)
    free.fill(True)
    mine = cell.empty("mine", y.shape, np.dtype(bool), order)
    for _, cut in Shifts(window, sizes):
        xp.equal(source[cut], y, out=mine)
        xp.logical_and(mine, free, out=mine)
        xp.logical_xor(free, mine, out=free)
        if apart:
            xp.multiply(pulled, mine, out=dx[cut])
        else:
            dx[cut] += pulled * mine
    return (batch_first(dx[_core(batch_last(x).shape, pads)]),)


def _inverse_counts(cell, x):
    """One over the number of places each window averages over."""
    known = getattr(cell, "counts", None)
    if known is not None and known[0] == x.shape[2:]:
        return known[1]
    counts = pool_counts(cell.attrs, x.shape[2:])[None, ..., None]
    cell.counts = x.shape[2:], cell.xp.asarray(1 / counts, dtype=x.dtype)
    return cell.counts[1]


@forward("AveragePool")
def average_pool(cell, x):
    window, sizes, pads = pool_geometry(cell.attrs, x.shape[2:])
    source = _pool_source(cell, x, pads, 0)
    y = cell.empty("y", source.shape[:1] + sizes + source.shape[-1:], x.dtype, tuple(memory_order(source)))
    y.fill(0)
    for _, cut in Shifts(window, sizes):
        y += source[cut]
    y *= _inverse_counts(cell, x)
    return batch_first(y)


@backward("AveragePool")
def average_pool_backward(cell, grad, inputs, output):
    x = inputs[0]
    window, sizes, pads = pool_geometry(cell.attrs, x.shape[2:])
    pulled = batch_last(grad) * _inverse_counts(cell, x)
    shape = tuple(size + before + after for size, (before, after) in zip(x.shape[2:], pads))
    dx = cell.empty("dx", x.shape[1:2] + shape + x.shape[:1], x.dtype, tuple(memory_order(pulled)))
    dx.fill(0)
    for _, cut in Shifts(window, sizes):
        dx[cut] += pulled
    return (batch_first(dx[_core(batch_last(x).shape, pads)]),)
