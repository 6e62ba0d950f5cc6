"""One call that compares a net on all engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..estimator import NeuralNet
from ..exceptions import BackendUnavailable, DataError, DeclarationError, DeviceUnavailable
from ..runtime import config, registry
from ..runtime.place import limited_threads
from .blame import first_operator, sentence
from .looks import SEED, Seen, curve, observe
from .measure import UNITS, compare_seen, settled
from .report import CHECKS, EngineReport, ParityReport, Row
from .work import Work, prepare

SHAKES = 5


def compare(net: NeuralNet, X: Any, y: Any = None, backends: str | Sequence[str] | None = None,
            reference: str = "numpy", steps: int = 20, floatX: str | None = None,
            device: str | None = None) -> ParityReport:  # fmt: skip
    """Run a net on every engine and see where the first difference arises, layer by layer.

    Compared are, with noise off, the outputs of all layers and the prediction; for one training batch the loss, the
    new running statistics, the gradient of each parameter, and parameters and slots after an update by the
    reference's gradients; at last the losses of `steps` training steps. The net itself is not changed.

    Parameters
    ----------
    net : NeuralNet
        Fitted: compared as it is. Not fitted: with the initial weights that `fit` would give it for these data.
    X : array-like, dict of them, or None
        None makes random data; see `random_data`.
    y : array-like, optional
        Without targets, random ones of the right kind are made.
    backends : str or list of str, optional
        Engines by name, ``"torch,jax"`` or a list; by default every other one, and those missing are reported.
    reference : str
        The engine to compare with; it computes on the CPU, in float64.
    steps : int
        Length of the loss curve.
    floatX : str, optional
        The float type of the engines; by default the net's.
    device : str, optional
        Where the engines compute; by default as the net says.

    Returns
    -------
    ParityReport

    Raises
    ------
    BackendNotFound, BackendUnavailable, DeviceUnavailable
        When an engine asked for by name can't be had here.
    DeclarationError
        When the declaration is wrong, or an engine asked for by name can't compute the net.
    DataError
        When data are missing that can't be made.

    Examples
    --------
    >>> from portanet import NeuralNetRegressor, layers
    >>> net = NeuralNetRegressor([layers.DenseLayer((None, 3), num_units=1, nonlinearity=None)], random_state=0)
    >>> report = compare(net, None, backends=["numpy"], steps=2)
    >>> [engine.status for engine in report.engines]
    ['agrees']
    """
    _check(net, X, y, steps)
    floatX = str(config.get("floatX", net.floatX if floatX is None else floatX))
    names = _names(backends, reference)
    work = prepare(net, X, y, floatX, steps, device)
    version = registry.load(reference).version
    report = ParityReport(work.title, work.told, f"{reference} {version} in float64", floatX, steps)
    with limited_threads(config.get("threads", net.threads)):
        wanted = _alone(work, reference, "float64")
        yardstick = _alone(work, "numpy", "float32") if floatX == "float32" else None
        for name in names:
            one = EngineReport(name)
            report.engines.append(one)
            report.rows += _one(one, work, wanted, yardstick, reference, required=backends is not None)
    return report


def _check(net: Any, X: Any, y: Any, steps: Any) -> None:
    if not isinstance(net, NeuralNet):
        raise TypeError(f"net must be a NeuralNet, fitted or not, got {type(net).__name__}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise DataError(f"steps must be a positive whole number, got {steps!r}")
    if X is None and y is not None:
        raise DataError("y is given without X; give both, or neither to compare on random data")


def _names(backends: str | Sequence[str] | None, reference: str) -> list[str]:
    """The engines to compare; those asked for must be there."""
    if backends is None:
        return [name for name in sorted({*registry.ROWS, *registry.names()}) if name != reference]
    given = backends.replace(",", " ").split() if isinstance(backends, str) else backends
    names = list(dict.fromkeys(given))
    if not names:
        raise DataError("backends names no engine; name at least one, or leave it out for all")
    for name in names:
        registry.load(name)
    return names


def _alone(work: Work, backend: str, floatX: str) -> Seen:
    seen: Seen = {}
    with work.opened(work.plans[floatX], backend, floatX) as program:
        observe(program, work, seen)
    return seen


def _one(one: EngineReport, work: Work, wanted: Seen, yardstick: Seen | None, reference: str,
         required: bool) -> list[Row]:  # fmt: skip
    """Compare one engine; whatever it does wrong, errors included, goes into its report."""
    seen: Seen = {}
    try:
        one.version = registry.load(one.name).version
        with work.opened(work.plans[work.floatX], one.name, work.floatX, work.device) as program:
            one.device = program.record["device"]
            observe(program, work, seen)
        rows = compare_seen(one.name, seen, wanted, yardstick, work)
    except (BackendUnavailable, DeviceUnavailable, DeclarationError) as error:
        if required:
            raise
        one.status = "unable" if isinstance(error, DeclarationError) else "missing"
        one.message = str(error)
        return []
    except Exception as error:
        stage = next((check for check in CHECKS if check not in seen), "comparison") if one.device else "compilation"
        one.status, one.message = "failed", f"during {stage}: {type(error).__name__}: {error}"
        return []
    off = [row for row in rows if not row.agrees]
    if len(off) == 1 and off[0].check == "curve":
        rows[-1] = settled(off[0], seen, wanted, _shaken(work, reference), work.floatX)
    one.first = next((row for row in rows if not row.agrees), None)
    if one.first is not None:
        one.status, untold = "differs", ""
        try:
            one.operator = first_operator(one.first, work, reference)
        except Exception as error:  # the engine differs, whatever it makes of a plan with more results
            untold = f"; its operators could not be looked at: {type(error).__name__}: {error}"
        one.message = sentence(one.first, one.operator, rows, work) + untold
    return rows


def _shaken(work: Work, reference: str) -> list[np.ndarray]:
    """Loss curves of the reference from weights that are off by one unit of the engines' float type."""
    rng, unit, parameters = np.random.default_rng(SEED), UNITS[work.floatX], work.state["parameters"]
    curves = []
    with work.opened(work.plans["float64"], reference, "float64") as program:
        for _ in range(SHAKES):
            moved = {name: array * (1 + unit * rng.uniform(-1, 1, array.shape)) for name, array in parameters.items()}
            program.set_state({**work.state, "parameters": moved})
            curves.append(curve(program, work))
    return curves
