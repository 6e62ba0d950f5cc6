"""Every operator for NumPy, and for whatever looks like NumPy (CuPy): forward, and vector-Jacobian product.

A kernel is a pair of functions. ``forward(cell, *inputs)`` gives the result, ``backward(cell, grad, inputs, output)``
the gradient of each input. The `Cell` holds the node's attributes, the array module and buffers that live as long as
the program does, so that a training step allocates next to nothing.
"""

from . import elementwise, fused, matrix, random, reductions, shaping, windows
from .cell import BACKWARD, FORWARD, Cell

__all__ = [
    "BACKWARD", "FORWARD", "Cell", "elementwise", "fused", "matrix", "random", "reductions", "shaping", "windows",
]  # fmt: skip
