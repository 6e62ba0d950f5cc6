"""The search, on candidates that are rows of numbers and a clock that only measuring moves."""

import pytest

from portanet.exceptions import BackendUnavailable
from portanet.tuner.halving import SHARE, Entrant, Guess, Sample, Work, search, told

WORK = Work(epochs=10, batches=100)


class Track:
    """Candidates by name: seconds to start, to compile and of a batch; and what was asked of each."""

    def __init__(self, **takes):
        self.takes, self.asked, self.now = takes, [], 0.0

    def clock(self):
        return self.now

    def measure(self, name, seconds):
        start, compiling, *batch = self.takes[name]
        first = name not in [asked for asked, _ in self.asked]
        self.asked.append((name, seconds))
        if isinstance(batch[0], BaseException):
            raise batch[0]
        self.now += seconds + (start + compiling if first else 0.0)
        return Sample(start, compiling, 0.0, tuple(batch))

    def names(self):
        return list(dict.fromkeys(name for name, _ in self.asked))


def entrant(name, start=0.0, compiling=0.0, batch=0.1, known=None):
    return Entrant(name, Guess(start, compiling, batch), known)


def run(track, *entrants, work=WORK, **more):
    return search(entrants, track.measure, work, clock=track.clock, **more)


def reason(outcome, name):
    return next(row.reason for row in outcome.rows if row.candidate == name)


def test_the_smallest_total_wins_and_the_table_is_in_its_order():
    track = Track(numpy=(0, 0, 0.1), torch=(2, 0, 0.05), jax=(1, 1, 0.02))
    outcome = run(track, entrant("numpy"), entrant("torch", 2, 0, 0.05), entrant("jax", 1, 1, 0.025))
    assert outcome.best.candidate == "jax"
    assert outcome.best.total == pytest.approx(1 + 1 + 1000 * 0.02)
    assert [(row.candidate, row.total) for row in outcome.rows] == [("jax", 22.0), ("numpy", 100.0), ("torch", None)]


def test_a_long_compile_loses_for_a_short_fit_and_wins_for_a_long_one():
    takes = dict(numpy=(0, 0, 0.01), theano=(1, 30, 0.004))
    field = entrant("numpy"), entrant("theano", 1, 30, 0.004)
    short, long = Track(**takes), Track(**takes)
    assert run(short, *field, work=Work(1, 1000)).best.candidate == "numpy"
    assert short.names() == ["numpy"]
    assert run(long, *field, work=Work(100, 1000)).best.candidate == "theano"


def test_what_costs_more_to_start_than_the_whole_training_is_not_tried():
    track = Track(numpy=(0, 0, 0.001), tensorflow=(8, 2, 0.0001))
    outcome = run(track, entrant("numpy"), entrant("tensorflow", 8, 2, 0.0001))
    assert track.names() == ["numpy"]
    assert reason(outcome, "tensorflow") == (
        "starting and compiling take about 10.0 s, the whole training takes 1.00 s on numpy"
    )


def test_what_could_not_win_at_twice_its_guessed_speed_is_not_tried():
    track = Track(numpy=(0, 0, 0.1), cntk=(1, 0, 0.1))
    outcome = run(track, entrant("numpy"), entrant("cntk", 1, 0, 0.25))
    assert track.names() == ["numpy"]
    assert reason(outcome, "cntk") == "expected to take 4.18 min, the whole training takes 100.0 s on numpy"


def test_one_that_costs_next_to_nothing_is_tried_whatever_is_guessed_of_it():
    track = Track(numpy=(0, 0, 0.1), cntk=(1, 0, 0.02))
    outcome = run(track, entrant("numpy"), entrant("cntk", 1, 0, 0.25), work=Work(100, 100))
    assert track.names() == ["numpy", "cntk"] and outcome.best.candidate == "cntk"


def test_a_likely_winner_may_cost_more_than_the_budget_since_its_start_is_not_lost():
    track = Track(numpy=(0, 0, 0.01), mxnet=(1.5, 0, 0.003))
    outcome = run(track, entrant("numpy"), entrant("mxnet", 1.5, 0, 0.003))
    assert outcome.best.candidate == "mxnet"
    assert outcome.spent > SHARE * outcome.best.total
    assert outcome.lost < SHARE * outcome.best.total


def test_after_disappointments_the_rest_is_left_out():
    track = Track(numpy=(0, 0, 0.01), mxnet=(1.5, 0, 0.05), torch=(2, 0, 0.05), jax=(1, 0, 0.001))
    field = (
        entrant("numpy"),
        entrant("mxnet", 1.5, 0, 0.003),
        entrant("torch", 2, 0, 0.003),
        entrant("jax", 1, 0, 0.005),
    )
    outcome = run(track, *field)
    assert track.names() == ["numpy", "mxnet"]
    assert outcome.best.candidate == "numpy"
    assert reason(outcome, "jax") == "what may be lost on the search is spent"


def test_a_budget_in_seconds_is_not_exceeded_after_a_disappointment():
    track = Track(numpy=(0, 0, 0.01), mxnet=(1.5, 0, 0.05), torch=(2, 0, 0.003))
    run(track, entrant("numpy"), entrant("mxnet", 1.5, 0, 0.003), entrant("torch", 2, 0, 0.003), budget=1.0)
    assert track.names() == ["numpy", "mxnet"]


def test_an_even_match_is_tried_only_within_the_budget():
    takes = dict(numpy=(0, 0, 0.01), torch=(0.4, 0, 0.009))
    field = entrant("numpy"), entrant("torch", 0.4, 0, 0.01)
    assert run(Track(**takes), *field).best.candidate == "torch"
    cramped = Track(**takes)
    outcome = run(cramped, *field, budget=0.2)
    assert cramped.names() == ["numpy"] and outcome.budget == 0.2
    assert "are left for the search" in reason(outcome, "torch")


def test_the_most_promising_is_tried_first():
    track = Track(numpy=(0, 0, 0.1), cntk=(1, 0, 0.06), torch=(2, 0, 0.02))
    run(track, entrant("numpy"), entrant("cntk", 1, 0, 0.06), entrant("torch", 2, 0, 0.025))
    assert track.names()[:2] == ["numpy", "torch"]


def test_close_ones_are_measured_again_and_longer_until_it_is_clear():
    runs = {"numpy": iter([(0.1,), (0.1,), (0.1,)]), "torch": iter([(0.2, 0.09), (0.0901, 0.0902), (0.0903, 0.0904)])}
    track = Track(numpy=(0, 0, 0.1), torch=(0, 0, 0.09))

    def measure(name, seconds):
        track.measure(name, seconds)
        return Sample(0, 0, 0, next(runs[name]))

    outcome = search([entrant("numpy"), entrant("torch")], measure, WORK, clock=track.clock)
    assert outcome.best.candidate == "torch" and outcome.clear
    asked = [seconds for name, seconds in track.asked if name == "torch"]
    assert len(asked) == 2 and asked[1] > asked[0]
    assert len(outcome.best.sample.runs) == 4


def test_the_first_is_measured_as_long_as_the_others_once_the_plan_is_known_to_be_long():
    runs, asked = iter([(0.05,), (0.1,)]), []

    def measure(name, seconds):
        asked.append(seconds)
        return Sample(0, 0, 0, next(runs))

    outcome = search([entrant("numpy")], measure, WORK, clock=lambda: 0.0)
    assert outcome.best.sample.runs == (0.1,) and outcome.best.total == 100
    assert asked[0] < asked[1] <= SHARE * 50


def test_measuring_again_stops_at_the_budget():
    track = Track(numpy=(0, 0, 0.1, 0.2, 0.3), torch=(0, 0, 0.1, 0.2, 0.3))
    outcome = run(track, entrant("numpy"), entrant("torch"), budget=0.7)
    assert not outcome.clear and outcome.spent <= 0.7


def test_one_that_fails_is_a_row_with_its_reason():
    faults = dict(jax=(0, 0, RuntimeError("no such kernel")), torch=(0, 0, BackendUnavailable("old")))
    track = Track(numpy=(0, 0, 0.1), **faults)
    outcome = run(track, entrant("numpy"), entrant("jax", batch=0.03), entrant("torch", batch=0.05))
    assert outcome.best.candidate == "numpy"
    rows = {row.candidate: row for row in outcome.rows}
    assert rows["jax"].failed and rows["jax"].reason == "RuntimeError: no such kernel"
    assert rows["torch"].failed and rows["torch"].reason == "old"


def test_what_failed_is_not_held_against_the_others():
    track = Track(numpy=(0, 0, 0.01), mxnet=(9, 0, 0.01), torch=(2, 0, 0.003))

    def measure(name, seconds):
        if name == "mxnet":
            track.now += 9
            raise RuntimeError("after a while")
        return track.measure(name, seconds)

    field = [entrant("numpy"), entrant("mxnet", 1, 0, 0.0025), entrant("torch", 2, 0, 0.003)]
    outcome = search(field, measure, WORK, clock=track.clock)
    assert outcome.best.candidate == "torch" and outcome.lost > 9


def test_one_that_fails_when_measured_again_is_not_chosen():
    track = Track(numpy=(0, 0, 0.1, 0.2), torch=(0, 0, 0.09, 0.2))

    def measure(name, seconds):
        if name == "torch" and name in track.names():
            raise MemoryError("all of it")
        return track.measure(name, seconds)

    outcome = search([entrant("numpy"), entrant("torch")], measure, WORK, clock=track.clock)
    assert outcome.best.candidate == "numpy"
    assert reason(outcome, "torch") == "MemoryError: all of it"


def test_where_the_first_fails_the_next_gives_the_first_prediction():
    track = Track(numpy=(0, 0, ValueError("no bfloat16")), torch=(1, 0, 0.01))
    outcome = run(track, entrant("numpy"), entrant("torch", 1, 0, 0.05))
    assert outcome.best.candidate == "torch"


def test_an_interrupt_leaves_the_best_so_far():
    track = Track(numpy=(0, 0, 0.1), torch=(0, 0, KeyboardInterrupt()), jax=(0, 0, 0.1))
    outcome = run(track, entrant("numpy"), entrant("torch", batch=0.03), entrant("jax", batch=0.05))
    assert outcome.interrupted and outcome.best.candidate == "numpy"
    assert reason(outcome, "jax") == "the search was interrupted before its turn"


def test_an_interrupt_of_the_first_leaves_none():
    outcome = run(Track(numpy=(0, 0, KeyboardInterrupt())), entrant("numpy"))
    assert outcome.interrupted and outcome.best is None


def test_what_is_known_is_not_measured():
    track = Track()
    known = Sample(1.0, 1.0, 0.0, (0.01,))
    outcome = run(track, entrant("numpy", known=Sample(0, 0, 0, (0.1,))), entrant("torch", known=known))
    assert track.asked == [] and outcome.best.candidate == "torch"
    assert all(row.remembered for row in outcome.rows) and outcome.spent == 0


def test_variants_are_asked_of_the_close_ones_only():
    track = Track(numpy=(0, 0, 0.1), slow=(0, 0, 0.3), fewer=(0, 0, 0.05))
    asked = []

    def variants(candidate, guess):
        asked.append((candidate, guess))
        return [Entrant("fewer", guess)] if candidate == "numpy" else []

    outcome = run(track, entrant("numpy"), entrant("slow"), variants=variants)
    assert asked == [("numpy", Guess(0, 0, 0.1))]
    assert outcome.best.candidate == "fewer"


def test_the_speed_of_an_engine_is_the_lower_quartile_of_its_runs():
    sample = Sample(0, 0, 0, (5.0, 1.0, 9.0, 2.0, 3.0, 4.0, 8.0, 7.0))
    assert sample.batch == 2.0 and sample.slow == 5.0
    assert Sample(0, 0, 0, (3.0, 2.0, 4.0, 9.0)).batch == 2.0


def test_a_total_counts_what_an_epoch_takes_besides_its_batches():
    assert Sample(1, 2, 0.5, (0.1,)).total(Work(4, 10)) == pytest.approx(1 + 2 + 4 * (1 + 0.5))


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0 ms"), (0.5, "0.50 s"), (100, "100.0 s"), (600, "10 min")])
def test_seconds_are_told_in_a_unit_that_fits(seconds, text):
    assert told(seconds) == text
