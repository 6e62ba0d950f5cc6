"""scikit-learn's `BaseEstimator`, inherited as soon as anything asks for it.

Importing scikit-learn takes longer than training many a net, and a quarter of the memory: SciPy's statistics and pandas
come with it. A net that is fed plain arrays needs none of that, so `BaseEstimator` takes the place of a stand-in when a
net is made while scikit-learn is loaded, or when something is asked of a net that only `BaseEstimator` has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any


class LateBaseEstimator:
    """Stands in the place of `BaseEstimator`, and gives way to it."""

    def __init__(self) -> None:
        if "sklearn.base" in sys.modules:
            inherit_base_estimator()

    def __getattr__(self, name: str) -> Any:
        if "sklearn.base" in sys.modules and inherit_base_estimator():
            return getattr(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return inherit_base_estimator().get_params(self, deep=deep)

    def set_params(self, **params: Any) -> Any:
        return inherit_base_estimator().set_params(self, **params)

    def __repr__(self) -> str:
        return inherit_base_estimator().__repr__(self)

    def __sklearn_tags__(self) -> Any:
        return inherit_base_estimator().__sklearn_tags__(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return inherit_base_estimator()._repr_mimebundle_(self, **kwargs)


class Estimator(LateBaseEstimator):
    """What portanet's estimators inherit: `BaseEstimator`, sooner or later.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> isinstance(Estimator(), BaseEstimator)
    True
    """


def inherit_base_estimator() -> Any:
    """Make `Estimator` a subclass of `BaseEstimator`, if it is not yet, and give that class."""
    from sklearn.base import BaseEstimator

    if LateBaseEstimator in Estimator.__bases__:
        Estimator.__bases__ = (BaseEstimator,)
        for kind in _below(Estimator):  # what Python does where a subclass is born
            BaseEstimator.__init_subclass__.__func__(kind)
    return BaseEstimator


def _below(kind: type) -> Iterator[type]:
    """Every subclass there is, parents first."""
    children: list[type] = kind.__subclasses__()
    for own in children:
        yield own
        yield from _below(own)
