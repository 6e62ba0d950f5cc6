import copy
import pickle

import numpy as np
import pytest

from portanet.schedules import (
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    Linear,
    PiecewiseConstant,
    Schedule,
    StepDecay,
    Warmup,
    value_of,
    values_for,
)

ALL = [
    InverseTimeDecay(0.05, 1e-5),
    ExponentialDecay(0.3, 0.9),
    StepDecay(0.1, 0.5, every=2),
    CosineDecay(0.1, epochs=10, end=0.01),
    Linear(0.9, 0.999, epochs=20),
    PiecewiseConstant([3, 6], [0.1, 0.01, 0.001]),
    Warmup(CosineDecay(0.1, 10), steps=100),
]


def by_epoch(schedule, epochs):
    return [schedule.value(step=17, epoch=epoch) for epoch in epochs]


def by_step(schedule, steps):
    return [schedule.value(step=step, epoch=17) for step in steps]


def test_inverse_time_decay_is_keras_decay():
    np.testing.assert_allclose(by_step(InverseTimeDecay(0.05, 0.01), [0, 1, 100]), [0.05, 0.05 / 1.01, 0.025])


def test_exponential_decay_by_epoch_and_by_step():
    np.testing.assert_allclose(by_epoch(ExponentialDecay(0.3, 0.9), [0, 1, 3]), [0.3, 0.27, 0.3 * 0.9**3])
    slow = ExponentialDecay(1.0, 0.5, every=100, unit="step")
    np.testing.assert_allclose(by_step(slow, [0, 50, 200]), [1.0, 0.5**0.5, 0.25])


def test_step_decay_by_epoch_and_by_step():
    assert by_epoch(StepDecay(1.0, 0.5, every=2), [0, 1, 2, 3, 4]) == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert by_step(StepDecay(1.0, 0.5, every=10, unit="step"), [9, 10]) == [1.0, 0.5]


def test_cosine_decay_falls_to_its_end_and_stays():
    np.testing.assert_allclose(by_epoch(CosineDecay(1.0, 4, end=0.2), [0, 2, 4, 9]), [1.0, 0.6, 0.2, 0.2])
    values = by_epoch(CosineDecay(1.0, 10), range(11))
    assert values == sorted(values, reverse=True)


def test_linear_is_nolearns_linspace():
    np.testing.assert_allclose(by_epoch(Linear(0.03, 0.0001, 50), range(50)), np.linspace(0.03, 0.0001, 50))
    assert by_epoch(Linear(1.0, 3.0, epochs=3), [2, 3, 100]) == [3.0, 3.0, 3.0]
    assert by_epoch(Linear(1.0, 3.0, epochs=1), [0, 1]) == [1.0, 3.0]


def test_piecewise_constant_changes_at_its_boundaries():
    assert by_epoch(PiecewiseConstant([2, 4], [1, 2, 3]), range(6)) == [1, 1, 2, 2, 3, 3]
    assert by_step(PiecewiseConstant([10], [1.0, 0.1], unit="step"), [9, 10]) == [1.0, 0.1]


def test_warmup_rises_to_the_schedule_it_holds():
    np.testing.assert_allclose(by_step(Warmup(0.4, steps=4), range(6)), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    warm = Warmup(lambda step, epoch: 1.0 if epoch == 0 else 0.5, steps=2)
    assert [warm.value(0, 0), warm.value(0, 1), warm.value(9, 1)] == [0.5, 0.25, 0.5]


def test_values_for_gives_one_value_for_each_update():
    assert values_for(0.1, 5, 3, 0) == [0.1, 0.1, 0.1]
    assert values_for(InverseTimeDecay(1.0, 1.0), 1, 2, 0) == [0.5, 1 / 3]
    assert values_for(lambda step, epoch: step + 100 * epoch, 2, 3, 1) == [102.0, 103.0, 104.0]
    assert values_for(CosineDecay(0.1, 10), 0, 0, 0) == []


def test_value_of_takes_numbers_of_every_kind():
    for number in (2, 2.0, np.float32(2), np.int64(2)):
        assert value_of(number, 0, 0) == 2.0
        assert type(value_of(number, 0, 0)) is float


@pytest.mark.parametrize("spec", ["0.1", None, True, [0.1]])
def test_value_of_refuses_what_is_no_schedule(spec):
    with pytest.raises(TypeError, match=r"must be a number, a schedule or f\(step, epoch\), got"):
        value_of(spec, 0, 0)


def test_value_of_names_a_schedule_without_a_number():
    def forgetful(step, epoch):
        pass

    with pytest.raises(TypeError, match=r"schedule <function .*forgetful.*gave None at step 3, epoch 1"):
        value_of(forgetful, 3, 1)
    with pytest.raises(ValueError, match="must be finite, is inf at step 3, epoch 1"):
        value_of(lambda step, epoch: float("inf"), 3, 1)


def test_schedule_of_ones_own_must_define_value():
    with pytest.raises(NotImplementedError, match=r"must define value\(self, step, epoch\)"):
        value_of(Schedule(), 0, 0)


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: type(schedule).__name__)
def test_schedules_are_values(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert copy.deepcopy(schedule) == schedule
    assert eval(repr(schedule)) == schedule
    assert hash(copy.deepcopy(schedule)) == hash(schedule)
    assert [other for other in ALL if other == schedule] == [schedule]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InverseTimeDecay("0.1", 1e-5), "InverseTimeDecay: start must be a finite number, got '0.1'"),
        (lambda: ExponentialDecay(0.1, float("nan")), "ExponentialDecay: rate must be a finite number"),
        (
            lambda: ExponentialDecay(0.1, 0.9, unit="epochs"),
            "unknown unit 'epochs'.*did you mean 'epoch'.*epoch, step",
        ),
        (lambda: StepDecay(0.1, 0.5, every=0), "StepDecay: every must be a whole number from 1 on, got 0"),
        (lambda: CosineDecay(0.1, epochs=2.5), "CosineDecay: epochs must be a whole number"),
        (lambda: Linear(0.1, True, 3), "Linear: stop must be a finite number, got True"),
        (lambda: Warmup(0.1, steps=-1), "Warmup: steps must be a whole number"),
        (lambda: PiecewiseConstant([3, 3], [1, 2, 3]), r"boundaries must rise, got \[3, 3\]"),
        (lambda: PiecewiseConstant([3], [1]), "1 boundaries part 2 values, got 1"),
    ],
)
def test_faulty_schedules_are_refused_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()
