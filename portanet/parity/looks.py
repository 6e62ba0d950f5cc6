"""What is looked at, each by a few calls of a `Program`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.plan import TRAIN
from ..precision import LOSS_SCALE
from .work import DATA, Work, moved, owner

SEED = 0
Seen = dict[str, dict[str, np.ndarray]]


def observe(program: Any, work: Work, seen: Seen) -> None:
    """Put everything that is compared into `seen`, by check and name, each look from the same state."""
    for look in (_outputs, _prediction, _step, _gradients, _update, _curve):
        program.set_state(work.state)
        seen.update(look(program, work))


def first_hyper(work: Work) -> dict[str, list[float]]:
    """Hyper-parameters of the first step alone."""
    return {name: values[:1] for name, values in work.hyper.items()}


def _outputs(program: Any, work: Work) -> Seen:
    names = list(work.layers)
    return {"output": dict(zip(names, program.outputs(work.feeds(), names), strict=True))}


def _prediction(program: Any, work: Work) -> Seen:
    return {"prediction": {"": program.predict(work.feeds())}}


def _step(program: Any, work: Work) -> Seen:
    """Loss of one batch, and the running statistics after it."""
    loss = program.train(DATA, work.batches[:1], first_hyper(work), SEED)
    return {"loss": {"": np.asarray(loss[0])}, "statistic": program.get_state()["running"]}


def _gradients(program: Any, work: Work) -> Seen:
    """Gradients on one batch, the last layer's first."""
    found = program.gradients(DATA, work.batches[0], SEED)
    found = {name: np.asarray(array, np.float64) / _scale(program) for name, array in found.items()}
    if not work.gradients:
        parameters = work.state["parameters"]
        work.gradients = {name: array.astype(parameters[name].dtype) for name, array in found.items()}
    places = {name: place for place, name in enumerate(work.layers)}
    return {"gradient": {name: found[name] for name in sorted(found, key=lambda name: -places[owner(name)])}}


def _scale(program: Any) -> float:
    """By how much the loss is multiplied before it is differentiated."""
    return LOSS_SCALE if "objective" in program.plan.graphs[TRAIN].outputs else 1.0


def _update(program: Any, work: Work) -> Seen:
    """Parameters and slots after an update by the same gradients everywhere."""
    gradients = {name: array * array.dtype.type(_scale(program)) for name, array in work.gradients.items()}
    program.apply(gradients, {name: values[0] for name, values in work.hyper.items()})
    return {"update": moved(program.get_state())}


def _curve(program: Any, work: Work) -> Seen:
    return {"curve": {"": curve(program, work)}}


def curve(program: Any, work: Work) -> np.ndarray:
    """Losses of all steps, from where the program stands."""
    return program.train(DATA, work.batches, work.hyper, SEED)
