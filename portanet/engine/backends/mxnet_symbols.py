"""MXNet 1.9.1 as portanet uses it: imported quietly where NumPy lacks what it asks for, and its operators by name.

An operator is called for symbols, `apply("_npi_add", x, y)`; symbols become a `Function`, which MXNet runs as a whole.
"""

import contextlib
import ctypes
import os
import sys
import threading
import warnings

import numpy as np

from .removed_numpy_names import supplied


@contextlib.contextmanager
def _first_import():
    """The engine that runs one operator after the other, unless another was asked for, and no word on the error stream.

    On few cores it is up to three times as fast as MXNet's usual engine, whose threads wait for each other. MXNet takes
    its engine once, when it is loaded, and always tells of it.
    """
    wanted = {"MXNET_ENGINE_TYPE": "NaiveEngine", "MXNET_SUBGRAPH_VERBOSE": "0"}
    ours = [name for name in wanted if name not in os.environ]
    os.environ.update((name, wanted[name]) for name in ours)
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        for name in ours:
            del os.environ[name]


if "mxnet" in sys.modules:
    import mxnet as mx
else:
    with _first_import(), supplied(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # MXNet's, of itself
        import mxnet as mx

        mx.nd.zeros((1,)).wait_to_read()

MISSING_DTYPES = ("bfloat16", "float16")
CARRIED = {"uint16": "int32"}  # MXNet has no whole numbers of 16 bits

_handles = {}
_building = threading.local()


def _handle(name):
    if name not in _handles:
        found = ctypes.c_void_p()
        mx.base.check_call(mx.base._LIB.NNGetOpHandle(name.encode(), ctypes.byref(found)))
        _handles[name] = found.value
    return _handles[name]


def apply(name, *symbols, **attrs):
    """The symbol of that operator; of one with several results, ``[i]`` picks one."""
    return mx.symbol._internal._symbol_creator(
        _handle(name), symbols, None, list(attrs), list(attrs.values()), None, False
    )


def write(out, name, *arrays, **attrs):
    """Run that operator now, on arrays, and write its result to the array `out`."""
    mx.nd._internal._imperative_invoke(_handle(name), arrays, list(attrs), list(attrs.values()), out, False, False)


def variable(name):
    """A symbol for an array that comes with each call."""
    return mx.sym.Variable(name)


@contextlib.contextmanager
def building():
    """Collects the constants of the symbols that are made inside, by name."""
    before, _building.constants = getattr(_building, "constants", None), {}
    try:
        yield _building.constants
    finally:
        _building.constants = before


def constant(array):
    """A symbol for this NumPy array."""
    name = "constant:%d" % len(_building.constants)
    _building.constants[name] = np.asarray(array)
    return variable(name)


def known(symbol):
    """The array that a symbol stands for, or None where it is not a constant."""
    return _building.constants.get(symbol.name)


def upload(array):
    """MXNet's own copy of a NumPy array."""
    array = np.asarray(array)
    made = mx.nd.empty(array.shape, dtype=CARRIED.get(str(array.dtype), str(array.dtype)))
    made._sync_copyfrom(array)
    return made


def fetch(array, dtype=None):
    """A NumPy array of its own."""
    found = array.asnumpy()
    return found if dtype is None or found.dtype == dtype else found.astype(dtype)


class Function:
    """Symbols that are run together.

    Parameters
    ----------
    outputs : list of Symbol
    constants : dict of str to numpy.ndarray
        See `building`.
    static : bool
        Whether memory is planned and kept for the first shapes that are met: for what is run many times.

    Attributes
    ----------
    inputs : list of str
        Names of the arrays that are read.
    """

    def __init__(self, outputs, constants, static=False):
        group = mx.sym.Group([apply("_copy", symbol) for symbol in outputs])
        names = group.list_inputs()
        self._constants = {name: upload(constants[name]) for name in names if name in constants}
        self.inputs = [name for name in names if name not in constants]
        self._names = names
        self._op = mx.nd.CachedOp(group, [("static_alloc", True), ("static_shape", True)] if static else [])

    def run(self, feeds):
        """The results, for arrays by name."""
        constants = self._constants
        made = self._op(*[constants[name] if name in constants else feeds[name] for name in self._names])
        return made if isinstance(made, list) else [made]
