"""Limits on gradients before an update, and on weights after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import ops
from .engine.tracing import Tensor

__all__ = ["grad_clipping", "norm_constraint", "total_norm_constraint"]


def grad_clipping(grad: Any, bound: float) -> Tensor:
    """min(max(g, -bound), bound), place by place."""
    return ops.clip(grad, -float(bound), float(bound))


def total_norm_constraint(grad_vector: Any, max_norm: float, epsilon: float = 1e-7) -> Tensor:
    """g · min(‖g‖, max_norm) / (ε + ‖g‖): all gradients, scaled down together if too large.

    Parameters
    ----------
    grad_vector : Tensor, shape (P,)
        The gradients of all parameters as one vector.
    max_norm : float
    epsilon : float
        Keeps the quotient finite.

    Returns
    -------
    Tensor, shape (P,)

    References
    ----------
    R. Pascanu, T. Mikolov and Y. Bengio (2013), On the difficulty of training recurrent neural networks,
    ICML.
    """
    norm = ops.sqrt(ops.sum(ops.square(grad_vector)))
    return grad_vector * (ops.minimum(norm, max_norm) / (norm + epsilon))


def norm_constraint(param: Any, max_norm: float, norm_axes: Sequence[int] | None = None,
                    epsilon: float = 1e-7) -> Tensor:  # fmt: skip
    """w · min(‖w‖, max_norm) / (ε + ‖w‖) for each w, the weights that lead into one unit.

    Parameters
    ----------
    param : Tensor
        New value of a parameter.
    max_norm : float
    norm_axes : sequence of int, optional
        Axes along which one w lies. By default axis 0 of a matrix ``(in, out)``, and all axes but the first
        of convolution weights ``(out, in, kernel...)``.
    epsilon : float
        Keeps the quotient finite.

    Returns
    -------
    Tensor, shape of `param`

    Raises
    ------
    ValueError
        When `norm_axes` is not given and the rank of `param` is not 2 to 5.

    References
    ----------
    N. Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting, JMLR 15,
    section 5.1.
    """
    param = ops.as_tensor(param)
    if norm_axes is None:
        if not 2 <= param.ndim <= 5:
            raise ValueError(f"norm_constraint needs norm_axes for {param!r}: it knows axes for 2 to 5 dimensions")
        norm_axes = (0,) if param.ndim == 2 else tuple(range(1, param.ndim))
    norms = ops.sqrt(ops.sum(ops.square(param), axis=norm_axes, keepdims=True))
    return param * (ops.minimum(norms, max_norm) / (norms + epsilon))
