"""Matrix products."""

from ..graph import TensorType
from ..shapes import ShapeError, broadcast, show
from .elementwise import need_number, need_same_dtype
from .registry import operator


def _need_inner(a, b, left, right):
    if left != right:
        raise ShapeError("inner sizes differ: %s of %s against %s of %s" % (left, show(a), right, show(b)))


@operator("MatMul", "A B")
def matmul(attrs, a, b):
    dtype = need_same_dtype(a, b)
    need_number(a)
    if a.rank == 0 or b.rank == 0:
        raise ShapeError("a scalar has no matrix product")
    left = a.shape if a.rank > 1 else (1,) + a.shape
    right = b.shape if b.rank > 1 else b.shape + (1,)
    _need_inner(a.shape, b.shape, left[-1], right[-2])
    shape = broadcast(left[:-2], right[:-2])
    shape += left[-2:-1] if a.rank > 1 else ()
    shape += right[-1:] if b.rank > 1 else ()
    return TensorType(dtype, shape)


@operator("Gemm", "A B C?", {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0})
def gemm(attrs, a, b, c):
    dtype = need_same_dtype(*[kind for kind in (a, b, c) if kind is not None])
    need_number(a)
    if a.rank != 2 or b.rank != 2:
        raise ShapeError("needs matrices, got %s and %s" % (show(a.shape), show(b.shape)))
    left = a.shape[::-1] if attrs["transA"] else a.shape
    right = b.shape[::-1] if attrs["transB"] else b.shape
    _need_inner(a.shape, b.shape, left[1], right[0])
    shape = (left[0], right[1])
    if c is not None and broadcast(c.shape, shape) != shape:
        raise ShapeError("C of shape %s does not broadcast to %s" % (show(c.shape), show(shape)))
    return TensorType(dtype, shape)
