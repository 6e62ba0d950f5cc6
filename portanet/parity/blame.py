"""Where a difference comes from: the operator, or the layers that the gradient passed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..engine.graph import Graph
from ..engine.plan import OUTPUTS, PREDICT, TRAIN, Plan
from ..engine.shapes import bind
from .looks import SEED, first_hyper
from .measure import errors
from .report import Row
from .work import DATA, Work

GRAPHS = {"output": OUTPUTS, "prediction": PREDICT, "loss": TRAIN, "statistic": TRAIN}


def first_operator(first: Row, work: Work, reference: str) -> str:
    """The first operator, in the graph where a difference was seen, whose result is off.

    Parameters
    ----------
    first : Row
        The first difference of an engine.
    work : Work
    reference : str

    Returns
    -------
    str
        ``"Tanh of layer 'hidden'"``; empty where the difference is not in values, or is gone when each is looked at.
    """
    if first.check not in GRAPHS:
        return ""
    only = first.layer if first.check == "output" else None
    sides = ((first.engine, work.floatX, work.device), (reference, "float64", "cpu"))
    got, wanted = (_values(work, GRAPHS[first.check], only, *side) for side in sides)
    shared = (name for name in wanted if name in got)
    return next((name for name in shared if errors(got[name], wanted[name]).max(initial=0.0) > first.tolerance), "")


def _values(work: Work, role: str, only: str | None, backend: str, floatX: str,
            device: str | None) -> dict[str, np.ndarray]:  # fmt: skip
    """What each node of a graph gives, in their order."""
    plan = exposed(work.plans[floatX], role, len(work.batches[0]), only)
    state = {**work.state, "running": {name: plan.arrays[name] for name in plan.running} | work.state["running"]}
    with work.opened(plan, backend, floatX, device) as program:
        program.set_state(state)
        if role == TRAIN:
            program.train(DATA, work.batches[:1], first_hyper(work), SEED)
            made = program.get_state()["running"]
            return {name: made[name] for name in plan.running if name not in work.state["running"]}
        names = [role.partition(":")[2] for role in plan.graphs[OUTPUTS].outputs]
        return dict(zip(names, program.outputs(work.feeds(), names), strict=True))


def exposed(plan: Plan, role: str, rows: int, only: str | None = None) -> Plan:
    """A plan that hands out what the nodes of a graph compute, all of them or those of one layer.

    Values of the training graph leave it as if they were running statistics, for a batch of that many rows, so that any
    engine gives them, drawn noise and batch statistics included.
    """
    graph = copy.copy(plan.graphs[role])
    values = _named(graph, only)
    if role != TRAIN:
        graph.outputs = {f"layer:{name}": value for name, value in values.items()}
        graphs = {OUTPUTS: graph}
        return Plan(plan.floatX, plan.inputs, {}, plan.trainable, plan.running, graphs, [], None, plan.arrays)
    graph.outputs = {**graph.outputs, **{f"assign:{name}": value for name, value in values.items()}}
    shapes = {name: bind(graph.types[value].shape, {"N": rows}) for name, value in values.items()}
    arrays = {name: np.zeros(shape, plan.floatX) for name, shape in shapes.items()}
    return Plan(plan.floatX, plan.inputs, plan.targets, plan.trainable, {**plan.running, **shapes}, {TRAIN: graph}, [],
                plan.update, {**plan.arrays, **arrays})  # fmt: skip


def _named(graph: Graph, only: str | None) -> dict[str, str]:
    """Names for a reader to values of a graph, the same in every float type."""
    counts: Counter[tuple[str | None, str]] = Counter()
    values = {}
    for node in graph.nodes:
        counts[node.layer, node.op] += 1
        floating = graph.types[node.outputs[0]].dtype in ("float32", "float64")
        if not floating or node.op == "Cast" or only not in (None, node.layer):
            continue
        count = counts[node.layer, node.op]
        name = node.op if count == 1 else f"{node.op} number {count}"
        values[f"{name} of layer '{node.layer}'" if node.layer else f"{name} of the loss"] = node.outputs[0]
    return values


def sentence(row: Row, operator: str, rows: Sequence[Row], work: Work) -> str:
    """A first difference for a reader: what, where, and by how much.

    Parameters
    ----------
    row : Row
    operator : str
        What `first_operator` gave.
    rows : sequence of Row
        All of the engine.
    work : Work
    """
    update = work.plans[work.floatX].update
    about = {
        "update": f", by the rule {update.rule if update else ''} and the reference's gradients",
        "gradient": f"; look at the backward pass of {', '.join(_passed(row, rows, work))}",
    }
    place = f"at step {row.index[0]}" if row.check == "curve" else f"at {list(row.index)}" if row.index else "here"
    return (f"{row.what}{f' ({row.kind})' if row.kind else ''}{f', in operator {operator}' if operator else ''}"
            f"{about.get(row.check, '')}: relative error {row.error:.1e}, allowed {row.tolerance:.1e}; {place} "
            f"{row.got:.7g} instead of {row.wanted:.7g}")  # fmt: skip


def _passed(row: Row, rows: Sequence[Row], work: Work) -> list[str]:
    """Layers between the last gradient that is right and the first that is wrong, as the gradient passes them."""
    names = list(work.layers)
    if row.layer not in names:
        return []
    right = [names.index(other.layer) for other in rows if other.check == "gradient" and other.agrees]
    at = names.index(row.layer)
    end = min((place for place in right if place > at), default=len(names) - 1)
    return names[at : end + 1][::-1]
