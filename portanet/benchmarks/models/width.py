"""The net of P1 by width: from which number of hidden units does the other engine, or the other device, win?"""

from .. import datasets
from . import Model, p1


def build(width=100, **overrides):
    """1024-`width`-10.

    Parameters
    ----------
    width : int
        Units of the hidden layer.
    **overrides
        Of `NeuralNet`.
    """
    return p1.build(**{"hidden_num_units": width, "max_epochs": 5, **overrides})


MODEL = Model(
    name="width",
    title="one hidden layer of 16 to 4,096 units on grey CIFAR-10",
    question="From which width on does another engine or device win?",
    build=build,
    load=datasets.cifar10,
    published=(),
    epochs=5,
    target_error=None,
    axis="width",
    values=(16, 64, 256, 1024, 4096),
    source="width",
)
