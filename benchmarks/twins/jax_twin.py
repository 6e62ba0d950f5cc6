"""JAX by hand: an epoch in one compiled call, donated state, channels-last.

On the CPU convolution is slices and one product, and NumPy draws the masks; on a GPU XLA does both.
"""

import itertools
import os
import time

import numpy as np

from . import programs


def train(program, X, y, epochs, threads, device="cpu"):
    os.environ["NPROC"] = str(threads)
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_default_device", jax.devices(device)[0])
    layers, rule = programs.PROGRAMS[program]["layers"], programs.PROGRAMS[program]["rule"]
    weights = [jnp.asarray(w.transpose(2, 3, 1, 0) if w.ndim == 4 else w) for w in programs.weights(program)]
    if X.ndim == 4:
        X = X.transpose(0, 2, 3, 1)
    X, y, rng = jax.device_put(np.ascontiguousarray(X)), jax.device_put(y.astype(np.int32)), np.random.default_rng(0)

    def forward(layer, a, own, kept):
        kind, *sizes = layer
        if kind == "conv":
            w, b = next(own), next(own)
            if device != "cpu":
                return (
                    jax.lax.conv_general_dilated(a, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
                )
            high, wide = a.shape[1] - w.shape[0] + 1, a.shape[2] - w.shape[1] + 1
            places = itertools.product(range(w.shape[0]), range(w.shape[1]))
            columns = jnp.concatenate([a[:, i : i + high, j : j + wide] for i, j in places], axis=-1)
            product = columns.reshape(-1, columns.shape[-1]) @ w.reshape(-1, w.shape[-1])
            return product.reshape(*columns.shape[:-1], -1) + b
        if kind == "pool":
            n, high, wide, channels = a.shape
            tiles = a[:, : high // 2 * 2, : wide // 2 * 2].reshape(n, high // 2, 2, wide // 2, 2, channels)
            return tiles.max(axis=(2, 4))
        if kind == "dense":
            b, w = next(own), next(own)
            return a @ w + b
        if kind == "dropout":
            kept_now = next(kept)
            if device != "cpu":
                kept_now = jax.random.bernoulli(kept_now, 1 - sizes[0], a.shape)
            return jnp.where(kept_now.reshape(a.shape), a / (1 - sizes[0]), 0)
        return jax.nn.relu(a) if kind == "relu" else a.reshape(a.shape[0], -1)

    def loss(weights, a, labels, masks):
        own, kept = iter(weights), iter(masks)
        for layer in layers:
            a = forward(layer, a, own, kept)
        picked = jnp.where(labels[:, None] == jnp.arange(10), jax.nn.log_softmax(a), 0)
        return -picked.sum(axis=1).mean()

    def move(w, m, g, step):
        if rule == "nesterov":
            m = 0.9 * m - 0.01 * g
            return w + 0.9 * m - 0.01 * g, m
        if rule == "momentum":
            m = 0.9 * m - 0.05 / (1 + 1e-5 * step) * g
            return w + m, m
        m = 0.9 * m + 0.1 * g * g
        return w - 0.001 * g / jnp.sqrt(m + 1e-6), m

    def epoch(state, X, y, rows, masks, first):
        def step(state, given):
            rows, masks, number = given
            weights, memory = state
            value, grads = jax.value_and_grad(loss)(weights, X[rows], y[rows], masks)
            pairs = [move(w, m, g, number) for w, m, g in zip(weights, memory, grads, strict=True)]
            return ([w for w, _ in pairs], [m for _, m in pairs]), value

        return jax.lax.scan(step, state, (rows, masks, first + jnp.arange(len(rows))))

    run = jax.jit(epoch, donate_argnums=0)
    state, seconds, steps = (weights, [jnp.zeros_like(w) for w in weights]), [], 0
    for _ in range(epochs):
        started = time.perf_counter()
        for rows in programs.blocks(rng, len(X)):
            if device == "cpu":
                masks = programs.masks(program, len(rows), rng, rows.shape[1])
            else:
                masks = [jax.random.split(jax.random.key(rng.integers(1 << 31)), len(rows))
                         for _ in programs.PROGRAMS[program].get("dropped", [])]  # fmt: skip
            state, losses = run(state, X, y, rows, masks, steps)
            assert np.isfinite(np.asarray(losses)).all()
            steps += len(rows)
        seconds.append(time.perf_counter() - started)
    return seconds
