"""What may happen while a net trains: printing, stopping early, keeping the best weights."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import datetime
from numbers import Integral
from typing import Any

from .exceptions import DataError, did_you_mean
from .history import History

HOOKS = ("on_training_started", "on_batch_finished", "on_epoch_finished", "on_training_finished")
BOLD, PLAIN = "\033[1;32m", "\033[0m"


class Callback:
    """Base of callbacks: override the hooks you need. Raising StopIteration in one ends training.

    Every hook takes ``(net, history, **info)``.
    """

    def on_training_started(self, net: Any, history: History, **info: Any) -> None:
        """Before the first epoch."""

    def on_batch_finished(self, net: Any, history: History, **info: Any) -> None:
        """After each batch; ``info`` holds ``batch``, its number from 1, and its ``loss``."""

    def on_epoch_finished(self, net: Any, history: History, **info: Any) -> None:
        """After each epoch; ``history[-1]`` is what came of it."""

    def on_training_finished(self, net: Any, history: History, **info: Any) -> None:
        """At the end, however it came; ``info`` holds ``interrupted``."""


def hooks_of(callback: Callback) -> dict[str, Any]:
    """The hooks that a callback overrides, by name."""
    if not isinstance(callback, Callback):
        raise DataError(f"callbacks must hold instances of portanet.callbacks.Callback, got {callback!r}; "
                        "give a function as on_epoch_finished=... and the like")  # fmt: skip
    return {name: getattr(callback, name) for name in HOOKS
            if getattr(type(callback), name, None) is not getattr(Callback, name)}  # fmt: skip


class PrintLog(Callback):
    """Prints a line for each epoch, the best losses so far in green where the terminal has colours.

    Parameters
    ----------
    stream : text file, optional
        By default whatever ``sys.stdout`` is at that time.
    """

    TITLES = {"train_loss": "train loss", "valid_loss": "valid loss", "train/val": "train/val",
              "valid_accuracy": "valid acc"}  # fmt: skip
    HIDDEN = ("epoch", "dur", "train_loss_best", "valid_loss_best")

    def __init__(self, stream: Any = None):
        self.stream = stream

    def on_training_started(self, net, history, **info):
        self.widths_ = None

    def on_epoch_finished(self, net, history, **info):
        cells = self._cells(history[-1])
        if self.widths_ is None:
            self.widths_ = {title: max(len(title), len(text)) for title, (text, _) in cells.items()}
            self._print([title.rjust(width) for title, width in self.widths_.items()])
            self._print(["-" * width for width in self.widths_.values()])
        coloured = getattr(self._stream(), "isatty", lambda: False)()
        line = []
        for title, (text, best) in cells.items():
            padded = text.rjust(self.widths_.get(title, len(title)))
            line.append(f"{BOLD}{padded}{PLAIN}" if best and coloured else padded)
        self._print(line)

    def on_training_finished(self, net, history, interrupted=False, **info):
        if interrupted:
            self._print(["interrupted; the net keeps what it has learnt so far"])

    def _cells(self, row: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
        """Text of each column by its title, and whether it is the best so far."""
        values = {name: value for name, value in row.items() if name not in self.HIDDEN}
        if "valid_loss" in row:
            losses = {name: values.pop(name) for name in ("train_loss", "valid_loss")}
            ratio = losses["train_loss"] / losses["valid_loss"] if losses["valid_loss"] else math.nan
            values = {**losses, "train/val": ratio, **values}
        cells = {"epoch": (str(row["epoch"]).rjust(5), False)}
        for name, value in values.items():
            cells[self.TITLES.get(name, name)] = (f"{value:9.5f}", bool(row.get(f"{name}_best")))
        cells["dur"] = (f"{row['dur']:.2f}s", False)
        return cells

    def _stream(self) -> Any:
        return self.stream if self.stream is not None else sys.stdout

    def _print(self, cells: list[str]) -> None:
        print("  ".join(cells), file=self._stream(), flush=True)


class PrintLayerInfo(Callback):
    """Prints the layers, the sizes of their outputs, and the number of parameters, before training."""

    def __init__(self, stream: Any = None):
        self.stream = stream

    def on_training_started(self, net, history, **info):
        print(self.table(net.layers_), file=self.stream if self.stream is not None else sys.stdout, flush=True)

    @staticmethod
    def table(layers: Mapping[str, Any]) -> str:
        """The table as text."""
        rows: list[tuple[str, ...]] = [("#", "name", "layer", "size", "parameters")]
        total = 0
        for place, (name, layer) in enumerate(layers.items()):
            count = sum(math.prod(p.shape) for p in layer.params if p.trainable)
            total += count
            size = "x".join(map(str, layer.output_shape[1:]))
            rows.append((str(place), name, type(layer).__name__, size, f"{count:,}" if count else ""))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        rows.insert(1, tuple("-" * width for width in widths))
        lines = ["  ".join(text.rjust(w) if i in (0, 4) else text.ljust(w) for i, (text, w) in
                           enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]  # fmt: skip
        return "\n".join([f"Neural network with {total:,} learnable parameters", "", *lines, ""])


def _watched(callback: Any, history: History) -> float:
    """The last value of the column that a callback monitors."""
    row, name = history[-1], callback.monitor
    if name not in row:
        hint = "; hold out data with train_split" if name.startswith("valid") else ""
        raise DataError(f"{type(callback).__name__} watches '{name}', which the history lacks"
                        f"{did_you_mean(name, row)}{hint}")  # fmt: skip
    return row[name]


def _sign(callback: Any) -> int:
    """1 where low values of the monitored column are good, -1 where high ones are."""
    mode, name = callback.mode, callback.monitor
    if mode == "auto":
        mode = "min" if name.endswith("loss") else "max" if name.endswith("accuracy") else mode
    if mode == "auto":
        hint = did_you_mean(name, ("train_loss", "valid_loss", "valid_accuracy"))
        raise DataError(f"{type(callback).__name__} can't tell whether low or high values of '{name}' are good{hint}; "
                        "give mode='min' or mode='max'")  # fmt: skip
    if mode not in ("min", "max"):
        raise DataError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
    return 1 if mode == "min" else -1


def _need_count(callback: Any, name: str, least: int) -> None:
    value = getattr(callback, name)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise DataError(f"{type(callback).__name__}: {name} must be a whole number from {least} on, got {value!r}")


class _Monitor(Callback):
    """Keeps the weights of the best epoch by a column of the history."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta

    def on_training_started(self, net, history, **info):
        _sign(self)
        self.best_, self.best_epoch_, self.best_state_ = None, len(history), None

    def _improved(self, net: Any, history: History) -> bool:
        """Whether the last epoch is the best yet; its weights are kept if so. NaN never is."""
        value, sign = _watched(self, history), _sign(self)
        best = sign * math.inf if self.best_ is None else self.best_
        if not sign * (best - value) > self.min_delta:
            return False
        self.best_, self.best_epoch_, self.best_state_ = value, history[-1]["epoch"], net.get_state()
        return True

    def _restore(self, net: Any) -> None:
        if self.best_state_ is not None:
            net.set_state(self.best_state_)
            self.best_state_ = None


class RememberBestWeights(_Monitor):
    """Puts the weights of the best epoch back when training ends.

    Parameters
    ----------
    monitor : str
        Column of the history.
    mode : {"auto", "min", "max"}
        Whether low or high values are good; "auto" knows it of losses and accuracies, and refuses other columns.
    restore : bool
        Whether to put them back; otherwise they stay in ``best_state_``.
    """

    def __init__(self, monitor: str = "valid_loss", mode: str = "auto", restore: bool = True):
        super().__init__(monitor, mode)
        self.restore = restore

    def on_epoch_finished(self, net, history, **info):
        self._improved(net, history)

    def on_training_finished(self, net, history, **info):
        if self.restore:
            self._restore(net)


class EarlyStopping(_Monitor):
    """Stops when a column of the history has not improved for some epochs, and goes back to the best weights.

    Parameters
    ----------
    patience : int
        Epochs without improvement that are borne.
    monitor, mode
        As for `RememberBestWeights`.
    min_delta : float
        What counts as an improvement.
    restore : bool
        Whether to put back the best weights at the end, however it comes.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import NeuralNetRegressor
    >>> from portanet.callbacks import EarlyStopping
    >>> X = np.linspace(-1, 1, 40).reshape(-1, 1)
    >>> stop = EarlyStopping(patience=1, monitor="train_loss", min_delta=1e9)
    >>> NeuralNetRegressor(max_epochs=50, callbacks=[stop], random_state=0).fit(X, X[:, 0]).n_iter_
    3
    """

    def __init__(self, patience: int = 10, monitor: str = "valid_loss", mode: str = "auto", min_delta: float = 0.0,
                 restore: bool = True):  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        self.patience, self.restore = patience, restore

    def on_training_started(self, net, history, **info):
        _need_count(self, "patience", 0)
        super().on_training_started(net, history, **info)

    def on_epoch_finished(self, net, history, **info):
        if not self._improved(net, history) and history[-1]["epoch"] - self.best_epoch_ > self.patience:
            raise StopIteration

    def on_training_finished(self, net, history, **info):
        if self.restore:
            self._restore(net)


class SaveWeights(Callback):
    """Writes the weights to a file after epochs, each time all or nothing.

    Parameters
    ----------
    path : str
        May hold ``{epoch}``, ``{timestamp}`` and any column of the history, as in ``"net-{epoch:03}.npz"``.
    every_n_epochs : int
    only_best : bool
        Whether to write only where `monitor` is better than ever; of every n epochs the others are not looked at.
    monitor, mode
        As for `RememberBestWeights`.
    """

    def __init__(self, path: str, every_n_epochs: int = 1, only_best: bool = False, monitor: str = "valid_loss",
                 mode: str = "auto"):  # fmt: skip
        self.path, self.every_n_epochs, self.only_best = path, every_n_epochs, only_best
        self.monitor, self.mode = monitor, mode

    def on_training_started(self, net, history, **info):
        _need_count(self, "every_n_epochs", 1)
        if self.only_best:
            _sign(self)

    def on_epoch_finished(self, net, history, **info):
        row = history[-1]
        if row["epoch"] % self.every_n_epochs == 0 and (not self.only_best or self._improved(history)):
            net.save_params_to(self._filled(row))

    def _improved(self, history: History) -> bool:
        """Whether the last epoch is better than all that were candidates before it. NaN never is."""
        value, sign = _watched(self, history), _sign(self)
        before = [past.get(self.monitor, math.nan) for past in history[:-1] if past["epoch"] % self.every_n_epochs == 0]
        return sign * value < min((sign * v for v in before if not math.isnan(v)), default=math.inf)

    def _filled(self, row: Mapping[str, Any]) -> str:
        """The path with the values of an epoch in it."""
        values = {**row, "timestamp": datetime.now().strftime("%Y-%m-%d-%H-%M-%S")}
        try:
            return str(self.path).format_map(values)
        except KeyError as error:
            name = error.args[0]
            raise DataError(f"SaveWeights: path {str(self.path)!r} asks for {{{name}}}{did_you_mean(name, values)}; "
                            f"known are {', '.join(values)}") from None  # fmt: skip
