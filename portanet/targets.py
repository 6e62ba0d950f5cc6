"""What `y` means to a net: its encoding for training, and the way back from predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import nonlinearities, objectives
from .engine.graph import TensorType
from .engine.memory_maps import is_large_map


class Target:
    """One kind of target.

    Attributes
    ----------
    classes : ndarray
        Labels, where there are any.
    num_outputs : int
        Units the output layer needs.
    nonlinearity, loss_function : callable
        What the output and the loss are if the user says nothing.
    metrics : dict of str to callable
    """

    stratified = False
    classes: np.ndarray
    num_outputs: int
    nonlinearity: Any
    loss_function: Any
    metrics: dict[str, Any] = {}

    def encode(self, y: Any, floatX: str) -> np.ndarray:
        """`y` as the array a program is fed."""
        raise NotImplementedError

    def kind(self, floatX: str) -> TensorType:
        """Type of a batch of encoded targets."""
        raise NotImplementedError

    def decode(self, prediction: np.ndarray) -> np.ndarray:
        """What `predict` returns for the output layer's values."""
        raise NotImplementedError

    def probabilities(self, prediction: np.ndarray) -> np.ndarray:
        """What `predict_proba` returns for them."""
        return prediction


class Continuous(Target):
    """Numbers, one or several for each sample. Predictions come in the float type of `y`."""

    nonlinearity = staticmethod(nonlinearities.linear)
    loss_function = staticmethod(objectives.squared_error)

    def __init__(self, y: np.ndarray):
        self.flat = y.ndim == 1
        self.dtype = y.dtype if y.dtype.kind == "f" else None
        self.shape = (1,) if self.flat else y.shape[1:]
        self.num_outputs = int(np.prod(self.shape))

    def encode(self, y, floatX):
        y = y if is_large_map(y) else np.asarray(y, dtype=floatX)
        y = y[:, None] if y.ndim == 1 else y
        if y.shape[1:] != self.shape:
            raise ValueError(f"y has shape {y.shape}, but the net was fitted on {('n', *self.shape)}")
        return y

    def kind(self, floatX):
        return TensorType(floatX, ("N", *self.shape))

    def decode(self, prediction):
        prediction = prediction.reshape(len(prediction)) if self.flat else prediction
        return prediction if self.dtype is None else prediction.astype(self.dtype, copy=False)


class Classes(Target):
    """One of several labels, of any type that can be sorted."""

    stratified = True
    nonlinearity = staticmethod(nonlinearities.softmax)
    loss_function = staticmethod(objectives.categorical_crossentropy)
    metrics = {"accuracy": objectives.categorical_accuracy}

    def __init__(self, y: np.ndarray, classes: Any = None):
        self.classes = np.unique(y if classes is None else classes)
        if len(self.classes) < 2:
            raise ValueError(f"a classifier needs at least 2 classes in y, got 1 class: {self.classes[0]!r}")
        self.num_outputs = len(self.classes)

    def encode(self, y, floatX):
        y = _column(y)
        unseen = np.setdiff1d(y, self.classes)
        if len(unseen):
            shown = ", ".join(repr(label) for label in self.classes[:10].tolist())
            raise ValueError(f"y contains labels the net was not fitted on: {unseen[:10].tolist()}; known: {shown}")
        return np.searchsorted(self.classes, y).astype(np.int32)

    def kind(self, floatX):
        return TensorType("int32", ("N",))

    def decode(self, prediction):
        return self.classes[self.probabilities(prediction).argmax(axis=1)]


class TwoClassesOneUnit(Classes):
    """Two labels from one sigmoid unit: the probability of the second."""

    nonlinearity = staticmethod(nonlinearities.sigmoid)
    loss_function = staticmethod(objectives.binary_crossentropy)
    metrics = {"accuracy": objectives.binary_accuracy}

    def encode(self, y, floatX):
        return super().encode(y, floatX).astype(floatX)[:, None]

    def kind(self, floatX):
        return TensorType(floatX, ("N", 1))

    def probabilities(self, prediction):
        return np.concatenate([1 - prediction, prediction], axis=1)


class ManyLabels(Target):
    """Any number of labels for each sample: an indicator matrix, one sigmoid unit a label."""

    nonlinearity = staticmethod(nonlinearities.sigmoid)
    loss_function = staticmethod(objectives.binary_crossentropy)
    metrics = {"accuracy": objectives.binary_accuracy}

    def __init__(self, y: Any):
        self.num_outputs = y.shape[1]
        self.classes = np.arange(self.num_outputs)

    def encode(self, y, floatX):
        y = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
        if y.ndim != 2 or y.shape[1] != self.num_outputs:
            raise ValueError(f"y has shape {y.shape}, but the net was fitted on ('n', {self.num_outputs}) indicators")
        return y.astype(floatX)

    def kind(self, floatX):
        return TensorType(floatX, ("N", self.num_outputs))

    def decode(self, prediction):
        return (prediction > 0.5).astype(int)


def classification_target(y: Any, classes: Any = None) -> Target:
    """The kind of classification `y` asks for."""
    if _are_plain_labels(y):
        return Classes(y, classes)
    from sklearn.utils.multiclass import check_classification_targets, type_of_target

    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        return ManyLabels(y)
    if kind == "multiclass-multioutput":
        raise ValueError(
            "y has several columns of classes (multiclass-multioutput); fit one net a column with "
            "sklearn.multioutput.MultiOutputClassifier, or pass a 0/1 indicator matrix for multi-label targets"
        )
    return Classes(_column(y, warn=True), classes)


def _are_plain_labels(y: Any) -> bool:
    """Whether `y` plainly holds labels, so that scikit-learn need not be asked: few integers, again and again."""
    plain = isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "biu"
    return plain and 2 * len(np.unique(y)) <= len(y)


def _column(y: Any, *, warn: bool = False) -> np.ndarray:
    if isinstance(y, np.ndarray) and y.ndim == 1:
        return y
    from sklearn.utils.validation import column_or_1d

    return column_or_1d(y, warn=warn)
