"""scikit-learn's own suite, whole and without expected failures, and the tools that lean on the same contract."""

import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from portanet import NeuralNet, NeuralNetClassifier, NeuralNetRegressor, layers
from portanet.updates import adam, nesterov_momentum

DECLARED = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)]


# floatX="float64": one check compares two fits whose sums run in another order, to a relative 1e-7.
@parametrize_with_checks([NeuralNetClassifier(floatX="float64"), NeuralNetRegressor(floatX="float64")])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_check_estimator(estimator, check):
    check(estimator)


SINGLE_PRECISION_APART = "check_sample_weight_equivalence"


@parametrize_with_checks([NeuralNetClassifier(), NeuralNetRegressor()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_check_estimator_in_single_precision(estimator, check):
    if SINGLE_PRECISION_APART not in check.func.__name__:
        check(estimator)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X.astype("float32"), y


def classifier(**kwargs):
    return NeuralNetClassifier(DECLARED, hidden_num_units=16, batch_size=16, max_epochs=40, random_state=0, **kwargs)


def test_pipeline_and_cross_validation(iris):
    model = make_pipeline(StandardScaler(), classifier(update_learning_rate=0.01))
    assert cross_val_score(model, *iris, cv=3).min() > 0.85


def test_grid_search_in_two_processes_over_layer_update_and_net_parameters(iris):
    grid = {"hidden_num_units": [2, 16], "update_learning_rate": [1e-6, 0.01]}
    search = GridSearchCV(classifier(), grid, cv=2, n_jobs=2).fit(*iris)
    assert search.best_params_ == {"hidden_num_units": 16, "update_learning_rate": 0.01}


def test_parameters_of_layers_update_and_objective_are_visible():
    net = classifier(update_learning_rate=0.02, objective_l2=0.1)
    params = net.get_params()
    assert params["hidden_num_units"] == 16
    assert params["update_learning_rate"] == 0.02
    assert params["objective_l2"] == 0.1
    assert clone(net).get_params()["hidden_num_units"] == 16


def test_layer_parameters_can_be_set_before_they_were_given():
    net = NeuralNetClassifier(DECLARED).set_params(hidden_num_units=5, update_beta1=0.8)
    assert net.get_params()["hidden_num_units"] == 5
    assert clone(net).get_params()["update_beta1"] == 0.8


def test_unknown_parameter_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"Invalid parameter 'hidden_num_unit' .*did you mean 'hidden_num_units'"):
        NeuralNetClassifier(DECLARED).set_params(hidden_num_unit=5)


def test_clone_keeps_every_argument_untouched():
    net = classifier(callbacks=[], options={})
    copy = clone(net)
    assert copy.get_params().keys() == net.get_params().keys()
    assert net.layers is DECLARED


def test_kinds():
    assert is_classifier(NeuralNet()) and is_regressor(NeuralNet(regression=True))
    assert is_classifier(NeuralNetClassifier()) and is_regressor(NeuralNetRegressor())


def test_defaults_of_the_three():
    assert NeuralNet().update is nesterov_momentum and NeuralNet().train_split == 0.2
    for kind in (NeuralNetClassifier, NeuralNetRegressor):
        assert kind().update is adam and kind().train_split is None
        assert "regression" not in kind().get_params()


def test_repr_shows_what_was_given():
    assert repr(NeuralNetClassifier(max_epochs=3)) == "NeuralNetClassifier(max_epochs=3)"


@pytest.mark.parametrize("through", [lambda net: pickle.loads(pickle.dumps(net)), "joblib"])
def test_pickle_and_joblib_keep_predictions_and_go_on(iris, through, tmp_path):
    X, y = iris
    net = classifier().fit(X, y)
    if through == "joblib":
        joblib.dump(net, tmp_path / "net.joblib")
        copy = joblib.load(tmp_path / "net.joblib")
    else:
        copy = through(net)
    np.testing.assert_array_equal(copy.predict_proba(X), net.predict_proba(X))
    for one in (net, copy):
        one.partial_fit(X, y)
    assert copy.train_history_[-1]["train_loss"] == net.train_history_[-1]["train_loss"]
    np.testing.assert_array_equal(copy.predict_proba(X), net.predict_proba(X))


def test_predict_is_deterministic_with_dropout():
    X, y = load_digits(return_X_y=True)
    declared = [DECLARED[0], ("drop", layers.DropoutLayer), *DECLARED[1:]]
    net = NeuralNetClassifier(declared, hidden_num_units=8, max_epochs=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(net.predict_proba(X), net.predict_proba(X))


def test_score_of_a_regressor_takes_truth_first():
    from sklearn.metrics import r2_score

    X = np.linspace(-1, 1, 60).reshape(-1, 1)
    y = 3 * X[:, 0] + 5
    net = NeuralNetRegressor(max_epochs=5, random_state=0).fit(X, y)
    assert net.score(X, y) == r2_score(y, net.predict(X)) != r2_score(net.predict(X), y)
    plain = NeuralNet(regression=True, update=adam, max_epochs=5, train_split=None, random_state=0).fit(X, y)
    assert plain.score(X, y) == r2_score(y, plain.predict(X))
