"""TensorFlow by hand: all batches of one size in one `tf.function`, rows gathered inside, XLA for dense nets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ...runtime.devices import parse_device
from ..contestants import Weights
from . import PlainPeer
from .translation import Activation, Conv, Dense, Dropout, Flatten, Pad, Pool, Rule, Step, pooled_first


class Peer(PlainPeer):
    """The plain loop that somebody writes who knows TensorFlow well."""

    last = True

    def load(self) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(self.threads)
        self._tf = tf
        spec = parse_device(self.contestant.device)
        self._where = f"/{spec.kind}:{spec.index or 0}"
        self.record.update(engine="tensorflow", version=f"TensorFlow {tf.__version__}", threads=self.threads)

    def make(self) -> None:
        tf, rule = self._tf, self.work.rule
        tf.random.set_seed(self.seed)
        with tf.device(self._where):
            self._weights = {step.name: [tf.Variable(array) for array in own] for step, own in self.given()}
            every = [variable for own in self._weights.values() for variable in own]
            memory = [[tf.Variable(tf.zeros_like(variable)) for _ in rule.memory] for variable in every]
            self._X, self._y = tf.constant(self.X), tf.constant(self.y.astype(np.int32))
        self._steps, self._count = pooled_first(self.work.steps), 0
        dense = not any(isinstance(step, Conv | Pool) for step in self._steps)
        self._run = tf.function(self._epoch(every, memory), jit_compile=dense)
        self._forward = tf.function(lambda X: _forward(tf, self._steps, self._weights, X, training=False))

    def _epoch(self, every: list[Any], memory: list[list[Any]]) -> Callable:
        tf, rule = self._tf, self.work.rule

        def epoch(rows: Any, first: Any) -> Any:
            losses = tf.zeros([rows.shape[0]])
            for number in tf.range(rows.shape[0]):
                batch = rows[number]
                with tf.GradientTape() as tape:
                    scores = _forward(tf, self._steps, self._weights, tf.gather(self._X, batch), training=True)
                    labels = tf.gather(self._y, batch)
                    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))
                for variable, slots, gradient in zip(every, memory, tape.gradient(loss, every), strict=True):
                    _move(tf, rule, variable, slots, gradient, tf.cast(first + number, tf.float32))
                losses = tf.tensor_scatter_nd_update(losses, [[number]], [loss])
            return losses

        return epoch

    def lies_on(self) -> str:
        return next(iter(self._weights.values()))[0].device

    def weights(self) -> Weights:
        return self.named([[variable.numpy() for variable in self._weights[step.name]]
                           for step in self.with_parameters()])  # fmt: skip

    def scores(self, X: np.ndarray) -> np.ndarray:
        with self._tf.device(self._where):
            parts = [self._tf.constant(X[at : at + 1000]) for at in range(0, len(X), 1000)]
            return np.concatenate([self._forward(part).numpy() for part in parts])

    def train(self, batches: Sequence[np.ndarray]) -> np.ndarray:
        tf, losses = self._tf, []
        with tf.device(self._where):
            for _, alike in groupby(batches, len):
                rows = np.stack(list(alike)).astype(np.int32)
                losses.append(self._run(tf.constant(rows), tf.constant(self._count)).numpy())
                self._count += len(rows)
        return np.concatenate(losses).astype(np.float64)

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        self._count = first
        return self.train(batches)


def _move(tf: Any, rule: Rule, variable: Any, slots: Sequence[Any], gradient: Any, number: Any) -> None:
    """Update `number`, from 0, of one variable and its slots."""
    start, decay = rule.inverse_time()
    rate = start / (1.0 + decay * number)
    if rule.name == "sgd":
        variable.assign_sub(rate * gradient)
    elif rule.name in ("momentum", "nesterov_momentum"):
        (velocity,) = slots
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle, accum=velocity.handle, lr=rate, grad=gradient, momentum=rule.number("momentum"),
            use_nesterov=rule.name == "nesterov_momentum",
        )  # fmt: skip
    elif rule.name == "rmsprop":
        (square,), rho = slots, rule.number("rho")
        square.assign(rho * square + (1.0 - rho) * gradient * gradient)
        variable.assign_sub(rate * gradient / tf.sqrt(square + rule.number("epsilon")))
    else:
        (mean, square), beta1, beta2 = slots, rule.number("beta1"), rule.number("beta2")
        count = number + 1.0
        mean.assign(beta1 * mean + (1.0 - beta1) * gradient)
        square.assign(beta2 * square + (1.0 - beta2) * gradient * gradient)
        rate = rate * tf.sqrt(1.0 - beta2**count) / (1.0 - beta1**count)
        variable.assign_sub(rate * mean / (tf.sqrt(square) + rule.number("epsilon")))


def _forward(tf: Any, steps: Sequence[Step], weights: Any, x: Any, training: bool) -> Any:
    """Scores of rows in TensorFlow's layout."""
    for step in steps:
        if isinstance(step, Dense):
            W, *b = weights[step.name]
            x = sum(b, tf.matmul(x, W))
        elif isinstance(step, Conv):
            W, *b = weights[step.name]
            x = sum(b, tf.nn.conv2d(x, W, step.stride, "VALID"))
        elif isinstance(step, Pool):
            x = (tf.nn.max_pool2d if step.mode == "max" else tf.nn.avg_pool2d)(x, step.size, step.stride, "VALID")
        elif isinstance(step, Pad):
            x = tf.pad(x, [[0, 0], [step.top, step.bottom], [step.left, step.right], [0, 0]])
        elif isinstance(step, Activation):
            x = {"relu": tf.nn.relu, "tanh": tf.tanh, "sigmoid": tf.sigmoid}[step.function](x)
        elif isinstance(step, Dropout) and training and step.p:
            x = tf.nn.dropout(x, step.p)
        elif isinstance(step, Flatten):
            x = tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
    return x
