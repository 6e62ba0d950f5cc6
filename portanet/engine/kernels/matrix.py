"""Matrix products: the BLAS does the work, into buffers that stay."""

from .cell import backward, forward
from .elementwise import unbroadcast


@forward("MatMul")
def matmul(cell, a, b):
    if a.ndim == 2 and b.ndim == 2:
        return cell.xp.matmul(a, b, out=cell.empty("y", (a.shape[0], b.shape[1]), a.dtype))
    return cell.xp.asarray(cell.xp.matmul(a, b))


@backward("MatMul")
def matmul_backward(cell, grad, inputs, y):
    a, b = inputs
    if a.ndim == 2 and b.ndim == 2:
        return _product_backward(cell, grad, a, b)
    xp = cell.xp
    wide_a = a if a.ndim > 1 else a[None, :]
    wide_b = b if b.ndim > 1 else b[:, None]
    wide = grad if a.ndim > 1 else xp.expand_dims(grad, -1 if b.ndim == 1 else -2)
    wide = wide if b.ndim > 1 or a.ndim == 1 else xp.expand_dims(wide, -1)
    if a.ndim == 1 and b.ndim == 1:
        wide = grad.reshape(1, 1)
    pulls = (lambda: xp.matmul(wide, xp.swapaxes(wide_b, -1, -2)), lambda: xp.matmul(xp.swapaxes(wide_a, -1, -2), wide))
    wides = (wide_a, wide_b)
    return [unbroadcast(xp, pull(), w.shape).reshape(x.shape) if need else None
            for pull, w, x, need in zip(pulls, wides, inputs, cell.needs)]  # fmt: skip


def _product_backward(cell, grad, a, b):
    """Gradients of ``a @ b`` for matrices."""
    xp = cell.xp
    da = xp.matmul(grad, b.T, out=cell.target(0, "da", a.shape, a.dtype)) if cell.needs[0] else None
    db = xp.matmul(a.T, grad, out=cell.target(1, "db", b.shape, b.dtype)) if cell.needs[1] else None
    return [da, db]


@forward("Gemm")
def gemm(cell, a, b, c=None):
    attrs = cell.attrs
    left, right = a.T if attrs["transA"] else a, b.T if attrs["transB"] else b
    y = cell.xp.matmul(left, right, out=cell.empty("y", (left.shape[0], right.shape[1]), a.dtype))
    if attrs["alpha"] != 1.0:
        y *= a.dtype.type(attrs["alpha"])
    if c is not None:
        y += c if attrs["beta"] == 1.0 else c * a.dtype.type(attrs["beta"])
    return y


@backward("Gemm")
def gemm_backward(cell, grad, inputs, y):
    attrs, (a, b) = cell.attrs, inputs[:2]
    scaled = grad if attrs["alpha"] == 1.0 else grad * grad.dtype.type(attrs["alpha"])
    if not (attrs["transA"] or attrs["transB"]):
        grads = _product_backward(cell, scaled, a, b)
    else:
        grads = _transposed_backward(cell, scaled, a, b)
    if len(inputs) > 2 and inputs[2] is not None:
        grads.append(_bias_backward(cell, grad, inputs[2]) if cell.needs[2] else None)
    return grads


def _transposed_backward(cell, grad, a, b):
    attrs, xp = cell.attrs, cell.xp
    left, right = a.T if attrs["transA"] else a, b.T if attrs["transB"] else b
    da, db = xp.matmul(grad, right.T), xp.matmul(left.T, grad)
    return [da.T if attrs["transA"] else da, db.T if attrs["transB"] else db]


def _bias_backward(cell, grad, c):
    """A row of ones times the gradient: the BLAS sums columns faster than a reduction does."""
    if cell.attrs["beta"] != 1.0 or c.shape != grad.shape[1:]:
        return unbroadcast(cell.xp, grad * grad.dtype.type(cell.attrs["beta"]), c.shape)
    ones = cell.empty("ones", (1, grad.shape[0]), grad.dtype)
    ones.fill(1)
    total = cell.target(2, "dc", c.shape, c.dtype)
    cell.xp.matmul(ones, grad, out=total.reshape(1, -1))
    return total
