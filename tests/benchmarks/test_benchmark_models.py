"""The registry, the published programs, the families, and nets of one's own."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from portanet import NeuralNet, layers
from portanet.benchmarks import models
from portanet.benchmarks.models import own
from portanet.exceptions import DataError, DeclarationError
from portanet.parity import compare

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {"P1": "p1_cifar_dense", "P2": "p2_cifar_convnet", "P5": "p5_mnist_mlp", "P6": "p6_mnist_convnet"}
SHAPES = {"P1": (1024,), "P2": (1, 32, 32), "P5": (784,), "P6": (1, 28, 28), "width": (1024,), "depth": (784,)}
NET = """
from portanet import NeuralNet, layers

def net():
    return NeuralNet(layers=[("input", layers.InputLayer), ("output", layers.DenseLayer)],
                     input_shape=(None, 4), batch_size=16, max_epochs=7, random_state=3, backend="numpy",
                     update_learning_rate=0.1)

nothing = 3
"""


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(name, count=20):
    rng = np.random.default_rng(0)
    if name == "transformer":
        return rng.integers(0, 1000, (count, 32), np.int32), np.arange(count) % 2
    return rng.random((count, *SHAPES[name]), np.float32), np.arange(count) % 10


def plan(net, name):
    return net.initialize(*rows(name), backend="numpy").plan_


@pytest.mark.parametrize("name", models.names())
def test_every_model_says_what_it_is(name):
    model = models.find(name.upper())
    assert model.name == model.source == name and model.title and model.question.endswith("?")
    assert model.epochs == model.build().max_epochs >= 2
    assert len(set(model.values)) == len(model.values) > 2
    assert all(set(row) == {"who", "tool", "figure"} for row in model.published)


@pytest.mark.parametrize("name", models.names())
def test_every_net_holds_nothing_out_and_says_nothing(name, capsys):
    net = models.find(name).build(backend="numpy", batch_size=10).fit(*rows(name), epochs=2)
    assert net.train_split is None and len(net.train_history_) == 2 and net.batch_size == 10
    assert np.isfinite(net.train_history_[-1, "train_loss"]) and capsys.readouterr().out == ""


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_published_program_is_that_of_its_example(name):
    """The same graphs, update rule and initial weights, and the same schedule, batches and epochs."""
    own, shown = models.find(name).build(), example(EXAMPLES[name]).build()
    mine, theirs = plan(own, name), plan(shown, name)
    assert mine.fingerprint() == theirs.fingerprint()
    assert mine.update.hyper == theirs.update.hyper and own.batch_size == shown.batch_size
    assert own.max_epochs == shown.max_epochs
    assert list(mine.arrays) == list(theirs.arrays)
    assert all(np.array_equal(mine.arrays[key], theirs.arrays[key]) for key in mine.arrays)


def test_another_net_has_another_fingerprint():
    model = models.find("P6")
    assert plan(model.build(conv1_filter_size=(3, 3)), "P6").fingerprint() != plan(model.build(), "P6").fingerprint()


@pytest.mark.parametrize("name", ["width", "depth", "transformer"])
def test_a_family_varies_by_its_axis(name):
    model = models.find(name)
    counts = []
    for value in model.values[:3]:
        trainable = plan(model.build(**{model.axis: value}), name).trainable
        counts.append(sum(int(np.prod(shape)) for shape in trainable.values()))
    assert counts == sorted(set(counts))


def test_a_dense_net_without_hidden_layers_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        models.find("depth").build(depth=0)


def test_heads_must_divide_the_width():
    with pytest.raises(DeclarationError, match=r"'attention1'.*heads must divide the width of the input, 18; got 4"):
        plan(models.find("transformer").build(width=18), "transformer")


def test_every_engine_computes_the_transformer(backend):
    """Layers, gradients, an update and some steps, against NumPy in float64."""
    net = models.find("transformer").build(width=8, heads=2, length=6, words=30, batch_size=8, random_state=1)
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 30, (20, 6), np.int32), np.arange(20) % 2
    report = compare(net, X, y, backend.name, steps=3)
    assert report.ok, str(report)


def test_attention_looks_at_every_place():
    """What comes out at the first place changes with the word at the last."""
    net = models.find("transformer").build(width=8, heads=2, length=6, words=30, backend="numpy")
    X = np.arange(12, dtype=np.int32).reshape(2, 6)
    net.initialize(X, np.arange(2))
    before = net.get_output("attention1", X)
    X[:, -1] = 29
    assert before.shape == (2, 6, 8) and abs(net.get_output("attention1", X)[:, 0] - before[:, 0]).min() > 1e-6


@pytest.mark.parametrize(
    ("name", "hint"),
    [("P66", "mean 'P6'?"), ("transfromer", "mean 'transformer'?"), ("zzz", "there are P1, P2, P5, P6, width, depth")],
)
def test_an_unknown_model(name, hint):
    with pytest.raises(DataError, match=re.escape(hint)):
        models.find(name)


def test_a_published_program_takes_no_data():
    with pytest.raises(DataError, match=r"P6 brings its own data; leave out X\.npy"):
        models.find("P6", ["X.npy"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A net, and fitting data in both forms."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 4)), np.array(["ant", "bee"])[np.arange(50) % 2]
    np.save("X.npy", X)
    np.save("y.npy", y)
    np.savez("both.npz", X=X, y=y)
    return tmp_path


@pytest.mark.parametrize("data", [["X.npy", "y.npy"], ["both.npz"]])
def test_a_net_of_ones_own(folder, data):
    model = models.find("net.py:net", data)
    assert (model.name, model.source, model.epochs) == ("net", "net.py:net", 7)
    found = model.load()
    assert (found.real, found.classes, found.X.dtype, found.y.dtype) == (True, 2, "float32", "int32")
    assert (len(found.X), len(found.X_test)) == (40, 10) and "10 of 50 rows" in found.note
    assert np.bincount(found.y_test).tolist() == [5, 5]
    net = model.build(batch_size=8)
    assert (net.batch_size, net.max_epochs, net.random_state, net.train_split, net.verbose) == (8, 7, 3, None, 0)
    assert net.fit(found.X, found.y, epochs=1).n_iter_ == 1 and not hasattr(model.build(), "layers_")


def test_the_rows_held_out_are_always_the_same_and_none_is_in_both(folder):
    once, again = (models.find("net.py:net", ["X.npy", "y.npy"]).load() for _ in range(2))
    assert once.sha256 == again.sha256
    together = np.concatenate([once.X, once.X_test])
    assert len(np.unique(together, axis=0)) == 50


def test_data_of_another_folder(folder, monkeypatch):
    model = models.find("net.py:net", ["X.npy", "y.npy"])
    monkeypatch.chdir("/")
    assert len(model.load(folder).X) == 40


def test_a_net_may_be_found_without_its_data(folder):
    """As a process does that is handed the arrays."""
    model = models.find("net.py:net")
    assert model.build().batch_size == 16
    with pytest.raises(DataError, match=r"net.py:net needs its data; give X.npy and y.npy, or one .npz"):
        model.load()


def test_a_regression(folder):
    text = NET.replace("max_epochs=7", "regression=True, floatX='float64'")
    Path("line.py").write_text(text)
    np.save("y.npy", np.linspace(0, 1, 50))
    found = models.find("line.py:net", ["X.npy", "y.npy"]).load()
    assert found.classes is None and found.X.dtype == found.y.dtype == "float64"


def test_a_wired_net_of_a_subclass_stays_one():
    class Mine(NeuralNet):
        pass

    joined = layers.DenseLayer(layers.InputLayer((None, 4)), 2)
    given = Mine(joined, max_epochs=3)
    made = own._remade(given, {"batch_size": 5})
    assert type(made) is Mine and (made.max_epochs, made.batch_size, made.train_split) == (3, 5, None)


FAULTS = {
    "no attribute": (["net.py"], None, "net.py names no net in it; write net.py:net"),
    "a typing mistake": (["net.py:nett"], None, "has no 'nett' (did you mean 'net'?)"),
    "no net": (["net.py:nothing"], None, "holds a int, not a NeuralNet"),
    "no file": (["there.py:net"], None, "no file there.py"),
    "a file that fails": (["broken.py:net"], None, "broken.py can't be imported: ZeroDivisionError"),
    "fewer rows of y": (["net.py:net"], ["X.npy", "short.npy"], "X has 50 rows, y has 49; each row of X needs"),
    "another width": (["net.py:net"], ["wide.npy", "y.npy"], "X has shape (50, 5), the net takes (n, 4)"),
    "no y": (["net.py:net"], ["X.npy"], "no y: give X.npy and y.npy, or one .npz"),
    "no y inside": (["net.py:net"], ["alone.npz"], "alone.npz holds no y; save it by"),
    "several inputs": (["net.py:net"], ["several.npz"], "holds left, right besides y; a benchmark takes one array, X"),
    "no such array": (["net.py:net"], ["X.npy", "gone.npy"], "gone.npy can't be read: No such file"),
    "no array": (["net.py:net"], ["X.npy", "net.py"], "net.py holds no array of numbers"),
    "an archive": (["net.py:net"], ["X.npy", "both.npz"], "both.npz is an archive of several arrays"),
    "a number": (["net.py:net"], ["X.npy", "one.npy"], "one.npy holds a single number, no rows"),
    "no learning rate": (["slow.py:net"], ["X.npy", "y.npy"], "slow.py:net with X.npy and y.npy: update rule"),
    "not finite": (["net.py:net"], ["nan.npy", "y.npy"], "net.py:net with nan.npy and y.npy: "),
    "three files": (["net.py:net"], ["X.npy", "y.npy", "one.npy"], "got X.npy y.npy one.npy"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_told(fault, folder):
    (text,), data, message = FAULTS[fault]
    X, y = np.load("X.npy"), np.load("y.npy")
    Path("broken.py").write_text("1 / 0")
    Path("slow.py").write_text(NET.replace("update_learning_rate=0.1", ""))
    wrong = {"short": y[1:], "wide": np.hstack([X, X[:, :1]]), "one": np.float32(1), "nan": X * np.nan}
    for name, array in wrong.items():
        np.save(f"{name}.npy", array)
    np.savez("alone.npz", X=X)
    np.savez("several.npz", left=X, right=X, y=y)
    with pytest.raises(DataError, match=re.escape(message)):
        models.find(text, data).load()
