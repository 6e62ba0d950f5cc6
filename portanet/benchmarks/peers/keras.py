"""Keras 3, on whichever engine the contestant names: a `Sequential`, `compile`, `fit` with a callback."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...runtime.devices import parse_device
from ..contestants import AfterEpoch, Weights
from . import PlainPeer
from .translation import Activation, Conv, Dense, Dropout, Flatten, Pad, Pool, Step


class Peer(PlainPeer):
    """A Keras model as Keras's users write it; images lie channels-last."""

    last = True

    def load(self) -> None:
        engine = self.contestant.engine
        os.environ["KERAS_BACKEND"] = engine
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        if keras.backend.backend() != engine:
            raise RuntimeError(f"Keras computes with {keras.backend.backend()}, though KERAS_BACKEND is {engine}; it "
                               "was imported before")  # fmt: skip
        if engine == "tensorflow":
            import tensorflow

            tensorflow.config.threading.set_intra_op_parallelism_threads(self.threads)
        elif engine == "torch":
            import torch

            torch.set_num_threads(self.threads)
        self._keras = keras
        self.record.update(engine=engine, version=f"Keras {keras.__version__}", threads=self.threads)

    def _there(self) -> Any:
        """On the contestant's device, as a context.

        The CPU goes without a number: for Keras on PyTorch, "cpu:0" is elsewhere than where the parameters are.
        """
        spec = parse_device(self.contestant.device)
        return self._keras.device("cpu" if spec.kind == "cpu" else f"{spec.kind}:{spec.index or 0}")

    def make(self) -> None:
        keras = self._keras
        keras.utils.set_random_seed(self.seed % 2**32)
        with self._there():
            model = keras.Sequential([keras.Input(self.X.shape[1:])])
            for step in self.work.steps:
                model.add(self._layer(step))
            for step, arrays in self.given():
                model.get_layer(step.name).set_weights(arrays)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(self._optimizer(), loss)
        self._model = model

    def _layer(self, step: Step) -> Any:
        known = self._keras.layers
        if isinstance(step, Dense):
            return known.Dense(step.units, use_bias=step.bias, name=step.name)
        if isinstance(step, Conv):
            return known.Conv2D(step.filters, step.size, step.stride, use_bias=step.bias, name=step.name)
        if isinstance(step, Pool):
            kind = known.MaxPooling2D if step.mode == "max" else known.AveragePooling2D
            return kind(step.size, step.stride, name=step.name)
        if isinstance(step, Pad):
            return known.ZeroPadding2D(((step.top, step.bottom), (step.left, step.right)), name=step.name)
        if isinstance(step, Activation):
            return known.Activation(step.function, name=step.name)
        if isinstance(step, Dropout):
            return known.Dropout(step.p, name=step.name)
        assert isinstance(step, Flatten)
        return known.Flatten(name=step.name)

    def _optimizer(self) -> Any:
        """Keras multiplies the rate inside the velocity and adds ε inside RMSprop's root, as portanet does."""
        rule, known = self.work.rule, self._keras.optimizers
        start, decay = rule.inverse_time()
        rate = known.schedules.InverseTimeDecay(start, 1, decay) if decay else start
        if rule.name == "rmsprop":
            return known.RMSprop(rate, rule.number("rho"), epsilon=rule.number("epsilon"))
        if rule.name == "adam":
            return known.Adam(rate, rule.number("beta1"), rule.number("beta2"), rule.number("epsilon"))
        momentum = 0.0 if rule.name == "sgd" else rule.number("momentum")
        return known.SGD(rate, momentum, nesterov=rule.name == "nesterov_momentum")

    def lies_on(self) -> str:
        return str(self._model.weights[0].value.device)

    def weights(self) -> Weights:
        return self.named([self._model.get_layer(step.name).get_weights() for step in self.with_parameters()])

    def scores(self, X: np.ndarray) -> np.ndarray:
        with self._there():
            return self._model.predict(X, batch_size=1024, verbose=0)

    def fit(self, epochs: int, after_epoch: AfterEpoch) -> None:
        base: Any = self._keras.callbacks.Callback

        class Clock(base):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                self.started = time.perf_counter()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                after_epoch(time.perf_counter() - self.started, float(logs["loss"]))

        with self._there():
            self._model.fit(self.X, self.y, batch_size=self.work.batch_size, epochs=epochs, verbose=0,
                            shuffle=self.work.shuffle, callbacks=[Clock()])  # fmt: skip

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        losses = []
        with self._there():
            if first:
                self._model.optimizer.iterations.assign(first)
            for rows in batches:
                self._model.reset_metrics()  # else the loss is the mean of all batches so far
                losses.append(self._model.train_on_batch(self.X[rows], self.y[rows], return_dict=True)["loss"])
        return np.array(losses, np.float64)
