"""Theano-PyMC by hand: data and rows in shared variables, a counter, and many steps in one call of its loop in C."""

import os
import time

import numpy as np

from . import programs

BLOCK = 16


def train(program, X, y, epochs, threads):
    theano = imported()
    from theano.tensor.signal.pool import pool_2d

    tt, layers = theano.tensor, programs.PROGRAMS[program]["layers"]
    weights = [theano.shared(w) for w in programs.weights(program)]
    memory = [theano.shared(np.zeros_like(w.get_value())) for w in weights]
    place, step = theano.shared(np.int64(0)), theano.shared(np.float32(0))
    rows, losses = theano.shared(np.zeros((0, 0), np.int64)), theano.shared(np.zeros(0, np.float32))
    masks = [theano.shared(np.zeros((0, 0, 0), bool)) for _ in programs.PROGRAMS[program].get("dropped", [])]
    a, own, kept = theano.shared(X)[rows[place]], iter(weights), iter([mask[place] for mask in masks])
    for layer in layers:
        a = forward(tt, pool_2d, layer, a, own, kept)
    found = tt.nnet.categorical_crossentropy(tt.nnet.softmax(a), theano.shared(y.astype(np.int32))[rows[place]])
    loss = tt.sum(found) / np.float32(programs.BATCH)
    updates = [(losses, tt.set_subtensor(losses[place], loss)), (place, place + 1), (step, step + np.float32(1))]
    for w, m, g in zip(weights, memory, theano.grad(loss, weights), strict=True):
        updates += moved(tt, programs.PROGRAMS[program]["rule"], w, m, g, step)
    linker = theano.link.vm.VMLinker(use_cloop=True, allow_gc=False)
    run = theano.function([], [], updates=updates, mode=theano.compile.mode.Mode(linker, "fast_run")).fn

    def block(numbers):
        rows.set_value(numbers, borrow=True)
        losses.set_value(np.zeros(len(numbers), np.float32), borrow=True)
        place.set_value(np.int64(0))
        for variable, made in zip(masks, programs.masks(program, len(numbers), rng), strict=True):
            variable.set_value(made, borrow=True)
        run(n_calls=len(numbers))
        assert np.isfinite(losses.get_value(borrow=True)).all()

    seconds, count, rng = [], len(X) // programs.BATCH, np.random.default_rng(0)
    for _ in range(epochs):
        started = time.perf_counter()
        numbers = rng.permutation(len(X))[: count * programs.BATCH].reshape(count, -1)
        for at in range(0, count, BLOCK if masks else count):
            block(numbers[at : at + (BLOCK if masks else count)])
        seconds.append(time.perf_counter() - started)
    return seconds


def imported():
    """Theano, with the threads it starts with; its environment's THEANORC names a BLAS, elsewhere portanet does."""
    if "THEANORC" in os.environ:
        import theano
    else:
        from portanet.engine.backends.theano_start import theano
    return theano


def forward(tt, pool_2d, layer, a, own, kept):
    kind, *sizes = layer
    if kind == "conv":
        return tt.nnet.conv2d(a, next(own), filter_flip=False) + next(own).dimshuffle("x", 0, "x", "x")
    if kind == "pool":
        return pool_2d(a, (2, 2), ignore_border=True)
    if kind == "dense":
        b, w = next(own), next(own)
        return tt.dot(a, w) + b
    if kind == "dropout":
        return tt.switch(next(kept).reshape(a.shape), a * np.float32(1 / (1 - sizes[0])), np.float32(0))
    return tt.maximum(a, np.float32(0)) if kind == "relu" else a.flatten(2)


def moved(tt, rule, w, m, g, step):
    """What becomes of a weight and what is remembered of it."""
    if rule == "rmsprop":
        new = np.float32(0.9) * m + np.float32(0.1) * g * g
        return [(m, new), (w, w - np.float32(0.001) * g / tt.sqrt(new + np.float32(1e-6)))]
    if rule == "nesterov":
        new = np.float32(0.9) * m - np.float32(0.01) * g
        return [(m, new), (w, w + np.float32(0.9) * new - np.float32(0.01) * g)]
    new = np.float32(0.9) * m - np.float32(0.05) / (np.float32(1) + np.float32(1e-5) * step) * g
    return [(m, new), (w, w + new)]
