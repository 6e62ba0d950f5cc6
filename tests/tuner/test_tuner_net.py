"""`NeuralNet.tune` and ``backend="fastest"``."""

import copy
import pickle

import numpy as np
import pytest

from portanet import NeuralNet, config_context, layers
from portanet.data import BatchIterator, PredefinedSplit
from portanet.engine.array_program import ArrayProgram
from portanet.exceptions import BackendNotFound, BackendUnavailable, DataError, DeclarationError, DeviceNotFound
from portanet.runtime import registry
from portanet.tuner.candidates import Candidate, field_of, thread_counts
from portanet.tuner.halving import Sample
from portanet.tuner.probe import Bench, stand_in
from portanet.updates import rmsprop


def data(rows=90):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 12)).astype("float32")
    return X, X[:, :3].argmax(axis=1)


def net_of(**parameters):
    declared = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("drop", layers.DropoutLayer),
                ("output", layers.DenseLayer)]  # fmt: skip
    given = dict(hidden_num_units=6, drop_p=0.2, update=rmsprop, update_learning_rate=0.01, batch_size=20, max_epochs=3,
                 random_state=0, verbose=0)  # fmt: skip
    return NeuralNet(declared, **{**given, **parameters})


@pytest.fixture
def measured(monkeypatch):
    """``measured(name=(start, compile, batch))``: candidates take that long, and whose turn it was is listed."""

    def put(**takes):
        asked = []

        def measure(self, candidate, seconds):
            asked.append(str(candidate))
            found = takes[candidate.backend]
            if isinstance(found, BaseException):
                raise found
            return Sample(*found[:2], 0.0, (found[2],))

        monkeypatch.setattr(Bench, "measure", measure)
        return asked

    return put


def snapshot(net):
    """All a net holds, its parameters and random numbers and weights included, by value."""
    held = {name: value for name, value in vars(net).items() if name not in ("_program", "layers_", "plan_")}
    state = net.get_state() if hasattr(net, "layers_") else None
    random = net.random_.bit_generator.state if hasattr(net, "random_") else None
    return pickle.dumps([sorted(held), {k: repr(v) for k, v in held.items()}, state, random])


def test_a_real_search_names_an_engine_and_tells_why(twins):
    net = net_of()
    found = net.tune(*data(), engines="numpy, twin", epochs=400)
    assert found.choice.backend in ("numpy", "twin") and net.backend == found.choice.backend
    assert found.best.sample.batch > 0 and found.best.total == pytest.approx(found.best.sample.total(found.work))
    assert (found.work.epochs, found.work.batches) == (400, 4)
    assert str(found.choice) in str(found) and "400 epochs of 4 batches" in found.explain()


def test_tuning_leaves_a_fresh_net_as_it_was(twins):
    net = net_of(random_state=np.random.RandomState(5))
    drawn = copy.deepcopy(net.random_state.get_state())
    before = snapshot(net)
    net.tune(*data(), engines=["numpy"], apply=False)
    assert snapshot(net) == before
    assert all(np.array_equal(a, b) for a, b in zip(drawn, net.random_state.get_state(), strict=True))


def test_tuning_leaves_a_fitted_net_as_it_was(twins):
    X, y = data()
    net = net_of().fit(X, y)
    before, program, losses = snapshot(net), net._program, [row["train_loss"] for row in net.train_history_]
    net.tune(X, y, apply=False)
    assert snapshot(net) == before and net._program is program
    assert [row["train_loss"] for row in net.train_history_] == losses


def test_what_was_tuned_trains_to_the_same_numbers(twins):
    X, y = data()
    told, tuned = net_of().fit(X, y), net_of()
    tuned.tune(X, y)
    tuned.fit(X, y)
    assert [row["train_loss"] for row in tuned.train_history_] == [row["train_loss"] for row in told.train_history_]


def test_what_was_compiled_for_measuring_is_not_compiled_again(importable):
    importable("jax")
    X, y = data()
    net = net_of(hidden_num_units=7)
    net.tune(X, y, engines="jax")
    compiled = net.initialize(X, y)._program.compilations
    assert compiled > 0
    assert net.fit(X, y)._program.compilations == compiled


def test_hooks_and_scores_are_not_called(twins):
    called = []
    hook = dict.fromkeys(("on_training_started", "on_batch_finished", "on_epoch_finished", "on_training_finished"),
                         lambda net, history: called.append(net))  # fmt: skip
    net = net_of(scores_valid=[("own", lambda y, p: called.append(y) or 0.0)], **hook)
    net.tune(*data(), engines="numpy")
    assert called == []


@pytest.mark.parametrize(("hook", "most"), [(None, 36), (lambda net, history: None, 1)])
def test_batches_come_as_many_at_once_as_in_fit(twins, monkeypatch, hook, most):
    at_once, train = [], ArrayProgram.train

    def counted(self, name, batches, hyper, seed):
        at_once.append(len(batches))
        return train(self, name, batches, hyper, seed)

    monkeypatch.setattr(ArrayProgram, "train", counted)
    X, y = data()
    net = stand_in(net_of(batch_size=2, on_batch_finished=hook))
    net._declare({None: X}, y)
    bench = Bench(net, {None: X}, y, None, 1, 0.2)
    bench.measure(Candidate("numpy"), 1000.0)
    bench.close()
    assert max(at_once) == most


def test_the_choice_is_set_unless_told_otherwise(twins, measured):
    measured(numpy=(0, 0, 0.1), twin=(0, 0, 0.01))
    left, net = net_of(), net_of()
    assert left.tune(*data(), engines="numpy,twin", apply=False).choice.backend == "twin"
    assert (left.backend, left.device, left.threads) == (None, None, None)
    net.tune(*data(), engines="numpy,twin")
    assert (net.backend, net.device) == ("twin", "cpu")


def test_what_tune_set_does_not_narrow_the_next_search(twins, measured, home):
    measured(numpy=(0, 0, 0.1), twin=(0, 0, 0.01))
    net = net_of()
    net.tune(*data(), engines="numpy,twin")
    first = net.threads
    again = net.tune(*data(), engines="numpy,twin")
    assert {row.candidate.threads for row in again.table} >= {None, first}


def test_threads_and_device_of_the_user_are_kept(twins, measured):
    asked = measured(numpy=(0, 0, 0.1), twin=(0, 0, 0.01))
    found = net_of(threads=1, device="cpu").tune(*data(), engines="numpy,twin")
    assert found.choice == Candidate("twin", "cpu", 1)
    assert set(asked) == {"numpy, cpu, 1 thread", "twin, cpu, 1 thread"}


def test_an_engine_that_can_not_be_imported_is_a_row(twins, measured):
    found = net_of().tune(*data(), engines="numpy, broken", epochs=1000)
    row = next(row for row in found.table if str(row.candidate) == "broken, cpu")
    assert found.choice.backend == "numpy" and row.sample is None
    assert row.failed and "cannot be imported" in row.reason and "failed: backend 'broken'" in str(found)


def test_without_any_other_engine_numpy_is_chosen_and_said_to_be_alone(monkeypatch, twins):
    monkeypatch.setattr(registry, "ROWS", {"numpy": registry.ROWS["numpy"]})
    found = net_of(threads=1).tune(*data())
    assert found.choice.backend == "numpy"
    assert "No other engine can be had here." in found.explain()


def test_an_engine_that_is_not_installed_is_told_with_what_to_type(twins, monkeypatch):
    row = registry.BackendRow("absent", "absent_backend", "no_such_package", "pip install absent", ">=3.6")
    monkeypatch.setitem(registry.ROWS, "absent", row)
    found = net_of().tune(*data(), engines="numpy,absent")
    assert "run: pip install absent" in found.explain()
    with pytest.raises(BackendUnavailable, match="no engine that was asked for can train this net: absent, cpu: .*run"):
        net_of().tune(*data(), engines="absent")


def test_where_nothing_can_train_the_reasons_are_told(twins):
    with pytest.raises(BackendUnavailable, match="numpy, cpu: .*bfloat16"):
        net_of(floatX="bfloat16").tune(*data(), engines="numpy")


def test_a_plan_too_short_for_a_search_says_so(twins, measured):
    asked = measured(numpy=(0, 0, 1e-5), twin=(0, 0, 1e-5))
    found = net_of(threads=1).tune(*data(), engines="numpy, broken", budget=1e-9)
    assert asked == ["numpy, cpu, 1 thread"]
    assert not found.worth_it and "not worth it" in found.explain()


def test_misspelt_names_are_asked_about(twins):
    with pytest.raises(BackendNotFound, match=r"unknown backend 'twn' \(did you mean 'twin'\?\)"):
        net_of().tune(*data(), engines="numpy,twn")
    with pytest.raises(DeviceNotFound, match="did you mean 'gpu:0'"):
        net_of().tune(*data(), device="cuda0")
    with pytest.raises(BackendNotFound, match="names none"):
        net_of().tune(*data(), engines=[])


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), float("inf"), True, "10"])
def test_a_budget_is_seconds(budget):
    with pytest.raises(ValueError, match="budget must be seconds, more than 0"):
        net_of().tune(*data(), budget=budget)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_epochs_are_a_whole_number(epochs):
    with pytest.raises(ValueError, match="epochs must be a whole number, at least 1"):
        net_of().tune(*data(), epochs=epochs)


def test_a_faulty_declaration_is_told_as_by_fit(twins):
    with pytest.raises(DeclarationError, match="hidden_num_unit"):
        net_of(hidden_num_unit=3).tune(*data())


def test_ctrl_c_tells_the_best_so_far_and_sets_nothing(twins, measured, capsys):
    measured(numpy=(0, 0, 0.1), twin=KeyboardInterrupt())
    net = net_of()
    found = net.tune(*data(), engines="numpy,twin", epochs=1000)
    assert found.interrupted and found.choice.backend == "numpy" and net.backend is None
    assert "interrupted; this is the best so far" in capsys.readouterr().out


def test_ctrl_c_before_anything_was_measured_is_passed_on(twins, measured):
    measured(numpy=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        net_of().tune(*data(), engines="numpy")


def test_ctrl_c_while_fit_looks_for_the_fastest_ends_fit(twins, measured):
    measured(numpy=(0, 0, 0.1), twin=KeyboardInterrupt(), broken=RuntimeError())
    net = net_of(max_epochs=1000)
    with pytest.raises(KeyboardInterrupt):
        net.fit(*data(), backend="fastest")
    assert len(net.train_history_) == 0


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("out of order")])
def test_what_was_opened_for_measuring_is_closed_whatever_happens(twins, monkeypatch, fault):
    opened, closed, faults = [], [], [fault]
    make, close, train = ArrayProgram.__init__, ArrayProgram.close, ArrayProgram.train

    def failing(self, name, batches, hyper, seed):
        if len(opened) == 2 and faults:
            raise faults.pop()
        return train(self, name, batches, hyper, seed)

    monkeypatch.setattr(ArrayProgram, "__init__", lambda self, plan: (opened.append(self), make(self, plan))[1])
    monkeypatch.setattr(ArrayProgram, "close", lambda self: (closed.append(self), close(self))[1])
    monkeypatch.setattr(ArrayProgram, "train", failing)
    found = net_of().tune(*data(), engines="numpy,twin", epochs=100000)
    assert found.choice.backend == "numpy" and not faults
    assert found.interrupted == isinstance(fault, KeyboardInterrupt)
    assert len(opened) >= 2 and set(map(id, opened)) == set(map(id, closed))


def test_fit_on_the_fastest_tunes_first_and_then_remembers(twins, measured):
    asked = measured(numpy=(0, 0, 10.0), twin=(0, 0, 0.1), broken=RuntimeError("no"))
    X, y = data()
    net = net_of().fit(X, y, backend="fastest", epochs=2)
    assert net.record_["backend"] == "twin" and net.n_iter_ == 2 and asked
    asked.clear()
    again = net_of(backend="fastest", max_epochs=2).fit(X, y)
    assert again.record_["backend"] == "twin" and asked == []
    assert again.score(X, y) == net.score(X, y)


def test_a_search_of_other_epochs_measures_what_was_left_out(twins, measured):
    asked = measured(numpy=(0, 0, 0.001), twin=(0, 0, 0.0001), broken=RuntimeError("no"))
    net = net_of(threads=1)
    assert net.tune(*data(), epochs=1, apply=False).choice.backend == "numpy"
    assert asked == ["numpy, cpu, 1 thread"]
    later = net.tune(*data(), epochs=1000, apply=False)
    assert later.choice.backend == "twin" and asked.count("numpy, cpu, 1 thread") == 1
    assert [row.remembered for row in later.table if row.total] == [False, True]


def test_an_engine_of_another_version_is_measured_anew(twins, measured, monkeypatch):
    asked = measured(numpy=(0, 0, 10.0), twin=(0, 0, 0.1), broken=RuntimeError("no"))
    net_of(threads=1).tune(*data(), epochs=100)
    asked.clear()
    monkeypatch.setattr("portanet.tuner.memory.engine_version", lambda backend, isolate=False: f"{backend} 2")
    again = net_of(threads=1).tune(*data(), epochs=100)
    assert {"numpy, cpu, 1 thread", "twin, cpu, 1 thread"} <= set(asked)
    assert any("twin, cpu, 1 thread: measured anew, the engine was ? and is twin 2" in note for note in again.notes)


def test_what_is_remembered_comes_with_the_reasons(twins, measured):
    asked = measured(numpy=(0, 0, 0.1), twin=(0, 0, 0.01), broken=RuntimeError("out of order"))
    first = net_of(threads=1).tune(*data(), epochs=100)
    asked.clear()
    again = net_of(threads=1).tune(*data(), epochs=100)
    assert asked == [] and again.remembered and not first.remembered
    assert [(str(row.candidate), row.total) for row in again.table] == [
        (str(row.candidate), row.total) for row in first.table
    ]
    assert "RuntimeError: out of order, remembered" in again.explain()


def test_a_budget_of_ones_own_tries_what_was_left_out(twins, measured):
    asked = measured(numpy=(0, 0, 0.001), twin=(0, 0, 0.0001), broken=RuntimeError("no"))
    net = net_of(threads=1)
    net.tune(*data(), epochs=10, apply=False, budget=1e-9)
    assert "twin, cpu, 1 thread" not in asked
    net.tune(*data(), epochs=10, apply=False, budget=60)
    assert "twin, cpu, 1 thread" in asked


def test_the_fastest_from_the_environment_and_from_a_context(twins, measured, monkeypatch):
    measured(numpy=(0, 0, 10.0), twin=(0, 0, 0.1), broken=RuntimeError("no"))
    with config_context(backend="fastest"):
        assert net_of().fit(*data()).record_["backend"] == "twin"
    monkeypatch.setenv("PORTANET_BACKEND", "fastest")
    assert net_of().fit(*data()).record_["backend"] == "twin"
    assert net_of().initialize(*data()).record_["backend"] == "twin"


def test_partial_fit_on_the_fastest_goes_on_from_where_the_net_stands(twins, measured):
    measured(numpy=(0, 0, 10.0), twin=(0, 0, 0.1), broken=RuntimeError("no"))
    X, y = data()
    moved = net_of(train_split=None).fit(X, y, backend="numpy").partial_fit(X, y, backend="fastest")
    stayed = net_of(train_split=None).fit(X, y, backend="numpy").partial_fit(X, y, backend="numpy")
    assert moved.record_["backend"] == "twin"
    assert moved.train_history_[-1, "train_loss"] == stayed.train_history_[-1, "train_loss"]


def test_a_pickled_net_of_the_fastest_predicts_where_it_was_trained(twins, measured):
    measured(numpy=(0, 0, 10.0), twin=(0, 0, 0.1), broken=RuntimeError("no"))
    X, y = data()
    net = net_of(backend="fastest").fit(X, y)
    loaded = pickle.loads(pickle.dumps(net))
    assert np.array_equal(loaded.predict_proba(X), net.predict_proba(X))
    assert loaded.record_["backend"] == "twin"


def test_the_fastest_is_told_where_training_is(twins, measured, capsys):
    measured(numpy=(0, 0, 10.0), twin=(0, 0, 0.1), broken=RuntimeError("no"))
    net_of(verbose=1, max_epochs=1).fit(*data(), backend="fastest")
    assert capsys.readouterr().out.startswith("twin, cpu")


def test_options_go_to_the_engine_they_are_for(twins, measured):
    measured(numpy=(0, 0, 0.1), twin=(0, 0, 0.01))
    net = net_of(backend="numpy", options={"block": 64})
    net.tune(*data(), engines="numpy,twin")
    assert net.backend == "twin" and net.options is None
    refused = net_of(backend="numpy", options={"no_such": 1}).tune(*data(), engines="numpy,twin", apply=False)
    assert refused.choice.backend == "twin"


def test_transformed_batches_weights_and_a_split_of_their_own_are_measured(twins):
    class Mirroring(BatchIterator):
        def transform(self, Xb, yb):
            return Xb[:, ::-1], yb

    X, y = data()
    net = net_of(batch_iterator_train=Mirroring(16), train_split=PredefinedSplit(X[:7], y[:7]), class_weight="balanced")
    found = net.tune(X, y, engines="numpy")
    assert found.work.batches == 6 and found.best.sample.epoch > 0


def test_a_fault_of_the_data_is_told_as_by_fit(twins):
    class Dropping(BatchIterator):
        def transform(self, Xb, yb):
            return Xb[1:], yb

    with pytest.raises(DataError, match="Dropping.transform made a batch of unequal rows"):
        net_of(batch_iterator_train=Dropping(16)).tune(*data(), engines="numpy,twin")


def test_an_engine_in_this_process_is_started_once_for_all_its_candidates(twins):
    X, y = data()
    net = stand_in(net_of())
    net._declare({None: X}, y)
    bench = Bench(net, {None: X}, y, None, 1, None)
    assert bench.started(Candidate("numpy"), 2.0) == 2.0
    assert bench.started(Candidate("numpy", threads=1), 0.0) == 2.0
    assert bench.started(Candidate("twin"), 1.0) == 1.0


def test_a_last_batch_of_another_size_is_compiled_for(twins):
    X, y = data(90)
    net = stand_in(net_of())
    net._declare({None: X}, y)
    bench = Bench(net, {None: X}, y, None, 1, None)
    assert (bench.size, bench.tail, bench.work.batches) == (20, 10, 5)


def test_candidates_have_a_gpu_only_where_there_is_a_card(monkeypatch, twins):
    from portanet.runtime.devices import DeviceSpec

    for card, names in ((False, ["numpy, cpu"]), (True, ["numpy, cpu", "numpy, gpu"])):
        monkeypatch.setattr("portanet.tuner.candidates.has_card", lambda card=card: card)
        assert [str(one) for one in field_of(["numpy"], DeviceSpec("auto"), None, {})[0]] == names
    assert [str(one) for one in field_of(["numpy"], DeviceSpec("gpu", 1), None, {})[0]] == ["numpy, gpu:1"]


def test_numbers_of_threads_are_tried_where_they_can_be_set(monkeypatch):
    monkeypatch.setattr("portanet.tuner.candidates.physical_cores", lambda: 6)
    monkeypatch.setattr("portanet.tuner.candidates.usable_processors", lambda: set(range(12)))
    assert thread_counts(Candidate("numpy"), isolate=False) == [1, 2, 4, 6]
    assert thread_counts(Candidate("numpy", threads=2), isolate=False) == []
    assert thread_counts(Candidate("numpy", "gpu"), isolate=False) == []
    assert thread_counts(Candidate("jax"), isolate=True) == [1, 2, 4, 6]
    monkeypatch.setattr("portanet.tuner.candidates.usable_processors", lambda: set(range(6)))
    assert thread_counts(Candidate("numpy"), isolate=False) == [1, 2, 4]


def test_engines_fix_their_threads_in_this_process(importable):
    importable("jax")
    assert thread_counts(Candidate("jax"), isolate=False) == []


def test_a_tuning_reads_well(twins, measured):
    measured(numpy=(0, 0.5, 0.1), twin=(1.5, 0, 0.01), broken=RuntimeError("out of order"))
    text = net_of(threads=1).tune(*data(), engines=None, epochs=100).explain()
    lines = text.splitlines()
    assert lines[0].split() == ["candidate", "start", "(s)", "compile", "(s)", "ms", "a", "batch", "total"]
    assert lines[1].split() == ["twin,", "cpu,", "1", "thread", "1.50", "0.00", "10", "5.50", "s"]
    assert "twin, cpu, 1 thread: about 5.50 s for 100 epochs of 4 batches; numpy, cpu, 1 thread would" in text
    assert "failed: RuntimeError: out of order" in text


def test_explain_prints(twins, capsys):
    found = net_of().tune(*data(), engines="numpy", explain=True)
    assert capsys.readouterr().out.strip() == str(found).strip()
