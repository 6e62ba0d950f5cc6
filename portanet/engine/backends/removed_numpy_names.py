"""Names that NumPy has removed and that engines no longer developed still take from it.

MXNet 1.9.1 and Theano-PyMC 1.1.2 were written for NumPy 1.x before 1.24. What they lack in newer ones is a few names:
the aliases of Python's types (gone in 1.24), the second spellings (gone in 2.0), and functions that they hand on
without calling them.
"""

import contextlib

import numpy as np

ALIASES = {"bool": np.bool_, "int": int, "float": float, "complex": complex, "object": object, "str": str}
SPELLINGS = {
    "Inf": "inf", "Infinity": "inf", "PINF": "inf", "infty": "inf", "NAN": "nan", "NaN": "nan", "alltrue": "all",
    "complex_": "complex128", "cumproduct": "cumprod", "float_": "float64", "in1d": "isin", "product": "prod",
    "round_": "round", "row_stack": "vstack", "sometrue": "any", "string_": "bytes_", "trapz": "trapezoid",
    "unicode_": "str_",
}  # fmt: skip
CONSTANTS = {"NINF": -np.inf, "NZERO": -0.0, "PZERO": 0.0}
GONE = (
    "asscalar", "byte_bounds", "cast", "compare_chararrays", "deprecate", "disp", "find_common_type", "fv", "ipmt",
    "irr", "issctype", "loads", "lookfor", "mafromtxt", "maximum_sctype", "mirr", "msort", "ndfromtxt", "nper", "npv",
    "obj2sctype", "pmt", "ppmt", "pv", "rank", "rate", "safe_eval", "sctype2char", "set_numeric_ops",
    "set_string_function", "source", "tracemalloc_domain", "who",
)  # fmt: skip


def _refusing(name):
    def gone(*args, **kwargs):
        raise NotImplementedError("numpy.%s was removed from NumPy; this is %s" % (name, np.__version__))

    return gone


def supply():
    """Put what is missing into `numpy`.

    Returns
    -------
    list of str
        The names that were added, which `withdraw` takes away again.
    """
    wanted = dict(ALIASES, **CONSTANTS)
    wanted.update((old, getattr(np, new)) for old, new in SPELLINGS.items() if new in np.__dict__)
    wanted.update((name, _refusing(name)) for name in GONE)
    # Not by hasattr: NumPy 1.20 to 1.23 answer to the aliases, but with a warning.
    added = [name for name in wanted if name not in np.__dict__]
    for name in added:
        setattr(np, name, wanted[name])
    return added


def withdraw(added):
    """Take out of `numpy` what `supply` has put in."""
    for name in added:
        delattr(np, name)


@contextlib.contextmanager
def supplied():
    """What is missing is there inside, and NumPy as it was afterwards.

    Examples
    --------
    >>> before = set(vars(np))
    >>> with supplied():
    ...     ones = np.ones(2, np.float_)
    >>> set(vars(np)) == before
    True
    """
    added = supply()
    try:
        yield
    finally:
        withdraw(added)
