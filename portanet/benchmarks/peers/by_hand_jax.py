"""JAX by hand: all batches of one size in one compiled call that owns its state, images channels-last.

On the CPU a convolution is slices and one product, which XLA computes faster there than its own convolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from ...runtime.devices import parse_device
from ..contestants import Weights
from .jax_peer import JaxPeer
from .translation import Activation, Conv, Dense, Dropout, Flatten, Pad, Pool, Rule, Step, pooled_first


class Peer(JaxPeer):
    """The plain loop that somebody writes who knows JAX well."""

    def make(self) -> None:
        jax = self._jax
        weights = {step.name: [jax.numpy.asarray(array) for array in own] for step, own in self.given()}
        memory = {slot: jax.tree.map(jax.numpy.zeros_like, weights) for slot in self.work.rule.memory}
        self._state, self._count = (weights, memory), 0
        forward = partial(_forward, jax, pooled_first(self.work.steps), parse_device(self.contestant.device).kind)
        self._run = jax.jit(_run(jax, forward, self.work.rule), donate_argnums=0)
        self._forward = jax.jit(lambda weights, X: forward(weights, X, None))
        self._key = jax.random.key(self.seed, impl="rbg")
        self._rows = jax.device_put(self.X, self._device), jax.device_put(self.y.astype(np.int32), self._device)

    def lies_on(self) -> str:
        return str(self._jax.tree.leaves(self._state[0])[0].device)

    def weights(self) -> Weights:
        return self.named([[np.asarray(array) for array in self._state[0][step.name]]
                           for step in self.with_parameters()])  # fmt: skip

    def scores(self, X: np.ndarray) -> np.ndarray:
        parts = [X[at : at + 1000] for at in range(0, len(X), 1000)]
        return np.concatenate([np.asarray(self._forward(self._state[0], part)) for part in parts])

    def train(self, batches: Sequence[np.ndarray]) -> np.ndarray:
        losses = []
        for _, alike in groupby(batches, len):
            rows = np.stack(list(alike)).astype(np.int32)
            self._state, found = self._run(self._state, *self._rows, rows, np.int32(self._count), self._key)
            self._count += len(rows)
            losses.append(found)
        return np.concatenate([np.asarray(found, np.float64) for found in losses])

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        self._count = first
        return self.train(batches)


def _run(jax: Any, forward: Callable, rule: Rule) -> Callable:
    """A training step for each row of `rows`, numbered on from `first`."""

    def run(state: Any, X: Any, y: Any, rows: Any, first: Any, key: Any) -> Any:
        def step(state: Any, given: Any) -> Any:
            (batch, number), (weights, memory) = given, state

            def loss_of(weights: Any) -> Any:
                scores = forward(weights, X[batch], jax.random.fold_in(key, number))
                picked = jax.numpy.where(y[batch][:, None] == jax.numpy.arange(scores.shape[1]),
                                         jax.nn.log_softmax(scores), 0)  # fmt: skip
                return -picked.sum(axis=1).mean()

            loss, gradients = jax.value_and_grad(loss_of)(weights)
            return _moved(jax, rule, weights, memory, gradients, number), loss

        return jax.lax.scan(step, state, (rows, first + jax.numpy.arange(len(rows))))

    return run


def _moved(jax: Any, rule: Rule, weights: Any, memory: Any, gradients: Any, number: Any) -> Any:
    """Weights and memory after update `number`, from 0."""
    start, decay = rule.inverse_time()
    rate, each = start / (1.0 + decay * number), jax.tree.map
    if rule.name == "sgd":
        return each(lambda w, g: w - rate * g, weights, gradients), memory
    if rule.name in ("momentum", "nesterov_momentum"):
        mu = rule.number("momentum")
        v = each(lambda v, g: mu * v - rate * g, memory["velocity"], gradients)
        if rule.name == "momentum":
            return each(lambda w, v: w + v, weights, v), {"velocity": v}
        return each(lambda w, v, g: w + mu * v - rate * g, weights, v, gradients), {"velocity": v}
    rho, epsilon = rule.number("rho" if rule.name == "rmsprop" else "beta2"), rule.number("epsilon")
    r = each(lambda r, g: rho * r + (1.0 - rho) * g * g, memory["square"], gradients)
    if rule.name == "rmsprop":
        return each(lambda w, r, g: w - rate * g / jax.numpy.sqrt(r + epsilon), weights, r, gradients), {"square": r}
    beta, count = rule.number("beta1"), number + 1.0
    m = each(lambda m, g: beta * m + (1.0 - beta) * g, memory["mean"], gradients)
    rate = rate * jax.numpy.sqrt(1.0 - rho**count) / (1.0 - beta**count)
    return each(lambda w, m, r: w - rate * m / (jax.numpy.sqrt(r) + epsilon), weights, m, r), {"mean": m, "square": r}


def _forward(jax: Any, steps: Sequence[Step], kind: str, weights: Any, x: Any, key: Any) -> Any:
    """Scores; dropout is on where there is a key."""
    jnp = jax.numpy
    for place, step in enumerate(steps):
        if isinstance(step, Dense):
            W, *b = weights[step.name]
            x = sum(b, x @ W)
        elif isinstance(step, Conv):
            W, *b = weights[step.name]
            x = sum(b, (_sliced if kind == "cpu" else _convolved)(jax, step, x, W))
        elif isinstance(step, Pool):
            x = _pooled(jax, step, x)
        elif isinstance(step, Pad):
            x = jnp.pad(x, ((0, 0), (step.top, step.bottom), (step.left, step.right), (0, 0)))
        elif isinstance(step, Activation):
            x = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[step.function](x)
        elif isinstance(step, Dropout) and key is not None and step.p:
            kept = jax.random.bernoulli(jax.random.fold_in(key, place), 1.0 - step.p, x.shape)
            x = jnp.where(kept, x / (1.0 - step.p), 0.0)
        elif isinstance(step, Flatten):
            x = x.reshape(x.shape[0], -1)
    return x


def _sliced(jax: Any, step: Conv, x: Any, W: Any) -> Any:
    """A convolution as one product of what each place of the filter sees."""
    (down, across), (high, wide) = step.stride, step.size
    rows, columns = (x.shape[1] - high) // down + 1, (x.shape[2] - wide) // across + 1
    seen = [x[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * across + 1 : across]
            for i, j in itertools.product(range(high), range(wide))]  # fmt: skip
    together = jax.numpy.concatenate(seen, axis=-1)
    product = together.reshape(-1, together.shape[-1]) @ W.reshape(-1, W.shape[-1])
    return product.reshape(*together.shape[:-1], -1)


def _convolved(jax: Any, step: Conv, x: Any, W: Any) -> Any:
    return jax.lax.conv_general_dilated(x, W, step.stride, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _pooled(jax: Any, step: Pool, x: Any) -> Any:
    (high, wide), (n, rows, columns, channels) = step.size, x.shape
    if step.size == step.stride:  # no window overlaps another: no scatter in the gradient
        tiles = x[:, : rows // high * high, : columns // wide * wide]
        tiles = tiles.reshape(n, rows // high, high, columns // wide, wide, channels)
        return tiles.max(axis=(2, 4)) if step.mode == "max" else tiles.mean(axis=(2, 4))
    window, stride = (1, high, wide, 1), (1, *step.stride, 1)
    if step.mode == "max":
        return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, window, stride, "VALID")
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, stride, "VALID") / (high * wide)
