"""The training loop: what is recorded, who is called when, and the ways in which training ends."""

import os
import signal
import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

from portanet import NeuralNet, layers
from portanet.callbacks import Callback
from portanet.data import BatchIterator, PredefinedSplit, TrainSplit
from portanet.engine.program import Program
from portanet.exceptions import NotFiniteLossError
from portanet.history import History
from portanet.train import CHUNK, Data, Run, train
from portanet.updates import sgd

DENSE = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)]
NOISY = [DENSE[0], ("noise", layers.GaussianNoiseLayer), DENSE[1], ("drop", layers.DropoutLayer), DENSE[2]]
needs_sigint = pytest.mark.skipif(os.name == "nt", reason="there, os.kill ends the process")
HOOKS = ["on_training_started", "on_batch_finished", "on_epoch_finished", "on_training_finished"]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:400] / 16).astype("float32"), y[:400]


def net_of(**kwargs):
    declared = dict(
        layers=DENSE,
        hidden_num_units=16,
        update_learning_rate=0.05,
        batch_size=32,
        max_epochs=3,
        random_state=0,
    )
    return NeuralNet(**{**declared, **kwargs})


def curve(net):
    return [{name: value for name, value in row.items() if name != "dur"} for row in net.train_history_]


def same_state(first, second):
    assert first["step"] == second["step"]
    for part in ("parameters", "running"):
        assert first[part].keys() == second[part].keys()
        for name in first[part]:
            np.testing.assert_array_equal(first[part][name], second[part][name])
    assert first["slots"].keys() == second["slots"].keys()
    for slot, arrays in first["slots"].items():
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], second["slots"][slot][name])


def stop(*_):
    raise StopIteration


def ctrl_c(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("declared", [DENSE, NOISY])
@pytest.mark.parametrize("size", [2, 32])
def test_looking_at_each_batch_does_not_change_the_curve(digits, declared, size):
    """Without a hook, batches run in chunks; with batches of 2 there are several of them in an epoch."""
    batches = []
    options = dict(layers=declared, batch_size=size, update_learning_rate=0.01)
    plain = net_of(**options).fit(*digits)
    watched = net_of(**options, on_batch_finished=lambda net, history: batches.append(1)).fit(*digits)
    assert len(batches) == 3 * -(-320 // size)
    assert curve(watched) == curve(plain)
    same_state(watched.get_state(), plain.get_state())


def test_schedules_by_step_run_on_across_chunks(digits):
    def steps(kept):
        return lambda step, epoch: kept.append((step, epoch)) or 0.01

    chunked, single = [], []
    first = net_of(batch_size=2, max_epochs=2, update_learning_rate=steps(chunked)).fit(*digits)
    second = net_of(batch_size=2, max_epochs=2, update_learning_rate=steps(single),
                    on_batch_finished=lambda net, history: None).fit(*digits)  # fmt: skip
    wanted = [(step, step // 160) for step in range(320)]
    assert chunked[-320:] == single[-320:] == wanted
    assert curve(first) == curve(second)


@pytest.mark.parametrize("declared", [DENSE, NOISY])
def test_transforming_in_chunks_is_transforming_batch_by_batch(digits, declared):
    class Flipping(BatchIterator):
        def transform(self, Xb, yb):
            Xb[::2] = Xb[::2, ::-1].copy()
            return Xb, yb

    options = dict(layers=declared, update_learning_rate=0.01, batch_iterator_train=Flipping(2), max_epochs=2)
    plain = net_of(**options).fit(*digits)
    assert curve(net_of(**options, on_batch_finished=lambda net, history: None).fit(*digits)) == curve(plain)
    assert curve(net_of(**{**options, "batch_iterator_train": BatchIterator(2)}).fit(*digits)) != curve(plain)


def test_the_training_loss_weighs_batches_by_their_rows(digits):
    X, y = digits[0][:70], digits[1][:70]
    losses = []
    net = net_of(train_split=None, max_epochs=1, on_batch_finished=lambda net, history, loss: losses.append(loss))
    net.fit(X, y)
    assert len(losses) == 3
    assert net.train_history_[0, "train_loss"] == np.average(losses, weights=[32, 32, 6])


def test_the_first_loss_is_that_of_the_initial_weights(digits):
    X, y = digits
    untrained = net_of(train_split=None).initialize(X, y).predict_proba(X)
    net = net_of(train_split=None, batch_size=-1, max_epochs=1).fit(X, y)
    assert net.train_history_[0, "train_loss"] == pytest.approx(-np.log(untrained[np.arange(400), y]).mean(), rel=1e-5)


@pytest.mark.parametrize("size", [7, 32, -1])
def test_validation_scores_are_those_of_the_whole_held_out_data(digits, size):
    X, y = digits
    split = PredefinedSplit(X[300:], y[300:])
    net = net_of(train_split=split, batch_iterator_train=BatchIterator(32), batch_size=size).fit(X[:300], y[:300])
    assert net.train_history_[-1, "valid_accuracy"] == pytest.approx(accuracy_score(y[300:], net.predict(X[300:])))
    proba = net.predict_proba(X[300:]).astype("float64")
    expected = -np.log(proba[np.arange(100), y[300:]]).mean()
    assert net.train_history_[-1, "valid_loss"] == pytest.approx(expected, rel=1e-5)


def test_valid_accuracy_is_accuracy_score_at_every_epoch(digits):
    def accuracy(truth, prediction):
        assert prediction.shape == (80, 10)
        return accuracy_score(truth, prediction.argmax(axis=1))

    net = net_of(scores_valid=[("own", accuracy)], max_epochs=5).fit(*digits)
    assert net.train_history_[:, "own"] == pytest.approx(net.train_history_[:, "valid_accuracy"], abs=1e-12)
    assert net.train_history_[-1, "own"] > net.train_history_[0, "own"]


def test_penalties_are_in_the_training_loss_and_not_in_validation(digits):
    X, y = digits
    options = dict(train_split=PredefinedSplit(X, y), batch_size=-1, max_epochs=1, update_learning_rate=1e-12)
    net = net_of(**options, objective_l2=0.1).fit(X, y)
    row = net.train_history_[0]
    squares = sum((net.get_all_params_values()[name][0] ** 2).sum() for name in ("hidden", "output"))
    assert row["train_loss"] - row["valid_loss"] == pytest.approx(0.1 * squares, rel=1e-4)


def test_scores_of_ones_own_on_either_part(digits):
    X, y = digits
    seen = {}

    def score(name):
        def function(truth, prediction):
            seen[name] = truth, prediction
            return np.float32(len(truth))

        return name, function

    net = net_of(train_split=TrainSplit(0.25, stratify=False, shuffle=False), custom_scores=[score("custom")],
                 scores_train=[score("train")], scores_valid=[score("valid")]).fit(X, y)  # fmt: skip
    assert net.train_history_[:, "train"] == [300.0] * 3
    assert net.train_history_[:, "custom"] == net.train_history_[:, "valid"] == [100.0] * 3
    assert type(net.train_history_[0, "train"]) is float
    for name, part in (("train", slice(300)), ("valid", slice(300, 400)), ("custom", slice(300, 400))):
        np.testing.assert_array_equal(seen[name][0], y[part])
        np.testing.assert_allclose(seen[name][1], net.predict_proba(X)[part], rtol=1e-4, atol=1e-6)


def test_scores_on_labels_as_the_user_gave_them(digits):
    X, y = digits
    names = np.array(list("abcdefghij"))[y]
    kinds = []
    net_of(max_epochs=1, custom_scores=[("kind", lambda truth, _: kinds.append(truth.dtype.kind) or 0)]).fit(X, names)
    assert kinds == ["U"]


def test_scores_on_validation_are_left_out_where_nothing_is_held_out(digits):
    net = net_of(train_split=None, max_epochs=1, custom_scores=[("own", lambda truth, prediction: 1.0)]).fit(*digits)
    assert net.train_history_.columns() == ["epoch", "train_loss", "dur", "train_loss_best"]


@pytest.mark.parametrize("size", [7, -1])
def test_sample_weights_count_in_training_and_validation(digits, size):
    X, y = digits
    weight = np.random.default_rng(0).uniform(0.1, 3, 400)
    split = TrainSplit(0.25, stratify=False, shuffle=False)
    net = net_of(train_split=split, batch_size=size, max_epochs=1, update_learning_rate=1e-12)
    net.fit(X, y, sample_weight=weight)
    losses = -np.log(net.predict_proba(X)[np.arange(400), y].astype("float64"))
    row = net.train_history_[0]
    assert row["train_loss"] == pytest.approx(np.average(losses[:300], weights=weight[:300]), rel=1e-5)
    assert row["valid_loss"] == pytest.approx(np.average(losses[300:], weights=weight[300:]), rel=1e-5)
    accuracy = accuracy_score(y[300:], net.predict(X[300:]), sample_weight=weight[300:])
    assert row["valid_accuracy"] == pytest.approx(accuracy, rel=1e-5)


def test_validation_rows_without_weight_do_not_spoil_the_metrics(digits):
    weight = np.ones(400)
    weight[300:350] = 0
    split = TrainSplit(0.25, stratify=False, shuffle=False)
    net = net_of(train_split=split, batch_size=25, max_epochs=1).fit(*digits, sample_weight=weight)
    expected = accuracy_score(digits[1][350:], net.predict(digits[0][350:]))
    assert net.train_history_[0, "valid_accuracy"] == pytest.approx(expected, rel=1e-5)


def test_only_the_ratio_of_sample_weights_counts(digits):
    ones = net_of().fit(*digits, sample_weight=np.ones(400))
    sevens = net_of().fit(*digits, sample_weight=np.full(400, 7.0))
    assert curve(ones) == curve(sevens)
    for row, wanted in zip(curve(ones), curve(net_of().fit(*digits)), strict=True):
        assert row == pytest.approx(wanted, rel=1e-3)


def test_samples_without_weight_teach_nothing(digits):
    X, y = digits
    weight = (y != 9).astype(float)
    weighted = net_of(train_split=None, max_epochs=20).fit(X, y, sample_weight=weight)
    assert not (weighted.predict(X) == 9).any()
    assert weighted.score(X[y != 9], y[y != 9]) > 0.9


def test_validation_data_of_their_own_weigh_one_each(digits):
    X, y = digits
    net = net_of(train_split=PredefinedSplit(X[300:], y[300:]), max_epochs=1)
    net.fit(X[:300], y[:300], sample_weight=np.linspace(0, 1, 300))
    expected = -np.log(net.predict_proba(X[300:])[np.arange(100), y[300:]]).mean()
    assert net.train_history_[0, "valid_loss"] == pytest.approx(expected, rel=1e-5)


def test_hooks_are_called_in_order(digits):
    calls = []

    def hook(name):
        return lambda net, history: calls.append((name, net, history, len(history)))

    given = {name: hook(name) for name in HOOKS}
    net = net_of(max_epochs=2, batch_size=200, **given).fit(*digits)
    assert [(name, count) for name, _, _, count in calls] == [
        ("on_training_started", 0),
        ("on_batch_finished", 0), ("on_batch_finished", 0), ("on_epoch_finished", 1),
        ("on_batch_finished", 1), ("on_batch_finished", 1), ("on_epoch_finished", 2),
        ("on_training_finished", 2),
    ]  # fmt: skip
    assert all(who is net and history is net.train_history_ for _, who, history, _ in calls)


def test_callbacks_first_then_functions_each_in_their_order(digits):
    calls = []

    class Named(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_finished(self, net, history, **info):
            calls.append(self.name)

    functions = [lambda net, history, name=name: calls.append(name) for name in ("third", "fourth")]
    net_of(max_epochs=1, callbacks=[Named("first"), Named("second")], on_epoch_finished=functions).fit(*digits)
    assert calls == ["first", "second", "third", "fourth"]


def test_hooks_are_told_what_their_signatures_name(digits):
    told = []
    net = net_of(
        max_epochs=1, batch_size=200,
        on_batch_finished=[lambda net, history, batch, loss: told.append((batch, loss)),
                           lambda net, history, loss=None: told.append(loss),
                           lambda net, history, **info: told.append(info)],
        on_training_finished=[lambda net, history, interrupted: told.append(interrupted)],
        on_epoch_finished=[lambda net, history, **info: told.append(info)],
    ).fit(*digits)  # fmt: skip
    first, second = told[0][1], told[3][1]
    assert told == [(1, first), first, {"batch": 1, "loss": first}, (2, second), second, {"batch": 2, "loss": second},
                    {}, False]  # fmt: skip
    assert net.train_history_[0, "train_loss"] == np.average([first, second], weights=[200, 120])


@pytest.mark.parametrize(("hook", "epochs", "steps", "how"), [
    ("on_training_started", 0, 0, stop), ("on_batch_finished", 0, 1, stop), ("on_epoch_finished", 1, 10, stop),
    ("on_training_finished", 3, 30, stop), ("on_training_started", 0, 0, ctrl_c), ("on_batch_finished", 0, 1, ctrl_c),
    ("on_epoch_finished", 1, 10, ctrl_c),
])  # fmt: skip
def test_hooks_end_training(digits, hook, epochs, steps, how):
    ends, given = [], {hook: how}
    if hook != "on_training_finished":
        given["on_training_finished"] = lambda net, history, interrupted: ends.append(interrupted)
    net = net_of(**given).fit(*digits)
    assert net.n_iter_ == len(net.train_history_) == epochs
    assert net.get_state()["step"] == steps
    assert ends == ([] if hook == "on_training_finished" else [how is ctrl_c])
    assert net.predict(digits[0]).shape == (400,)
    net.set_params(**{hook: None}).partial_fit(*digits)
    assert net.n_iter_ == epochs + 1 and net.get_state()["step"] == steps + 13


def test_stopped_after_an_epoch_the_net_is_that_of_fewer_epochs(digits):
    def enough(net, history):
        if len(history) == 2:
            raise StopIteration

    stopped, fewer = (
        net_of(max_epochs=9, on_epoch_finished=enough).fit(*digits),
        net_of(max_epochs=2).fit(*digits),
    )
    assert curve(stopped) == curve(fewer)
    same_state(stopped.get_state(), fewer.get_state())


def test_any_other_error_of_a_hook_comes_through_and_leaves_the_net_usable(digits):
    def fail(net, history):
        raise ZeroDivisionError("a hook's own")

    net = net_of(on_epoch_finished=fail)
    with pytest.raises(ZeroDivisionError, match="a hook's own"):
        net.fit(*digits)
    assert net.score(*digits) >= 0
    assert len(net.set_params(on_epoch_finished=None).partial_fit(*digits).train_history_) == 2


def test_interrupted_between_chunks_the_net_keeps_the_steps_taken(digits):
    def rate(step, epoch):
        if step == CHUNK + 20:
            raise KeyboardInterrupt
        return 0.01

    def enough(net, history, batch):
        if batch == CHUNK:
            raise StopIteration

    ends = []
    interrupted = net_of(
        batch_size=2,
        update_learning_rate=rate,
        on_training_finished=lambda net, history, interrupted: ends.append(interrupted),
    ).fit(*digits)
    assert ends == [True] and interrupted.train_history_ == []
    stopped = net_of(batch_size=2, update_learning_rate=0.01, on_batch_finished=enough).fit(*digits)
    assert stopped.get_state()["step"] == CHUNK
    same_state(interrupted.get_state(), stopped.get_state())


@needs_sigint
@pytest.mark.parametrize("declared", [DENSE, NOISY])
def test_a_real_ctrl_c_in_the_midst_of_an_epoch(digits, declared):
    """The learning rate is asked for at the head of each chunk, so the signal comes within a chunk or soon after."""
    timers, ends = [], []

    def rate(step, epoch):
        if step >= 2 * CHUNK and not timers:
            timers.append(threading.Timer(0.005, os.kill, (os.getpid(), signal.SIGINT)))
            timers[0].start()
        return 0.01

    X, y = np.tile(digits[0], (50, 1)), np.tile(digits[1], 50)
    net = net_of(layers=declared, update_learning_rate=rate, batch_size=1, max_epochs=50, train_split=None,
                 on_training_finished=lambda net, history, interrupted: ends.append(interrupted))  # fmt: skip
    start = net.initialize(X, y).get_state()["parameters"]["hidden.W"]
    net.fit(X, y)
    timers[0].join()
    assert ends == [True]
    assert len(net.train_history_) < 50
    state = net.get_state()
    assert state["step"] >= 2 * CHUNK and not np.array_equal(state["parameters"]["hidden.W"], start)
    assert np.isfinite(net.predict_proba(digits[0])).all()
    epochs = len(net.train_history_)
    net.partial_fit(*digits)
    assert len(net.train_history_) == epochs + 1 and net.get_state()["step"] == state["step"] + 400


@needs_sigint
def test_a_real_ctrl_c_while_a_batch_is_looked_at(digits):
    def press(net, history, batch):
        if len(history) == 1 and batch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    net = net_of(max_epochs=9, on_batch_finished=press).fit(*digits)
    assert len(net.train_history_) == 1 and net.n_iter_ == 1
    assert net.get_state()["step"] == 10 + 3
    assert net.score(*digits) > 0


@pytest.mark.parametrize("each_batch", [False, True])
def test_a_loss_that_is_not_a_number(digits, each_batch):
    def rate(step, epoch):
        return 1e30 if step >= 24 else 0.05

    look = {"on_batch_finished": lambda net, history: None} if each_batch else {}
    net = net_of(max_epochs=9, update_learning_rate=rate, **look)
    with pytest.raises(NotFiniteLossError) as caught:
        net.fit(*digits)
    text = str(caught.value)
    for part in ("training loss turned nan", "epoch 3, batch 6", "learning rate 1e+30", "as it was before that epoch",
                 "ten times smaller", "total_norm_constraint=5", "scaled"):  # fmt: skip
        assert part in text
    good = net_of(max_epochs=2, update_learning_rate=0.05).fit(*digits)
    assert curve(net) == curve(good)
    same_state(net.get_state(), good.get_state())
    net.set_params(update_learning_rate=0.05).partial_fit(*digits)
    assert len(net.train_history_) == 3


def test_nothing_to_do(digits):
    net = net_of(max_epochs=0).fit(*digits)
    assert net.train_history_ == [] and net.n_iter_ == 0
    untrained = net_of().initialize(*digits)
    np.testing.assert_array_equal(net.predict_proba(digits[0]), untrained.predict_proba(digits[0]))


def test_hyper_parameters_may_be_changed_by_a_hook_while_training(digits):
    def slow_down(net, history):
        net.update_learning_rate = 0.0

    net = net_of(update=sgd, on_epoch_finished=slow_down, train_split=PredefinedSplit(*digits)).fit(*digits)
    losses = net.train_history_[:, "valid_loss"]
    assert losses[0] == losses[1] == losses[2]


def test_a_hook_may_look_at_predictions_and_weights_while_training(digits):
    scores = []
    looking = net_of(on_batch_finished=lambda net, history: scores.append(net.score(*digits))).fit(*digits)
    assert len(scores) == 30 and scores[-1] > scores[0]
    assert curve(looking) == curve(net_of().fit(*digits))


@needs_sigint
def test_a_step_is_taken_wholly_or_not_at_all(digits):
    net = net_of(train_split=None).initialize(*digits)
    program, state = net._program, net.get_state()
    program.bind("train", {"input": digits[0], "target": digits[1].astype("int32")})
    batches = [np.arange(32)] * 20_000
    hyper = {name: [value] * len(batches) for name, value in program.plan.update.hyper.items()}
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        program.train("train", batches, hyper, 0)
    stopped = program.get_state()
    assert 0 < stopped["step"] < len(batches)
    program.set_state(state)
    program.train("train", batches[: stopped["step"]], hyper, 0)
    same_state(program.get_state(), stopped)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_every_function_of_a_hook_runs_before_training_stops(digits):
    called = []
    net = net_of(on_epoch_finished=[stop, lambda net, history: called.append(len(history))])
    net.fit(*digits)
    assert called == [1] and net.n_iter_ == 1


def test_one_callback_needs_no_list(digits):
    class Count(Callback):
        epochs = 0

        def on_epoch_finished(self, net, history, **info):
            Count.epochs += 1

    net_of(callbacks=Count()).fit(*digits)
    assert Count.epochs == 3


def test_a_test_iterator_that_transforms_is_refused(digits):
    class Doubling(BatchIterator):
        def transform(self, Xb, yb):
            return Xb * 2, yb

    with pytest.raises(ValueError, match="batch_iterator_test=Doubling.* transforms batches.*Pipeline"):
        net_of(batch_iterator_test=Doubling()).fit(*digits)


class LeastSquares(Program):
    """Fits ``X @ w`` to a target by gradient descent, and writes down what it is asked."""

    def __init__(self, columns, fail_at=None, error=None):
        self.w, self.step, self.data, self.calls = np.zeros(columns), 0, {}, []
        self.fail_at, self.error = fail_at, error

    def bind(self, name, arrays):
        self.data[name] = arrays

    def unbind(self, name):
        self.data.pop(name, None)

    def _residual(self, name, rows):
        arrays = self.data[name]
        return arrays["X"][rows], arrays["X"][rows] @ self.w - arrays["target"][rows]

    def train(self, name, batches, hyper, seed):
        self.calls.append((name, batches, hyper))
        losses = []
        for place, rows in enumerate(batches):
            if self.step == self.fail_at:
                raise self.error
            X, residual = self._residual(name, rows)
            losses.append(np.mean(residual**2))
            self.w = self.w - hyper["learning_rate"][place] * 2 * X.T @ residual / len(X)
            self.step += 1
        return np.array(losses)

    def evaluate(self, name, batches):
        errors = [self._residual(name, rows)[1] for rows in batches]
        return np.array([[np.mean(e**2), np.mean(np.abs(e))] for e in errors])

    def get_state(self):
        return {"parameters": {"w": self.w.copy()}, "running": {}, "slots": {}, "step": self.step}

    def set_state(self, state):
        self.w, self.step = state["parameters"]["w"].copy(), state["step"]


def run_of(program, epochs=2, batches=None, rate=0.05, valid=(), **hooks):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((250, 3))
    arrays = {"X": X, "target": X @ [1.0, -2.0, 0.5]}
    kept = np.setdiff1d(np.arange(250), valid)
    held_out = np.asarray(valid, dtype=np.int64)
    training, validation = (Data(arrays, rows, arrays["target"][rows]) for rows in (kept, held_out))
    return Run("a net", program, training, validation, epochs, lambda: {"learning_rate": rate}, History(),
               np.random.default_rng(0), 7, ["distance"], batches or BatchIterator(1), BatchIterator(8, shuffle=False),
               {name: [function] for name, function in hooks.items()}, lambda data: None)  # fmt: skip


def test_what_a_program_is_asked():
    program = LeastSquares(3)
    run = run_of(program, batches=BatchIterator(2))
    bound = []
    run.program.bind = lambda name, arrays: bound.append((name, arrays)) or LeastSquares.bind(program, name, arrays)
    assert train(run) is False
    assert [name for name, _ in bound] == ["train"] and bound[0][1] is run.train.arrays
    assert program.data == {}
    assert [len(batches) for _, batches, _ in program.calls] == [CHUNK, 25] * 2
    for name, batches, hyper in program.calls:
        assert name == "train" and hyper == {"learning_rate": [0.05] * len(batches)}
        assert {rows.dtype for rows in batches} == {np.dtype("int64")}
    epochs = [np.concatenate([rows for call in part for rows in call[1]]) for part in
              (program.calls[:2], program.calls[2:])]  # fmt: skip
    for order in epochs:
        np.testing.assert_array_equal(np.sort(order), np.arange(250))
    assert not np.array_equal(*epochs)


def test_a_hook_on_batches_gets_them_one_by_one_and_the_same_numbers():
    plain, watched = LeastSquares(3), LeastSquares(3)
    first, second = run_of(plain), run_of(watched, on_batch_finished=lambda net, history: None)
    train(first), train(second)
    assert {len(batches) for _, batches, _ in watched.calls} == {1}
    np.testing.assert_array_equal(plain.w, watched.w)
    assert first.history[:, "train_loss"] == second.history[:, "train_loss"]
    np.testing.assert_allclose(plain.w, [1, -2, 0.5], atol=1e-6)


def test_validation_averages_batches_by_rows_and_metrics_by_weight():
    program = LeastSquares(3)
    run = run_of(program, epochs=1, valid=np.arange(0, 250, 12))
    weight = np.linspace(0, 2, 250)
    run.valid.arrays = {**run.valid.arrays, "weight": weight}
    train(run)
    rows = run.valid.rows
    error = run.valid.arrays["X"][rows] @ program.w - run.valid.arrays["target"][rows]
    assert len(rows) == 21 and run.history[0, "valid_loss"] == pytest.approx(np.mean(error**2))
    parts = [slice(0, 8), slice(8, 16), slice(16, 21)]
    distance = np.average([np.abs(error[part]).mean() for part in parts],
                          weights=[weight[rows[part]].sum() for part in parts])  # fmt: skip
    assert run.history[0, "valid_distance"] == pytest.approx(distance)


def test_ctrl_c_in_the_program_keeps_the_batches_before_it():
    program, ends = LeastSquares(3, fail_at=300, error=KeyboardInterrupt()), []
    run = run_of(program, on_training_finished=lambda net, history, interrupted: ends.append((net, interrupted)))
    assert train(run) is True
    assert ends == [("a net", True)] and len(run.history) == 1 and program.step == 300 and program.data == {}


def test_a_second_ctrl_c_comes_through():
    program = LeastSquares(3, fail_at=10, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train(run_of(program, on_training_finished=ctrl_c))
    assert program.data == {}


def test_an_error_of_the_program_comes_through_and_lets_the_data_go():
    program, ends = LeastSquares(3, fail_at=10, error=OSError("the worker died")), []
    with pytest.raises(OSError, match="the worker died"):
        train(run_of(program, valid=[1, 2], on_training_finished=lambda net, history: ends.append(1)))
    assert ends == [] and program.data == {}


@pytest.mark.parametrize("each_batch", [False, True])
def test_the_first_loss_that_is_infinite_is_named_and_its_epoch_undone(each_batch):
    program, good = LeastSquares(3), LeastSquares(3)
    look = {"on_batch_finished": lambda net, history: None} if each_batch else {}
    run = run_of(program, epochs=3, rate=lambda step, epoch: 1e300 if step == 250 + 120 else 0.01, **look)
    with pytest.raises(NotFiniteLossError, match=r"turned inf in epoch 2, batch 122, at learning rate 0\.01;"), \
            np.errstate(all="ignore"):  # fmt: skip
        train(run)
    train(run_of(good, epochs=1, rate=0.01))
    np.testing.assert_array_equal(program.w, good.w)
    assert program.step == 250 and len(run.history) == 1 and program.data == {}


def test_a_signature_is_read_once_however_often_the_hook_is_called(monkeypatch):
    import inspect

    read, original = [], inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda f, *a, **k: read.append(f) or original(f, *a, **k))
    told = []

    def hook(net, history, loss):
        told.append(loss)

    train(run_of(LeastSquares(3), on_batch_finished=hook))
    assert read == [hook] and len(told) == 500
