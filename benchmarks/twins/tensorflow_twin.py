"""TensorFlow by hand: an epoch in one tf.function, rows gathered inside, XLA for dense nets, fused updates."""

import os
import time

import numpy as np

from . import programs


def train(program, X, y, epochs, threads):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    layers, rule = programs.PROGRAMS[program]["layers"], programs.PROGRAMS[program]["rule"]
    dense = X.ndim == 2
    weights = [tf.Variable(w.transpose(2, 3, 1, 0) if w.ndim == 4 else w) for w in programs.weights(program)]
    memory = [tf.Variable(tf.zeros_like(w)) for w in weights]
    X = tf.constant(X if dense else np.ascontiguousarray(X.transpose(0, 2, 3, 1)))
    y, rng = tf.constant(y.astype(np.int32)), np.random.default_rng(0)

    def forward(layer, a, own, kept):
        kind, *sizes = layer
        if kind == "conv":
            return tf.nn.bias_add(tf.nn.conv2d(a, next(own), 1, "VALID"), next(own))
        if kind == "pool":
            return tf.nn.max_pool2d(a, 2, 2, "VALID")
        if kind == "dense":
            b, w = next(own), next(own)
            return tf.matmul(a, w) + b
        if kind == "dropout":
            return tf.where(tf.reshape(next(kept), tf.shape(a)), a * (1 / (1 - sizes[0])), 0.0)
        return tf.nn.relu(a) if kind == "relu" else tf.reshape(a, [-1, int(np.prod(a.shape[1:]))])

    def move(w, m, g, step):
        if rule == "rmsprop":
            m.assign(0.9 * m + 0.1 * g * g)
            w.assign_sub(0.001 * g / tf.sqrt(m + 1e-6))
            return
        rate = 0.01 if rule == "nesterov" else 0.05 / (1 + 1e-5 * tf.cast(step, tf.float32))
        tf.raw_ops.ResourceApplyKerasMomentum(var=w.handle, accum=m.handle, lr=rate, grad=g, momentum=0.9,
                                              use_nesterov=rule == "nesterov")  # fmt: skip

    @tf.function(jit_compile=dense, autograph=True)
    def epoch(rows, masks, first):
        losses = tf.zeros([rows.shape[0]])
        for i in tf.range(rows.shape[0]):
            with tf.GradientTape() as tape:
                a, own, kept = tf.gather(X, rows[i]), iter(weights), iter([mask[i] for mask in masks])
                for layer in layers:
                    a = forward(layer, a, own, kept)
                found = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(y, rows[i]), a)
                loss = tf.reduce_mean(found)
            for w, m, g in zip(weights, memory, tape.gradient(loss, weights), strict=True):
                move(w, m, g, first + i)
            losses = tf.tensor_scatter_nd_update(losses, [[i]], [loss])
        return losses

    seconds, steps = [], 0
    for _ in range(epochs):
        started = time.perf_counter()
        for rows in programs.blocks(rng, len(X)):
            masks = [tf.constant(kept) for kept in programs.masks(program, len(rows), rng, rows.shape[1])]
            losses = epoch(tf.constant(rows), masks, tf.constant(steps)).numpy()
            assert np.isfinite(losses).all()
            steps += len(rows)
        seconds.append(time.perf_counter() - started)
    return seconds
