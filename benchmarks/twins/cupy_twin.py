"""CuPy by hand: parameters, gradients and memory of the rule in one flat buffer each, convolution as one product.

Channels-last; nothing is fetched before the epoch's end.
"""

import itertools
import time

import numpy as np

from . import programs


def train(program, X, y, epochs, threads, device="gpu"):
    """CuPy has no threads to choose, and no device but GPUs."""
    import cupy

    if device == "cpu":
        raise ValueError("CuPy computes on GPUs only")
    layers, rule = programs.PROGRAMS[program]["layers"], RULES[programs.PROGRAMS[program]["rule"]]
    P, G, (params, grads, memory, spare) = buffers(cupy, programs.weights(program))
    X, y = cupy.asarray(channels_last(X)), cupy.asarray(y.astype(np.int32))
    rng, random = np.random.default_rng(0), cupy.random.Generator(cupy.random.Philox4x3210(0))
    seconds, step = [], 0
    for _ in range(epochs):
        started, losses = time.perf_counter(), []
        order = cupy.asarray(rng.permutation(len(X)).astype(np.int32))
        for at in range(0, len(X), programs.BATCH):
            rows = order[at : at + programs.BATCH]
            losses.append(differentiate(cupy, layers, P, G, X.take(rows, axis=0), y.take(rows), random))
            rule(cupy, params, grads, memory, spare, step)
            step += 1
        assert np.isfinite(cupy.stack(losses).get()).all()
        seconds.append(time.perf_counter() - started)
    return seconds


def channels_last(X):
    return np.ascontiguousarray(X.transpose(0, 2, 3, 1)) if X.ndim == 4 else X


def buffers(xp, weights):
    """Parameters and gradients as views, and the four flat buffers: those two, the rule's memory, and a spare one.

    Filters become matrices (rows and columns of the window times channels, filters).
    """
    weights = [w.transpose(2, 3, 1, 0).reshape(-1, len(w)) if w.ndim == 4 else w for w in weights]
    flat = xp.zeros((4, sum(w.size for w in weights)), "float32")
    views, at = ([], []), 0
    for w in weights:
        for made, one in zip(views, flat, strict=False):
            made.append(one[at : at + w.size].reshape(w.shape))
        views[0][-1][...] = xp.asarray(np.ascontiguousarray(w))
        at += w.size
    return (*views, [flat[i] for i in range(4)])


def differentiate(xp, layers, P, G, a, labels, random):
    """Mean cross-entropy of a batch; its gradients are written to `G`."""
    backs, place = [], 0
    for kind, *sizes in layers:
        own = slice(place, place + 2 * (kind in ("conv", "dense")))
        a, back = FORWARD[kind](xp, a, P[own], G[own], random, *sizes)
        backs.append(back)
        place = own.stop
    a = a - a.max(axis=1, keepdims=True)
    e = xp.exp(a)
    total = e.sum(axis=1, keepdims=True)
    rows = xp.arange(len(a))
    loss = (xp.log(total)[:, 0] - a[rows, labels]).mean()
    d = e / total
    d[rows, labels] -= 1
    d *= 1 / len(a)
    for place in reversed(range(len(backs))):
        d = backs[place](d, place > 0)
    return loss


def dense(xp, a, P, G, random, *sizes):
    def back(d, deeper):
        xp.matmul(a.T, d, out=G[1])
        G[0][...] = d.sum(axis=0)
        return xp.matmul(d, P[1].T) if deeper else None

    return xp.matmul(a, P[1]) + P[0], back


def conv(xp, a, P, G, random, channels, filters, size):
    n, high, wide = a.shape[0], a.shape[1] - size + 1, a.shape[2] - size + 1
    places = [(slice(None), slice(i, i + high), slice(j, j + wide))
              for i, j in itertools.product(range(size), repeat=2)]  # fmt: skip
    columns = xp.concatenate([a[place] for place in places], axis=-1).reshape(-1, size * size * channels)

    def back(d, deeper):
        d = d.reshape(-1, filters)
        xp.matmul(columns.T, d, out=G[0])
        G[1][...] = d.sum(axis=0)
        if not deeper:
            return None
        pulled, da = xp.matmul(d, P[0].T).reshape(n, high, wide, -1), xp.zeros_like(a)
        for at, place in enumerate(places):
            da[place] += pulled[..., at * channels : (at + 1) * channels]
        return da

    return (xp.matmul(columns, P[0]) + P[1]).reshape(n, high, wide, filters), back


def pool(xp, a, P, G, random):
    n, high, wide, channels = a.shape
    tiled = (n, high // 2, 2, wide // 2, 2, channels)
    inside = (slice(None), slice(high // 2 * 2), slice(wide // 2 * 2))
    tiles = a[inside].reshape(tiled)
    y = tiles.max(axis=(2, 4))

    def back(d, deeper):
        da = xp.zeros_like(a)
        chosen = tiles == y[:, :, None, :, None]
        da[inside] = (chosen * d[:, :, None, :, None]).reshape(n, tiled[1] * 2, tiled[3] * 2, channels)
        return da

    return y, back


def relu(xp, a, P, G, random):
    y = xp.maximum(a, 0)
    return y, lambda d, deeper: d * (y > 0)


def dropout(xp, a, P, G, random, ratio):
    scaled = (random.random(a.shape, dtype=np.float32) >= ratio) * np.float32(1 / (1 - ratio))
    return a * scaled, lambda d, deeper: d * scaled


def flatten(xp, a, P, G, random):
    """In the order of channels-first, which the weights of the next layer were drawn for."""
    shape = a.shape
    return a.transpose(0, 3, 1, 2).reshape(shape[0], -1), lambda d, deeper: d.reshape(
        shape[0], shape[3], *shape[1:3]
    ).transpose(0, 2, 3, 1)


FORWARD = {"dense": dense, "conv": conv, "pool": pool, "relu": relu, "dropout": dropout, "flatten": flatten}


def nesterov(xp, params, grads, memory, spare, step):
    grads *= 0.01
    memory *= 0.9
    memory -= grads
    params -= grads
    params += xp.multiply(memory, 0.9, out=spare)


def rmsprop(xp, params, grads, memory, spare, step):
    memory *= 0.9
    xp.multiply(grads, grads, out=spare)
    spare *= 0.1
    memory += spare
    xp.add(memory, 1e-6, out=spare)
    xp.sqrt(spare, out=spare)
    grads *= 0.001
    grads /= spare
    params -= grads


def momentum(xp, params, grads, memory, spare, step):
    grads *= 0.05 / (1 + 1e-5 * step)
    memory *= 0.9
    memory -= grads
    params += memory


RULES = {"nesterov": nesterov, "rmsprop": rmsprop, "momentum": momentum}
