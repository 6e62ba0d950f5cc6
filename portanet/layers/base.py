"""What every layer is: incoming layers, parameters, and an output traced over `portanet.ops`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..engine.graph import TensorType
from ..engine.shapes import show
from ..engine.tracing import Expression, Tensor, Tracer, tracing

Shape = tuple[int | str, ...]


class Parameter(Expression):
    """A layer's weights, biases or running statistics, before they have values.

    It may stand wherever a tensor may in `get_output_for`.

    Attributes
    ----------
    layer : Layer
    name : str
        Short name, "W"; `full_name` puts the layer's before it.
    spec : Initializer, callable, number or array
        What the initial values come from.
    shape : tuple of int
    tags : frozenset of str
        "trainable" (the update rule moves it), "regularizable" (l1 and l2 see it), and any of one's own.
    """

    def __init__(self, layer: Layer, name: str, spec: Any, shape: Sequence[int], tags: frozenset[str]):
        self.layer, self.name, self.spec, self.shape, self.tags = layer, name, spec, tuple(shape), tags

    @property
    def full_name(self) -> str:
        return f"{self.layer.name}.{self.name}"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def trainable(self) -> bool:
        return "trainable" in self.tags

    def trace(self, tracer: Tracer) -> Tensor:
        return tracer.input(self.full_name, tracer.floatX, self.shape)

    def __repr__(self) -> str:
        return f"<Parameter {self.full_name} {show(self.shape)}>"


class Layer:
    """A layer with one incoming layer.

    A layer of one's own overrides `get_output_for` with arithmetic over `portanet.ops`; the shape of its output
    and its gradient follow from that.

    Parameters
    ----------
    incoming : Layer or tuple
        The layer that feeds this one, or just the shape of what will.
    name : str, optional
        Parameters are saved, and errors reported, under this name; made from the class's if not given.

    Examples
    --------
    >>> from portanet import layers, ops
    >>> class DoubleLayer(layers.Layer):
    ...     def get_output_for(self, input, **kwargs):
    ...         return 2 * input
    >>> DoubleLayer((None, 3)).output_shape
    (None, 3)
    """

    def __init__(self, incoming: Layer | Sequence[int | None], name: str | None = None):
        self.incoming = _as_layer(incoming, self)
        self.name = name
        self.params: list[Parameter] = []

    @property
    def input_layers(self) -> tuple[Layer, ...]:
        """The layers that feed this one."""
        return (self.incoming,)

    @property
    def input_shape(self) -> tuple:
        """Shape of what comes in; ``None`` is the batch."""
        return self.incoming.output_shape

    @cached_property
    def output_type(self) -> TensorType:
        tracer = Tracer("shape")
        sources = [tracer.input(f"input{i}", layer.output_type.dtype, layer.output_type.shape)
                   for i, layer in enumerate(self.input_layers)]  # fmt: skip
        with tracing(tracer), tracer.scope(self.name):
            return self.apply(sources, deterministic=True).type

    @property
    def output_shape(self) -> tuple:
        """Shape of what goes out; ``None`` is the batch."""
        return tuple(None if isinstance(dim, str) else dim for dim in self.output_type.shape)

    def add_param(self, spec: Any, shape: Sequence[int], name: str, trainable: bool = True,
                  regularizable: bool = True, **tags: bool) -> Parameter:  # fmt: skip
        """Declare a parameter; `spec` is an initialiser, a callable of the shape, a number or an array."""
        if isinstance(spec, Parameter):
            return spec
        if any(not isinstance(size, int | np.integer) or size < 1 for size in shape):
            raise ValueError(f"parameter {name} can't have shape {show(shape)}; sizes must be positive and known")
        given = dict(tags, trainable=trainable, regularizable=regularizable)
        parameter = Parameter(self, name, spec, [int(s) for s in shape], frozenset(t for t in given if given[t]))
        self.params.append(parameter)
        return parameter

    def apply(self, inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
        """Output for the tensors that the incoming layers give."""
        return self.get_output_for(inputs[0], **kwargs)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        """Output as an expression over `portanet.ops`.

        Parameters
        ----------
        input : Tensor
        deterministic : bool
            True when predicting: no noise, running statistics instead of the batch's.
        """
        raise NotImplementedError(f"{type(self).__name__} must define get_output_for(self, input, **kwargs)")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or 'unnamed'}>"


class MergeLayer(Layer):
    """A layer with several incoming layers; `get_output_for` takes a list of tensors."""

    def __init__(self, incomings: Sequence[Layer | Sequence[int | None]], name: str | None = None):
        if not isinstance(incomings, list | tuple) or len(incomings) == 0:
            raise TypeError(f"incomings must be a list of layers, got {incomings!r}")
        self.incomings = [_as_layer(incoming, self) for incoming in incomings]
        self.name = name
        self.params = []

    @property
    def input_layers(self) -> tuple[Layer, ...]:
        return tuple(self.incomings)

    @property
    def input_shapes(self) -> list[tuple]:
        """Shapes of what comes in; ``None`` is the batch."""
        return [layer.output_shape for layer in self.incomings]

    @property
    def input_shape(self) -> tuple:
        raise AttributeError(f"{type(self).__name__} has several inputs; see input_shapes")

    def apply(self, inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
        return self.get_output_for(list(inputs), **kwargs)


class InputLayer(Layer):
    """Where data enters.

    Parameters
    ----------
    shape : tuple
        ``(None, ...)``: the batch first, then one sample's shape. `NeuralNet` infers it from the data where it is
        not given.
    name : str, optional
    dtype : str
        "float" takes the net's `floatX`; "int32" is for indices.

    Examples
    --------
    >>> from portanet.layers import InputLayer
    >>> InputLayer((None, 1, 28, 28)).output_shape
    (None, 1, 28, 28)
    """

    def __init__(self, shape: Sequence[int | None], name: str | None = None, dtype: str = "float"):
        if not isinstance(shape, list | tuple) or len(shape) < 1:
            raise TypeError(f"shape must be a tuple such as (None, 784), got {shape!r}")
        if shape[0] is not None:
            raise ValueError(f"shape {tuple(shape)} fixes the batch size; write None first: {(None, *shape[1:])}")
        if any(not isinstance(size, int | np.integer) or size < 1 for size in shape[1:]):
            raise ValueError(f"shape {tuple(shape)} must hold positive whole numbers after the first None")
        if dtype not in ("float", "int32"):
            raise ValueError(f"dtype must be 'float' or 'int32', got {dtype!r}")
        self.shape = (None, *(int(size) for size in shape[1:]))
        self.name, self.dtype = name, dtype
        self.params = []

    @property
    def input_layers(self) -> tuple[Layer, ...]:
        return ()

    @property
    def input_shape(self) -> tuple:
        return self.shape

    @cached_property
    def output_type(self) -> TensorType:
        return TensorType(self.dtype_for("float32"), ("N", *self.shape[1:]))

    def dtype_for(self, floatX: str) -> str:
        """The dtype of the data under that `floatX`."""
        return floatX if self.dtype == "float" else self.dtype


def _as_layer(incoming: Any, owner: Layer) -> Layer:
    if isinstance(incoming, Layer):
        return incoming
    if isinstance(incoming, list | tuple):
        return InputLayer(incoming)
    raise TypeError(f"incoming of {type(owner).__name__} must be a layer or a shape, got {incoming!r}")


__all__ = ["InputLayer", "Layer", "MergeLayer", "Parameter"]
