"""JAX and TensorFlow: something is compiled once for each shape, and shared by all programs of a plan."""

import numpy as np
import pytest
from small_nets import BATCH, convolution, data, dense, dropping, fresh, opened, train

pytestmark = pytest.mark.parametrize("backend", ["jax", "tensorflow"], indirect=True)

OTHERWISE = {"jax": {"allow_tf32": True}, "tensorflow": {"jit": "off"}}


@pytest.mark.parametrize("build", [dense, convolution, dropping])
def test_a_block_is_compiled_once_for_each_size_of_batch(backend, build):
    with opened(backend, fresh(build)) as program:
        assert program.compilations == 0
        train(program, 3)
        assert program.compilations == 1
        train(program, 7, rate=0.5)
        train(program, 1)
        train(program, 300)
        assert program.compilations == 1, "neither the number of batches nor a rate compiles anything"
        train(program, 3, tail=True)
        assert program.compilations == 2, "a smaller last batch compiles once"
        train(program, 5, tail=True)
        assert program.compilations == 2


def test_scores_and_predictions_are_compiled_once_each(backend):
    X = data()[0]
    with opened(backend, fresh()) as program:
        for _ in range(2):
            program.evaluate("data", [np.arange(BATCH)] * 3)
            program.predict({"input": X})
            assert program.compilations == 2
        program.evaluate("data", [np.arange(BATCH)] * 5)
        assert program.compilations == 2
        program.predict({"input": X[1:]})
        assert program.compilations == 3


def test_another_program_of_the_plan_shares_what_is_compiled(backend):
    plan = fresh()
    with opened(backend, plan) as first, opened(backend, plan) as second:
        losses = train(first)
        assert losses.shape == (4,)
        np.testing.assert_array_equal(losses, train(second))
        assert first.compilations == second.compilations == 1
        np.testing.assert_array_equal(train(first, 2), train(second, 2))
        assert first.compilations == second.compilations == 1
    with opened(backend, plan, **OTHERWISE[backend.name]) as other:
        assert other.compilations == 0, "another option may compute otherwise"


def test_a_program_started_from_a_state_compiles_nothing_more(backend):
    with opened(backend, fresh()) as program:
        train(program)
        program.set_state(program.get_state())
        train(program)
        program.set_state({"parameters": program.get_state()["parameters"], "running": {}})
        train(program)
        assert program.compilations == 1
