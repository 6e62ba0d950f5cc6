"""portanet's own nets as contestants: the ordinary `fit`, on one engine and device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .breakdown import Breakdown
from .contestants import AfterEpoch, OtherWork, Trainer, Weights

DATA = "benchmark"


class OwnNet(Trainer):
    """A `NeuralNet` as a user has it, on the contestant's engine."""

    net: Any

    def load(self) -> None:
        """Import portanet and the engine; where the engine lives in a worker, start that and import it there."""
        from .. import estimator  # noqa: F401
        from ..runtime import config, registry

        backend = registry.load(self.contestant.engine, config.get("isolate"), self.threads)
        self.record["version"] = backend.version

    def build(self, net: Any, X: np.ndarray, y: np.ndarray, weights: Mapping[str, np.ndarray], seed: int) -> None:
        self.net, self._X, self._y = net, X, y
        net.random_state, net.warm_start = seed, True  # set_params would import scikit-learn
        net.backend, net.device, net.threads = self.contestant.engine, self.contestant.device, self.threads
        net.initialize(X, y)
        program = net._running_program()
        self.compile = program.record["compile_seconds"]
        self._start = _state(program.plan, weights)
        self.restart()
        self._begun = _parameters(program)

    def restart(self) -> None:
        self.net._running_program().set_state(self._start)

    def initial_weights(self) -> Weights:
        return dict(self._begun)

    def weights(self) -> Weights:
        return _parameters(self.net._running_program())

    def probabilities(self, X: np.ndarray) -> np.ndarray:
        return self.net._forward(X) if self.net.regression else self.net.predict_proba(X)

    def fit(self, epochs: int, after_epoch: AfterEpoch) -> None:
        net, breakdown = self.net, Breakdown(self.net, self.compile)

        def on_epoch_finished(net: Any, history: Any) -> None:
            with breakdown.stopped():
                after_epoch(history[-1]["dur"], history[-1]["train_loss"])

        net.on_epoch_finished = [*_listed(net.on_epoch_finished), on_epoch_finished]
        with breakdown:
            net.fit(self._X, self._y, epochs=epochs)
        self.share = breakdown.share()
        self.record = {key: value for key, value in net.record_.items() if _plain(value)}
        self.record.setdefault("isolated", False)
        self.record["compilations"] = net._running_program().compilations

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        from ..schedules import values_for

        program = self._bound()
        if first:
            program.set_state({**program.get_state(), "step": first})
        step = int(program.get_state()["step"])
        epoch = step // len(self.net._iterator(True).rows(len(self._y)))
        hyper = {name: values_for(spec, step, len(batches), epoch) for name, spec in self.net._hyper().items()}
        return np.asarray(program.train(DATA, list(batches), hyper, self.net.noise_seed_))

    def gradients(self, batch: np.ndarray) -> Weights:
        return self._bound().gradients(DATA, batch, self.net.noise_seed_)

    def _bound(self) -> Any:
        """The program, with the training rows bound."""
        from ..inputs import check_both

        program = self.net._running_program()
        X, y = check_both(self.net, self._X, self._y, reset=False)
        program.bind(DATA, self.net._arrays(X, y, self.net._weights(X, y, None)))
        return program


def _state(plan: Any, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The state that training starts from.

    Raises
    ------
    OtherWork
        When the weights are not those of the plan.
    """
    try:
        return plan.complete_state({
            "parameters": {name: weights[name] for name in plan.trainable},
            "running": {name: weights.get(name, plan.arrays[name]) for name in plan.running},
        })  # fmt: skip
    except (KeyError, ValueError) as error:
        raise OtherWork(f"the net's parameters are not those it shall start from: {error}") from error


def _parameters(program: Any) -> Weights:
    state = program.get_state()
    return {**state["parameters"], **state["running"]}


def _listed(given: Any) -> list:
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]


def _plain(value: Any) -> bool:
    """Whether JSON can hold it."""
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    return value is None or isinstance(value, str | int | float | bool | list)
