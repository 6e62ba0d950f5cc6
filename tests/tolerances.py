"""How far two engines may be apart, by dtype: the one table that every numerical test reads."""

from typing import NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """``|got - wanted| <= atol + rtol * |wanted|``."""

    rtol: float
    atol: float


FORWARD = {"float64": Tolerance(1e-12, 1e-13), "float32": Tolerance(1e-5, 1e-6)}
GRADIENT = {"float64": Tolerance(1e-10, 1e-12), "float32": Tolerance(2e-4, 2e-5)}
FINITE_DIFFERENCE = Tolerance(1e-6, 1e-8)
EXACT = Tolerance(0.0, 0.0)


def assert_near(got, wanted, tolerance=None, what="result"):
    """Same dtype, same shape, and values within the tolerance (by default `FORWARD`'s; exact for whole numbers)."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.dtype == wanted.dtype, f"{what}: dtype {got.dtype}, not {wanted.dtype}"
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, not {wanted.shape}"
    rtol, atol = tolerance or FORWARD.get(str(wanted.dtype), EXACT)
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol, err_msg=what)
