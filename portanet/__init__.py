"""Declare and train a neural network once, on any engine.

Importing portanet imports no engine, no scikit-learn and no NumPy; each public name arrives when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = (
    "callbacks", "data", "history", "init", "layers", "nonlinearities", "objectives", "ops", "regularization",
    "schedules", "updates",
)  # fmt: skip
_NAMES = {
    "NeuralNet": ".estimator",
    "NeuralNetClassifier": ".estimator",
    "NeuralNetRegressor": ".estimator",
    "config_context": ".runtime.config",
}

if TYPE_CHECKING:
    from . import (
        callbacks,
        data,
        history,
        init,
        layers,
        nonlinearities,
        objectives,
        ops,
        regularization,
        schedules,
        updates,
    )  # fmt: skip
    from .estimator import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
    from .runtime.config import config_context

__all__ = [
    "NeuralNet", "NeuralNetClassifier", "NeuralNetRegressor", "callbacks", "config_context", "data", "history",
    "init", "layers", "nonlinearities", "objectives", "ops", "regularization", "schedules", "updates",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(import_module(_NAMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
