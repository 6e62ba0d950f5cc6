"""Layers, a loss and an update rule become a `Plan`: graphs as data, and initial arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import init, objectives
from .engine.graph import Graph, GraphError, TensorType
from .engine.plan import EVALUATE, OUTPUTS, PREDICT, TRAIN, Plan, Update
from .engine.tracing import Tensor, Tracer, tracing
from .exceptions import DeclarationError
from .layers.base import InputLayer, Layer, Parameter
from .precision import master_type, mixed, scaled
from .rewrites import rewrite


@dataclass
class Task:
    """What is to be learnt.

    Attributes
    ----------
    target : TensorType
        Of one batch of targets.
    loss_function : callable
        ``loss(prediction, target)``, the loss of each sample.
    objective : callable
        ``objective(layers, prediction, target, weights, loss_function, deterministic, **options)``, one number.
    options : dict
        Further arguments of the objective: ``l1``, ``l2``, and those of an objective of one's own.
    metrics : dict of str to callable
        ``metric(prediction, target)``, a number for each sample; averaged when evaluating.
    weighted : bool
        Whether samples carry weights.
    """

    target: TensorType
    loss_function: Callable
    objective: Callable = objectives.objective
    options: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Callable] = field(default_factory=dict)
    weighted: bool = False


def compile_plan(layers: Mapping[str, Layer], task: Task | None, update: Update | None, floatX: str,
                 rng: np.random.Generator) -> Plan:  # fmt: skip
    """Trace, check and rewrite everything an engine needs to train and use a net.

    Parameters
    ----------
    layers : dict of str to Layer
        Named, in an order in which each comes after those that feed it; the last is the output.
    task : Task or None
        None makes a plan that only predicts.
    update : Update or None
        From `portanet.updates.trace_update`.
    floatX : str
        "float32" or "float64"; "bfloat16" or "float16" for mixed precision, see `portanet.precision`.
    rng : numpy.random.Generator
        Draws the initial values.

    Returns
    -------
    Plan

    Raises
    ------
    DeclarationError
        When shapes or dtypes do not fit, naming the layer.
    """
    parameters = collect_parameters(layers)
    floatX, wished = master_type(floatX), floatX
    graphs = {PREDICT: rewrite(trace_prediction(layers, floatX)), OUTPUTS: trace_outputs(layers, floatX)}
    targets = {}
    if task is not None:
        targets["target"] = task.target
        if task.weighted:
            targets["weight"] = TensorType(floatX, ("N",))
        graphs[TRAIN] = rewrite(trace_task(layers, task, floatX, deterministic=False))
        graphs[EVALUATE] = rewrite(trace_task(layers, task, floatX, deterministic=True))
    if wished != floatX:
        graphs = {role: mixed(graph, wished) for role, graph in graphs.items()}
    if wished == "float16" and task is not None:
        graphs[TRAIN] = scaled(graphs[TRAIN])
    inputs = {name: TensorType(layer.dtype_for(floatX), ("N", *layer.shape[1:]))
              for name, layer in layers.items() if isinstance(layer, InputLayer)}  # fmt: skip
    arrays = {name: sample(p, rng).astype(floatX) for name, p in parameters.items()}
    shapes = {kind: {name: p.shape for name, p in parameters.items() if p.trainable == kind} for kind in (True, False)}
    metrics = list(task.metrics) if task else []
    return Plan(floatX, inputs, targets, shapes[True], shapes[False], graphs, metrics, update, arrays)


def sample(parameter: Parameter, rng: np.random.Generator) -> np.ndarray:
    """Initial values of a parameter; faults name it and its layer."""
    with blaming(parameter.layer):
        try:
            return init.sample(parameter.spec, parameter.shape, rng)
        except (TypeError, ValueError) as error:
            raise ValueError(f"parameter {parameter.name}: {error}") from error


def collect_parameters(layers: Mapping[str, Layer]) -> dict[str, Parameter]:
    """Every parameter by its full name."""
    return {p.full_name: p for layer in layers.values() for p in layer.params}


def trainable_shapes(layers: Mapping[str, Layer]) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters that an update rule moves."""
    return {name: p.shape for name, p in collect_parameters(layers).items() if p.trainable}


def trace_layers(tracer: Tracer, layers: Mapping[str, Layer], deterministic: bool) -> dict[str, Tensor]:
    """Output of every layer."""
    outputs: dict[str, Tensor] = {}
    for name, layer in layers.items():
        if isinstance(layer, InputLayer):
            outputs[name] = tracer.input(name, layer.dtype_for(tracer.floatX), ("N", *layer.shape[1:]))
            continue
        incoming = [outputs[str(source.name)] for source in layer.input_layers]
        with blaming(layer), tracer.scope(name):
            outputs[name] = tracer.tensor(layer.apply(incoming, deterministic=deterministic))
    return outputs


class blaming:  # noqa: N801
    """Faults found inside are reported as this layer's, by name and class."""

    def __init__(self, layer: Layer):
        self.layer = layer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        where = f"layer '{self.layer.name}' ({type(self.layer).__name__})"
        if isinstance(error, GraphError):
            operation = f"{error.op}: " if error.op else ""
            raise DeclarationError([f"{where}: {operation}{error.fault}"]) from error
        if isinstance(error, ValueError | TypeError) and not isinstance(error, DeclarationError):
            raise DeclarationError([f"{where}: {error}"]) from error


def trace_prediction(layers: Mapping[str, Layer], floatX: str) -> Graph:
    tracer = Tracer(PREDICT, floatX)
    with tracing(tracer):
        *_, (name, prediction) = trace_layers(tracer, layers, deterministic=True).items()
    if not prediction.shape or prediction.shape[0] != "N":
        layer = layers[name]
        raise DeclarationError([
            f"layer '{name}' ({type(layer).__name__}): its output {layer.output_shape} lost the batch axis; "
            "the first axis of every layer's output must stay the batch"
        ])  # fmt: skip
    tracer.output("prediction", prediction)
    return tracer.graph


def trace_outputs(layers: Mapping[str, Layer], floatX: str) -> Graph:
    tracer = Tracer(OUTPUTS, floatX)
    with tracing(tracer):
        for name, tensor in trace_layers(tracer, layers, deterministic=True).items():
            tracer.output(f"layer:{name}", tensor)
    return tracer.graph


def trace_task(layers: Mapping[str, Layer], task: Task, floatX: str, deterministic: bool) -> Graph:
    """Loss and metrics when evaluating; loss and new running statistics when training."""
    tracer = Tracer(EVALUATE if deterministic else TRAIN, floatX)
    with tracing(tracer):
        *_, prediction = trace_layers(tracer, layers, deterministic).values()
        target = tracer.input("target", task.target.dtype, task.target.shape)
        weights = tracer.input("weight", floatX, ("N",)) if task.weighted else None
        loss = tracer.tensor(task.objective(
            layers, prediction, target, weights=weights, loss_function=task.loss_function,
            deterministic=deterministic, **task.options))  # fmt: skip
        if loss.shape != ():
            raise DeclarationError([f"the objective must give one number, got shape {loss.shape}"])
        tracer.output("loss", loss)
        if deterministic:
            for name, metric in task.metrics.items():
                tracer.output(name, objectives.aggregate(metric(prediction, target), weights, "normalized_sum"))
        else:
            for name, tensor in tracer.assigned.items():
                tracer.output(f"assign:{name}", tensor)
    return tracer.graph


__all__ = ["Task", "collect_parameters", "compile_plan", "trainable_shapes"]
