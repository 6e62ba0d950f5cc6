"""What is compared: the published programs, families by width and depth, a transformer, and nets of one's own.

Each model is a module with ``MODEL``; a new one is such a module and a row in `MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from ...estimator import NeuralNet
from ...exceptions import DataError, did_you_mean
from ..datasets import Dataset, Folder

MODULES = {
    "P1": "p1",
    "P2": "p2",
    "P5": "p5",
    "P6": "p6",
    "width": "width",
    "depth": "depth",
    "transformer": "transformer",
}


@dataclass(frozen=True)
class Model:
    """A net, its data, and what is asked of them.

    Attributes
    ----------
    name, title, question : str
        As in ``"P6"``, what it is, and what the comparison is to answer.
    build : callable
        ``build(**overrides)`` gives a net, not fitted, that holds nothing out and says nothing. Overrides are keyword
        parameters of `NeuralNet`, and what the model's own family varies by, such as ``width``.
    load : callable
        ``load(folder=None)`` gives a `Dataset`.
    published : tuple of dict
        What others measured: ``{"who", "tool", "figure"}``.
    epochs : int
        Passes over the data of the published program.
    target_error : float or None
        Error rate on the test rows that "time to accuracy" runs to.
    axis : str
        The override that a sweep goes over.
    values : tuple of int
        What that sweep goes through.
    source : str
        What `find` finds it by.
    """

    name: str
    title: str
    question: str
    build: Callable[..., NeuralNet]
    load: Callable[..., Dataset]
    published: tuple[dict[str, str], ...]
    epochs: int
    target_error: float | None
    axis: str
    values: tuple[int, ...]
    source: str


def names() -> list[str]:
    """Of the models that come with portanet.

    >>> names()
    ['P1', 'P2', 'P5', 'P6', 'width', 'depth', 'transformer']
    """
    return list(MODULES)


def find(text: str, data: Sequence[str] | None = None) -> Model:
    """The model of that name, or of a net of one's own.

    Parameters
    ----------
    text : str
        A name, in any case; or for a net of one's own ``file.py:attribute``, ``module:attribute`` or the path of a
        pickled net, as for `portanet.parity.command.find_net`. The code of such a file is run.
    data : sequence of str, optional
        Files of a net of one's own: ``X.npy`` and ``y.npy``, or one ``.npz`` with arrays ``X`` and ``y``. They are
        read by `Model.load`.

    Raises
    ------
    DataError
        When no model has this name, when the file or its code fails, or when data are missing or in excess.

    Examples
    --------
    >>> find("p6").title
    'two convolutions on MNIST, 65,402 parameters'
    >>> find("P66")
    Traceback (most recent call last):
        ...
    portanet.exceptions.DataError: no model 'P66' (did you mean 'P6'?); there are P1, P2, P5, P6, width, depth,
    transformer; a net of your own is file.py:attribute
    """
    known = {name.lower(): name for name in MODULES}
    if text.lower() not in known:
        from . import own

        if not own.is_named(text):
            raise DataError(f"no model {text!r}{did_you_mean(text, MODULES)}; there are {', '.join(MODULES)}; a net of "
                            "your own is file.py:attribute")  # fmt: skip
        return own.model(text, data)
    name = known[text.lower()]
    if data:
        raise DataError(f"{name} brings its own data; leave out {' '.join(data)}")
    return import_module(f".{MODULES[name]}", __name__).MODEL


__all__ = ["MODULES", "Dataset", "Folder", "Model", "find", "names"]
