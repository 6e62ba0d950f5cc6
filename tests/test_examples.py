"""The published programs run as they stand, on small files in the formats of the real ones."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PARAMETERS = {"p1_cifar_dense": 103_510, "p2_cifar_convnet": 127_906, "p5_mnist_mlp": 669_706,
              "p6_mnist_convnet": 65_402}  # fmt: skip


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    """Real digits, 8x8, as 28x28 bytes."""
    images, labels = load_digits(return_X_y=True)
    images = np.kron(images.reshape(-1, 8, 8), np.ones((3, 3))) * 255 / 16
    return np.pad(images, [(0, 0), (2, 2), (2, 2)]).astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture(scope="module")
def mnist(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnist")
    images, labels = digits
    for part, rows in (("train", slice(0, 1500)), ("t10k", slice(1500, None))):
        for name, array in ((f"{part}-images-idx3-ubyte", images[rows]), (f"{part}-labels-idx1-ubyte", labels[rows])):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            with gzip.open(folder / f"{name}.gz", "wb") as file:
                file.write(header + array.tobytes())
    return folder


@pytest.fixture(scope="module")
def cifar(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar")
    images, labels = digits
    colour = np.repeat(np.pad(images, [(0, 0), (2, 2), (2, 2)])[:, None], 3, axis=1)
    records = np.hstack([labels[:, None], colour.reshape(len(colour), -1)])
    for place, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        (folder / name).write_bytes(records[place * 290 : (place + 1) * 290].tobytes())
    return folder


@pytest.mark.parametrize("name", ["p5_mnist_mlp", "p6_mnist_convnet"])
def test_mnist_programs(name, mnist, capsys):
    net = example(name).main([str(mnist), "--epochs", "3"])
    assert sum(W.size for values in net.get_all_params_values().values() for W in values) == PARAMETERS[name]
    assert len(net.train_history_) == 3
    assert net.train_history_[-1, "train_loss"] < net.train_history_[0, "train_loss"]
    assert "test " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["p1_cifar_dense", "p2_cifar_convnet"])
def test_cifar_programs(name, cifar, capsys):
    net = example(name).main([str(cifar), "--epochs", "2"])
    assert sum(W.size for values in net.get_all_params_values().values() for W in values) == PARAMETERS[name]
    assert net.train_history_[-1, "valid_loss"] < net.train_history_[0, "valid_loss"]
    assert "test accuracy" in capsys.readouterr().out


def test_data_found_through_the_environment(mnist, monkeypatch):
    monkeypatch.setenv("PORTANET_DATA", str(mnist))
    assert example("p5_mnist_mlp").main(["--epochs", "1"]).n_iter_ == 1
