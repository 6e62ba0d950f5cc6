"""Plain arrays need no scikit-learn; whoever comes with scikit-learn meets a `BaseEstimator`."""

import subprocess
import sys

import numpy as np
import pandas
import pytest
from sklearn.utils import check_random_state

from portanet import NeuralNetClassifier
from portanet.estimator import _draw_seed

START = """
import sys
import numpy as np
from portanet import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
X = np.random.default_rng(0).standard_normal((60, 4)).astype("float32")
y = (X[:, 0] > 0).astype(int)
def loaded():
    return sorted({name.partition(".")[0] for name in sys.modules} & {"sklearn", "scipy", "pandas"})
"""

PLAIN = {
    "classes": "net = NeuralNetClassifier(max_epochs=2, train_split=0.2).fit(X, y); net.predict(X)",
    "probabilities": "NeuralNetClassifier(max_epochs=1).fit(X, y).predict_proba(X)",
    "numbers": "net = NeuralNetRegressor(max_epochs=2).fit(X, X[:, 1]); net.predict(X)",
    "several numbers": "NeuralNetRegressor(max_epochs=1).fit(X, X[:, :2]).predict(X)",
    "images": "NeuralNetClassifier(max_epochs=1).fit(X.reshape(60, 1, 2, 2), y).predict(X.reshape(60, 1, 2, 2))",
    "named": "NeuralNetClassifier(max_epochs=1).fit({'input': X}, y).predict({'input': X})",
    "on and on": "net = NeuralNetClassifier(random_state=1).partial_fit(X, y, classes=[0, 1]); net.partial_fit(X, y)",
    "pickled": "import pickle; pickle.loads(pickle.dumps(NeuralNetClassifier(max_epochs=1).fit(X, y))).predict(X)",
    "looked at": "net = NeuralNetClassifier(); assert not hasattr(net, 'layers_') and not hasattr(net, 'anything')",
}


def run(code):
    """Run in a fresh interpreter; gives what it printed."""
    made = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip().splitlines()[-1]


def test_plain_arrays_import_no_scikit_learn():
    assert run("\n".join(f"{code}\nassert not loaded(), {name!r}" for name, code in PLAIN.items()) + "\nprint('none')")


ASKING = {
    "params": "net.get_params()",
    "repr": "assert repr(net) == 'NeuralNetClassifier(max_epochs=2)'",
    "tags": "net.__sklearn_tags__()",
    "notebook": "assert 'text/html' in net._repr_mimebundle_()",
    "clone": "from sklearn.base import clone; clone(net)",
    "list": "net.fit(X.tolist(), y.tolist())",
    "another net": "import sklearn.base; NeuralNet()",
    "after unpickling": "import pickle; data = pickle.dumps(net); import sklearn.base; pickle.loads(data).get_params()",
}


@pytest.mark.parametrize("code", ASKING.values(), ids=ASKING)
def test_whatever_needs_it_makes_the_net_a_base_estimator(code):
    made = f"net = NeuralNetClassifier(max_epochs=2); assert not loaded()\n{code}\n"
    assert run(made + "from sklearn.base import BaseEstimator; print(isinstance(net, BaseEstimator))") == "True"


def test_metadata_routing_of_a_class_that_was_there_before():
    assert run("""
class Mine(NeuralNetClassifier):
    def fit(self, X, y, sample_weight=None, shade=None):
        return super().fit(X, y, sample_weight)
net = Mine()
import sklearn
sklearn.set_config(enable_metadata_routing=True)
net.set_fit_request(shade=True, sample_weight="weight")
print(net.get_metadata_routing().fit.requests["shade"], net.get_metadata_routing().fit.requests["sample_weight"])
""") == "True weight"  # fmt: skip


def test_probabilities_are_for_classes_before_and_after():
    assert run("""
nets = [NeuralNetClassifier(), NeuralNetRegressor()]
before = [hasattr(net, "predict_proba") for net in nets]
nets[0].get_params()
print(before, [hasattr(net, "predict_proba") for net in nets])
""") == "[True, False] [True, False]"  # fmt: skip


@pytest.fixture
def rows():
    X = np.random.default_rng(0).standard_normal((60, 4)).astype("float32")
    return X, (X[:, 0] > 0).astype(int)


FAULTS = {
    "Found array with 0 sample": lambda X, y: (X[:0], y[:0]),
    "0 feature": lambda X, y: (X[:, :0], y),
    "Expected 2D array, got 1D array": lambda X, y: (X[:, 0], y),
    "inconsistent numbers of samples": lambda X, y: (X[:9], y),
    "Input X contains NaN": lambda X, y: (np.where(X > 2, np.nan, X), y),
    "Input X contains infinity": lambda X, y: (np.where(X > 2, np.inf, X), y),
    "Complex data not supported": lambda X, y: (X.astype(complex), y),
    "Unknown label type: continuous": lambda X, y: (X, X[:, 1]),
    "Input y contains NaN": lambda X, y: (X, np.where(y, 1, np.nan)),
    r"inconsistent numbers of samples: \[9, 60\]": lambda X, y: ({"input": X[:9]}, y),
    r"Input X\['input'\] contains NaN": lambda X, y: ({"input": np.where(X > 2, np.nan, X)}, y),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_of_plain_arrays_are_told_in_scikit_learns_words(rows, message):
    with pytest.raises(ValueError, match=message):
        NeuralNetClassifier(max_epochs=1, verbose=0).fit(*FAULTS[message](*rows))


def test_another_number_of_features_is_refused(rows):
    X, y = rows
    net = NeuralNetClassifier(max_epochs=1, verbose=0).fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but NeuralNetClassifier is expecting 4 features"):
        net.predict(X[:, :3])


def test_a_finite_sum_may_overflow(rows):
    X, y = rows
    big = np.where(X > 2, np.finfo("float32").max, X)
    assert np.sum(big, dtype="float64") > np.finfo("float32").max
    assert NeuralNetClassifier(max_epochs=0, verbose=0).fit(big, y).n_features_in_ == 4


def test_many_labels_of_few_rows_are_warned_of(rows):
    with pytest.warns(UserWarning, match="number of unique classes is greater than 50%"):
        NeuralNetClassifier(max_epochs=0, verbose=0).fit(rows[0], np.arange(60))


def test_names_of_features_are_forgotten_by_a_fit_without_them(rows):
    X, y = rows
    net = NeuralNetClassifier(max_epochs=1, verbose=0).fit(pandas.DataFrame(X, columns=list("abcd")), y)
    assert list(net.feature_names_in_) == list("abcd")
    assert not hasattr(net.fit(X, y), "feature_names_in_")


def test_a_seed_means_the_same_in_each_of_its_forms():
    wanted = check_random_state(3).randint(2**31 - 1)
    assert [_draw_seed(seed) for seed in (3, np.int64(3), np.random.RandomState(3))] == [wanted] * 3
