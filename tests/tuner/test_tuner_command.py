"""``portanet tune``."""

import numpy as np
import pytest

from portanet.cli import main
from portanet.exceptions import DataError
from portanet.tuner.command import arrays_of
from portanet.tuner.memory import place_of_memory

SOURCE = """
from portanet import NeuralNet
from portanet.updates import adam
net = NeuralNet(hidden_num_units=4, update=adam, max_epochs=2, batch_size=16, random_state=0)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A net's file and its data, where the command is run."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5)).astype("float32")
    (tmp_path / "net.py").write_text(SOURCE)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", X[:, :3].argmax(1))
    np.savez(tmp_path / "both.npz", X=X, y=X[:, :3].argmax(1))
    np.savez(tmp_path / "alone.npz", X=X)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("data", [["X.npy", "y.npy"], ["both.npz"]])
def test_the_table_and_the_choice_are_printed(folder, twins, data, capsys):
    assert main(["tune", "net.py:net", "--data", *data, "--engines", "numpy", "--epochs", "5"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("candidate") and "for 5 epochs of 3 batches" in out


def test_what_the_command_found_is_remembered(folder, twins, capsys):
    for _ in range(2):
        assert main(["tune", "net.py:net", "--data", "both.npz", "--engines", "numpy"]) == 0
    assert "Nothing was measured: this is what this machine remembers." in capsys.readouterr().out


def test_forgetting(folder, twins, capsys):
    main(["tune", "net.py:net", "--data", "both.npz", "--engines", "numpy"])
    assert place_of_memory().exists()
    assert main(["tune", "--forget"]) == 0
    assert not place_of_memory().exists() and "forgot" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "tune needs a net and its data"),
    (["net.py:net"], "tune needs a net and its data"),
    (["net.py:nett", "--data", "both.npz"], "did you mean 'net'"),
    (["net.py:net", "--data", "alone.npz"], "holds no y"),
    (["net.py:net", "--data", "X.npy"], "--data takes X.npy and y.npy, or one .npz file"),
    (["net.py:net", "--data", "X.npy", "gone.npy"], "--data gone.npy: No such file"),
    (["net.py:net", "--data", "X.npy", "net.py"], "--data net.py: "),
    (["net.py:net", "--data", "both.npz", "y.npy"], "--data both.npz holds several arrays"),
    (["net.py:net", "--data", "y.npy", "X.npy"], "the net can't be tuned: ValueError"),
    (["net.py:net", "--data", "both.npz", "--budget", "0"], "budget must be seconds, more than 0, got 0.0"),
    (["net.py:net", "--data", "both.npz", "--engines", "nunpy"], "did you mean 'numpy'"),
    (["net.py:net", "--data", "both.npz", "--device", "cuda"], "unknown device 'cuda'"),
])  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(folder, arguments, told, capsys):
    assert main(["tune", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("portanet: error: ") and told in said


def test_an_interrupted_search_ends_with_its_status(folder, twins, monkeypatch, capsys):
    from portanet.tuner.probe import Bench

    real = Bench.measure

    def measure(self, candidate, seconds):
        if candidate.threads is not None:
            raise KeyboardInterrupt
        return real(self, candidate, seconds)

    monkeypatch.setattr(Bench, "measure", measure)
    status = main(["tune", "net.py:net", "--data", "both.npz", "--engines", "numpy", "--epochs", "100000"])
    assert status == 130 and "interrupted; this is the best so far" in capsys.readouterr().out


def test_data_are_mapped_rather_than_read(folder):
    X, y = arrays_of(["X.npy", "y.npy"])
    assert isinstance(X, np.memmap) and len(X) == len(y)
    with pytest.raises(DataError, match="takes X.npy and y.npy"):
        arrays_of(["a", "b", "c"])
