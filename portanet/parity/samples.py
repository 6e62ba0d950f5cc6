"""Data to compare on where the user gives none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..declare import DEFAULT_LAYERS, DEFAULT_PARAMETERS, FromData, build_layers
from ..estimator import NeuralNet
from ..exceptions import DataError, DeclarationError
from ..layers.base import InputLayer, Layer
from ..nonlinearities import sigmoid, softmax
from ..targets import Continuous, ManyLabels

SEED = 0


def completed(net: Any, X: Any, y: Any) -> tuple[Any, Any, str]:
    """The data, what is missing made, and in words what they are."""
    if X is None:
        X, y = random_data(net)
        return X, y, f"{len(y)} random rows with random targets, made for this check (seed {SEED})"
    rows = len(next(iter(X.values()))) if isinstance(X, Mapping) else np.shape(X)[0]
    if y is None:
        return X, _targets(net, X, rows), f"{rows} rows, with random targets made for this check (seed {SEED})"
    return X, y, f"{rows} rows"


def random_data(net: NeuralNet, rows: int | None = None) -> tuple[Any, np.ndarray]:
    """Seeded normal numbers in the shape of a net's inputs (0 and 1 for whole-numbered ones), and fitting targets.

    Parameters
    ----------
    net : NeuralNet
        Fitted, or with the shape of its inputs declared.
    rows : int, optional
        By default two and a half batches.

    Returns
    -------
    X : ndarray, or dict of them where the net has several inputs
    y : ndarray
        Numbers, classes or indicators, as the net takes them.

    Raises
    ------
    DataError
        When the net does not tell the shape of its inputs.

    Examples
    --------
    >>> from portanet import NeuralNet
    >>> X, y = random_data(NeuralNet(input_shape=(None, 20), output_num_units=3), rows=6)
    >>> X.shape, sorted(set(y.tolist()))
    ((6, 20), [0, 1, 2])
    """
    layers = _layers(net, None)
    rows = _row_count(net, layers) if rows is None else rows
    rng = np.random.default_rng(SEED)
    X = {name: _input(rng, rows, layer) for name, layer in layers.items() if isinstance(layer, InputLayer)}
    return X if len(X) > 1 else X[next(iter(X))], _targets(net, None, rows)


def _row_count(net: Any, layers: Mapping[str, Layer]) -> int:
    size = net._iterator(True).batch_size
    classes = 0 if net.regression else layers[list(layers)[-1]].output_shape[-1]
    return max(5 * (size if size > 0 else 64) // 2, 2 * classes)


def _input(rng: np.random.Generator, rows: int, layer: InputLayer) -> np.ndarray:
    shape = (rows, *map(int, layer.output_shape[1:]))
    return rng.standard_normal(shape) if layer.dtype == "float" else rng.integers(0, 2, shape)


def _layers(net: Any, X: Any) -> dict[str, Layer]:
    """The layers of a net, fitted or to be; where the width of the output is left to the data, ten units."""
    if hasattr(net, "layers_"):
        return net.layers_
    given = {} if X is None else X if isinstance(X, Mapping) else {None: X}
    shapes = {name: np.shape(array)[1:] for name, array in given.items()}
    parameters = {name: value for name, value in net._extra().items() if not name.startswith(("update_", "objective_"))}
    declared = net.layers
    if declared is None:
        declared, parameters = DEFAULT_LAYERS, {**DEFAULT_PARAMETERS, **parameters}
    try:
        return build_layers(declared, parameters, FromData(shapes, 10, softmax))
    except DeclarationError as error:
        raise DataError(f"no data are given and none can be made for this net: {error}") from error


def _targets(net: Any, X: Any, rows: int) -> np.ndarray:
    """Seeded targets of the kind that the net is fitted on, or that its last layer suggests."""
    rng, target = np.random.default_rng(SEED + 1), getattr(net, "target_", None)
    output = list(_layers(net, X).values())[-1]
    if net.regression:
        shape = target.shape if isinstance(target, Continuous) else output.output_shape[1:]
        return rng.standard_normal(rows if shape == (1,) else (rows, *shape))
    units = math.prod(output.output_shape[1:])
    several = target is None and units > 1 and getattr(output, "nonlinearity", None) is sigmoid
    if several or isinstance(target, ManyLabels):
        return rng.integers(0, 2, (rows, units))
    classes = np.arange(max(units, 2)) if target is None else target.classes
    return rng.permutation(np.resize(classes, rows))


def digits_net() -> tuple[NeuralNet, np.ndarray, np.ndarray]:
    """A small convolutional net, not fitted, and scikit-learn's 8x8 digits for it.

    Returns
    -------
    net : NeuralNet
    X : ndarray of shape (1797, 1, 8, 8), float32
    y : ndarray of shape (1797,)

    Examples
    --------
    >>> net, X, y = digits_net()
    >>> X.shape, y.shape
    ((1797, 1, 8, 8), (1797,))
    """
    from sklearn.datasets import load_digits

    from .. import layers, updates

    images, y = load_digits(return_X_y=True)
    net = NeuralNet(
        layers=[
            ("input", layers.InputLayer),
            ("conv", layers.Conv2DLayer, {"num_filters": 8, "filter_size": 3, "b": None, "nonlinearity": None}),
            ("norm", layers.BatchNormLayer),
            ("relu", layers.NonlinearityLayer),
            ("pool", layers.MaxPool2DLayer, {"pool_size": 2}),
            ("dropout", layers.DropoutLayer),
            ("hidden", layers.DenseLayer, {"num_units": 32}),
            ("output", layers.DenseLayer),
        ],
        update=updates.adam, update_learning_rate=0.003, batch_size=32, random_state=0, verbose=0,
    )  # fmt: skip
    return net, (images / 16).astype(np.float32).reshape(-1, 1, 8, 8), y
