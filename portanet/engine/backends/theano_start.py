"""Theano, imported so that it works: NumPy's removed names given back, and a BLAS named to link against.

Theano asks NumPy which BLAS to link; NumPy's wheels of today give no answer, on which the import fails. SciPy's wheels
bring an OpenBLAS with the plain names that Theano wants. What the user says in ``THEANO_FLAGS`` or ``.theanorc`` wins.
"""

import contextlib
import ctypes
import ctypes.util
import glob
import importlib.util
import os
import sys
import tempfile
import warnings

from .removed_numpy_names import supplied

SECTION = "[blas]\nldflags = %s\n"


def bundled_blas():
    """Path of the OpenBLAS in SciPy's wheel, or None."""
    found = importlib.util.find_spec("scipy")
    for folder in (found.submodule_search_locations or []) if found else []:
        for place in ("../scipy.libs", ".libs"):
            for path in sorted(glob.glob(os.path.join(folder, place, "libopenblas*.so*"))):
                if hasattr(ctypes.CDLL(path), "sgemm_"):
                    return os.path.abspath(path)
    return None


def linker_flags(path):
    """What links against the library at that path, and finds it again at run time.

    >>> linker_flags("/lib/libopenblas-1.2.so")
    '-L/lib -lopenblas-1.2 -Wl,-rpath,/lib'
    """
    folder, name = os.path.split(path)
    plain = name.startswith("lib") and name.endswith(".so")
    return "-L%s -l%s -Wl,-rpath,%s" % (folder, name[3:-3] if plain else ":" + name, folder)


def _default_flags():
    """Flags for the BLAS found here; None where there is none, so that Theano looks for one in its own way."""
    path = bundled_blas()
    if path is not None:
        return linker_flags(path)
    name = next((name for name in ("openblas", "blas") if ctypes.util.find_library(name)), None)
    return "-l" + name if name else None


@contextlib.contextmanager
def _weakest_setting(flags):
    """While Theano reads its settings, those flags stand in a file that any other file, and THEANO_FLAGS, overrides."""
    if flags is None or "theano" in sys.modules:
        yield
        return
    before = os.environ.get("THEANORC")
    handle, path = tempfile.mkstemp(suffix=".theanorc")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(SECTION % flags.replace("%", "%%"))
        own = "~/.theanorc" if before is None else before
        os.environ["THEANORC"] = os.pathsep.join(
            [path, own] + ["~/.theanorc.txt"] * (before is None and os.name == "nt")
        )
        yield
    finally:
        os.remove(path)
        if before is None:
            del os.environ["THEANORC"]
        else:
            os.environ["THEANORC"] = before


def _import():
    with supplied(), _weakest_setting(_default_flags()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy.distutils, among others
        try:
            import theano
        except AttributeError as error:
            if "blas_opt_info" not in str(error):
                raise
            raise ImportError("Theano found no BLAS to link against; pip install scipy==1.10.1 brings one, or name "
                              "yours: THEANO_FLAGS=blas__ldflags=-lopenblas")  # fmt: skip
    return theano


theano = _import()


class Blas:
    """The number of threads of the OpenBLAS that Theano's compiled functions call, where it can be set."""

    def __init__(self):
        path = bundled_blas()
        linked = path is not None and os.path.dirname(path) in theano.config.blas__ldflags
        self._library = ctypes.CDLL(path) if linked else None

    @property
    def threads(self):
        """How many there are now; None where nobody knows."""
        return None if self._library is None else self._library.openblas_get_num_threads()

    @contextlib.contextmanager
    def limited(self, threads):
        """That many inside, as many as before afterwards."""
        before = self.threads
        if before is None or before == threads:
            yield
            return
        self._library.openblas_set_num_threads(threads)
        try:
            yield
        finally:
            self._library.openblas_set_num_threads(before)
