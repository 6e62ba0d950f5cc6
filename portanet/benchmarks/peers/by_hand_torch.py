"""PyTorch by hand: channels-last images, ReLU after pooling, updates over all parameters at once, no data loader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contestants import Weights
from . import PlainPeer
from .torch_modules import count_from, loaded, module_of, optimizer_of, read_weights, take_weights
from .translation import pooled_first


class Peer(PlainPeer):
    """The plain loop that somebody writes who knows PyTorch well."""

    def load(self) -> None:
        self._torch = loaded(self.threads)
        self.record.update(engine="torch", version=f"PyTorch {self._torch.__version__}", threads=self.threads)

    def make(self) -> None:
        torch = self._torch
        torch.manual_seed(self.seed)
        self._place = torch.device(self.contestant.device.replace("gpu", "cuda"))
        module = module_of(torch, pooled_first(self.work.steps))
        take_weights(torch, module, self.given())
        self._module = module.to(self._place, memory_format=torch.channels_last)
        kind, arguments = optimizer_of(torch, self.work.rule, self.work.rate(0))
        whole = {"foreach": True} if kind.__module__.startswith("torch.") else {}
        self._optimizer = kind(self._module.parameters(), **arguments, **whole)
        self._count = 0
        self._rows = self._targets = None

    def lies_on(self) -> str:
        return str(next(self._module.parameters()).device)

    def weights(self) -> Weights:
        return self.named(read_weights(self._module, self.with_parameters()))

    def scores(self, X: np.ndarray) -> np.ndarray:
        torch = self._torch
        self._module.eval()
        with torch.inference_mode():
            parts = [self._module(part.to(self._place)).cpu().numpy() for part in torch.from_numpy(X).split(1024)]
        self._module.train()
        return np.concatenate(parts)

    def train(self, batches: Sequence[np.ndarray]) -> np.ndarray:
        torch, module, optimizer = self._torch, self._module, self._optimizer
        X, y = self._placed()
        losses = []
        for rows in batches:
            batch = torch.from_numpy(rows).to(self._place)
            if self.work.rule.scheduled:
                optimizer.param_groups[0]["lr"] = self.work.rate(self._count)
            loss = torch.nn.functional.cross_entropy(module(X.index_select(0, batch)), y.index_select(0, batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            self._count += 1
        return torch.stack(losses).cpu().numpy().astype(np.float64)

    def _placed(self) -> tuple[Any, Any]:
        """All training rows on the device, put there once."""
        if self._rows is None:
            torch = self._torch
            self._rows = torch.from_numpy(self.X).to(self._place)
            self._targets = torch.from_numpy(self.y).to(self._place)
        return self._rows, self._targets

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        if first:
            count_from(self._optimizer, first)
            self._count = first
        return self.train(batches)
