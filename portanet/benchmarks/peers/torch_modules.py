"""What skorch and loops by hand share of PyTorch: the module, and optimisers with ε where portanet has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .translation import Activation, Conv, Dense, Dropout, Flatten, Pad, Pool, Rule, Step


def loaded(threads: int) -> Any:
    """PyTorch, with so many threads."""
    import torch

    torch.set_num_threads(threads)
    return torch


def module_of(torch: Any, steps: Sequence[Step]) -> Any:
    """A `torch.nn.Sequential`; modules go by the names of the layers."""
    module = torch.nn.Sequential()
    for step in steps:
        module.add_module(step.name, _layer(torch.nn, step))
    return module


def _layer(nn: Any, step: Step) -> Any:
    if isinstance(step, Dense):
        return nn.Linear(step.inputs, step.units, bias=step.bias)
    if isinstance(step, Conv):
        return nn.Conv2d(step.channels, step.filters, step.size, step.stride, bias=step.bias)
    if isinstance(step, Pool):
        return (nn.MaxPool2d if step.mode == "max" else nn.AvgPool2d)(step.size, step.stride)
    if isinstance(step, Pad):
        return nn.ZeroPad2d((step.left, step.right, step.top, step.bottom))
    if isinstance(step, Activation):
        return {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[step.function]()
    if isinstance(step, Dropout):
        return nn.Dropout(step.p)
    assert isinstance(step, Flatten)
    return nn.Flatten()


def take_weights(torch: Any, module: Any, given: Sequence[tuple[Dense | Conv, Sequence[np.ndarray]]]) -> None:
    """Put weights in portanet's layout into a module of `module_of`; PyTorch's matrices are (units, inputs)."""
    with torch.no_grad():
        for step, arrays in given:
            layer = module.get_submodule(step.name)
            W = arrays[0].T if isinstance(step, Dense) else arrays[0]
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(W)))
            if step.bias:
                layer.bias.copy_(torch.from_numpy(arrays[1]))


def read_weights(module: Any, steps: Sequence[Dense | Conv]) -> list[list[np.ndarray]]:
    """The way back from `take_weights`."""
    found = []
    for step in steps:
        layer = module.get_submodule(step.name)
        W = layer.weight.detach().cpu().numpy()
        own = [W.T if isinstance(step, Dense) else W]
        found.append(own + ([layer.bias.detach().cpu().numpy()] if step.bias else []))
    return found


def optimizer_of(torch: Any, rule: Rule, rate: float) -> tuple[Any, dict[str, Any]]:
    """Class of the optimiser, and its arguments: PyTorch's own where its formula is portanet's."""
    if rule.name == "rmsprop":
        return rmsprop(torch), {"lr": rate, "rho": rule.number("rho"), "eps": rule.number("epsilon")}
    if rule.name == "adam":
        betas = {name: rule.number(name) for name in ("beta1", "beta2")}
        return adam(torch), {"lr": rate, **betas, "eps": rule.number("epsilon")}
    if rule.name == "sgd":
        return torch.optim.SGD, {"lr": rate}
    nesterov = rule.name == "nesterov_momentum"
    return torch.optim.SGD, {"lr": rate, "momentum": rule.number("momentum"), "nesterov": nesterov}


def _optimizer(torch: Any) -> Any:
    """A base class of optimisers over all parameters at once; they define `move(params, grads, group)`."""
    base: Any = torch.optim.Optimizer

    class Whole(base):
        def __init__(self, params: Any, lr: float, **settings: float) -> None:
            super().__init__(params, {"lr": lr, **settings})

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            with torch.enable_grad():
                loss = closure() if closure is not None else None
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                self.move(params, [p.grad for p in params], group)
            return loss

        def memory(self, name: str, params: Any) -> list[Any]:
            return [self.state[p].setdefault(name, torch.zeros_like(p)) for p in params]

    return Whole


def rmsprop(torch: Any) -> Any:
    """RMSprop with ε added inside of the root; `torch.optim.RMSprop` adds it outside."""

    class RMSprop(_optimizer(torch)):  # type: ignore[misc]
        def move(self, params: Any, grads: Any, group: Any) -> None:
            squares = self.memory("square", params)
            torch._foreach_mul_(squares, group["rho"])
            torch._foreach_addcmul_(squares, grads, grads, value=1.0 - group["rho"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(params, grads, roots, value=-group["lr"])

    return RMSprop


def adam(torch: Any) -> Any:
    """Adam with ε added to the root before its correction; `torch.optim.Adam` adds it after."""

    class Adam(_optimizer(torch)):  # type: ignore[misc]
        def move(self, params: Any, grads: Any, group: Any) -> None:
            means, squares = self.memory("mean", params), self.memory("square", params)
            beta1, beta2 = group["beta1"], group["beta2"]
            count = group["count"] = group.get("count", 0) + 1
            torch._foreach_mul_(means, beta1)
            torch._foreach_add_(means, grads, alpha=1.0 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, grads, grads, value=1.0 - beta2)
            roots = torch._foreach_sqrt(squares)
            torch._foreach_add_(roots, group["eps"])
            rate = group["lr"] * (1.0 - beta2**count) ** 0.5 / (1.0 - beta1**count)
            torch._foreach_addcdiv_(params, means, roots, value=-rate)

    return Adam


def count_from(optimizer: Any, first: int) -> None:
    """Let an optimiser that has not stepped yet count its updates from there."""
    for group in optimizer.param_groups:
        group["count"] = first
