"""skorch: its `NeuralNetClassifier` around a `torch.nn.Sequential`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contestants import AfterEpoch, Weights
from . import PlainPeer
from .torch_modules import count_from, loaded, module_of, optimizer_of, read_weights, take_weights
from .translation import Translation


class Peer(PlainPeer):
    """A skorch net as skorch's users write it.

    A learning rate that changes is set by skorch's `LRScheduler` at each batch. PyTorch multiplies the rate outside of
    the velocity: for a decay as slow as most in use that makes no difference to be seen, and the gate tells if it does.
    """

    def load(self) -> None:
        self._torch = loaded(self.threads)
        import skorch

        self._skorch = skorch
        version = f"skorch {skorch.__version__}, PyTorch {self._torch.__version__}"
        self.record.update(engine="torch", version=version, threads=self.threads)

    def make(self) -> None:
        torch = self._torch
        torch.manual_seed(self.seed)
        module = module_of(torch, self.work.steps)
        take_weights(torch, module, self.given())
        optimizer, arguments = optimizer_of(torch, self.work.rule, self.work.rate(0))
        arguments = {f"optimizer__{name}": value for name, value in arguments.items() if name != "lr"}
        self._clock = _clock(self._skorch)()
        callbacks = [("clock", self._clock)]
        if self.work.rule.scheduled:
            schedule = self._skorch.callbacks.LRScheduler("LambdaLR", step_every="batch", lr_lambda=_Factor(self.work))
            callbacks.append(("rate", schedule))
        self._net = self._skorch.NeuralNetClassifier(
            module, criterion=torch.nn.CrossEntropyLoss, optimizer=optimizer, lr=self.work.rate(0), **arguments,
            batch_size=self.work.batch_size, iterator_train__shuffle=self.work.shuffle, train_split=None,
            warm_start=True, verbose=0, callbacks=callbacks, device=self.contestant.device.replace("gpu", "cuda"),
        ).initialize()  # fmt: skip

    def lies_on(self) -> str:
        return str(next(self._net.module_.parameters()).device)

    def weights(self) -> Weights:
        return self.named(read_weights(self._net.module_, self.with_parameters()))

    def scores(self, X: np.ndarray) -> np.ndarray:
        parts = self._net.forward_iter(X, training=False)
        return np.concatenate([part.cpu().numpy() for part in parts])

    def fit(self, epochs: int, after_epoch: AfterEpoch) -> None:
        self._clock.after_epoch = after_epoch
        self._net.max_epochs = epochs
        self._net.fit(self.X, self.y)

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        net, torch = self._net, self._torch
        net.notify("on_train_begin", X=self.X, y=self.y)
        if first:
            count_from(net.optimizer_, first)
            net.optimizer_.param_groups[0]["lr"] = self.work.rate(first)
            for scheduler in [callback.lr_scheduler_ for name, callback in net.callbacks_ if name == "rate"]:
                scheduler.last_epoch = first
        net.history.new_epoch()
        rows = [(torch.from_numpy(self.X[batch]), torch.from_numpy(self.y[batch])) for batch in batches]
        net.run_single_epoch(rows, training=True, prefix="train", step_fn=net.train_step)
        return np.array(net.history[-1, "batches", :, "train_loss"])


class _Factor:
    """The learning rate of an update over that of the first."""

    def __init__(self, work: Translation) -> None:
        self._work, self._first = work, work.rate(0)

    def __call__(self, step: int) -> float:
        return self._work.rate(step) / self._first


def _clock(skorch: Any) -> Any:
    """A callback that hands on the seconds that skorch itself has measured."""

    class Clock(skorch.callbacks.Callback):
        after_epoch: AfterEpoch | None = None

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            if self.after_epoch is not None:
                row = net.history[-1]
                self.after_epoch(row["dur"], row["train_loss"])

    return Clock
