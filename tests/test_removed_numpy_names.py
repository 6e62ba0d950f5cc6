"""What old engines take from NumPy is there while it is asked for, and gone afterwards."""

import warnings

import numpy as np
import pytest

from portanet.engine.backends.removed_numpy_names import ALIASES, GONE, SPELLINGS, supplied, supply, withdraw


def test_every_name_is_there_inside_and_numpy_as_it_was_afterwards():
    before = dict(vars(np))
    with supplied():
        for name in (*ALIASES, *SPELLINGS, *GONE):
            assert name in vars(np), name
    assert dict(vars(np)) == before


def test_a_failure_inside_takes_the_names_away_again():
    before = set(vars(np))
    with pytest.raises(ImportError), supplied():
        raise ImportError
    assert set(vars(np)) == before


def test_names_that_numpy_has_are_left_alone():
    own = np.sum, np.bool_, np.float64
    added = supply()
    try:
        assert not set(added) & {"sum", "bool_", "float64"}
        assert (np.sum, np.bool_, np.float64) == own
    finally:
        withdraw(added)


def test_old_spellings_mean_what_the_new_ones_do():
    with supplied(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a NumPy that still has them
        assert vars(np)["float_"] is np.float64 and vars(np)["product"](np.array([2, 3])) == 6
        assert vars(np)["NINF"] == -np.inf and vars(np)["bool"] is np.bool_


def test_a_function_that_is_gone_says_so_when_it_is_called():
    added = supply()
    try:
        if "mirr" in added:
            with pytest.raises(
                NotImplementedError, match=rf"numpy\.mirr was removed from NumPy; this is {np.__version__}"
            ):
                np.mirr([1.0])
    finally:
        withdraw(added)
