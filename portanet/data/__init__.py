"""Reading data, cutting them into batches, and holding some out.

Each name arrives when it is used, so that what needs scikit-learn imports it no earlier.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "BatchIterator": ".batches",
    "DataFileError": ".errors",
    "PredefinedSplit": ".splits",
    "TextToSequences": ".text",
    "TrainSplit": ".splits",
    "load_cifar10": ".cifar",
    "load_imdb": ".imdb",
    "load_mnist": ".idx",
    "pad_sequences": ".padding",
    "read_idx": ".idx",
}

if TYPE_CHECKING:
    from .batches import BatchIterator
    from .cifar import load_cifar10
    from .errors import DataFileError
    from .idx import load_mnist, read_idx
    from .imdb import load_imdb
    from .padding import pad_sequences
    from .splits import PredefinedSplit, TrainSplit
    from .text import TextToSequences

__all__ = [
    "BatchIterator", "DataFileError", "PredefinedSplit", "TextToSequences", "TrainSplit", "load_cifar10", "load_imdb",
    "load_mnist", "pad_sequences", "read_idx",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
