"""Data sets larger than memory: memory maps stay maps, and little of them is resident at any time."""

import json
import mmap
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from portanet import NeuralNetClassifier, NeuralNetRegressor, inputs, layers, ops, train
from portanet.data import BatchIterator, PredefinedSplit
from portanet.engine import memory_maps
from portanet.engine.memory_maps import REGION, REGIONS, Map, is_large_map, map_of, pieces, read_ahead, rows_of, take
from portanet.exceptions import DataError

ROWS, FEATURES = 600, 12
SCATTERED = pytest.mark.filterwarnings("ignore:.*in Fortran order:UserWarning")


@pytest.fixture
def every_map_is_large(monkeypatch):
    monkeypatch.setattr(memory_maps, "LARGE", 0)


@pytest.fixture
def mapped(tmp_path, every_map_is_large):
    """``mapped(array)``: the array as a read-only memory map of a file that holds it, in its own order."""

    def write(array, mode="r"):
        path = tmp_path / f"{len(os.listdir(tmp_path))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode=mode)

    return write


@pytest.fixture
def sparse(tmp_path):
    """Path of a file of 256 MiB of zeros, most of which is not there."""
    path = tmp_path / "sparse"
    path.write_bytes(b"")
    os.truncate(path, 256 << 20)
    return path


def blobs(shape=(FEATURES,), dtype="float32"):
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, ROWS)
    X = rng.standard_normal((ROWS, *shape)) + y.reshape(-1, *[1] * len(shape))
    return ((X + 6) * 10).astype(dtype) if dtype == "uint8" else X.astype(dtype), y


def small_net(**kwargs):
    return NeuralNetClassifier(hidden_num_units=8, batch_size=64, max_epochs=2, random_state=0, **kwargs)


def losses(net):
    return net.train_history_[:, "train_loss"]


class TestWhatIsAMap:
    @pytest.mark.parametrize(
        "view",
        [lambda X: X, lambda X: X[3:], lambda X: X.reshape(-1, 4), lambda X: np.asarray(X)[:, ::2].T,
         lambda X: np.lib.stride_tricks.sliding_window_view(X, 5, axis=0)],
    )  # fmt: skip
    def test_views_of_one_are(self, mapped, view):
        assert is_large_map(view(mapped(blobs()[0])))

    def test_the_rest_is_not(self, mapped):
        X = mapped(blobs()[0])
        others = [np.zeros((10, 2)), X[[1, 2]], X + 1, np.array(X), [[1.0]], None]
        assert not any(is_large_map(other) for other in others)

    def test_a_map_that_fits_into_a_block_is_simply_read(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros((10, 2)))
        assert not is_large_map(np.load(tmp_path / "x.npy", mmap_mode="r"))

    def test_a_buffer_over_a_map_is(self, every_map_is_large):
        assert is_large_map(np.frombuffer(mmap.mmap(-1, 4096), np.uint8))


class TestRows:
    @pytest.fixture(params=["at once", "a few pages at a time"])
    def way(self, request, monkeypatch):
        """How rows are read."""
        if "few" in request.param:
            monkeypatch.setattr(memory_maps, "REGION", mmap.PAGESIZE)
            monkeypatch.setattr(memory_maps, "REGIONS", 2)

    @pytest.mark.parametrize(
        "view",
        [lambda X: X, lambda X: X[::-1], lambda X: X[5::7], lambda X: X[:, ::-2], lambda X: X.transpose(0, 2, 1),
         lambda X: X.transpose(2, 1, 0), lambda X: X.transpose(1, 0, 2), lambda X: X[:, 0, 0], lambda X: X[:, :, :1],
         lambda X: np.lib.stride_tricks.sliding_window_view(X, 3, axis=0)],
        ids=["C", "backwards", "every seventh", "columns backwards", "transposed", "scattered", "middle", "vector",
             "column", "windows"],
    )  # fmt: skip
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_are_those_of_an_array(self, mapped, way, view, order):
        X = np.random.default_rng(0).standard_normal((90, 30, 40)).copy(order=order)
        there = view(mapped(X))
        rows = np.random.default_rng(1).integers(0, len(there), 70)
        found = rows_of(there, rows)
        assert not is_large_map(found) and found.flags.c_contiguous
        np.testing.assert_array_equal(found, view(X)[rows])

    def test_are_cast_on_the_way(self, mapped):
        X, _ = blobs(dtype=">f8")
        out = np.empty((3, FEATURES), "float32")
        take(mapped(X), [5, 0, 5], out)
        np.testing.assert_array_equal(out, X[[5, 0, 5]].astype("float32"))

    def test_may_be_none(self, mapped):
        X = mapped(blobs()[0])
        read_ahead(X, np.arange(0))
        assert rows_of(X, np.arange(0)).shape == (0, FEATURES)

    def test_are_read_a_few_regions_at_a_time(self, sparse, monkeypatch):
        X = np.memmap(sparse, "uint8", "r", shape=(1 << 16, 1 << 12))
        given_back = []
        monkeypatch.setattr(Map, "give_back", lambda self, first, size: given_back.append((first, first + size)))
        rows = np.random.default_rng(0).permutation(len(X))[:2000]
        rows_of(X, rows)
        touched = {int(at) // REGION for at in map_of(X).first + rows * X.strides[0]}
        each = [
            sum(first // REGION <= region <= (end - 1) // REGION for region in touched) for first, end in given_back
        ]
        assert max(each) <= REGIONS + 1
        assert sum(each) >= len(touched)

    def test_next_to_each_other_are_asked_for_at_once(self, mapped, monkeypatch):
        X = mapped(np.zeros((64, 32 << 10), "uint8"))
        asked = []
        monkeypatch.setattr(Map, "read_ahead", lambda self, address, size: asked.append(size // len(X[0])))
        read_ahead(X, np.array([40, 3, 1, 2, 2, 41]))
        assert asked == [3, 2]

    @pytest.mark.parametrize("shape", [(600, 12), (7, 3, 5), (1, 4), (5,)])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_pieces_make_up_the_whole(self, shape, order):
        X = np.arange(np.prod(shape)).reshape(shape, order=order)
        found = list(pieces(X, size=200))
        assert sorted(np.concatenate([piece.ravel() for piece in found])) == list(range(X.size))
        assert all(piece.nbytes <= 200 for piece in found if len(piece) > 1)


class TestGivingBack:
    def test_leaves_a_shared_map_as_it_is(self, mapped):
        X = mapped(np.zeros((50, 100)), "r+")
        X[7] = 3
        memory_maps.give_back_pages(X)
        assert X[7].tolist() == [3] * 100

    def test_spares_what_was_written_to_a_copy_on_write_map(self, mapped):
        X = mapped(np.zeros((50, 100)), "c")
        X[7] = 3
        assert rows_of(np.asarray(X), np.arange(50))[7].tolist() == [3] * 100
        memory_maps.give_back_pages(X)
        assert X[7].tolist() == [3] * 100

    def test_spares_memory_that_no_file_holds(self, every_map_is_large):
        X = np.frombuffer(mmap.mmap(-1, 1 << 16, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        X[:] = 9
        memory_maps.give_back_pages(X)
        assert X.min() == 9


class TestChecks:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("order", ["C", "F"])
    @SCATTERED
    def test_what_is_not_finite_is_found_at_the_very_end(self, mapped, value, order, monkeypatch):
        monkeypatch.setattr(inputs, "pieces", lambda array: pieces(array, size=1000))
        X, y = blobs()
        net = small_net().fit(X, y)
        X[-1, -1] = value
        there = mapped(X.copy(order=order))
        for call in (net.predict, lambda X: small_net().fit(X, y), lambda X: small_net().partial_fit(X, y)):
            with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)") as wanted:
                call(X)
            with pytest.raises(ValueError) as found:
                call(there)
            assert str(found.value) == str(wanted.value)

    def test_nothing_is_looked_for_without_check_input(self, mapped):
        X, y = blobs()
        net = small_net(check_input=False).fit(X, y)
        X[3, 3] = np.nan
        assert np.isnan(net.predict_proba(mapped(X))[3]).all()

    def test_of_named_inputs_and_targets(self, mapped):
        X, _ = blobs()
        bad = X.copy()
        bad[-1] = np.nan
        net = NeuralNetRegressor(max_epochs=1)
        with pytest.raises(ValueError, match=r"Input X\['input'\] contains NaN"):
            net.fit({"input": mapped(bad)}, X[:, 0])
        with pytest.raises(ValueError, match="Input y contains NaN"):
            net.fit(mapped(X), mapped(bad))
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples.*600.*599"):
            net.fit(mapped(X), mapped(X[1:]))

    def test_shapes_and_features(self, mapped):
        X, y = blobs()
        net = small_net().fit(mapped(X), y)
        assert net.n_features_in_ == FEATURES
        with pytest.raises(ValueError, match="X has 11 features, but NeuralNetClassifier is expecting 12"):
            net.predict(mapped(X[:, 1:]))
        images = small_net(input_shape=(None, 3, 2, 2))
        with pytest.raises(DataError, match=r"layer 'input'.*X has shape \(600, 12\), the net takes \(n, 3, 2, 2\)"):
            images.fit(mapped(X), y)
        with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
            net.predict(mapped(X[:, 0]))
        with pytest.raises(ValueError, match="Complex data not supported"):
            net.predict(mapped(X + 1j))

    def test_labels_are_copied_out(self, mapped):
        X, y = blobs()
        arrays, labels = inputs.check_both(small_net(), mapped(X), mapped(y), reset=True)
        assert is_large_map(arrays[None]) and not is_large_map(labels)
        np.testing.assert_array_equal(labels, y)

    def test_scattered_rows_are_warned_about(self, mapped):
        X, y = blobs()
        with pytest.warns(UserWarning, match=r"X is a memory map of shape \(600, 12\) in Fortran order.*open_memmap"):
            small_net().fit(mapped(np.asfortranarray(X)), y)


class Noisy(BatchIterator):
    def transform(self, Xb, yb):
        Xb[::2] += 1
        return Xb, yb


class TestTheSameAsInMemory:
    @pytest.mark.parametrize("kind", ["float32", "uint8", ">f4", "float64", "Fortran", "copy on write", "strided"])
    @SCATTERED
    def test_whatever_the_map(self, mapped, kind):
        X, y = blobs(dtype=kind if kind[-1].isdigit() else "float32")
        there = mapped(np.asfortranarray(X) if kind == "Fortran" else X, "c" if kind == "copy on write" else "r")
        if kind == "strided":
            X, there, y = X[::2], there[::2], y[::2]
        net, other = small_net(train_split=0.25).fit(X, y), small_net(train_split=0.25).fit(there, y)
        assert losses(net) == losses(other)
        assert net.train_history_[:, "valid_loss"] == other.train_history_[:, "valid_loss"]
        np.testing.assert_array_equal(net.predict_proba(X), other.predict_proba(there))
        np.testing.assert_array_equal(net.get_output("hidden", X), other.get_output("hidden", there))
        assert net.score(X, y) == other.score(there, y)

    def test_targets_that_are_a_map(self, mapped):
        X, _ = blobs()
        seen = []

        def score(truth, prediction):
            seen.append(truth)
            return 0

        def fitted(X, y):
            return NeuralNetRegressor(
                max_epochs=2, random_state=0, train_split=0.25, scores_valid=[("own", score)]
            ).fit(X, y)

        assert losses(fitted(X, X)) == losses(fitted(mapped(X), mapped(X)))
        np.testing.assert_array_equal(seen[0], seen[2])
        assert len(seen[0]) == ROWS // 4

    def test_batches_that_are_transformed(self, mapped):
        X, y = blobs()
        options = dict(batch_iterator_train=Noisy(64), scores_train=[("own", lambda truth, found: found[:, 0].mean())])
        before, there = X.copy(), mapped(X)
        net, other = small_net(**options).fit(X, y), small_net(**options).fit(there, y)
        assert losses(net) == losses(other)
        assert net.train_history_[:, "own"] == other.train_history_[:, "own"]
        np.testing.assert_array_equal(before, there)

    def test_weights_and_data_to_validate_on(self, mapped):
        X, y = blobs()
        weight = np.linspace(0.5, 2, ROWS)
        nets = [
            small_net(train_split=PredefinedSplit(valid, y[:100])).fit(train, y, weight)
            for train, valid in ((X, X[:100]), (mapped(X), mapped(X[:100])))
        ]
        assert losses(nets[0]) == losses(nets[1])
        assert nets[0].train_history_[:, "valid_loss"] == nets[1].train_history_[:, "valid_loss"]


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_the_same_as_in_memory_on_every_engine(backend, mapped, dtype):
    X, y = blobs(dtype=dtype)
    options = dict(train_split=0.25, backend=backend.name, device="cpu", update_learning_rate=1e-3)
    net, other = (small_net(**options).fit(data, y) for data in (X, mapped(X)))
    np.testing.assert_allclose(losses(other), losses(net), rtol=1e-6)
    np.testing.assert_allclose(other.predict_proba(mapped(X)), net.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_transformed_batches_are_made_a_few_at_a_time(monkeypatch, dtype):
    """However few bytes a value has, it is cast to four."""
    X, y = blobs(dtype=dtype)
    monkeypatch.setattr(train, "CHUNK_BYTES", 3 * 64 * (4 * FEATURES + y.itemsize))
    sizes = []

    def watch(net, history):
        def watched(name, arrays, bind=net._program.bind):
            sizes.append(len(arrays["target"]))
            bind(name, arrays)

        net._program.bind = watched

    small_net(batch_iterator_train=Noisy(64), on_training_started=watch).fit(X, y, epochs=1)
    assert sizes == [192, 192, 192, 24]


class Words(layers.Layer):
    def __init__(self, incoming, **kwargs):
        super().__init__(incoming, **kwargs)
        self.W = self.add_param(0.1, (20, 2), "W")

    def get_output_for(self, input, **kwargs):
        return ops.take(self.W, input, axis=0)


def test_an_index_out_of_range_deep_in_a_map(backend, mapped):
    X = np.zeros((ROWS, 3), "int32")
    X[-1, 1] = 50
    net = NeuralNetClassifier(
        [("input", layers.InputLayer), ("words", Words), ("output", layers.DenseLayer)],
        input_dtype="int32", max_epochs=1, backend=backend.name, device="cpu",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"layer 'words': Gather: index 50 is out of bounds .* size 20"):
        net.fit(mapped(X), blobs()[1])


SCRIPT = """
    import json, sys
    import numpy as np
    from portanet import NeuralNetClassifier, layers
    from portanet.data import BatchIterator

    class Doubling(BatchIterator):
        def transform(self, Xb, yb):
            return Xb * 2, yb

    def resident(kind):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith(kind))

    def use(X, octets):
        net = NeuralNetClassifier(
            [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
            hidden_num_units=8, backend=sys.argv[1], device="cpu", threads=1, max_epochs=1, verbose=0, random_state=0,
            train_split=0.25, custom_scores=[("rows", lambda truth, prediction: len(prediction))],
        )
        y = np.arange(len(X)) % 3
        net.fit(X, y).predict_proba(X)
        net.set_params(batch_iterator_train=Doubling(128), train_split=None)
        net.partial_fit(octets, np.arange(len(octets)) % 3)
        return net.train_history_[0]["rows"]

    X = np.memmap(sys.argv[2], "float32", "r").reshape(-1, 4096)[:10240]
    octets = X.view("uint8").reshape(-1, 4096)[::8]
    use(X[:1024], octets[:1024])
    with open("/proc/self/clear_refs", "w") as forget:
        forget.write("5")  # the peak so far
    before = resident("VmRSS")
    rows = use(X, octets)
    print(json.dumps({"rows": rows, "growth": resident("VmHWM") - before, "whole": X.nbytes / 2**20}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_little_of_a_large_map_is_resident(backend, sparse):
    made = subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT), backend.name, str(sparse)],
                          capture_output=True, text=True, timeout=600, check=False)  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = json.loads(made.stdout.splitlines()[-1])
    assert found["rows"] == 2560 and found["whole"] == 160
    assert found["growth"] < 100, found
