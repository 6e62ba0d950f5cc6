"""A dense net by depth: what does each further layer cost an engine besides its arithmetic?"""

from ... import layers
from ...estimator import NeuralNet
from ...nonlinearities import softmax
from ...updates import adam
from .. import datasets
from . import Model


def build(depth=4, width=128, **overrides):
    """784, `depth` hidden layers of `width` units, 10.

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.
    width : int
        Units of each.
    **overrides
        Of `NeuralNet`.

    Raises
    ------
    ValueError
        When `depth` is below 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    hidden = [(f"hidden{place}", layers.DenseLayer, {"num_units": width}) for place in range(1, depth + 1)]
    declared = dict(
        layers=[("input", layers.InputLayer), *hidden, ("output", layers.DenseLayer)],
        input_shape=(None, 784),
        output_nonlinearity=softmax,
        output_num_units=10,
        update=adam,
        update_learning_rate=0.001,
        batch_size=128,
        train_split=None,
        max_epochs=5,
        random_state=0,
        verbose=0,
    )
    return NeuralNet(**{**declared, **overrides})


MODEL = Model(
    name="depth",
    title="1 to 16 hidden layers of 128 units on MNIST",
    question="What does each layer cost an engine besides its arithmetic?",
    build=build,
    load=datasets.mnist,
    published=(),
    epochs=5,
    target_error=0.03,
    axis="depth",
    values=(1, 2, 4, 8, 16),
    source="depth",
)
