"""A small transformer encoder for sequences of words, of layers declared here over `portanet.ops`."""

from __future__ import annotations

import math
from typing import Any

from ... import layers, ops
from ...estimator import NeuralNet
from ...init import Constant, GlorotUniform, Normal
from ...nonlinearities import gelu, linear, softmax
from ...updates import adam
from .. import datasets
from . import Model

WORDS, LENGTH = 1000, 32


class EmbeddingLayer(layers.Layer):
    """A vector for each word, and one for the place where it stands, added.

    Parameters
    ----------
    incoming : Layer or tuple
        Word numbers, int32 of shape (N, length).
    words : int
        How many words there are.
    width : int
        Of the vectors.
    name : str, optional
    """

    def __init__(self, incoming: Any, words: int, width: int, name: str | None = None):
        super().__init__(incoming, name)
        self.W = self.add_param(Normal(0.1), (words, width), "W")
        self.places = self.add_param(Normal(0.1), (self.input_shape[1], width), "places")

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return ops.take(self.W, input) + self.places


class LayerNormLayer(layers.Layer):
    """(x - mean) / √(var + 1e-5) · gamma + beta over the last axis."""

    def __init__(self, incoming: Any, name: str | None = None):
        super().__init__(incoming, name)
        shape = self.input_shape[-1:]
        self.gamma = self.add_param(Constant(1.0), shape, "gamma")
        self.beta = self.add_param(Constant(0.0), shape, "beta", regularizable=False)

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return ops.layer_normalization(input, self.gamma, self.beta)


class SelfAttentionLayer(layers.Layer):
    """softmax(Q Kᵀ / √d) V for each head, d its width, the heads joined and multiplied by O.

    Q, K and V are the input times a matrix each.

    Parameters
    ----------
    incoming : Layer or tuple
        Of shape (N, length, width).
    heads : int
        A divisor of the width.
    name : str, optional

    References
    ----------
    A. Vaswani et al. (2017). Attention is all you need. NeurIPS. arXiv:1706.03762.
    """

    def __init__(self, incoming: Any, heads: int, name: str | None = None):
        super().__init__(incoming, name)
        width = self.input_shape[-1]
        if heads < 1 or width % heads:
            raise ValueError(f"heads must divide the width of the input, {width}; got {heads}")
        self.heads = heads
        self.Q, self.K, self.V, self.O = (
            self.add_param(GlorotUniform(), (width, width), name) for name in ("Q", "K", "V", "O")
        )

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        _, length, width = self.input_shape
        each = width // self.heads

        def by_head(matrix: Any, axes: tuple[int, ...]) -> Any:
            return ops.transpose(ops.reshape(ops.matmul(input, matrix), (0, length, self.heads, each)), axes)

        queries, values = by_head(self.Q, (0, 2, 1, 3)), by_head(self.V, (0, 2, 1, 3))
        keys = by_head(self.K, (0, 2, 3, 1))
        shares = ops.softmax(ops.matmul(queries, keys) / math.sqrt(each))
        joined = ops.reshape(ops.transpose(ops.matmul(shares, values), (0, 2, 1, 3)), (0, length, width))
        return ops.matmul(joined, self.O)


class MeanLayer(layers.Layer):
    """Mean over axis 1, the places of a sequence."""

    def get_output_for(self, input: Any, deterministic: bool = False, **kwargs: Any) -> Any:
        return ops.mean(input, 1)


def block(number: int, below: str, width: int, heads: int) -> list[tuple]:
    """Layers of one block, which adds to what comes from the layer `below`: attention, and then a feed-forward net."""
    kinds = {"num_leading_axes": -1}
    return [
        (f"norm{number}a", LayerNormLayer, {"incoming": below}),
        (f"attention{number}", SelfAttentionLayer, {"heads": heads}),
        (f"sum{number}a", layers.ElemwiseSumLayer, {"incomings": [below, f"attention{number}"]}),
        (f"norm{number}b", LayerNormLayer),
        (f"inner{number}", layers.DenseLayer, {"num_units": 4 * width, "nonlinearity": gelu, **kinds}),
        (f"outer{number}", layers.DenseLayer, {"num_units": width, "nonlinearity": linear, **kinds}),
        (f"sum{number}b", layers.ElemwiseSumLayer, {"incomings": [f"sum{number}a", f"outer{number}"]}),
    ]


def build(width=32, depth=1, heads=4, length=LENGTH, words=WORDS, **overrides):
    """An encoder of `depth` blocks, each normalised before attention and before its feed-forward net.

    Parameters
    ----------
    width : int
        Of the vectors; `heads` must divide it.
    depth : int
        Number of blocks.
    heads : int
    length, words : int
        Words of a sequence, and how many there are.
    **overrides
        Of `NeuralNet`.
    """
    blocks, below = [], "embedding"
    for number in range(1, depth + 1):
        blocks += block(number, below, width, heads)
        below = f"sum{number}b"
    declared = dict(
        layers=[
            ("input", layers.InputLayer, {"shape": (None, length), "dtype": "int32"}),
            ("embedding", EmbeddingLayer, {"words": words, "width": width}),
            *blocks,
            ("norm", LayerNormLayer),
            ("mean", MeanLayer),
            ("output", layers.DenseLayer, {"num_units": 2, "nonlinearity": softmax}),
        ],
        update=adam,
        update_learning_rate=0.001,
        batch_size=64,
        train_split=None,
        max_epochs=5,
        random_state=0,
        verbose=0,
    )
    return NeuralNet(**{**declared, **overrides})


def load(folder=None):
    """Film reviews, see `datasets.reviews`."""
    return datasets.reviews(folder, WORDS, LENGTH)


MODEL = Model(
    name="transformer",
    title="a transformer encoder of one block on the last 32 words of film reviews",
    question="How do engines do on attention, products of many small matrices, and from which width on does a GPU win?",
    build=build,
    load=load,
    published=(),
    epochs=5,
    target_error=None,
    axis="width",
    values=(16, 32, 64, 128),
    source="transformer",
)
