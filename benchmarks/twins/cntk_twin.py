# ruff: noqa: B905, RUF005
"""CNTK by hand: rows and weights in NumPy's memory that CNTK reads without a copy, gradients written back into such.

CNTK lives in an environment of Python 3.6, where this is run.
"""

import subprocess
import sys
import time
import types
import warnings

import numpy as np

from . import programs


def train(program, X, y, epochs, threads):
    cntk = imported()
    cntk.cntk_py.set_max_num_cputhreads(threads)
    rule, sizes = RULES[programs.PROGRAMS[program]["rule"]], [w.size for w in programs.weights(program)]
    weights, grads, memory, spare = (np.zeros(sum(sizes), np.float32) for _ in range(4))
    weights[:] = np.concatenate([w.ravel() for w in programs.weights(program)])
    net = Net(cntk, program, weights, grads, X)
    y, rng, step, seconds = y.astype(np.int64), np.random.default_rng(0), 0, []
    classes = np.eye(10, dtype=np.float32)
    for _ in range(epochs):
        started, losses = time.perf_counter(), []
        for rows in rng.permutation(len(X))[: len(X) // programs.BATCH * programs.BATCH].reshape(-1, programs.BATCH):
            X.take(rows, axis=0, out=net.rows, mode="clip")
            classes.take(y[rows], axis=0, out=net.labels, mode="clip")
            for (kept, factor), (mask,) in zip(net.masks, programs.masks(program, 1, rng)):
                np.multiply(mask.reshape(kept.shape), factor, out=kept)
            losses.append(net.step())
            for at in range(0, weights.size, BLOCK):
                part = slice(at, at + BLOCK)
                rule(weights[part], grads[part], memory[part], spare[part], step)
            step += 1
        assert np.isfinite(losses).all()
        seconds.append(time.perf_counter() - started)
    return seconds


def imported():
    """CNTK, which asks for pip and starts shells when it is imported."""
    sys.modules.setdefault("pip", types.ModuleType("pip"))
    before, subprocess.call = subprocess.call, lambda *args, **kwargs: 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cntk
    finally:
        subprocess.call = before
    return cntk


BLOCK = 1 << 15


class Net:
    """The loss of a batch and its gradients, over arrays."""

    def __init__(self, cntk, program, weights, grads, X):
        self._cntk, batch = cntk, programs.BATCH
        self.rows, self.labels = np.zeros((batch,) + X.shape[1:], np.float32), np.zeros((batch, 10), np.float32)
        self.masks, self._read = [], []
        at, own, self._grads = 0, [], {}
        for w in programs.weights(program):
            own.append(self._parameter(weights[at : at + w.size].reshape(w.shape)))
            self._grads[own[-1]] = self._value(grads[at : at + w.size].reshape(w.shape))
            at += w.size
        fed = [self._parameter(self.rows), self._parameter(self.labels)]
        scores = self._forward(programs.PROGRAMS[program], fed[0], iter(own), X.ndim > 2)
        picked = cntk.reduce_sum(scores * fed[1], axis=1)
        self._loss = cntk.reduce_mean(cntk.reduce_log_sum_exp(scores, axis=1) - picked, axis=[0, 1])
        self._others = set(self._loss.parameters) - set(own)
        self._found, self._one = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
        self._given, self._root = self._value(self._found), self._value(self._one)

    def _value(self, array):
        return self._cntk.cntk_py.Value(self._cntk.cntk_py.NDArrayView(array, self._cntk.cpu(), False, True))

    def _parameter(self, array):
        """A parameter that lies in the array."""
        from cntk.internal.swig_helper import map_if_possible

        made = self._cntk.cntk_py.Parameter(self._cntk.cntk_py.NDArrayView(array, self._cntk.cpu(), False, True))
        map_if_possible(made)
        self._read.append(made)
        return made

    def _forward(self, program, a, own, images):
        cntk = self._cntk
        a = cntk.to_batch(a) if images else a
        for kind, *sizes in program["layers"]:
            if kind == "conv":
                w, b = next(own), next(own)
                a = cntk.convolution(w, a, auto_padding=[False]) + cntk.reshape(b, (-1, 1, 1))
            elif kind == "pool":
                a = cntk.pooling(a, cntk.MAX_POOLING, (2, 2), (2, 2), [False])
            elif kind == "dense":
                b, w = next(own), next(own)
                a = cntk.times(a, w) + b
            elif kind == "dropout":
                a, images = (self._flat(a), False) if images else (a, False)
                self.masks.append((np.zeros(a.shape, np.float32), np.float32(1 / (1 - sizes[0]))))
                a = a * self._parameter(self.masks[-1][0])
            elif kind == "relu":
                a = cntk.relu(a)
            elif images:
                a, images = self._flat(a), False
        return a

    def _flat(self, a):
        return self._cntk.reshape(self._cntk.unpack_batch(a), (programs.BATCH, int(np.prod(a.shape))))

    def step(self):
        for one in self._read:
            one.record_value_update()
        root, cpu = self._loss.output, self._cntk.cpu()
        state = self._loss._forward({}, {root: self._given}, cpu, {root}, self._others)
        self._loss._backward(state, {root: self._root}, dict(self._grads))
        return float(self._found)


def nesterov(w, g, m, spare, step):
    g *= np.float32(0.01)
    m *= np.float32(0.9)
    m -= g
    w -= g
    np.multiply(m, np.float32(0.9), out=spare)
    w += spare


def rmsprop(w, g, m, spare, step):
    np.multiply(g, g, out=spare)
    spare *= np.float32(0.1)
    m *= np.float32(0.9)
    m += spare
    np.add(m, np.float32(1e-6), out=spare)
    np.sqrt(spare, out=spare)
    g *= np.float32(0.001)
    g /= spare
    w -= g


def momentum(w, g, m, spare, step):
    g *= np.float32(0.05 / (1 + 1e-5 * step))
    m *= np.float32(0.9)
    m -= g
    w += m


RULES = {"nesterov": nesterov, "rmsprop": rmsprop, "momentum": momentum}
