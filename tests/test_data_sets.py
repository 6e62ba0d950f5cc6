"""Bound arrays alone: what lies on the device and what is gathered, how batches become blocks, what is refused."""

import numpy as np
import pytest

from portanet.engine import data_sets, memory_maps
from portanet.engine.data_sets import CAPACITY, DataSets
from portanet.engine.graph import Graph, GraphError, Node, TensorType
from portanet.engine.plan import PREDICT, Plan

WORDS, FEATURES, ROWS = 20, 3, 40


class Uploaded:
    """An array on a device that can't be taken for NumPy's."""

    def __init__(self, array):
        self.array = np.array(array)


def plan(ops=("Gather",)):
    """A net of numbers and of word indices, which go through `ops` to the table."""
    graph = Graph(PREDICT)
    graph.inputs = {"x": TensorType("float32", ("N", FEATURES)), "words": TensorType("int32", ("N", 2))}
    graph.types = dict(graph.inputs, table=TensorType("float32", (WORDS, 4)))
    name = "words"
    for op in ops[:-1]:
        graph.nodes.append(Node(op, [name], [op], {}, "words"))
        graph.types[op] = graph.types[name]
        name = op
    graph.nodes.append(Node(ops[-1], ["table", name], ["prediction"], {"axis": 0}, "embedding"))
    targets = {"target": TensorType("int32", ("N",))}
    return Plan("float32", graph.inputs, targets, {}, {}, {PREDICT: graph}, [], None, {})


def arrays(rows=ROWS):
    x = np.arange(rows * FEATURES, dtype="float64").reshape(rows, FEATURES)
    return {"x": x, "words": np.arange(rows * 2).reshape(rows, 2) % WORDS, "target": np.arange(rows) % 3}


@pytest.fixture
def sizes():
    """Bytes of the data sets that were asked about, whether they fit."""
    return []


@pytest.fixture(params=["placed", "gathered"])
def way(request):
    return request.param


@pytest.fixture
def data(way, sizes):
    """Data sets on a device that everything fits on, or nothing."""
    return DataSets(plan(), Uploaded, lambda size: sizes.append(size) or way == "placed")


def values(block, key="x"):
    """Rows of each batch of a block, as the device sees them."""
    return block.arrays[key].array[block.rows]


class TestBlocks:
    def test_hold_the_rows_of_their_batches_in_the_type_of_the_net(self, data, sizes):
        bound = arrays()
        data.bind("train", bound)
        batches = list(np.random.default_rng(0).permutation(ROWS).reshape(5, 8))
        blocks = list(data.blocks("train", batches))
        for key, dtype in (("x", "float32"), ("words", "int32"), ("target", "int32")):
            found = np.concatenate([values(block, key) for block in blocks])
            np.testing.assert_array_equal(found, [bound[key][rows] for rows in batches])
            assert found.dtype == dtype
        assert all(block.rows.dtype == np.int32 for block in blocks)
        assert sizes == [ROWS * (4 * FEATURES + 4 * 2 + 4)]

    def test_are_cut_where_the_batch_size_changes(self, data):
        data.bind("train", arrays())
        batches = [np.arange(size) for size in (8, 8, 3, 8, 8, 8)]
        blocks = list(data.blocks("train", batches))
        assert [(block.place, block.rows.shape) for block in blocks] == [(0, (2, 8)), (2, (1, 3)), (3, (3, 8))]

    def test_hold_as_many_batches_as_the_capacity_which_is_asked_anew(self, data):
        data.bind("train", arrays())
        answers = iter([2, 1, 500])
        blocks = list(data.blocks("train", [np.arange(4)] * 6, lambda: next(answers)))
        assert [len(block.rows) for block in blocks] == [2, 1, 3]

    def test_hold_no_more_than_an_engine_compiles_for(self, data):
        data.bind("train", arrays())
        blocks = list(data.blocks("train", [np.arange(2)] * (2 * CAPACITY + 1)))
        assert [len(block.rows) for block in blocks] == [CAPACITY, CAPACITY, 1]

    def test_of_no_batches_are_none(self, data):
        data.bind("train", arrays())
        assert list(data.blocks("train", [])) == []


class TestPlaced:
    @pytest.fixture
    def way(self):
        return "placed"

    def test_data_are_uploaded_once(self, data):
        data.bind("train", arrays())
        first, second = data.blocks("train", [np.array([5, 7]), np.array([9])])
        assert first.arrays is second.arrays
        np.testing.assert_array_equal(first.rows, [[5, 7]])

    def test_a_small_map_is_simply_read(self, data, tmp_path):
        np.save(tmp_path / "x.npy", arrays()["x"])
        data.bind("train", dict(arrays(), x=np.load(tmp_path / "x.npy", mmap_mode="r")))
        first, second = data.blocks("train", [np.array([5, 7]), np.array([9])])
        assert first.arrays is second.arrays


class TestGathered:
    @pytest.fixture
    def way(self):
        return "gathered"

    def test_only_the_rows_of_a_block_are_uploaded(self, data, monkeypatch):
        monkeypatch.setattr(data_sets, "BLOCK_BYTES", 3 * 4 * 4 * (FEATURES + 3))
        data.bind("train", arrays())
        batches = [np.arange(4), np.arange(30, 34), np.array([7, 7, 0, 1]), np.arange(4)]
        blocks = list(data.blocks("train", batches))
        np.testing.assert_array_equal(blocks[0].rows, np.arange(12).reshape(3, 4))
        np.testing.assert_array_equal(blocks[0].arrays["target"].array, arrays()["target"][np.concatenate(batches[:3])])
        assert len(blocks) == 2

    def test_blocks_are_filled_up_to_one_length_with_zeros(self, data, monkeypatch):
        monkeypatch.setattr(data_sets, "BLOCK_BYTES", 3 * 4 * 4 * (FEATURES + 3))
        data.bind("train", arrays())
        full, rest = data.blocks("train", [np.arange(4, 8)] * 4)
        assert full.arrays["x"].array.shape == rest.arrays["x"].array.shape == (12, FEATURES)
        assert not rest.arrays["x"].array[4:].any() and full.arrays["x"].array.all()

    def test_a_batch_larger_than_a_block_is_a_block(self, data, monkeypatch):
        monkeypatch.setattr(data_sets, "BLOCK_BYTES", 1)
        data.bind("train", arrays())
        assert [len(block.rows) for block in data.blocks("train", [np.arange(8)] * 2)] == [1, 1]


class TestMaps:
    """Large memory maps are gathered from even where they would fit, and cast on the way."""

    @pytest.fixture
    def way(self):
        return "placed"

    @pytest.fixture
    def mapped(self, tmp_path, monkeypatch):
        monkeypatch.setattr(memory_maps, "LARGE", 0)

        def write(array):
            np.save(tmp_path / "array.npy", array)
            return np.load(tmp_path / "array.npy", mmap_mode="r")

        return write

    def test_are_not_uploaded_whole(self, data, mapped, sizes):
        data.bind("train", dict(arrays(), x=mapped(arrays()["x"])))
        (block,) = data.blocks("train", [np.array([5, 7])])
        np.testing.assert_array_equal(values(block)[0], arrays()["x"][[5, 7]])
        assert block.arrays["x"].array.dtype == "float32" and not sizes

    def test_are_asked_for_the_block_after_the_next_once(self, data, mapped, monkeypatch):
        monkeypatch.setattr(data_sets, "BLOCK_BYTES", 2 * 4 * (8 * FEATURES + 4 * 3))
        asked = []
        monkeypatch.setattr(data_sets, "read_ahead", lambda array, rows: asked.append(rows.tolist()))
        data.bind("train", dict(arrays(), x=mapped(arrays()["x"])))
        batches = list(np.arange(20).reshape(5, 4))
        waiting = []
        for _ in data.blocks("train", batches):
            waiting.append(list(asked))
            asked.clear()
        assert waiting == [[list(range(8)), list(range(8, 16))], [list(range(16, 20))], []]

    def test_are_looked_at_for_indices_when_a_batch_needs_them(self, data, mapped):
        words = arrays()["words"]
        words[30] = WORDS
        data.bind("train", dict(arrays(), words=mapped(words)))
        assert len(list(data.blocks("train", [np.arange(30)]))) == 1
        with pytest.raises(GraphError, match="index 20 is out of bounds"):
            list(data.blocks("train", [np.arange(25, 35)]))


class TestRefused:
    @pytest.mark.parametrize("index", [WORDS, -WORDS - 1])
    @pytest.mark.parametrize("ops", [("Gather",), ("Identity", "Gather"), ("Cast", "Identity", "Gather")])
    def test_indices_that_name_no_entry(self, index, ops):
        data = DataSets(plan(ops), Uploaded, lambda size: True)
        bad = arrays()
        bad["words"][-1, 1] = index
        message = rf"layer 'embedding': Gather: index {index} is out of bounds .* size 20; indices must be in \[0, 20\)"
        with pytest.raises(GraphError, match=message):
            data.bind("train", bad)
        with pytest.raises(GraphError, match=message):
            data.feeds({"words": bad["words"]})
        with pytest.raises(ValueError, match="no data set is bound as 'train'"):
            next(data.blocks("train", [np.arange(2)]))

    def test_not_indices_that_count_from_the_end(self, data):
        data.bind("train", dict(arrays(), words=np.full((ROWS, 2), -WORDS)))
        assert (values(next(data.blocks("train", [np.arange(2)])), "words") == -WORDS).all()

    @pytest.mark.parametrize("rows", [[0, ROWS], [-1, 3]])
    def test_rows_out_of_range(self, data, rows):
        data.bind("train", arrays())
        with pytest.raises(IndexError, match=rf"rows must be in \[0, 40\), got {rows[0]} to {rows[1]}"):
            next(data.blocks("train", [np.arange(3), np.array(rows)]))

    def test_a_name_that_is_not_bound(self, data):
        with pytest.raises(ValueError, match="no data set is bound as 'train'; bound: none"):
            next(data.blocks("train", [np.arange(3)]))
        data.bind("train", arrays())
        data.bind("valid", arrays())
        data.unbind("train")
        with pytest.raises(ValueError, match="no data set is bound as 'train'; bound: valid"):
            next(data.blocks("train", [np.arange(3)]))
        data.clear()
        with pytest.raises(ValueError, match="no data set is bound as 'valid'; bound: none"):
            next(data.blocks("valid", [np.arange(3)]))


def test_binding_again_replaces(data):
    data.bind("train", arrays())
    data.bind("train", {key: array[::-1] for key, array in arrays().items()})
    (block,) = data.blocks("train", [np.array([0])])
    np.testing.assert_array_equal(values(block)[0], arrays()["x"][-1:])


def test_whole_arrays_are_cast_and_uploaded(data):
    fed = data.feeds({"x": arrays()["x"], "words": arrays()["words"]})
    assert {key: found.array.dtype.name for key, found in fed.items()} == {"x": "float32", "words": "int32"}
    np.testing.assert_array_equal(fed["x"].array, arrays()["x"])
