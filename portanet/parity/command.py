"""What ``portanet parity`` does: find the net and the data, and compare."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..estimator import NeuralNet
from ..exceptions import DataError, PortanetError, did_you_mean
from ..persistence import load as load_arrays
from .compare import compare
from .report import ParityReport
from .samples import digits_net


def run(net: str | None, data: str | None = None, backends: str | None = None, device: str | None = None,
        steps: int = 20, floatX: str | None = None) -> ParityReport:  # fmt: skip
    """Compare the net that a command line names.

    Parameters
    ----------
    net : str or None
        See `find_net`; None takes the built-in net on scikit-learn's digits.
    data : str, optional
        An ``.npz`` file.
    backends, device, steps, floatX
        As for `compare`.

    Raises
    ------
    PortanetError
        Whatever goes wrong, code of the user's included.
    """
    if net is None and data is not None:
        raise DataError("--data needs a net to go with; name it before")
    found, X, y = digits_net() if net is None else _given(net, data)
    try:
        report = compare(found, X, y, backends, steps=steps, floatX=floatX, device=device)
    except PortanetError:
        raise
    except Exception as error:
        raise _wrapped("the net can't be compared", error) from error
    if net is None:
        report.data += " of scikit-learn's digits"
    return report


def _given(net: str, data: str | None) -> tuple[NeuralNet, Any, Any]:
    with importable(os.getcwd()):
        found = find_net(net)
    X, y = (None, None) if data is None else read_data(data)
    return found, X, y


def find_net(text: str) -> NeuralNet:
    """The net that a text names. Unpickles or runs the code of the file.

    Parameters
    ----------
    text : str
        Path of a net saved by pickle or joblib; or ``module:attribute`` or ``file.py:attribute``, the attribute being
        a net or a function without parameters that makes one.

    Raises
    ------
    DataError
        When there is no such file, module or attribute, when its code fails, or when what is found is no net.
    """
    source, mark, attribute = text.rpartition(":")
    if Path(text).is_file() or not (mark and attribute.isidentifier()):
        found = _unpickled(Path(text))
    else:
        found = _attribute(source, attribute)
    if callable(found):
        try:
            found = found()
        except Exception as error:
            raise _wrapped(f"{text}() failed", error) from error
    if not isinstance(found, NeuralNet):
        raise DataError(f"{text} holds a {type(found).__name__}, not a NeuralNet or a function that makes one")
    return found


def read_data(path: str) -> tuple[Any, np.ndarray | None]:
    """X and y of an ``.npz`` file; X is a dict by input name where the file has no array of that name."""
    try:
        arrays = load_arrays(path)
    except OSError as error:
        raise DataError(f"--data {path}: {error.strerror or error}") from error
    y = arrays.pop("y", None)
    if not arrays:
        raise DataError(f"--data {path} holds no X; save it by numpy.savez(path, X=..., y=...)")
    return (arrays["X"] if list(arrays) == ["X"] else arrays), y


@contextlib.contextmanager
def importable(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Inside, modules of that folder can be imported, as where Python runs a script of it."""
    before = list(sys.path)
    sys.path.insert(0, os.fspath(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _unpickled(path: Path) -> Any:
    import joblib

    if not path.is_file():
        raise DataError(f"no file {path}; give the path of a pickled net, module:attribute, or file.py:attribute")
    try:
        return joblib.load(path)
    except Exception as error:
        raise _wrapped(f"{path} can't be unpickled", error) from error


def _attribute(source: str, name: str) -> Any:
    try:
        module = _run_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except DataError:
        raise
    except Exception as error:
        raise _wrapped(f"{source} can't be imported", error) from error
    if not hasattr(module, name):
        public = [one for one in vars(module) if not one.startswith("_")]
        raise DataError(f"{source} has no '{name}'{did_you_mean(name, public)}; it has: {', '.join(public)}")
    return getattr(module, name)


def _run_file(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    with importable(path.parent):
        spec.loader.exec_module(module)
    return module


def _wrapped(what: str, error: Exception) -> DataError:
    return DataError(f"{what}: {type(error).__name__}: {error} (--traceback shows where)")
