"""Parameters that come as keywords: those of layers, of the update rule, and of the objective."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Self

from . import objectives, updates
from .declare import layer_parameters
from .exceptions import did_you_mean
from .sklearn_base import Estimator

FIXED = ("layers", "prediction", "target", "weights", "loss_function", "deterministic")


@functools.cache
def keyword_names(kind: type) -> tuple[str, ...]:
    """Names that a class's own constructor spells out."""
    own = vars(kind).get("__init__")
    parameters = inspect.signature(own).parameters.values() if inspect.isfunction(own) else ()
    return tuple(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


class KeywordParameters(Estimator):
    """An estimator whose parameters also are ``<layer>_<parameter>``, ``update_...`` and ``objective_...``."""

    layers: Any
    update: Callable
    objective: Callable

    def _extra(self) -> dict[str, Any]:
        """Parameters that came as keywords: those of layers, update rule and objective."""
        named = {name for kind in type(self).__mro__ for name in keyword_names(kind)}
        return {name: value for name, value in vars(self).items()
                if name not in named and not name.startswith("_") and not name.endswith("_")}  # fmt: skip

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every parameter by name, those of layers, update rule and objective among them."""
        return {**super().get_params(deep=deep), **self._extra()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``<layer>_<parameter>``, ``update_...`` and ``objective_...`` included."""
        known = self.get_params(deep=False).keys()
        new = [name for name in params if name.partition("__")[0] not in known]
        allowed = known | self._settable() if new else known
        unknown = [name for name in new if name not in allowed]
        if unknown:
            raise ValueError(
                f"Invalid parameter {unknown[0]!r} for estimator {type(self).__name__}"
                f"{did_you_mean(unknown[0], allowed)}. Valid parameters are: {sorted(allowed)}."
            )
        self.__dict__.update({name: params[name] for name in new})
        super().set_params(**{name: value for name, value in params.items() if name not in new})
        return self

    def _settable(self) -> set[str]:
        rule, options = self._rule_parameters(), self._objective_options()
        return layer_parameters(self.layers) | {f"update_{k}" for k in rule} | {f"objective_{k}" for k in options}

    def _rule_parameters(self) -> dict[str, Any]:
        return updates.hyperparameters(self.update)

    def _objective_options(self) -> list[str]:
        """Options of the objective; one that takes ``**kwargs`` takes those of the default, too."""
        parameters = inspect.signature(self.objective).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            own = {**inspect.signature(objectives.objective).parameters, **parameters}
        else:
            own = dict(parameters)
        return [name for name, p in own.items() if name not in FIXED and p.kind is not p.VAR_KEYWORD]

    def _under(self, prefix: str) -> dict[str, Any]:
        """Keyword parameters that begin with that prefix, without it."""
        return {name[len(prefix) + 1 :]: value for name, value in self._extra().items()
                if name.startswith(prefix + "_")}  # fmt: skip

    def _rule_faults(self) -> list[str]:
        faults = []
        rule, given, allowed = updates.rule_name(self.update), self._under("update"), self._rule_parameters()
        for name in given:
            if name not in allowed:
                faults.append(f"unknown parameter 'update_{name}': {rule} has no '{name}'"
                              f"{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}")  # fmt: skip
        for name, default in allowed.items():
            if default is inspect.Parameter.empty and name not in given:
                faults.append(f"update rule '{rule}' needs a value: write update_{name}=...")
        options = self._objective_options()
        for name in self._under("objective"):
            if name not in options:
                faults.append(f"unknown parameter 'objective_{name}'{did_you_mean(name, options)}; "
                              f"allowed: {', '.join(options)}")  # fmt: skip
        return faults

    def _hyper(self) -> dict[str, Any]:
        return {**self._rule_parameters(), **self._under("update")}
