"""What all engines are asked: the same net, from the same state, on the same batches."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..compile import compile_plan
from ..engine.expansions import retrace
from ..engine.graph import Graph
from ..engine.lowering import RANDOM
from ..engine.plan import TRAIN, Plan
from ..engine.tracing import call
from ..estimator import NeuralNet
from ..inputs import check_both
from ..layers.base import Layer
from ..runtime import config
from ..runtime.place import place
from ..schedules import values_for
from .samples import completed

DATA = "parity"


@dataclass
class Work:
    """What all engines are asked.

    Attributes
    ----------
    net : NeuralNet
        A copy, with layers made.
    floatX : str
        Of the engines.
    device : str or None
        Where they compute.
    told : str
        What the data are.
    plans : dict of str to Plan
        By float type.
    state : dict
        Where all start; see `Program.get_state`.
    arrays : dict of str to ndarray
        The rows that the batches use.
    batches : list of ndarray
    hyper : dict of str to list of float
        For each step.
    gradients : dict of str to ndarray
        The reference's, which the update of every engine is given.
    """

    net: Any
    floatX: str  # noqa: N815
    device: str | None
    told: str
    plans: dict[str, Plan]
    state: dict[str, Any]
    arrays: dict[str, np.ndarray]
    batches: list[np.ndarray]
    hyper: dict[str, list[float]]
    gradients: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def layers(self) -> dict[str, Layer]:
        """The net's layers by name, each after those that feed it."""
        return self.net.layers_

    @property
    def title(self) -> str:
        """What is compared, for a reader."""
        count = sum(math.prod(shape) for shape in self.plans[self.floatX].trainable.values())
        return f"net: {len(self.layers)} layers, {count} trainable parameters"

    def feeds(self) -> dict[str, np.ndarray]:
        """The first batch, for what takes no targets."""
        return {name: self.arrays[name][self.batches[0]] for name in self.plans[self.floatX].inputs}

    @contextlib.contextmanager
    def opened(self, plan: Plan, backend: str, floatX: str, device: str | None = "cpu") -> Iterator[Any]:
        """A program with the data bound and NumPy's noise; closed afterwards."""
        options = self.net.options if config.get("backend", self.net.backend) == backend else None
        options = {**(options or {}), "reproducible": True}
        program = place(plan, backend, device, options, self.net.threads, floatX)
        kinds = {**plan.inputs, **plan.targets}
        try:
            program.bind(DATA, {key: np.asarray(self.arrays[key], kind.dtype) for key, kind in kinds.items()})
            yield program
        finally:
            program.close()


def prepare(given: NeuralNet, X: Any, y: Any, floatX: str, steps: int, device: str | None) -> Work:
    """The net compiled for engines and reference, and as much of the data as `steps` batches take.

    Parameters
    ----------
    given : NeuralNet
        Fitted or not; stays as it is.
    X, y : array-like or None
    floatX : str
    steps : int
    device : str or None

    Returns
    -------
    Work
    """
    net = _copied(given, floatX)
    X, y, told = completed(net, X, y)
    fresh = not hasattr(net, "layers_")
    X, y = check_both(net, X, y, reset=fresh)
    if fresh:
        net._declare(X, y)
    weight, batches = net._weights(X, y, None), _batches(net, len(y), steps)
    rows = np.unique(np.concatenate(batches))
    used = None if weight is None else weight[rows]
    arrays = net._arrays({name: np.asarray(array[rows]) for name, array in X.items()}, y[rows], used)
    plans = {kind: _plan(net, kind, weight is not None) for kind in (floatX, "float64")}
    if floatX != "float64":
        plans["float64"].graphs[TRAIN] = drawing_float32(plans["float64"].graphs[TRAIN])
    state, epoch = _start(net, plans[floatX]), len(net.train_history_)
    hyper = {name: values_for(spec, state["step"], steps, epoch) for name, spec in net._hyper().items()}
    batches = [np.searchsorted(rows, own) for own in batches]
    return Work(net, floatX, device or net.device, told, plans, state, arrays, batches, hyper)


def _copied(given: NeuralNet, floatX: str) -> Any:
    net: Any = copy.copy(given)
    net.floatX = floatX
    net.random_state = copy.deepcopy(net.random_state)  # a generator's state is the user's
    return net


def _plan(net: Any, floatX: str, weighted: bool) -> Plan:
    own = copy.copy(net)
    own.floatX = floatX
    rng = np.random.default_rng([own.noise_seed_, 0])  # what fit draws initial weights from
    return compile_plan(own.layers_, own._task(weighted), own._trace_update(), floatX, rng)


def _start(net: Any, plan: Plan) -> dict[str, Any]:
    """The state of a fitted net, slots of another rule than its present one left out; else the initial state."""
    if net._state is None:
        return plan.initial_state()
    known = set(net._state["slots"]) == set(plan.update.slots)
    return plan.complete_state(net._state if known else {**net._state, "slots": {}})


def _batches(net: Any, count: int, steps: int) -> list[np.ndarray]:
    rng, batches = np.random.default_rng([net.noise_seed_, 1]), list[np.ndarray]()
    while len(batches) < steps:
        batches += net._iterator(True).rows(count, rng)
    return batches[:steps]


def drawing_float32(graph: Graph) -> Graph:
    """The same function with its noise drawn in float32, as by engines that compute in it.

    A generator gives other numbers for another type; only the masks of dropout are the same for all.
    """

    def write(tracer, node, operands):
        if node.op not in RANDOM or node.op == "Dropout":
            return tracer.emit(node.op, operands, node.attrs)
        drawn = tracer.emit(node.op, [call("Cast", operands[0], to="float32")], node.attrs)
        return call("Cast", drawn, to=operands[0].dtype) if drawn.dtype == "float32" else drawn

    return retrace(graph, write) if any(node.op in RANDOM for node in graph.nodes) else graph


def owner(name: str) -> str:
    """The layer's name in that of a parameter or slot.

    >>> owner("hidden.W velocity")
    'hidden'
    """
    return name.partition(".")[0]


def moved(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What an update rule writes: parameters, and slots as ``"hidden.W velocity"``."""
    slots = {f"{name} {slot}": array for slot, arrays in state["slots"].items() for name, array in arrays.items()}
    return {**state["parameters"], **slots}
