"""NeuralNet as people use it: labels and data of every kind, seeds, weights, state, and what goes wrong."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score

from portanet import NeuralNet, NeuralNetClassifier, NeuralNetRegressor, config_context, layers, ops
from portanet.exceptions import DataError, DeclarationError, NotFiniteLossError
from portanet.nonlinearities import softmax
from portanet.objectives import absolute_error
from portanet.schedules import ExponentialDecay
from portanet.updates import nesterov_momentum

DENSE = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype("float32"), y


def net_of(**kwargs):
    declared = dict(layers=DENSE, hidden_num_units=32, update_learning_rate=0.1, update_momentum=0.9, batch_size=32,
                    max_epochs=8, random_state=0)  # fmt: skip
    return NeuralNet(**{**declared, **kwargs})


def small(**kwargs):
    return NeuralNetClassifier(hidden_num_units=16, batch_size=16, max_epochs=30, random_state=0, **kwargs)


def blobs(n=90, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (rng.standard_normal((n, 4)) + 3 * np.eye(3, 4)[y]).astype("float32"), y


def test_as_in_the_design(digits):
    X, y = digits
    net = NeuralNet(
        layers=[("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
        input_shape=(None, 64), hidden_num_units=100,
        output_nonlinearity=softmax, output_num_units=10,
        update=nesterov_momentum, update_learning_rate=0.05, update_momentum=0.9,
        regression=False, max_epochs=10, verbose=0)  # fmt: skip
    net.fit(X, y, device="cpu")
    assert net.score(X, y) > 0.9
    assert net.record_["engine"] == "numpy" and net.record_["device"] == "cpu"
    assert {"compile_seconds", "train_seconds", "version", "threads"} <= set(net.record_)


def test_same_seed_same_history_bit_for_bit(digits):
    curves = []
    for _ in range(2):
        net = net_of(layers=[DENSE[0], ("noise", layers.GaussianNoiseLayer), DENSE[1],
                             ("drop", layers.DropoutLayer), DENSE[2]]).fit(*digits)  # fmt: skip
        curves.append((net.train_history_[:, "train_loss"], net.train_history_[:, "valid_loss"]))
    assert curves[0] == curves[1]
    other = net_of(random_state=1).fit(*digits)
    assert other.train_history_[:, "train_loss"] != curves[0][0]


def test_the_user_s_arrays_are_left_alone(digits):
    X, y = digits[0][:100].copy(), digits[1][:100].copy()
    before = X.copy(), y.copy()
    net_of(max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])


@pytest.mark.parametrize("labels", [np.array(["cat", "dog", "eel"]), np.array([10, -3, 7]), np.array([2.0, 5.0, 9.0]),
                                    np.array(["a", "b", "c"], dtype=object)])  # fmt: skip
def test_labels_of_any_type(labels):
    X, y = blobs()
    net = small().fit(X, labels[y])
    assert net.predict(X).dtype == labels.dtype
    assert accuracy_score(labels[y], net.predict(X)) > 0.9
    np.testing.assert_array_equal(net.classes_, np.unique(labels))


def test_boolean_labels():
    X, y = blobs()
    net = small().fit(X, y == 1)
    assert net.predict(X).dtype == bool and net.score(X, y == 1) > 0.9


def test_one_sigmoid_unit_for_two_classes():
    X, y = blobs()
    net = small(layers=DENSE, output_num_units=1, output_nonlinearity=ops.sigmoid).fit(X, np.where(y == 1, "yes", "no"))
    proba = net.predict_proba(X)
    assert proba.shape == (90, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert net.score(X, np.where(y == 1, "yes", "no")) > 0.9


def test_multi_label():
    X, y = blobs()
    indicators = np.stack([y == 1, y != 2], axis=1).astype(int)
    net = small(update_learning_rate=0.01).fit(X, indicators)
    assert net.predict(X).shape == indicators.shape
    assert net.score(X, indicators) > 0.8


def test_multi_output_regression_keeps_shapes():
    X = np.linspace(-1, 1, 50).reshape(-1, 1)
    net = NeuralNetRegressor(max_epochs=3, random_state=0)
    assert net.fit(X, np.hstack([X, -X])).predict(X).shape == (50, 2)
    assert net.fit(X, X).predict(X).shape == (50, 1)
    assert net.fit(X, X[:, 0]).predict(X).shape == (50,)


def test_images_to_images():
    X = np.random.default_rng(0).random((20, 1, 6, 6), dtype="float32")
    net = NeuralNetRegressor([("input", layers.InputLayer), ("conv", layers.Conv2DLayer)], conv_num_filters=1,
                             conv_filter_size=3, conv_pad="same", conv_nonlinearity=None, max_epochs=2)  # fmt: skip
    assert net.fit(X, X).predict(X).shape == X.shape


def test_data_frames_keep_their_names():
    X, y = blobs()
    frame = pd.DataFrame(X, columns=list("abcd"))
    net = small().fit(frame, pd.Series(y))
    assert list(net.feature_names_in_) == list("abcd")
    assert net.score(frame, y) > 0.9


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint8", "float16"])
def test_any_numeric_dtype(dtype):
    X, y = blobs()
    X = ((X - X.min()) * 20).astype(dtype)
    assert small().fit(X, y).predict_proba(X).dtype == np.float32


def test_read_only_arrays_and_memory_maps(tmp_path, digits):
    X, y = digits
    wanted = net_of(max_epochs=2).fit(X, y).train_history_[:, "train_loss"]
    frozen = X.copy()
    frozen.flags.writeable = False
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "bytes.npy", (X * 16).astype("uint8"))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for source in (frozen, mapped):
        assert net_of(max_epochs=2).fit(source, y).train_history_[:, "train_loss"] == wanted
    integers = np.load(tmp_path / "bytes.npy", mmap_mode="r")
    same = net_of(max_epochs=2).fit(integers, y), net_of(max_epochs=2).fit((X * 16).astype("uint8"), y)
    assert same[0].train_history_[:, "train_loss"] == same[1].train_history_[:, "train_loss"]
    np.testing.assert_array_equal(same[0].predict_proba(integers), same[1].predict_proba(integers))


def test_several_inputs_by_name():
    X, y = blobs()
    declared = [("left", layers.InputLayer), ("right", layers.InputLayer),
                ("both", layers.ConcatLayer, {"incomings": ["left", "right"]}),
                ("output", layers.DenseLayer)]  # fmt: skip
    net = NeuralNetClassifier(declared, batch_size=16, max_epochs=60, random_state=0, update_learning_rate=0.01)
    parts = {"left": X[:, :1], "right": X[:, 1:]}
    assert net.fit(parts, y).score(parts, y) > 0.9
    with pytest.raises(DataError, match=r"left, right"):
        net.predict({"left": X[:, :1]})


def test_float64_by_argument_context_and_environment(digits, monkeypatch):
    X, y = digits
    assert net_of(floatX="float64", max_epochs=1).fit(X, y).predict_proba(X).dtype == np.float64
    with config_context(floatX="float64"):
        assert net_of(max_epochs=1).fit(X, y).predict_proba(X).dtype == np.float64
    monkeypatch.setenv("PORTANET_FLOATX", "float64")
    assert net_of(max_epochs=1).fit(X, y).predict_proba(X).dtype == np.float64


def test_partial_fit_equals_epochs_of_fit(digits):
    X, y = digits
    whole = net_of(train_split=None, max_epochs=3).fit(X, y)
    parts = net_of(train_split=None)
    for _ in range(3):
        parts.partial_fit(X, y)
    assert parts.train_history_[:, "train_loss"] == whole.train_history_[:, "train_loss"]
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))


def test_partial_fit_takes_classes_to_come():
    X, y = blobs()
    net = small().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    net.partial_fit(X, y)
    assert net.predict_proba(X).shape == (90, 3)


def test_warm_start_goes_on_and_fit_starts_anew(digits):
    X, y = digits
    warm = net_of(warm_start=True, max_epochs=2).fit(X, y).fit(X, y)
    assert len(warm.train_history_) == 4
    cold = net_of(max_epochs=2).fit(X, y).fit(X, y)
    assert len(cold.train_history_) == 2


def test_epochs_argument_of_fit(digits):
    assert net_of().fit(*digits, epochs=3).n_iter_ == 3


def test_class_weight_moves_the_decision():
    X, y = blobs()
    y = (y == 1).astype(int)
    X = X * 0.1
    counts = [small(class_weight={0: 1, 1: w}).fit(X, y).predict(X).sum() for w in (0.05, 20)]
    assert counts[0] < counts[1]


def test_balanced_class_weight_is_sample_weight():
    X, y = blobs()
    y = (y == 1).astype(int)
    by_class = small(class_weight="balanced").fit(X, y)
    by_sample = small().fit(X, y, sample_weight=np.where(y == 1, 1.5, 0.75))
    np.testing.assert_array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))


def test_update_hyper_parameters_follow_schedules(digits):
    net = net_of(update_learning_rate=ExponentialDecay(0.1, 0.5), max_epochs=3).fit(*digits)
    steady = net_of(max_epochs=3).fit(*digits)
    assert net.train_history_[0]["train_loss"] == steady.train_history_[0]["train_loss"]
    assert net.train_history_[2]["train_loss"] != steady.train_history_[2]["train_loss"]


def test_l2_penalty_shrinks_weights_and_shows_in_the_training_loss_only(digits):
    plain, shrunk = net_of().fit(*digits), net_of(objective_l2=0.01).fit(*digits)
    assert np.linalg.norm(shrunk.get_all_params_values()["hidden"][0]) < 0.8 * np.linalg.norm(
        plain.get_all_params_values()["hidden"][0])  # fmt: skip
    assert shrunk.train_history_[0]["train_loss"] > shrunk.train_history_[0]["valid_loss"] + 0.5


def test_norm_constraint_holds(digits):
    net = net_of(norm_constraint=0.5, max_epochs=2).fit(*digits)
    W = net.get_all_params_values()["hidden"][0]
    assert np.linalg.norm(W, axis=0).max() <= 0.5 * 1.0001


def test_gradient_clipping_slows_a_huge_step(digits):
    wild = dict(update_learning_rate=5.0, max_epochs=1, train_split=None)
    clipped = net_of(total_norm_constraint=1e-3, **wild).fit(*digits)
    assert np.isfinite(clipped.train_history_[0]["train_loss"])
    pinched = net_of(grad_clipping=1e-5, **wild).fit(*digits)
    assert np.isfinite(pinched.train_history_[0]["train_loss"])


def test_layer_nonlinearity_loss_and_rule_of_ones_own(digits):
    class Halved(layers.Layer):
        def get_output_for(self, input, **kwargs):
            return input * 0.5

    def squash(x):
        return x / (1 + abs(x))

    def loss(prediction, target):
        return -ops.log(ops.take_along_axis(prediction, target[:, None], axis=1))[:, 0]

    def signs(param, grad, state, learning_rate):
        state["count"] = state["count"] + 1
        return param - learning_rate * ops.sign(grad)

    net = NeuralNet([DENSE[0], ("half", Halved), DENSE[1], DENSE[2]], hidden_num_units=32, hidden_nonlinearity=squash,
                    objective_loss_function=loss, update=signs, update_learning_rate=0.002, max_epochs=10,
                    batch_size=32, random_state=0).fit(*digits)  # fmt: skip
    assert net.score(*digits) > 0.9
    assert net.get_state()["slots"]["count"]["hidden.b"][0] == net.get_state()["step"]


def test_regression_with_another_loss():
    X = np.linspace(-1, 1, 64, dtype="float32").reshape(-1, 1)
    net = NeuralNetRegressor(objective_loss_function=absolute_error, max_epochs=200, update_learning_rate=0.01,
                             batch_size=16, random_state=0)  # fmt: skip
    assert net.fit(X, np.abs(X[:, 0])).score(X, np.abs(X[:, 0])) > 0.95


def test_weights_by_file_by_net_and_by_dict(digits, tmp_path):
    X, y = digits
    net = net_of().fit(X, y)
    net.save_params_to(tmp_path / "weights.npz")
    for source in (tmp_path / "weights.npz", net, net.get_all_params_values()):
        other = net_of(random_state=5).initialize(X, y)
        assert not np.array_equal(other.predict_proba(X), net.predict_proba(X))
        other.load_params_from(source)
        np.testing.assert_array_equal(other.predict_proba(X), net.predict_proba(X))
    with pytest.raises(DataError, match=r"'hidden.W' has shape \(64, 32\), the net's has \(64, 8\)"):
        net_of(hidden_num_units=8).initialize(X, y).load_params_from(net)


def test_output_of_a_layer(digits):
    X, y = digits
    net = net_of(max_epochs=1).fit(X, y)
    hidden = net.get_output("hidden", X)
    W, b = net.get_all_params_values()["hidden"]
    np.testing.assert_allclose(hidden, np.maximum(X @ W + b, 0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="did you mean 'hidden'"):
        net.get_output("hiden", X)


def test_state_moves_to_another_net_and_the_curve_goes_on(digits):
    X, y = digits
    first = net_of(train_split=None).partial_fit(X, y)
    state = first.get_state()
    second = net_of(train_split=None, update_learning_rate=0.001).partial_fit(X, y)
    second.set_params(update_learning_rate=0.1).set_state(state)
    for net in (first, second):
        net.partial_fit(X, y)
    assert second.train_history_[-1]["train_loss"] == first.train_history_[-1]["train_loss"]
    assert second.get_state()["step"] == 2 * 57


def test_a_layer_s_faults_and_the_rule_s_come_together(digits):
    net = NeuralNet(DENSE, hidden_num_unit=3, update_momentun=0.9, objective_l3=1)
    with pytest.raises(DeclarationError) as caught:
        net.fit(*digits)
    text = str(caught.value)
    for part in ("'hidden_num_unit'", "'update_momentun'", "did you mean 'momentum'", "update_learning_rate=...",
                 "'objective_l3'"):  # fmt: skip
        assert part in text


def test_too_many_or_too_few_outputs(digits):
    with pytest.raises(DeclarationError, match=r"layer 'output' \(DenseLayer\): its output has shape \(None, 7\)"):
        net_of(output_num_units=7).fit(*digits)


def test_wrong_number_of_features_at_predict(digits):
    net = net_of(max_epochs=1).fit(*digits)
    with pytest.raises(ValueError, match="X has 63 features, but NeuralNet is expecting 64 features"):
        net.predict(digits[0][:, :63])


def test_declared_input_shape_against_the_data(digits):
    with pytest.raises(
        DataError, match=r"layer 'input' \(InputLayer\): X has shape \(1797, 64\), the net takes \(n, 60\)"
    ):
        net_of(input_shape=(None, 60)).fit(*digits)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_in_x(digits, bad):
    X = digits[0].copy()
    X[3, 3] = bad
    with pytest.raises(ValueError, match="Input X contains (NaN|infinity)"):
        net_of().fit(X, digits[1])


def test_labels_never_seen(digits):
    net = small().partial_fit(*blobs())
    X, y = blobs()
    with pytest.raises(ValueError, match=r"labels the net was not fitted on: \[7\]; known: 0, 1, 2"):
        net.partial_fit(X, np.where(y == 0, 7, y))


@pytest.mark.parametrize("rows", [0, 1])
def test_no_or_one_sample(rows):
    X, y = blobs()
    with pytest.raises(ValueError, match="0 sample|1 class"):
        small().fit(X[:rows], y[:rows])


def test_loss_that_is_not_a_number_stops_with_advice(digits):
    net = net_of(update_learning_rate=1e20, regression=True, max_epochs=3)
    with pytest.raises(NotFiniteLossError, match="learning rate"):
        net.fit(digits[0], digits[1].astype("float32"))
    assert np.isfinite(net.predict(digits[0])).all()


def test_not_fitted_yet(digits):
    for use in (NeuralNet().predict, NeuralNet().predict_proba, NeuralNetRegressor().predict):
        with pytest.raises(NotFittedError):
            use(digits[0])


def test_unknown_backend_and_device(digits):
    with pytest.raises(ValueError, match="numpyy.*did you mean 'numpy'"):
        net_of().fit(*digits, backend="numpyy")
    with pytest.raises(ValueError, match="gpux"):
        net_of().fit(*digits, device="gpux")


def test_gpu_is_refused_with_reason_and_fix(digits):
    from portanet.exceptions import DeviceUnavailable

    with pytest.raises(DeviceUnavailable) as caught:
        net_of().fit(*digits, device="gpu")
    assert caught.value.reason and caught.value.fix


def test_class_weight_is_refused_in_regression():
    with pytest.raises(ValueError, match="class_weight is for classifiers"):
        NeuralNetRegressor(class_weight="balanced").fit(np.ones((5, 2)), np.arange(5.0))
