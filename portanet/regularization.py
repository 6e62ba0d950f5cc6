"""Penalties on parameters, to be added to a loss.

`NeuralNet` adds them for ``objective_l1`` and ``objective_l2``; here are the parts to build an objective of
one's own from, such as one that punishes layers differently:

>>> from portanet import objectives, regularization
>>> def objective(layers, prediction, target, hidden_l1=0.0, **given):
...     penalty = regularization.regularize_layer_params(layers["hidden"], regularization.l1)
...     return objectives.objective(layers, prediction, target, **given) + hidden_l1 * penalty
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import ops
from .engine.tracing import Expression, Tensor
from .layers.base import Layer, Parameter

__all__ = [
    "apply_penalty", "l1", "l2", "regularize_layer_params", "regularize_layer_params_weighted",
    "regularize_network_params",
]  # fmt: skip

REGULARIZABLE: Mapping[str, bool] = {"regularizable": True}

Penalty = Callable[..., Any]


def l1(x: Any) -> Tensor:
    """Σ abs(x), which drives values to exactly zero."""
    return ops.sum(ops.abs(x))


def l2(x: Any) -> Tensor:
    """Σ x², which keeps values small."""
    return ops.sum(ops.square(x))


def apply_penalty(params: Expression | Iterable[Any], penalty: Penalty, **kwargs: Any) -> Tensor:
    """Sum of the penalty over one or several parameters.

    Parameters
    ----------
    params : Parameter, Tensor, or iterable of them
    penalty : callable
        ``penalty(param, **kwargs)``, a number for one parameter.

    Returns
    -------
    Tensor, shape ()
        0 where there are no parameters.
    """
    if isinstance(params, Expression):
        return penalty(params, **kwargs)
    terms = [penalty(param, **kwargs) for param in params]
    if not terms:
        return ops.as_tensor(0.0)
    total, *others = terms
    for term in others:
        total = total + term
    return total


def regularize_layer_params(layers: Layer | Iterable[Layer], penalty: Penalty,
                            tags: Mapping[str, bool] = REGULARIZABLE, **kwargs: Any) -> Tensor:  # fmt: skip
    """Sum of the penalty over the parameters of one or several layers.

    Parameters
    ----------
    layers : Layer or iterable of Layer
    penalty : callable
        `l1`, `l2`, or any ``penalty(param, **kwargs)``.
    tags : dict of str to bool
        Takes the parameters that have, or have not, these tags; by default the regularizable ones: weights.

    Returns
    -------
    Tensor, shape ()
    """
    chosen = [layers] if isinstance(layers, Layer) else layers
    return apply_penalty([param for layer in chosen for param in _tagged(layer, tags)], penalty, **kwargs)


def regularize_layer_params_weighted(
    layers: Mapping[Layer, float], penalty: Penalty, tags: Mapping[str, bool] = REGULARIZABLE, **kwargs: Any
) -> Tensor:
    """Sum of the penalty over the parameters of several layers, each times that layer's own factor.

    Parameters
    ----------
    layers : dict of Layer to float
    penalty, tags
        As for `regularize_layer_params`.

    Returns
    -------
    Tensor, shape ()
    """
    terms = [factor * regularize_layer_params(layer, penalty, tags, **kwargs) for layer, factor in layers.items()]
    return apply_penalty(terms, lambda term: term)


def regularize_network_params(layer: Layer | Sequence[Layer], penalty: Penalty,
                              tags: Mapping[str, bool] = REGULARIZABLE, **kwargs: Any) -> Tensor:  # fmt: skip
    """Sum of the penalty over the parameters of a whole net.

    Parameters
    ----------
    layer : Layer or sequence of Layer
        Its output layer or layers; all that leads there is taken.
    penalty, tags
        As for `regularize_layer_params`.

    Returns
    -------
    Tensor, shape ()
    """
    from .layers.helper import get_all_layers

    return regularize_layer_params(get_all_layers(layer), penalty, tags, **kwargs)


def _tagged(layer: Layer, tags: Mapping[str, bool]) -> list[Parameter]:
    return [param for param in layer.params if all((tag in param.tags) == wanted for tag, wanted in tags.items())]
