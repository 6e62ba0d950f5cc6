"""Callbacks: what is printed, when training stops early, and which weights stay."""

import io
import math
import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from portanet import NeuralNet, NeuralNetRegressor, config_context, layers
from portanet.callbacks import (
    Callback,
    EarlyStopping,
    PrintLayerInfo,
    PrintLog,
    RememberBestWeights,
    SaveWeights,
    hooks_of,
)
from portanet.data import PredefinedSplit
from portanet.exceptions import DataError
from portanet.history import History

GREEN, PLAIN = "\033[1;32m", "\033[0m"


@pytest.fixture(autouse=True)
def on_cpu():
    """Asked for by name, so that nothing is said of a GPU that isn't there."""
    with config_context(device="cpu"):
        yield


class Terminal(io.StringIO):
    def isatty(self):
        return True


class States(Callback):
    """Keeps the state after every epoch."""

    def on_training_started(self, net, history, **info):
        self.kept_ = {}

    def on_epoch_finished(self, net, history, **info):
        self.kept_[history[-1]["epoch"]] = net.get_state()


class Losses(Callback):
    """Overwrites what was recorded, so that tests can say when the best epoch is."""

    def __init__(self, values, name="valid_loss"):
        self.values, self.name = values, name

    def on_epoch_finished(self, net, history, **info):
        history[-1][self.name] = self.values[len(history) - 1]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:300] / 16).astype("float32"), y[:300]


def net_of(*callbacks, **kwargs):
    declared = dict(hidden_num_units=8, update_learning_rate=0.05, batch_size=64, max_epochs=3, random_state=0)
    return NeuralNet(callbacks=list(callbacks), **{**declared, **kwargs})


def same_state(first, second):
    assert first["step"] == second["step"]
    for name, array in first["parameters"].items():
        np.testing.assert_array_equal(array, second["parameters"][name])
    for slot, arrays in first["slots"].items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, second["slots"][slot][name])


def row(epoch, **values):
    return {"epoch": epoch, "train_loss": 1.0, "dur": 0.5, **values}


def log_of(rows, stream=None, **info):
    stream, history = stream if stream is not None else io.StringIO(), History()
    log = PrintLog(stream)
    log.on_training_started(None, history)
    for each in rows:
        history.record(each)
        log.on_epoch_finished(None, history)
    log.on_training_finished(None, history, **info)
    return stream.getvalue()


class TestHooks:
    def test_only_overridden_ones_count(self):
        assert hooks_of(Callback()) == {}
        assert list(hooks_of(EarlyStopping())) == [
            "on_training_started",
            "on_epoch_finished",
            "on_training_finished",
        ]
        assert list(hooks_of(SaveWeights("x"))) == ["on_training_started", "on_epoch_finished"]

    def test_the_base_does_nothing(self, digits):
        curves = [net_of(*some).fit(*digits).train_history_[:, "train_loss"] for some in ([], [Callback()])]
        assert curves[0] == curves[1]

    @pytest.mark.parametrize("wrong", [EarlyStopping, print, "early"])
    def test_what_is_no_callback(self, digits, wrong):
        with pytest.raises(DataError, match=r"callbacks must hold instances of portanet.callbacks.Callback, got"):
            net_of(wrong).fit(*digits)

    def test_all_four_are_called_with_what_they_should_know(self, digits):
        calls = []

        class Every(Callback):
            def on_training_started(self, net, history, **info):
                calls.append(("started", info))

            def on_batch_finished(self, net, history, **info):
                calls.append(("batch", sorted(info)))

            def on_epoch_finished(self, net, history, **info):
                calls.append(("epoch", info))

            def on_training_finished(self, net, history, **info):
                calls.append(("finished", info))

        net_of(Every(), max_epochs=1, batch_size=-1).fit(*digits)
        assert calls == [
            ("started", {}), ("batch", ["batch", "loss"]), ("epoch", {}), ("finished", {"interrupted": False}),
        ]  # fmt: skip


class TestPrintLog:
    def test_header_rule_and_a_line_for_each_epoch(self):
        text = log_of([row(1, valid_loss=0.5, valid_accuracy=0.25), row(2, valid_loss=2.0, valid_accuracy=1)])
        assert text.splitlines() == [
            "epoch  train loss  valid loss  train/val  valid acc    dur",
            "-----  ----------  ----------  ---------  ---------  -----",
            "    1     1.00000     0.50000    2.00000    0.25000  0.50s",
            "    2     1.00000     2.00000    0.50000    1.00000  0.50s",
        ]

    def test_without_validation(self):
        assert log_of([row(1)]).splitlines()[::2] == ["epoch  train loss    dur", "    1     1.00000  0.50s"]

    def test_columns_stay_in_line(self):
        scores = [0.5, -0.25, 12.5]
        rows = [row(9 + n, valid_loss=v, f1=score, dur=0.1)
                for n, (v, score) in enumerate(zip([0.5, 0.0, math.nan], scores, strict=True))]  # fmt: skip
        lines = log_of(rows).splitlines()
        assert len({len(line) for line in lines}) == 1
        header = lines[0]
        assert re.split(r"\s{2,}", header.strip()) == [
            "epoch",
            "train loss",
            "valid loss",
            "train/val",
            "f1",
            "dur",
        ]
        end = header.index("f1") + 2
        assert [float(line[:end].split()[-1]) for line in lines[2:]] == scores

    def test_green_only_for_the_best_and_only_in_a_terminal(self):
        rows = [row(1, train_loss=0.5, valid_loss=0.5), row(2, train_loss=0.25, valid_loss=0.75)]
        plain = log_of([dict(each) for each in rows])
        assert "\033" not in plain
        coloured = log_of(rows, Terminal())
        lines = coloured.splitlines()
        assert coloured.replace(GREEN, "").replace(PLAIN, "") == plain
        assert "\033" not in lines[0] + lines[1]
        assert lines[3].count(GREEN) == lines[3].count(PLAIN) == 1
        assert lines[2].count(GREEN) == 2
        assert f"{GREEN}   0.25000{PLAIN}" in lines[3]

    def test_interrupted(self):
        text = log_of([row(1)], interrupted=True)
        assert text.splitlines()[-1] == "interrupted; the net keeps what it has learnt so far"
        assert "interrupted" not in log_of([row(1)], interrupted=False)

    def test_a_net_that_is_interrupted_says_so(self, digits, capsys):
        def press(net, history):
            raise KeyboardInterrupt

        net_of(verbose=1, on_epoch_finished=press).fit(*digits)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4 and lines[-1].startswith("interrupted")

    def test_a_net_prints_what_its_history_holds_and_the_header_once_a_fit(self, digits, capsys):
        net = net_of(verbose=1).fit(*digits)
        printed = capsys.readouterr()
        assert printed.err == ""
        lines = printed.out.splitlines()
        assert len(lines) == 2 + 3 and lines[0].split()[0] == "epoch"
        for line, epoch in zip(lines[2:], net.train_history_, strict=True):
            values = [epoch["train_loss"], epoch["valid_loss"], epoch["train_loss"] / epoch["valid_loss"],
                      epoch["valid_accuracy"]]  # fmt: skip
            assert line.split() == [
                str(epoch["epoch"]),
                *(f"{value:.5f}" for value in values),
                f"{epoch['dur']:.2f}s",
            ]
        net.partial_fit(*digits)
        again = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in again] == ["epoch", "-----", "4"]

    def test_to_a_stream_of_ones_own_it_follows_redirection_otherwise(self, digits, capsys):
        stream = io.StringIO()
        net_of(PrintLog(stream)).fit(*digits)
        assert capsys.readouterr().out == "" and len(stream.getvalue().splitlines()) == 5
        net_of(PrintLog()).fit(*digits)
        assert len(capsys.readouterr().out.splitlines()) == 5

    def test_the_same_one_in_two_fits_prints_two_headers(self, digits):
        stream = io.StringIO()
        net_of(PrintLog(stream), max_epochs=1).fit(*digits).fit(*digits)
        assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["epoch", "-----", "1"] * 2

    def test_custom_scores_have_a_column(self, digits, capsys):
        net_of(verbose=1, max_epochs=1, custom_scores=[("margin", lambda truth, prediction: -1.5)]).fit(*digits)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split()[-2:] == ["margin", "dur"] and lines[2].split()[-2] == "-1.50000"

    def test_silent(self, digits, capfd):
        with config_context(verbosity=2):
            net_of(verbose=0).fit(*digits).predict(digits[0])
        net_of().fit(*digits)
        assert capfd.readouterr() == ("", "")

    def test_verbosity_of_the_configuration(self, digits, capsys):
        with config_context(verbosity=1):
            net_of().fit(*digits)
        assert capsys.readouterr().out.startswith("epoch  train loss")


class TestPrintLayerInfo:
    TABLE = """\
Neural network with 410 learnable parameters

#  name    layer           size   parameters
-  ------  --------------  -----  ----------
0  input   InputLayer      1x8x8
1  conv    Conv2DLayer     4x6x6          40
2  pool    MaxPool2DLayer  4x3x3
3  output  DenseLayer      10            370

"""
    LAYERS = [("input", layers.InputLayer), ("conv", layers.Conv2DLayer), ("pool", layers.MaxPool2DLayer),
              ("output", layers.DenseLayer)]  # fmt: skip
    SIZES = dict(conv_num_filters=4, conv_filter_size=3, pool_pool_size=2)

    def net_of(self, *callbacks, **kwargs):
        return NeuralNet(self.LAYERS, **self.SIZES, update_learning_rate=0.01, max_epochs=1, random_state=0,
                         callbacks=callbacks, **kwargs)  # fmt: skip

    def test_the_table(self, digits):
        stream = io.StringIO()
        self.net_of(PrintLayerInfo(stream)).fit(digits[0].reshape(-1, 1, 8, 8), digits[1])
        assert stream.getvalue() == self.TABLE

    def test_before_the_log_at_verbosity_2(self, digits, capsys):
        self.net_of(verbose=2).fit(digits[0].reshape(-1, 1, 8, 8), digits[1])
        text = capsys.readouterr().out
        assert text.startswith(self.TABLE + "epoch  train loss")

    def test_thousands_are_set_apart_and_what_is_not_trained_is_not_counted(self, digits):
        declared = [
            ("input", layers.InputLayer),
            ("norm", layers.BatchNormLayer),
            ("output", layers.DenseLayer),
        ]
        net = NeuralNetRegressor(declared, output_num_units=100).initialize(digits[0], np.ones((300, 100)))
        text = PrintLayerInfo.table(net.layers_)
        assert text.startswith("Neural network with 6,628 learnable parameters\n")
        assert [line.split()[-1] for line in text.splitlines()[5:7]] == ["128", "6,500"]


class TestEarlyStopping:
    @pytest.mark.parametrize(("patience", "epochs"), [(0, 3), (1, 4), (2, 7)])
    def test_after_patience_it_stops(self, digits, patience, epochs):
        values = [5, 4, 4, 4.5, 3, 3, 3.5, 9, 9]
        if patience == 2:
            values = [5, 4, 4, 3, 3, 3.5, 9, 9, 9]
        stop = EarlyStopping(patience=patience)
        net = net_of(Losses(values), stop, max_epochs=9).fit(*digits)
        assert net.n_iter_ == epochs
        assert stop.best_ == min(values[:epochs]) and stop.best_epoch_ == values.index(stop.best_) + 1

    def test_it_never_stops_while_things_get_better(self, digits):
        assert net_of(Losses([5, 4, 3, 2]), EarlyStopping(patience=0), max_epochs=4).fit(*digits).n_iter_ == 4

    def test_it_puts_the_best_state_back_bit_for_bit(self, digits):
        states = States()
        net = net_of(Losses([5, 3, 4, 4, 4]), states, EarlyStopping(patience=2), max_epochs=9).fit(*digits)
        assert net.n_iter_ == 5
        same_state(net.get_state(), states.kept_[2])
        assert not np.array_equal(net.get_state()["parameters"]["hidden.W"], states.kept_[5]["parameters"]["hidden.W"])
        best = net_of(max_epochs=2).fit(*digits)
        np.testing.assert_array_equal(net.predict_proba(digits[0]), best.predict_proba(digits[0]))

    def test_unless_told_not_to(self, digits):
        states = States()
        net = net_of(Losses([5, 6, 7]), states, EarlyStopping(patience=1, restore=False), max_epochs=9).fit(*digits)
        same_state(net.get_state(), states.kept_[3])

    def test_on_a_real_score(self, digits):
        X, y = digits
        stop, split = EarlyStopping(patience=3, monitor="valid_accuracy", mode="max"), PredefinedSplit(X[200:], y[200:])
        net = net_of(stop, max_epochs=60, train_split=split, update_learning_rate=0.3).fit(X[:200], y[:200])
        scores = net.train_history_[:, "valid_accuracy"]
        assert net.n_iter_ < 60
        assert net.n_iter_ == scores.index(max(scores)) + 1 + 4
        assert net.score(X[200:], y[200:]) == pytest.approx(max(scores))

    def test_small_gains_are_none(self, digits):
        values = [1.0, 0.95, 0.90, 0.85, 0.80]
        stop = EarlyStopping(patience=1, min_delta=0.12)
        assert net_of(Losses(values), stop, max_epochs=5).fit(*digits).n_iter_ == 3
        assert stop.best_ == 1.0
        stop = EarlyStopping(patience=2, min_delta=0.12)
        assert net_of(Losses(values), stop, max_epochs=5).fit(*digits).n_iter_ == 5
        assert stop.best_ == 0.85

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_nan_is_never_an_improvement(self, digits, mode):
        sign = 1 if mode == "min" else -1
        stop, states = EarlyStopping(patience=1, mode=mode), States()
        values = [math.nan, 2 * sign, math.nan, math.nan, math.nan]
        net = net_of(Losses(values), states, stop, max_epochs=5).fit(*digits)
        assert net.n_iter_ == 4 and stop.best_epoch_ == 2
        same_state(net.get_state(), states.kept_[2])
        assert net_of(Losses([math.nan] * 5), EarlyStopping(1, mode=mode), max_epochs=5).fit(*digits).n_iter_ == 2

    def test_a_column_that_is_not_there(self, digits):
        with pytest.raises(
            DataError, match=r"EarlyStopping watches 'valid_loss'.*lacks.*hold out data with train_split"
        ):
            net_of(EarlyStopping(), train_split=None).fit(*digits)
        with pytest.raises(DataError, match=r"watches 'train_los', .*did you mean 'train_loss'"):
            net_of(EarlyStopping(monitor="train_los", mode="min")).fit(*digits)

    def test_a_mode_that_is_none(self, digits):
        with pytest.raises(DataError, match="mode must be 'auto', 'min' or 'max', got 'lowest'"):
            net_of(EarlyStopping(mode="lowest")).fit(*digits)

    @pytest.mark.parametrize(("name", "values"), [("valid_loss", [3, 1, 2, 4]), ("valid_accuracy", [0.1, 0.9, 0.5, 0])])
    def test_of_losses_and_accuracies_it_knows_which_is_better(self, digits, name, values):
        states, stop = States(), EarlyStopping(patience=1, monitor=name)
        net = net_of(Losses(values, name), states, stop, max_epochs=4).fit(*digits)
        assert net.n_iter_ == 4 and (stop.best_, stop.best_epoch_) == (values[1], 2)
        same_state(net.get_state(), states.kept_[2])

    @pytest.mark.parametrize(
        "wrong",
        [EarlyStopping(monitor="f1"), RememberBestWeights("f1"), SaveWeights("x", only_best=True, monitor="f1")],
    )
    def test_of_other_columns_it_must_be_told(self, digits, wrong):
        name = type(wrong).__name__
        with pytest.raises(DataError, match=rf"{name} can't tell .* 'f1' are good; give mode='min' or mode='max'"):
            net_of(wrong).fit(*digits)

    def test_a_misspelt_column_of_which_it_must_be_told(self, digits):
        with pytest.raises(DataError, match=r"'train_los' are good \(did you mean 'train_loss'\?\); give mode="):
            net_of(EarlyStopping(monitor="train_los")).fit(*digits)

    @pytest.mark.parametrize("patience", [-1, 2.0, "3", None, True])
    def test_a_patience_that_is_none(self, digits, patience):
        with pytest.raises(DataError, match="EarlyStopping: patience must be a whole number from 0 on, got") as caught:
            net_of(EarlyStopping(patience)).fit(*digits)
        assert repr(patience) in str(caught.value)

    def test_interrupted_it_puts_the_best_back_too(self, digits):
        def press(net, history):
            if len(history) == 3:
                raise KeyboardInterrupt

        states = States()
        net = net_of(Losses([3, 1, 2]), states, EarlyStopping(), on_epoch_finished=press, max_epochs=9).fit(*digits)
        assert net.n_iter_ == 3
        same_state(net.get_state(), states.kept_[2])

    def test_used_again_it_starts_afresh(self, digits):
        stop = EarlyStopping(patience=1)
        net = net_of(Losses([1, 2, 3, 9, 8, 7, 8, 9]), stop, max_epochs=3).fit(*digits)
        assert net.n_iter_ == 3 and stop.best_ == 1
        net.partial_fit(*digits, epochs=0)
        net.set_params(warm_start=True, max_epochs=5).fit(*digits)
        assert net.n_iter_ == 8 and stop.best_ == 7 and stop.best_epoch_ == 6


class TestRememberBestWeights:
    def test_the_best_come_back(self, digits):
        states, best = States(), RememberBestWeights()
        net = net_of(Losses([3, 1, 2]), states, best).fit(*digits)
        assert net.n_iter_ == 3 and (best.best_, best.best_epoch_) == (1, 2)
        same_state(net.get_state(), states.kept_[2])

    def test_highest(self, digits):
        states = States()
        net = net_of(Losses([1, 3, 2], "own"), states, RememberBestWeights("own", mode="max")).fit(*digits)
        same_state(net.get_state(), states.kept_[2])

    def test_of_equals_the_first(self, digits):
        best = RememberBestWeights()
        net_of(Losses([2, 1, 1]), best).fit(*digits)
        assert best.best_epoch_ == 2

    def test_kept_without_being_put_back(self, digits):
        states, best = States(), RememberBestWeights(restore=False)
        net = net_of(Losses([3, 1, 2]), states, best).fit(*digits)
        same_state(net.get_state(), states.kept_[3])
        same_state(best.best_state_, states.kept_[2])
        net.set_state(best.best_state_)
        same_state(net.get_state(), states.kept_[2])

    def test_nothing_to_put_back(self, digits):
        net = net_of(RememberBestWeights(), max_epochs=0).fit(*digits)
        assert net.n_iter_ == 0 and net.predict(digits[0]).shape == (300,)

    def test_a_column_that_is_not_there(self, digits):
        with pytest.raises(DataError, match="RememberBestWeights watches 'valid_loss'"):
            net_of(RememberBestWeights(), train_split=None).fit(*digits)


class TestSaveWeights:
    def names(self, folder):
        return sorted(path.name for path in folder.iterdir())

    def test_a_file_for_each_epoch(self, digits, tmp_path):
        states = States()
        net_of(states, SaveWeights(tmp_path / "net-{epoch:03}.npz")).fit(*digits)
        assert self.names(tmp_path) == ["net-001.npz", "net-002.npz", "net-003.npz"]
        other = net_of(random_state=9).initialize(*digits)
        other.load_params_from(tmp_path / "net-002.npz")
        for name, array in other.get_state()["parameters"].items():
            np.testing.assert_array_equal(array, states.kept_[2]["parameters"][name])

    def test_a_name_without_epoch_is_overwritten(self, digits, tmp_path):
        net = net_of(SaveWeights(str(tmp_path / "net.npz"))).fit(*digits)
        assert self.names(tmp_path) == ["net.npz"]
        other = net_of(random_state=9).initialize(*digits)
        other.load_params_from(tmp_path / "net.npz")
        np.testing.assert_array_equal(other.predict_proba(digits[0]), net.predict_proba(digits[0]))

    def test_every_few_epochs(self, digits, tmp_path):
        net_of(SaveWeights(tmp_path / "{epoch}.npz", every_n_epochs=2), max_epochs=5).fit(*digits)
        assert self.names(tmp_path) == ["2.npz", "4.npz"]

    def test_only_the_best(self, digits, tmp_path):
        save = SaveWeights(tmp_path / "{epoch}-{valid_loss:.1f}.npz", only_best=True)
        net_of(Losses([3, 4, 2, 2, math.nan, 1]), save, max_epochs=6).fit(*digits)
        assert self.names(tmp_path) == ["1-3.0.npz", "3-2.0.npz", "6-1.0.npz"]

    def test_the_best_of_another_column(self, digits, tmp_path):
        save = SaveWeights(tmp_path / "{epoch}.npz", only_best=True, monitor="own", mode="min")
        net_of(Losses([2, 3, 1], "own"), save, train_split=None).fit(*digits)
        assert self.names(tmp_path) == ["1.npz", "3.npz"]

    def test_the_highest_accuracy(self, digits, tmp_path):
        save = SaveWeights(tmp_path / "{epoch}.npz", only_best=True, monitor="valid_accuracy")
        net_of(Losses([0.5, 0.25, math.nan, 0.75], "valid_accuracy"), save, max_epochs=4).fit(*digits)
        assert self.names(tmp_path) == ["1.npz", "4.npz"]

    def test_the_best_of_every_few_epochs(self, digits, tmp_path):
        """Epoch 3 is better than epoch 4, but was never to be written: epoch 4 is the best file there can be."""
        save = SaveWeights(tmp_path / "{epoch}.npz", only_best=True, every_n_epochs=2)
        net_of(Losses([5, 4, 1, 2, 3, 4]), save, max_epochs=6).fit(*digits)
        assert self.names(tmp_path) == ["2.npz", "4.npz"]

    @pytest.mark.parametrize("every", [0, -1, 1.5, "2", True])
    def test_a_number_of_epochs_that_is_none(self, digits, tmp_path, every):
        message = "SaveWeights: every_n_epochs must be a whole number from 1 on, got"
        with pytest.raises(DataError, match=message) as caught:
            net_of(SaveWeights(tmp_path / "net.npz", every_n_epochs=every)).fit(*digits)
        assert repr(every) in str(caught.value)

    def test_a_path_that_asks_for_what_is_not_there(self, digits, tmp_path):
        with pytest.raises(
            DataError, match=r"asks for \{epoc\} \(did you mean 'epoch'\?\); known are epoch, train_loss"
        ):
            net_of(SaveWeights(tmp_path / "{epoc}.npz")).fit(*digits)
        assert self.names(tmp_path) == []

    def test_a_column_that_is_not_there(self, digits, tmp_path):
        with pytest.raises(DataError, match="SaveWeights watches 'valid_loss'.*hold out data with train_split"):
            net_of(SaveWeights(tmp_path / "net.npz", only_best=True), train_split=None).fit(*digits)
        assert self.names(tmp_path) == []

    def test_the_time(self, digits, tmp_path):
        net_of(SaveWeights(tmp_path / "{timestamp}.npz"), max_epochs=1).fit(*digits)
        (name,) = self.names(tmp_path)
        assert re.fullmatch(r"\d{4}(-\d\d){5}\.npz", name)

    def test_no_folder(self, digits, tmp_path):
        with pytest.raises(FileNotFoundError):
            net_of(SaveWeights(tmp_path / "absent" / "net.npz")).fit(*digits)


class TestWithTheNet:
    def callbacks(self, folder):
        return [PrintLayerInfo(), PrintLog(), EarlyStopping(patience=1), RememberBestWeights(restore=False),
                SaveWeights(folder / "net.npz")]  # fmt: skip

    def test_pickles_with_them_and_goes_on(self, digits, tmp_path):
        net = net_of(*self.callbacks(tmp_path)).fit(*digits)
        again = pickle.loads(pickle.dumps(net))
        np.testing.assert_array_equal(again.predict_proba(digits[0]), net.predict_proba(digits[0]))
        assert again.train_history_ == net.train_history_
        assert [type(callback) for callback in again.callbacks] == [type(callback) for callback in net.callbacks]
        again.set_params(warm_start=True).fit(*digits)
        assert len(again.train_history_) > len(net.train_history_)

    def test_clones_with_them_fitted_or_not(self, digits, tmp_path):
        net = net_of(*self.callbacks(tmp_path))
        first = clone(net).fit(*digits)
        second = clone(first)
        assert second.callbacks[2] is not first.callbacks[2] and second.callbacks[2].patience == 1
        assert second.fit(*digits).train_history_[:, "valid_loss"] == first.train_history_[:, "valid_loss"]

    def test_they_serve_several_fits(self, digits, tmp_path):
        net = net_of(*self.callbacks(tmp_path))
        first = net.fit(*digits).train_history_[:, "valid_loss"]
        assert net.fit(*digits).train_history_[:, "valid_loss"] == first
        other = net_of(*net.callbacks, random_state=1).fit(*digits)
        assert other.train_history_[:, "valid_loss"] != first
        assert other.callbacks[2].best_ == min(other.train_history_[:, "valid_loss"])
