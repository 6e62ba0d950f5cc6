"""PyTorch by hand: channels-last, ReLU after pooling, cheap masks, updates over all parameters at once."""

import ctypes
import time

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from . import programs


def train(program, X, y, epochs, threads, device="cpu"):
    torch.set_num_threads(threads)
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 30)  # freed memory is kept for the next batch
    libc.mallopt(-1, 1 << 30)
    layers, rule = programs.PROGRAMS[program]["layers"], RULES[programs.PROGRAMS[program]["rule"]]
    device = "cuda" if device == "gpu" else device
    weights = [torch.from_numpy(w).to(device) for w in programs.weights(program)]
    weights = [w.to(memory_format=torch.channels_last) if w.ndim == 4 else w for w in weights]
    leaves = [w.requires_grad_() for w in weights]
    raw, memory = [w.detach() for w in leaves], [torch.zeros_like(w) for w in leaves]
    X, y = torch.from_numpy(X).to(device), torch.from_numpy(y.astype(np.int64)).to(device)
    rng, step, seconds = np.random.default_rng(0), 0, []
    for _ in range(epochs):
        started, losses = time.perf_counter(), []
        for rows in torch.from_numpy(rng.permutation(len(X))).to(device).split(programs.BATCH):
            a, own = X.index_select(0, rows), iter(leaves)
            for layer in layers:
                a = forward(layer, a, own, rng)
            loss = F.cross_entropy(a, y.index_select(0, rows))
            grads = torch.autograd.grad(loss, leaves)
            losses.append(loss.detach())
            with torch.no_grad():
                rule(raw, grads, memory, step)
            step += 1
        assert np.isfinite(torch.stack(losses).cpu().numpy()).all()
        seconds.append(time.perf_counter() - started)
    return seconds


def forward(layer, a, own, rng):
    kind, *sizes = layer
    if kind == "conv":
        return F.conv2d(a, next(own), next(own))
    if kind == "pool":
        return F.max_pool2d(a, 2)
    if kind == "dense":
        return torch.addmm(next(own), a, next(own))
    if kind == "dropout" and a.is_cuda:
        return F.dropout(a, sizes[0])
    if kind == "dropout":
        words = rng.bit_generator.random_raw(-(-a.numel() // 4)).view(np.uint16)[: a.numel()]
        kept = (words >= round(sizes[0] * 65536)).reshape(a.shape)
        return a * torch.from_numpy(np.multiply(kept, np.float32(1 / (1 - sizes[0])), dtype=np.float32))
    return a.relu() if kind == "relu" else a.flatten(1)


def nesterov(params, grads, memory, step):
    torch._foreach_mul_(memory, 0.9)
    torch._foreach_add_(memory, grads, alpha=-0.01)
    torch._foreach_add_(params, memory, alpha=0.9)
    torch._foreach_add_(params, grads, alpha=-0.01)


def rmsprop(params, grads, memory, step):
    torch._foreach_mul_(memory, 0.9)
    torch._foreach_addcmul_(memory, grads, grads, value=0.1)
    roots = torch._foreach_add(memory, 1e-6)
    torch._foreach_sqrt_(roots)
    torch._foreach_addcdiv_(params, grads, roots, value=-0.001)


def momentum(params, grads, memory, step):
    torch._foreach_mul_(memory, 0.9)
    torch._foreach_add_(memory, grads, alpha=-0.05 / (1 + 1e-5 * step))
    torch._foreach_add_(params, memory)


RULES = {"nesterov": nesterov, "rmsprop": rmsprop, "momentum": momentum}
