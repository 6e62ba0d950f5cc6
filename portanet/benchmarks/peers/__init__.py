"""Other libraries, and loops written by hand, as contestants: one a module, with a class `Peer`.

Each starts from the weights it is given and trains in its own idiom, on batches that it draws itself. What they are
asked to do is told by `translation`, as a list of plain layers; what has no place there they can't do, and say so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...exceptions import DeviceUnavailable
from ...runtime.devices import parse_device
from ..contestants import AfterEpoch, Trainer, Weights
from .translation import Conv, Dense, Translation, channels_first, channels_last, translate


class PlainPeer(Trainer):
    """What peers share: the declaration in plain words, and rows and weights in the library's layout.

    Attributes
    ----------
    last : bool
        Whether images are (height, width, channels) to the library.
    work : Translation
    X : ndarray of float32
        Training rows, in the library's layout.
    y : ndarray of int64
        Numbers of their classes.
    """

    last = False
    work: Translation

    def build(self, net: Any, X: np.ndarray, y: np.ndarray, weights: Mapping[str, np.ndarray], seed: int) -> None:
        self.work, self.seed = translate(net, X, y), seed
        self._start = self.work.start(weights)
        self.X, self.y = self.arranged(X), np.searchsorted(self.work.classes, y).astype(np.int64)
        self.make()
        self._begun = self.weights()
        self._check_device()

    def _check_device(self) -> None:
        """Refuse to run elsewhere than asked: some libraries take the CPU without a word where they find no GPU."""
        lies, wished = self.lies_on(), self.contestant.device
        on_gpu = any(word in lies.lower() for word in ("gpu", "cuda"))
        if on_gpu != (parse_device(wished).kind == "gpu"):
            raise DeviceUnavailable(f"device '{wished}' was asked for, but the parameters lie on {lies}")
        self.record.update(device=wished, lies_on=lies, isolated=False)

    def lies_on(self) -> str:
        """The library's own name of the device that the parameters lie on."""
        raise NotImplementedError

    def make(self) -> None:
        """The library's model and optimiser, at the initial weights."""
        raise NotImplementedError

    def scores(self, X: np.ndarray) -> np.ndarray:
        """What softmax turns into probabilities, for rows in the library's layout; noise is off."""
        raise NotImplementedError

    def train(self, batches: Sequence[np.ndarray]) -> np.ndarray:
        """Go on training on these batches of row numbers; the loss of each. What `fit` does unless overridden."""
        raise NotImplementedError

    def fit(self, epochs: int, after_epoch: AfterEpoch) -> None:
        order, size = np.random.default_rng(self.seed), self.work.batch_size
        for _ in range(epochs):
            started = time.perf_counter()
            rows = order.permutation(len(self.X)) if self.work.shuffle else np.arange(len(self.X))
            batches = [rows[at : at + size] for at in range(0, len(rows), size)]
            losses = self.train(batches)
            loss = float(np.average(losses, weights=[len(batch) for batch in batches]))
            after_epoch(time.perf_counter() - started, loss)

    def restart(self) -> None:
        self.make()

    def initial_weights(self) -> Weights:
        return dict(self._begun)

    def probabilities(self, X: np.ndarray) -> np.ndarray:
        scores = np.asarray(self.scores(self.arranged(X)), np.float64)
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def arranged(self, X: np.ndarray) -> np.ndarray:
        """Rows as the library takes them."""
        X = np.asarray(X, np.float32)
        return np.ascontiguousarray(X.transpose(0, 2, 3, 1)) if self.last and X.ndim == 4 else X

    def given(self) -> list[tuple[Dense | Conv, list[np.ndarray]]]:
        """Each layer that has parameters, and its initial weights and biases in the library's layout."""
        found = []
        for step in self.with_parameters():
            W = self._start[f"{step.name}.W"]
            arrays = [np.ascontiguousarray(channels_last(step, W)) if self.last else W]
            found.append((step, [*arrays, self._start[f"{step.name}.b"]] if step.bias else arrays))
        return found

    def named(self, arrays: list[list[np.ndarray]]) -> Weights:
        """The way back from `given`: copies of weights and biases of each layer, by portanet's names."""
        found = {}
        for step, own in zip(self.with_parameters(), arrays, strict=True):
            W = channels_first(step, np.asarray(own[0])) if self.last else np.asarray(own[0])
            found[f"{step.name}.W"] = np.array(W)
            found.update({f"{step.name}.b": np.array(b) for b in own[1:]})
        return found

    def with_parameters(self) -> list[Dense | Conv]:
        """The layers that have some."""
        return [step for step in self.work.steps if isinstance(step, Dense | Conv)]
