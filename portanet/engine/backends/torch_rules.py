"""Known update rules in place over lists of tensors: the same formulas as their graphs, in fewer passes.

``rule(params, grads, slots, hyper, step)``: `slots` maps names to lists of tensors, `hyper` names to floats, `step`
counts from 1. Everything is overwritten; the gradients are used up.
"""

import math

import torch

RULES = {}


def rule(function):
    RULES[function.__name__] = function
    return function


@rule
def sgd(params, grads, slots, hyper, step):
    torch._foreach_add_(params, grads, alpha=-hyper["learning_rate"])


@rule
def momentum(params, grads, slots, hyper, step):
    velocity = slots["velocity"]
    torch._foreach_mul_(velocity, hyper["momentum"])
    torch._foreach_add_(velocity, grads, alpha=-hyper["learning_rate"])
    torch._foreach_add_(params, velocity)


@rule
def nesterov_momentum(params, grads, slots, hyper, step):
    velocity = slots["velocity"]
    torch._foreach_mul_(velocity, hyper["momentum"])
    torch._foreach_add_(velocity, grads, alpha=-hyper["learning_rate"])
    torch._foreach_add_(params, velocity, alpha=hyper["momentum"])
    torch._foreach_add_(params, grads, alpha=-hyper["learning_rate"])


def _scaled_step(params, grads, squares, hyper):
    roots = torch._foreach_add(squares, hyper["epsilon"])
    torch._foreach_sqrt_(roots)
    torch._foreach_addcdiv_(params, grads, roots, value=-hyper["learning_rate"])


@rule
def adagrad(params, grads, slots, hyper, step):
    torch._foreach_addcmul_(slots["accumulator"], grads, grads)
    _scaled_step(params, grads, slots["accumulator"], hyper)


@rule
def rmsprop(params, grads, slots, hyper, step):
    torch._foreach_mul_(slots["accumulator"], hyper["rho"])
    torch._foreach_addcmul_(slots["accumulator"], grads, grads, value=1.0 - hyper["rho"])
    _scaled_step(params, grads, slots["accumulator"], hyper)


def _moments(grads, slots, hyper):
    torch._foreach_lerp_(slots["m"], grads, 1.0 - hyper["beta1"])
    torch._foreach_mul_(slots["v"], hyper["beta2"])
    torch._foreach_addcmul_(slots["v"], grads, grads, value=1.0 - hyper["beta2"])


def _corrections(hyper, step):
    """``sqrt(1 - beta2^t)`` and ``1 - beta1^t``."""
    return math.sqrt(1.0 - hyper["beta2"] ** step), 1.0 - hyper["beta1"] ** step


def _adam_step(params, slots, hyper, rate, epsilon):
    roots = torch._foreach_sqrt(slots["v"])
    torch._foreach_add_(roots, epsilon)
    torch._foreach_addcdiv_(params, slots["m"], roots, value=-rate)


@rule
def adam(params, grads, slots, hyper, step):
    _moments(grads, slots, hyper)
    scale, correction = _corrections(hyper, step)
    _adam_step(params, slots, hyper, hyper["learning_rate"] * scale / correction, hyper["epsilon"])


@rule
def adamw(params, grads, slots, hyper, step):
    _moments(grads, slots, hyper)
    scale, correction = _corrections(hyper, step)
    torch._foreach_mul_(params, 1.0 - hyper["learning_rate"] * hyper["weight_decay"])
    _adam_step(params, slots, hyper, hyper["learning_rate"] * scale / correction, hyper["epsilon"] * scale)
