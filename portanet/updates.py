"""Update rules: how a parameter moves when its gradient is known.

A rule is an ordinary function over `portanet.ops`::

    rule(param, grad, state, learning_rate, ...)  ->  new value of param

`state` holds what the rule remembers of each parameter, in slots of the parameter's shape that are zero
before the first update: ``state["velocity"]`` reads one, ``state["velocity"] = value`` writes it,
``state.get("scale", 1.0)`` reads one that starts elsewhere. ``state.step`` is the number of this update, from
1. The arguments after `state` are the hyper-parameters, numbers given as ``update_<name>=`` that schedules
may change while training.

A rule of one's own, which steps by the sign of a velocity:

>>> from portanet import ops
>>> def signum(param, grad, state, learning_rate, momentum=0.9):
...     velocity = state["velocity"] = momentum * state["velocity"] + (1.0 - momentum) * grad
...     return param - learning_rate * ops.sign(velocity)
>>> hyperparameters(signum)["momentum"]
0.9
>>> trace_update(signum, {"learning_rate": 0.01}, {"output.W": (20, 3)}).slots
{'velocity': 0.0}

In the formulas below g is the gradient, η the learning rate, t the number of the update, and θ the parameter.
Defaults and the places of ε are Lasagne's, except where said otherwise. Powers and roots of hyper-parameters
are worked out once for all places, so a rule costs what its vector operations cost.
"""

from __future__ import annotations

from . import ops
from .constraints import grad_clipping, norm_constraint, total_norm_constraint
from .update_tracing import State, hyperparameters, rule_name, trace_gradient, trace_update

__all__ = [
    "State", "adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "grad_clipping", "hyperparameters",
    "momentum", "nadam", "nesterov_momentum", "norm_constraint", "rmsprop", "rule_name", "sgd",
    "total_norm_constraint", "trace_gradient", "trace_update",
]  # fmt: skip


def sgd(param, grad, state, learning_rate):
    """Stochastic gradient descent::

        θ ← θ - η g

    References
    ----------
    H. Robbins and S. Monro (1951), A stochastic approximation method, Annals of Mathematical Statistics 22.
    """
    return param - learning_rate * grad


def momentum(param, grad, state, learning_rate, momentum=0.9):
    """Gradient descent with a velocity, slot "velocity"::

        v ← μ v - η g
        θ ← θ + v

    References
    ----------
    D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986), Learning representations by back-propagating
    errors, Nature 323.
    """
    velocity = state["velocity"] = momentum * state["velocity"] - learning_rate * grad
    return param + velocity


def nesterov_momentum(param, grad, state, learning_rate, momentum=0.9):
    """Gradient descent with a velocity that looks ahead, slot "velocity"::

        v ← μ v - η g
        θ ← θ + μ v - η g

    The gradient is taken at θ; this is Nesterov's method told in terms of the point it looks ahead to.

    References
    ----------
    Y. Nesterov (1983), A method of solving a convex programming problem with convergence rate O(1/k²), Soviet
    Mathematics Doklady 27. I. Sutskever et al. (2013), On the importance of initialization and momentum in
    deep learning, ICML.
    """
    stride = learning_rate * grad
    velocity = state["velocity"] = momentum * state["velocity"] - stride
    return param + (momentum * velocity - stride)


def adagrad(param, grad, state, learning_rate=1.0, *, epsilon=1e-6):
    """A learning rate for each place, from the sum of its squared gradients; slot "accumulator"::

        r ← r + g²
        θ ← θ - η g / √(r + ε)

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer (2011), Adaptive subgradient methods for online learning and stochastic
    optimization, JMLR 12.
    """
    accumulator = state["accumulator"] = state["accumulator"] + ops.square(grad)
    return param - learning_rate * grad / ops.sqrt(accumulator + epsilon)


def rmsprop(param, grad, state, learning_rate=1.0, *, rho=0.9, epsilon=1e-6):
    """A learning rate for each place, from the running mean of its squared gradients; slot "accumulator"::

        r ← rho r + (1 - rho) g²
        θ ← θ - η g / √(r + ε)

    References
    ----------
    T. Tieleman and G. Hinton (2012), Neural networks for machine learning, lecture 6.5, Coursera.
    """
    accumulator = state["accumulator"] = rho * state["accumulator"] + (1.0 - rho) * ops.square(grad)
    return param - learning_rate * grad / ops.sqrt(accumulator + epsilon)


def adadelta(param, grad, state, learning_rate=1.0, *, rho=0.95, epsilon=1e-6):
    """Steps in the parameter's own units, from the running means of squared gradients and squared steps::

        r ← rho r + (1 - rho) g²
        u = g √(s + ε) / √(r + ε)
        θ ← θ - η u
        s ← rho s + (1 - rho) u²

    Slots are "accumulator" (r) and "delta" (s). The paper has no learning rate: η = 1.

    References
    ----------
    M. D. Zeiler (2012), ADADELTA: an adaptive learning rate method, arXiv:1212.5701.
    """
    rest = 1.0 - rho
    accumulator = state["accumulator"] = rho * state["accumulator"] + rest * ops.square(grad)
    stride = grad * ops.sqrt((state["delta"] + epsilon) / (accumulator + epsilon))
    state["delta"] = rho * state["delta"] + rest * ops.square(stride)
    return param - learning_rate * stride


def _moments(grad, state, beta1, beta2):
    """Running means of the gradient and of its square, both moved on by one update."""
    m = state["m"] = beta1 * state["m"] + (1.0 - beta1) * grad
    v = state["v"] = beta2 * state["v"] + (1.0 - beta2) * ops.square(grad)
    return m, v


def adam(param, grad, state, learning_rate=0.001, *, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adaptive moments; slots "m" and "v"::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        θ ← θ - η √(1 - β2^t) / (1 - β1^t) · m / (√v + ε)

    As in the remark after the paper's Algorithm 1, and in Lasagne, ε is added to the root before its
    correction.

    References
    ----------
    D. P. Kingma and J. Ba (2015), Adam: a method for stochastic optimization, ICLR, arXiv:1412.6980.
    """
    m, v = _moments(grad, state, beta1, beta2)
    rate = learning_rate * ops.sqrt(1.0 - beta2**state.step) / (1.0 - beta1**state.step)
    return param - rate * m / (ops.sqrt(v) + epsilon)


def adamax(param, grad, state, learning_rate=0.002, *, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adam by the infinity norm; slots "m" and "u"::

        m ← β1 m + (1 - β1) g
        u ← max(β2 u, |g|)
        θ ← θ - η / (1 - β1^t) · m / (u + ε)

    References
    ----------
    D. P. Kingma and J. Ba (2015), Adam: a method for stochastic optimization, ICLR, arXiv:1412.6980, section
    7.
    """
    m = state["m"] = beta1 * state["m"] + (1.0 - beta1) * grad
    u = state["u"] = ops.maximum(beta2 * state["u"], ops.abs(grad))
    rate = learning_rate / (1.0 - beta1**state.step)
    return param - rate * m / (u + epsilon)


def amsgrad(param, grad, state, learning_rate=0.001, *, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adam whose second moment never falls; slots "m", "v" and "vhat"::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        w ← max(w, v)
        θ ← θ - η √(1 - β2^t) / (1 - β1^t) · m / (√w + ε)

    References
    ----------
    S. J. Reddi, S. Kale and S. Kumar (2018), On the convergence of Adam and beyond, ICLR.
    """
    m, v = _moments(grad, state, beta1, beta2)
    largest = state["vhat"] = ops.maximum(state["vhat"], v)
    rate = learning_rate * ops.sqrt(1.0 - beta2**state.step) / (1.0 - beta1**state.step)
    return param - rate * m / (ops.sqrt(largest) + epsilon)


def adamw(param, grad, state, learning_rate=0.001, *, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01):
    """Adam with weight decay that its denominator does not scale; slots "m" and "v"::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        θ ← (1 - η λ) θ - η · m / (1 - β1^t) / (√(v / (1 - β2^t)) + ε)

    λ is `weight_decay`; it applies to every trainable parameter, biases too. As in the paper, ε is added to
    the corrected root, unlike in `adam`. λ is multiplied by the learning rate, and the defaults are those of
    PyTorch's AdamW.

    References
    ----------
    I. Loshchilov and F. Hutter (2019), Decoupled weight decay regularization, ICLR, arXiv:1711.05101,
    Algorithm 2.
    """
    m, v = _moments(grad, state, beta1, beta2)
    scale = ops.sqrt(1.0 - beta2**state.step)
    rate = learning_rate * scale / (1.0 - beta1**state.step)
    return (1.0 - learning_rate * weight_decay) * param - rate * m / (ops.sqrt(v) + epsilon * scale)


def nadam(param, grad, state, learning_rate=0.002, *, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adam with Nesterov's look ahead; slots "m" and "v"::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        n = β1 m / (1 - β1^(t+1)) + (1 - β1) g / (1 - β1^t)
        θ ← θ - η n / (√(v / (1 - β2^t)) + ε)

    This is the variant of constant β1, as Optax has it (``optax.nadam``), not that of PyTorch and Keras,
    where β1 grows over the first thousands of steps. ε is added to the corrected root.

    References
    ----------
    T. Dozat (2016), Incorporating Nesterov momentum into Adam, ICLR workshop.
    """
    fresh = (1.0 - beta1) * grad
    m = state["m"] = beta1 * state["m"] + fresh
    v = state["v"] = beta2 * state["v"] + (1.0 - beta2) * ops.square(grad)
    scale = ops.sqrt(1.0 - beta2**state.step)
    rate = learning_rate * scale
    ahead = rate * beta1 / (1.0 - beta1 ** (state.step + 1.0))
    stride = ahead * m + rate / (1.0 - beta1**state.step) * fresh
    return param - stride / (ops.sqrt(v) + epsilon * scale)
