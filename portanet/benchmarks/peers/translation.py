"""A net's declaration as a list of plain layers, for libraries that know nothing of portanet.

Translated is what every library has: a stack of dense layers, convolutions, poolings, activations and dropout, trained
on classes by softmax and cross-entropy. Whatever else a net has is named, and not guessed at.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ... import layers, nonlinearities, objectives, ops, updates
from ...data.batches import BatchIterator
from ...exceptions import DeclarationError
from ...inputs import check_both
from ...runtime import config
from ...schedules import InverseTimeDecay, Schedule, value_of
from ...targets import Classes, TwoClassesOneUnit
from ..contestants import OtherWork, Weights

ACTIVATIONS = {
    nonlinearities.rectify: "relu", nonlinearities.tanh: "tanh", nonlinearities.sigmoid: "sigmoid",
}  # fmt: skip
RULES = {
    "sgd": (), "momentum": ("velocity",), "nesterov_momentum": ("velocity",), "rmsprop": ("square",),
    "adam": ("mean", "square"),
}  # fmt: skip
PLAIN = {
    "grad_clipping": None, "total_norm_constraint": None, "norm_constraint": None, "class_weight": None,
    "train_split": None, "regression": False,
}  # fmt: skip


class Untranslatable(DeclarationError):  # noqa: N818
    """A part of a declaration that other libraries do not have, or not in this form; names it."""


@dataclass(frozen=True)
class Step:
    """One plain layer, named as in the declaration."""

    name: str


@dataclass(frozen=True)
class Dense(Step):
    """x W + b. `image` is (channels, height, width) where the inputs are a flattened image, else None."""

    inputs: int
    units: int
    bias: bool
    image: tuple[int, int, int] | None


@dataclass(frozen=True)
class Pad(Step):
    """Zeros around an image."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Conv(Step):
    """Cross-correlation of an image without padding; `size` and `stride` are (height, width)."""

    channels: int
    filters: int
    size: tuple[int, int]
    stride: tuple[int, int]
    bias: bool


@dataclass(frozen=True)
class Pool(Step):
    """The largest value or the mean of each whole window; `mode` is "max" or "average"."""

    size: tuple[int, int]
    stride: tuple[int, int]
    mode: str


@dataclass(frozen=True)
class Activation(Step):
    """`function` is "relu", "tanh" or "sigmoid"."""

    function: str


@dataclass(frozen=True)
class Dropout(Step):
    """Sets to zero with that probability, and divides the rest by what is left."""

    p: float


@dataclass(frozen=True)
class Flatten(Step):
    """(channels, height, width) to one axis."""

    image: tuple[int, int, int]


@dataclass(frozen=True)
class Rule:
    """An update rule of `portanet.updates`, with its hyper-parameters."""

    name: str
    hyper: Mapping[str, Any]

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate changes."""
        return not isinstance(self.hyper["learning_rate"], int | float)

    @property
    def memory(self) -> tuple[str, ...]:
        """What it keeps of each parameter, in loops by hand."""
        return RULES[self.name]

    def number(self, name: str) -> float:
        """A hyper-parameter that stays what it is."""
        value = self.hyper[name]
        if isinstance(value, Schedule) or callable(value):
            raise Untranslatable(f"update_{name}={value!r} changes while training, which this library has no place for")
        return float(value)

    def inverse_time(self) -> tuple[float, float]:
        """Start and decay of a learning rate start / (1 + decay · step); the decay of a fixed one is 0."""
        rate = self.hyper["learning_rate"]
        if isinstance(rate, InverseTimeDecay):
            return rate.start, rate.rate
        return self.number("learning_rate"), 0.0


@dataclass(frozen=True)
class Translation:
    """What is to be trained, in plain words.

    Attributes
    ----------
    steps : tuple of Step
        From the rows to the scores that softmax turns into probabilities.
    parameters : dict of str to tuple of int
        Names and shapes, in the order of the steps.
    classes : ndarray
        Labels, sorted.
    rule : Rule
    batch_size : int
    shuffle : bool
    batches : int
        In an epoch.
    """

    steps: tuple[Step, ...]
    parameters: dict[str, tuple[int, ...]]
    classes: np.ndarray
    rule: Rule
    batch_size: int
    shuffle: bool
    batches: int

    def rate(self, step: int) -> float:
        """The learning rate of the update that comes after so many others."""
        return value_of(self.rule.hyper["learning_rate"], step, step // self.batches)

    def start(self, weights: Mapping[str, np.ndarray]) -> Weights:
        """The parameters' initial values, as float32.

        Raises
        ------
        OtherWork
            When one is missing or of another shape.
        """
        for name, shape in self.parameters.items():
            found = np.shape(weights[name]) if name in weights else "missing"
            if found != shape:
                raise OtherWork(f"parameter '{name}' has shape {shape}, among the weights to start from it is {found}")
        return {name: np.ascontiguousarray(weights[name], np.float32) for name in self.parameters}


def translate(net: Any, X: np.ndarray, y: np.ndarray) -> Translation:
    """A net, not fitted, and its data, in plain words.

    Raises
    ------
    Untranslatable
        Names the layer or the parameter that has no place there.
    """
    _check_training(net)
    net = copy.copy(net)
    rows, target = check_both(net, X, y, reset=True)
    net._declare(rows, target)
    if not isinstance(net.target_, Classes) or isinstance(net.target_, TwoClassesOneUnit):
        raise Untranslatable(f"targets are {type(net.target_).__name__}; other libraries are given classes to tell "
                             "apart by softmax")  # fmt: skip
    steps = tuple(_steps(net.layers_))
    rule = Rule(updates.rule_name(net.update), net._hyper())
    if rule.name not in RULES:
        raise Untranslatable(f"update rule '{rule.name}' has no counterpart; translated are {', '.join(RULES)}")
    parameters = {p.full_name: p.shape for layer in net.layers_.values() for p in layer.params}
    iterator = net._iterator(True)
    count = len(iterator.rows(len(target)))
    size = len(target) if iterator.batch_size == -1 else int(iterator.batch_size)
    return Translation(steps, parameters, net.classes_, rule, size, iterator.shuffle, count)


def _check_training(net: Any) -> None:
    """Refuse what would change the work in ways that layers do not show."""
    for name, plain in PLAIN.items():
        if getattr(net, name) != plain:
            raise Untranslatable(f"{name}={getattr(net, name)!r} has no counterpart in other libraries; use {plain}")
    floatX = config.get("floatX", net.floatX)
    if floatX != "float32":
        raise Untranslatable(f"floatX={floatX!r}: other libraries are compared in float32")
    if net.objective is not objectives.objective or net._under("objective"):
        raise Untranslatable("the objective has penalties or is one's own, which has no counterpart in other libraries")
    if net.objective_loss_function not in (None, objectives.categorical_crossentropy):
        raise Untranslatable("objective_loss_function is not categorical_crossentropy, the one that is translated")
    iterator = net._iterator(True)
    if iterator.transforms or type(iterator).rows is not BatchIterator.rows:
        raise Untranslatable(f"batch_iterator_train={iterator!r} changes batches, which other libraries are not told")


def _steps(named: Mapping[str, Any]) -> Iterator[Step]:
    """The layers as plain ones, softmax left out."""
    stack = list(named.values())
    for before, layer in pairwise(stack):
        if layer.input_layers != (before,):
            raise _no(layer, "does not follow the layer before it alone")
    if type(stack[0]) is not layers.InputLayer or stack[0].dtype != "float":
        raise _no(stack[0], "is not one input of numbers")
    image: tuple[int, int, int] | None = None
    for layer in stack[1:]:
        last = layer is stack[-1]
        if isinstance(layer, layers.FlattenLayer | layers.DenseLayer) and len(layer.input_shape) == 4:
            image = layer.input_shape[1:]
        yield from _translated(layer, image, last)
        if type(layer) is layers.DenseLayer:
            image = None
    if getattr(stack[-1], "nonlinearity", None) is not nonlinearities.softmax:
        raise _no(stack[-1], "does not end in softmax")


def _translated(layer: Any, image: tuple[int, int, int] | None, last: bool) -> Iterator[Step]:
    kind = type(layer)
    if kind is layers.DenseLayer:
        yield from _dense(layer, image)
    elif kind is layers.Conv2DLayer:
        yield from _conv(layer)
    elif kind in (layers.MaxPool2DLayer, layers.Pool2DLayer):
        yield _pool(layer)
    elif kind is layers.DropoutLayer:
        if layer.shared_axes or not layer.rescale:
            raise _no(layer, "shares its masks or does not rescale")
        yield Dropout(layer.name, layer.p)
    elif kind is layers.FlattenLayer:
        if layer.outdim != 2 or len(layer.input_shape) not in (2, 4):
            raise _no(layer, "does not make one axis of an image")
        if len(layer.input_shape) == 4:
            yield Flatten(layer.name, layer.input_shape[1:])
    elif kind is not layers.NonlinearityLayer:
        raise _no(layer, "is of a class that is not translated")
    if hasattr(layer, "nonlinearity"):
        yield from _activation(layer, last)


def _dense(layer: Any, image: tuple[int, int, int] | None) -> Iterator[Step]:
    if layer.num_leading_axes != 1 or len(layer.input_shape) not in (2, 4):
        raise _no(layer, "keeps axes besides the batch's, or joins other axes than those of an image")
    if len(layer.input_shape) == 4:
        yield Flatten(f"{layer.name}_flatten", layer.input_shape[1:])
    yield Dense(layer.name, math.prod(layer.input_shape[1:]), layer.num_units, layer.b is not None, image)


def _conv(layer: Any) -> Iterator[Step]:
    if layer.untie_biases or layer.num_groups != 1 or set(layer.dilation) != {1}:
        raise _no(layer, "has untied biases, groups or a dilation")
    spatial = layer.input_shape[2:]
    top, left, bottom, right = ops.window_pads(layer.pad, spatial, layer.filter_size, layer.stride, layer.dilation)
    if any((top, left, bottom, right)):
        yield Pad(f"{layer.name}_pad", top, left, bottom, right)
    yield Conv(layer.name, layer.input_shape[1], layer.num_filters, layer.filter_size, layer.stride,
               layer.b is not None)  # fmt: skip


def _pool(layer: Any) -> Step:
    pads = ops.window_pads(layer.pad, layer.input_shape[2:], layer.pool_size, layer.stride, (1, 1))
    if any(pads) or not layer.ignore_border:
        raise _no(layer, "pads, or pools windows that reach past the image")
    return Pool(layer.name, layer.pool_size, layer.stride, "max" if layer.mode == "max" else "average")


def _activation(layer: Any, last: bool) -> Iterator[Step]:
    function = layer.nonlinearity
    if function is nonlinearities.identity or (last and function is nonlinearities.softmax):
        return
    if function not in ACTIVATIONS:
        name = getattr(function, "__name__", repr(function))
        raise _no(layer, f"has the nonlinearity {name}; translated are {', '.join(ACTIVATIONS.values())}")
    yield Activation(f"{layer.name}_{ACTIVATIONS[function]}", ACTIVATIONS[function])


def _no(layer: Any, why: str) -> Untranslatable:
    return Untranslatable(f"layer '{layer.name}' ({type(layer).__name__}) can't be translated for other libraries: "
                          f"it {why}")  # fmt: skip


def pooled_first(steps: Sequence[Step]) -> list[Step]:
    """The same function with each ReLU that stands before a max-pooling behind it, where there is less to do.

    Examples
    --------
    >>> relu, pool = Activation("relu", "relu"), Pool("pool", (2, 2), (2, 2), "max")
    >>> pooled_first([relu, pool]) == [pool, relu]
    True
    """
    found = list(steps)
    for place in range(len(found) - 1):
        first, second = found[place], found[place + 1]
        rises = isinstance(first, Activation) and first.function == "relu"
        if rises and isinstance(second, Pool) and second.mode == "max":
            found[place : place + 2] = [second, first]
    return found


def channels_last(step: Step, W: np.ndarray) -> np.ndarray:
    """Weights of a layer for a library whose images are (height, width, channels).

    Filters become (height, width, channels, filters), and the rows of a dense layer after a flattened image come in
    the order in which that is flattened there.
    """
    if isinstance(step, Conv):
        return W.transpose(2, 3, 1, 0)
    if isinstance(step, Dense) and step.image:
        return W.reshape(*step.image, -1).transpose(1, 2, 0, 3).reshape(W.shape)
    return W


def channels_first(step: Step, W: np.ndarray) -> np.ndarray:
    """The way back from `channels_last`."""
    if isinstance(step, Conv):
        return W.transpose(3, 2, 0, 1)
    if isinstance(step, Dense) and step.image:
        channels, high, wide = step.image
        return W.reshape(high, wide, channels, -1).transpose(2, 0, 1, 3).reshape(W.shape)
    return W
