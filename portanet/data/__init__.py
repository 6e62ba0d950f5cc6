"""Reading data, cutting them into batches, and holding some out."""

from .batches import BatchIterator
from .splits import PredefinedSplit, TrainSplit

__all__ = ["BatchIterator", "PredefinedSplit", "TrainSplit"]
