"""How many threads MXNet computes with: those of OpenMP, and those of its own OpenBLAS."""

import contextlib
import ctypes
import os

from .mxnet_symbols import mx


def _load(path):
    try:
        return ctypes.CDLL(path)
    except OSError:
        return None


_openmp = _load("libgomp.so.1")
_openblas = _load(os.path.join(os.path.dirname(mx.__file__), "libopenblas.so.0"))


def count_threads():
    """Threads of the next parallel loop."""
    return _openmp.omp_get_max_threads() if _openmp else os.cpu_count()


@contextlib.contextmanager
def threads(wished):
    """So many threads, inside; None leaves them as they are.

    Raises
    ------
    ValueError
        Where the libraries that decide it are not found.
    """
    if not wished:
        yield
        return
    if _openmp is None:
        raise ValueError("backend 'mxnet': threads=%d can't be set here, since libgomp.so.1 was not found; set "
                         "OMP_NUM_THREADS=%d before Python starts" % (wished, wished))  # fmt: skip
    before, blas = _openmp.omp_get_max_threads(), _openblas and _openblas.openblas_get_num_threads()
    _set(wished, wished)
    try:
        yield
    finally:
        _set(before, blas)


def _set(openmp, blas):
    _openmp.omp_set_num_threads(openmp)
    if _openblas is not None:
        _openblas.openblas_set_num_threads(blas)
