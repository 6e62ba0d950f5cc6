"""How each engine's environment is made: one row for each, and nothing else that knows an engine by name.

A recipe says which Pythons will do, which lock holds the exact versions and hashes, what must be on the machine
already, what is done after the packages are installed, which variables a worker needs before the engine is imported,
and a few lines of Python that prove the environment works. The versions were tried together on Linux, x86-64.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from portanet.exceptions import BackendNotFound, EnvironmentFault, did_you_mean

__all__ = ["RECIPES", "Recipe", "lock_text", "need_platform", "recipe"]

LOCKS = files("portanet.runtime").joinpath("locks")
_LINUX = ("linux", "x86_64")
_REPORT = """\
import json, platform, numpy
print()
print(json.dumps({{"{0}": {0}.__version__, "numpy": numpy.__version__, "python": platform.python_version()}}))
"""


@dataclass(frozen=True)
class Recipe:
    """What an engine's environment is made of.

    Attributes
    ----------
    engine : str
    pythons : tuple of str
        Minor versions that work, the preferred first.
    lock : str
        File in ``runtime/locks`` with exact versions and hashes.
    megabytes : int
        Disk space that has to be free.
    selftest : str
        Python that imports the engine and computes something; it is followed by a report of the versions.
    platforms : tuple of (str, str)
        ``sys.platform`` and ``platform.machine()`` that the lock has wheels for; empty where any will do.
    built : tuple of str
        Packages that have no wheel and are built, with the tools that ``locks/build.txt`` pins.
    compiler : bool
        Whether the engine calls a C++ compiler.
    libraries : tuple of str
        Shared libraries of the system that the engine links against.
    needs_mpi : bool
        Whether stand-ins for Open MPI's libraries are written.
    local_index : str
        Where a build that PyPI lacks is published.
    fixed, defaults : mapping of str to str
        Variables of the worker; a default gives way to what the user has set.
    thread_variables : tuple of str
        Variables that take the number of threads.
    """

    engine: str
    pythons: tuple[str, ...]
    lock: str
    megabytes: int
    selftest: str
    platforms: tuple[tuple[str, str], ...] = ()
    built: tuple[str, ...] = ()
    compiler: bool = False
    libraries: tuple[str, ...] = ()
    needs_mpi: bool = False
    local_index: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    thread_variables: tuple[str, ...] = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    @property
    def digest(self) -> str:
        """Changes whenever the lock does; environments are stamped with it."""
        return hashlib.sha256(lock_text(self.lock)).hexdigest()[:16]

    @property
    def probe(self) -> str:
        """The self-test with its report, a JSON object in the last line of what is printed."""
        return f"{self.selftest}\n{_REPORT.format(self.engine)}"


def lock_text(name: str) -> bytes:
    """What a lock file holds, wherever the package is installed."""
    return LOCKS.joinpath(name).read_bytes()


_CNTK = """\
import subprocess, sys, types, warnings
warnings.simplefilter("ignore")
sys.modules.setdefault("pip", types.ModuleType("pip"))
import cntk
x = cntk.input_variable(2)
f = cntk.times(x, cntk.parameter((2, 1), init=1.0))
assert f.eval({x: [[3.0, 4.0]]}).item() == 7.0
"""
_THEANO = """\
import numpy, theano
x = theano.tensor.matrix()
f = theano.function([x], theano.tensor.dot(x, x))
assert (f(numpy.ones((2, 2), dtype=theano.config.floatX)) == 2).all()
assert theano.config.cxx, "Theano found no C++ compiler"
"""
_MXNET = """\
import mxnet
assert mxnet.nd.dot(mxnet.nd.ones((1, 2)), mxnet.nd.ones((2, 1))).asscalar() == 2.0
"""
_TORCH = """\
import torch
assert (torch.ones(1, 2) @ torch.ones(2, 1)).item() == 2.0
"""
_JAX = """\
import jax
assert jax.jit(jax.numpy.dot)(jax.numpy.ones(2), jax.numpy.ones(2)) == 2.0
"""
_TENSORFLOW = """\
import os
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow
assert tensorflow.linalg.matmul([[1.0, 1.0]], [[1.0], [1.0]]).numpy().item() == 2.0
"""

RECIPES = {
    row.engine: row
    for row in (
        Recipe(
            "cntk", ("3.6",), "cntk.txt", 900, _CNTK, (_LINUX,), needs_mpi=True,
            defaults={"KMP_WARNINGS": "0"},
            # CNTK's OpenMP heeds the limit alone
            thread_variables=("OMP_THREAD_LIMIT", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
        ),
        Recipe(
            "theano", ("3.10", "3.9", "3.8"), "theano.txt", 500, _THEANO, (_LINUX,), ("theano-pymc",), compiler=True,
            # two threads double the time of a convolution's small products; the adapter takes more where they pay
            defaults={"OPENBLAS_NUM_THREADS": "1"},
            thread_variables=("OMP_NUM_THREADS", "MKL_NUM_THREADS"),
        ),
        Recipe(
            "mxnet", ("3.10", "3.9", "3.8", "3.11"), "mxnet.txt", 600, _MXNET, (_LINUX,),
            libraries=("libgomp.so.1", "libquadmath.so.0"),
            # the threaded engine takes 1.5 to 3.3 times as long on few cores; threads that spin for long as they wait
            # take 2 to 5 times as long on a busy machine, those that never spin twice as long on a quiet one
            defaults={"MXNET_ENGINE_TYPE": "NaiveEngine", "GOMP_SPINCOUNT": "10000"},
            fixed={"MXNET_SUBGRAPH_VERBOSE": "0", "MXNET_MKLDNN_ENABLED": "1"},
        ),
        Recipe(
            "tensorflow", ("3.11", "3.12", "3.13"), "tensorflow.txt", 2600, _TENSORFLOW,
            defaults={"TF_CPP_MIN_LOG_LEVEL": "3"},
        ),
        Recipe("torch", ("3.11",), "torch.txt", 1500, _TORCH, local_index="https://download.pytorch.org/whl/cpu"),
        Recipe("jax", ("3.11", "3.12", "3.13"), "jax.txt", 1000, _JAX),
    )
}  # fmt: skip


def recipe(engine: str) -> Recipe:
    """The recipe of an engine.

    Raises
    ------
    BackendNotFound
        When there is none of this name.

    Examples
    --------
    >>> recipe("cntk").pythons
    ('3.6',)
    >>> recipe("ctnk")
    Traceback (most recent call last):
        ...
    portanet.exceptions.BackendNotFound: no environment can be made for 'ctnk' (did you mean 'cntk'?); engines: ...
    """
    if engine not in RECIPES:
        hint = did_you_mean(engine, RECIPES)
        raise BackendNotFound(f"no environment can be made for {engine!r}{hint}; engines: {', '.join(sorted(RECIPES))}")
    return RECIPES[engine]


def need_platform(wanted: Recipe) -> None:
    """Refuse a machine that the engine was never built for.

    Raises
    ------
    EnvironmentFault
        Names the platforms there are, and how to register an environment made in some other way.
    """
    here = (sys.platform, platform.machine().lower())
    if not wanted.platforms or (here[0], here[1].replace("amd64", "x86_64")) in wanted.platforms:
        return
    able = ", ".join(" ".join(pair) for pair in wanted.platforms)
    raise EnvironmentFault(
        f"engine {wanted.engine!r}: portanet's recipe is for {able}, this machine is {' '.join(here)}; make an "
        f"environment of your own and run: portanet env use {wanted.engine} /path/to/python",
        reason="platform", fix=f"portanet env use {wanted.engine} /path/to/python",
    )  # fmt: skip
