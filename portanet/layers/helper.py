"""Looking at whole nets: their layers, parameters, shapes and outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..engine.tracing import Expression, Tensor, current
from .base import InputLayer, Layer, Parameter


def get_all_layers(layer: Layer | Sequence[Layer], treat_as_input: Iterable[Layer] = ()) -> list[Layer]:
    """All layers that lead to `layer`, each after those that feed it.

    Parameters
    ----------
    layer : Layer or list of Layer
    treat_as_input : iterable of Layer
        Layers behind which not to look.

    Returns
    -------
    list of Layer

    Examples
    --------
    >>> from portanet.layers import DenseLayer, DropoutLayer, InputLayer, get_all_layers
    >>> net = DenseLayer(DropoutLayer(InputLayer((None, 4), name="in"), name="drop"), 3, name="out")
    >>> [layer.name for layer in get_all_layers(net)]
    ['in', 'drop', 'out']
    """
    stops = {id(stop) for stop in treat_as_input}
    waiting = _as_list(layer)[::-1]
    found: dict[int, Layer] = {}
    opened: set[int] = set()
    while waiting:
        one = waiting[-1]
        if id(one) not in opened and id(one) not in stops:
            opened.add(id(one))
            waiting.extend(reversed([feeding for feeding in one.input_layers if id(feeding) not in opened]))
        else:
            found.setdefault(id(waiting.pop()), one)
    return list(found.values())


def get_output(layer: Layer | Sequence[Layer], inputs: Any = None, deterministic: bool = False,
               **kwargs: Any) -> Any:  # fmt: skip
    """Output of a net as a tensor of the graph being traced.

    Parameters
    ----------
    layer : Layer or list of Layer
    inputs : Tensor, array, dict or None
        What is fed: one tensor for every input layer, or a dict from layers (not only input layers) or their
        names to tensors. None makes an input of the graph for each input layer, under its name.
    deterministic : bool
        True when predicting: no noise, running statistics instead of the batch's.
    **kwargs
        Handed to every layer's `get_output_for`.

    Returns
    -------
    Tensor, or list of Tensor for a list of layers

    Raises
    ------
    ValueError
        When a layer in need of a name has none, or `inputs` names a layer that is not there.

    Examples
    --------
    >>> from portanet.engine.tracing import Tracer, tracing
    >>> from portanet.layers import DenseLayer, InputLayer, get_output
    >>> net = DenseLayer(InputLayer((None, 4), name="in"), num_units=3, name="out")
    >>> with tracing(Tracer("example")):
    ...     get_output(net, deterministic=True)
    <out/Relu:0 float32(N, 3)>
    """
    tracer = current()
    wanted = _as_list(layer)
    outputs = _given(wanted, inputs)
    for one in get_all_layers(wanted, [known for known in get_all_layers(wanted) if id(known) in outputs]):
        if id(one) in outputs:
            continue
        if one.name is None and (one.params or isinstance(one, InputLayer)):
            raise ValueError(f"{type(one).__name__} has no name for its values in the graph; give name=...")
        if isinstance(one, InputLayer):
            outputs[id(one)] = tracer.input(one.name, one.dtype_for(tracer.floatX), ("N", *one.shape[1:]))
            continue
        with tracer.scope(one.name):
            sources = [outputs[id(feeding)] for feeding in one.input_layers]
            outputs[id(one)] = tracer.tensor(one.apply(sources, deterministic=deterministic, **kwargs))
    results = [outputs[id(one)] for one in wanted]
    return results[0] if isinstance(layer, Layer) else results


def _given(wanted: Sequence[Layer], inputs: Any) -> dict[int, Tensor]:
    """Tensors that are fed, by the layer they stand for."""
    layers = get_all_layers(wanted)
    if inputs is None:
        return {}
    if not isinstance(inputs, Mapping):
        return {id(one): _as_tensor(inputs, one) for one in layers if isinstance(one, InputLayer)}
    by_key = {key: one for one in layers for key in (id(one), one.name)}
    fed = {}
    for key, value in inputs.items():
        one = by_key.get(id(key) if isinstance(key, Layer) else key)
        if one is None:
            names = ", ".join(str(known.name) for known in layers)
            raise ValueError(f"inputs holds {key!r}, which is no layer of this net; layers: {names}")
        fed[id(one)] = _as_tensor(value, one)
    return fed


def _as_tensor(value: Any, layer: Layer) -> Tensor:
    return (
        current().tensor(value) if isinstance(value, Expression) else current().constant(value, layer.output_type.dtype)
    )


def get_output_shape(layer: Layer | Sequence[Layer]) -> tuple | list[tuple]:
    """Shape of what a layer, or each of several, gives; ``None`` is the batch.

    Examples
    --------
    >>> from portanet.layers import FlattenLayer, get_output_shape
    >>> get_output_shape(FlattenLayer((None, 3, 4)))
    (None, 12)
    """
    shapes = [one.output_shape for one in _as_list(layer)]
    return shapes[0] if isinstance(layer, Layer) else shapes


def get_all_params(layer: Layer | Sequence[Layer], **tags: bool) -> list[Parameter]:
    """Parameters of all layers that lead to `layer`, each once.

    Parameters
    ----------
    layer : Layer or list of Layer
    **tags : bool
        ``trainable=True`` keeps those that carry the tag, ``regularizable=False`` those that don't.

    Returns
    -------
    list of Parameter

    Examples
    --------
    >>> from portanet.layers import DenseLayer, get_all_params
    >>> net = DenseLayer(DenseLayer((None, 4), 5, name="hidden"), 3, name="output")
    >>> [parameter.full_name for parameter in get_all_params(net, regularizable=True)]
    ['hidden.W', 'output.W']
    """
    unique = {id(parameter): parameter for one in get_all_layers(layer) for parameter in one.params}
    return [parameter for parameter in unique.values()
            if all((tag in parameter.tags) == bool(wanted) for tag, wanted in tags.items())]  # fmt: skip


def count_params(layer: Layer | Sequence[Layer], **tags: bool) -> int:
    """How many numbers the parameters hold; `tags` as for `get_all_params`.

    Examples
    --------
    >>> from portanet.layers import DenseLayer, count_params
    >>> count_params(DenseLayer((None, 4), num_units=3))
    15
    """
    return sum(math.prod(parameter.shape) for parameter in get_all_params(layer, **tags))


def _as_list(layer: Any) -> list[Layer]:
    layers = list(layer) if isinstance(layer, list | tuple) else [layer]
    for one in layers:
        if not isinstance(one, Layer):
            raise TypeError(f"expected a layer or a list of layers, got {one!r}")
    return layers
