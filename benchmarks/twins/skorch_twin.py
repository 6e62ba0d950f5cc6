"""The same nets in skorch, as a good user writes them."""

import numpy as np

from . import programs


def train(program, X, y, epochs, threads):
    import torch
    from skorch import NeuralNetClassifier
    from torch import nn

    torch.set_num_threads(threads)
    made = {
        "conv": nn.Conv2d, "dense": nn.Linear,
        "pool": lambda: nn.MaxPool2d(2), "relu": nn.ReLU, "flatten": nn.Flatten, "dropout": nn.Dropout,
    }  # fmt: skip
    net = nn.Sequential(*[made[kind](*sizes) for kind, *sizes in programs.PROGRAMS[program]["layers"]])
    rules = {
        "nesterov": dict(optimizer=torch.optim.SGD, lr=0.01, optimizer__momentum=0.9, optimizer__nesterov=True),
        "momentum": dict(optimizer=torch.optim.SGD, lr=0.05, optimizer__momentum=0.9),
        "rmsprop": dict(optimizer=torch.optim.RMSprop, lr=0.001, optimizer__alpha=0.9),
    }
    rule = rules[programs.PROGRAMS[program]["rule"]]
    fitted = NeuralNetClassifier(net, criterion=nn.CrossEntropyLoss, batch_size=programs.BATCH, max_epochs=epochs,
                                 train_split=None, iterator_train__shuffle=True, verbose=0, **rule)  # fmt: skip
    fitted.fit(X, y.astype(np.int64))
    return [row["dur"] for row in fitted.history]
