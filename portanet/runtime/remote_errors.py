"""Errors of a worker, raised anew in the user's process."""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Mapping
from typing import Any

from ..exceptions import EngineError

__all__ = ["RemoteTraceback", "rebuild"]

_ENGINE = "portanet.engine."
_TOO_GENERAL = (Exception, RuntimeError)


class RemoteTraceback(Exception):  # noqa: N818
    """What was raised in the worker, as text: the cause of the error raised here."""

    def __init__(self, traceback: str, said: str = "") -> None:
        super().__init__(traceback, said)
        self.traceback, self.said = traceback, said

    def __str__(self) -> str:
        said = f"\nThe worker last printed:\n{self.said}" if self.said else ""
        return f"\n{self.traceback.rstrip()}{said}"


def rebuild(described: Mapping[str, Any], said: str = "") -> BaseException:
    """The error that `portanet.engine.worker.describe` described.

    It is of the same class where that is one of Python's or of portanet's engine folder, else of the nearest such class
    that it derives from, else an `EngineError`.

    Examples
    --------
    >>> rebuild({"classes": ["builtins.KeyError"], "arguments": ["W"], "message": "'W'", "traceback": ""})
    KeyError('W')
    >>> rebuild({"classes": ["mxnet.base.MXNetError", "builtins.RuntimeError"], "arguments": [], "message": "no memory",
    ...          "traceback": ""})
    EngineError('mxnet.base.MXNetError: no memory')
    """
    error = _rebuilt(described)
    error.__cause__ = RemoteTraceback(described["traceback"], said)
    return error


def _rebuilt(described: Mapping[str, Any]) -> BaseException:
    first = described["classes"][0]
    text = f"{first.removeprefix('builtins.')}: {described['message']}"
    found = next(filter(None, map(_known, described["classes"])), Exception)
    if found is KeyboardInterrupt:
        return KeyboardInterrupt()
    exact = _known(first) is found
    if not issubclass(found, Exception) or (found in _TOO_GENERAL and not exact):
        return EngineError(text)
    try:
        return found(*described["arguments"]) if exact else found(text)
    except TypeError:  # made from other things than its arguments
        return EngineError(text)


def _known(name: str) -> type[BaseException] | None:
    """A class by its qualified name, where it is one of Python's or portanet's."""
    module, _, kind = name.rpartition(".")
    if module == "builtins":
        return getattr(builtins, kind, None)
    return getattr(importlib.import_module(module), kind, None) if module.startswith(_ENGINE) else None
