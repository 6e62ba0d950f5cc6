import math
import pickle

import numpy as np
import pytest
from traced import compute, nodes, trace

from portanet import nonlinearities as nl
from portanet import ops
from portanet.layers import NonlinearityLayer

X = np.array([[-30.0, -2.5, -1.0, -0.1, 0.0], [0.1, 0.9, 1.0, 2.5, 30.0]])


def phi(x):
    return np.vectorize(lambda v: 0.5 * (1.0 + math.erf(v / math.sqrt(2.0))))(x)


def logistic(x):
    return 1.0 / (1.0 + np.exp(-x))


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


FORMULAS = {
    "sigmoid": logistic,
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),
    "tanh": np.tanh,
    "rectify": lambda x: np.maximum(x, 0),
    "leaky_rectify": lambda x: np.where(x > 0, x, 0.01 * x),
    "very_leaky_rectify": lambda x: np.where(x > 0, x, x / 3.0),
    "elu": elu,
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0),
    "gelu": lambda x: x * phi(x),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
    "swish": lambda x: x * logistic(x),
    "silu": lambda x: x * logistic(x),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "identity": lambda x: x,
    "linear": lambda x: x,
}
OBJECTS = [
    (nl.ScaledTanH(2 / 3, 1.7159), lambda x: 1.7159 * np.tanh(x * 2 / 3)),
    (nl.ScaledTanh(), np.tanh),
    (nl.LeakyRectify(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nl.LeakyRectify(0), lambda x: np.maximum(x, 0)),
    (nl.SELU(), elu),
    (nl.SELU(2.0, 3.0), lambda x: 2.0 * elu(x, 3.0)),
]


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    got = compute(NonlinearityLayer((None, 5), getattr(nl, name)), X)["y"]
    np.testing.assert_allclose(got, FORMULAS[name](X), rtol=1e-7, atol=1e-12)


def named(nonlinearity):
    return getattr(nonlinearity, "__name__", repr(nonlinearity))


@pytest.mark.parametrize(("nonlinearity", "formula"), OBJECTS, ids=[named(pair[0]) for pair in OBJECTS])
def test_formulas_with_settings(nonlinearity, formula):
    got = compute(NonlinearityLayer((None, 5), nonlinearity), X)["y"]
    np.testing.assert_allclose(got, formula(X), rtol=1e-7, atol=1e-12)


def test_every_public_name_has_a_formula_here():
    assert set(nl.__all__) - set(FORMULAS) == {
        "SELU",
        "LeakyRectify",
        "ScaledTanH",
        "ScaledTanh",
        "as_nonlinearity",
    }


@pytest.mark.parametrize(
    "nonlinearity", [*(getattr(nl, name) for name in FORMULAS), *(n for n, _ in OBJECTS)], ids=named
)
def test_pickle(nonlinearity):
    copied = pickle.loads(pickle.dumps(nonlinearity))
    assert repr(copied) == repr(nonlinearity)


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"identity", "linear"}))
def test_dtype_is_kept(name):
    graph = trace(NonlinearityLayer((None, 5), getattr(nl, name)), floatX="float64")
    assert graph.types[graph.outputs["y"]].dtype == "float64"


def test_known_functions_are_one_operator():
    for name, op in [("rectify", "Relu"), ("sigmoid", "Sigmoid"), ("softmax", "Softmax"), ("selu", "Selu")]:
        assert nodes(trace(NonlinearityLayer((None, 5), getattr(nl, name)))) == [op]


def test_none_is_the_identity():
    assert nl.as_nonlinearity(None) is nl.identity
    assert nl.linear is nl.identity
    assert nl.as_nonlinearity(ops.sin) is ops.sin


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("relu", "got 'relu'; write nonlinearities.rectify"),
        ("tanh", "got 'tanh'; write nonlinearities.tanh"),
        ("sigmiod", "did you mean 'sigmoid'"),
        (3, "a function of one tensor or None, got 3"),
        (nl.LeakyRectify, r"got the class LeakyRectify; write LeakyRectify\(\)"),
    ],
)
def test_what_is_no_function_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        nl.as_nonlinearity(value)
