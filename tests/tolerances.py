"""How far two engines may be apart, by dtype: the one table that every numerical test reads."""

from typing import NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """``|got - wanted| <= atol + rtol * |wanted|``."""

    rtol: float
    atol: float


# float64 shows whether the formula is right: a dozen digits are left after the sums of small nets.
# float32 shows whether it is well computed. It has 6e-8 of rounding in each value.
FORWARD = {"float64": Tolerance(1e-12, 1e-13), "float32": Tolerance(1e-5, 1e-6)}
# Sums over batch and places, in which large terms cancel.
GRADIENT = {"float64": Tolerance(1e-10, 1e-12), "float32": Tolerance(2e-4, 2e-5)}
# Strides are a fraction of the parameters. Adam's 1 - beta2 ** step loses four of float32's seven digits at first.
UPDATE = {"float64": Tolerance(1e-11, 1e-12), "float32": Tolerance(1e-5, 1e-5)}
# 20 steps, each starting from the rounding of the last: NumPy in float32 stays within a fifth of this, and a learning
# rate wrong by 0.1 % leaves it.
RUN = {"float64": Tolerance(1e-9, 1e-10), "float32": Tolerance(5e-5, 5e-6)}
# Central differences with a step of about 1e-5.
FINITE_DIFFERENCE = Tolerance(1e-6, 1e-8)
EXACT = Tolerance(0.0, 0.0)


def assert_near(got, wanted, tolerance=None, what="result"):
    """Same dtype, same shape, and values within the tolerance (by default `FORWARD`'s; exact for whole numbers)."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.dtype == wanted.dtype, f"{what}: dtype {got.dtype}, not {wanted.dtype}"
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, not {wanted.shape}"
    rtol, atol = tolerance or FORWARD.get(str(wanted.dtype), EXACT)
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol, err_msg=what)
