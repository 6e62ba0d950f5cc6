"""CNTK, imported so that it works, and quietly.

CNTK imports pip, which environments of today lack, for a function that nobody calls; asks the shell for libraries of
GPUs; warns of every Linux but Ubuntu 16.04; changes PATH and LD_LIBRARY_PATH; and tells which device it computes on.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import types
import warnings


@contextlib.contextmanager
def _room_for_import():
    """What CNTK needs while it is imported, and as things were afterwards."""
    environment, call = dict(os.environ), subprocess.call
    lacks_pip = "pip" not in sys.modules and importlib.util.find_spec("pip") is None
    if lacks_pip:
        sys.modules["pip"] = types.ModuleType("pip")
    os.environ.setdefault("PATH", os.defpath)
    subprocess.call = lambda *args, **kwargs: 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        subprocess.call = call
        if lacks_pip:
            del sys.modules["pip"]
        os.environ.clear()
        os.environ.update(environment)


@contextlib.contextmanager
def _unheard():
    """The error stream leads nowhere: CNTK's library writes to it past Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _room_for_import():
    import cntk

CPU = cntk.device.cpu()
with _unheard():
    cntk.device.try_set_default_device(CPU)
    cntk.device.use_default_device()
