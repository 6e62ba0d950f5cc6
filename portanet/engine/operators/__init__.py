"""The operators a graph may hold: ONNX's names, attributes and meaning, with shape inference for each.

Operands that ONNX passes as tensors but that decide a shape (``shape``, ``axes``, ``pads``, ...) must be known when
the graph is made; they ride as attributes under ONNX's input name. Export turns them back into initialisers.

Two tiers: *primitives*, which every adapter implements, and *composites*, which expand into primitives
(`portanet/engine/expansions.py`) unless an adapter has something better.
"""

from .. import expansions
from . import elementwise, matrix, random, reductions, shaping, windows
from .registry import REGISTRY, REQUIRED, Operator, complete, infer, lookup, operator

__all__ = [
    "REGISTRY", "REQUIRED", "Operator", "complete", "elementwise", "expansions", "infer", "lookup", "matrix",
    "operator", "random", "reductions", "shaping", "windows",
]  # fmt: skip
