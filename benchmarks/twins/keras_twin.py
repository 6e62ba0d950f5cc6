"""The same nets in Keras 3, as a good user writes them, on whatever engine KERAS_BACKEND names."""

import os
import time

import numpy as np

from . import programs


def train(program, X, y, epochs, threads):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["NPROC"] = str(threads)
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
    elif keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(threads)
    if X.ndim == 4:
        X = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
    net = keras.Sequential([keras.Input(X.shape[1:])])
    for layer in programs.PROGRAMS[program]["layers"]:
        net.add(_layer(keras, *layer))
    rules = {
        "nesterov": lambda: keras.optimizers.SGD(0.01, 0.9, nesterov=True),
        "momentum": lambda: keras.optimizers.SGD(keras.optimizers.schedules.InverseTimeDecay(0.05, 1, 1e-5), 0.9),
        "rmsprop": lambda: keras.optimizers.RMSprop(0.001, 0.9),
    }
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(rules[programs.PROGRAMS[program]["rule"]](), loss)
    seconds = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            seconds.append(time.perf_counter() - self.started)

    net.fit(X, y, batch_size=programs.BATCH, epochs=epochs, verbose=0, callbacks=[Clock()])
    return seconds


def _layer(keras, kind, *sizes):
    if kind == "conv":
        return keras.layers.Conv2D(sizes[1], sizes[2])
    if kind == "dense":
        return keras.layers.Dense(sizes[1])
    return {
        "pool": lambda: keras.layers.MaxPooling2D(2), "relu": keras.layers.ReLU, "flatten": keras.layers.Flatten,
        "dropout": lambda: keras.layers.Dropout(*sizes),
    }[kind]()  # fmt: skip
