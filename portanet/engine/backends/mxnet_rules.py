"""Known update rules as MXNet's own fused operators, in one pass over all parameters as one vector.

``rule(param, grad, slots, hyper, step)`` overwrites `param` and `slots`; `hyper` maps names to floats, `step` counts
from 1. These operators take their numbers in float32, so that they serve parameters of that type only.
"""

import math

from .mxnet_symbols import write

RULES = {}


def rule(function):
    RULES[function.__name__] = function
    return function


@rule
def sgd(param, grad, slots, hyper, step):
    write(param, "sgd_update", param, grad, lr=hyper["learning_rate"])


@rule
def momentum(param, grad, slots, hyper, step):
    write(param, "sgd_mom_update", param, grad, slots["velocity"], lr=hyper["learning_rate"],
          momentum=hyper["momentum"])  # fmt: skip


@rule
def nesterov_momentum(param, grad, slots, hyper, step):
    write(param, "nag_mom_update", param, grad, slots["velocity"], lr=hyper["learning_rate"],
          momentum=hyper["momentum"])  # fmt: skip


@rule
def rmsprop(param, grad, slots, hyper, step):
    write(param, "rmsprop_update", param, grad, slots["accumulator"], lr=hyper["learning_rate"], gamma1=hyper["rho"],
          epsilon=hyper["epsilon"])  # fmt: skip


@rule
def adam(param, grad, slots, hyper, step):
    rate = hyper["learning_rate"] * math.sqrt(1.0 - hyper["beta2"] ** step) / (1.0 - hyper["beta1"] ** step)
    write(param, "adam_update", param, grad, slots["m"], slots["v"], lr=rate, beta1=hyper["beta1"],
          beta2=hyper["beta2"], epsilon=hyper["epsilon"])  # fmt: skip
