"""Flax and Optax: a linen module, a `TrainState`, a jitted step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..contestants import Weights
from .jax_peer import JaxPeer
from .translation import Activation, Conv, Dense, Dropout, Flatten, Pad, Pool, Rule, Step


class Peer(JaxPeer):
    """A Flax module as its users write it."""

    def load(self) -> None:
        super().load()
        import flax
        import optax
        from flax import linen
        from flax.training.train_state import TrainState

        self._linen, self._optax, self._state_class = linen, optax, TrainState
        self.record["version"] = f"Flax {flax.__version__}, {self.record['version']}"

    def make(self) -> None:
        jax, numpy = self._jax, self._jax.numpy
        names = [step.name for step in self.with_parameters()]
        keys = ("kernel", "bias")
        params = {name: {key: numpy.asarray(array) for key, array in zip(keys, own, strict=False)}
                  for name, (_, own) in zip(names, self.given(), strict=True)}  # fmt: skip
        self._module = _module(self._linen, self.work.steps)
        self._state = self._state_class.create(
            apply_fn=self._module.apply, params=params, tx=transformation(self._optax, self.work.rule)
        )
        self._key = jax.random.key(self.seed)
        self._step = jax.jit(_step(jax, self._optax))
        self._forward = jax.jit(lambda params, X: self._module.apply({"params": params}, X, training=False))

    def lies_on(self) -> str:
        return str(self._jax.tree.leaves(self._state.params)[0].device)

    def weights(self) -> Weights:
        params = self._state.params
        return self.named([[np.asarray(params[step.name][key]) for key in ("kernel", "bias")[: 1 + step.bias]]
                           for step in self.with_parameters()])  # fmt: skip

    def scores(self, X: np.ndarray) -> np.ndarray:
        parts = [X[at : at + 1000] for at in range(0, len(X), 1000)]
        return np.concatenate([np.asarray(self._forward(self._state.params, part)) for part in parts])

    def train(self, batches: Sequence[np.ndarray]) -> np.ndarray:
        losses = []
        for rows in batches:
            self._state, loss = self._step(self._state, self.X[rows], self.y[rows], self._key)
            losses.append(loss)
        return np.asarray(self._jax.device_get(losses), np.float64)

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        if first:
            self._state = self._state.replace(step=first, opt_state=self._counted(self._state.opt_state, first))
        return self.train(batches)

    def _counted(self, state: Any, first: int) -> Any:
        """The optimiser's state with each of its counts there."""
        return self._optax.tree_utils.tree_set(state, count=self._jax.numpy.asarray(first, "int32"))


def _module(linen: Any, steps: Sequence[Step]) -> Any:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any, training: bool) -> Any:
            for step in steps:
                x = _applied(linen, step, x, training)
            return x

    return Net()


def _applied(linen: Any, step: Step, x: Any, training: bool) -> Any:
    if isinstance(step, Dense):
        return linen.Dense(step.units, use_bias=step.bias, name=step.name)(x)
    if isinstance(step, Conv):
        return linen.Conv(step.filters, step.size, step.stride, padding="VALID", use_bias=step.bias,
                          name=step.name)(x)  # fmt: skip
    if isinstance(step, Pool):
        return (linen.max_pool if step.mode == "max" else linen.avg_pool)(x, step.size, step.stride, "VALID")
    if isinstance(step, Pad):
        return _jnp(x).pad(x, ((0, 0), (step.top, step.bottom), (step.left, step.right), (0, 0)))
    if isinstance(step, Activation):
        return getattr(linen, step.function)(x)
    if isinstance(step, Dropout):
        return linen.Dropout(step.p, deterministic=not training)(x)
    assert isinstance(step, Flatten)
    return x.reshape(x.shape[0], -1)


def _jnp(x: Any) -> Any:
    import jax.numpy

    return jax.numpy


def _step(jax: Any, optax: Any) -> Callable:
    def step(state: Any, X: Any, y: Any, key: Any) -> Any:
        def loss_of(params: Any) -> Any:
            dropout = {"dropout": jax.random.fold_in(key, state.step)}
            scores = state.apply_fn({"params": params}, X, training=True, rngs=dropout)
            return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

        loss, gradients = jax.value_and_grad(loss_of)(state.params)
        return state.apply_gradients(grads=gradients), loss

    return step


def transformation(optax: Any, rule: Rule) -> Any:
    """Optax's counterpart of a rule; like PyTorch, it multiplies the rate outside of the velocity."""
    start, decay = rule.inverse_time()
    rate = (lambda count: start / (1.0 + decay * count)) if decay else start
    if rule.name == "rmsprop":
        return optax.rmsprop(rate, decay=rule.number("rho"), eps=rule.number("epsilon"), eps_in_sqrt=True)
    if rule.name == "adam":
        return optax.chain(_scale_by_adam(optax, rule), optax.scale_by_learning_rate(rate))
    if rule.name == "sgd":
        return optax.sgd(rate)
    return optax.sgd(rate, rule.number("momentum"), nesterov=rule.name == "nesterov_momentum")


def _scale_by_adam(optax: Any, rule: Rule) -> Any:
    """`optax.scale_by_adam` with ε added to the root before its correction, where portanet has it."""
    import jax

    beta1, beta2, epsilon = (rule.number(name) for name in ("beta1", "beta2", "epsilon"))

    def init(params: Any) -> Any:
        zeros = jax.tree.map(jax.numpy.zeros_like, params)
        return optax.ScaleByAdamState(count=jax.numpy.zeros([], "int32"), mu=zeros, nu=zeros)

    def update(gradients: Any, state: Any, params: Any = None) -> Any:
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: beta1 * m + (1.0 - beta1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: beta2 * v + (1.0 - beta2) * g * g, state.nu, gradients)
        scale = jax.numpy.sqrt(1.0 - beta2**count) / (1.0 - beta1**count)
        moves = jax.tree.map(lambda m, v: scale * m / (jax.numpy.sqrt(v) + epsilon), mu, nu)
        return moves, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)
