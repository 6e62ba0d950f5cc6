"""MXNet by hand: rows gathered, net and loss in one hybrid block of static memory, fused updates, the naive engine.

The dropped units are drawn by NumPy, a block of batches at a time; the update runs over all weights as one vector.
"""

import os
import time

import numpy as np

from . import programs


def train(program, X, y, epochs, threads):
    os.environ.setdefault("MXNET_ENGINE_TYPE", "NaiveEngine")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    mx = imported()
    layers, rule = programs.PROGRAMS[program]["layers"], programs.PROGRAMS[program]["rule"]
    starts = programs.weights(program)
    vector = mx.nd.array(np.concatenate([w.ravel() for w in starts]))
    grads, memory = mx.nd.zeros(vector.shape), mx.nd.zeros(vector.shape)
    weights, pulled, at = [], [], 0
    for w in starts:
        weights.append(vector[at : at + w.size].reshape(w.shape))
        pulled.append(grads[at : at + w.size].reshape(w.shape))
        at += w.size
    mx.autograd.mark_variables(weights, pulled)
    X, y, rng = mx.nd.array(X), mx.nd.array(y.astype(np.int32), dtype="int32"), np.random.default_rng(0)
    step = Step(mx, layers)
    step.hybridize(static_alloc=True, static_shape=True)
    seconds, count, steps = [], len(X) // programs.BATCH, 0
    for _ in range(epochs):
        started, losses = time.perf_counter(), []
        rows = rng.permutation(len(X))[: count * programs.BATCH].reshape(count, -1).astype(np.int32)
        rows = mx.nd.array(rows, dtype="int32")
        masks = [mx.nd.array(kept.astype(np.uint8), dtype="uint8") for kept in programs.masks(program, count, rng)]
        for i in range(count):
            with mx.autograd.record():
                loss = step(X, y, rows[i], *weights, *[mask[i] for mask in masks])
            loss.backward()
            losses.append(loss)
            move(mx, rule, vector, grads, memory, steps)
            steps += 1
        assert np.isfinite([loss.asscalar() for loss in losses]).all()
        seconds.append(time.perf_counter() - started)
    return seconds


def imported():
    """MXNet, helped over the names that NumPy 1.24 and newer lack."""
    if np.lib.NumpyVersion(np.__version__) < "1.24.0":
        import mxnet
    else:
        from portanet.engine.backends.removed_numpy_names import supplied

        with supplied():
            import mxnet
    return mxnet


def Step(mx, layers):  # noqa: N802
    """A hybrid block from data, row numbers, weights and masks to the mean cross-entropy."""

    class Whole(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, X, y, rows, *own):
            own = iter(own)
            a = F.BlockGrad(F.take(X, rows))
            held = [[next(own) for _ in range(2 if kind in ("conv", "dense") else 0)] for kind, *_ in layers]
            for (kind, *sizes), parameters in zip(layers, held, strict=True):
                a = forward(F, a, kind, sizes, parameters, own)
            return F.mean(-F.pick(F.log_softmax(a), F.take(y, rows)))

    return Whole()


def forward(F, a, kind, sizes, parameters, masks):
    if kind == "conv":
        return F.Convolution(a, *parameters, kernel=(sizes[2], sizes[2]), num_filter=sizes[1])
    if kind == "pool":
        return F.Pooling(a, kernel=(2, 2), stride=(2, 2), pool_type="max")
    if kind == "dense":
        return F.broadcast_add(F.dot(a, parameters[1]), parameters[0])
    if kind == "dropout":
        return a * F.reshape_like(F.cast(next(masks), "float32") * (1 / (1 - sizes[0])), a)
    return F.relu(a) if kind == "relu" else F.flatten(a)


def move(mx, rule, vector, grads, memory, step):
    if rule == "nesterov":
        mx.nd.nag_mom_update(vector, grads, memory, lr=0.01, momentum=0.9, out=vector)
    elif rule == "momentum":
        mx.nd.sgd_mom_update(vector, grads, memory, lr=0.05 / (1 + 1e-5 * step), momentum=0.9, out=vector)
    else:
        mx.nd.rmsprop_update(vector, grads, memory, lr=0.001, gamma1=0.9, epsilon=1e-6, out=vector)
