"""What a user hands over stays the user's: it is not changed, and changing it afterwards changes nothing.

Arrays start at multiples of 64 bytes here, which is where engines are tempted to use the memory as it is.
"""

import numpy as np
import pytest
from reference import flat
from sklearn.datasets import load_digits

from portanet import NeuralNet, layers
from portanet.updates import momentum

ROWS, BATCH = 48, 16
CPU = {"kind": "cpu", "index": 0, "name": "CPU"}


def aligned(array):
    """A copy that starts at a multiple of 64 bytes."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert copy.ctypes.data % 64 == 0
    return copy


def copied(state, how=np.array):
    """The state with every array made anew by `how`."""
    slots = {slot: {name: how(array) for name, array in own.items()} for slot, own in state["slots"].items()}
    parts = {part: {name: how(array) for name, array in state[part].items()} for part in ("parameters", "running")}
    return {**parts, "slots": slots, "step": state["step"]}


def assert_same(found, expected):
    found, expected = flat(found), flat(expected)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def spoil(state):
    """Overwrite every array of a state."""
    for name, array in flat(state).items():
        if name != "steps taken":
            array[...] = 99


@pytest.fixture(scope="module")
def data():
    X, y = load_digits(return_X_y=True)
    return aligned((X[:ROWS] / 16).astype("float32")), aligned(y[:ROWS].astype("int32"))


def net_of(**parameters):
    return NeuralNet(
        layers=[
            ("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("norm", layers.BatchNormLayer),
            ("output", layers.DenseLayer),
        ],
        hidden_num_units=64, update=momentum, update_learning_rate=0.1, batch_size=BATCH, max_epochs=2,
        train_split=None, random_state=0, verbose=0, device="cpu", **parameters,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plan(data):
    return net_of().initialize(*data, backend="numpy").plan_


@pytest.fixture
def program(backend, plan, data):
    program = backend.compile(plan, CPU, {})
    program.bind("data", {"input": data[0], "target": data[1]})
    yield program
    program.close()


def train(program, count=3):
    hyper = {name: np.full(count, first) for name, first in program.plan.update.hyper.items()}
    return program.train("data", [np.arange(BATCH) + at for at in range(count)], hyper, 0)


def test_training_does_not_write_into_a_given_state(program):
    train(program)
    given = copied(program.get_state(), aligned)
    before = copied(given)
    program.set_state(given)
    train(program)
    assert_same(given, before)


def test_a_given_state_may_be_overwritten(program):
    train(program)
    given = copied(program.get_state(), aligned)
    expected = copied(given)
    program.set_state(given)
    spoil(given)
    assert_same(program.get_state(), expected)
    losses = train(program)
    program.set_state(expected)
    np.testing.assert_array_equal(train(program), losses)


def test_a_state_that_was_asked_for_is_a_copy(program):
    train(program)
    seen = program.get_state()
    before = copied(seen)
    train(program)
    assert_same(seen, before)
    after = copied(program.get_state())
    spoil(seen)
    spoil(program.get_state())
    assert_same(program.get_state(), after)


def test_the_arrays_of_the_plan_stay_as_they_are(backend, plan, data):
    """A second program of the plan starts where the first did."""
    plan.arrays = {name: aligned(array) for name, array in plan.arrays.items()}
    before = {name: array.copy() for name, array in plan.arrays.items()}
    losses = []
    for _ in range(2):
        program = backend.compile(plan, CPU, {})
        program.bind("data", {"input": data[0], "target": data[1]})
        losses.append(train(program))
        program.close()
    np.testing.assert_array_equal(*losses)
    for name, array in before.items():
        np.testing.assert_array_equal(plan.arrays[name], array, err_msg=name)


def test_given_gradients_are_neither_changed_nor_kept(program):
    grads = {name: aligned(array) for name, array in program.gradients("data", np.arange(BATCH), 0).items()}
    before = {name: array.copy() for name, array in grads.items()}
    program.apply(grads, {"learning_rate": 0.1, "momentum": 0.9})
    for name, array in before.items():
        np.testing.assert_array_equal(grads[name], array, err_msg=name)
    expected = copied(program.get_state())
    for array in grads.values():
        array[...] = 99
    assert_same(program.get_state(), expected)


def test_bound_data_are_not_changed(program, data):
    before = [array.copy() for array in data]
    train(program)
    program.evaluate("data", [np.arange(BATCH)])
    program.gradients("data", np.arange(BATCH), 0)
    for array, expected in zip(data, before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_results_are_not_the_user_s_memory(program, data):
    """The output of the input layer is the input itself."""
    X = aligned(data[0])
    before = X.copy()
    (same,) = program.outputs({"input": X}, ["input"])
    np.testing.assert_array_equal(same, before)
    assert not np.shares_memory(same, X)
    same[...] = 99
    np.testing.assert_array_equal(X, before)


def test_results_outlive_later_calls(program, data):
    """Engines may use the memory of a result again, once it has been handed over as a copy."""
    X = data[0]
    seen = [
        program.predict({"input": X}), *program.outputs({"input": X}, ["hidden", "norm"]),
        program.evaluate("data", [np.arange(BATCH)]), *program.gradients("data", np.arange(BATCH), 0).values(),
    ]  # fmt: skip
    before = [array.copy() for array in seen]
    train(program)
    program.predict({"input": -X})
    program.outputs({"input": -X}, ["hidden", "norm"])
    program.evaluate("data", [np.arange(BATCH) + 7])
    program.gradients("data", np.arange(BATCH) + 7, 0)
    for array, expected in zip(seen, before, strict=True):
        assert array.flags.writeable
        np.testing.assert_array_equal(array, expected)


def test_data_may_be_overwritten_after_a_fit(backend, data):
    X, y = aligned(data[0]), aligned(data[1])
    net = net_of(backend=backend.name).fit(X, y)
    state, shown = copied(net.get_state()), net.predict_proba(data[0])
    X[...], y[...] = 99, 0
    assert_same(net.get_state(), state)
    np.testing.assert_array_equal(net.predict_proba(data[0]), shown)
    on, straight = net.partial_fit(*data), net_of(backend=backend.name).fit(*data).partial_fit(*data)
    assert_same(on.get_state(), straight.get_state())


def test_data_that_may_not_be_written_to_are_read(backend, data):
    X = aligned(data[0])
    X.flags.writeable = False
    found = net_of(backend=backend.name).fit(X, data[1])
    assert_same(found.get_state(), net_of(backend=backend.name).fit(*data).get_state())
    np.testing.assert_array_equal(found.predict(X), found.predict(data[0]))


def test_a_fit_leaves_numpy_s_global_numbers_alone(backend, data):
    np.random.seed(3)
    expected = np.random.random(3)
    np.random.seed(3)
    net_of(backend=backend.name).fit(*data).predict(data[0])
    np.testing.assert_array_equal(np.random.random(3), expected)
