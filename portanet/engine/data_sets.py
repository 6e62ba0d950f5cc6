"""The arrays bound to a program by name, and the blocks of batches an engine is handed.

What fits lies on the device from when it is bound, and batches are row numbers. A large memory map, or what does not
fit, stays where it is: the rows of some batches at a time are copied out, while the system reads those of the next.
"""

import numpy as np

from .graph import GraphError
from .memory_maps import is_large_map, read_ahead, take
from .operators import complete

BLOCK_BYTES = 16 << 20
CAPACITY = 128


class Block:
    """Some batches of one size: `rows` (count, size) are row numbers into `arrays`; `place` is the first's number."""

    __slots__ = ("arrays", "place", "rows")

    def __init__(self, place, arrays, rows):
        self.place, self.arrays, self.rows = place, arrays, rows


class DataSets:
    """Bound arrays by name.

    Parameters
    ----------
    plan : Plan
    upload : callable
        Makes the engine's array of a NumPy array.
    fits : callable
        Whether that many bytes may be uploaded at once.
    """

    def __init__(self, plan, upload, fits):
        self._kinds = dict(plan.inputs, **plan.targets)
        self._limits = index_limits(plan)
        self._upload, self._fits = upload, fits
        self._host, self._placed = {}, {}

    def bind(self, name, arrays):
        """Make a data set known; casts, checks indices, and uploads what fits."""
        self.unbind(name)
        host = {key: as_dtype(array, self._kinds[key].dtype) for key, array in arrays.items()}
        if not any(is_large_map(array) for array in host.values()):
            self._check_indices(host)
            if self._fits(sum(array.nbytes for array in host.values())):
                self._placed[name] = {key: self._upload(array) for key, array in host.items()}
        self._host[name] = host

    def unbind(self, name):
        self._host.pop(name, None)
        self._placed.pop(name, None)

    def clear(self):
        self._host, self._placed = {}, {}

    def feeds(self, arrays):
        """Whole arrays for one run of a graph, cast, checked and uploaded."""
        host = {key: np.asarray(array, dtype=self._kinds[key].dtype) for key, array in arrays.items()}
        self._check_indices(host)
        return {key: self._upload(array) for key, array in host.items()}

    def blocks(self, name, batches, capacity=lambda: CAPACITY):
        """Cut a sequence of batches into blocks of one batch size, at most ``capacity()`` batches each, asked anew.

        Yields
        ------
        Block

        Raises
        ------
        ValueError, IndexError
            When no such data set is bound, or has no such row.
        """
        self._check_rows(name, batches)
        placed = self._placed.get(name)
        most = CAPACITY if placed is not None else self._batches_in_block(name, batches)
        start = asked = 0
        while start < len(batches):
            stop, limit = start + 1, min(start + min(most, capacity()), len(batches))
            while stop < limit and len(batches[stop]) == len(batches[start]):
                stop += 1
            rows = np.asarray(batches[start:stop], dtype=np.int32).reshape(stop - start, -1)
            if placed is not None:
                yield Block(start, placed, rows)
            else:
                asked = self._ask(name, batches, asked, stop)
                block = self._gathered(name, start, rows, most)
                asked = self._ask(name, batches, asked, stop + most)
                yield block
            start = stop

    def _ask(self, name, batches, start, stop):
        """Have the system read the rows of some batches from memory maps; gives where the next are to start."""
        if start < min(stop, len(batches)):
            rows = np.concatenate(batches[start:stop])
            for array in self._host[name].values():
                if is_large_map(array):
                    read_ahead(array, rows)
        return max(start, stop)

    def _batches_in_block(self, name, batches):
        row = sum(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in self._host[name].values())
        largest = max([len(rows) for rows in batches] + [1])
        return int(min(max(BLOCK_BYTES // max(row * largest, 1), 1), CAPACITY))

    def _gathered(self, name, start, rows, most):
        """A block of its own arrays; of one length whatever the number of batches, so that it is compiled for once."""
        arrays = {}
        for key, array in self._host[name].items():
            own = np.empty((most * rows.shape[1],) + array.shape[1:], self._kinds[key].dtype)
            own[rows.size :] = 0
            if is_large_map(array):
                take(array, rows.ravel(), own[: rows.size])
            else:
                array.take(rows.ravel(), axis=0, out=own[: rows.size], mode="clip")  # into `out` without a copy
            arrays[key] = own
        self._check_indices(arrays)
        numbers = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        return Block(start, {key: self._upload(array) for key, array in arrays.items()}, numbers)

    def _check_rows(self, name, batches):
        if name not in self._host:
            raise ValueError("no data set is bound as '%s'; bound: %s" % (name, ", ".join(self._host) or "none"))
        count = min(len(array) for array in self._host[name].values())
        rows = np.concatenate(batches) if batches else np.arange(0)
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise IndexError("batch rows must be in [0, %d), got %d to %d" % (count, rows.min(), rows.max()))

    def _check_indices(self, arrays):
        for key, array in arrays.items():
            if key in self._limits and array.size:
                need_below(array, *self._limits[key])


def as_dtype(array, dtype):
    """The array in that type; a large memory map as it is, to be cast block by block."""
    return array if is_large_map(array) else np.asarray(array, dtype=dtype)


def index_limits(plan):
    """For each input that is used as it comes as an index, how many entries there are, and where.

    Returns
    -------
    dict of str to (int, str or None, str)
        Size of the indexed axis, layer and operator.
    """
    limits = {}
    for graph in plan.graphs.values():
        source = {name: name for name in graph.inputs}
        for node in graph.nodes:
            if node.op in PASSING and node.inputs[0] in source and _is_whole(graph, node.inputs[0]):
                source[node.outputs[0]] = source[node.inputs[0]]
            if node.op not in INDEXING or node.inputs[1] not in source:
                continue
            shape, attrs = graph.types[node.inputs[0]].shape, complete(node.op, node.attrs)
            size = shape[attrs.get("axis", 1)]
            key = source[node.inputs[1]]
            if not isinstance(size, int) or attrs.get("ignore_index") is not None:
                continue
            if key not in limits or size < limits[key][0]:
                limits[key] = size, node.layer, node.op
    return limits


PASSING = ("Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "StopGradient", "Transpose",
           "Unsqueeze")  # fmt: skip
INDEXING = ("Gather", "GatherElements", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")


def _is_whole(graph, name):
    return graph.types[name].dtype in ("int32", "int64", "uint8")


def need_below(indices, size, layer, op):
    """Raise where an index names no entry; negative ones count from the end.

    Raises
    ------
    GraphError
        Names layer and operator, the index and what is allowed.
    """
    low, high = int(indices.min()), int(indices.max())
    if low < -size or high >= size:
        raise GraphError("index %d is out of bounds for axis 0 with size %d; indices must be in [0, %d)" % (
            high if high >= size else low, size, size), layer, op)  # fmt: skip
