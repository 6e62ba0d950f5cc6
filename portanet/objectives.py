"""Losses, metrics, and the objective that joins them with penalties.

A loss is an ordinary function over `portanet.ops`, ``loss(prediction, target)``. It sees the output of the
net, of shape ``(N, ...)``, and gives the loss of each sample, ``(N,)``, or of each output, ``(N, k)``;
`aggregate` makes one number of them. Metrics are the same, but for counting only: their gradient is zero.

Losses are written as their formulas stand, on probabilities and without clipping: when the net ends in a
softmax or a sigmoid, the compiler computes their logarithms from the scores before it, which neither
overflows nor saturates.

A loss of one's own:

>>> from portanet import ops
>>> def log_cosh(prediction, target):
...     difference = prediction - target
...     return difference + ops.softplus(-2.0 * difference) - 0.6931471805599453
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import ops, regularization
from .engine.graph import FLOATS
from .engine.shapes import show
from .engine.tracing import Expression, Tensor, current
from .exceptions import DeclarationError, did_you_mean

__all__ = [
    "absolute_error", "aggregate", "binary_accuracy", "binary_crossentropy", "binary_hinge_loss",
    "categorical_accuracy", "categorical_crossentropy", "huber_loss", "multiclass_hinge_loss", "objective",
    "squared_error",
]  # fmt: skip

MODES = ("mean", "sum", "normalized_sum")


def squared_error(prediction: Any, target: Any) -> Tensor:
    """(p - t)², for each output.

    Parameters
    ----------
    prediction : Tensor, shape (N, ...)
    target : Tensor, same shape
        Whole numbers are cast to the prediction's dtype.

    Returns
    -------
    Tensor, shape (N, ...)

    Raises
    ------
    DeclarationError
        When the shapes differ.
    """
    p, t = _alike("squared_error", prediction, target)
    return ops.square(p - t)


def absolute_error(prediction: Any, target: Any) -> Tensor:
    """abs(p - t), for each output; parameters, result and errors as for `squared_error`."""
    p, t = _alike("absolute_error", prediction, target)
    return ops.abs(p - t)


def huber_loss(prediction: Any, target: Any, delta: float = 1.0) -> Tensor:
    """d² / 2 where d = abs(p - t) is at most δ, and δ (d - δ / 2) beyond.

    Quadratic near the target, straight far from it, so that outliers pull less. Parameters, result and errors
    as for `squared_error`; `delta` is where the two meet, in units of the target.

    References
    ----------
    P. J. Huber (1964), Robust estimation of a location parameter, Annals of Mathematical Statistics 35.
    """
    p, t = _alike("huber_loss", prediction, target)
    distance = ops.abs(p - t)
    near = ops.minimum(distance, delta)
    return near * (distance - 0.5 * near)


def binary_crossentropy(prediction: Any, target: Any) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), for each output.

    Parameters
    ----------
    prediction : Tensor, shape (N, ...)
        Probabilities in (0, 1), as a sigmoid gives them.
    target : Tensor, same shape
        In [0, 1].

    Returns
    -------
    Tensor, shape (N, ...)

    Raises
    ------
    DeclarationError
        When the shapes differ.
    """
    p, t = _alike("binary_crossentropy", prediction, target)
    return -(t * ops.log(p) + (1.0 - t) * ops.log(1.0 - p))


def binary_hinge_loss(prediction: Any, target: Any, delta: float = 1.0, log_odds: bool = True,
                      binary: bool = True) -> Tensor:  # fmt: skip
    """max(0, δ - t s), for each output, t being -1 or 1 and s the score.

    Parameters
    ----------
    prediction : Tensor, shape (N, ...)
        Scores of a linear output; probabilities of a sigmoid if `log_odds` is false, whose scores are taken.
    target : Tensor, same shape
        0 or 1; -1 or 1 if `binary` is false.
    delta : float
        The margin.

    Returns
    -------
    Tensor, shape (N, ...)

    Raises
    ------
    DeclarationError
        When the shapes differ.
    """
    p, t = _alike("binary_hinge_loss", prediction, target)
    score = p if log_odds else ops.log(p) - ops.log(1.0 - p)
    side = 2.0 * t - 1.0 if binary else t
    return ops.relu(delta - side * score)


def categorical_crossentropy(prediction: Any, target: Any) -> Tensor:
    """-log p[t] for a class number t, -Σ t log p for a distribution t over the classes.

    Parameters
    ----------
    prediction : Tensor, shape (N, C, ...)
        Probabilities of the C classes, as a softmax gives them.
    target : Tensor, shape (N, ...) of class numbers, or (N, C, ...)
        int32 class numbers, or the probability of each class.

    Returns
    -------
    Tensor, shape (N, ...)

    Raises
    ------
    DeclarationError
        When the shapes do not fit, or when there are fewer than two classes.
    """
    p, t = _over_classes("categorical_crossentropy", prediction, target)
    if t.ndim < p.ndim:
        return ops.negative_log_likelihood(ops.log(p), t)
    return -ops.sum(t * ops.log(p), axis=1)


def multiclass_hinge_loss(prediction: Any, target: Any, delta: float = 1.0) -> Tensor:
    """max(0, δ + the largest s[j] of a wrong class j - s[t]), s being the scores and t the right class.

    Parameters
    ----------
    prediction : Tensor, shape (N, C)
        Scores of the C classes.
    target : Tensor, shape (N,) or (N, C)
        int32 class numbers, or one row of zeros and a one for each sample.
    delta : float
        The margin.

    Returns
    -------
    Tensor, shape (N,)

    Raises
    ------
    DeclarationError
        When the shapes do not fit, or when there are fewer than two classes.
    """
    s, t = _over_classes("multiclass_hinge_loss", prediction, target)
    own = _indicators(s, t)
    right = ops.sum(own * s, axis=1, keepdims=True)
    return ops.max((1.0 - own) * ops.relu(s - right + delta), axis=1)


def binary_accuracy(prediction: Any, target: Any, threshold: float = 0.5) -> Tensor:
    """1 where prediction and target lie on the same side of the threshold, 0 elsewhere, for each output.

    Parameters
    ----------
    prediction : Tensor, shape (N, ...)
        Probabilities; those above `threshold` count as 1, as in `NeuralNet.predict`.
    target : Tensor, same shape
        0 or 1.

    Returns
    -------
    Tensor, shape (N, ...)

    Raises
    ------
    DeclarationError
        When the shapes differ.
    """
    p, t = _alike("binary_accuracy", prediction, target)
    return ops.cast(ops.equal(p > threshold, t > 0.5), p.dtype)


def categorical_accuracy(prediction: Any, target: Any, top_k: int = 1) -> Tensor:
    """1 where the right class is among the `top_k` most probable, 0 elsewhere.

    Parameters
    ----------
    prediction : Tensor, shape (N, C, ...)
        Probabilities or scores of the C classes.
    target : Tensor, shape (N, ...) or (N, C, ...)
        int32 class numbers, or the probability of each class, of which the first largest is right.
    top_k : int
        From 1 to C. With 1, the first of several equal scores wins, as in `NeuralNet.predict`; with more, a
        right class that ties for the last place does not count.

    Returns
    -------
    Tensor, shape (N, ...)

    Raises
    ------
    DeclarationError
        When the shapes do not fit, or when `top_k` is not from 1 to C.

    Examples
    --------
    Among the five best:

    >>> import functools
    >>> from portanet.objectives import categorical_accuracy
    >>> top_5_accuracy = functools.partial(categorical_accuracy, top_k=5)
    """
    p, t = _over_classes("categorical_accuracy", prediction, target)
    classes = p.shape[1]
    if not isinstance(top_k, int) or not 1 <= top_k <= classes:
        raise DeclarationError(f"categorical_accuracy: top_k must be from 1 to the {classes} classes, got {top_k!r}")
    right = t if t.ndim < p.ndim else ops.argmax(t, axis=1)
    if top_k == 1:
        return ops.cast(ops.equal(_as_int32(ops.argmax(p, axis=1)), _as_int32(right)), p.dtype)
    own = ops.take_along_axis(p, ops.expand_dims(right, 1), axis=1)
    below = ops.sum(ops.cast(p < own, p.dtype), axis=1)
    return ops.cast(below >= float(classes - top_k), p.dtype)


def aggregate(loss: Any, weights: Any = None, mode: str = "mean") -> Tensor:
    """One number from the losses of all samples.

    Parameters
    ----------
    loss : Tensor, shape (N, ...)
        bool and whole numbers, which metrics may give, are cast to float.
    weights : Tensor, shape (N,) or that of `loss`, optional
        What each sample, or each entry, counts. All count 1 if not given.
    mode : {"mean", "sum", "normalized_sum"}
        "mean" divides the weighted sum by the number of entries, "normalized_sum" by the sum of their
        weights: batches are then of similar magnitude whatever their weights, but a sample counts more among
        lightly weighted ones.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    DeclarationError
        For another mode, or for weights that do not fit.
    """
    if mode not in MODES:
        raise DeclarationError(f"unknown mode {mode!r}{did_you_mean(mode, MODES)}; allowed: {', '.join(MODES)}")
    loss = ops.as_tensor(loss)
    if loss.dtype not in FLOATS:
        loss = ops.cast(loss, current().floatX)
    if weights is None:
        return ops.sum(loss) if mode == "sum" else ops.mean(loss)
    weights = _fitting_weights(ops.as_tensor(weights), loss)
    if mode == "sum":
        return ops.sum(loss * weights)
    mean = ops.mean(loss * weights)
    return mean / ops.mean(weights) if mode == "normalized_sum" else mean


def objective(layers: Mapping[str, Any], prediction: Any, target: Any, *, weights: Any = None,
              loss_function: Callable[..., Any] = squared_error, deterministic: bool = False, l1: float = 0.0,
              l2: float = 0.0) -> Tensor:  # fmt: skip
    """mean(weight · loss) + l1 Σ abs(W) + l2 Σ W²: what training makes small.

    Parameters
    ----------
    layers : dict of str to Layer
        The net's, whose regularizable parameters the penalties see: weights, not biases.
    prediction, target : Tensor
        What the loss compares.
    weights : Tensor, shape (N,), optional
        Of the samples.
    loss_function : callable
        ``loss(prediction, target)``.
    deterministic : bool
        True when evaluating, which leaves the penalties out.
    l1, l2 : float
        Strength of the penalties.

    Returns
    -------
    Tensor, shape ()
    """
    losses = loss_function(prediction, target)
    if not isinstance(losses, Expression):
        name = getattr(loss_function, "__name__", repr(loss_function))
        raise DeclarationError(
            f"loss function '{name}' returned {losses!r}; it must return the loss of each sample, "
            "an expression over portanet.ops"
        )
    total = aggregate(losses, weights)
    if not deterministic:
        for strength, penalty in ((l1, regularization.l1), (l2, regularization.l2)):
            if strength:
                total = total + strength * regularization.regularize_layer_params(layers.values(), penalty)
    return total


def _alike(loss: str, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Prediction and target as tensors of one dtype and shape; a lone number fits every shape."""
    p, t = ops.as_tensor(prediction), ops.as_tensor(target)
    if t.ndim and t.shape != p.shape:
        raise DeclarationError(f"{_against(loss, p, t)}: {_advice(p, t)}")
    return p, t if t.dtype == p.dtype else ops.cast(t, p.dtype)


def _against(loss: str, p: Tensor, t: Tensor) -> str:
    return f"{loss}: prediction {show(p.shape)} against target {show(t.shape)}"


def _advice(p: Tensor, t: Tensor) -> str:
    if t.ndim == p.ndim - 1 and p.shape[-1] == 1:
        return "make the target one column, y.reshape(-1, 1)"
    if t.ndim == p.ndim - 1 and t.dtype not in FLOATS:
        return "class numbers go with categorical_crossentropy; this loss needs a target for each output"
    if t.ndim == p.ndim:
        return f"end the net with as many outputs as the target has, num_units={t.shape[-1]}"
    return "both must have the same shape"


def _over_classes(loss: str, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Prediction with classes on axis 1; target as class numbers, or as floats of the prediction's shape."""
    p, t = ops.as_tensor(prediction), ops.as_tensor(target)
    if p.ndim < 2 or p.shape[1] == 1:
        raise DeclarationError(
            f"{_against(loss, p, t)}: it needs one output a class, num_units=2 or more; a single sigmoid "
            "unit goes with binary_crossentropy or binary_accuracy"
        )
    numbers = p.shape[:1] + p.shape[2:]
    if t.shape == p.shape:
        return p, t if t.dtype == p.dtype else ops.cast(t, p.dtype)
    if t.shape != numbers:
        raise DeclarationError(
            f"{_against(loss, p, t)}: the target must be class numbers {show(numbers)}, "
            f"y.astype('int32').ravel(), or a probability for each class {show(p.shape)}"
        )
    if t.dtype not in ("int32", "int64"):
        raise DeclarationError(
            f"{_against(loss, p, t)}: class numbers must be int32, got {t.dtype}; use y.astype('int32')"
        )
    return p, t


def _indicators(p: Tensor, t: Tensor) -> Tensor:
    """One-hot rows for class numbers; what already has the prediction's shape stays."""
    if t.ndim == p.ndim:
        return t
    rows = ops.one_hot(t, p.shape[1], p.dtype)
    return rows if p.ndim == 2 else ops.transpose(rows, [0, p.ndim - 1, *range(1, p.ndim - 1)])


def _as_int32(x: Tensor) -> Tensor:
    return x if x.dtype == "int32" else ops.cast(x, "int32")


def _fitting_weights(weights: Tensor, loss: Tensor) -> Tensor:
    if weights.ndim and weights.shape not in (loss.shape, loss.shape[:1]):
        raise DeclarationError(
            f"weights {show(weights.shape)} do not fit the loss {show(loss.shape)}: there must be a weight "
            "for each sample or each entry of the loss"
        )
    return ops.expand_dims(weights, range(1, loss.ndim)) if 0 < weights.ndim < loss.ndim else weights
