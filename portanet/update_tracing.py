"""From an update rule, an ordinary function over `portanet.ops`, to the graphs an engine runs."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from . import constraints, precision
from .engine.expansions import expand
from .engine.graph import Graph, TensorType
from .engine.operators import lookup
from .engine.plan import Update
from .engine.shapes import show
from .engine.tracing import Tensor, Tracer, tracing
from .exceptions import DeclarationError, did_you_mean

__all__ = ["State", "hyperparameters", "rule_name", "trace_gradient", "trace_update"]

Rule = Callable[..., Any]
Shape = tuple[int, ...]

KNOWN_RULES = f"{__package__}.updates"


class State:
    """What a rule remembers of one parameter: slots of the parameter's shape, and the count of updates.

    Parameters
    ----------
    read_slot : callable
        Slot name to the tensor of its old value.
    read_step : callable
        Gives the scalar tensor that counts this update.

    Attributes
    ----------
    starts : dict of str to float
        Every slot, and the value it has before the first update.
    values : dict of str to Tensor
        New values of the slots that were written.
    """

    def __init__(self, read_slot: Callable[[str], Tensor], read_step: Callable[[], Tensor]):
        self._read_slot, self._read_step = read_slot, read_step
        self.starts: dict[str, float] = {}
        self.values: dict[str, Any] = {}

    @property
    def step(self) -> Tensor:
        """Number of this update, from 1, as a scalar of the net's float type."""
        return self._read_step()

    def get(self, name: str, start: float = 0.0) -> Any:
        """The slot's value: what was just written, or the old one, `start` before the first update."""
        if name in self.values:
            return self.values[name]
        if self.starts.setdefault(self._checked(name), float(start)) != start:
            raise ValueError(f"slot '{name}' starts from {self.starts[name]} and from {start}; read it with one start")
        return self._read_slot(name)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.starts.setdefault(self._checked(name), 0.0)
        self.values[name] = value

    @staticmethod
    def _checked(name: str) -> str:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a slot's name must be a word such as 'velocity', got {name!r}")
        return name


def hyperparameters(rule: Rule) -> dict[str, Any]:
    """Hyper-parameters of an update rule: its arguments after the first three, and their default values.

    Parameters
    ----------
    rule : callable
        ``rule(param, grad, state, ...)``.

    Returns
    -------
    dict of str to value
        `inspect.Parameter.empty` where there is no default.

    Raises
    ------
    DeclarationError
        When `rule` is no such function.

    Examples
    --------
    >>> from portanet.updates import adam, hyperparameters
    >>> hyperparameters(adam)
    {'learning_rate': 0.001, 'beta1': 0.9, 'beta2': 0.999, 'epsilon': 1e-08}
    """
    form = "rule(param, grad, state, learning_rate, ...)"
    if not callable(rule):
        hint = f"; write update=portanet.updates.{rule}" if isinstance(rule, str) else ""
        raise DeclarationError(f"an update rule must be a function {form}, got {rule!r}{hint}")
    parameters = list(inspect.signature(rule).parameters.values())
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(plain) < 3 or any(p.kind is p.KEYWORD_ONLY for p in plain[:3]):
        raise DeclarationError(f"update rule '{_short_name(rule)}' must be a function {form}")
    return {p.name: p.default for p in plain[3:]}


def rule_name(rule: Rule) -> str:
    """The name by which engines know a rule of `portanet.updates`; others are known by module and name."""
    inner = rule.func if isinstance(rule, functools.partial) else rule
    module, name = getattr(inner, "__module__", "?"), getattr(inner, "__qualname__", type(inner).__qualname__)
    return name if module == KNOWN_RULES else f"{module}.{name}"


def _short_name(rule: Rule) -> str:
    return rule_name(rule).rpartition(".")[2]


def trace_update(rule: Rule, hyper: Mapping[str, float], shapes: Mapping[str, Sequence[int]],
                 floatX: str = "float32", constraint: float | None = None) -> Update:  # fmt: skip
    """The graphs of an update rule.

    The rule is called once for each shape there is. If it does the same to all of them, place by place, one
    graph over vectors of any length stands for all parameters; otherwise each parameter has its own.

    Parameters
    ----------
    rule : callable
        ``rule(param, grad, state, **hyper)``, the new value of `param`.
    hyper : dict of str to float
        First values of hyper-parameters; the rule's defaults stand for those left out.
    shapes : dict of str to tuple of int
        Of the trainable parameters.
    floatX : str
    constraint : float, optional
        Largest norm of the weights into one unit, see `norm_constraint`; biases and other vectors are left
        alone.

    Returns
    -------
    Update

    Raises
    ------
    DeclarationError
        When hyper-parameters are unknown, missing or not finite numbers, or the rule does not give what it
        should.

    Examples
    --------
    >>> from portanet.updates import momentum, trace_update
    >>> update = trace_update(momentum, {"learning_rate": 0.1}, {"hidden.W": (3, 2), "hidden.b": (2,)})
    >>> update.hyper, update.slots, update.elementwise
    ({'learning_rate': 0.1, 'momentum': 0.9}, {'velocity': 0.0}, True)
    """
    hyper = _first_values(rule, hyper)
    _need_positive("norm_constraint", constraint)
    traced: dict[Shape, tuple[Graph, State]] = {}
    for name, sizes in shapes.items():
        shape = tuple(sizes)
        if shape not in traced:
            where = f"update rule '{_short_name(rule)}' on parameter '{name}' {show(shape)}"
            traced[shape] = _trace(rule, where, TensorType(floatX, shape), hyper, constraint)
    slots = _all_slots(rule, [state for _, state in traced.values()])
    for shape, (graph, _) in traced.items():
        _keep_others(graph, slots, TensorType(floatX, shape))
    joined = _over_vectors([graph for graph, _ in traced.values()])
    own = {name: traced[tuple(sizes)][0] for name, sizes in shapes.items()}
    graphs = own if joined is None else {"*": joined}
    name = rule_name(rule) if constraint is None else f"{rule_name(rule)} with norm_constraint"
    return Update(name, hyper, slots, graphs)


def trace_gradient(grad_clipping: float | None = None, total_norm_constraint: float | None = None,
                   floatX: str = "float32") -> Graph | None:  # fmt: skip
    """The graph that all gradients, as one vector, pass through before the update rule sees them.

    Parameters
    ----------
    grad_clipping : float, optional
        Each is kept within plus and minus this; comes first.
    total_norm_constraint : float, optional
        All are scaled down so that their norm is at most this.
    floatX : str
        With "float16", gradients are those of a scaled loss, and are scaled back first.

    Returns
    -------
    Graph or None
        From "grad" ``("P",)`` to "grad"; None where nothing is to be done.

    Raises
    ------
    DeclarationError
        When a limit is not a positive number.
    """
    _need_positive("grad_clipping", grad_clipping)
    _need_positive("total_norm_constraint", total_norm_constraint)
    if grad_clipping is None and total_norm_constraint is None and floatX != "float16":
        return None
    master = precision.master_type(floatX)
    tracer = Tracer("gradient", master)
    with tracing(tracer):
        grad = tracer.input("grad", master, ("P",))
        if floatX == "float16":
            grad = precision.unscaled(grad)
        if grad_clipping is not None:
            grad = constraints.grad_clipping(grad, grad_clipping)
        if total_norm_constraint is not None:
            grad = constraints.total_norm_constraint(grad, total_norm_constraint)
        tracer.output("grad", grad)
    return tracer.graph


def _need_positive(name: str, limit: Any) -> None:
    if limit is not None and (not _is_number(limit) or limit <= 0):
        raise DeclarationError(f"{name} must be a positive number or None, got {limit!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _first_values(rule: Rule, given: Mapping[str, float]) -> dict[str, float]:
    """Every hyper-parameter as a float, or all that is wrong with them."""
    name, allowed = _short_name(rule), hyperparameters(rule)
    names = ", ".join(allowed)
    faults = [f"update rule '{name}' has no '{key}'{did_you_mean(key, allowed)}; allowed: {names}"
              for key in given if key not in allowed]  # fmt: skip
    if "learning_rate" not in allowed:
        faults.append(f"update rule '{name}' must have an argument learning_rate after param, grad and state")
    values = {**allowed, **given}
    for key in allowed:
        if values[key] is inspect.Parameter.empty:
            faults.append(f"update rule '{name}' needs a value for {key}: write update_{key}=...")
        elif not _is_number(values[key]):
            faults.append(f"update rule '{name}': {key} must be a finite number, got {values[key]!r}")
    if faults:
        raise DeclarationError(faults)
    return {key: float(values[key]) for key in allowed}


def _trace(rule: Rule, where: str, kind: TensorType, hyper: Mapping[str, float],
           constraint: float | None) -> tuple[Graph, State]:  # fmt: skip
    """One parameter's graph, and the slots it uses."""
    tracer = Tracer("update", kind.dtype)
    param, grad = (tracer.input(name, kind.dtype, kind.shape) for name in ("param", "grad"))
    scalars = {name: tracer.input(f"hyper:{name}", kind.dtype, ()) for name in hyper}
    state = State(lambda name: tracer.input(f"slot:{name}", kind.dtype, kind.shape),
                  lambda: tracer.input("step", kind.dtype, ()))  # fmt: skip
    with tracing(tracer):
        try:
            new = _need(kind, rule(param, grad, state, **scalars), "returned")
            if constraint is not None and param.ndim > 1:
                new = constraints.norm_constraint(new, constraint)
            tracer.output("param", new)
            for slot, value in state.values.items():
                tracer.output(f"slot:{slot}", _need(kind, value, f"wrote to slot '{slot}'"))
        except (TypeError, ValueError) as error:
            raise DeclarationError(f"{where}: {error}") from error
    for slot in state.starts:
        if slot not in state.values:
            raise DeclarationError(
                f"{where}: it reads slot '{slot}' but never writes it{did_you_mean(slot, state.values)}, "
                f"so it would stay {state.starts[slot]}; write state['{slot}'] = ..."
            )
    return tracer.graph, state


def _need(kind: TensorType, value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"it {what} {value!r}; it must be an expression over portanet.ops of type {kind!r}")
    if value.type != kind:
        raise ValueError(f"it {what} a {value.type!r}; it must be a {kind!r}, like the parameter")
    return value


def _all_slots(rule: Rule, states: Sequence[State]) -> dict[str, float]:
    slots: dict[str, float] = {}
    for state in states:
        for slot, start in state.starts.items():
            if slots.setdefault(slot, start) != start:
                raise DeclarationError(
                    f"update rule '{_short_name(rule)}': slot '{slot}' starts from {slots[slot]} for one "
                    f"parameter and from {start} for another; it must be the same for all"
                )
    return slots


def _keep_others(graph: Graph, slots: Mapping[str, float], kind: TensorType) -> None:
    """Slots that the rule uses for other parameters only stay as they are for this one."""
    for role in (f"slot:{slot}" for slot in slots):
        if role not in graph.outputs:
            graph.inputs[role] = graph.types[role] = kind
            graph.outputs[role] = role


def _over_vectors(graphs: Sequence[Graph]) -> Graph | None:
    """One graph for parameters of any shape, if those given are all the same and work place by place."""
    if not graphs or not _place_by_place(graphs[0]):
        return None
    if any(_content(graph) != _content(graphs[0]) for graph in graphs[1:]):
        return None
    joined = Graph.from_json(graphs[0].to_json(), graphs[0].constants)
    for name, kind in joined.inputs.items():
        if not _is_scalar_input(name):
            joined.inputs[name] = TensorType(kind.dtype, ("P",))
    joined.validate()
    return joined


def _is_scalar_input(name: str) -> bool:
    return name == "step" or name.startswith("hyper:")


def _place_by_place(graph: Graph) -> bool:
    """Whether what depends on parameter, gradient or slots depends on their value at the same place only."""
    if any(array.ndim for array in graph.constants.values()):
        return False
    varying = {name for name in graph.inputs if not _is_scalar_input(name)}
    for node in expand(graph).nodes:
        if varying.intersection(node.inputs):
            if not lookup(node.op).elementwise:
                return False
            varying.update(node.outputs)
    return True


def _content(graph: Graph) -> tuple[Any, ...]:
    """What two graphs of the same work have in common, whatever the shapes."""
    data = graph.to_json()
    constants = {name: (str(array.dtype), array.tobytes()) for name, array in graph.constants.items()}
    return data["nodes"], data["outputs"], constants
