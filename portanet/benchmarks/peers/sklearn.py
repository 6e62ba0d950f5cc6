"""scikit-learn's `MLPClassifier`: dense nets without dropout, by SGD or Adam at a fixed rate."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contestants import AfterEpoch, Weights
from . import PlainPeer
from .translation import Activation, Dense, Dropout, Flatten, Step, Translation, Untranslatable

NAMES = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}


class Peer(PlainPeer):
    """An `MLPClassifier`, trained by `partial_fit`, one epoch a call, which is how it tells when an epoch ends."""

    def load(self) -> None:
        import sklearn
        from sklearn.neural_network import MLPClassifier

        self._class = MLPClassifier
        self.record.update(engine="numpy", version=f"scikit-learn {sklearn.__version__}", threads=self.threads)

    def make(self) -> None:
        self._flat = self.X.reshape(len(self.X), -1)
        self._net = self._started(shuffle=self.work.shuffle)

    def _started(self, shuffle: bool) -> Any:
        """A classifier at the initial weights. Only training makes its arrays: it sees one batch, and is set back."""
        hidden, activation = hidden_layers(self.work)
        net = self._class(
            hidden, activation=activation, alpha=0.0, batch_size=self.work.batch_size, shuffle=shuffle,
            random_state=np.random.RandomState(self.seed), **_solver(self.work),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a batch larger than these rows
            net.partial_fit(self._flat[:1], self.y[:1], classes=np.arange(len(self.work.classes)))
        arrays = [own for _, own in self.given()]
        net.coefs_ = [own[0].copy() for own in arrays]
        net.intercepts_ = [own[1].copy() for own in arrays]
        del net._optimizer
        return net

    def lies_on(self) -> str:
        return "cpu"

    def weights(self) -> Weights:
        return self.named([list(pair) for pair in zip(self._net.coefs_, self._net.intercepts_, strict=True)])

    def scores(self, X: np.ndarray) -> np.ndarray:
        return self._net.predict_log_proba(X.reshape(len(X), -1))

    def fit(self, epochs: int, after_epoch: AfterEpoch) -> None:
        for _ in range(epochs):
            started = time.perf_counter()
            self._net.partial_fit(self._flat, self.y)
            after_epoch(time.perf_counter() - started, float(self._net.loss_))

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        losses = []
        for rows in batches:
            self._net.partial_fit(self._flat[rows], self.y[rows])
            losses.append(self._net.loss_)
        return np.array(losses, np.float64)


def hidden_layers(work: Translation) -> tuple[list[int], str]:
    """Sizes of the hidden layers, and the activation that all of them have.

    Raises
    ------
    Untranslatable
        When the net is something else than dense layers with biases and one activation between them.
    """
    steps = [step for step in work.steps if not isinstance(step, Flatten) and step != Dropout(step.name, 0.0)]
    dense, between = steps[::2], steps[1::2]
    functions = {step.function for step in between if isinstance(step, Activation)}
    for step, kind in [*((step, Dense) for step in dense), *((step, Activation) for step in between)]:
        if not isinstance(step, kind) or (isinstance(step, Dense) and not step.bias):
            raise _no(step, "MLPClassifier has dense layers with biases, and an activation between two of them")
    if len(functions) > 1 or len(dense) == 1:
        raise _no(steps[0], "MLPClassifier has hidden layers of one activation")
    sizes = [step.units for step in dense[:-1] if isinstance(step, Dense)]
    return sizes, NAMES[functions.pop()]


def _solver(work: Translation) -> dict[str, Any]:
    rule = work.rule
    rate = rule.number("learning_rate")
    if rule.name == "adam":
        return {"solver": "adam", "learning_rate_init": rate, "beta_1": rule.number("beta1"),
                "beta_2": rule.number("beta2"), "epsilon": rule.number("epsilon")}  # fmt: skip
    if rule.name == "rmsprop":
        raise Untranslatable("update rule 'rmsprop': MLPClassifier has sgd, momentum and adam")
    momentum = 0.0 if rule.name == "sgd" else rule.number("momentum")
    nesterov = rule.name == "nesterov_momentum"
    return {"solver": "sgd", "learning_rate_init": rate, "momentum": momentum, "nesterovs_momentum": nesterov}


def _no(step: Step, why: str) -> Untranslatable:
    return Untranslatable(f"layer '{step.name}' can't be translated: {why}")
